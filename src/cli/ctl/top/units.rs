//! Amounts and times for people, in few columns.

/// Octets, or octets a second: `0 B`, `999 B`, `1.2 kB`, `12.3 MB`, `123 GB`.
pub(super) fn amount(octets: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut left = octets;
    for (index, unit) in units.into_iter().enumerate() {
        let last = index + 1 == units.len();
        // What would be rounded up to four digits has the next unit.
        if left < 999.5 || last {
            let decimals = usize::from(index > 0 && left < 99.95);
            return format!("{left:.decimals$} {unit}");
        }
        left /= 1000.0;
    }
    String::new()
}

/// How often: `0`, `0.5`, `12.3`, `1234`.
pub(super) fn often(count: f64) -> String {
    if count == 0.0 { "0".to_owned() } else { format!("{count:.*}", usize::from(count < 99.95)) }
}

/// A short time: `0.12 ms`, `3.4 ms`, `123 ms`, `1.5 s`, `20 s`.
pub(super) fn short(seconds: f64) -> String {
    let milliseconds = seconds * 1000.0;
    if milliseconds < 0.995 {
        format!("{milliseconds:.2} ms")
    } else if milliseconds < 9.95 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{seconds:.*} s", usize::from(seconds < 9.95))
    }
}

/// A long time: `04:05:06`, `3d 04:05:06`.
pub(super) fn long(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let clock = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    if days == 0 { clock } else { format!("{days}d {clock}") }
}

/// How much of it is done: `[####------]  40%`.
pub(super) fn progress(done: u64, all: u64) -> String {
    let percent = percent(done, all);
    let full = usize::from(percent / 10);
    format!("[{}{}] {percent:>3}%", "#".repeat(full), "-".repeat(10 - full))
}

/// Of nothing all is done.
pub(super) fn percent(done: u64, all: u64) -> u8 {
    let percent = (u128::from(done) * 100).checked_div(u128::from(all)).unwrap_or(100);
    u8::try_from(percent).map_or(100, |percent| percent.min(100))
}

/// Without its part behind the point; beyond all bounds, the bound.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` gives the bound then"
)]
pub(super) fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_few_columns() {
        for (octets, expected) in [
            (0.0, "0 B"),
            (999.4, "999 B"),
            (999.5, "1.0 kB"),
            (1234.0, "1.2 kB"),
            (99_960.0, "100 kB"),
            (12_345_678.0, "12.3 MB"),
            (5e15, "5000 TB"),
        ] {
            assert_eq!(amount(octets), expected);
        }
        assert_eq!([0.0, 0.5, 12.34, 1234.4].map(often), ["0", "0.5", "12.3", "1234"]);
        let times = [0.000_12, 0.0034, 0.123, 1.5, 20.0].map(short);
        assert_eq!(times, ["0.12 ms", "3.4 ms", "123 ms", "1.5 s", "20 s"]);
        assert_eq!([65, 273_906].map(long), ["00:01:05", "3d 04:05:06"]);
    }

    #[test]
    fn progress_stays_within_its_bounds() {
        assert_eq!(progress(0, 100), "[----------]   0%");
        assert_eq!(progress(49, 100), "[####------]  49%");
        assert_eq!(progress(7, 7), "[##########] 100%");
        // More than was announced; nothing; more than fits.
        let all = [(9, 7), (0, 0), (u64::MAX, 1), (u64::MAX, u64::MAX)];
        assert_eq!(all.map(|(done, all)| percent(done, all)), [100; 4]);
        assert_eq!(percent(u64::MAX / 2, u64::MAX), 49);
    }
}
