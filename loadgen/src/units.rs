//! Sizes, durations and rates as people write them.

use std::time::Duration;

/// Longest duration accepted: a week.
const DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Reads `4096`, `4KiB`, `1.5MiB`, `10MB`: octets.
///
/// # Errors
///
/// A sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let units = [
        ("", 1.0),
        ("B", 1.0),
        ("K", 1024.0),
        ("KiB", 1024.0),
        ("M", 1_048_576.0),
        ("MiB", 1_048_576.0),
        ("G", 1_073_741_824.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
    ];
    let octets = scaled(text, &units).filter(|octets| *octets <= SIZE_MAX);
    let octets =
        octets.ok_or_else(|| format!("\"{text}\" is not a size; write 4096, 4KiB, 10MB"))?;
    #[expect(clippy::cast_possible_truncation, reason = "at most SIZE_MAX")]
    #[expect(clippy::cast_sign_loss, reason = "`scaled` gives nothing negative")]
    Ok(octets as u64)
}

/// Largest size accepted, octets: 2^50, exact as a float.
const SIZE_MAX: f64 = 1_125_899_906_842_624.0;

/// Reads `500ms`, `10s`, `1.5m`, `2h`, `1d`; a number alone is seconds.
///
/// # Errors
///
/// A sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [
        ("", 1.0),
        ("s", 1.0),
        ("us", 1e-6),
        ("ms", 1e-3),
        ("m", 60.0),
        ("min", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
    ];
    let duration = scaled(text, &units)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| *duration <= DURATION_MAX);
    duration.ok_or_else(|| {
        format!("\"{text}\" is not a duration of up to a week; write 500ms, 10s, 2m, 1h or 1d")
    })
}

/// A number with one of `units` behind it.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse_duration, parse_size};

    #[test]
    fn sizes() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
        check("0", Some(0));
        check("4096", Some(4096));
        check("4KiB", Some(4096));
        check("1.5 MiB", Some(1_572_864));
        check("10MB", Some(10_000_000));
        check("-1", None);
        check("1e3", None);
        check("4XB", None);
        check("", None);
        check("99999999GiB", None);
    }

    #[test]
    fn durations() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(parse_duration(text).ok(), expected.map(Duration::from_millis), "{text:?}");
        }
        check("10", Some(10_000));
        check("10s", Some(10_000));
        check("500ms", Some(500));
        check("1.5m", Some(90_000));
        check("0s", Some(0));
        check("1d", Some(86_400_000));
        check("9999h", None);
        check("8d", None);
        check("s", None);
        check("1w", None);
    }
}
