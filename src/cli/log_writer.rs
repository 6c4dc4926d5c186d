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

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::StandardError => io::stderr().write(octets),
            Self::File(file, _) => file.write(octets),
        }
    }
}

/// Gives the writer another output, from another thread.
#[derive(Debug)]
pub(super) struct Switch(mpsc::Sender<Output>);

impl Switch {
    /// What is logged from here on goes there; what was logged before may, too.
    pub(super) fn to(&self, output: Output) {
        // The writer lives as long as anything is logged.
        let _ = self.0.send(output);
    }
}

/// Writes the lines of a short while together: a server that logs thousands of transfers a second
/// would wake the writer, and call the kernel, for each.
#[derive(Debug)]
pub(super) struct LogWriter {
    output: Output,
    next: mpsc::Receiver<Output>,
    lines: Vec<u8>,
    /// Lines that could not be written.
    lost: Arc<AtomicUsize>,
    /// The last write failed, and standard error was told.
    failing: bool,
    /// The last octet written is within a line whose rest was lost.
    torn: bool,
}

impl LogWriter {
    /// With the switch of its output and the count of lines that it could not write.
    pub(super) fn new(output: Output) -> (Self, Switch, Arc<AtomicUsize>) {
        let (sender, next) = mpsc::channel();
        let lost = Arc::<AtomicUsize>::default();
        let lines = Vec::new();
        let writer = Self { output, next, lines, lost: lost.clone(), failing: false, torn: false };
        (writer, Switch(sender), lost)
    }

    fn write_out(&mut self) {
        if let Some(output) = self.next.try_iter().last() {
            (self.output, self.failing, self.torn) = (output, false, false);
        }
        if self.torn && !self.lines.is_empty() {
            self.lines.insert(0, b'\n');
        }
        let mut rest = &self.lines[..];
        let failed = loop {
            if rest.is_empty() {
                break None;
            }
            match self.output.write(rest) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.torn = rest[count - 1] != b'\n';
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = failed {
            let ends = rest.iter().filter(|octet| **octet == b'\n').count();
            // The first one may be that which ends a torn line, counted already.
            let lost = ends - usize::from(rest.len() == self.lines.len() && self.torn);
            self.lost.fetch_add(lost, Ordering::Relaxed);
            self.tell(&error);
        } else if !self.lines.is_empty() {
            self.failing = false;
        }
        self.lines.clear();
    }

    /// Says on standard error that a file cannot be written, once until it can.
    fn tell(&mut self, error: &io::Error) {
        if let Output::File(_, path) = &self.output
            && !std::mem::replace(&mut self.failing, true)
        {
            let path = path.display();
            let _ = writeln!(
                io::stderr(),
                "ringftpd: log.file {path}: {error}; lines are lost until it can be written, and \
                 counted in ringftpd_log_lines_dropped_total"
            );
        }
    }
}

/// Nothing of it is an error: the appender would do nothing about it, and has no lines to keep.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.extend_from_slice(line);
        if self.lines.len() >= LINES_BYTES_MAX {
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
        let (mut writer, switch, lost) = LogWriter::new(Output::open(Some(&old)).unwrap());
        write(&mut writer, "a\n");
        fs::rename(&old, &new).unwrap();
        write(&mut writer, "b\n");
        switch.to(Output::open(Some(&old)).unwrap());
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
            LogWriter::new(Output::File(full, PathBuf::from("/dev/full")));
        write(&mut writer, "a\nb\n");
        writer.flush().unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert!(writer.failing);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        switch.to(Output::open(Some(&path)).unwrap());
        write(&mut writer, "c\n");
        assert!(!writer.failing);
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert_eq!(fs::read_to_string(path).unwrap(), "c\n");
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
