//! How single values are written: durations, addresses, port ranges, CPU lists, words. Each parser
//! answers with a value or a sentence that says what would be right. Shared by the configuration
//! file and the command line.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::words::Words;

/// Where to listen: one port on one address, or on all addresses of both families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Addresses to bind; all of them, on the same port.
    pub hosts: Vec<IpAddr>,
    /// Whether an IPv6 address may be left out where the host has no IPv6. A configured address
    /// that cannot be bound is an error otherwise.
    pub ipv6_optional: bool,
    /// Ports to try in order, at least one; 0 lets the kernel choose. Only the defaults of a server
    /// without configuration have more than one.
    pub ports: Vec<u16>,
}

/// Ports from `low` to `high`, both included, both above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    low: u16,
    high: u16,
}

/// CPU numbers, ascending, without repetition, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

/// Highest CPU number accepted; the kernel's own bound is 8,192.
const CPU_MAX: usize = 8191;

/// Longest duration accepted; nothing here is sensible above it, and clocks cannot overflow.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl ListenAddress {
    /// All addresses of both families, on the first of `ports` that can be had.
    #[must_use]
    pub fn any(ports: &[u16]) -> Self {
        let hosts = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        Self { hosts, ipv6_optional: true, ports: ports.to_vec() }
    }

    /// Whether both could ask for the same address and port.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        let same_port = self.ports.iter().any(|port| *port != 0 && other.ports.contains(port));
        let same_host = self.hosts.iter().any(|a| {
            other.hosts.iter().any(|b| {
                a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
            })
        });
        same_port && same_host
    }
}

/// As it is written; candidates after the first port follow as `or :9990`.
impl Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.hosts.as_slice() {
            [host] => write!(f, "{}", SocketAddr::new(*host, self.ports[0]))?,
            _ => write!(f, ":{}", self.ports[0])?,
        }
        self.ports[1..].iter().try_for_each(|port| write!(f, " or :{port}"))
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text);
        if !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit()) {
            let port = port.parse().map_err(|_| format!("\"{text}\" has a port above 65535"))?;
            return Ok(Self::any(&[port]));
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!(
                "\"{text}\" is not an address; write 192.0.2.1:990, [2001:db8::1]:990, or :990 for \
                 all addresses (host names are not looked up)"
            )
        })?;
        Ok(Self { hosts: vec![address.ip()], ipv6_optional: false, ports: vec![address.port()] })
    }
}

impl PortRange {
    /// First port.
    #[must_use]
    pub fn low(self) -> u16 {
        self.low
    }

    /// Last port.
    #[must_use]
    pub fn high(self) -> u16 {
        self.high
    }

    /// How many ports, at least 1.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.high) - u32::from(self.low) + 1
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a port range; write it as \"50000-50999\"");
        let (low, high) = text.split_once('-').ok_or_else(bad)?;
        let low: u16 = low.trim().parse().map_err(|_| bad())?;
        let high: u16 = high.trim().parse().map_err(|_| bad())?;
        if low == 0 {
            return Err(format!(
                "\"{text}\" begins with port 0; leave the range out to let the kernel choose ports"
            ));
        }
        if low > high {
            return Err(format!("\"{text}\" is reversed; write \"{high}-{low}\""));
        }
        Ok(Self { low, high })
    }
}

impl CpuList {
    /// The numbers, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl Display for CpuList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&cpu_list_text(&self.0))
    }
}

/// Ascending numbers as [`CpuList`] reads them: `0-3,8`.
#[must_use]
pub fn cpu_list_text(cpus: &[usize]) -> String {
    let neighbours = cpus.chunk_by(|low, high| low + 1 == *high);
    let ranges = neighbours.map(|range| match range {
        [first, .., last] => format!("{first}-{last}"),
        _ => range.first().map(usize::to_string).unwrap_or_default(),
    });
    ranges.collect::<Vec<_>>().join(",")
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a list of CPUs; write it as \"0-3,8\"");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let low: usize = low.trim().parse().map_err(|_| bad())?;
            let high: usize = high.trim().parse().map_err(|_| bad())?;
            if low > high {
                return Err(format!("\"{text}\": the range {low}-{high} is reversed"));
            }
            if high > CPU_MAX {
                return Err(format!("\"{text}\": CPU {high} is above {CPU_MAX}"));
            }
            if let Some(cpu) = (low..=high).find(|cpu| cpus.contains(cpu)) {
                return Err(format!("\"{text}\" names CPU {cpu} twice"));
            }
            cpus.extend(low..=high);
        }
        cpus.sort_unstable();
        Ok(Self(cpus))
    }
}

/// Parses `300ms`, `20s`, `5m`, `12h`, `1d`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad =
        || format!("\"{text}\" is not a duration; write a number with ms, s, m, h or d: \"5m\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if digits == 0 {
        return Err(bad());
    }
    let number: u64 = number.parse().map_err(|_| format!("\"{text}\" is longer than a year"))?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        "" => {
            return Err(format!(
                "\"{text}\" has no unit; write ms, s, m, h or d after it: \"{text}s\""
            ));
        }
        _ => return Err(bad()),
    };
    let duration = Duration::from_millis(number.saturating_mul(milliseconds));
    if duration > DURATION_MAX {
        return Err(format!("\"{text}\" is longer than a year"));
    }
    Ok(duration)
}

/// Writes a duration as the configuration does, such as `5m`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds >= length && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    if milliseconds == 0 { "0s".to_owned() } else { format!("{milliseconds}ms") }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", described(value)))
}

pub(super) fn string(value: &DeValue<'_>) -> Result<String, String> {
    let text =
        value.as_str().ok_or_else(|| format!("expected text, found {}", described(value)))?;
    if text.is_empty() {
        return Err("is empty; leave the key out for the default".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character".to_owned());
    }
    Ok(text.to_owned())
}

/// Text that `T` can be parsed from.
pub(super) fn parsed<T: FromStr<Err = String>>(value: &DeValue<'_>) -> Result<T, String> {
    string(value)?.parse()
}

/// One of the words of `T`.
pub(super) fn word<T: Words>(value: &DeValue<'_>) -> Result<T, String> {
    value.as_str().and_then(T::of_word).ok_or_else(|| {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("{} is not one of {}", described(value), words.join(", "))
    })
}

/// A whole number in a range.
pub(super) fn number<T: TryFrom<i64> + PartialOrd + Display>(
    value: &DeValue<'_>,
    range: &RangeInclusive<T>,
) -> Result<T, String> {
    let number = value
        .as_integer()
        .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
    number.and_then(|number| T::try_from(number).ok()).filter(|n| range.contains(n)).ok_or_else(
        || {
            let (low, high) = (range.start(), range.end());
            format!("{} is not a whole number from {low} to {high}", described(value))
        },
    )
}

/// A duration in a range.
pub(super) fn duration(
    value: &DeValue<'_>,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, String> {
    let text = value.as_str().ok_or_else(|| {
        format!("expected a duration with its unit, such as \"5m\", found {}", described(value))
    })?;
    let duration = parse_duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (low, high) = (duration_text(*range.start()), duration_text(*range.end()));
    Err(format!("\"{text}\" is outside \"{low}\" to \"{high}\""))
}

/// The value as a person would quote it.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_duration(text: &str, milliseconds: u64) {
        let duration = parse_duration(text).unwrap();
        assert_eq!(duration, Duration::from_millis(milliseconds));
        assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
    }

    #[test]
    fn durations() {
        check_duration("0s", 0);
        check_duration("300ms", 300);
        check_duration("20s", 20_000);
        check_duration("90s", 90_000);
        check_duration("5m", 300_000);
        check_duration("12h", 43_200_000);
        check_duration("1d", 86_400_000);
        for text in ["", "s", "5 m", "5M", "-5s", "1.5s", "5m5s", "٣s"] {
            let message = parse_duration(text).unwrap_err();
            assert!(message.contains("is not a duration"), "{text}: {message}");
        }
        assert_eq!(
            parse_duration("5").unwrap_err(),
            "\"5\" has no unit; write ms, s, m, h or d after it: \"5s\""
        );
        for text in ["366d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(
                parse_duration(text).unwrap_err(),
                format!("\"{text}\" is longer than a year")
            );
        }
    }

    #[track_caller]
    fn check_address(text: &str, hosts: &[&str], port: u16) {
        let address: ListenAddress = text.parse().unwrap();
        let found: Vec<_> = address.hosts.iter().map(IpAddr::to_string).collect();
        assert_eq!(
            (found.iter().map(String::as_str).collect::<Vec<_>>(), address.ports),
            (hosts.to_vec(), vec![port])
        );
        assert_eq!(address.ipv6_optional, hosts.len() == 2);
    }

    #[test]
    fn addresses() {
        check_address("127.0.0.1:0", &["127.0.0.1"], 0);
        check_address("[::1]:990", &["::1"], 990);
        check_address(":990", &["0.0.0.0", "::"], 990);
        check_address("990", &["0.0.0.0", "::"], 990);
        for text in ["", ":", "localhost:990", "127.0.0.1", "::1", "[::1]", "1.2.3.4:x", "x"] {
            let message = text.parse::<ListenAddress>().unwrap_err();
            assert!(message.contains("is not an address"), "{text}: {message}");
        }
        assert_eq!(
            "65536".parse::<ListenAddress>().unwrap_err(),
            "\"65536\" has a port above 65535"
        );
        assert_eq!(ListenAddress::any(&[990, 9990]).to_string(), ":990 or :9990");
        let clash = |a: &str, b: &str| {
            a.parse::<ListenAddress>().unwrap().clashes_with(&b.parse().unwrap())
        };
        assert!(clash(":990", "127.0.0.1:990"));
        assert!(clash("127.0.0.1:21", "127.0.0.1:21"));
        assert!(!clash("127.0.0.1:21", "127.0.0.2:21"));
        assert!(!clash("127.0.0.1:21", "[::]:21"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
    }

    #[track_caller]
    fn check_ranges<T: FromStr<Err = String> + Display>(text: &str, expected: &str) {
        let result = text.parse::<T>().map_or_else(|error| error, |range| range.to_string());
        assert_eq!(result, expected);
    }

    #[test]
    fn ranges() {
        check_ranges::<PortRange>("50000-50999", "50000-50999");
        check_ranges::<PortRange>("1-65535", "1-65535");
        check_ranges::<PortRange>("7-7", "7-7");
        check_ranges::<PortRange>("9-7", "\"9-7\" is reversed; write \"7-9\"");
        let bad = |text| format!("\"{text}\" is not a port range; write it as \"50000-50999\"");
        for text in ["", "-", "7", "7-", "-7", "7-8-9", "7-65536", "a-b"] {
            check_ranges::<PortRange>(text, &bad(text));
        }
        check_ranges::<CpuList>("8,0-3", "0-3,8");
        check_ranges::<CpuList>("5", "5");
        check_ranges::<CpuList>("1-2,4-1023", "1-2,4-1023");
        check_ranges::<CpuList>("0", "0");
        check_ranges::<CpuList>("0-3,2", "\"0-3,2\" names CPU 2 twice");
        check_ranges::<CpuList>("3-0", "\"3-0\": the range 3-0 is reversed");
        check_ranges::<CpuList>(
            "0-99999999999",
            "\"0-99999999999\": CPU 99999999999 is above 8191",
        );
        for text in ["", ",", "a", "1,", "1-"] {
            let bad = format!("\"{text}\" is not a list of CPUs; write it as \"0-3,8\"");
            check_ranges::<CpuList>(text, &bad);
        }
    }
}
