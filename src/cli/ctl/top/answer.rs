//! What the server answers to `top`, taken apart.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::ctl::ask::ask_lines;

/// A server that does not answer for so long is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server has counted since its start, and who is on it now.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) server: Server,
    /// By number; those that have not answered are missing.
    pub(super) shards: Vec<Shard>,
    /// The numbers of these.
    pub(super) silent: Vec<u64>,
    pub(super) phases: Vec<Phase>,
    pub(super) sessions: Vec<Session>,
}

/// The process.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    pub(super) version: String,
    pub(super) pid: u64,
    pub(super) ready: bool,
    pub(super) generation: Option<u64>,
    pub(super) sessions: u64,
    pub(super) logged_in: u64,
    pub(super) transfers: u64,
    /// Its clock, in seconds since its start.
    pub(super) clock: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    pub(super) number: u64,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) gauges: BTreeMap<String, f64>,
    /// Commands that were answered, greetings among them.
    pub(super) commands: u64,
    /// The longest turn of the last minute, in seconds.
    pub(super) longest: Option<f64>,
}

/// How long a phase took, in buckets: number n ends at 2^(n/8) seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    pub(super) phase: String,
    pub(super) kind: String,
    pub(super) shortest: u64,
    pub(super) buckets: BTreeMap<i64, u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) shard: u64,
    pub(super) peer: String,
    pub(super) user: Option<String>,
    pub(super) tls: Option<String>,
    pub(super) age_seconds: u64,
    pub(super) idle_seconds: u64,
    pub(super) activity: String,
    pub(super) activity_seconds: u64,
    pub(super) command: Option<String>,
    pub(super) transfer: Option<Transfer>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Transfer {
    pub(super) direction: String,
    pub(super) path: String,
    pub(super) octets: u64,
    /// How many there will be, where that is known.
    pub(super) size: Option<u64>,
    /// Of the whole transfer so far.
    pub(super) octets_per_second: u64,
}

/// Asks the server.
///
/// # Errors
///
/// It does not answer, or says why it will not.
pub(super) fn ask(socket: &Path) -> io::Result<Answer> {
    let (mut sessions, mut end, mut malformed) = (Vec::new(), None, None);
    ask_lines(socket, &json!({ "command": "top" }), PATIENCE, |line| {
        match serde_json::from_str::<Value>(line) {
            Ok(value) if value["session"].is_string() => sessions.push(session(&value)),
            Ok(value) => end = Some(value),
            Err(error) => malformed = Some(error),
        }
        end.is_none() && malformed.is_none()
    })?;
    if let Some(error) = malformed {
        return Err(io::Error::other(error));
    }
    let Some(end) = end else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer has no end"));
    };
    if end["ok"] != true {
        return Err(io::Error::other(
            end["error"].as_str().unwrap_or("no reason given").to_owned(),
        ));
    }
    Ok(Answer { sessions, ..of_end(&end) })
}

/// What the last line says.
fn of_end(end: &Value) -> Answer {
    Answer {
        server: Server {
            version: text(&end["version"]),
            pid: number(&end["pid"]),
            ready: end["ready"] == true,
            generation: end["generation"].as_u64(),
            sessions: number(&end["sessions"]),
            logged_in: number(&end["sessions_logged_in"]),
            transfers: number(&end["transfers"]),
            clock: end["clock_seconds"].as_f64().unwrap_or_default(),
        },
        shards: list(&end["figures"]).map(shard).collect(),
        silent: list(&end["shards_silent"]).map(number).collect(),
        phases: list(&end["phases"]).map(phase).collect(),
        sessions: Vec::new(),
    }
}

fn shard(value: &Value) -> Shard {
    let replies = value["replies"].as_object().into_iter().flatten();
    // Those before them are followed by another reply to the same command.
    let last = replies.filter(|(code, _)| code.as_str() >= "200");
    let counters = value["counters"].as_object().into_iter().flatten();
    let gauges = value["gauges"].as_object().into_iter().flatten();
    Shard {
        number: number(&value["shard"]),
        counters: counters.map(|(name, value)| (name.clone(), number(value))).collect(),
        gauges: gauges
            .map(|(name, value)| (name.clone(), value.as_f64().unwrap_or_default()))
            .collect(),
        commands: last.map(|(_, count)| number(count)).sum(),
        longest: value["turn_longest_seconds"].as_f64(),
    }
}

fn phase(value: &Value) -> Phase {
    let pair = |pair: &Value| Some((pair[0].as_i64()?, pair[1].as_u64()?));
    Phase {
        phase: text(&value["phase"]),
        kind: text(&value["kind"]),
        shortest: number(&value["shortest"]),
        buckets: list(&value["buckets"]).filter_map(pair).collect(),
    }
}

fn session(value: &Value) -> Session {
    let word = |key: &str| value[key].as_str().map(str::to_owned);
    let moving = &value["transfer"];
    Session {
        name: text(&value["session"]),
        shard: number(&value["shard"]),
        peer: text(&value["peer"]),
        user: word("user"),
        tls: word("tls"),
        age_seconds: number(&value["age_seconds"]),
        idle_seconds: number(&value["idle_seconds"]),
        activity: text(&value["activity"]),
        activity_seconds: number(&value["activity_seconds"]),
        command: word("command"),
        transfer: moving.is_object().then(|| Transfer {
            direction: text(&moving["direction"]),
            path: text(&moving["path"]),
            octets: number(&moving["octets"]),
            size: moving["size"].as_u64(),
            octets_per_second: number(&moving["octets_per_second"]),
        }),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer as a server with two shards gives it, one of which is silent.
    pub(in super::super) fn example() -> Answer {
        let end = json!({
            "ok": true, "version": "0.1.0", "pid": 7, "ready": true, "generation": 2,
            "sessions": 3, "sessions_logged_in": 2, "transfers": 1, "shards_silent": [1],
            "clock_seconds": 100.0,
            "figures": [{
                "shard": 0,
                "counters": { "control_handshakes": 5, "data_handshakes": 1, "logins": 4,
                              "downloads": 2, "uploads": 1, "bytes_sent": 1000,
                              "bytes_received": 10 },
                "gauges": { "sessions": 3, "transfers": 1, "handshakes": 0 },
                "replies": { "150": 3, "200": 6, "226": 3, "331": 4 },
                "turn_longest_seconds": 0.0125,
            }],
            "phases": [
                { "phase": "tls_handshake", "kind": "full", "count": 100, "seconds": 1.0,
                  "shortest": 0, "buckets": [[-80, 98], [-56, 2]] },
            ],
        });
        let line = json!({
            "session": "0-3", "shard": 0, "peer": "192.0.2.1:4711", "user": "alice",
            "mode": "implicit", "tls": "TLSv1.3", "age_seconds": 65, "idle_seconds": 0,
            "activity": "transfer", "command": "RETR", "activity_seconds": 20,
            "transfer": { "direction": "download", "path": "/big\u{1b}[2J", "octets": 250,
                          "size": 1000, "octets_per_second": 12 },
        });
        let idle = json!({
            "session": "0-9", "shard": 0, "peer": "192.0.2.9:1", "user": null,
            "mode": "explicit", "tls": null, "age_seconds": 3, "idle_seconds": 3,
            "activity": "idle", "command": null, "activity_seconds": 3, "transfer": null,
        });
        Answer { sessions: vec![session(&line), session(&idle)], ..of_end(&end) }
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = example();
        let shard = &answer.shards[0];
        // A 150 is followed by the reply that ends the command.
        assert_eq!((shard.commands, shard.counters["logins"]), (13, 4));
        assert_eq!((answer.silent, answer.server.generation), (vec![1], Some(2)));
        assert_eq!(answer.phases[0].buckets, BTreeMap::from([(-80, 98), (-56, 2)]));
        let moving = answer.sessions[0].transfer.as_ref().unwrap();
        assert_eq!((moving.octets, moving.size), (250, Some(1000)));
        assert_eq!((&answer.sessions[1].user, &answer.sessions[1].transfer), (&None, &None));
    }
}
