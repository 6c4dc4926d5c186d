//! LIST, NLST, MLSD and STAT with a pathname: what is to be listed, and how.

use super::Session;
use super::file_requests::Interrupt;
use super::replies::Situation;
use super::transfer::TransferKind;
use crate::events::Denial;
use crate::protocol::file::{FileReply, FileRequest, ListRequest, ListStyle, TransferRequest};
use crate::protocol::path::VirtualPath;
use crate::protocol::reply;

impl Session {
    pub(super) fn list(&mut self, argument: &[u8]) {
        self.list_or_nlst(TransferKind::List, argument);
    }

    pub(super) fn nlst(&mut self, argument: &[u8]) {
        self.list_or_nlst(TransferKind::NameList, argument);
    }

    pub(super) fn mlsd(&mut self, argument: &[u8]) {
        if self.may_list(argument) {
            let options = ListOptions { hidden: true, recursive: false };
            self.list_operand(TransferKind::FactList, argument, options);
        }
    }

    fn may_list(&mut self, argument: &[u8]) -> bool {
        self.restart = None;
        self.announced = None;
        let allowed = self.permissions().list;
        if !allowed {
            self.deny_path(Denial::Permission, split_options(argument).1);
            self.say(Situation::StoragePermission);
        }
        allowed
    }

    fn list_or_nlst(&mut self, kind: TransferKind, argument: &[u8]) {
        if !self.may_list(argument) {
            return;
        }
        let (options, operand) = split_options(argument);
        if operand.len() == argument.len() {
            return self.list_operand(kind, argument, ListOptions::default());
        }
        // Clients send `LIST -a`; a file may be called so all the same [LIST-04].
        let Some(path) = self.resolve(argument, 550) else { return };
        let (argument, operand) = (argument.to_vec(), operand.to_vec());
        let request = FileRequest::Metadata(path);
        self.ask(request, FileReply::metadata, move |session, found| match found {
            Ok(_) => session.list_operand(kind, &argument, ListOptions::default()),
            Err(_) => session.list_operand(kind, &operand, options),
        });
    }

    fn list_operand(&mut self, kind: TransferKind, operand: &[u8], options: ListOptions) {
        let Some(path) = self.resolve(operand, 550) else { return };
        let style = match kind {
            TransferKind::FactList => ListStyle::Facts(self.parameters.facts),
            TransferKind::NameList => ListStyle::Names { prefix: name_prefix(operand) },
            _ => ListStyle::Long,
        };
        let request = self.list_request(path, operand, style, options);
        self.open(kind, operand, TransferRequest::List(request));
    }

    fn list_request(
        &self,
        path: VirtualPath,
        argument: &[u8],
        style: ListStyle,
        options: ListOptions,
    ) -> ListRequest {
        ListRequest {
            path,
            argument: argument.to_vec(),
            style,
            hidden: options.hidden,
            recursive: options.recursive,
            permissions: self.permissions(),
            now: self.unix_now,
        }
    }

    /// STAT with a pathname: a listing on the control connection.
    pub(super) fn stat_path(&mut self, argument: &[u8]) {
        let (options, operand) = split_options(argument);
        if !self.permissions().list {
            self.deny_path(Denial::Permission, operand);
            return self.say(Situation::StoragePermission);
        }
        let Some(path) = self.resolve(operand, 550) else { return };
        let request = self.list_request(path, operand, ListStyle::Long, options);
        let request = FileRequest::ControlListing(request);
        let interrupt = Interrupt::OnAbort;
        self.ask_interruptibly(
            interrupt,
            request,
            FileReply::listing,
            |session, made| match made {
                Ok(text) => session.say_listing(&text),
                Err(error) => session.refuse(error),
            },
        );
    }

    fn say_listing(&mut self, text: &[u8]) {
        let mut bytes = Vec::new();
        let lines = text.strip_suffix(b"\r\n").unwrap_or(text);
        let lines = split_crlf(lines).into_iter().filter(|line| !line.is_empty());
        reply::multi_raw(&mut bytes, 213, b"Status:", lines, b"End");
        self.write(&bytes);
    }
}

/// The options of `ls` that have an effect. Others, about order and columns, are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ListOptions {
    /// `-a`, `-A`.
    hidden: bool,
    /// `-R`.
    recursive: bool,
}

/// Clients send `LIST -a`, `-la`, `-aL`: leading options, and the blanks behind them, are no
/// pathname.
fn split_options(argument: &[u8]) -> (ListOptions, &[u8]) {
    let mut rest = argument;
    let mut options = ListOptions::default();
    while let [b'-', tail @ ..] = rest {
        let end = tail.iter().position(|&octet| octet == b' ').unwrap_or(tail.len());
        let letters = &tail[..end];
        if letters.is_empty() || !letters.iter().all(u8::is_ascii_alphanumeric) {
            break;
        }
        options.hidden |= letters.iter().any(|letter| matches!(letter, b'a' | b'A'));
        options.recursive |= letters.contains(&b'R');
        rest = &tail[end..];
        while let [b' ', operand @ ..] = rest {
            rest = operand;
        }
    }
    (options, rest)
}

/// `NLST sub` answers `sub/a`: names usable as arguments (RFC 1123 §4.1.2.7).
fn name_prefix(operand: &[u8]) -> Vec<u8> {
    let mut prefix = operand.to_vec();
    if !prefix.is_empty() && prefix.last() != Some(&b'/') {
        prefix.push(b'/');
    }
    prefix
}

/// Lines of a listing.
fn split_crlf(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut start = 0;
    for index in 1..text.len() {
        if text[index - 1] == b'\r' && text[index] == b'\n' {
            lines.push(&text[start..index - 1]);
            start = index + 1;
        }
    }
    lines.push(&text[start.min(text.len())..]);
    lines
}
