//! The transfers of an xferlog, as wu-ftpd wrote it and most servers still do (xferlog(5)): who
//! moved which file when. Text in, transfers out.

use std::{collections::BTreeMap, fmt, fs, path::Path, sync::Arc, time::Duration};

use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::verify::fingerprint;

/// Most transfers of a log.
const TRANSFERS_MAX: usize = 10_000_000;

/// Longest time that a log may span at the pace asked for.
const SPAN_MAX: Duration = Duration::from_secs(86_400);

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// To the server.
    pub upload: bool,
    /// Its name as the log has it.
    pub path: String,
    /// Octets that were moved.
    pub octets: u64,
    /// Who, by the number in [`Replay::users`].
    pub user: u64,
    /// Whether all of the file was moved.
    pub complete: bool,
}

/// What a log says.
#[derive(Debug, Clone)]
pub struct Replay {
    transfers: Arc<[Transfer]>,
    times: Arc<[Duration]>,
    users: Arc<[String]>,
    speed: f64,
    /// What tells this log from others.
    name: String,
}

impl Replay {
    /// Reads a log, to be played `speed` times as fast as it was written.
    ///
    /// # Errors
    ///
    /// A sentence with the file's name and, where one is wrong, the line's number.
    pub fn read(path: &Path, speed: f64) -> Result<Self, String> {
        let shown = path.display();
        let octets = fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
        // Names may be of any octets; those that are no UTF-8 cannot be asked for.
        let text = String::from_utf8_lossy(&octets);
        Self::parse(&text, speed).map_err(|error| format!("{shown}: {error}"))
    }

    /// Reads the text of a log.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn parse(text: &str, speed: f64) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            lines.extend(Line::parse(line).map_err(|error| format!("line {number}: {error}"))?);
            if lines.len() > TRANSFERS_MAX {
                return Err(format!("more than {TRANSFERS_MAX} transfers"));
            }
        }
        // In a log lines stand by the end of their transfers.
        lines.sort_by_key(|line| line.begin_s);
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return Err("there is no transfer in it".to_owned());
        };
        let since = |begin_s: i64| {
            let seconds = u64::try_from(begin_s - first.begin_s).unwrap_or_default();
            Duration::try_from_secs_f64(Duration::from_secs(seconds).as_secs_f64() / speed)
                .unwrap_or(Duration::MAX)
        };
        let span = since(last.begin_s);
        if span > SPAN_MAX {
            return Err(format!(
                "at this --speed it lasts for {:.1} days; a run is at most a day",
                span.as_secs_f64() / SPAN_MAX.as_secs_f64()
            ));
        }
        let times = lines.iter().map(|line| since(line.begin_s)).collect();
        let mut users: BTreeMap<&str, u64> = BTreeMap::new();
        let transfers = lines
            .iter()
            .map(|line| {
                let next = users.len() as u64;
                let user = *users.entry(&line.user).or_insert(next);
                Transfer { user, ..line.transfer.clone() }
            })
            .collect();
        let mut names = vec![String::new(); users.len()];
        for (name, index) in users {
            if let Some(place) = usize::try_from(index).ok().and_then(|index| names.get_mut(index))
            {
                name.clone_into(place);
            }
        }
        let name =
            format!("{} transfers, SHA-256 {}", lines.len(), &fingerprint(text.as_bytes())[..16]);
        Ok(Self { transfers, times, users: names.into(), speed, name })
    }

    /// When each transfer begins, since the first.
    #[must_use]
    pub fn times(&self) -> Arc<[Duration]> {
        Arc::clone(&self.times)
    }

    /// Who transferred.
    #[must_use]
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// Transfer `number`.
    #[must_use]
    pub fn transfer(&self, number: u64) -> &Transfer {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        &self.transfers[index.min(self.transfers.len() - 1)]
    }

    /// How many times as fast as it was written.
    #[must_use]
    pub const fn speed(&self) -> f64 {
        self.speed
    }
}

/// What tells this log from others.
impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A line of the log.
struct Line {
    begin_s: i64,
    user: String,
    transfer: Transfer,
}

impl Line {
    /// `Sat Nov 28 17:00:00 2026 SECONDS HOST SIZE NAME TYPE FLAG DIRECTION ACCESS USER SERVICE
    /// AUTH ID STATUS`. Of some servers NAME has blanks, so the fields behind it are counted from
    /// the end.
    /// `None` for what moved nothing, such as a deletion.
    fn parse(line: &str) -> Result<Option<Self>, String> {
        const BEFORE: usize = 8;
        const BEHIND: usize = 9;
        let refuse = || format!("this is no line of an xferlog: \"{}\"", shortened(line));
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.len() <= BEFORE + BEHIND {
            return Err(refuse());
        }
        let number = |at: usize| fields[at].parse::<i64>().ok().filter(|number| *number >= 0);
        let read = || {
            let ended = PrimitiveDateTime::parse(&fields[1..5].join(" "), ENDED).ok()?;
            let ended_s = ended.assume_utc().unix_timestamp();
            Some((ended_s - number(5)?, u64::try_from(number(7)?).ok()?))
        };
        let (begin_s, octets) = read().ok_or_else(refuse)?;
        let behind = &fields[fields.len() - BEHIND..];
        let upload = match behind[2] {
            "i" => true,
            "o" => false,
            // Deleted.
            "d" => return Ok(None),
            _ => return Err(refuse()),
        };
        let path = fields[BEFORE..fields.len() - BEHIND].join(" ");
        let complete = behind[8] != "i";
        let transfer = Transfer { upload, path, octets, user: 0, complete };
        Ok(Some(Self { begin_s, user: behind[4].to_owned(), transfer }))
    }
}

/// When a transfer ended, in the clock of the log: only differences count.
const ENDED: &[BorrowedFormatItem<'_>] = format_description!(
    "[month repr:short] [day padding:none] [hour padding:none]:[minute]:[second] [year]"
);

fn shortened(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// Reads `10x`, `0.5x` or `10`.
///
/// # Errors
///
/// A sentence.
pub fn parse_speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
    number
        .filter(|speed| (1e-3..=1e6).contains(speed))
        .ok_or_else(|| format!("\"{text}\" is no speed; write 10x, from 0.001x to 1000000x"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Replay, Transfer, parse_speed};

    const LOG: &str = "\
        Sat Nov 28 17:00:10 2026 9 192.0.2.1 4096 /pub/a b _ o r alice ftp 0 * c\n\
        Sat Nov 28 17:00:03 2026 1 ::1 7 /pub/with a blank b _ o a anonymous ftp 0 * c\n\
        Sat Nov 28 17:00:04 2026 1 ::1 0 /pub/gone b _ d r alice ftp 0 * c\n\
        \n\
        Sat Nov 28 17:00:21 2026 1 192.0.2.1 100 /in/b b _ i r alice ftp 0 * i\n";

    fn transfer(upload: bool, path: &str, octets: u64, user: u64, complete: bool) -> Transfer {
        Transfer { upload, path: path.to_owned(), octets, user, complete }
    }

    #[test]
    fn a_transfer_begins_when_it_did() {
        let replay = Replay::parse(LOG, 10.0).unwrap();
        let expected = [
            transfer(false, "/pub/a", 4096, 0, true),
            transfer(false, "/pub/with a blank", 7, 1, true),
            transfer(true, "/in/b", 100, 0, false),
        ];
        assert_eq!(*replay.transfers, expected);
        assert_eq!(*replay.times, [0, 100, 1900].map(Duration::from_millis));
        assert_eq!(*replay.users, ["alice", "anonymous"].map(str::to_owned));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        #[track_caller]
        fn check(text: &str, part: &str) {
            let error = Replay::parse(text, 1.0).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        check("", "no transfer in it");
        check("hello\n", "line 1: this is no line of an xferlog: \"hello\"");
        check(&LOG.replace("Nov", "Nev"), "line 1: this is no line");
        check(&LOG.replace(" i r ", " z r "), "line 5: this is no line");
        check(&LOG.replace("17:00:21 2026", "17:00:21 2027"), "at this --speed it lasts for 365");
    }

    #[test]
    fn speeds() {
        for (text, speed) in [("10x", 10.0), ("0.5x", 0.5), ("3", 3.0)] {
            assert!((parse_speed(text).unwrap() - speed).abs() < 1e-9);
        }
        for text in ["", "x", "0", "-1x", "inf", "10y"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
    }
}
