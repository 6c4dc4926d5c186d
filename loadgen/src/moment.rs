//! Points in time as people write them: RFC 3339, and seconds since the Unix epoch.

use std::time::{Duration, SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Reads `2026-11-28T17:00:00Z`, with a fraction or another offset as RFC 3339 allows them, or
/// seconds since the Unix epoch.
///
/// # Errors
///
/// A sentence.
pub fn parse_moment(text: &str) -> Result<SystemTime, String> {
    let trimmed = text.trim();
    let moment = match OffsetDateTime::parse(trimmed, &Rfc3339) {
        Ok(moment) => Some(SystemTime::from(moment)),
        Err(_) => since_epoch(trimmed).and_then(|span| SystemTime::UNIX_EPOCH.checked_add(span)),
    };
    moment.filter(|moment| *moment >= SystemTime::UNIX_EPOCH).ok_or_else(|| {
        format!(
            "\"{text}\" is no time; write 2026-11-28T17:00:00Z (RFC 3339) or seconds since the \
             epoch, as `date +%s` does"
        )
    })
}

/// Digits, and perhaps a point among them.
fn since_epoch(text: &str) -> Option<Duration> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    digits.then(|| text.parse().ok()).flatten().and_then(|s| Duration::try_from_secs_f64(s).ok())
}

/// In UTC, to the millisecond: `2026-11-28T17:00:00Z`, `2026-11-28T17:00:00.25Z`.
#[must_use]
pub fn format_moment(moment: SystemTime) -> String {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole = Duration::new(since.as_secs(), since.subsec_millis() * 1_000_000);
    let at = time::Duration::try_from(whole)
        .ok()
        .and_then(|whole| OffsetDateTime::UNIX_EPOCH.checked_add(whole));
    let written = at.and_then(|at| at.format(&Rfc3339).ok());
    // Years that RFC 3339 does not have.
    written.unwrap_or_else(|| since.as_secs().to_string())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{format_moment, parse_moment};

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
        for text in [
            "2026-11-28T17:00:00Z",
            "2000-02-29T23:59:59.999Z",
            "1970-01-01T00:00:00Z",
            "99999999999999",
        ] {
            assert_eq!(format_moment(parse_moment(text).unwrap()), text);
        }
    }
}
