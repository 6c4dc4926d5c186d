//! `ringftpd ctl`: asks a running server through its control socket.

mod ask;
mod top;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::geteuid;
use serde_json::{Map, Value, json};

use super::args::{CtlArguments, CtlCommand, KickArguments};
use super::control::{self, problem_of, refusal};
use super::log_line::harmless;
use super::reload::{Origin, changes_text};
use super::{fail, print, report, tls_setup};
use crate::config::{Files, Overrides};
use ask::{PATIENCE, ask, ask_lines, ask_within, unanswered};

pub(super) fn run(arguments: &CtlArguments) -> ExitCode {
    let as_json = arguments.command.is_json();
    let Some(socket) = arguments.socket.clone().or_else(control::default_path) else {
        let message = "no place is known where the control socket could be; give --socket PATH";
        return failed(as_json, message);
    };
    let done = match &arguments.command {
        CtlCommand::Reload { json } => reload(&socket, *json),
        CtlCommand::Reopen { json } => reopen(&socket, *json),
        CtlCommand::Sessions { json } => sessions(&socket, *json),
        CtlCommand::Kick(whom) => kick(&socket, whom),
        CtlCommand::Certificates { json } => certificates(&socket, *json),
        CtlCommand::LogLevel { filter, json } => log_level(&socket, filter, *json),
        CtlCommand::Drain { json } => drain(&socket, *json),
        CtlCommand::Status { json } => status(&socket, *json),
        CtlCommand::Top(wishes) => top::run(&socket, wishes),
        CtlCommand::Upgrade { timeout, json } => upgrade(&socket, *timeout, *json),
    };
    done.unwrap_or_else(|error| failed(as_json, &unanswered(&socket, &error)))
}

/// There is no answer.
fn failed(as_json: bool, message: &str) -> ExitCode {
    if as_json {
        print(refusal(message));
        return ExitCode::FAILURE;
    }
    fail(message)
}

/// An answer that says yes or why not; `say` has the words for a yes.
fn tell(answer: &Value, as_json: bool, say: impl FnOnce(&Value)) -> ExitCode {
    let good = answer["ok"] == true;
    if as_json {
        print(answer);
    } else if good {
        say(answer);
    } else {
        report("", answer["error"].as_str().into_iter());
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn kick(socket: &Path, whom: &KickArguments) -> io::Result<ExitCode> {
    let KickArguments { session, user, address, json } = whom;
    let request =
        json!({ "command": "kick", "session": session, "user": user, "address": address });
    let answer = ask(socket, &request)?;
    let silent = tell_of_silent(&answer);
    let code = tell(&answer, *json, |answer| {
        let still = match answer["ending"].as_u64() {
            None | Some(0) => String::new(),
            Some(more) => format!(", {more} more are about to"),
        };
        print(format_args!("sessions ended: {}{still}", answer["ended"]));
    });
    Ok(if silent { ExitCode::FAILURE } else { code })
}

/// Whether shards have not answered, so that there may be more.
fn tell_of_silent(answer: &Value) -> bool {
    let silent = answer["shards_silent"].as_array().is_some_and(|silent| !silent.is_empty());
    if silent {
        report("", [format!("shards that do not answer: {}", answer["shards_silent"])].iter());
    }
    silent
}

fn drain(socket: &Path, as_json: bool) -> io::Result<ExitCode> {
    let answer = ask(socket, &json!({ "command": "drain" }))?;
    Ok(tell(&answer, as_json, |_| {
        print("the server takes no new connections and ends with its sessions");
    }))
}

fn log_level(socket: &Path, filter: &str, as_json: bool) -> io::Result<ExitCode> {
    let wanted = (filter != "default").then_some(filter);
    let answer = ask(socket, &json!({ "command": "log-level", "filter": wanted }))?;
    let filter = harmless(filter);
    Ok(tell(&answer, as_json, |_| print(format_args!("log level: {filter}"))))
}

fn certificates(socket: &Path, as_json: bool) -> io::Result<ExitCode> {
    let answer = ask(socket, &json!({ "command": "certificates" }))?;
    Ok(tell(&answer, as_json, |answer| {
        for one in answer["certificates"].as_array().into_iter().flatten() {
            let word = |key: &str| harmless(one[key].as_str().unwrap_or_default());
            print(word("certificate"));
            for key in ["subject", "serial", "sha256", "not_before", "not_after", "file", "on_disk"]
            {
                print(format_args!("  {key:<11} {}", word(key)));
            }
            let names = one["names"].as_array().into_iter().flatten();
            let names: Vec<_> = names.filter_map(Value::as_str).map(harmless).collect();
            print(format_args!("  {:<11} {}", "names", names.join(", ")));
            print(format_args!("  {:<11} {}", "days_left", one["days_left"]));
        }
    }))
}

/// Each session is printed when its line comes: there may be many.
fn sessions(socket: &Path, as_json: bool) -> io::Result<ExitCode> {
    let mut last = Value::Null;
    let mut malformed = None;
    let mut begun = false;
    ask_lines(socket, &json!({ "command": "sessions" }), PATIENCE, |line| {
        match serde_json::from_str::<Value>(line) {
            Ok(value) => last = value,
            Err(error) => malformed = Some(error),
        }
        let is_session = last["session"].is_string();
        if as_json {
            print(line);
        } else if is_session {
            if !begun {
                print(SESSIONS_HEAD);
            }
            print(session_row(&last));
        }
        begun = true;
        is_session && malformed.is_none()
    })?;
    if let Some(error) = malformed {
        return Err(io::Error::other(error));
    }
    if last["session"].is_string() || last.is_null() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer has no end"));
    }
    let silent = tell_of_silent(&last);
    let code = if as_json { ExitCode::SUCCESS } else { tell(&last, false, |_| ()) };
    Ok(if silent { ExitCode::FAILURE } else { code })
}

const SESSIONS_HEAD: &str = "SESSION    SHARD PEER                     USER             PORT     \
                             TLS     SINCE                    IDLE DOES";

/// One session for people. What it does is last: pathnames are long, and may have blanks.
fn session_row(session: &Value) -> String {
    let word = |key: &str| session[key].as_str().map_or_else(|| "-".to_owned(), harmless);
    let transfer = &session["transfer"];
    let does = match session["activity"].as_str() {
        Some("transfer") if transfer.is_object() => {
            let path = harmless(transfer["path"].as_str().unwrap_or_default());
            let direction = transfer["direction"].as_str().unwrap_or_default();
            let (octets, rate) = (&transfer["octets"], &transfer["octets_per_second"]);
            format!("{} {direction} {octets} octets, {rate}/s: {path}", word("command"))
        }
        Some("transfer" | "command") => word("command"),
        other => other.unwrap_or("-").to_owned(),
    };
    format!(
        "{:<10} {:<5} {:<24} {:<16} {:<8} {:<7} {} {:>8} {does}",
        word("session"),
        session["shard"].to_string(),
        word("peer"),
        word("user"),
        word("mode"),
        word("tls"),
        word("since"),
        format!("{}s", session["idle_seconds"]),
    )
}

fn reload(socket: &Path, as_json: bool) -> io::Result<ExitCode> {
    let files = if geteuid().is_root() { files_to_hand_over(socket)? } else { Map::new() };
    let answer = ask(socket, &json!({ "command": "reload", "files": files }))?;
    let good = answer["ok"] == true;
    let code = if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if as_json {
        print(&answer);
        return Ok(code);
    }
    let texts = |key: &str| -> Vec<String> {
        let list = answer[key].as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    if good {
        report("warning: ", texts("warnings").iter());
        let changed = changes_text(&texts("changed"));
        print(format_args!("generation {}: {changed}", answer["generation"]));
        return Ok(code);
    }
    let problems = answer["problems"].as_array().into_iter().flatten();
    let problems = problems.map(|value| problem_of(value).to_string());
    report("", problems.chain(answer["error"].as_str().map(str::to_owned)));
    Ok(code)
}

/// What the server would read, read with root's rights: it may have given those up. What cannot be
/// read, or is wrong, is left to the server, which says so.
fn files_to_hand_over(socket: &Path) -> io::Result<Map<String, Value>> {
    let origin = ask(socket, &json!({ "command": "origin" }))?;
    // Relative pathnames of the server are those of its directory.
    if let Some(directory) = origin["directory"].as_str() {
        std::env::set_current_dir(directory)?;
    }
    let path = |value: &Value| value.as_str().map(PathBuf::from);
    let certificate = &origin["certificate"];
    let overrides = Overrides {
        certificate: path(&certificate[0]).zip(path(&certificate[1])),
        // No directory of ours: nothing is to be made.
        state_dir: Some(PathBuf::new()),
        is_root: true,
        ..Overrides::default()
    };
    let files = Files::keeping();
    let config = Origin { path: path(&origin["config"]), overrides }.load(&files);
    if let Ok(config) = config {
        tls_setup::read_files(&config, &files);
    }
    let kept = files.into_kept().into_iter();
    Ok(kept
        .filter_map(|(path, file)| {
            let text = String::from_utf8(file.octets).ok()?;
            Some((path.to_str()?.to_owned(), json!({ "text": text, "mode": file.mode })))
        })
        .collect())
}

fn upgrade(socket: &Path, seconds: u32, as_json: bool) -> io::Result<ExitCode> {
    let files = if geteuid().is_root() { files_to_hand_over(socket)? } else { Map::new() };
    let request = json!({ "command": "upgrade", "files": files, "patience_seconds": seconds });
    // Beside the start there are steps that have bounds of their own.
    let patience = Duration::from_secs(seconds.into()) + PATIENCE;
    let answer = ask_within(socket, &request, patience)?;
    Ok(tell(&answer, as_json, |answer| {
        let version = harmless(answer["version"].as_str().unwrap_or_default());
        print(format_args!(
            "pid {} (version {version}) serves; pid {} ends with its sessions",
            answer["pid"], answer["pid_before"]
        ));
    }))
}

fn reopen(socket: &Path, as_json: bool) -> io::Result<ExitCode> {
    let answer = ask(socket, &json!({ "command": "reopen" }))?;
    let good = answer["ok"] == true;
    match answer["error"].as_str() {
        _ if as_json => print(&answer),
        Some(error) => report("", [error].iter()),
        None => {
            let files = answer["files"].as_array().map_or(&[][..], Vec::as_slice);
            files.iter().filter_map(Value::as_str).for_each(print);
            if files.is_empty() {
                print("standard error");
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn status(socket: &Path, as_json: bool) -> io::Result<ExitCode> {
    let answer = ask(socket, &json!({ "command": "status" }))?;
    if as_json {
        print(&answer);
    } else {
        for (key, value) in answer.as_object().into_iter().flatten() {
            if key != "ok" {
                print(format_args!("{key:<20} {}", value.to_string().trim_matches('"')));
            }
        }
    }
    Ok(if answer["ok"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
