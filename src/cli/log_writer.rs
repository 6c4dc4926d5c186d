//! The writer of the log, on a thread of its own: lines of a short while together, to standard
//! error or a file. Another thread may give it the next file at any time, without a lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::fs::OFlags;

use super::journal::Journal;

/// Octets of lines written at once at most, and a line more.
const LINES_BYTES_MAX: usize = 64 * 1024;

/// Pause of the writer after it has written all there was: the longest time a line is held back.
const PAUSE: Duration = Duration::from_millis(5);

/// Permissions of a log file that is made: what clients did is not for everybody.
const FILE_MODE: u32 = 0o640;

/// Where lines go.
#[derive(Debug)]
pub(super) enum Output {
    StandardError,
    File(File, PathBuf),
    /// Each line is an entry.
    Journal(Journal),
}

impl Output {
    /// Opens a file to add to, which is made where there is none, or standard error.
    ///
    /// # Errors
    ///
    /// Those of open(2), and what is no regular file, as a sentence that names it.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::StandardError) };
        let open = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            // A FIFO without a reader would be waited for.
            options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
            let file = options.append(true).create(true).mode(FILE_MODE).open(path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            Ok(file)
        };
        let opened = open().map(|file| Self::File(file, path.to_owned()));
        opened.map_err(|error| {
            format!(
                "cannot write {}: {error}; the user that the server runs as must be able to",
                path.display()
            )
        })
    }

    /// The journal behind the socket at `path`.
    ///
    /// # Errors
    ///
    /// Nobody listens there, as a sentence that names key and path.
    pub(super) fn journal(path: &Path) -> Result<Self, String> {
        Journal::open(path).map(Self::Journal).map_err(|error| format!("log.journal: {error}"))
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Journal(journal) => journal.send(octets).map(|()| octets.len()),
            Self::StandardError => io::stderr().write(octets),
            Self::File(file, _) => file.write(octets),
        }
    }
}

/// Gives the writer other outputs, from another thread.
#[derive(Debug)]
pub(super) struct Switch(mpsc::Sender<(Log, Option<Output>)>);

impl Switch {
    /// What is logged from here on goes there; what was logged before may, too.
    pub(super) fn to(&self, log: Log, output: Option<Output>) {
        // The writer lives as long as anything is logged.
        let _ = self.0.send((log, output));
    }
}

/// Which of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// `log.file`, or standard error.
    Events,
    /// `log.xferlog`.
    Transfers,
}

impl Log {
    /// Its key.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Events => "log.file",
            Self::Transfers => "log.xferlog",
        }
    }
}

/// Begins a line of [`Log::Transfers`] in the queue; no line of the other log begins so.
pub(super) const OF_TRANSFERS: u8 = 0;

/// Writes the lines of a short while together: a server that logs thousands of transfers a second
/// would wake the writer, and call the kernel, for each.
#[derive(Debug)]
pub(super) struct LogWriter {
    events: Lines,
    transfers: Lines,
    next: mpsc::Receiver<(Log, Option<Output>)>,
    /// Lines that could not be written.
    lost: Arc<AtomicUsize>,
}

impl LogWriter {
    /// With the switch of its outputs and the count of lines that it could not write.
    pub(super) fn new(
        events: Output,
        transfers: Option<Output>,
    ) -> (Self, Switch, Arc<AtomicUsize>) {
        let (sender, next) = mpsc::channel();
        let lost = Arc::<AtomicUsize>::default();
        let events = Lines::new(Log::Events, Some(events));
        let transfers = Lines::new(Log::Transfers, transfers);
        let writer = Self { events, transfers, next, lost: lost.clone() };
        (writer, Switch(sender), lost)
    }

    fn write_out(&mut self) {
        for (log, output) in self.next.try_iter() {
            match log {
                Log::Events => self.events.switch(output),
                Log::Transfers => self.transfers.switch(output),
            }
        }
        let lost = self.events.write_out() + self.transfers.write_out();
        if lost > 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

/// The lines of one log, and where they go.
#[derive(Debug)]
struct Lines {
    log: Log,
    /// None: they are dropped, for nobody wants them.
    output: Option<Output>,
    waiting: Vec<u8>,
    /// The last write failed, and standard error was told.
    failing: bool,
    /// The last octet written is within a line whose rest was lost.
    torn: bool,
}

impl Lines {
    const fn new(log: Log, output: Option<Output>) -> Self {
        Self { log, output, waiting: Vec::new(), failing: false, torn: false }
    }

    fn switch(&mut self, output: Option<Output>) {
        (self.output, self.failing, self.torn) = (output, false, false);
    }

    /// Whether what waits is to be written before more comes.
    const fn is_entry_by_entry(&self) -> bool {
        matches!(self.output, Some(Output::Journal(_)))
    }

    /// How many lines were lost.
    fn write_out(&mut self) -> usize {
        let Some(output) = &mut self.output else {
            self.waiting.clear();
            return 0;
        };
        if self.torn && !self.waiting.is_empty() {
            self.waiting.insert(0, b'\n');
        }
        let mut rest = &self.waiting[..];
        let failed = loop {
            if rest.is_empty() {
                break None;
            }
            match output.write(rest) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.torn = rest[count - 1] != b'\n';
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        let mut lost = 0;
        if let Some(error) = failed {
            let ends = match self.output {
                Some(Output::Journal(_)) => 1,
                _ => rest.iter().filter(|octet| **octet == b'\n').count(),
            };
            // The first one may be that which ends a torn line, counted already.
            lost = ends - usize::from(rest.len() == self.waiting.len() && self.torn);
            self.tell(&error);
        } else if !self.waiting.is_empty() {
            self.failing = false;
        }
        self.waiting.clear();
        lost
    }

    /// Says on standard error that a file, or the journal, cannot be written, once until it can.
    fn tell(&mut self, error: &io::Error) {
        let (key, path) = match &self.output {
            Some(Output::File(_, path)) => (self.log.key(), path),
            Some(Output::Journal(journal)) => ("log.journal", &journal.path),
            Some(Output::StandardError) | None => return,
        };
        if !std::mem::replace(&mut self.failing, true) {
            let path = path.display();
            let _ = writeln!(
                io::stderr(),
                "ringftpd: {key} {path}: {error}; lines are lost until it can be written, and \
                 counted in ringftpd_log_lines_dropped_total"
            );
        }
    }
}

/// Nothing of it is an error: the appender would do nothing about it, and has no lines to keep.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (lines, octets) = match line {
            [OF_TRANSFERS, octets @ ..] => (&mut self.transfers, octets),
            octets => (&mut self.events, octets),
        };
        lines.waiting.extend_from_slice(octets);
        if lines.waiting.len() >= LINES_BYTES_MAX || lines.is_entry_by_entry() {
            self.write_out();
        }
        Ok(line.len())
    }

    /// Called when no line waits. What comes during the pause is then there at once.
    #[expect(clippy::disallowed_methods, reason = "the log has a thread of its own")]
    fn flush(&mut self) -> io::Result<()> {
        self.write_out();
        std::thread::sleep(PAUSE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(writer: &mut LogWriter, line: &str) {
        writer.write_all(line.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    #[test]
    fn lines_are_added_and_go_where_the_switch_says() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("log"), folder.path().join("log.1"));
        fs::write(&old, "before\n").unwrap();
        let (mut writer, switch, lost) = LogWriter::new(Output::open(Some(&old)).unwrap(), None);
        write(&mut writer, "a\n");
        fs::rename(&old, &new).unwrap();
        write(&mut writer, "b\n");
        switch.to(Log::Events, Output::open(Some(&old)).ok());
        write(&mut writer, "c\n");
        assert_eq!(fs::read_to_string(new).unwrap(), "before\na\nb\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "c\n");
        assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777 & !0o640, 0);
        assert_eq!(lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (mut writer, switch, lost) =
            LogWriter::new(Output::File(full, PathBuf::from("/dev/full")), None);
        write(&mut writer, "a\nb\n");
        writer.flush().unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert!(writer.events.failing);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        switch.to(Log::Events, Output::open(Some(&path)).ok());
        write(&mut writer, "c\n");
        assert!(!writer.events.failing);
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert_eq!(fs::read_to_string(path).unwrap(), "c\n");
    }

    /// Each line goes to its own log, and nowhere while nobody wants it.
    #[test]
    fn two_logs() {
        let folder = tempfile::tempdir().unwrap();
        let [events, transfers] = ["log", "xferlog"].map(|name| folder.path().join(name));
        let (mut writer, switch, lost) = LogWriter::new(Output::open(Some(&events)).unwrap(), None);
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        write(&mut writer, "a\n");
        write(&mut writer, "\0b\n");
        switch.to(Log::Transfers, Output::open(Some(&transfers)).ok());
        write(&mut writer, "\0c\n");
        write(&mut writer, "d\n");
        assert_eq!((text(&events).as_str(), text(&transfers).as_str()), ("a\nd\n", "c\n"));
        switch.to(Log::Transfers, None);
        write(&mut writer, "\0e\n");
        assert_eq!((text(&transfers).as_str(), lost.load(Ordering::Relaxed)), ("c\n", 0));
    }

    /// One datagram each; where nobody takes them, each is one line that is lost.
    #[test]
    fn entries_are_sent_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Output::journal(&path).unwrap_err().starts_with("log.journal: "));
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let (mut writer, _switch, lost) = LogWriter::new(Output::journal(&path).unwrap(), None);
        for entry in ["MESSAGE=a\nPRIORITY=6\n", "MESSAGE=b\n"] {
            writer.write_all(entry.as_bytes()).unwrap();
        }
        let mut octets = [0; 64];
        for entry in ["MESSAGE=a\nPRIORITY=6\n", "MESSAGE=b\n"] {
            let count = socket.recv(&mut octets).unwrap();
            assert_eq!(str::from_utf8(&octets[..count]), Ok(entry));
        }
        drop(socket);
        write(&mut writer, "MESSAGE=c\nPRIORITY=6\n");
        assert_eq!((lost.load(Ordering::Relaxed), writer.events.failing), (1, true));
        fs::remove_file(&path).unwrap();
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        write(&mut writer, "MESSAGE=d\n");
        assert_eq!((socket.recv(&mut octets).unwrap(), writer.events.failing), (10, false));
    }

    #[test]
    fn only_regular_files() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        for path in [fifo.as_path(), folder.path(), Path::new("/dev/null")] {
            let message = Output::open(Some(path)).unwrap_err();
            assert!(message.contains(&path.display().to_string()), "{message}");
        }
        assert!(matches!(Output::open(None), Ok(Output::StandardError)));
    }
}
