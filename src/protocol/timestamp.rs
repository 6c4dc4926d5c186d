//! Points in time as text: time-vals of RFC 3659 §2.3 and the dates of LIST. UTC and the Gregorian
//! calendar throughout; no time zone, no clock.

use super::digits::push_decimal;
use super::file::FileTime;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Half a Gregorian year (365.2425 days), where `ls -l` changes from the time to the year.
const HALF_YEAR_SECONDS: i64 = 15_778_476;

/// 1000-01-01 00:00:00 and 9999-12-31 23:59:59: what fourteen digits can express.
const FIRST_SECOND: i64 = -30_610_224_000;
const LAST_SECOND: i64 = 253_402_300_799;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `YYYYMMDDHHMMSS`. Whole seconds: how many further digits a filesystem really keeps is not known
/// here, and none may be invented (RFC 3659 §2.3). Years outside 1000 to 9999 become the nearest
/// moment inside.
#[must_use]
pub fn format_utc(time: FileTime) -> String {
    let mut text = Vec::with_capacity(14);
    push_utc(&mut text, time);
    text.into_iter().map(char::from).collect()
}

/// Appends what [`format_utc`] gives.
pub(super) fn push_utc(out: &mut Vec<u8>, time: FileTime) {
    let Civil { year, month, day, second } = Civil::from_unix(time.seconds);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    for (value, width) in [(year, 4), (month, 2), (day, 2), (hour, 2), (minute, 2), (second, 2)] {
        push_decimal(out, value.unsigned_abs(), width, b'0');
    }
}

/// `YYYYMMDDHHMMSS` with or without `.` and digits, the date one of the calendar [FILE-10]. Digits
/// after the ninth are cut off. Second 60 is taken where a leap second can be, at the end of a
/// month, and means the second after, since Unix time has none of its own.
#[must_use]
pub fn parse_utc(text: &[u8]) -> Option<FileTime> {
    let (digits, fraction) = text.split_at_checked(14)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |at: usize, length: usize| {
        digits[at..at + length].iter().fold(0_i64, |value, &d| value * 10 + i64::from(d - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(4, 2), number(6, 2));
    let (hour, minute, second) = (number(8, 2), number(10, 2), number(12, 2));
    if year < 1000 || !(1..=12).contains(&month) || hour > 23 || minute > 59 {
        return None;
    }
    let last_day = days_in_month(year, month);
    let leap_second = second == 60 && (hour, minute, day) == (23, 59, last_day);
    if !(1..=last_day).contains(&day) || (second > 59 && !leap_second) {
        return None;
    }
    let of_day = hour * 3600 + minute * 60 + second;
    Some(FileTime {
        seconds: days_since_epoch(year, month, day) * DAY_SECONDS + of_day,
        nanoseconds: parse_fraction(fraction)?,
    })
}

/// The date in LIST: `Jan 02 15:04` for the last half year, `Jan 02  2023` for older and future
/// times [LIST-06].
pub(super) fn push_ls_date(out: &mut Vec<u8>, time: FileTime, now_seconds: i64) {
    let Civil { year, month, day, second } = Civil::from_unix(time.seconds);
    let name = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&"Jan");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    push_decimal(out, day.unsigned_abs(), 2, b'0');
    out.push(b' ');
    let age = now_seconds.saturating_sub(time.seconds);
    if (0..HALF_YEAR_SECONDS).contains(&age) {
        push_decimal(out, (second / 3600).unsigned_abs(), 2, b'0');
        out.push(b':');
        push_decimal(out, (second / 60 % 60).unsigned_abs(), 2, b'0');
    } else {
        push_decimal(out, year.unsigned_abs(), 5, b' ');
    }
}

/// A date and the second of its day.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    second: i64,
}

impl Civil {
    /// Clamped to what fourteen digits can express, so that nothing below can overflow.
    fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(FIRST_SECOND, LAST_SECOND);
        let (days, second) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        // Years that begin in March, in eras of 400: leap days come last and eras are alike.
        let days = days + DAYS_FROM_YEAR_0_TO_1970;
        let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Self { year, month, day, second }
    }
}

const ERA_DAYS: i64 = 146_097;
/// Both counted from 0000-03-01.
const DAYS_FROM_YEAR_0_TO_1970: i64 = 719_468;

/// Inverse of [`Civil::from_unix`] for a valid date.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + of_era - DAYS_FROM_YEAR_0_TO_1970
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Nanoseconds of nothing, or of `.` and at least one digit.
fn parse_fraction(text: &[u8]) -> Option<u32> {
    let Some((&point, digits)) = text.split_first() else { return Some(0) };
    if point != b'.' || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    Some(padded.fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    fn at(seconds: i64) -> FileTime {
        FileTime { seconds, nanoseconds: 0 }
    }

    #[track_caller]
    fn check(text: &str, seconds: i64, nanoseconds: u32) {
        assert_eq!(parse_utc(text.as_bytes()), Some(FileTime { seconds, nanoseconds }), "{text}");
    }

    #[test]
    fn formats_and_parses() {
        for (text, seconds) in [
            ("19700101000000", 0),
            ("19691231235959", -1),
            ("20000229123456", 951_827_696),
            ("20010909014640", 1_000_000_000),
            ("20380119031408", 2_147_483_648),
            ("21000301000000", 4_107_542_400),
            ("10000101000000", FIRST_SECOND),
            ("99991231235959", LAST_SECOND),
        ] {
            check(text, seconds, 0);
            assert_eq!(format_utc(at(seconds)), text);
        }
        assert_eq!(format_utc(at(i64::MIN)), "10000101000000");
        assert_eq!(format_utc(at(i64::MAX)), "99991231235959");
    }

    #[test]
    fn parses_fractions_and_leap_seconds() {
        check("19700101000000.5", 0, 500_000_000);
        check("19700101000000.000000001", 0, 1);
        check("19700101000000.9999999999999999", 0, 999_999_999);
        check("20161231235960", 1_483_228_800, 0);
        check("20150630235960", 1_435_708_800, 0);
    }

    #[test]
    fn refuses() {
        for text in [
            "",
            "1970010100000",
            "197001010000000",
            "19700101000000.",
            "19700101000000.x",
            "19700101000000,5",
            "19700101000000 ",
            "1970010100000x",
            "+1970010100000",
            "09991231235959",
            "20230001000000",
            "20231301000000",
            "20230100000000",
            "20230132000000",
            "20230431000000",
            "20230229000000",
            "21000229000000",
            "20230101240000",
            "20230101006000",
            "20230101000060",
            "20230115235960",
            "20230101000061",
        ] {
            assert_eq!(parse_utc(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn dates_of_list() {
        let now = 1_700_000_000; // 2023-11-14 22:13:20
        for (seconds, expected) in [
            (now, "Nov 14 22:13"),
            (now - HALF_YEAR_SECONDS + 1, "May 16 07:18"),
            (now - HALF_YEAR_SECONDS, "May 16  2023"),
            (now + 1, "Nov 14  2023"),
            (0, "Jan 01  1970"),
            (i64::MIN, "Jan 01  1000"),
            (i64::MAX, "Dec 31  9999"),
        ] {
            let mut text = Vec::new();
            push_ls_date(&mut text, at(seconds), now);
            assert_eq!(text, expected.as_bytes());
        }
    }

    #[test]
    fn every_day_comes_back_after_the_one_before() {
        let mut previous = String::new();
        let mut seconds = FIRST_SECOND;
        while seconds <= LAST_SECOND {
            let text = format_utc(at(seconds));
            assert!(text > previous);
            assert_eq!(parse_utc(text.as_bytes()), Some(at(seconds)));
            previous = text;
            seconds += DAY_SECONDS;
        }
        assert_eq!(previous, "99991231000000");
    }

    #[test]
    fn no_input_panics_and_what_is_accepted_is_a_date() {
        let mut random = Random::new(0x7135);
        for _ in 0..100_000 {
            let mut text = random.octets(20, b"0011239. ");
            text.splice(0..0, *b"2024");
            if let Some(time) = parse_utc(&text) {
                let leap_second = &text[12..14] == b"60";
                assert_eq!(format_utc(time).as_bytes() == &text[..14], !leap_second);
            }
        }
    }
}
