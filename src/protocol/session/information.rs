//! FEAT, HELP, STAT: what the server says about itself (RFC 2389, RFC 959 §4.1.3).

use std::borrow::Cow;

use super::command_table::{self, Feature};
use super::io::ProtectionLevel;
use super::{Pending, Session, site};
use crate::protocol::reply;

impl Session {
    /// FEAT: every extension there is, and no other (RFC 2389 §3.2), in the order of the rows.
    pub(super) fn feat(&mut self) {
        let features = command_table::rows().iter().flat_map(|row| row.features);
        let lines: Vec<Cow<'_, str>> = features
            .filter_map(|feature| match feature {
                Feature::Line(line) => Some(Cow::Borrowed(*line)),
                Feature::Of(line) => line(self).map(Cow::Owned),
            })
            .chain(site::features().map(Cow::Borrowed))
            .collect();
        let mut bytes = Vec::new();
        let lines = lines.iter().map(|line| line.as_bytes());
        reply::multi(&mut bytes, 211, b"Extensions supported:", lines, b"End");
        self.write(&bytes);
    }

    /// CSID (draft-peterson-streamlined-ftp-command-extensions): client and server name themselves.
    /// The version is not disclosed.
    pub(super) fn csid(&mut self, _client: &[u8]) {
        self.reply(200, b"Name=ringftpd; OS=Linux; CaseSensitive=1; DirSep=/;");
    }

    pub(super) fn help(&mut self, argument: Option<&[u8]>) {
        let mut bytes = Vec::new();
        match argument.filter(|verb| !verb.is_empty()) {
            None => {
                let rows = command_table::rows().iter().filter(|row| row.is_implemented());
                let names: Vec<&str> = rows.map(|row| row.names[0]).collect();
                let lines: Vec<String> = names.chunks(8).map(|names| names.join(" ")).collect();
                let lines = lines.iter().map(String::as_bytes);
                reply::multi(&mut bytes, 214, b"Commands implemented:", lines, b"End");
            }
            Some(verb) if verb.eq_ignore_ascii_case(b"SITE") => return self.site_help(),
            Some(verb) => match command_table::find(verb).filter(|row| row.is_implemented()) {
                Some(row) => {
                    reply::line(&mut bytes, 214, format!("Syntax: {}", row.help).as_bytes())
                }
                None => return self.say_code(502, "No such command."),
            },
        }
        self.write(&bytes);
    }

    /// STAT, when no transfer is in progress.
    pub(super) fn stat(&mut self, argument: &[u8]) {
        if !argument.is_empty() {
            return self.stat_path(argument);
        }
        let lines = self.status_lines();
        self.say_status(&lines);
    }

    /// STAT during a transfer, once the server-DTP said how far it is: answered at once.
    pub(super) fn stat_progress(&mut self, octets: u64) {
        let Pending::Running(context) = &mut self.pending else { return };
        if !std::mem::take(&mut context.stat_asked) {
            return;
        }
        self.lines.pop(); // the STAT that asked: it stands at the front
        let mut lines = self.status_lines();
        lines.push(format!("Transfer running: {octets} bytes so far"));
        self.say_status(&lines);
    }

    fn say_status(&mut self, lines: &[String]) {
        let mut bytes = Vec::new();
        let lines = lines.iter().map(String::as_bytes);
        reply::multi(&mut bytes, 211, b"ringftpd status:", lines, b"End");
        self.write(&bytes);
    }

    fn status_lines(&self) -> Vec<String> {
        let user = self.account().map_or("nobody", |account| account.name.as_str());
        let kind = if self.parameters.ascii { "A N" } else { "I" };
        let control = match &self.tls {
            _ if self.security.is_cleared() => "clear after CCC".to_owned(),
            Some(tls) => tls.description.clone(),
            None => "clear".to_owned(),
        };
        let level = match self.security.level() {
            ProtectionLevel::Clear => "Clear",
            ProtectionLevel::Private => "Private",
        };
        vec![
            format!("Connected from {}", self.peer.ip().to_canonical()),
            format!("Logged in as {user}"),
            format!("TYPE {kind}; STRU F; MODE S"),
            format!("Control connection: {control}; data protection level: {level}"),
        ]
    }
}
