//! The `mixed` workload's file: which operations in which proportion, how large, how many of them
//! the client gives up. TOML in, choices out.

use std::{fmt, path::Path, time::Duration};

use serde::Deserialize;

use crate::{
    plan::{Arrivals, RATE_MAX},
    units::{parse_duration, parse_size},
    verify::Random,
};

/// Most entries of a list.
const ENTRIES_MAX: usize = 64;

/// A mix of operations.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    operations: Vec<(Action, f64)>,
    sizes: Vec<(u64, f64)>,
    /// Share of transfers that the client gives up in the middle, 0 to 1.
    abandon: f64,
    /// Arrival rate, where the file gives one.
    pub rate: Option<f64>,
    /// How arrivals are spread, where the file says it.
    pub arrivals: Option<Arrivals>,
    /// Pause of a client after each operation, in closed loop.
    pub think: Option<Duration>,
}

/// What one operation of a mix does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// RETR of one of the files.
    Download,
    /// STOR.
    Upload,
    /// LIST of the working directory.
    List,
    /// NOOP.
    Noop,
    /// A new session: connect, TLS, USER, PASS, QUIT.
    Login,
}

impl Action {
    /// Its name in a scenario file and in the JSON result.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::List => "list",
            Self::Noop => "noop",
            Self::Login => "login",
        }
    }
}

/// The work of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What to do.
    pub action: Action,
    /// Which of [`Scenario::sizes`].
    pub size_index: usize,
    /// After how many octets the client vanishes.
    pub abandon_after: Option<u64>,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// A sentence with the file's name.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.operation.is_empty() || file.operation.len() > ENTRIES_MAX {
            return Err(format!("there must be 1 to {ENTRIES_MAX} [[operation]] entries"));
        }
        if file.size.len() > ENTRIES_MAX {
            return Err(format!("there may be at most {ENTRIES_MAX} [[size]] entries"));
        }
        let operations: Vec<_> =
            file.operation.iter().map(|entry| (entry.kind, entry.weight)).collect();
        let mut sizes = Vec::new();
        for entry in &file.size {
            sizes.push((parse_size(&entry.bytes)?, entry.weight));
        }
        if sizes.is_empty() {
            sizes.push((DEFAULT_SIZE_BYTES, 1.0));
        }
        let weights = operations.iter().map(|(_, w)| w).chain(sizes.iter().map(|(_, w)| w));
        if weights.clone().any(|weight| !weight.is_finite() || *weight <= 0.0) {
            return Err("each weight must be above 0".to_owned());
        }
        if !(0.0..=1.0).contains(&file.abandon) {
            return Err("abandon must be a share from 0 to 1".to_owned());
        }
        if file.rate.is_some_and(|rate| !(rate > 0.0 && rate <= RATE_MAX)) {
            return Err(format!("rate must be above 0 and at most {RATE_MAX}"));
        }
        let think = file.think.as_deref().map(parse_duration).transpose()?;
        let File { abandon, rate, arrivals, .. } = file;
        Ok(Self { operations, sizes, abandon, rate, arrivals, think })
    }

    /// The file sizes, octets.
    pub fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.sizes.iter().map(|(size, _)| *size)
    }

    /// Whether anything is downloaded, so that there must be files.
    #[must_use]
    pub fn downloads(&self) -> bool {
        self.operations.iter().any(|(action, _)| *action == Action::Download)
    }

    /// The work of operation `number`.
    #[must_use]
    pub fn choose(&self, seed: u64, number: u64) -> Choice {
        let mut random = Random::new(seed, number);
        let action = self.operations[pick(&mut random, &self.operations)].0;
        let size_index = pick(&mut random, &self.sizes);
        let abandoned = random.next_unit() <= self.abandon;
        let part = random.next_unit();
        let transfer = matches!(action, Action::Download | Action::Upload);
        let abandon_after = (abandoned && transfer).then(|| {
            #[expect(clippy::cast_precision_loss, reason = "a share of a size need not be exact")]
            #[expect(clippy::cast_possible_truncation, reason = "at most the size")]
            #[expect(clippy::cast_sign_loss, reason = "both are positive")]
            let octets = (self.sizes[size_index].0 as f64 * part) as u64;
            octets
        });
        Choice { action, size_index, abandon_after }
    }
}

/// The mix in a line: what the file says of the work, and nothing of its pace.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (action, weight) in &self.operations {
            write!(f, "{action:?} {weight}, ")?;
        }
        for (octets, weight) in &self.sizes {
            write!(f, "{octets} octets {weight}, ")?;
        }
        write!(f, "abandon {}", self.abandon)
    }
}

const DEFAULT_SIZE_BYTES: u64 = 64 * 1024;

fn pick<T>(random: &mut Random, weighted: &[(T, f64)]) -> usize {
    let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    let mut left = random.next_unit() * total;
    for (index, (_, weight)) in weighted.iter().enumerate() {
        left -= weight;
        if left <= 0.0 {
            return index;
        }
    }
    // Rounding may leave a trace behind the last one.
    weighted.len() - 1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    operation: Vec<OperationEntry>,
    #[serde(default)]
    size: Vec<SizeEntry>,
    #[serde(default)]
    abandon: f64,
    rate: Option<f64>,
    arrivals: Option<Arrivals>,
    think: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationEntry {
    kind: Action,
    #[serde(default = "one")]
    weight: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SizeEntry {
    bytes: String,
    #[serde(default = "one")]
    weight: f64,
}

const fn one() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::{Action, Scenario};

    const TEXT: &str = r#"
        rate = 50.5
        arrivals = "poisson"
        think = "250ms"
        abandon = 0.25
        [[operation]]
        kind = "download"
        weight = 3
        [[operation]]
        kind = "noop"
        [[size]]
        bytes = "4KiB"
        weight = 9
        [[size]]
        bytes = "1MiB"
    "#;

    #[test]
    fn choices_follow_the_weights_and_the_seed() {
        let scenario = Scenario::parse(TEXT).unwrap();
        assert_eq!(scenario.sizes().collect::<Vec<_>>(), [4096, 1 << 20]);
        let choices: Vec<_> = (0..10_000).map(|number| scenario.choose(1, number)).collect();
        let downloads = choices.iter().filter(|choice| choice.action == Action::Download).count();
        assert!((7300..7700).contains(&downloads), "{downloads}");
        let large = choices.iter().filter(|choice| choice.size_index == 1).count();
        assert!((900..1100).contains(&large), "{large}");
        let abandoned = choices.iter().filter(|choice| choice.abandon_after.is_some()).count();
        assert!((1750..2000).contains(&abandoned), "{abandoned}");
        let again: Vec<_> = (0..10_000).map(|number| scenario.choose(1, number)).collect();
        assert_eq!(choices, again);
        assert_ne!(choices[..100], (0..100).map(|n| scenario.choose(2, n)).collect::<Vec<_>>());
    }

    #[test]
    fn refuses() {
        #[track_caller]
        fn check(text: &str, part: &str) {
            let error = Scenario::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        check("", "missing field `operation`");
        check("operation = []", "1 to 64");
        check("operation = [{ kind = \"fly\" }]", "unknown variant `fly`");
        check("operation = [{ kind = \"list\", weight = 0 }]", "above 0");
        check("abandon = 2\noperation = [{ kind = \"list\" }]", "from 0 to 1");
        check("rate = -1\noperation = [{ kind = \"list\" }]", "rate must be");
        check("size = [{ bytes = \"x\" }]\noperation = [{ kind = \"list\" }]", "\"x\"");
        check("wat = 1\noperation = [{ kind = \"list\" }]", "unknown field `wat`");
    }
}
