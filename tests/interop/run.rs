//! Runs one foreign program with a deadline and hands back everything it said.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::wait::{Stopwatch, pause};

/// Deadline of an ordinary client run; debug builds on two busy cores need some of it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What is left of a program that has ended.
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    status: ExitStatus,
    command: String,
}

impl Finished {
    /// Asserts exit status 0.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        self.exits(0)
    }

    /// Asserts this exit status.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Asserts that `text` is in the output, on either stream.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.count(text) > 0, "{text:?} missing: {self}");
        self
    }

    /// How often `text` is in the output, both streams together.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.out().matches(text).count()
            + String::from_utf8_lossy(&self.stderr).matches(text).count()
    }

    /// Standard output as text.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as lines, sorted.
    pub(crate) fn sorted_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.out().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (&self.stdout[..self.stdout.len().min(8192)], &self.stderr);
        writeln!(f, "{} ended with {}", self.command, self.status)?;
        writeln!(f, "--- stdout\n{}", String::from_utf8_lossy(out))?;
        writeln!(f, "--- stderr\n{}", String::from_utf8_lossy(err))
    }
}

/// Runs `command` without input until it ends; past `deadline` it is killed and the test fails.
#[track_caller]
pub(crate) fn run(command: &mut Command, deadline: Duration) -> Finished {
    run_with_input(command, Vec::new(), deadline)
}

/// Like [`run`], with `input` on standard input.
#[track_caller]
pub(crate) fn run_with_input(
    command: &mut Command,
    input: Vec<u8>,
    deadline: Duration,
) -> Finished {
    let shown = format!("{command:?}");
    let mut child = spawn(command);
    let mut stdin = child.stdin.take().unwrap();
    // A program that ends without reading its input is no error here.
    let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let watch = Stopwatch::start();
    let (status, late) = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break (status, false);
        }
        if watch.elapsed() > deadline {
            // Its children too: they hold the pipes that are read to their end below.
            kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
            break (child.wait().unwrap(), true);
        }
        pause(Duration::from_millis(5));
    };
    feeder.join().unwrap();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let finished = Finished { stdout, stderr, status, command: shown };
    assert!(!late, "not done after {deadline:?}: {finished}");
    finished
}

/// Starts `command` in a process group of its own with all three standard streams piped.
#[track_caller]
pub(crate) fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().unwrap_or_else(|error| {
        panic!("cannot start {command:?}: {error}; tests/run installs what the tests need")
    })
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
