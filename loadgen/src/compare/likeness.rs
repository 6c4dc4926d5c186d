//! Whether two runs did the same work: what was asked of them, what their connections agreed on.

use std::collections::{BTreeMap, BTreeSet};

use crate::measure::{Channel, RunResult, TlsRow};
use crate::report::format;

/// Shares of resumed handshakes farther apart than this are different work.
const RESUMED_APART: f64 = 0.05;

/// Parameters that are about TLS: what came of them is compared, not what was asked.
const TLS_PARAMETERS: [&str; 6] =
    ["tls", "suites", "groups", "resume", "resume-data", "verify-server"];

/// What was asked of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The workload's name.
    pub workload: String,
    /// Everything that shapes it.
    pub parameters: BTreeMap<String, String>,
    /// The seed of everything random.
    pub seed: u64,
}

impl Asked {
    /// What was asked of `result`.
    #[must_use]
    pub fn of(result: &RunResult) -> Self {
        Self {
            workload: result.workload.name.clone(),
            parameters: result.workload.parameters.clone(),
            seed: result.seed,
        }
    }

    /// What makes the other one a different workload, if anything does.
    #[must_use]
    pub fn unlike(&self, other: &Self) -> Option<String> {
        if self.workload != other.workload {
            return Some(format!("{} against {}", self.workload, other.workload));
        }
        if self.seed != other.seed {
            return Some(format!("seed {} against {}", self.seed, other.seed));
        }
        let names: BTreeSet<&String> =
            self.parameters.keys().chain(other.parameters.keys()).collect();
        let differing = names.into_iter().filter(|name| {
            !TLS_PARAMETERS.contains(&name.as_str())
                && self.parameters.get(*name) != other.parameters.get(*name)
        });
        let value = |of: &Self, name: &String| {
            of.parameters.get(name).map_or_else(|| "none".to_owned(), Clone::clone)
        };
        let told: Vec<String> = differing
            .map(|name| format!("{name} {} against {}", value(self, name), value(other, name)))
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// What the connections of two sides agreed on differently, one sentence each.
pub(super) fn negotiated_differently(
    (name_a, a): (&str, &[&RunResult]),
    (name_b, b): (&str, &[&RunResult]),
) -> Vec<String> {
    type Aspect = (&'static str, fn(&TlsRow) -> &str);
    const ASPECTS: [Aspect; 4] = [
        ("TLS version", |row| &row.version),
        ("cipher suite", |row| &row.suite),
        ("key exchange group", |row| &row.group),
        ("kind of certificate", |row| &row.certificate),
    ];
    let mut sentences = Vec::new();
    for channel in [Channel::Control, Channel::Data] {
        let name = channel.name();
        for (what, aspect) in ASPECTS {
            let values = |runs: &[&RunResult]| -> BTreeSet<String> {
                let rows = runs.iter().flat_map(|run| &run.tls);
                rows.filter(|row| row.channel == name).map(|row| aspect(row).to_owned()).collect()
            };
            let (of_a, of_b) = (values(a), values(b));
            if !of_a.is_empty() && !of_b.is_empty() && of_a != of_b {
                let list =
                    |values: BTreeSet<String>| values.into_iter().collect::<Vec<_>>().join(" and ");
                sentences.push(format!(
                    "{what} of {name} connections: {name_a} has {}, {name_b} has {}",
                    list(of_a),
                    list(of_b)
                ));
            }
        }
        let share = |runs: &[&RunResult]| {
            let counts = runs.iter().map(|run| run.resumption_on(channel));
            let (all, resumed) = counts.fold((0, 0), |(all, resumed), counts| {
                (all + counts.handshakes, resumed + counts.resumed)
            });
            (all > 0).then(|| resumed as f64 / all as f64)
        };
        if let (Some(of_a), Some(of_b)) = (share(a), share(b))
            && (of_a - of_b).abs() > RESUMED_APART
        {
            sentences.push(format!(
                "resumption of {name} connections: {name_a} resumed {}, {name_b} {}",
                format::share(of_a),
                format::share(of_b)
            ));
        }
    }
    sentences
}
