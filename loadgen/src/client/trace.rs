//! `--trace-session`: what one client says, hears and does, line by line with times. Passwords are
//! left out.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::Reply;
use crate::measure::printable;

/// Where the account of one client goes, and which client it is.
#[derive(Debug, Clone)]
pub struct Trace {
    client: u64,
    /// `None`: standard error.
    file: Option<Arc<File>>,
    begin: Instant,
    used: Arc<AtomicBool>,
}

impl Trace {
    /// Of client `client` to `file`, or to standard error; times count from now on.
    #[must_use]
    pub fn new(client: u64, file: Option<File>) -> Self {
        let file = file.map(Arc::new);
        Self { client, file, begin: Instant::now(), used: Arc::default() }
    }

    /// Whether client `number` is the one.
    #[must_use]
    pub const fn is_of(&self, number: u64) -> bool {
        self.client == number
    }

    /// The client whose account it is.
    #[must_use]
    pub const fn client(&self) -> u64 {
        self.client
    }

    /// Whether there was anything to tell.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Something happened.
    pub fn tell(&self, what: fmt::Arguments<'_>) {
        self.used.store(true, Ordering::Relaxed);
        let line = format!("{:>11.6} {what}\n", self.begin.elapsed().as_secs_f64());
        // One call a line, so that lines stay whole; what cannot be written is no reason to end a
        // run.
        let _ = match &self.file {
            Some(file) => (&**file).write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }

    /// A command was sent.
    pub fn command(&self, command: &str) {
        let is_secret = command.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case("PASS "));
        self.tell(format_args!("> {}", if is_secret { "PASS ********" } else { command }));
    }

    /// A reply came.
    pub fn reply(&self, reply: &Reply) {
        for line in reply.text.lines() {
            self.tell(format_args!("< {} {}", reply.code, printable(line)));
        }
        if reply.text.is_empty() {
            self.tell(format_args!("< {}", reply.code));
        }
    }
}
