//! What the shards have counted, for `top`: as it is, since the start; who compares two answers
//! makes rates and latencies of it.

use serde_json::{Map, Value, json};

use crate::metrics::{self, Kind, Phase, Spans};
use crate::shard::Figures;

/// One object a shard, by number.
pub(super) fn by_shard(figures: &[Figures]) -> Value {
    figures.iter().map(shard).collect()
}

fn shard(figures: &Figures) -> Value {
    let replies = figures.replies.iter().map(|(code, count)| (code.to_string(), json!(count)));
    let ports = figures.passive_ports.iter();
    let ports = ports.map(|(state, count)| ((*state).to_owned(), json!(count)));
    let longest = figures.turns.as_ref().map(|(_, longest)| longest.as_secs_f64());
    json!({
        "shard": figures.shard,
        "counters": values(&figures.counters),
        "gauges": values(&figures.gauges),
        "replies": replies.collect::<Map<_, _>>(),
        "passive_ports": ports.collect::<Map<_, _>>(),
        "turn_longest_seconds": longest,
    })
}

/// By the names and in the units of the metrics.
fn values(report: &[(&'static str, u64)]) -> Map<String, Value> {
    let value = |(name, value): &(&'static str, u64)| {
        let (kind, _) = metrics::describe(name)?;
        let number = match kind {
            Kind::Counter | Kind::Gauge => json!(value),
            Kind::Span => kind.written(*value).parse::<f64>().map_or(Value::Null, Value::from),
        };
        Some(((*name).to_owned(), number))
    };
    report.iter().filter_map(value).collect()
}

/// How long the phases took, of all shards: how many, their sum, and the native buckets that are
/// not empty, as pairs: n, and how many took longer than 2^((n-1)/8) seconds and no longer than
/// 2^(n/8).
pub(super) fn phases(figures: &[Figures]) -> Value {
    let phase = |(index, phase): (usize, &Phase)| {
        let mut all = Spans::default();
        let of_phase = figures.iter().filter_map(|figures| figures.latencies.get(index));
        of_phase.for_each(|spans| all.add(spans));
        let (name, kind) = phase.labels();
        let seconds = all.seconds().parse::<f64>().map_or(Value::Null, Value::from);
        json!({
            "phase": name,
            "kind": kind,
            "count": all.count(),
            "seconds": seconds,
            "shortest": all.zeros(),
            "buckets": all.native().map(|(number, count)| json!([number, count])).collect::<Value>(),
        })
    };
    Phase::ALL.iter().enumerate().map(phase).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Counters, Gauges, Latencies};

    #[test]
    fn two_shards_and_what_they_have_together() {
        let shard = |shard: usize| {
            let (counters, gauges) = (Counters::default(), Gauges::default());
            counters.logins.add(3);
            gauges.helper_work_oldest_seconds.set(Duration::from_millis(1500));
            let latencies = Latencies::default();
            latencies.record(Phase::LoginAccepted, Duration::from_secs(1));
            Figures {
                shard,
                counters: counters.snapshot(),
                gauges: gauges.snapshot(),
                replies: vec![(220, 7)],
                latencies: latencies.snapshot(),
                ..Figures::default()
            }
        };
        let figures = [shard(0), shard(1)];
        let shards = by_shard(&figures);
        assert_eq!((&shards[1]["shard"], &shards[1]["counters"]["logins"]), (&json!(1), &json!(3)));
        assert_eq!(shards[0]["gauges"]["helper_work_oldest_seconds"], json!(1.5));
        assert_eq!(shards[0]["replies"], json!({ "220": 7 }));
        let phases = phases(&figures);
        let all = phases.as_array().unwrap();
        assert_eq!(all.len(), Phase::ALL.len());
        let login = all.iter().find(|one| one["phase"] == "login" && one["kind"] == "accepted");
        let login = login.unwrap();
        assert_eq!((&login["count"], &login["seconds"]), (&json!(2), &json!(2.0)));
        assert_eq!(login["buckets"], json!([[0, 2]]));
    }
}
