//! The end of a connection in the model: commands without a reply were executed in their order, up
//! to one of them, or not at all.

use super::{Model, Moved, Outstanding, Request, Tree, Verdict};
use crate::connection::tests::workload::Command;

impl Model {
    /// The connection is gone and `actual` is what storage holds. Commands that got no reply may
    /// have been executed, in their order, or not; a line without its end must not.
    pub(in super::super) fn check_end(
        &mut self,
        actual: &[Tree; 2],
        cut_off: bool,
        failures: u64,
        moved: Option<&Moved>,
    ) -> Verdict {
        self.failures = failures;
        // What is behind the end of the client's sending is closed without a word.
        let silent = self.ended
            && self.outstanding.front().is_some_and(|head| {
                matches!(head.command, Command::Greeting | Command::Pass(_) | Command::Size(_))
            });
        if !self.over && !cut_off && !silent && self.waits() {
            return Err(format!("no answer to {:?}", self.outstanding));
        }
        if self.may_become(actual, moved) {
            return Ok(());
        }
        let doubtful = &self.outstanding;
        Err(format!("storage holds {actual:?}, not {:?} after {doubtful:?}", self.trees))
    }

    /// Whether the commands without a reply, or the first of them, lead to `actual`.
    fn may_become(&self, actual: &[Tree; 2], moved: Option<&Moved>) -> bool {
        if self.trees == *actual {
            return true;
        }
        let mut next = self.clone();
        let Some(Outstanding { command, open }) = next.outstanding.pop_front() else {
            return false;
        };
        // It failed, or was given up.
        let failing = self.failures != self.explained && writes(command);
        if failing || command.is_transfer() {
            let mut without = next.clone();
            if command.is_transfer() {
                without.wanted(command);
            }
            if without.may_become(actual, moved) {
                return true;
            }
        }
        if !command.is_transfer() {
            return next.answered(command, 0).is_ok() && next.may_become(actual, moved);
        }
        if !open && next.opened(command).is_err() {
            return next.may_become(actual, moved);
        }
        if let Some(Request::Store { path, mode, ascii, .. }) = next.request.take() {
            let octets = moved.filter(|_| open).map_or(&[][..], |moved| &moved.octets);
            next.store(&path, mode, ascii, octets);
        }
        next.may_become(actual, None)
    }
}

/// Commands without which storage is another.
fn writes(command: Command) -> bool {
    matches!(
        command,
        Command::Pass(_)
            | Command::Cwd(_)
            | Command::Mkd(_)
            | Command::Rmd(_)
            | Command::Dele(_)
            | Command::Rnfr(_)
            | Command::Rnto(_)
    )
}
