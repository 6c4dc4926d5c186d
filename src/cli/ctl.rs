//! `ringftpd ctl`: asks a running server through its control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::geteuid;
use serde_json::{Map, Value, json};

use super::args::{CtlArguments, CtlCommand};
use super::control_socket::{self, problem_of};
use super::reload::{Origin, changes_text};
use super::tls_setup::TlsTexts;
use super::{fail, print, report};
use crate::config::{CertificateSource, Files, Overrides};

/// Longer than a reload may take.
const PATIENCE: Duration = Duration::from_secs(70);

pub(super) fn run(arguments: &CtlArguments) -> ExitCode {
    let Some(socket) = arguments.socket.clone().or_else(control_socket::default_path) else {
        return fail("no place is known where the control socket could be; give --socket PATH");
    };
    let done = match &arguments.command {
        CtlCommand::Reload { json } => reload(&socket, *json),
        CtlCommand::Reopen { json } => reopen(&socket, *json),
        CtlCommand::Status { json } => status(&socket, *json),
    };
    done.unwrap_or_else(|error| {
        fail(format_args!(
            "{}: {error}; is a server running that has its control.socket there?",
            socket.display()
        ))
    })
}

fn ask(socket: &Path, request: &Value) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the server does not answer"));
    }
    serde_json::from_str(&line).map_err(io::Error::other)
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
    if let Ok(config) = config
        && let CertificateSource::Files { .. } = config.certificate
    {
        let _ = TlsTexts::read(&config, &files, None);
    }
    let kept = files.into_kept().into_iter();
    Ok(kept
        .filter_map(|(path, file)| {
            let text = String::from_utf8(file.octets).ok()?;
            Some((path.to_str()?.to_owned(), json!({ "text": text, "mode": file.mode })))
        })
        .collect())
}

fn reopen(socket: &Path, as_json: bool) -> io::Result<ExitCode> {
    let answer = ask(socket, &json!({ "command": "reopen" }))?;
    let good = answer["ok"] == true;
    match answer["error"].as_str() {
        _ if as_json => print(&answer),
        Some(error) => report("", [error].iter()),
        None => print(answer["file"].as_str().unwrap_or("standard error")),
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
