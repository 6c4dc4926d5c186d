//! What a reload of a configuration would change, and what it may not.

use std::path::PathBuf;
use std::sync::Arc;

use super::document::Problem;
use super::key::Change;
use super::{Config, Settings};
use crate::auth::AccountChanges;
use crate::protocol::account::HomeId;

impl Config {
    /// The keys whose values are others than in `running`, in the order of the reference file,
    /// accounts left out; a table that may be there several times is one of them.
    ///
    /// # Errors
    ///
    /// Each key that differs and that only a restart changes, with its place.
    pub fn difference(&self, running: &Settings) -> Result<Vec<String>, Vec<Problem>> {
        let mut keys = Vec::new();
        let mut refused = Vec::new();
        for (new, old) in self.settings.values().into_iter().zip(running.values()) {
            if new.shown == old.shown {
                continue;
            }
            let path = new.key.path();
            match new.key.change {
                Change::Reload => keys.push(path),
                Change::Restart => {
                    let message = format!(
                        "is \"{}\" in the running server, and only a restart changes it to \"{}\"",
                        old.shown, new.shown
                    );
                    refused.push(self.problem(&path, message));
                }
            }
        }
        if self.settings.directories != running.directories {
            keys.push("directories".to_owned());
        }
        if refused.is_empty() { Ok(keys) } else { Err(refused) }
    }

    /// Makes the accounts those of `generation`, after the ones that are in force: an account that
    /// is the same, with the same home, keeps the generation it has.
    pub fn succeed_accounts(&mut self, running: &Self, generation: u64) -> AccountChanges {
        let (new, old) = (&mut self.accounts, &running.accounts);
        fn home(homes: &[PathBuf], HomeId(id): HomeId) -> Option<&PathBuf> {
            usize::try_from(id).ok().and_then(|index| homes.get(index))
        }
        let homes = &new.homes;
        let same = |now, before| home(homes, now) == home(&old.homes, before);
        // Nobody else has it before it is in force.
        let table = Arc::get_mut(&mut new.users);
        table.map(|table| table.succeed(&old.users, generation, same)).unwrap_or_default()
    }

    /// Whether it is known where `key` stands.
    #[must_use]
    pub fn has_place(&self, key: &str) -> bool {
        self.places.file.is_some() && self.places.lines.contains_key(key)
    }

    /// Something that is wrong about `key`, with its place.
    #[must_use]
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        match &self.places.file {
            Some(file) => {
                let line = self.places.lines.get(key).copied().unwrap_or(0);
                Problem { line, ..Problem::in_file(file, key, message) }
            }
            None => Problem::on_command_line(key, message),
        }
    }
}
