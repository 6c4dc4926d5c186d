//! CWD, PWD, MKD, RMD, DELE, RNFR, RNTO, SIZE, MDTM, MFMT, MFF, MLST, HASH and the X-hash commands,
//! AVBL: commands that need one request to storage.

use std::ops::Range;

use super::Session;
use super::file_requests::Interrupt;
use super::replies::{Situation, error_text};
use crate::events::Denial;
use crate::protocol::file::{
    FileError, FileKind, FileReply, FileRequest, FileTime, HashAlgorithm, Metadata, NameFacts,
};
use crate::protocol::hash_command::ExtendedArgument;
use crate::protocol::path::VirtualPath;
use crate::protocol::{hash_command, hexadecimal, listing, number, reply, timestamp};

/// The commands differ in how the digest is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashForm {
    /// HASH: `213 SHA-256 0-49 hex name`.
    Hash,
    /// XCRC, XMD5, XSHA…: `250 HEX`.
    Extended,
    /// MD5: `251 name HEX`.
    Md5,
}

/// The facts to set by MFMT, MFF, SITE CHMOD and SITE UTIME.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NewFacts {
    pub(super) modified: Option<FileTime>,
    pub(super) mode: Option<u32>,
}

impl Session {
    pub(super) fn pwd(&mut self) {
        let mut text = reply::quoted(self.cwd.as_bytes());
        text.extend_from_slice(b" is the current directory.");
        self.reply(257, &text);
    }

    pub(super) fn cwd(&mut self, argument: &[u8]) {
        let Some(path) = self.resolve(argument, 550) else { return };
        // Old clients send what a shell would have expanded. An entry of that very name comes
        // first.
        let home = match argument {
            b"~" => Some(VirtualPath::root()),
            [b'~', b'/', below @ ..] => VirtualPath::root().resolve(below).ok(),
            _ => None,
        };
        self.change_directory(path, home);
    }

    fn change_directory(&mut self, path: VirtualPath, otherwise: Option<VirtualPath>) {
        let request = FileRequest::Metadata(path.clone());
        self.ask(request, FileReply::metadata, move |session, found| match (found, otherwise) {
            (Ok(found), _) if found.kind != FileKind::Directory => {
                session.say_code(550, error_text(FileError::NotADirectory));
            }
            (Ok(found), _) if !found.searchable => {
                session.deny(Denial::FileSystem, path.as_bytes().to_vec());
                session.say(Situation::StoragePermission);
            }
            (Ok(_), _) => {
                session.cwd = path;
                session.say(Situation::CdSucceeded);
            }
            (Err(FileError::NotFound), Some(home)) => session.change_directory(home, None),
            (Err(error), _) => session.refuse(error),
        });
    }

    pub(super) fn mkd(&mut self, argument: &[u8]) {
        let Some(path) = self.resolve_if(self.permissions().mkdir, argument) else { return };
        let request = FileRequest::MakeDirectory(path.clone());
        self.ask(request, FileReply::done, move |session, made| match made {
            Ok(()) => {
                let mut text = reply::quoted(path.as_bytes());
                text.extend_from_slice(b" created.");
                session.reply(257, &text);
            }
            Err(error) => session.refuse(error),
        });
    }

    pub(super) fn rmd(&mut self, argument: &[u8]) {
        let Some(path) = self.resolve_if(self.permissions().delete, argument) else { return };
        let request = FileRequest::RemoveDirectory(path);
        self.ask(request, FileReply::done, |session, removed| match removed {
            Ok(()) => session.say(Situation::RemoveDone),
            Err(error) => session.refuse(error),
        });
    }

    pub(super) fn dele(&mut self, argument: &[u8]) {
        let Some(path) = self.resolve_if(self.permissions().delete, argument) else { return };
        let request = FileRequest::Delete(path);
        self.ask(request, FileReply::done, |session, deleted| match deleted {
            Ok(()) => session.say(Situation::DeleteDone),
            Err(error) => session.refuse(error),
        });
    }

    pub(super) fn rnfr(&mut self, argument: &[u8]) {
        let Some(path) = self.resolve_if(self.permissions().rename, argument) else { return };
        let request = FileRequest::Facts { path: path.clone(), digests: false };
        self.ask(request, FileReply::facts, move |session, found| match found {
            Ok(_) => {
                session.rename_from = Some(path);
                session.say(Situation::RenameReady);
            }
            Err(error) => session.refuse(error),
        });
    }

    pub(super) fn rnto(&mut self, argument: &[u8]) {
        let Some(from) = self.rename_from.take() else { return self.say(Situation::NeedRnfr) };
        let Some(to) = self.resolve(argument, 553) else { return };
        let replace = self.permissions().may_replace_by_rename();
        let request = FileRequest::Rename { from, to, replace };
        self.ask(request, FileReply::done, |session, renamed| match renamed {
            Ok(()) => session.say(Situation::RenameDone),
            Err(error) => session.refuse_with(553, error),
        });
    }

    /// SIZE (RFC 3659 §4): as RETR would send the file, so TYPE A has to read it.
    pub(super) fn size(&mut self, argument: &[u8]) {
        let allowed = self.permissions().read || self.permissions().list;
        let Some(path) = self.resolve_if(allowed, argument) else { return };
        let answered = |session: &mut Self, size: Result<u64, FileError>| match size {
            Ok(octets) => session.reply(213, octets.to_string().as_bytes()),
            Err(error) => session.refuse(error),
        };
        if self.parameters.ascii {
            let request = FileRequest::AsciiSize(path);
            self.ask_interruptibly(Interrupt::OnAbort, request, FileReply::octets, answered);
        } else {
            let request = FileRequest::Metadata(path);
            let answered = move |session: &mut Self, found: Result<Metadata, FileError>| {
                answered(session, found.and_then(size_of_file));
            };
            self.ask_interruptibly(Interrupt::OnAbort, request, FileReply::metadata, answered);
        }
    }

    /// The whole argument is the name (RFC 3659 §3.4); only when no such file exists may
    /// `YYYYMMDDHHMMSS name` mean what some clients want it to mean.
    pub(super) fn mdtm(&mut self, argument: &[u8]) {
        let setting = split_time(argument)
            .filter(|_| self.policy.mdtm_may_set && self.permissions().mtime)
            .and_then(|(time, name)| Some((time, self.cwd.resolve(name).ok()?)));
        let allowed = self.permissions().read || self.permissions().list;
        let Some(path) = self.resolve_if(allowed, argument) else { return };
        let request = FileRequest::Metadata(path);
        self.ask(request, FileReply::metadata, move |session, found| match (found, setting) {
            (Ok(found), _) => {
                let time = timestamp::format_utc(found.modified);
                session.reply(213, time.as_bytes());
            }
            (Err(FileError::NotFound), Some((time, path))) => {
                let name = path.as_bytes().to_vec();
                let facts = NewFacts { modified: Some(time), mode: None };
                session.ask_to_set(path, facts, move |session, now| {
                    session.say_facts_set(facts, &name, &now);
                });
            }
            (Err(error), _) => session.refuse(error),
        });
    }

    pub(super) fn mfmt(&mut self, argument: &[u8]) {
        let Some((time, name)) = split_time(argument) else {
            return self.say(Situation::SyntaxError);
        };
        self.set_and_repeat(name, NewFacts { modified: Some(time), mode: None });
    }

    /// MFF (draft-somers-ftp-mfxx §6): `fact=value; … SP pathname`.
    pub(super) fn mff(&mut self, argument: &[u8]) {
        let Some(space) = argument.iter().position(|&octet| octet == b' ') else {
            return self.say(Situation::SyntaxError);
        };
        let (list, name) = (&argument[..space], &argument[space + 1..]);
        let mut facts = NewFacts::default();
        for fact in list.split(|&octet| octet == b';').filter(|fact| !fact.is_empty()) {
            let Some(equals) = fact.iter().position(|&octet| octet == b'=') else {
                return self.say(Situation::SyntaxError);
            };
            let value = &fact[equals + 1..];
            let parsed = match fact[..equals].to_ascii_lowercase().as_slice() {
                b"modify" => {
                    facts.modified = timestamp::parse_utc(value);
                    facts.modified.is_some()
                }
                b"unix.mode" => {
                    facts.mode = number::octal_mode(value);
                    facts.mode.is_some()
                }
                _ => return self.say_code(504, "Fact cannot be changed."),
            };
            if !parsed {
                return self.say(Situation::SyntaxError);
            }
        }
        if facts.modified.is_none() && facts.mode.is_none() {
            return self.say(Situation::SyntaxError);
        }
        self.set_and_repeat(name, facts);
    }

    /// Sets facts; the reply repeats them and the pathname as given.
    fn set_and_repeat(&mut self, name: &[u8], facts: NewFacts) {
        let given = name.to_vec();
        self.set_facts(name, facts, move |session, now| {
            session.say_facts_set(facts, &given, &now);
        });
    }

    /// Sets facts of the file `name`; `set` gets them as they are then.
    pub(super) fn set_facts(
        &mut self,
        name: &[u8],
        facts: NewFacts,
        set: impl FnOnce(&mut Self, Metadata) + 'static,
    ) {
        if name.is_empty() {
            return self.say(Situation::SyntaxError);
        }
        let may = self.permissions();
        let allowed =
            (facts.modified.is_none() || may.mtime) && (facts.mode.is_none() || may.chmod);
        let Some(path) = self.resolve_if(allowed, name) else { return };
        self.ask_to_set(path, facts, set);
    }

    fn ask_to_set(
        &mut self,
        path: VirtualPath,
        facts: NewFacts,
        set: impl FnOnce(&mut Self, Metadata) + 'static,
    ) {
        let NewFacts { modified, mode } = facts;
        let request = FileRequest::SetFacts { path, modified, mode };
        self.ask(request, FileReply::metadata, move |session, now| match now {
            Ok(now) => set(session, now),
            Err(error) => session.refuse(error),
        });
    }

    fn say_facts_set(&mut self, facts: NewFacts, name: &[u8], now: &Metadata) {
        let mut text = Vec::new();
        if facts.modified.is_some() {
            let time = timestamp::format_utc(now.modified);
            text.extend_from_slice(format!("Modify={time};").as_bytes());
        }
        if facts.mode.is_some() {
            text.extend_from_slice(format!("UNIX.mode={:04o};", now.mode).as_bytes());
        }
        text.push(b' ');
        text.extend_from_slice(name);
        self.reply(213, &text);
    }

    pub(super) fn mlst(&mut self, argument: &[u8]) {
        let may = self.permissions();
        // A digest reveals contents, so it needs the right to read.
        let digests = self.parameters.facts.hash && may.read;
        let Some(path) = self.resolve_if(may.list, argument) else { return };
        let request = FileRequest::Facts { path: path.clone(), digests };
        self.ask(request, FileReply::facts, move |session, found| match found {
            Ok(facts) => session.say_mlst(&path, &facts),
            Err(error) => session.refuse(error),
        });
    }

    /// RFC 3659 §7: one line, exactly one space before the facts, the fully qualified name (TVFS).
    /// `cdir` is for MLSD only (§7.5.1.2).
    fn say_mlst(&mut self, path: &VirtualPath, facts: &NameFacts) {
        let mut line = Vec::new();
        let (selected, permissions) = (self.parameters.facts, self.permissions());
        listing::facts(&mut line, &facts.metadata, None, &facts.link, selected, permissions);
        listing::hash_fact(&mut line, &facts.digests);
        line.push(b' ');
        line.extend_from_slice(path.as_bytes());
        let mut bytes = Vec::new();
        reply::multi(&mut bytes, 250, b"Listing", std::iter::once(line.as_slice()), b"End");
        self.write(&bytes);
    }

    pub(super) fn hash(&mut self, argument: &[u8]) {
        let wanted = ExtendedArgument { name: argument.to_vec(), start: 0, end: None };
        self.ask_for_digest(HashForm::Hash, self.parameters.hash, wanted);
    }

    /// XCRC, XMD5, XSHA… and MD5.
    pub(super) fn digest(&mut self, algorithm: HashAlgorithm, form: HashForm, argument: &[u8]) {
        match hash_command::parse_extended(argument) {
            Some(wanted) => self.ask_for_digest(form, algorithm, wanted),
            None => self.say(Situation::SyntaxError),
        }
    }

    fn ask_for_digest(
        &mut self,
        form: HashForm,
        algorithm: HashAlgorithm,
        wanted: ExtendedArgument,
    ) {
        let ExtendedArgument { name, start, end } = wanted;
        let Some(path) = self.resolve_if(self.permissions().read, &name) else { return };
        let request = FileRequest::Hash { path, algorithm, start, end };
        let interrupt = Interrupt::OnAbortOrEnd;
        self.ask_interruptibly(interrupt, request, FileReply::hash, move |session, made| {
            match (made, form) {
                (Ok(digest), _) => session.say_digest(form, algorithm, &name, &digest),
                (Err(error @ FileError::IsADirectory), HashForm::Hash) => {
                    session.refuse_with(553, error);
                }
                (Err(error @ FileError::BeyondEnd), _) => session.refuse_with(501, error),
                (Err(error), _) => session.refuse(error),
            }
        });
    }

    fn say_digest(
        &mut self,
        form: HashForm,
        algorithm: HashAlgorithm,
        name: &[u8],
        (digest, range): &(Vec<u8>, Range<u64>),
    ) {
        let mut text = Vec::new();
        let code = match form {
            HashForm::Hash => {
                let (hash, hex) = (hash_command::name(algorithm), hexadecimal::lower(digest));
                let Range { start, end } = range;
                text.extend_from_slice(format!("{hash} {start}-{end} {hex} ").as_bytes());
                text.extend_from_slice(name);
                213
            }
            HashForm::Extended => {
                text.extend_from_slice(hexadecimal::upper(digest).as_bytes());
                250
            }
            HashForm::Md5 => {
                text.extend_from_slice(name);
                text.push(b' ');
                text.extend_from_slice(hexadecimal::upper(digest).as_bytes());
                251
            }
        };
        self.reply(code, &text);
    }

    /// `HASH`, its algorithms, and an asterisk after the selected one [FILE-14].
    pub(super) fn feat_hash(&self) -> Option<String> {
        Some(hash_command::feat_line(self.parameters.hash))
    }

    /// `MLST`, its facts, and an asterisk after each selected one [FEAT-09].
    pub(super) fn feat_mlst(&self) -> Option<String> {
        let hashes = !self.policy.hash_uploads.is_empty();
        Some(listing::feat_mlst(self.parameters.facts, hashes))
    }

    pub(super) fn avbl(&mut self, argument: &[u8]) {
        let Some(path) = self.resolve_if(self.permissions().list, argument) else { return };
        let request = FileRequest::Available(path);
        self.ask(request, FileReply::octets, |session, free| match free {
            Ok(octets) => session.reply(213, octets.to_string().as_bytes()),
            Err(error) => session.refuse(error),
        });
    }
}

fn size_of_file(metadata: Metadata) -> Result<u64, FileError> {
    match metadata.kind {
        FileKind::File => Ok(metadata.size),
        FileKind::Directory | FileKind::Link | FileKind::LinkToFile | FileKind::Other => {
            Err(FileError::NotAFile)
        }
    }
}

/// `YYYYMMDDHHMMSS SP name`.
fn split_time(argument: &[u8]) -> Option<(FileTime, &[u8])> {
    let (time, name) = split_word(argument);
    if name.is_empty() { None } else { Some((timestamp::parse_utc(time)?, name)) }
}

/// The text up to the first space, and what follows that one space.
pub(super) fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&octet| octet == b' ') {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (text, b""),
    }
}
