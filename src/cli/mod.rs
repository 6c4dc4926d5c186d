//! The program as its operator meets it: arguments, `serve`, `check-config`, `reference-config`,
//! `ctl`, `user`, and the set-up of logging. Everything the server does itself is in other modules.

mod activation;
mod args;
mod banner;
mod binding;
mod certificates;
mod check_config;
mod control;
mod ctl;
mod finding;
mod gate;
mod hand_over;
mod journal;
mod log_line;
mod log_writer;
pub mod logging;
mod metrics_endpoint;
mod metrics_families;
mod metrics_page;
mod metrics_protobuf;
mod names;
mod partner;
mod private_file;
mod readiness;
mod reload;
mod serve;
mod service_manager;
mod shards;
mod signals;
mod sockets;
mod take_over;
mod ticket_keys;
mod tls_setup;
mod user;
mod wake;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::config::{self, Config, Files};
use crate::events;
use crate::protocol::file::FileTime;
use crate::protocol::timestamp::format_utc;

pub use args::Arguments;
use args::{Command, ServeArguments};
use finding::{Finding, lines_of};
use reload::Origin;
use take_over::Inheritance;

/// Parses the command line and does what it says. Prints help, version and usage errors itself.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => serve(&arguments.serve),
        Some(Command::Serve(serve_arguments)) => serve(&serve_arguments),
        Some(Command::CheckConfig(arguments)) => check_config::run(&arguments),
        Some(Command::ReferenceConfig) => {
            print(config::reference().trim_end());
            ExitCode::SUCCESS
        }
        Some(Command::ReferenceEvents) => {
            print(events::page().trim_end());
            ExitCode::SUCCESS
        }
        Some(Command::Ctl(arguments)) => ctl::run(&arguments),
        Some(Command::User(command)) => user::run(&command),
        Some(Command::TicketKeys(arguments)) => ticket_keys::run(&arguments),
    }
}

/// A time since the Unix epoch as RFC 3339 has it, in whole seconds.
fn utc(time: Duration) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let digits = format_utc(FileTime { seconds, nanoseconds: 0 });
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let (date, time) = ([0..4, 4..6, 6..8].map(part), [8..10, 10..12, 12..14].map(part));
    format!("{}T{}Z", date.join("-"), time.join(":"))
}

/// Starts a thread of the process, which nobody waits for.
///
/// # Errors
///
/// No thread can be started.
fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| format!("cannot start a thread: {error}"))
}

/// After a failed accept, which descriptors that ran out repeat at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

fn serve(arguments: &ServeArguments) -> ExitCode {
    // Before this process opens any descriptor of its own.
    let passed = match Inheritance::of_manager() {
        Ok(passed) => passed,
        Err(message) => return fail(message),
    };
    let signals = match signals::Caught::begin() {
        Ok(signals) => signals,
        Err(message) => return fail(message),
    };
    let mut inheritance = match inheritance(arguments, passed) {
        Ok(inheritance) => inheritance,
        Err(message) => return fail(message),
    };
    match load(arguments, &inheritance.files) {
        Ok((config, mut origin)) => {
            report_warnings(config.warnings.iter());
            origin.keep_password(&config);
            serve::run(config, origin, signals, inheritance)
        }
        Err(findings) => {
            let message = lines_of(&findings);
            inheritance.failed(&message);
            fail(message)
        }
    }
}

/// What the server has from another one, if the arguments say that it takes over, or from the
/// service manager.
fn inheritance(arguments: &ServeArguments, passed: Inheritance) -> Result<Inheritance, String> {
    match &arguments.take_over {
        None => return Ok(passed),
        Some(_) if !passed.sockets.is_empty() => {
            return Err("--take-over: the service manager passes sockets, too; leave out one of \
                        the two"
                .to_owned());
        }
        Some(Some(path)) => return Inheritance::of_server(path),
        Some(None) => {}
    }
    let (config, _) = load(arguments, &Files::default()).map_err(|findings| lines_of(&findings))?;
    let path = match config.settings.control.socket.as_deref() {
        Some("off") => return Err("--take-over: control.socket is \"off\"".to_owned()),
        Some(path) => Some(path.into()),
        None => control::default_path(),
    };
    let path = path.ok_or("--take-over: no place is known where the control socket could be")?;
    Inheritance::of_server(&path)
}

/// The configuration that the arguments ask for, and what to read it from again.
fn load(arguments: &ServeArguments, files: &Files) -> Result<(Config, Origin), Vec<Finding>> {
    let overrides = arguments.overrides().map_err(|message| vec![Finding::plain(message)])?;
    let origin = Origin { path: arguments.config.clone(), overrides };
    let config = origin.load(files);
    let all = |problems: Vec<_>| problems.into_iter().map(Finding::from).collect::<Vec<_>>();
    Ok((config.map_err(all)?, origin))
}

/// Writes lines for a person or a pipe to standard output. A reader that went away is no error of
/// ours.
fn print(text: impl fmt::Display) {
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "{text}").and_then(|()| output.flush());
}

/// Writes to standard error, before there is a log.
fn complain(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Findings shown at once. One cause may make hundreds, such as a file system that is not mounted.
const FINDINGS_SHOWN: usize = 50;

fn report(kind: &str, mut findings: impl Iterator<Item = impl fmt::Display>) {
    for finding in findings.by_ref().take(FINDINGS_SHOWN) {
        complain(format_args!("ringftpd: {kind}{finding}"));
    }
    let more = findings.count();
    if more > 0 {
        complain(format_args!("ringftpd: {kind}and {more} more; mend these first"));
    }
}

fn report_warnings(warnings: impl Iterator<Item = impl fmt::Display>) {
    report("warning: ", warnings);
}

/// Reports a failure; its exit status is 1. Every line of it gets the program's name.
fn fail(message: impl fmt::Display) -> ExitCode {
    report("", message.to_string().lines());
    ExitCode::FAILURE
}
