//! Requests to storage: the checks before one is sent, and what becomes of its answer. A command
//! states both in one place: what it asks, and the function that gets the answer.

use super::io::Output;
use super::replies::{Situation, error_text};
use super::{Pending, Session};
use crate::events::Denial;
use crate::protocol::account::Permissions;
use crate::protocol::file::{FileError, FileKind, FileReply, FileRequest};
use crate::protocol::path::VirtualPath;

/// What a command does with the answer.
type Answered = dyn FnOnce(&mut Session, Result<FileReply, FileError>);

/// A request whose answer has not come.
pub(super) struct FileWait {
    pub(super) interrupt: Interrupt,
    answered: Box<Answered>,
}

impl std::fmt::Debug for FileWait {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FileWait")
            .field("interrupt", &self.interrupt)
            .finish_non_exhaustive()
    }
}

/// What ends a request before storage has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// Nothing: it is short, or changes something.
    Never,
    /// ABOR: it may take long, within a bound.
    OnAbort,
    /// ABOR, and the end of what the client sends without QUIT: it may take hours.
    OnAbortOrEnd,
}

impl Session {
    /// Asks storage. `answer` takes the part out of [`FileReply`] that `request` is answered with;
    /// `answered` makes the command's reply of it, usually with [`Session::refuse`] for errors.
    pub(super) fn ask<T: 'static>(
        &mut self,
        request: FileRequest,
        answer: fn(FileReply) -> Option<T>,
        answered: impl FnOnce(&mut Self, Result<T, FileError>) + 'static,
    ) {
        self.ask_interruptibly(Interrupt::Never, request, answer, answered);
    }

    /// As [`Session::ask`], for requests that may take long.
    pub(super) fn ask_interruptibly<T: 'static>(
        &mut self,
        interrupt: Interrupt,
        request: FileRequest,
        answer: fn(FileReply) -> Option<T>,
        answered: impl FnOnce(&mut Self, Result<T, FileError>) + 'static,
    ) {
        let answered = move |session: &mut Self, result: Result<FileReply, FileError>| {
            let result = result.and_then(|reply| {
                let part = answer(reply);
                debug_assert!(part.is_some(), "storage answered something that was not asked");
                part.ok_or(FileError::Io(0))
            });
            answered(session, result);
        };
        self.pending = Pending::File(FileWait { interrupt, answered: Box::new(answered) });
        self.interrupting = false;
        self.output(Output::File(request));
    }

    pub(super) fn file_answered(&mut self, result: Result<FileReply, FileError>) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::File(wait) => (wait.answered)(self, result.and_then(refuse_dangling)),
            other => self.pending = other,
        }
    }

    /// The reply to a command that storage refused.
    pub(super) fn refuse(&mut self, error: FileError) {
        self.refuse_with(550, error);
    }

    /// As [`Session::refuse`], with another code where the reply list of the command has no 550.
    pub(super) fn refuse_with(&mut self, code: u16, error: FileError) {
        let code = match error {
            // Worth another try (RFC 1123 §4.1.2.11), and nothing else is: clients that see 4yz ask
            // again until they are stopped. Some reply lists have no 450; its first digit says what
            // to do.
            FileError::Busy | FileError::Overloaded => 450,
            // The client has sent ABOR.
            FileError::Aborted => 451,
            _ => code,
        };
        self.say_code(code, error_text(error));
    }

    /// Checks permission, then pathname: the order of all commands. `None` after a refusal.
    pub(super) fn resolve_if(&mut self, allowed: bool, argument: &[u8]) -> Option<VirtualPath> {
        if !allowed {
            self.deny_path(Denial::Permission, argument);
            self.say(Situation::StoragePermission);
            return None;
        }
        self.resolve(argument, 550)
    }

    /// The absolute form of a pathname; `None` after it was refused with `code`.
    pub(super) fn resolve(&mut self, argument: &[u8], code: u16) -> Option<VirtualPath> {
        let path = self.cwd.resolve(argument);
        if path.is_err() {
            self.say_code(code, "Bad pathname: too long, or with a NUL.");
        }
        path.ok()
    }

    pub(super) fn permissions(&self) -> Permissions {
        self.account().map_or(Permissions::NONE, |account| account.permissions)
    }
}

/// A symbolic link that leads nowhere, or out of the tree: nothing of that name for most commands.
fn refuse_dangling(reply: FileReply) -> Result<FileReply, FileError> {
    match reply {
        FileReply::Metadata(metadata) if metadata.kind == FileKind::Link => {
            Err(FileError::NotFound)
        }
        reply => Ok(reply),
    }
}
