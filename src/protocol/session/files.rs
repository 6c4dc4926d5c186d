//! CWD, PWD, MKD, RMD, DELE, RNFR, RNTO, SIZE, MDTM, MFMT, MFF, MLST, HASH and its kin, AVBL, SITE:
//! commands answered by one look at storage; and the answers to those looks of `lists`.

use super::io::Output;
use super::lists::ListOptions;
use super::replies::{Situation, error_text};
use super::{Pending, Session};
use crate::protocol::account::Permissions;
use crate::protocol::command_table::Verb;
use crate::protocol::file::{
    FileError, FileKind, FileReply, FileRequest, FileTime, HashAlgorithm, Metadata, NameFacts,
};
use crate::protocol::path::VirtualPath;
use crate::protocol::{hash_command, hexadecimal, listing, number, reply, timestamp};

/// Which command waits for the answer, and what it needs to word its reply.
#[derive(Debug)]
pub(super) enum FileOperation {
    /// CWD; with what `~` means in it, if there is no such name.
    ChangeDirectory {
        path: VirtualPath,
        home: Option<VirtualPath>,
    },
    /// LIST or NLST whose argument looks like options: is there a file of that very name?
    ListOptions {
        verb: Verb,
        argument: Vec<u8>,
        operand: Vec<u8>,
        options: ListOptions,
    },
    MakeDirectory(VirtualPath),
    /// A reply without variable part.
    Plain(Situation),
    RenameFrom(VirtualPath),
    RenameTo,
    Size,
    /// MDTM; with the time and name it may set instead.
    ModificationTime(Option<(FileTime, VirtualPath)>),
    MachineListing(VirtualPath),
    ControlListing,
    /// MFMT, MFF: which facts to repeat, and the pathname as given.
    SetFacts {
        modify: bool,
        mode: bool,
        name: Vec<u8>,
    },
    Hash {
        form: HashForm,
        algorithm: HashAlgorithm,
        name: Vec<u8>,
    },
    Available,
}

impl FileOperation {
    /// Whether it may take long, and changes nothing: storage makes the answer piece by piece.
    pub(super) const fn may_be_given_up(&self) -> bool {
        matches!(self, Self::Hash { .. } | Self::Size | Self::ControlListing)
    }
}

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

impl Session {
    pub(super) fn file_command(&mut self, verb: Verb, argument: &[u8]) {
        let permissions = self.permissions();
        match verb {
            Verb::Pwd => self.print_directory(),
            Verb::Mkd => self.change_tree(permissions.mkdir, argument, |path| {
                (FileRequest::MakeDirectory(path.clone()), FileOperation::MakeDirectory(path))
            }),
            Verb::Rmd => self.change_tree(permissions.delete, argument, |path| {
                let done = FileOperation::Plain(Situation::RemoveDone);
                (FileRequest::RemoveDirectory(path), done)
            }),
            Verb::Dele => self.change_tree(permissions.delete, argument, |path| {
                (FileRequest::Delete(path), FileOperation::Plain(Situation::DeleteDone))
            }),
            Verb::Rnfr => self.change_tree(permissions.rename, argument, |path| {
                let request = FileRequest::Facts { path: path.clone(), digests: false };
                (request, FileOperation::RenameFrom(path))
            }),
            Verb::Size => self.size(argument),
            Verb::Mdtm => self.modification_time(argument),
            Verb::Mfmt => self.mfmt(argument),
            Verb::Mff => self.mff(argument),
            Verb::Mlst => {
                // A digest says what is in a file, so it takes the right to read.
                let digests = self.parameters.facts.hash && permissions.read;
                self.change_tree(permissions.list, argument, |path| {
                    let request = FileRequest::Facts { path: path.clone(), digests };
                    (request, FileOperation::MachineListing(path))
                });
            }
            Verb::Stat => self.stat_path(argument),
            Verb::Hash => self.hash(argument),
            Verb::Xcrc => self.extended_hash(HashAlgorithm::Crc32, HashForm::Extended, argument),
            Verb::Xmd5 => self.extended_hash(HashAlgorithm::Md5, HashForm::Extended, argument),
            Verb::Md5 => self.extended_hash(HashAlgorithm::Md5, HashForm::Md5, argument),
            Verb::Xsha1 => self.extended_hash(HashAlgorithm::Sha1, HashForm::Extended, argument),
            Verb::Xsha256 => {
                self.extended_hash(HashAlgorithm::Sha256, HashForm::Extended, argument);
            }
            Verb::Xsha512 => {
                self.extended_hash(HashAlgorithm::Sha512, HashForm::Extended, argument);
            }
            Verb::Avbl => self.change_tree(permissions.list, argument, |path| {
                (FileRequest::Available(path), FileOperation::Available)
            }),
            _ => self.say(Situation::NotImplemented),
        }
    }

    fn print_directory(&mut self) {
        let mut text = reply::quoted(self.cwd.as_bytes());
        text.extend_from_slice(b" is the current directory.");
        self.reply(257, &text);
    }

    pub(super) fn cwd(&mut self, argument: &[u8]) {
        let Some(path) = self.resolve(argument, 550) else { return };
        // Clients of old send what a shell would have expanded.
        let home = match argument {
            b"~" => Some(VirtualPath::root()),
            [b'~', b'/', below @ ..] => VirtualPath::root().resolve(below).ok(),
            _ => None,
        };
        self.change_directory(path, home);
    }

    fn change_directory(&mut self, path: VirtualPath, home: Option<VirtualPath>) {
        let request = FileRequest::Metadata(path.clone());
        self.ask(request, FileOperation::ChangeDirectory { path, home });
    }

    pub(super) fn rename_to(&mut self, argument: &[u8], from: Option<VirtualPath>) {
        let Some(from) = from else { return self.say(Situation::NeedRnfr) };
        let Some(to) = self.resolve(argument, 553) else { return };
        let replace = self.permissions().may_replace_by_rename();
        self.ask(FileRequest::Rename { from, to, replace }, FileOperation::RenameTo);
    }

    fn size(&mut self, argument: &[u8]) {
        let ascii = self.parameters.ascii;
        let allowed = self.permissions().read || self.permissions().list;
        self.change_tree(allowed, argument, |path| {
            let request =
                if ascii { FileRequest::AsciiSize(path) } else { FileRequest::Metadata(path) };
            (request, FileOperation::Size)
        });
    }

    /// The whole argument is the name (RFC 3659 §3.4); only when no such file exists may
    /// `YYYYMMDDHHMMSS name` mean what some clients want it to mean.
    fn modification_time(&mut self, argument: &[u8]) {
        let setting = split_time(argument)
            .filter(|_| self.policy.mdtm_may_set && self.permissions().mtime)
            .and_then(|(time, name)| Some((time, self.cwd.resolve(name).ok()?)));
        let allowed = self.permissions().read || self.permissions().list;
        self.change_tree(allowed, argument, |path| {
            (FileRequest::Metadata(path), FileOperation::ModificationTime(setting))
        });
    }

    fn mfmt(&mut self, argument: &[u8]) {
        let Some((time, name)) = split_time(argument) else {
            return self.say(Situation::SyntaxError);
        };
        let operation = FileOperation::SetFacts { modify: true, mode: false, name: name.to_vec() };
        self.set_facts(name, Some(time), None, operation);
    }

    /// MFF (draft-somers-ftp-mfxx §6): `fact=value; … SP pathname`.
    fn mff(&mut self, argument: &[u8]) {
        let Some(space) = argument.iter().position(|&octet| octet == b' ') else {
            return self.say(Situation::SyntaxError);
        };
        let (facts, name) = (&argument[..space], &argument[space + 1..]);
        let mut modified = None;
        let mut mode = None;
        for fact in facts.split(|&octet| octet == b';').filter(|fact| !fact.is_empty()) {
            let Some(equals) = fact.iter().position(|&octet| octet == b'=') else {
                return self.say(Situation::SyntaxError);
            };
            let value = &fact[equals + 1..];
            match fact[..equals].to_ascii_lowercase().as_slice() {
                b"modify" => match timestamp::parse_utc(value) {
                    Some(time) => modified = Some(time),
                    None => return self.say(Situation::SyntaxError),
                },
                b"unix.mode" => match number::octal_mode(value) {
                    Some(bits) => mode = Some(bits),
                    None => return self.say(Situation::SyntaxError),
                },
                _ => return self.say_code(504, "Fact cannot be changed."),
            }
        }
        if modified.is_none() && mode.is_none() {
            return self.say(Situation::SyntaxError);
        }
        let operation = FileOperation::SetFacts {
            modify: modified.is_some(),
            mode: mode.is_some(),
            name: name.to_vec(),
        };
        self.set_facts(name, modified, mode, operation);
    }

    fn set_facts(
        &mut self,
        name: &[u8],
        modified: Option<FileTime>,
        mode: Option<u32>,
        operation: FileOperation,
    ) {
        if name.is_empty() {
            return self.say(Situation::SyntaxError);
        }
        let may = self.permissions();
        let allowed = (modified.is_none() || may.mtime) && (mode.is_none() || may.chmod);
        self.change_tree(allowed, name, |path| {
            (FileRequest::SetFacts { path, modified, mode }, operation)
        });
    }

    fn hash(&mut self, argument: &[u8]) {
        let algorithm = self.parameters.hash;
        let operation =
            FileOperation::Hash { form: HashForm::Hash, algorithm, name: argument.to_vec() };
        self.change_tree(self.permissions().read, argument, |path| {
            (FileRequest::Hash { path, algorithm, start: 0, end: None }, operation)
        });
    }

    fn extended_hash(&mut self, algorithm: HashAlgorithm, form: HashForm, argument: &[u8]) {
        let Some(wanted) = hash_command::parse_extended(argument) else {
            return self.say(Situation::SyntaxError);
        };
        let operation = FileOperation::Hash { form, algorithm, name: wanted.name.clone() };
        self.change_tree(self.permissions().read, &wanted.name, |path| {
            let (start, end) = (wanted.start, wanted.end);
            (FileRequest::Hash { path, algorithm, start, end }, operation)
        });
    }

    /// SITE CHMOD, UTIME, HELP. There is no SITE EXEC (RFC 2577 §9).
    pub(super) fn site(&mut self, argument: &[u8]) {
        let (word, rest) = split_word(argument);
        match word.to_ascii_uppercase().as_slice() {
            b"HELP" => {
                let mut bytes = Vec::new();
                let lines: [&[u8]; 3] =
                    [b"CHMOD mode pathname", b"UTIME YYYYMMDDHHMMSS pathname", b"HELP"];
                reply::multi(&mut bytes, 214, b"SITE commands:", lines.iter().copied(), b"End");
                self.write(&bytes);
            }
            b"CHMOD" => {
                let (mode, name) = split_word(rest);
                match number::octal_mode(mode) {
                    Some(mode) => self.site_facts(name, None, Some(mode)),
                    None => self.say(Situation::SyntaxError),
                }
            }
            b"UTIME" => match site_utime(rest) {
                Some((time, name)) => self.site_facts(&name, Some(time), None),
                None => self.say(Situation::SyntaxError),
            },
            _ => self.say(Situation::SiteUnknown),
        }
    }

    fn site_facts(&mut self, name: &[u8], modified: Option<FileTime>, mode: Option<u32>) {
        self.set_facts(name, modified, mode, FileOperation::Plain(Situation::SiteDone));
    }

    /// Permission, then pathname, then storage: the order in which every refusal is found.
    fn change_tree(
        &mut self,
        allowed: bool,
        argument: &[u8],
        request: impl FnOnce(VirtualPath) -> (FileRequest, FileOperation),
    ) {
        if !allowed {
            return self.say(Situation::StoragePermission);
        }
        let Some(path) = self.resolve(argument, 550) else { return };
        let (request, operation) = request(path);
        self.ask(request, operation);
    }

    pub(super) fn ask(&mut self, request: FileRequest, operation: FileOperation) {
        self.pending = Pending::File(operation);
        self.giving_up = false;
        self.output(Output::File(request));
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

    pub(super) fn file_answered(&mut self, result: Result<FileReply, FileError>) {
        let Pending::File(operation) = std::mem::replace(&mut self.pending, Pending::Nothing)
        else {
            return;
        };
        match result {
            Ok(answer) => self.file_done(operation, answer),
            Err(FileError::NotFound) => self.file_absent(operation),
            Err(_) if matches!(operation, FileOperation::ListOptions { .. }) => {
                self.file_absent(operation);
            }
            Err(error) => {
                let code = refusal_code(&operation, error);
                self.say_code(code, error_text(error));
            }
        }
    }

    fn file_absent(&mut self, operation: FileOperation) {
        if let FileOperation::ListOptions { verb, operand, options, .. } = operation {
            return self.list_operand(verb, &operand, options);
        }
        if let FileOperation::ChangeDirectory { home: Some(home), .. } = operation {
            return self.change_directory(home, None);
        }
        if let FileOperation::ModificationTime(Some((time, path))) = operation {
            let name = path.as_bytes().to_vec();
            let operation = FileOperation::SetFacts { modify: true, mode: false, name };
            let request = FileRequest::SetFacts { path, modified: Some(time), mode: None };
            return self.ask(request, operation);
        }
        let code = refusal_code(&operation, FileError::NotFound);
        self.say_code(code, error_text(FileError::NotFound));
    }

    fn file_done(&mut self, operation: FileOperation, answer: FileReply) {
        if is_dangling(&answer) {
            return self.file_absent(operation);
        }
        match (operation, answer) {
            (FileOperation::ListOptions { verb, argument, .. }, _) => {
                self.list_operand(verb, &argument, ListOptions::default());
            }
            (FileOperation::ChangeDirectory { path, .. }, FileReply::Metadata(metadata)) => {
                if metadata.kind != FileKind::Directory {
                    self.say_code(550, error_text(FileError::NotADirectory));
                } else if !metadata.searchable {
                    self.say(Situation::StoragePermission);
                } else {
                    self.cwd = path;
                    self.say(Situation::CdSucceeded);
                }
            }
            (FileOperation::MakeDirectory(path), _) => {
                let mut text = reply::quoted(path.as_bytes());
                text.extend_from_slice(b" created.");
                self.reply(257, &text);
            }
            (FileOperation::Plain(situation), _) => self.say(situation),
            (FileOperation::RenameFrom(path), _) => {
                self.rename_from = Some(path);
                self.say(Situation::RenameReady);
            }
            (FileOperation::RenameTo, _) => self.say(Situation::RenameDone),
            (FileOperation::Size, FileReply::Octets(octets)) => {
                self.reply(213, octets.to_string().as_bytes());
            }
            (FileOperation::Size, FileReply::Metadata(metadata)) => self.say_size(&metadata),
            (FileOperation::ModificationTime(_), FileReply::Metadata(metadata)) => {
                let time = timestamp::format_utc(metadata.modified);
                self.reply(213, time.as_bytes());
            }
            (FileOperation::MachineListing(path), FileReply::Facts(facts)) => {
                self.say_mlst(&path, &facts);
            }
            (FileOperation::ControlListing, FileReply::Listing(text)) => self.say_listing(&text),
            (FileOperation::SetFacts { modify, mode, name }, FileReply::Metadata(metadata)) => {
                self.say_facts_set(modify, mode, &name, &metadata);
            }
            (
                FileOperation::Hash { form, algorithm, name },
                FileReply::Hash { digest, start, end },
            ) => {
                let text = hash_text(form, algorithm, &name, &digest, start, end);
                let code = match form {
                    HashForm::Hash => 213,
                    HashForm::Extended => 250,
                    HashForm::Md5 => 251,
                };
                self.reply(code, &text);
            }
            (FileOperation::Available, FileReply::Octets(octets)) => {
                self.reply(213, octets.to_string().as_bytes());
            }
            (_, _) => {
                debug_assert!(false, "storage answered something that was not asked");
                self.say_code(451, error_text(FileError::Io(0)));
            }
        }
    }

    fn say_size(&mut self, metadata: &Metadata) {
        match metadata.kind {
            FileKind::File => self.reply(213, metadata.size.to_string().as_bytes()),
            FileKind::Directory | FileKind::Link | FileKind::LinkToFile | FileKind::Other => {
                self.say_code(550, error_text(FileError::NotAFile));
            }
        }
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

    fn say_listing(&mut self, text: &[u8]) {
        let mut bytes = Vec::new();
        let lines = text.strip_suffix(b"\r\n").unwrap_or(text);
        let lines = split_crlf(lines).into_iter().filter(|line| !line.is_empty());
        reply::multi_raw(&mut bytes, 213, b"Status:", lines, b"End");
        self.write(&bytes);
    }

    fn say_facts_set(&mut self, modify: bool, mode: bool, name: &[u8], metadata: &Metadata) {
        let mut text = Vec::new();
        if modify {
            let time = timestamp::format_utc(metadata.modified);
            text.extend_from_slice(format!("Modify={time};").as_bytes());
        }
        if mode {
            text.extend_from_slice(format!("UNIX.mode={:04o};", metadata.mode).as_bytes());
        }
        text.push(b' ');
        text.extend_from_slice(name);
        self.reply(213, &text);
    }
}

/// A symbolic link that leads nowhere, or out of the tree: nothing of that name for most commands.
fn is_dangling(answer: &FileReply) -> bool {
    matches!(answer, FileReply::Metadata(metadata) if metadata.kind == FileKind::Link)
}

fn refusal_code(operation: &FileOperation, error: FileError) -> u16 {
    match (operation, error) {
        // Worth another try (RFC 1123 §4.1.2.11), and nothing else is: clients that see 4yz ask
        // again until they are stopped. Some reply lists have no 450; its first digit says what
        // to do.
        (_, FileError::Busy | FileError::Overloaded) => 450,
        // The client did not want it any more.
        (_, FileError::Aborted) => 451,
        (FileOperation::RenameTo, _) => 553,
        (FileOperation::Hash { form: HashForm::Hash, .. }, FileError::IsADirectory) => 553,
        (FileOperation::Hash { .. }, FileError::BeyondEnd) => 501,
        _ => 550,
    }
}

fn hash_text(
    form: HashForm,
    algorithm: HashAlgorithm,
    name: &[u8],
    digest: &[u8],
    start: u64,
    end: u64,
) -> Vec<u8> {
    let mut text = Vec::new();
    match form {
        HashForm::Hash => {
            let (hash, hex) = (hash_command::name(algorithm), hexadecimal::lower(digest));
            text.extend_from_slice(format!("{hash} {start}-{end} {hex} ").as_bytes());
            text.extend_from_slice(name);
        }
        HashForm::Extended => text.extend_from_slice(hexadecimal::upper(digest).as_bytes()),
        HashForm::Md5 => {
            text.extend_from_slice(name);
            text.push(b' ');
            text.extend_from_slice(hexadecimal::upper(digest).as_bytes());
        }
    }
    text
}

/// `YYYYMMDDHHMMSS SP name`.
fn split_time(argument: &[u8]) -> Option<(FileTime, &[u8])> {
    let (time, name) = split_word(argument);
    if name.is_empty() { None } else { Some((timestamp::parse_utc(time)?, name)) }
}

/// The text up to the first space, and what follows that one space.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&octet| octet == b' ') {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (text, b""),
    }
}

/// Both forms in use: `YYYYMMDDHHMM[SS] name`, and `name atime mtime ctime UTC`.
fn site_utime(argument: &[u8]) -> Option<(FileTime, Vec<u8>)> {
    let (time, name) = split_word(argument);
    if !name.is_empty() && time.iter().all(u8::is_ascii_digit) {
        let mut time = time.to_vec();
        if time.len() == 12 {
            time.extend_from_slice(b"00");
        }
        if let Some(time) = timestamp::parse_utc(&time) {
            return Some((time, name.to_vec()));
        }
    }
    let mut words: Vec<&[u8]> = argument.split(|&octet| octet == b' ').collect();
    if words.len() < 5 || !words.pop()?.eq_ignore_ascii_case(b"UTC") {
        return None;
    }
    let (_created, modified, _accessed) = (words.pop()?, words.pop()?, words.pop()?);
    Some((timestamp::parse_utc(modified)?, words.join(&b' ')))
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
