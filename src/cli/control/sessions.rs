//! `sessions` and `kick` of the control socket: the shards are asked part by part, so that neither
//! a shard nor the memory of this process feels how many sessions there are.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::client::{Client, refusal};
use crate::cli::log_line::json_string;
use crate::cli::shards::{FIGURES_TIME_MAX, ask};
use crate::cli::utc;
use crate::clock;
use crate::connection::{Direction, Kicked, SessionFacts, Whom};
use crate::events::canonical;
use crate::limits::SESSIONS_PER_PART_MAX;
use crate::protocol::session::{Activity, Mode};
use crate::runtime::SessionId;
use crate::runtime::remote::RemoteSender;
use crate::shard::Message;

/// Sessions that were told to end are waited for so long; it is longer than they may take.
const LEAVING_TIME_MAX: Duration = Duration::from_millis(4500);

/// Between two looks at whether they have.
const LEAVING_LOOK: Duration = Duration::from_millis(20);

/// Sends a line for each session, and one behind them that says how many there were, as `complete`
/// completes it.
pub(super) fn list(
    client: &mut Client<'_>,
    shards: &[RemoteSender<Message>],
    complete: impl FnOnce(Map<String, Value>) -> Map<String, Value>,
) -> io::Result<()> {
    let (mut count, mut silent) = (0, Vec::new());
    for (index, shard) in shards.iter().enumerate() {
        let mut after = 0;
        loop {
            let part = match ask_one(shard, |asker| Message::Sessions(after, asker)) {
                Asked::Answered(part) => part,
                Asked::Ended => break,
                Asked::Silent => {
                    silent.push(index);
                    break;
                }
            };
            count += part.len();
            after = part.last().map_or(after, |last| last.id.number);
            let lines = part.iter().fold(String::new(), |mut lines, facts| {
                let _ = writeln!(lines, "{}", line(facts));
                lines
            });
            client.send(&lines)?;
            if part.len() < SESSIONS_PER_PART_MAX {
                break;
            }
        }
    }
    let end = [("ok", json!(true)), ("sessions", json!(count)), ("shards_silent", json!(silent))];
    let end = complete(end.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
    client.send(&format!("{}\n", Value::from(end)))
}

/// What became of a question to a shard.
enum Asked<T> {
    Answered(T),
    /// It has no sessions any more, and never will: the server drains.
    Ended,
    /// It does not answer.
    Silent,
}

fn ask_one<T>(
    shard: &RemoteSender<Message>,
    message: impl FnOnce(SyncSender<T>) -> Message,
) -> Asked<T> {
    let (asker, answers) = sync_channel(1);
    if shard.send(message(asker)).is_err() {
        return Asked::Ended;
    }
    match answers.recv_timeout(FIGURES_TIME_MAX) {
        Ok(answer) => Asked::Answered(answer),
        Err(RecvTimeoutError::Disconnected) => Asked::Ended,
        Err(RecvTimeoutError::Timeout) => Asked::Silent,
    }
}

/// A session as an object of JSON. What its client has chosen stands in it so that it can steer no
/// terminal.
fn line(facts: &SessionFacts) -> String {
    let text = |text: Option<&str>| {
        text.map_or_else(|| "null".to_owned(), |text| json_string(text.as_bytes()))
    };
    let mode = match facts.mode {
        Mode::Implicit => "implicit",
        Mode::Explicit => "explicit",
    };
    let (activity, command) = match facts.activity {
        Activity::Idle => ("idle", None),
        Activity::Handshake => ("handshake", None),
        Activity::Command(command) => ("command", Some(command)),
        Activity::Transfer(command) => ("transfer", Some(command)),
    };
    let idle = if activity == "idle" { facts.lasting } else { Duration::ZERO };
    let since = utc(clock::unix_time().saturating_sub(facts.age));
    let mut line = format!(
        "{{\"session\":\"{}\",\"shard\":{},\"peer\":\"{}\",\"user\":{},\"mode\":\"{mode}\",\
         \"tls\":{},\"since\":\"{since}\",\"age_seconds\":{},\"idle_seconds\":{},\
         \"activity\":\"{activity}\",\"command\":{},\"activity_seconds\":{},\"transfer\":",
        facts.id,
        facts.id.shard,
        canonical(facts.peer),
        text(facts.user.as_deref()),
        text(facts.tls),
        facts.age.as_secs(),
        idle.as_secs(),
        text(command),
        facts.lasting.as_secs(),
    );
    match &facts.transfer {
        None => line.push_str("null}"),
        Some(transfer) => {
            let direction = match transfer.direction {
                Direction::Download => "download",
                Direction::Upload => "upload",
                Direction::Listing => "listing",
            };
            // Of the whole transfer so far; of less than a millisecond nothing can be said.
            let milliseconds = facts.lasting.as_millis().max(1);
            let rate = u128::from(transfer.octets) * 1000 / milliseconds;
            let _ = write!(
                line,
                "{{\"direction\":\"{direction}\",\"path\":{},\"octets\":{},\"size\":{},\
                 \"octets_per_second\":{rate}}}}}",
                json_string(&transfer.path),
                transfer.octets,
                transfer.size.map_or_else(|| "null".to_owned(), |size| size.to_string()),
            );
        }
    }
    line
}

/// Ends sessions, and says how many have ended.
pub(super) fn kick(request: &Value, shards: &[RemoteSender<Message>]) -> Value {
    let whom = match whom(request) {
        Ok(whom) => whom,
        Err(error) => return refusal(error),
    };
    let (mut told, mut silent) = (0, Vec::new());
    for (index, shard) in shards.iter().enumerate() {
        let mut after = Some(0);
        while let Some(from) = after {
            let message = |asker| Message::Kick(whom.clone(), from, asker);
            after = match ask_one(shard, message) {
                Asked::Answered(Kicked { told: here, next }) => {
                    told += here;
                    next
                }
                Asked::Ended => None,
                Asked::Silent => {
                    silent.push(index);
                    None
                }
            };
        }
    }
    if told == 0 && !silent.is_empty() {
        return refusal(format!("none is known, but shards do not answer: {silent:?}"));
    }
    if told == 0 {
        return refusal(match whom {
            Whom::Session(id) => format!("there is no session {id}"),
            Whom::User(name) => format!("no session of user {name:?}"),
            Whom::Network(address, bits) => format!("no session from {address}/{bits}"),
        });
    }
    tracing::info!(sessions = told, "sessions are ended by the operator");
    let deadline = clock::now() + LEAVING_TIME_MAX;
    let leaving = loop {
        let leaving = ask(shards, FIGURES_TIME_MAX, |_, asker| Message::Leaving(asker));
        let leaving = leaving.iter().sum::<usize>();
        if leaving == 0 || clock::now() >= deadline {
            break leaving.min(told);
        }
        thread::park_timeout(LEAVING_LOOK);
    };
    json!({ "ok": true, "ended": told - leaving, "ending": leaving, "shards_silent": silent })
}

fn whom(request: &Value) -> Result<Whom, String> {
    let of = |key: &str| request[key].as_str();
    match (of("session"), of("user"), of("address")) {
        (Some(id), None, None) => id.parse::<SessionId>().map(Whom::Session),
        (None, Some(user), None) => Ok(Whom::User(user.to_owned())),
        (None, None, Some(network)) => {
            network_of(network).map(|(address, bits)| Whom::Network(address, bits))
        }
        _ => Err("kick takes one of session, user and address".to_owned()),
    }
}

/// An address, or one with the number of its first bits that count.
fn network_of(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, bits)| (a, Some(bits)));
    let bad = || format!("{text:?} is no address and no network such as 192.0.2.0/24");
    let address = address.parse::<IpAddr>().map_err(|_| bad())?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), str::parse).map_err(|_| bad())?;
    if bits > most { Err(bad()) } else { Ok((address, bits)) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::connection::TransferFacts;

    fn facts() -> SessionFacts {
        SessionFacts {
            id: SessionId { shard: 1, number: 7 },
            peer: "[::ffff:192.0.2.1]:4711".parse::<SocketAddr>().unwrap(),
            mode: Mode::Explicit,
            user: Some("al\u{9b}ice".to_owned()),
            tls: Some("TLSv1.2"),
            age: Duration::from_secs(90),
            activity: Activity::Transfer("RETR"),
            lasting: Duration::from_millis(500),
            transfer: Some(TransferFacts {
                direction: Direction::Download,
                path: b"/a\n\x1b[2J\"\xff\x7f".to_vec(),
                octets: 1000,
                size: Some(4000),
            }),
        }
    }

    #[test]
    fn a_session_is_one_line_that_steers_nothing() {
        let line = line(&facts());
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["session"], "1-7");
        assert_eq!(value["peer"], "192.0.2.1:4711");
        assert_eq!(value["user"], "al\u{9b}ice");
        assert_eq!(value["transfer"]["path"], "/a\n\u{1b}[2J\"\\xff\u{7f}");
        assert_eq!(value["transfer"]["octets_per_second"], 2000);
        assert_eq!(value["transfer"]["size"], 4000);
        assert_eq!((&value["idle_seconds"], &value["age_seconds"]), (&json!(0), &json!(90)));
        let idle = SessionFacts { activity: Activity::Idle, transfer: None, user: None, ..facts() };
        let value: Value = serde_json::from_str(&super::line(&idle)).unwrap();
        assert!(
            value["transfer"].is_null() && value["user"].is_null() && value["command"].is_null()
        );
    }

    #[test]
    fn networks() {
        let of = |text: &str| network_of(text).map(|(address, bits)| format!("{address}/{bits}"));
        assert_eq!(of("192.0.2.1"), Ok("192.0.2.1/32".to_owned()));
        assert_eq!(of("2001:db8::/32"), Ok("2001:db8::/32".to_owned()));
        for wrong in ["", "192.0.2.1/33", "::1/129", "::1/", "host", "192.0.2.1/x", "/8"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
