//! SITE (RFC 959 §4.1.3): one row for each word behind it. There is no SITE EXEC (RFC 2577 §9).

use super::Session;
use super::files::{NewFacts, split_word};
use super::replies::Situation;
use crate::protocol::file::{FileReply, FileRequest, FileTime};
use crate::protocol::{number, reply, timestamp};

/// A command behind SITE: its name, its syntax for SITE HELP, its line of FEAT if clients look for
/// one, and the function that executes it.
struct Row {
    name: &'static str,
    help: &'static str,
    feature: Option<&'static str>,
    execute: fn(&mut Session, &[u8]),
}

const fn row(name: &'static str, help: &'static str, execute: fn(&mut Session, &[u8])) -> Row {
    Row { name, help, feature: None, execute }
}

impl Row {
    const fn feat(self, feature: &'static str) -> Self {
        Self { feature: Some(feature), ..self }
    }
}

static ROWS: &[Row] = &[
    row("CHMOD", "CHMOD mode pathname", Session::site_chmod),
    row("UTIME", "UTIME YYYYMMDDHHMMSS pathname", Session::site_utime),
    row("MKDIR", "MKDIR pathname", Session::site_mkdir).feat("SITE MKDIR"),
    row("HELP", "HELP", |session, _| session.site_help()),
];

/// The lines of FEAT.
pub(super) fn features() -> impl Iterator<Item = &'static str> {
    ROWS.iter().filter_map(|row| row.feature)
}

impl Session {
    pub(super) fn site(&mut self, argument: &[u8]) {
        let (word, rest) = split_word(argument);
        match ROWS.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(word)) {
            Some(row) => (row.execute)(self, rest),
            None => self.say(Situation::SiteUnknown),
        }
    }

    /// SITE HELP, and HELP SITE.
    pub(super) fn site_help(&mut self) {
        let mut bytes = Vec::new();
        let lines = ROWS.iter().map(|row| row.help.as_bytes());
        reply::multi(&mut bytes, 214, b"SITE commands:", lines, b"End");
        self.write(&bytes);
    }

    fn site_chmod(&mut self, argument: &[u8]) {
        let (mode, name) = split_word(argument);
        match number::octal_mode(mode) {
            Some(mode) => self.site_facts(name, NewFacts { modified: None, mode: Some(mode) }),
            None => self.say(Situation::SyntaxError),
        }
    }

    fn site_utime(&mut self, argument: &[u8]) {
        match parse_utime(argument) {
            Some((time, name)) => {
                self.site_facts(&name, NewFacts { modified: Some(time), mode: None });
            }
            None => self.say(Situation::SyntaxError),
        }
    }

    /// A directory and those above it in one round trip, for `mkdir -p` of clients.
    fn site_mkdir(&mut self, argument: &[u8]) {
        if argument.is_empty() {
            return self.say(Situation::SyntaxError);
        }
        let Some(path) = self.resolve_if(self.permissions().mkdir, argument) else { return };
        let request = FileRequest::MakeDirectories(path);
        self.ask(request, FileReply::done, |session, made| match made {
            Ok(()) => session.say(Situation::SiteDone),
            Err(error) => session.refuse(error),
        });
    }

    fn site_facts(&mut self, name: &[u8], facts: NewFacts) {
        self.set_facts(name, facts, |session, _| session.say(Situation::SiteDone));
    }
}

/// Both forms in use: `YYYYMMDDHHMM[SS] name`, and `name atime mtime ctime UTC`.
fn parse_utime(argument: &[u8]) -> Option<(FileTime, Vec<u8>)> {
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
