//! RETR, STOR, APPE, STOU, ABOR, and what all transfers share: when one may start, and which
//! replies frame it (RFC 959 §5.4, RFC 4217 §10.2). Moving the octets is the server-DTP's work.

use super::io::{Output, ProtectionLevel, Rendezvous, TransferError};
use super::rendezvous::NextDataConnection;
use super::replies::{Situation, error_text};
use super::{Pending, Session};
use crate::events::Denial;
use crate::protocol::file::{FileError, Opened, StoreMode, TransferRequest};
use crate::protocol::reply;

/// Which command a transfer is from, for its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferKind {
    /// RETR.
    Retrieve,
    /// STOR.
    Store,
    /// STOU.
    StoreUnique,
    /// APPE.
    Append,
    /// LIST.
    List,
    /// NLST.
    NameList,
    /// MLSD.
    FactList,
}

/// The transfer in progress.
#[derive(Debug)]
pub(super) struct TransferContext {
    kind: TransferKind,
    /// Last name, for the text of the 150.
    name: Vec<u8>,
    /// AbortTransfer was handed out.
    pub(super) aborting: bool,
    /// A STAT waits for [`super::Input::Progress`].
    pub(super) stat_asked: bool,
}

impl Session {
    pub(super) fn retr(&mut self, argument: &[u8]) {
        let offset = self.restart.take().unwrap_or(0);
        self.announced = None;
        if !self.permissions().read {
            self.deny_path(Denial::Permission, argument);
            return self.say(Situation::StoragePermission);
        }
        let Some(path) = self.resolve(argument, 550) else { return };
        let ascii = self.parameters.ascii;
        let request = TransferRequest::Retrieve { path, offset, ascii };
        self.open(TransferKind::Retrieve, argument, request);
    }

    pub(super) fn stor(&mut self, argument: &[u8]) {
        self.store(TransferKind::Store, StoreMode::Replace, argument);
    }

    pub(super) fn appe(&mut self, argument: &[u8]) {
        self.store(TransferKind::Append, StoreMode::Append, argument);
    }

    pub(super) fn stou(&mut self, argument: &[u8]) {
        let wanted = if argument.is_empty() { b"upload" } else { argument };
        self.store(TransferKind::StoreUnique, StoreMode::Unique, wanted);
    }

    fn store(&mut self, kind: TransferKind, mode: StoreMode, argument: &[u8]) {
        let marker = self.restart.take();
        let announced = self.announced.take();
        let permissions = self.permissions();
        let mode = match (mode, marker) {
            // RFC 3659 §5: REST before APPE behaves as before STOR. Clients send REST 0 to take a
            // marker back, so APPE after it still appends instead of emptying the file.
            (StoreMode::Replace | StoreMode::Append, Some(offset)) if offset > 0 => {
                StoreMode::At(offset)
            }
            (mode, _) => mode,
        };
        let rights = permissions.store_rights();
        let allowed = match mode {
            StoreMode::Append => permissions.append,
            // What of these the upload takes depends on whether the file exists, and its length.
            StoreMode::At(_) => permissions.append && (rights.create || rights.overwrite),
            StoreMode::Replace => rights.create || rights.overwrite,
            StoreMode::Unique => rights.create,
        };
        if !allowed {
            self.deny_path(Denial::Permission, argument);
            return self.say_code(kind.refusal(), error_text(FileError::PermissionDenied));
        }
        let ascii = self.parameters.ascii;
        if ascii && matches!(mode, StoreMode::At(_)) {
            return self.say_code(554, "REST with an upload needs TYPE I.");
        }
        let Some(path) = self.resolve(argument, kind.refusal()) else { return };
        self.open(kind, argument, TransferRequest::Store { path, mode, rights, ascii, announced });
    }

    /// Checks common to all transfers, then asks storage. The 150 follows only after storage has
    /// agreed.
    pub(super) fn open(&mut self, kind: TransferKind, argument: &[u8], request: TransferRequest) {
        if self.policy.require_data_tls && self.security.level() == ProtectionLevel::Clear {
            self.deny_path(Denial::TlsRequired, argument);
            return self.say(Situation::DataLevelTooLow);
        }
        if self.next_data == NextDataConnection::None {
            return self.say(Situation::NeedDataConnection);
        }
        let name = argument.to_vec();
        self.pending =
            Pending::Opening(TransferContext { kind, name, aborting: false, stat_asked: false });
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
                self.close_next_data();
                if error == FileError::Aborted {
                    return self.say(Situation::DataAborted);
                }
                let (code, text) = open_refusal(context.kind, error);
                return self.say_code(code, text);
            }
        };
        let rendezvous = match std::mem::replace(&mut self.next_data, NextDataConnection::None) {
            NextDataConnection::Active(address) => Rendezvous::Active(address),
            NextDataConnection::Passive | NextDataConnection::None => Rendezvous::Passive,
        };
        self.say_150(&context, &opened);
        self.pending = Pending::Running(context);
        self.output(Output::RunTransfer { rendezvous, level: self.security.level() });
    }

    fn say_150(&mut self, context: &TransferContext, opened: &Opened) {
        let mut text = Vec::new();
        match (context.kind, &opened.name) {
            // RFC 1123 §4.1.2.9 fixes this form.
            (TransferKind::StoreUnique, Some(name)) => {
                text.extend_from_slice(b"FILE: ");
                text.extend_from_slice(name);
            }
            (TransferKind::List | TransferKind::NameList | TransferKind::FactList, _) => {
                text.extend_from_slice(b"Listing.");
            }
            (
                TransferKind::Retrieve
                | TransferKind::Store
                | TransferKind::StoreUnique
                | TransferKind::Append,
                _,
            ) => {
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
                let (code, text) = storage_failure(context.kind, error);
                self.say_code(code, text);
            }
        }
    }

    /// ABOR with no transfer in progress: one in progress was ended before this command is
    /// executed, and its 426 (or 226, when it had completed) has been sent.
    pub(super) fn abor(&mut self) {
        self.close_next_data();
        self.say(Situation::AbortDone);
    }

    pub(super) fn say_code(&mut self, code: u16, text: &str) {
        self.reply(code, text.as_bytes());
    }
}

impl TransferKind {
    /// The code of a refusal: 550 is not in the reply list of STOR and STOU; APPE has it (RFC 959
    /// §5.4).
    fn refusal(self) -> u16 {
        match self {
            Self::Store | Self::StoreUnique => 553,
            Self::Retrieve | Self::Append | Self::List | Self::NameList | Self::FactList => 550,
        }
    }

    fn is_upload(self) -> bool {
        match self {
            Self::Store | Self::StoreUnique | Self::Append => true,
            Self::Retrieve | Self::List | Self::NameList | Self::FactList => false,
        }
    }
}

/// Refusals before the 150, within each command's reply list.
fn open_refusal(kind: TransferKind, error: FileError) -> (u16, &'static str) {
    let code = match error {
        FileError::BeyondEnd => 554,
        FileError::Busy | FileError::Overloaded => 450,
        FileError::Io(_) => 451,
        FileError::NoSpace => 452,
        FileError::Quota | FileError::TooBig if kind.is_upload() => 552,
        FileError::NotADirectory if kind == TransferKind::FactList => 501,
        _ => kind.refusal(),
    };
    (code, error_text(error))
}

/// Failures after the 150. 451 is for what another try may mend.
fn storage_failure(kind: TransferKind, error: FileError) -> (u16, &'static str) {
    let code = match error {
        FileError::NoSpace | FileError::Quota | FileError::TooBig if kind.is_upload() => 552,
        // Another session uses the name: the same command may succeed in a moment.
        FileError::Busy if kind.is_upload() => 450,
        FileError::NoSpace
        | FileError::Busy
        | FileError::Overloaded
        | FileError::Shrunk
        | FileError::Io(_) => 451,
        FileError::BeyondEnd => 554,
        _ => open_refusal(kind, error).0,
    };
    (code, error_text(error))
}
