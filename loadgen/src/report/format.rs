//! Figures for people: three significant digits and a unit. Tables align these to the right.

use time::OffsetDateTime;

/// Nanoseconds as `812 ns`, `12.3 µs`, `1.23 ms`, `2.05 s`.
#[must_use]
pub fn duration_ns(nanoseconds: f64) -> String {
    scaled(nanoseconds, 1000.0, &["ns", "µs", "ms", "s"])
}

/// Bytes as `512 B`, `1.50 KiB`, `3.20 MiB`.
#[must_use]
pub fn bytes(count: f64) -> String {
    scaled(count, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A count as `12`, `54881`, `31.0 M`; a rate as `12.5`, `12.5 k`.
#[must_use]
pub fn count(count: f64) -> String {
    if count < 10_000_000.0 && count.fract() == 0.0 {
        return format!("{count}");
    }
    scaled(count, 1000.0, &["", "k", "M", "G"]).trim_end().to_owned()
}

/// A share of 1 as `0 %`, `0.0013 %`, `99.9 %`, `100 %`; never 100 % for less than all.
#[must_use]
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 99.9 && percent < 100.0 {
        return "> 99.9 %".to_owned();
    }
    format!("{} %", three_digits(percent))
}

/// A tick of latency, in nanoseconds, as a person writes it: `200 µs`, `1 ms`, `2.5 s`.
#[must_use]
pub fn tick_duration(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    let fits = units.into_iter().find(|(size, _)| nanoseconds >= size * (1.0 - 1e-9));
    let (size, unit) = fits.unwrap_or((1e9, "s"));
    format!("{} {unit}", trimmed(nanoseconds / size, 3))
}

/// A tick of a count: `500`, `10k`, `2.5M`.
#[must_use]
pub fn tick_count(count: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let fits = units.into_iter().find(|(size, _)| count >= size * (1.0 - 1e-9));
    let (size, unit) = fits.unwrap_or((1.0, ""));
    format!("{}{unit}", trimmed(count / size, 6))
}

/// A tick of time: `0.5 s`, `20 s`, `5 min`, `2 h`.
#[must_use]
pub fn tick_seconds(seconds: f64) -> String {
    match seconds {
        // 90 s is no whole number of minutes.
        _ if seconds >= 3600.0 && seconds % 3600.0 == 0.0 => {
            format!("{} h", trimmed(seconds / 3600.0, 2))
        }
        _ if seconds >= 120.0 && seconds % 60.0 == 0.0 => {
            format!("{} min", trimmed(seconds / 60.0, 2))
        }
        _ => format!("{} s", trimmed(seconds, 3)),
    }
}

/// A number to so many decimals, without zeros at its end.
#[must_use]
pub fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A ratio as `×1.25`.
#[must_use]
pub fn ratio(ratio: f64) -> String {
    format!("×{ratio:.3}")
}

/// Unix time as `2026-11-22 12:00:00 UTC` (proleptic Gregorian calendar).
#[must_use]
pub fn unix_time(milliseconds: u64) -> String {
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (at.date(), at.time());
    format!("{date} {:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second())
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    // 999.6 would print as 1000: that is the next unit's 1.
    while value.abs() >= step - 0.5 {
        let Some(next) = units.next() else { break };
        value /= step;
        unit = next;
    }
    format!("{} {unit}", three_digits(value))
}

/// Three significant digits without an exponent; whole numbers below 1000 as they are.
fn three_digits(value: f64) -> String {
    let magnitude = value.abs();
    let whole = value.fract() == 0.0 && magnitude < 1024.0;
    if whole || magnitude >= 99.95 {
        format!("{value:.0}")
    } else if magnitude >= 9.995 {
        format!("{value:.1}")
    } else if magnitude >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        bytes, count, duration_ns, share, tick_count, tick_duration, tick_seconds, trimmed,
        unix_time,
    };

    #[test]
    fn figures_have_three_digits_and_the_fitting_unit() {
        for (nanoseconds, text) in [
            (0.0, "0 ns"),
            (812.0, "812 ns"),
            (999.6, "1.00 µs"),
            (12_345.0, "12.3 µs"),
            (999_949.0, "1.00 ms"),
            (1_234_567.0, "1.23 ms"),
            (2.05e9, "2.05 s"),
            (3.6e12, "3600 s"),
        ] {
            assert_eq!(duration_ns(nanoseconds), text);
        }
        assert_eq!(bytes(1536.0), "1.50 KiB");
        assert_eq!(bytes(1_048_576.0), "1 MiB");
        assert_eq!(count(9999.0), "9999");
        assert_eq!(count(54_881.0), "54881");
        assert_eq!(count(54_881.5), "54.9 k");
        assert_eq!(count(12.5), "12.5");
    }

    #[test]
    fn ticks_have_no_more_digits_than_they_need() {
        for (nanoseconds, text) in
            [(0.0, "0 s"), (2e5, "200 µs"), (1e6, "1 ms"), (2.5e9, "2.5 s"), (1e10, "10 s")]
        {
            assert_eq!(tick_duration(nanoseconds), text);
        }
        for (count, text) in
            [(0.0, "0"), (0.5, "0.5"), (500.0, "500"), (1e4, "10k"), (2.5e6, "2.5M")]
        {
            assert_eq!(tick_count(count), text);
        }
        assert_eq!(tick_seconds(90.0), "90 s");
        assert_eq!(trimmed(100.0, 0), "100");
    }

    #[test]
    fn almost_all_is_not_all() {
        assert_eq!(share(1.0), "100 %");
        assert_eq!(share(0.99999), "> 99.9 %");
        assert_eq!(share(0.5), "50 %");
        assert_eq!(share(0.0), "0 %");
        assert_eq!(share(0.000_013), "0.0013 %");
    }

    #[test]
    fn dates_are_the_calendar_s() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(unix_time(seconds * 1000), text);
        }
    }
}
