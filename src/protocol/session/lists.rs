//! LIST, NLST, MLSD and STAT with a pathname: what is to be listed, and how.

use super::Session;
use super::files::FileOperation;
use crate::protocol::command_table::Verb;
use crate::protocol::file::{FileRequest, ListRequest, ListStyle, TransferRequest};
use crate::protocol::path::VirtualPath;

impl Session {
    pub(super) fn list(&mut self, verb: Verb, argument: &[u8]) {
        self.restart = None;
        self.announced = None;
        if !self.permissions().list {
            return self.say_code(550, "Permission denied.");
        }
        match verb {
            Verb::Mlsd => {
                let options = ListOptions { hidden: true, recursive: false };
                self.list_operand(verb, argument, options);
            }
            // Clients send `LIST -a`; a file may be called so all the same [LIST-04].
            _ if split_options(argument).1.len() < argument.len() => {
                let Some(path) = self.resolve(argument, 550) else { return };
                let (options, operand) = split_options(argument);
                let (argument, operand) = (argument.to_vec(), operand.to_vec());
                let operation = FileOperation::ListOptions { verb, argument, operand, options };
                self.ask(FileRequest::Metadata(path), operation);
            }
            _ => self.list_operand(verb, argument, ListOptions::default()),
        }
    }

    pub(super) fn list_operand(&mut self, verb: Verb, operand: &[u8], options: ListOptions) {
        let Some(path) = self.resolve(operand, 550) else { return };
        let style = match verb {
            Verb::Mlsd => ListStyle::Facts(self.parameters.facts),
            Verb::Nlst => ListStyle::Names { prefix: name_prefix(operand) },
            _ => ListStyle::Long,
        };
        let request = self.list_request(path, operand, style, options);
        self.open(verb, operand, TransferRequest::List(request));
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
        if !self.permissions().list {
            return self.say_code(550, "Permission denied.");
        }
        let (options, operand) = split_options(argument);
        let Some(path) = self.resolve(operand, 550) else { return };
        let request = self.list_request(path, operand, ListStyle::Long, options);
        self.ask(FileRequest::ControlListing(request), FileOperation::ControlListing);
    }
}

/// The options of `ls` that are obeyed. Of the others, those about the order and the columns say
/// what this server cannot know the client needs, and are passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
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
