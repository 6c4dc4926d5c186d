//! Points in time as people and logs write them: RFC 3339, seconds since the Unix epoch, and the
//! calendar under both.

use std::time::{Duration, SystemTime};

/// Seconds of a day; no clock here has leap seconds.
const DAY_S: i64 = 86_400;

/// Reads `2026-11-28T17:00:00Z`, with a fraction or another offset as RFC 3339 allows them, or
/// seconds since the Unix epoch.
///
/// # Errors
///
/// A sentence.
pub fn parse_moment(text: &str) -> Result<SystemTime, String> {
    let trimmed = text.trim();
    let since = if trimmed.contains(['T', 't', ' ', ':']) {
        rfc3339(trimmed)
    } else {
        let (seconds, fraction) = match trimmed.split_once('.') {
            Some((seconds, digits)) => (seconds, fraction(digits)),
            None => (trimmed, Some(Duration::ZERO)),
        };
        whole(seconds)
            .and_then(|seconds| Duration::from_secs(seconds.unsigned_abs()).checked_add(fraction?))
    };
    since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)).ok_or_else(|| {
        format!(
            "\"{text}\" is no time; write 2026-11-28T17:00:00Z (RFC 3339) or seconds since the \
             epoch, as `date +%s` does"
        )
    })
}

/// In UTC, to the millisecond where it has some: `2026-11-28T17:00:00Z`.
#[must_use]
pub fn format_moment(moment: SystemTime) -> String {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = date_of(since.as_secs() / 86_400);
    let (second, milliseconds) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = match milliseconds {
        0 => String::new(),
        _ => format!(".{milliseconds:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Seconds since the epoch of a civil time without an offset, negative before it. `None` for what
/// no calendar has.
#[must_use]
pub fn civil_seconds(date: (i64, i64, i64), time: (i64, i64, i64)) -> Option<i64> {
    let ((year, month, day), (hour, minute, second)) = (date, time);
    let known = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    known.then(|| days_before(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second)
}

/// Year, month and day (both from 1) of a day since the epoch (proleptic Gregorian calendar).
#[must_use]
pub const fn date_of(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01: with the leap day at its end, a year has one form.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Days since the epoch; the inverse of [`date_of`].
const fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm|-hh:mm)`, RFC 3339 §5.6, as time since the epoch.
fn rfc3339(text: &str) -> Option<Duration> {
    let mark = |at: usize, marks: &[u8]| text.as_bytes().get(at).is_some_and(|c| marks.contains(c));
    let marked = mark(4, b"-") && mark(7, b"-") && mark(10, b"Tt ") && mark(13, b":");
    if !(marked && mark(16, b":") && text.is_ascii()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| whole(text.get(range)?);
    let date = (number(0..4)?, number(5..7)?, number(8..10)?);
    let time = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let (digits, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
    let fraction = match digits {
        "" => Duration::ZERO,
        digits => fraction(digits.strip_prefix('.')?)?,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (whole(hours)?, whole(minutes)?);
            let good = zone.len() == 6 && hours < 24 && minutes < 60;
            let seconds = good.then_some(hours * 3600 + minutes * 60)?;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    let seconds = u64::try_from(civil_seconds(date, time)? - offset).ok()?;
    Some(Duration::from_secs(seconds) + fraction)
}

/// Digits alone.
fn whole(digits: &str) -> Option<i64> {
    digits.bytes().all(|octet| octet.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The digits behind a decimal point.
fn fraction(digits: &str) -> Option<Duration> {
    whole(digits)?;
    format!("0.{digits}").parse().ok().map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{civil_seconds, date_of, format_moment, parse_moment};

    #[test]
    fn moments() {
        #[track_caller]
        fn check(text: &str, milliseconds: Option<u64>) {
            let expected =
                milliseconds.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
            assert_eq!(parse_moment(text).ok(), expected, "{text:?}");
        }
        let moment = 1_795_885_200_000;
        check("2026-11-28T17:00:00Z", Some(moment));
        check("2026-11-28t17:00:00z", Some(moment));
        check("2026-11-28 18:30:00+01:30", Some(moment));
        check("2026-11-28T09:00:00-08:00", Some(moment));
        check("2026-11-28T17:00:00.250Z", Some(moment + 250));
        check("1795885200", Some(moment));
        check("1795885200.25", Some(moment + 250));
        check("1970-01-01T00:00:00Z", Some(0));
        for text in [
            "",
            "-5",
            "1e9",
            "now",
            "17:00",
            "2026-11-28",
            "2026-11-28T17:00:00",
            "2026-11-31T17:00:00Z",
            "2026-02-29T17:00:00Z",
            "2026-11-28T24:00:00Z",
            "2026-11-28T17:00:00.Z",
            "2026-11-28T17:00:00+1:00",
            "2026-11-28T17:00:00+01:00x",
            "1969-12-31T23:59:59Z",
            "2026-11-28T17:00:00.é",
        ] {
            check(text, None);
        }
        assert!(parse_moment("soon").unwrap_err().contains("RFC 3339"));
    }

    #[test]
    fn a_moment_is_written_as_it_is_read() {
        for text in ["2026-11-28T17:00:00Z", "2000-02-29T23:59:59.999Z", "1970-01-01T00:00:00Z"] {
            assert_eq!(format_moment(parse_moment(text).unwrap()), text);
        }
    }

    #[test]
    fn the_calendar_goes_both_ways() {
        for day in (0..60_000_u64).step_by(13) {
            let (year, month, of_month) = date_of(day);
            let [year, month, of_month] =
                [year, month, of_month].map(|part| i64::try_from(part).unwrap());
            let seconds = civil_seconds((year, month, of_month), (0, 0, 0)).unwrap();
            assert_eq!(seconds, i64::try_from(day).unwrap() * 86_400);
        }
        assert_eq!(civil_seconds((1969, 12, 31), (23, 59, 59)), Some(-1));
        assert_eq!(civil_seconds((2026, 13, 1), (0, 0, 0)), None);
    }
}
