//! How log lines go to where they are written: through a bounded queue and a thread of its own, so
//! that a reader that stops reading, or a disk that does not answer, never stops a shard. What is
//! logged is decided elsewhere.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;

use super::log_line::{Line, Shape};
use super::log_writer::{Log as Which, LogWriter, OF_TRANSFERS, Output, Switch};
use crate::config::{Log, OutputFile, SocketFile};
use crate::events;

/// Lines waiting for the writer before further ones are dropped; at some 200 octets each, 1.6 MiB.
const QUEUE_LINES_MAX: usize = 8192;

/// Environment variable with a filter that wins over the configured level.
const FILTER_VARIABLE: &str = "RINGFTPD_LOG";

/// Keeps the log writer alive. Dropping it writes what is queued, waiting at most a second.
#[derive(Debug)]
pub struct LogGuard {
    dropped: ErrorCounter,
    lost: Arc<AtomicUsize>,
    _writer: WorkerGuard,
}

impl LogGuard {
    /// Tells, whenever asked, how many lines were lost so far: dropped because writing was too
    /// slow, or not written because it failed.
    pub fn lines_lost(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let (dropped, lost) = (self.dropped.clone(), self.lost.clone());
        move || dropped.dropped_lines().saturating_add(lost.load(Ordering::Relaxed))
    }
}

/// Installs the process's log, with what changes where it goes. Call once, before any thread starts
/// and as the user that the process stays.
///
/// # Errors
///
/// A sentence for the operator: a file that cannot be written, a bad `RINGFTPD_LOG`, or a log that
/// is installed already.
pub(super) fn start(log: &Log) -> Result<(LogGuard, LogControl), String> {
    let events = match &log.journal {
        Some(SocketFile(path)) => Output::journal(path)?,
        None => open(log, Which::Events)?.unwrap_or(Output::StandardError),
    };
    let shape = if log.journal.is_some() { Shape::Entries } else { Shape::Lines(log.format) };
    let transfers = open(log, Which::Transfers)?;
    let filter = filter(log.level, std::env::var(FILTER_VARIABLE).ok().as_deref())?;
    let (log_writer, switch, lost) = LogWriter::new(events, transfers);
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE_LINES_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(log_writer);
    let dropped = writer.error_counter();
    let queue = writer.clone();
    events::set_transfer_log(move |line| {
        // All of it at once, which is one entry of the queue; one that is full counts it.
        let _ = queue.clone().write_all(&[&[OF_TRANSFERS], line].concat());
    });
    let (subscriber, levels) = subscriber(shape, filter, writer);
    subscriber.try_init().map_err(|error| error.to_string())?;
    Ok((LogGuard { dropped, lost, _writer: guard }, LogControl { switch, levels }))
}

/// The file of one of the logs, if there is to be one.
pub(super) fn file(log: &Log, which: Which) -> Option<&Path> {
    let file = match which {
        Which::Events => &log.file,
        Which::Transfers => &log.xferlog,
    };
    file.as_ref().map(|OutputFile(path)| path.as_path())
}

/// Opens it.
///
/// # Errors
///
/// The key, and why not.
pub(super) fn open(log: &Log, which: Which) -> Result<Option<Output>, String> {
    let opened = file(log, which).map(|path| Output::open(Some(path))).transpose();
    opened.map_err(|error| format!("{}: {error}", which.key()))
}

/// What changes the log while the server runs.
pub(super) struct LogControl {
    /// Where lines go.
    pub(super) switch: Switch,
    /// Which lines there are.
    pub(super) levels: Levels,
}

/// Changes what is logged while the server runs.
pub(super) struct Levels {
    put: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send>,
    /// Something else than the configuration says.
    by_hand: bool,
}

impl Levels {
    /// Has it log what `text` says: a level, or a filter as in `RINGFTPD_LOG`.
    ///
    /// # Errors
    ///
    /// Why it is none; nothing has changed then.
    pub(super) fn set(&mut self, level: LevelFilter, text: &str) -> Result<(), String> {
        let word = text.parse::<LevelFilter>();
        let refused = |cause: &str| {
            format!(
                "{text:?} {cause}; a level is one of off, error, warn, info, debug and trace, and \
                 a filter is such as warn,ringftpd::login=debug"
            )
        };
        // A misspelt level would be the name of a target: nothing else would be logged any more.
        if text.is_empty() || word.is_err() && !text.contains(['=', ',', ':']) {
            return Err(refused("is no level and no filter"));
        }
        let builder = EnvFilter::builder().with_default_directive(level.into());
        let filter = builder.parse(text);
        (self.put)(filter.map_err(|error| refused(&format!("is no filter: {error}")))?)?;
        self.by_hand = true;
        Ok(())
    }

    /// Has it log again what the configured `level` and `RINGFTPD_LOG` say, if that has changed.
    ///
    /// # Errors
    ///
    /// That variable is bad, and was not at the start.
    pub(super) fn reset(&mut self, level: LevelFilter) -> Result<(), String> {
        if self.by_hand {
            (self.put)(filter(level, std::env::var(FILTER_VARIABLE).ok().as_deref())?)?;
            self.by_hand = false;
        }
        Ok(())
    }
}

fn levels<S: 'static>(handle: Handle<EnvFilter, S>) -> Levels {
    let put = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    Levels { put: Box::new(put), by_hand: false }
}

fn subscriber<W>(
    shape: Shape,
    filter: EnvFilter,
    writer: W,
) -> (Box<dyn tracing::Subscriber + Send + Sync>, Levels)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // No colours: the log is as often read by a file as by a terminal.
    let builder = tracing_subscriber::fmt().with_ansi(false).event_format(Line(shape));
    let builder = builder.with_env_filter(filter).with_writer(writer).with_filter_reloading();
    let levels = levels(builder.reload_handle());
    (Box::new(builder.finish()), levels)
}

fn filter(level: LevelFilter, variable: Option<&str>) -> Result<EnvFilter, String> {
    let builder = EnvFilter::builder().with_default_directive(level.into());
    match variable.filter(|text| !text.is_empty()) {
        Some(text) => builder
            .parse(text)
            .map_err(|error| format!("{FILTER_VARIABLE}=\"{text}\" is not a log filter: {error}")),
        // Where little memory may be locked, the executor warns that it goes on without registered
        // buffers, which nothing here uses: a line nobody could act on.
        None if matches!(level, LevelFilter::WARN | LevelFilter::INFO) => "glommio=error"
            .parse()
            .map(|quiet| builder.parse_lossy("").add_directive(quiet))
            .map_err(|error| format!("log filter: {error}")),
        None => Ok(builder.parse_lossy("")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc;

    use super::*;
    use crate::config::LogFormat;

    /// A writer whose lines the test receives.
    #[derive(Clone)]
    struct Lines(mpsc::Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.send(octets.to_vec()).map_err(io::Error::other)?;
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(shape: Shape, filter: EnvFilter, log: impl FnOnce()) -> String {
        let (sender, lines) = mpsc::channel();
        let writer = Lines(sender);
        let (subscriber, _levels) = subscriber(shape, filter, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.iter().flatten().collect()).unwrap()
    }

    /// What `log` writes at level `info`.
    pub(in super::super) fn logged_by(shape: Shape, log: impl FnOnce()) -> String {
        written(shape, filter(LevelFilter::INFO, None).unwrap(), log)
    }

    #[track_caller]
    fn logged(format: LogFormat, level: LevelFilter, variable: Option<&str>) -> String {
        written(Shape::Lines(format), filter(level, variable).unwrap(), || {
            tracing::info!(user = "a\u{1b}[31m", "logged in");
            tracing::debug!("detail");
        })
    }

    #[test]
    fn writes_text_and_json_at_the_level() {
        let text = logged(LogFormat::Text, LevelFilter::INFO, None);
        assert!(text.contains("INFO") && text.contains("logged in") && !text.contains("detail"));
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let json = logged(LogFormat::Json, LevelFilter::INFO, None);
        assert!(json.starts_with('{') && json.contains("\"message\":\"logged in\""), "{json}");
        assert_eq!(logged(LogFormat::Text, LevelFilter::WARN, None), "");
        assert_eq!(logged(LogFormat::Text, LevelFilter::OFF, None), "");
        assert!(logged(LogFormat::Text, LevelFilter::DEBUG, None).contains("detail"));
    }

    #[test]
    fn the_variable_wins() {
        assert!(logged(LogFormat::Text, LevelFilter::WARN, Some("debug")).contains("detail"));
        assert_eq!(logged(LogFormat::Text, LevelFilter::DEBUG, Some("error")), "");
        assert!(logged(LogFormat::Text, LevelFilter::INFO, Some("")).contains("logged in"));
        let message = filter(LevelFilter::INFO, Some("a=b=c")).unwrap_err();
        assert!(message.starts_with("RINGFTPD_LOG=\"a=b=c\" is not a log filter: "), "{message}");
    }
}
