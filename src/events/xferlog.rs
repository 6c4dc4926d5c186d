//! `log.xferlog`: a line for each file that was transferred, in the form that wu-ftpd gave it
//! (xferlog(5)) and that programs for statistics read. Where lines go is set once, as the log's
//! subscriber is; a shard formats its line and hands it over, and never waits.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use super::field::canonical;

type Sink = Box<dyn Fn(&[u8]) + Send + Sync>;

static SINK: OnceLock<Sink> = OnceLock::new();

/// Where lines go from now on, each with its line end; the first who says so is right.
pub fn set_transfer_log(sink: impl Fn(&[u8]) + Send + Sync + 'static) {
    // Tests start several servers in a process.
    let _ = SINK.set(Box::new(sink));
}

/// A file was transferred, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Transferred<'a> {
    /// When it ended, since the Unix epoch.
    pub ended: Duration,
    /// How long it took.
    pub took: Duration,
    /// The client's end of the control connection.
    pub peer: Option<SocketAddr>,
    /// Octets of the file that were moved.
    pub bytes: u64,
    /// Its name as the user sees it: any octets.
    pub path: &'a [u8],
    /// TYPE A.
    pub ascii: bool,
    /// To the server.
    pub upload: bool,
    /// By the anonymous user.
    pub anonymous: bool,
    /// Who.
    pub user: &'a str,
    /// All of it: 226.
    pub complete: bool,
}

impl Transferred<'_> {
    /// Hands the line over.
    pub fn log(self) {
        if let Some(sink) = SINK.get() {
            sink(self.line().as_bytes());
        }
    }

    /// Fields are parted by blanks, so names have none.
    fn line(self) -> String {
        let mut line = ctime(self.ended.as_secs());
        // As other servers do: none takes no time at all.
        let _ = write!(line, " {}", self.took.as_secs().max(1));
        match self.peer.map(|peer| canonical(peer).ip()) {
            Some(ip) => {
                let _ = write!(line, " {ip}");
            }
            None => line.push_str(" ?"),
        }
        let _ = write!(line, " {} ", self.bytes);
        push_name(&mut line, self.path);
        line.push_str(if self.ascii { " a" } else { " b" });
        line.push_str(if self.upload { " _ i" } else { " _ o" });
        line.push_str(if self.anonymous { " a " } else { " r " });
        push_name(&mut line, self.user.as_bytes());
        line.push_str(if self.complete { " ftp 0 * c\n" } else { " ftp 0 * i\n" });
        line
    }
}

/// Letters as they are; `_` for each blank, each octet that is no UTF-8, and what ends a line,
/// steers a terminal or turns the direction of writing.
fn push_name(line: &mut String, name: &[u8]) {
    for chunk in name.utf8_chunks() {
        let shown = |c: char| if c.is_whitespace() || steers(c) { '_' } else { c };
        line.extend(chunk.valid().chars().map(shown));
        line.extend(chunk.invalid().iter().map(|_| '_'));
    }
    if name.is_empty() {
        line.push('_');
    }
}

/// Control characters (C0, DEL, C1), the line ends of Unicode, and marks that turn the direction of
/// what follows, by which a name can look like another.
#[must_use]
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// UTC as ctime(3) writes it: `Sat Nov  7 09:05:00 2026`.
fn ctime(unix_seconds: u64) -> String {
    const DAY_SECONDS: u64 = 24 * 60 * 60;
    let (days, second) = (unix_seconds / DAY_SECONDS, unix_seconds % DAY_SECONDS);
    // The epoch was a Thursday.
    let weekday =
        ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(days % 7).unwrap_or(0)];
    let (year, month, day) = date(days);
    let month = MONTHS[month].0;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];

/// Year, month from 0, and day from 1, of a day since the epoch (Gregorian calendar).
fn date(days: u64) -> (u64, usize, u64) {
    const FOUR_CENTURIES: u64 = 400 * 365 + 97;
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let (mut year, mut left) = (1970 + days / FOUR_CENTURIES * 400, days % FOUR_CENTURIES);
    loop {
        let length = 365 + u64::from(leap(year));
        if left < length {
            break;
        }
        (year, left) = (year + 1, left - length);
    }
    let mut month = 0;
    loop {
        let length = MONTHS[month].1 + u64::from(month == 1 && leap(year));
        if left < length {
            return (year, month, left + 1);
        }
        (month, left) = (month + 1, left - length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, expected) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (951_782_399, "Mon Feb 28 23:59:59 2000"),
            (951_782_400, "Tue Feb 29 00:00:00 2000"),
            (951_868_800, "Wed Mar  1 00:00:00 2000"),
            (1_795_826_405, "Sat Nov 28 00:40:05 2026"),
            (4_107_542_400, "Mon Mar  1 00:00:00 2100"),
            (32_503_679_999, "Tue Dec 31 23:59:59 2999"),
        ] {
            assert_eq!(ctime(seconds), expected);
        }
    }

    const DOWNLOAD: Transferred<'_> = Transferred {
        ended: Duration::from_secs(0),
        took: Duration::from_millis(2900),
        peer: None,
        bytes: 5,
        path: b"/d/a b",
        ascii: false,
        upload: false,
        anonymous: false,
        user: "alice",
        complete: true,
    };

    #[test]
    fn lines() {
        #[track_caller]
        fn check(of: Transferred<'_>, expected: &str) {
            assert_eq!(of.line(), format!("Thu Jan  1 00:00:00 1970 {expected}\n"));
        }
        check(DOWNLOAD, "2 ? 5 /d/a_b b _ o r alice ftp 0 * c");
        let mapped = "[::ffff:192.0.2.1]:4711".parse().ok();
        let upload = Transferred { upload: true, complete: false, ascii: true, ..DOWNLOAD };
        let upload = Transferred { peer: mapped, took: Duration::ZERO, bytes: 0, ..upload };
        check(upload, "1 192.0.2.1 0 /d/a_b a _ i r alice ftp 0 * i");
        let anonymous = Transferred { anonymous: true, user: "anonymous", ..DOWNLOAD };
        let anonymous = Transferred { peer: "[2001:db8::1]:4711".parse().ok(), ..anonymous };
        check(anonymous, "2 2001:db8::1 5 /d/a_b b _ o a anonymous ftp 0 * c");
    }

    #[test]
    fn no_name_forges_a_field() {
        let shown = |name: &[u8]| {
            let mut line = String::new();
            push_name(&mut line, name);
            line
        };
        assert_eq!(shown("/gr\u{fc}n/\u{65e5}".as_bytes()), "/gr\u{fc}n/\u{65e5}");
        assert_eq!(shown(b"a\nb c\td\x1b[2J\x7f"), "a_b_c_d_[2J_");
        assert_eq!(shown("a\u{a0}b\u{2028}c\u{202e}d\u{85}".as_bytes()), "a_b_c_d_");
        assert_eq!((shown(b"\xff\xe6\x97").as_str(), shown(b"").as_str()), ("___", "_"));
    }
}
