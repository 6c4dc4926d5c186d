//! Counters by reason: their names, and what each thread has counted.

use super::counts::{List, WORDS_MAX, counted};
use super::field::{Field, Word};
use super::words::{Ending, LoginFailure, Refusal};

/// Name and meaning of each counter, and its words.
const LISTS: [(List, &str, &str, &[Word]); 3] = [
    (
        List::Refusals,
        "refused",
        "Connections, and what sessions need, that were refused, by the reason of the event \
         refused.",
        Refusal::WORDS,
    ),
    (
        List::LoginFailures,
        "login_failures",
        "Log-ins that failed, by the reason of the event login_failed.",
        LoginFailure::WORDS,
    ),
    (
        List::Endings,
        "disconnects",
        "Sessions that have ended, by the reason of the event disconnect.",
        Ending::WORDS,
    ),
];

const _: () = {
    let mut list = 0;
    while list < LISTS.len() {
        assert!(LISTS[list].3.len() <= WORDS_MAX);
        list += 1;
    }
};

/// How often each word of a list was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// What the counter is called.
    pub name: &'static str,
    /// What it counts, a sentence.
    pub help: &'static str,
    /// Each word, also those that were not told yet.
    pub by_reason: Vec<(&'static str, u64)>,
}

/// What this thread has counted since it began.
#[must_use]
pub fn counts() -> Vec<Counts> {
    let lists = LISTS.iter().map(|(list, name, help, words)| {
        let told =
            words.iter().enumerate().map(|(place, (word, _))| (*word, counted(*list, place)));
        Counts { name, help, by_reason: told.collect() }
    });
    lists.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{ConnectionRefused, Disconnected, NotFtp, set_rate};

    /// Without a log, and in a flood.
    #[test]
    fn each_is_counted_by_its_reason() {
        set_rate(Some(0));
        for reason in [Refusal::Shed, Refusal::PassiveFailed, Refusal::Shed] {
            ConnectionRefused { reason, peer: None, shard: None }.log();
        }
        NotFtp { reason: Refusal::NotFtp }.log();
        let (reason, logged_in) = (Ending::Failed, true);
        Disconnected { reason, logged_in, seconds: 0, bytes_in: 0, bytes_out: 0 }.log();
        let counts = counts();
        let told: Vec<_> = counts
            .iter()
            .flat_map(|counts| counts.by_reason.iter().map(|count| (counts.name, *count)))
            .filter(|(_, (_, count))| *count > 0)
            .collect();
        let refused = |reason, count| ("refused", (reason, count));
        assert_eq!(
            told,
            [
                refused("shed", 2),
                refused("not_ftp", 1),
                refused("passive_failed", 1),
                ("disconnects", ("failed", 1)),
            ]
        );
        assert_eq!(counts[1].by_reason[3], ("no_home", 0));
        assert!(counts.iter().all(|counts| counts.help.ends_with('.')));
    }
}
