//! What happened between two answers: rates, latencies, and how fast each transfer is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Answer, Phase, Server, Session, Shard, Transfer};
use super::units::whole;

/// One interval.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) server: Server,
    /// How long it was; `None` when there is nothing to compare with.
    pub(super) seconds: Option<f64>,
    pub(super) shards: Vec<ShardReading>,
    pub(super) silent: Vec<u64>,
    pub(super) latencies: Vec<Latency>,
    pub(super) sessions: Vec<SessionReading>,
}

/// One shard: what it has, and what it has done.
#[derive(Clone, Debug, Default)]
pub(super) struct ShardReading {
    pub(super) number: u64,
    pub(super) sessions: u64,
    pub(super) transfers: u64,
    /// In progress.
    pub(super) handshakes: u64,
    pub(super) longest: Option<f64>,
    pub(super) rates: Rates,
}

/// A second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) handshakes: f64,
    pub(super) logins: f64,
    pub(super) commands: f64,
    /// That ended with 226.
    pub(super) transfers: f64,
    pub(super) octets_in: f64,
    pub(super) octets_out: f64,
}

/// How long a phase took within the interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Latency {
    pub(super) phase: String,
    pub(super) kind: String,
    pub(super) count: u64,
    /// Seconds that half of them took no longer than.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SessionReading {
    pub(super) session: Session,
    /// Octets a second of its transfer within the interval; of one that is newer, so far.
    pub(super) rate: f64,
}

impl Reading {
    /// What `now` says, compared with `before`, if that is of the same process.
    pub(super) fn between(before: Option<&Answer>, now: Answer) -> Self {
        let same = |before: &&Answer| {
            before.server.pid == now.server.pid && before.server.clock < now.server.clock
        };
        let before = before.filter(same);
        let seconds = before.map(|before| now.server.clock - before.server.clock);
        let none = Answer::default();
        let old = before.unwrap_or(&none);
        let shards = now.shards.iter().map(|shard| {
            let known = old.shards.iter().find(|old| old.number == shard.number);
            let mut reading = ShardReading::between(known.zip(seconds), shard);
            if let Some((known, seconds)) = known.zip(seconds) {
                let (before, now) = (octets(old, known), octets(&now, shard));
                let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
                reading.rates.octets_in = rate(before.0, now.0);
                reading.rates.octets_out = rate(before.1, now.1);
            }
            reading
        });
        let phases = now.phases.iter().enumerate();
        let latencies = phases.filter_map(|(index, phase)| {
            before.and_then(|before| Latency::between(before.phases.get(index)?, phase))
        });
        let known: BTreeMap<&str, &Session> =
            old.sessions.iter().map(|session| (session.name.as_str(), session)).collect();
        let (shards, latencies) = (shards.collect(), latencies.collect());
        let sessions = now.sessions.into_iter().map(|session| {
            let rate = rate(known.get(session.name.as_str()).copied().zip(seconds), &session);
            SessionReading { session, rate }
        });
        Self {
            seconds,
            shards,
            latencies,
            sessions: sessions.collect(),
            silent: now.silent,
            server: now.server,
        }
    }

    /// All shards together.
    pub(super) fn rates(&self) -> Rates {
        let sum = |of: fn(&Rates) -> f64| self.shards.iter().map(|shard| of(&shard.rates)).sum();
        Rates {
            handshakes: sum(|rates| rates.handshakes),
            logins: sum(|rates| rates.logins),
            commands: sum(|rates| rates.commands),
            transfers: sum(|rates| rates.transfers),
            octets_in: sum(|rates| rates.octets_in),
            octets_out: sum(|rates| rates.octets_out),
        }
    }

    /// TLS handshakes in progress, of control and data connections.
    pub(super) fn handshakes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.handshakes).sum()
    }

    /// For programs: one object an interval.
    pub(super) fn to_json(&self) -> Value {
        let Self { server, shards, latencies, sessions, .. } = self;
        let shard = |shard: &ShardReading| {
            json!({
                "shard": shard.number, "sessions": shard.sessions, "transfers": shard.transfers,
                "handshakes": shard.handshakes, "turn_longest_seconds": shard.longest,
                "rates": shard.rates.to_json(),
            })
        };
        let latency = |latency: &Latency| {
            json!({
                "phase": latency.phase, "kind": latency.kind, "count": latency.count,
                "p50_seconds": latency.p50, "p99_seconds": latency.p99,
            })
        };
        json!({
            "ok": true,
            "interval_seconds": self.seconds,
            "version": server.version, "pid": server.pid, "ready": server.ready,
            "uptime_seconds": server.clock, "generation": server.generation,
            "sessions": server.sessions, "sessions_logged_in": server.logged_in,
            "transfers": server.transfers, "handshakes": self.handshakes(),
            "rates": self.rates().to_json(),
            "shards": shards.iter().map(shard).collect::<Value>(),
            "shards_silent": self.silent,
            "latencies": latencies.iter().map(latency).collect::<Value>(),
            "list": sessions.iter().map(SessionReading::to_json).collect::<Value>(),
        })
    }
}

impl ShardReading {
    fn between(before: Option<(&Shard, f64)>, now: &Shard) -> Self {
        let gauge = |name: &str| whole(now.gauges.get(name).copied().unwrap_or_default());
        let rates = before.map(|(before, seconds)| Rates::between(before, now, seconds));
        Self {
            number: now.number,
            sessions: gauge("sessions"),
            transfers: gauge("transfers"),
            handshakes: gauge("handshakes"),
            longest: now.longest,
            rates: rates.unwrap_or_default(),
        }
    }
}

impl Rates {
    fn between(before: &Shard, now: &Shard, seconds: f64) -> Self {
        let more = |name: &str| {
            let of = |shard: &Shard| shard.counters.get(name).copied().unwrap_or_default();
            of(now).saturating_sub(of(before))
        };
        let rate = |count: u64| count as f64 / seconds;
        Self {
            handshakes: rate(more("control_handshakes") + more("data_handshakes")),
            logins: rate(more("logins")),
            commands: rate(now.commands.saturating_sub(before.commands)),
            transfers: rate(more("downloads") + more("uploads")),
            ..Self::default()
        }
    }

    fn to_json(self) -> Value {
        json!({
            "handshakes": self.handshakes, "logins": self.logins, "commands": self.commands,
            "transfers": self.transfers, "octets_in": self.octets_in,
            "octets_out": self.octets_out,
        })
    }
}

impl Latency {
    /// `None` when there was none.
    fn between(before: &Phase, now: &Phase) -> Option<Self> {
        let more = |number: &i64, count: &u64| {
            count.saturating_sub(before.buckets.get(number).copied().unwrap_or_default())
        };
        let shortest = now.shortest.saturating_sub(before.shortest);
        let buckets = now.buckets.iter().map(|(number, count)| (*number, more(number, count)));
        let counts: Vec<_> = buckets.collect();
        let count = shortest + counts.iter().map(|(_, count)| count).sum::<u64>();
        (count > 0).then(|| Self {
            phase: now.phase.clone(),
            kind: now.kind.clone(),
            count,
            p50: quantile(shortest, &counts, count.div_ceil(2)),
            p99: quantile(shortest, &counts, count - count / 100),
        })
    }
}

/// Seconds that the first `rank` took no longer than, to the bound of a bucket.
fn quantile(shortest: u64, buckets: &[(i64, u64)], rank: u64) -> f64 {
    let bound = |number: i64| (number as f64 / 8.0).exp2();
    let mut seen = shortest;
    if seen >= rank {
        return bound(-160);
    }
    for (number, count) in buckets {
        seen += count;
        if seen >= rank {
            return bound(*number);
        }
    }
    0.0
}

/// Octets that a shard has received and sent: its counters have those of a transfer when that has
/// ended.
fn octets(answer: &Answer, shard: &Shard) -> (u64, u64) {
    let counted = |name: &str| shard.counters.get(name).copied().unwrap_or_default();
    let (mut received, mut sent) = (counted("bytes_received"), counted("bytes_sent"));
    for session in answer.sessions.iter().filter(|session| session.shard == shard.number) {
        match &session.transfer {
            Some(moving) if moving.direction == "upload" => received += moving.octets,
            Some(moving) => sent += moving.octets,
            None => {}
        }
    }
    (received, sent)
}

/// Octets a second of the transfer that `now` has.
fn rate(before: Option<(&Session, f64)>, now: &Session) -> f64 {
    let Some(moving) = &now.transfer else { return 0.0 };
    let same = |old: &Transfer| old.path == moving.path && old.octets <= moving.octets;
    let known = before.and_then(|(session, seconds)| {
        // Whole seconds: of a transfer as old as the interval nobody knows.
        let older = now.activity_seconds as f64 > seconds;
        let old = session.transfer.as_ref().filter(|old| older && same(old))?;
        Some((moving.octets - old.octets) as f64 / seconds)
    });
    known.unwrap_or(moving.octets_per_second as f64)
}

impl SessionReading {
    fn to_json(&self) -> Value {
        let Session { transfer, .. } = &self.session;
        let Session { name, shard, peer, user, tls, activity, command, .. } = &self.session;
        let Session { age_seconds, idle_seconds, activity_seconds, .. } = &self.session;
        let transfer = transfer.as_ref().map(|moving| {
            json!({
                "direction": moving.direction, "path": moving.path, "octets": moving.octets,
                "size": moving.size, "octets_per_second": self.rate,
            })
        });
        json!({
            "session": name, "shard": shard, "peer": peer, "user": user, "tls": tls,
            "age_seconds": age_seconds, "idle_seconds": idle_seconds, "activity": activity,
            "command": command, "activity_seconds": activity_seconds, "transfer": transfer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::example;
    use super::*;

    /// Two seconds later.
    fn later() -> Answer {
        let mut later = example();
        later.server.clock += 2.0;
        let shard = &mut later.shards[0];
        for (name, more) in
            [("control_handshakes", 4), ("data_handshakes", 6), ("logins", 1), ("bytes_sent", 500)]
        {
            *shard.counters.get_mut(name).unwrap() += more;
        }
        shard.commands += 20;
        later.phases[0].buckets.insert(-8, 1);
        *later.phases[0].buckets.get_mut(&-80).unwrap() += 99;
        let session = &mut later.sessions[0];
        session.activity_seconds += 2;
        session.transfer.as_mut().unwrap().octets = 450;
        later
    }

    #[test]
    fn rates_are_differences_by_the_servers_clock() {
        let (before, now) = (example(), later());
        let first = Reading::between(None, before.clone());
        assert_eq!((first.seconds, first.rates()), (None, Rates::default()));
        assert!(first.latencies.is_empty());
        assert_eq!(first.sessions[0].rate, 12.0, "as the server has it");
        let reading = Reading::between(Some(&before), now);
        assert_eq!(reading.seconds, Some(2.0));
        let rates = reading.rates();
        assert_eq!((rates.handshakes, rates.logins, rates.commands), (5.0, 0.5, 10.0));
        // 500 of what has ended, 200 of what goes on.
        assert_eq!((rates.octets_out, rates.octets_in, rates.transfers), (350.0, 0.0, 0.0));
        assert_eq!(reading.sessions[0].rate, 100.0);
        let json = reading.to_json();
        assert_eq!(json["rates"]["handshakes"], 5.0);
        assert_eq!(json["list"][0]["transfer"]["octets_per_second"], 100.0);
    }

    /// 99 of 2^-10 s and one of 2^-1 s are new, not the 100 of before.
    #[test]
    fn latencies_are_of_the_interval() {
        let reading = Reading::between(Some(&example()), later());
        let latency = &reading.latencies[0];
        assert_eq!((latency.count, latency.p50, latency.p99), (100, 1.0 / 1024.0, 1.0 / 1024.0));
        assert_eq!(quantile(0, &[(-80, 99), (-8, 1)], 100), 0.5);
        assert_eq!(quantile(5, &[(-80, 99)], 3), 2_f64.powi(-20));
    }

    /// Another process at the same socket begins at nothing.
    #[test]
    fn an_upgrade_and_a_restart_are_no_intervals() {
        let mut other = later();
        other.server.pid = 8;
        assert_eq!(Reading::between(Some(&example()), other).seconds, None);
        let mut again = later();
        again.server.clock = 1.0;
        assert_eq!(Reading::between(Some(&example()), again).rates(), Rates::default());
    }

    #[test]
    fn a_new_transfer_is_not_taken_for_the_one_before() {
        let mut now = later();
        now.sessions[0].activity_seconds = 1;
        assert_eq!(Reading::between(Some(&example()), now).sessions[0].rate, 12.0);
    }
}
