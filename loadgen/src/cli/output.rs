//! Where results and words go: files that are opened before the run, standard output, the terminal.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use super::{Problem, USAGE};
use crate::{args::ResultFiles, measure::RunResult, report};

/// What an operator reads: standard output, or standard error where a result has the other.
pub(super) struct Console {
    stderr: bool,
    quiet: bool,
}

impl Console {
    pub(super) const fn new(stdout_is_taken: bool, quiet: bool) -> Self {
        Self { stderr: stdout_is_taken, quiet }
    }

    /// Whether progress and summaries are not wanted.
    pub(super) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says what --quiet does not silence. A reader that has gone (`| head`) is no failure of the
    /// run.
    pub(super) fn say(&self, text: &str) -> Result<(), Problem> {
        if self.stderr {
            // A closed standard error is no reason to end a run.
            let _ = io::stderr().write_all(text.as_bytes());
            return Ok(());
        }
        print(text.as_bytes())
    }

    /// Says it unless --quiet.
    pub(super) fn note(&self, text: &str) -> Result<(), Problem> {
        if self.quiet { Ok(()) } else { self.say(text) }
    }
}

fn print(octets: &[u8]) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    match out.write_all(octets).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::failed(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// Where one kind of result goes.
pub(super) enum Sink {
    Stdout,
    File(OpenFile),
}

/// A file that is there before the run. One that the run made is removed if nothing came of it.
pub(super) struct OpenFile {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Sink {
    /// Opens `path`, or standard output for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let mut options = OpenOptions::new();
        options.write(true);
        let (opened, is_new) = match options.clone().create_new(true).open(path) {
            // What is there stays until there is something to put in its place.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options.open(path), false)
            }
            opened => (opened, true),
        };
        let file = opened.map_err(|error| unwritable(path, &error))?;
        Ok(Self::File(OpenFile { path: path.to_owned(), file, is_new }))
    }

    /// Puts `octets` there.
    pub(super) fn write(self, octets: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Stdout => print(octets),
            Self::File(mut open) => {
                let regular = open.file.metadata().is_ok_and(|metadata| metadata.is_file());
                let file = &mut open.file;
                let written = if regular { file.set_len(0) } else { Ok(()) }
                    .and_then(|()| if regular { file.rewind() } else { Ok(()) })
                    .and_then(|()| file.write_all(octets));
                let path = open.path.display().to_string();
                open.is_new = false;
                written.map_err(|error| Problem::failed(format!("{path}: {error}")))
            }
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.is_new {
            // It is empty; if it stays, it says as much.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens what takes lines during a run: `path`, or standard output for `-`.
pub(super) fn open_stream(path: &Path) -> Result<Box<dyn Write + Send>, Problem> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdout()));
    }
    let file = File::create(path).map_err(|error| unwritable(path, &error))?;
    Ok(Box::new(file))
}

/// Listens at `address` for those who ask, and says where.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, Problem> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (at, listener) = listener.map_err(|error| Problem {
        status: USAGE,
        text: format!("--prometheus {address}: cannot listen there: {error}"),
    })?;
    // A closed standard error is no reason to end a run.
    let _ = writeln!(io::stderr(), "metrics at http://{at}/metrics");
    Ok(listener)
}

fn unwritable(path: &Path, error: &io::Error) -> Problem {
    Problem { status: USAGE, text: format!("{}: cannot be written: {error}", path.display()) }
}

/// The files that a run leaves.
pub(super) struct Outputs {
    /// Whether what is written during the run has standard output.
    stream_on_stdout: bool,
    json: Option<Sink>,
    report: Option<Sink>,
    hdr_log: Option<Sink>,
}

impl Outputs {
    /// Opens all of them, beside what is written during the run to `stream`.
    pub(super) fn open(options: &ResultFiles, stream: Option<&Path>) -> Result<Self, Problem> {
        let paths = [&options.json, &options.report, &options.hdr_log];
        let is_stdout = |path: Option<&Path>| path == Some(Path::new("-"));
        let stream_on_stdout = is_stdout(stream);
        let on_stdout = paths.into_iter().filter(|path| is_stdout(path.as_deref())).count();
        if on_stdout + usize::from(stream_on_stdout) > 1 {
            let text =
                "only one of --json, --report, --hdr-log and --stream can go to standard output";
            return Err(Problem { status: USAGE, text: text.to_owned() });
        }
        let open = |path: &Option<PathBuf>| path.as_deref().map(Sink::open).transpose();
        let [json, report, hdr_log] = paths.map(open);
        Ok(Self { stream_on_stdout, json: json?, report: report?, hdr_log: hdr_log? })
    }

    /// Whether one of them has standard output.
    pub(super) fn use_stdout(&self) -> bool {
        let sinks = [&self.json, &self.report, &self.hdr_log];
        self.stream_on_stdout || sinks.into_iter().any(|sink| matches!(sink, Some(Sink::Stdout)))
    }

    /// Writes all of them, also after one that cannot be written.
    pub(super) fn write(self, result: &RunResult) -> Result<(), Problem> {
        let json = self.json.map_or(Ok(()), |sink| sink.write(result.to_json().as_bytes()));
        let report = self.report.map_or(Ok(()), |sink| sink.write(report::html(result).as_bytes()));
        let hdr_log = self.hdr_log.map_or(Ok(()), |sink| {
            let mut log = Vec::new();
            report::write_hdr_log(result, &mut log)
                .map_err(|error| Problem::failed(format!("the histogram log: {error}")))?;
            sink.write(&log)
        });
        json.and(report).and(hdr_log)
    }
}
