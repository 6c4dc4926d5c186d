//! What must hold for any octets a client can send: one function a target. Used by the
//! `fuzz_targets` under cargo-fuzz and by `tests/fuzz_smoke.rs` on stable.

mod session_target;
mod tls_target;

use ringftpd::limits::{COMMAND_LINE_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX};
use ringftpd::protocol::account::Permissions;
use ringftpd::protocol::file::{FactSet, FileKind, FileTime, Metadata};
use ringftpd::protocol::line::{Line, LineReader};
use ringftpd::protocol::path::VirtualPath;
use ringftpd::protocol::session::command_table;
use ringftpd::protocol::{
    hash_command, host_name, host_port, language, listing, mlst_options, number, proxy_header,
    timestamp,
};

pub use session_target::session;
pub use tls_target::tls_record;

/// Lines do not depend on how the octets were cut into segments, and are bounded.
pub fn command_line(data: &[u8]) {
    let whole = lines(data, data.len().max(1));
    assert_eq!(whole, lines(data, 1), "one octet at a time");
    assert_eq!(whole, lines(data, 7), "seven at a time");
    for line in &whole.0 {
        let Line::Command(line) = line else { continue };
        assert!(line.len() <= COMMAND_LINE_BYTES_MAX);
        assert_eq!(command_table::split(line).is_none(), line.is_empty());
    }
}

fn lines(data: &[u8], segment: usize) -> (Vec<Line>, Vec<u8>, bool) {
    let mut reader = LineReader::new();
    let (mut lines, mut telnet) = (Vec::new(), Vec::new());
    for mut octets in data.chunks(segment) {
        while !octets.is_empty() {
            let taken = reader.push(octets, &mut telnet);
            octets = &octets[taken..];
            while let Some(line) = reader.pop() {
                lines.push(line);
            }
        }
    }
    assert!(telnet.len() <= 3 * data.len(), "answers to nothing");
    (lines, telnet, reader.is_clean())
}

/// A header is found behind each of its beginnings or not at all, says where it ends, and what
/// follows changes nothing.
pub fn proxy_header(data: &[u8]) {
    use proxy_header::{PROXY_HEADER_BYTES_MAX, PROXY_HEADER_BYTES_MIN, ProxyHeader};
    let whole = ProxyHeader::parse(data);
    match whole {
        Ok(ProxyHeader::Complete(length, _)) => {
            assert!((PROXY_HEADER_BYTES_MIN..=PROXY_HEADER_BYTES_MAX).contains(&length));
            for end in 0..length {
                assert_eq!(ProxyHeader::parse(&data[..end]), Ok(ProxyHeader::Incomplete));
            }
            assert_eq!(ProxyHeader::parse(&data[..length]), whole);
        }
        Ok(ProxyHeader::Incomplete) => assert!(data.len() < PROXY_HEADER_BYTES_MAX),
        Err(_) => {
            let more = [data, b"\r\n"].concat();
            assert!(ProxyHeader::parse(&more).is_err(), "what is broken stays so");
        }
    }
}

/// Addresses and numbers: what is accepted is in range, and says itself again.
pub fn host_port(data: &[u8]) {
    if let Ok(address) = host_port::parse_port(data) {
        let text = host_port::pasv_text(address);
        let (open, close) = (text.find('(').unwrap_or(0), text.find(')').unwrap_or(0));
        let inner = &text.as_bytes()[open + 1..close];
        assert_eq!(host_port::parse_port(inner).ok(), Some(address));
    }
    if let Ok(address) = host_port::parse_eprt(data) {
        let family = if address.is_ipv4() { 1 } else { 2 };
        let text = format!("|{family}|{}|{}|", address.ip(), address.port());
        assert_eq!(host_port::parse_eprt(text.as_bytes()).ok(), Some(address));
    }
    let _ = host_port::parse_epsv(data);
    let _ = host_name::parse(data);
    let _ = language::parse(data);
    let _ = number::allo(data);
    assert!(number::octal_mode(data).is_none_or(|mode| mode <= 0o7777));
    if let Ok(value) = number::decimal_u64(data) {
        assert_eq!(number::decimal_u64(value.to_string().as_bytes()), Ok(value));
    }
}

/// A resolved pathname never leaves the root, has no odd component and stays itself.
pub fn pathname(data: &[u8]) {
    let (cwd, raw) = data.split_at(data.len() / 3);
    let root = VirtualPath::root();
    let cwd = root.resolve(cwd).unwrap_or(root);
    let Ok(path) = cwd.resolve(raw) else { return };
    let octets = path.as_bytes();
    assert!(octets.starts_with(b"/") && octets.len() <= PATH_BYTES_MAX && !octets.contains(&0));
    if !path.is_root() {
        for name in octets[1..].split(|&octet| octet == b'/') {
            assert!(!matches!(name, b"" | b"." | b"..") && name.len() <= NAME_BYTES_MAX);
        }
    }
    assert_eq!(cwd.resolve(octets).as_ref(), Ok(&path));
    assert_eq!(path.resolve(b".").as_ref(), Ok(&path));
    assert!(octets.starts_with(path.parent().as_bytes()));
}

/// One name makes one line, whatever is in it; options and times say themselves again.
pub fn listing(data: &[u8]) {
    let (head, name) = data.split_at(data.len().min(11));
    let mut octets = head.iter().copied().chain(std::iter::repeat(0));
    let mut next = || octets.next().unwrap_or(0);
    let kinds = [FileKind::File, FileKind::Directory, FileKind::Link, FileKind::Other];
    let metadata = Metadata {
        kind: kinds[usize::from(next()) % kinds.len()],
        mode: u32::from(next()) << 8 | u32::from(next()),
        size: u64::from_be_bytes([next(), next(), next(), next(), 0, 0, 0, 9]),
        modified: FileTime {
            seconds: i64::from_be_bytes([next(), next(), next(), next(), 0, 0, 0, 0]),
            nanoseconds: 5,
        },
        links: 1,
        unique: (1, u64::MAX),
        writable: true,
        searchable: true,
    };
    let mut text = Vec::new();
    listing::long_line(&mut text, &metadata, name, name, 1_700_000_000);
    one_line(&text);
    text.clear();
    listing::name_line(&mut text, b"sub/", name);
    one_line(&text);
    text.clear();
    let all = FactSet { unix_mode: true, ..FactSet::DEFAULT };
    listing::fact_line(&mut text, &metadata, None, name, all, Permissions::ALL, name);
    one_line(&text);
    if let Ok(facts) = mlst_options::parse(name) {
        let again = mlst_options::parse(mlst_options::format(facts).as_bytes());
        assert_eq!(again.ok(), Some(facts));
    }
    if let Some(time) = timestamp::parse_utc(name) {
        let again = timestamp::parse_utc(timestamp::format_utc(time).as_bytes());
        assert_eq!(again.map(|again| again.seconds), Some(time.seconds));
    }
    if let Some(argument) = hash_command::parse_extended(name) {
        assert!(!argument.name.is_empty());
        assert!(argument.end.is_none_or(|end| end >= argument.start));
    }
}

#[track_caller]
fn one_line(text: &[u8]) {
    let ends = text.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count();
    assert!(ends == 2 && text.ends_with(b"\r\n"), "{}", text.escape_ascii());
}

/// Fails for some inputs, so that a run which does not find one proves nothing. Not a target.
pub fn canary(data: &[u8]) {
    assert!(!(data.starts_with(b"USER") && data.contains(&0xff)), "the canary sang");
}
