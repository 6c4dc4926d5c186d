//! RETR, STOR, APPE, STOU, LIST, NLST, MLSD, ABOR: when a transfer may start, and which replies
//! frame it (RFC 959 §5.4, RFC 4217 §10.2). Moving the octets is the server-DTP's work.

use super::files::FileOperation;
use super::io::{Output, ProtectionLevel, Rendezvous, TransferError};
use super::rendezvous::DataPath;
use super::replies::Situation;
use super::{Pending, Session};
use crate::protocol::command_table::Verb;
use crate::protocol::file::{
    FileError, FileRequest, ListRequest, ListStyle, Opened, StoreMode, TransferRequest,
};
use crate::protocol::path::VirtualPath;
use crate::protocol::reply;

/// The transfer in hand.
#[derive(Debug)]
pub(super) struct TransferContext {
    verb: Verb,
    /// Last name, for the text of the 150.
    name: Vec<u8>,
    /// AbortTransfer was handed out.
    pub(super) aborting: bool,
    /// A STAT waits for [`super::Input::Progress`].
    pub(super) stat_asked: bool,
}

impl Session {
    pub(super) fn retrieve(&mut self, argument: &[u8]) {
        let offset = self.restart.take().unwrap_or(0);
        self.announced = None;
        if !self.permissions().read {
            return self.say(Situation::StoragePermission);
        }
        let Some(path) = self.resolve(argument, 550) else { return };
        let ascii = self.parameters.ascii;
        self.open(Verb::Retr, argument, TransferRequest::Retrieve { path, offset, ascii });
    }

    pub(super) fn store(&mut self, verb: Verb, argument: &[u8]) {
        let marker = self.restart.take();
        let announced = self.announced.take();
        let permissions = self.permissions();
        let mode = match (verb, marker) {
            (Verb::Stou, _) => StoreMode::Unique,
            // RFC 3659 §5: REST before APPE behaves as before STOR.
            (_, Some(offset)) if offset > 0 => StoreMode::At(offset),
            (Verb::Appe, _) => StoreMode::Append,
            _ => StoreMode::Replace,
        };
        let allowed = match mode {
            StoreMode::Append => permissions.append,
            StoreMode::At(_) => permissions.append && permissions.write,
            StoreMode::Replace | StoreMode::Unique => permissions.write,
        };
        if !allowed {
            return self.say_code(store_refusal(verb), "Permission denied.");
        }
        let ascii = self.parameters.ascii;
        if ascii && matches!(mode, StoreMode::At(_)) {
            return self.say_code(554, "REST with an upload needs TYPE I.");
        }
        let wanted = if argument.is_empty() { b"upload" } else { argument };
        let Some(path) = self.resolve(wanted, store_refusal(verb)) else { return };
        self.open(verb, wanted, TransferRequest::Store { path, mode, ascii, announced });
    }

    pub(super) fn list(&mut self, verb: Verb, argument: &[u8]) {
        self.restart = None;
        self.announced = None;
        let code = if verb == Verb::Mlsd { 550 } else { 450 };
        if !self.permissions().list {
            return self.say_code(code, "Permission denied.");
        }
        match verb {
            Verb::Mlsd => self.list_operand(verb, argument, true),
            // Clients send `LIST -a`; a file may be called so all the same [LIST-04].
            _ if split_options(argument).1.len() < argument.len() => {
                let Some(path) = self.resolve(argument, code) else { return };
                let argument = argument.to_vec();
                let operation = FileOperation::ListOptions { verb, argument };
                self.ask(FileRequest::Metadata(path), operation);
            }
            _ => self.list_operand(verb, argument, false),
        }
    }

    pub(super) fn list_operand(&mut self, verb: Verb, operand: &[u8], hidden: bool) {
        let code = if verb == Verb::Mlsd { 550 } else { 450 };
        let Some(path) = self.resolve(operand, code) else { return };
        let style = match verb {
            Verb::Mlsd => ListStyle::Facts(self.parameters.facts),
            Verb::Nlst => ListStyle::Names { prefix: name_prefix(operand) },
            _ => ListStyle::Long,
        };
        let request = self.list_request(path, operand, style, hidden);
        self.open(verb, operand, TransferRequest::List(request));
    }

    pub(super) fn list_request(
        &self,
        path: VirtualPath,
        argument: &[u8],
        style: ListStyle,
        hidden: bool,
    ) -> ListRequest {
        ListRequest {
            path,
            argument: argument.to_vec(),
            style,
            hidden,
            permissions: self.permissions(),
            now: self.unix_now,
        }
    }

    /// Checks common to all transfers, then asks storage. Nothing preliminary is said before
    /// storage agreed.
    fn open(&mut self, verb: Verb, argument: &[u8], request: TransferRequest) {
        if self.policy.require_data_tls && self.security.level() == ProtectionLevel::Clear {
            return self.say(Situation::DataLevelTooLow);
        }
        if self.data_path == DataPath::None {
            return self.say(Situation::NeedDataConnection);
        }
        let name = argument.to_vec();
        self.pending =
            Pending::Opening(TransferContext { verb, name, aborting: false, stat_asked: false });
        self.output(Output::OpenTransfer(request));
    }

    pub(super) fn transfer_opened(&mut self, result: Result<Opened, FileError>) {
        let Pending::Opening(context) = std::mem::replace(&mut self.pending, Pending::Nothing)
        else {
            return;
        };
        let opened = match result {
            Ok(opened) => opened,
            Err(error) => {
                // The client's half of the data connection goes with the refused command.
                self.close_data_path();
                let (code, text) = open_refusal(context.verb, error);
                return self.say_code(code, text);
            }
        };
        let rendezvous = match std::mem::replace(&mut self.data_path, DataPath::None) {
            DataPath::Active(address) => Rendezvous::Active(address),
            DataPath::Passive | DataPath::None => Rendezvous::Passive,
        };
        self.say_150(&context, &opened);
        self.pending = Pending::Running(context);
        self.output(Output::RunTransfer { rendezvous, level: self.security.level() });
    }

    fn say_150(&mut self, context: &TransferContext, opened: &Opened) {
        let mut text = Vec::new();
        match (context.verb, &opened.name) {
            // RFC 1123 §4.1.2.9 fixes this form.
            (Verb::Stou, Some(name)) => {
                text.extend_from_slice(b"FILE: ");
                text.extend_from_slice(name);
            }
            (Verb::List | Verb::Nlst | Verb::Mlsd, _) => text.extend_from_slice(b"Listing."),
            _ => {
                text.extend_from_slice(b"Data connection for ");
                text.extend_from_slice(&reply::quoted(&context.name));
                if let Some(size) = opened.size {
                    text.extend_from_slice(format!(" ({size} bytes)").as_bytes());
                }
                text.push(b'.');
            }
        }
        self.reply(150, &text);
    }

    pub(super) fn transfer_finished(&mut self, result: Result<(), TransferError>) {
        let Pending::Running(context) = std::mem::replace(&mut self.pending, Pending::Nothing)
        else {
            return;
        };
        let error = match result {
            Ok(()) => return self.say(Situation::TransferComplete),
            Err(error) => error,
        };
        match error {
            TransferError::NotOpened => self.say(Situation::DataConnectionFailed),
            TransferError::HandshakeFailed => self.say(Situation::DataHandshakeFailed),
            TransferError::NotResumed(reason) => {
                let text = format!(
                    "Data connection must resume the TLS session of this control connection: \
                     {reason}."
                );
                self.reply(522, text.as_bytes());
            }
            TransferError::ConnectionLost => self.say(Situation::DataConnectionLost),
            TransferError::Truncated => self.say(Situation::DataTruncated),
            TransferError::Protection => self.say(Situation::DataProtectionFailed),
            TransferError::Stalled => self.say(Situation::DataStalled),
            TransferError::Aborted | TransferError::Draining => self.say(Situation::DataAborted),
            TransferError::Storage(error) => {
                let (code, text) = storage_failure(context.verb, error);
                self.say_code(code, text);
            }
        }
    }

    /// ABOR with no transfer running; a running one was ended before this command is reached, so
    /// its 426 (or 226, when it was done already) is out.
    pub(super) fn abor(&mut self) {
        self.close_data_path();
        self.say(Situation::AbortDone);
    }

    pub(super) fn say_code(&mut self, code: u16, text: &str) {
        self.reply(code, text.as_bytes());
    }
}

/// 550 is not in the reply list of STOR and STOU; APPE has it (RFC 959 §5.4).
fn store_refusal(verb: Verb) -> u16 {
    if verb == Verb::Appe { 550 } else { 553 }
}

/// Refusals before the 150, within each command's reply list.
fn open_refusal(verb: Verb, error: FileError) -> (u16, &'static str) {
    let code = match (verb, error) {
        (_, FileError::BeyondEnd) => 554,
        (_, FileError::Busy | FileError::Overloaded) => 450,
        (_, FileError::Io(_)) => 451,
        (_, FileError::NoSpace) => 452,
        (Verb::Stor | Verb::Stou | Verb::Appe, FileError::Quota | FileError::TooBig) => 552,
        (Verb::Mlsd, FileError::NotADirectory) => 501,
        (Verb::List | Verb::Nlst, _) => 450,
        (Verb::Stor | Verb::Stou, _) => 553,
        _ => 550,
    };
    (code, error_text(error))
}

/// Failures after the 150.
fn storage_failure(verb: Verb, error: FileError) -> (u16, &'static str) {
    let storing = matches!(verb, Verb::Stor | Verb::Stou | Verb::Appe);
    let code = match error {
        FileError::NoSpace | FileError::Quota | FileError::TooBig if storing => 552,
        _ => 451,
    };
    (code, error_text(error))
}

/// What a client is told about a storage error; no path, no errno.
pub(super) fn error_text(error: FileError) -> &'static str {
    match error {
        FileError::NotFound => "No such file or directory.",
        FileError::PermissionDenied => "Permission denied.",
        FileError::OutsideRoot => "Name leads out of the tree.",
        FileError::NotADirectory => "Not a directory.",
        FileError::IsADirectory => "Is a directory.",
        FileError::NotAFile => "Not a regular file.",
        FileError::AlreadyExists => "Name exists already.",
        FileError::NotEmpty => "Directory not empty.",
        FileError::NameTooLong => "Name too long.",
        FileError::Loop => "Too many symbolic links.",
        FileError::NoSpace => "No space left.",
        FileError::Quota => "Quota exceeded.",
        FileError::TooBig => "File too big.",
        FileError::ReadOnly => "Read-only file system.",
        FileError::Busy => "File is busy; try again later.",
        FileError::BeyondEnd => "Restart marker or range beyond the end of the file.",
        FileError::Unsupported => "Not available for this file.",
        FileError::Overloaded => "Server is busy; try again later.",
        FileError::Io(_) => "Local storage error.",
    }
}

/// Clients send `LIST -a`, `-la`, `-aL`: leading options are no pathname.
pub(super) fn split_options(argument: &[u8]) -> (bool, &[u8]) {
    let mut rest = argument;
    let mut hidden = false;
    while let [b'-', tail @ ..] = rest {
        let end = tail.iter().position(|&octet| octet == b' ').unwrap_or(tail.len());
        let letters = &tail[..end];
        if letters.is_empty() || !letters.iter().all(u8::is_ascii_alphanumeric) {
            break;
        }
        hidden |= letters.iter().any(|letter| matches!(letter, b'a' | b'A'));
        rest = &tail[end..];
        if let [b' ', operand @ ..] = rest {
            rest = operand;
        }
    }
    (hidden, rest)
}

/// `NLST sub` answers `sub/a`: names usable as arguments (RFC 1123 §4.1.2.7).
fn name_prefix(operand: &[u8]) -> Vec<u8> {
    let mut prefix = operand.to_vec();
    if !prefix.is_empty() && prefix.last() != Some(&b'/') {
        prefix.push(b'/');
    }
    prefix
}
