//! Which signals reach the server, and what each of them means. The server is to end only by those
//! that ask for its end, from the first moment of `serve` on.

use std::io;
use std::sync::Arc;

use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// Signals that would end a process that says nothing about them, and that nobody means so here.
/// SIGHUP comes for a reload, also to a server that still starts and has nothing to reload.
/// SIGQUIT is not among them: it is the way to a core file of a running server.
const HARMLESS: [i32; 6] = [SIGHUP, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO];

/// Signals from [`Caught::begin`] on, until somebody asks for them.
pub(super) struct Caught(Signals);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// SIGTERM: transfers may finish.
    Drain,
    /// SIGINT: the same, and a second one ends at once.
    Interrupt,
    /// SIGUSR1: the counters, into the log.
    Counters,
    /// SIGHUP: a reload.
    Reload,
    /// Nothing; logged.
    Nothing,
}

impl Caught {
    /// Catches everything but what is to end a server that still starts, SIGTERM and SIGINT.
    ///
    /// # Errors
    ///
    /// A sentence for the operator.
    pub(super) fn begin() -> Result<Self, String> {
        let begin = || -> io::Result<Signals> {
            // A file size limit (ulimit -f) must be a 552 for one upload, not the end of the
            // process, and a reader that went away from standard output not the end of the server.
            signal_hook::flag::register(SIGXFSZ, Arc::default())?;
            signal_hook::flag::register(SIGPIPE, Arc::default())?;
            Signals::new(HARMLESS.iter().chain(&[SIGUSR1]))
        };
        begin().map(Self).map_err(|error| cannot_watch(&error))
    }

    /// All of them, those caught meanwhile first: for a thread that waits for nothing else.
    ///
    /// # Errors
    ///
    /// A sentence for the operator.
    pub(super) fn watch(self) -> Result<Signals, String> {
        let handle = self.0.handle();
        let added = handle.add_signal(SIGTERM).and_then(|()| handle.add_signal(SIGINT));
        added.map(|()| self.0).map_err(|error| cannot_watch(&error))
    }
}

fn cannot_watch(error: &io::Error) -> String {
    format!("cannot watch for signals: {error}")
}

pub(super) const fn meaning(signal: i32) -> Meaning {
    match signal {
        SIGTERM => Meaning::Drain,
        SIGINT => Meaning::Interrupt,
        SIGUSR1 => Meaning::Counters,
        SIGHUP => Meaning::Reload,
        _ => Meaning::Nothing,
    }
}

/// As in signal(7).
pub(super) fn name(signal: i32) -> &'static str {
    signal_name(signal).unwrap_or("another signal")
}

/// Says that nothing follows from `signal`.
pub(super) fn log_ignored(signal: i32) {
    tracing::warn!(
        signal = name(signal),
        "this signal means nothing here; SIGTERM ends the server, SIGHUP reloads its \
         configuration, SIGUSR1 logs its counters"
    );
}
