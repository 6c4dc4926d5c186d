//! Every command the server knows, one row each: its names, what may follow, where it may be given,
//! its lines of FEAT and HELP, and the function that executes it. And how a line is split into a
//! command and its argument.
//!
//! A new command is a row here and a function of [`Session`]; everything else derives from the row.

use Feature::{Line, Of};
use Form::{
    Nothing, Optional, OptionalPathname, Password, Pathname, Required, Site, Unimplemented,
};

use super::Session;
use super::files::HashForm;
use super::replies::Situation;
use crate::protocol::file::HashAlgorithm;

/// What may follow a command, and the function that gets it.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// No argument: otherwise 501.
    Nothing(fn(&mut Session)),
    /// Perhaps words.
    Optional(fn(&mut Session, Option<&[u8]>)),
    /// Words: otherwise 501.
    Required(fn(&mut Session, &[u8])),
    /// Words that may end with a pathname: otherwise 501.
    Site(fn(&mut Session, &[u8])),
    /// A password, which may be empty. Without the space that ends the verb: 501.
    Password(fn(&mut Session, &[u8])),
    /// A pathname, alone or at the end: otherwise 501.
    Pathname(fn(&mut Session, &[u8])),
    /// Perhaps a pathname; no octets when there is none.
    OptionalPathname(fn(&mut Session, &[u8])),
    /// Known, and answered 502 [SYN-01].
    Unimplemented,
}

/// A line of FEAT (RFC 2389 §3.2).
#[derive(Clone, Copy, Debug)]
pub enum Feature {
    /// Always the same.
    Line(&'static str),
    /// As the session stands; `None` where the feature is not offered.
    Of(fn(&Session) -> Option<String>),
}

/// What a command without argument does while a transfer or another long request is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileBusy {
    /// Waits for its turn.
    Waits,
    /// Ends what is in progress, and is answered in its turn.
    Aborts,
    /// Is answered at once, when nothing waits before it.
    Reports,
    /// Waits for its turn, and what is in progress ends before the connection does.
    Leaves,
}

/// A command.
#[derive(Debug)]
pub struct Row {
    /// Its names in capitals, the standard's own first.
    pub names: &'static [&'static str],
    /// What may follow, and the function that executes the command.
    pub form: Form,
    /// Whether it is refused with 530 before log-in [PRE-*]. The others have no 530 in their reply
    /// lists (RFC 959 §5.4, RFC 2228 §8.2, RFC 2389, RFC 2640, RFC 7151), or are the log-in.
    pub login: bool,
    /// Whether it ends the wait for RNTO, which must follow RNFR immediately (RFC 959 §4.1.3)
    /// [FILE-18].
    pub clears_rename: bool,
    /// What it does while the session is busy.
    pub while_busy: WhileBusy,
    /// Its lines of FEAT.
    pub features: &'static [Feature],
    /// Syntax, for HELP (RFC 959 §5.3.1).
    pub help: &'static str,
    /// Where the command is defined.
    pub section: &'static str,
}

/// A line taken apart: the row, or the octets of an unknown verb; and the argument.
pub type Split<'a> = (Result<&'static Row, &'a [u8]>, Option<&'a [u8]>);

/// Splits a line; `None` for an empty one [SYN-06].
///
/// One SP ends the verb. In an argument that is or ends with a pathname, and in a password, every
/// further space counts (RFC 2640 §3.1) [SYN-14]; around others spaces are dropped (RFC 959 §5.3)
/// [SYN-15], also those of an unknown verb. An argument of no octets is `None`, so that `RMD `
/// never means the working directory; only a password may be empty.
#[must_use]
pub fn split(line: &[u8]) -> Option<Split<'_>> {
    if line.is_empty() {
        return None;
    }
    let space = line.iter().position(|&octet| octet == b' ');
    let (name, argument) = match space {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    };
    let row = find(name);
    let argument = match row.map(|row| row.form) {
        Some(Password(_)) => argument,
        Some(Pathname(_) | OptionalPathname(_) | Site(_)) => {
            argument.filter(|octets| !octets.is_empty())
        }
        Some(Nothing(_) | Optional(_) | Required(_) | Unimplemented) | None => {
            argument.map(trim_spaces).filter(|octets| !octets.is_empty())
        }
    };
    Some((row.ok_or(name), argument))
}

/// The row of a verb in any case; `None` for an unknown one.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name)))
}

/// Every row, in the order of the standards.
#[must_use]
pub fn rows() -> &'static [Row] {
    ROWS
}

impl Row {
    /// False for commands that are known and answered 502 [SYN-01].
    #[must_use]
    pub fn is_implemented(&self) -> bool {
        !matches!(self.form, Unimplemented)
    }

    /// Executes the command, unless the argument does not fit.
    pub(super) fn execute(&self, session: &mut Session, argument: Option<&[u8]>) {
        match (self.form, argument) {
            (Unimplemented, _) => session.say(Situation::NotImplemented),
            (Nothing(execute), None) => execute(session),
            (Nothing(_), Some(_)) => session.say(Situation::NoArgumentAllowed),
            (Optional(execute), argument) => execute(session, argument),
            (OptionalPathname(execute), argument) => {
                execute(session, argument.unwrap_or_default());
            }
            (
                Required(execute) | Site(execute) | Password(execute) | Pathname(execute),
                Some(argument),
            ) => execute(session, argument),
            (Required(_) | Site(_) | Password(_) | Pathname(_), None) => {
                session.say(Situation::SyntaxError);
            }
        }
    }

    const fn before_login(self) -> Self {
        Self { login: false, ..self }
    }

    const fn keeps_rename(self) -> Self {
        Self { clears_rename: false, ..self }
    }

    const fn while_busy(self, while_busy: WhileBusy) -> Self {
        Self { while_busy, ..self }
    }

    const fn feat(self, features: &'static [Feature]) -> Self {
        Self { features, ..self }
    }
}

fn trim_spaces(octets: &[u8]) -> &[u8] {
    let start = octets.iter().position(|&octet| octet != b' ').unwrap_or(octets.len());
    let end = octets.iter().rposition(|&octet| octet != b' ').map_or(start, |last| last + 1);
    &octets[start..end]
}

const fn row(
    names: &'static [&'static str],
    form: Form,
    help: &'static str,
    section: &'static str,
) -> Row {
    Row {
        names,
        form,
        login: true,
        clears_rename: true,
        while_busy: WhileBusy::Waits,
        features: &[],
        help,
        section,
    }
}

const fn unimplemented(names: &'static [&'static str], section: &'static str) -> Row {
    row(names, Unimplemented, "", section)
}

const S959_ACCESS: &str = "RFC 959 §4.1.1";
const S959_PARAMETER: &str = "RFC 959 §4.1.2";
const S959_SERVICE: &str = "RFC 959 §4.1.3";
const S2228: &str = "RFC 2228 §3";
const STREAMLINED_DRAFT: &str = "draft-peterson-streamlined-ftp";
const HASH_DRAFT: &str = "draft-bryan-ftpext-hash §3";
const MFXX_DRAFT: &str = "draft-somers-ftp-mfxx §3";
const PRACTICE: &str = "no standard";

#[rustfmt::skip] // one row, one line
static ROWS: &[Row] = &[
    row(&["USER"], Required(Session::user), "USER <name>", S959_ACCESS).before_login(),
    row(&["PASS"], Password(Session::pass), "PASS <password>", S959_ACCESS).before_login(),
    row(&["ACCT"], Required(Session::acct), "ACCT <account>", S959_ACCESS).before_login(),
    row(&["CWD", "XCWD"], Pathname(Session::cwd), "CWD <pathname>", S959_ACCESS),
    row(&["CDUP", "XCUP"], Nothing(|session| session.cwd(b"..")), "CDUP", S959_ACCESS),
    unimplemented(&["SMNT"], S959_ACCESS),
    row(&["REIN"], Nothing(Session::rein), "REIN", S959_ACCESS).before_login(),
    row(&["QUIT"], Nothing(Session::quit), "QUIT", S959_ACCESS).before_login().while_busy(WhileBusy::Leaves),
    row(&["PORT"], Required(Session::port), "PORT <h1,h2,h3,h4,p1,p2>", S959_PARAMETER),
    // Clients behind middleboxes that mangle PASV send the second spelling.
    row(&["PASV", "P@SW"], Nothing(Session::pasv), "PASV", S959_PARAMETER),
    row(&["TYPE"], Required(Session::set_type), "TYPE A [N|T] | I | L 8", S959_PARAMETER),
    row(&["STRU"], Required(Session::set_structure), "STRU F", S959_PARAMETER),
    row(&["MODE"], Required(Session::set_mode), "MODE S", S959_PARAMETER),
    row(&["RETR"], Pathname(Session::retr), "RETR <pathname>", S959_SERVICE),
    row(&["STOR"], Pathname(Session::stor), "STOR <pathname>", S959_SERVICE),
    row(&["STOU"], OptionalPathname(Session::stou), "STOU [<pathname>]", S959_SERVICE),
    row(&["APPE"], Pathname(Session::appe), "APPE <pathname>", S959_SERVICE),
    row(&["ALLO"], Required(Session::allo), "ALLO <octets> [R <octets>]", S959_SERVICE),
    row(&["REST"], Required(Session::rest), "REST <octets>", "RFC 3659 §5").feat(&[Line("REST STREAM")]),
    row(&["RNFR"], Pathname(Session::rnfr), "RNFR <pathname>", S959_SERVICE),
    row(&["RNTO"], Pathname(Session::rnto), "RNTO <pathname>", S959_SERVICE),
    row(&["ABOR"], Nothing(Session::abor), "ABOR", S959_SERVICE).before_login().while_busy(WhileBusy::Aborts),
    row(&["DELE"], Pathname(Session::dele), "DELE <pathname>", S959_SERVICE),
    row(&["RMD", "XRMD"], Pathname(Session::rmd), "RMD <pathname>", S959_SERVICE),
    row(&["MKD", "XMKD"], Pathname(Session::mkd), "MKD <pathname>", S959_SERVICE),
    row(&["PWD", "XPWD"], Nothing(Session::pwd), "PWD", S959_SERVICE),
    row(&["LIST"], OptionalPathname(Session::list), "LIST [-al] [<pathname>]", S959_SERVICE),
    row(&["NLST"], OptionalPathname(Session::nlst), "NLST [<pathname>]", S959_SERVICE),
    row(&["SITE"], Site(Session::site), "SITE <command>", S959_SERVICE),
    row(&["SYST"], Nothing(|session| session.reply(215, b"UNIX Type: L8")), "SYST", S959_SERVICE).before_login(),
    row(&["STAT"], OptionalPathname(Session::stat), "STAT [<pathname>]", S959_SERVICE).while_busy(WhileBusy::Reports),
    row(&["HELP"], Optional(Session::help), "HELP [<command>]", S959_SERVICE).before_login(),
    // "Does not affect any parameters or previously entered commands" (RFC 959 §4.1.3).
    row(&["NOOP"], Nothing(|session| session.say(Situation::NoopDone)), "NOOP", S959_SERVICE).before_login().keeps_rename(),
    // The line of MS-FTPS §4.2.
    row(&["AUTH"], Required(Session::auth), "AUTH TLS | SSL", "RFC 4217 §4").before_login().feat(&[Line("AUTH TLS;SSL;")]),
    row(&["ADAT"], Required(|session, _| session.say(Situation::BadSequence)), "ADAT <base64>", S2228).before_login(),
    row(&["PBSZ"], Required(Session::pbsz), "PBSZ 0", "RFC 4217 §8").before_login().feat(&[Line("PBSZ")]),
    row(&["PROT"], Required(Session::prot), "PROT C | P", "RFC 4217 §9").before_login().feat(&[Line("PROT C;P;")]),
    row(&["CCC"], Nothing(Session::ccc), "CCC", "RFC 4217 §5").before_login().feat(&[Of(Session::feat_ccc)]),
    row(&["MIC"], Required(Session::protected_command), "MIC <base64>", S2228).before_login(),
    row(&["CONF"], Required(Session::protected_command), "CONF <base64>", S2228).before_login(),
    row(&["ENC"], Required(Session::protected_command), "ENC <base64>", S2228).before_login(),
    row(&["FEAT"], Nothing(Session::feat), "FEAT", "RFC 2389 §3").before_login(),
    row(&["OPTS"], Required(Session::opts), "OPTS <command> [...]", "RFC 2389 §4").before_login().feat(&[Line("UTF8")]),
    row(&["EPRT"], Required(Session::eprt), "EPRT |<protocol>|<address>|<port>|", "RFC 2428 §2").feat(&[Line("EPRT")]),
    row(&["EPSV"], Optional(Session::epsv), "EPSV [1|2|ALL]", "RFC 2428 §3").feat(&[Line("EPSV")]),
    unimplemented(&["LPRT"], "RFC 1639"),
    unimplemented(&["LPSV"], "RFC 1639"),
    row(&["LANG"], Optional(Session::lang), "LANG [<tag>]", "RFC 2640 §4.1").before_login().feat(&[Line("LANG EN*")]),
    row(&["MDTM"], Pathname(Session::mdtm), "MDTM <pathname>", "RFC 3659 §3").feat(&[Line("MDTM")]),
    row(&["SIZE"], Pathname(Session::size), "SIZE <pathname>", "RFC 3659 §4").feat(&[Line("SIZE")]),
    row(&["MLST"], OptionalPathname(Session::mlst), "MLST [<pathname>]", "RFC 3659 §7").feat(&[Line("TVFS"), Of(Session::feat_mlst)]),
    // Its line is that of MLST (RFC 3659 §7.8).
    row(&["MLSD"], OptionalPathname(Session::mlsd), "MLSD [<pathname>]", "RFC 3659 §7"),
    row(&["HOST"], Required(Session::host), "HOST <name>", "RFC 7151 §3").before_login().feat(&[Line("HOST")]),
    row(&["MFMT"], Pathname(Session::mfmt), "MFMT <time> <pathname>", MFXX_DRAFT).feat(&[Line("MFMT")]),
    // The creation time of a file cannot be set on Unix.
    unimplemented(&["MFCT"], MFXX_DRAFT),
    row(&["MFF"], Pathname(Session::mff), "MFF <fact=value;...> <pathname>", MFXX_DRAFT).feat(&[Line("MFF modify;UNIX.mode;")]),
    row(&["HASH"], Pathname(Session::hash), "HASH <pathname>", HASH_DRAFT).feat(&[Of(Session::feat_hash)]),
    row(&["XCRC"], Pathname(|s, a| s.digest(HashAlgorithm::Crc32, HashForm::Extended, a)), "XCRC <pathname> [<start> [<end>]]", PRACTICE).feat(&[Line("XCRC")]),
    row(&["XMD5"], Pathname(|s, a| s.digest(HashAlgorithm::Md5, HashForm::Extended, a)), "XMD5 <pathname> [<start> [<end>]]", PRACTICE).feat(&[Line("XMD5")]),
    row(&["XSHA1", "XSHA"], Pathname(|s, a| s.digest(HashAlgorithm::Sha1, HashForm::Extended, a)), "XSHA1 <pathname> [<start> [<end>]]", PRACTICE).feat(&[Line("XSHA1")]),
    row(&["XSHA256"], Pathname(|s, a| s.digest(HashAlgorithm::Sha256, HashForm::Extended, a)), "XSHA256 <pathname> [<start> [<end>]]", PRACTICE).feat(&[Line("XSHA256")]),
    row(&["XSHA512"], Pathname(|s, a| s.digest(HashAlgorithm::Sha512, HashForm::Extended, a)), "XSHA512 <pathname> [<start> [<end>]]", PRACTICE).feat(&[Line("XSHA512")]),
    row(&["MD5"], Pathname(|s, a| s.digest(HashAlgorithm::Md5, HashForm::Md5, a)), "MD5 <pathname>", "draft-twine-ftpmd5 §3").feat(&[Line("MD5")]),
    row(&["CLNT"], Optional(|session, _| session.reply(200, b"Noted.")), "CLNT <name>", PRACTICE).before_login().feat(&[Line("CLNT")]),
    row(&["CSID"], Required(Session::csid), "CSID Name=<name>;Version=<version>;", STREAMLINED_DRAFT).before_login().feat(&[Line("CSID")]),
    row(&["AVBL"], OptionalPathname(Session::avbl), "AVBL [<pathname>]", STREAMLINED_DRAFT).feat(&[Line("AVBL")]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[track_caller]
    fn check(line: &[u8], name: Result<&str, &[u8]>, argument: Option<&[u8]>) {
        let (found, rest) = split(line).unwrap();
        assert_eq!(found.map(|row| row.names[0]), name);
        assert_eq!(rest, argument);
    }

    #[test]
    fn splits() {
        check(b"NOOP", Ok("NOOP"), None);
        check(b"noop ", Ok("NOOP"), None);
        check(b"NoOp  x ", Ok("NOOP"), Some(b"x"));
        check(b"RETR a", Ok("RETR"), Some(b"a"));
        check(b"RETR  a ", Ok("RETR"), Some(b" a "));
        check(b"RETR  ", Ok("RETR"), Some(b" "));
        check(b"RETR ", Ok("RETR"), None);
        check(b"RETR", Ok("RETR"), None);
        check(b"RETR \xff\r\n\0", Ok("RETR"), Some(b"\xff\r\n\0"));
        check(b"RETR\ta", Err(b"RETR\ta"), None);
        check(b"TYPE   I  ", Ok("TYPE"), Some(b"I"));
        check(b"TYPE L 8", Ok("TYPE"), Some(b"L 8"));
        check(b"TYPE   ", Ok("TYPE"), None);
        check(b"PASS  secret ", Ok("PASS"), Some(b" secret "));
        check(b"PASS ", Ok("PASS"), Some(b""));
        check(b"PASS", Ok("PASS"), None);
        check(b"SITE CHMOD 644 a ", Ok("SITE"), Some(b"CHMOD 644 a "));
        check(b"XYZZY  a ", Err(b"XYZZY"), Some(b"a"));
        check(b" NOOP", Err(b""), Some(b"NOOP"));
        check(b"  ", Err(b""), None);
        check(b"NOOPX", Err(b"NOOPX"), None);
        check(b"NOO\0", Err(b"NOO\0"), None);
        assert!(split(b"").is_none());
    }

    #[test]
    fn spellings() {
        for (name, standard) in [
            ("XCWD", "CWD"),
            ("xcup", "CDUP"),
            ("XMKD", "MKD"),
            ("XRMD", "RMD"),
            ("XPWD", "PWD"),
            ("XSHA", "XSHA1"),
            ("p@sw", "PASV"),
        ] {
            assert_eq!(find(name.as_bytes()).unwrap().names[0], standard);
        }
    }

    #[test]
    fn every_name_has_one_row() {
        let mut names: Vec<&str> = ROWS.iter().flat_map(|row| row.names).copied().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for row in rows() {
            assert!(row.names.iter().all(|name| *name == name.to_uppercase()));
            if row.is_implemented() {
                let syntax = row.help.split(' ').next();
                assert_eq!(syntax, Some(row.names[0]), "help of {}", row.names[0]);
                let words = row.help.contains(' ');
                assert_eq!(words, !matches!(row.form, Nothing(_)), "form of {}", row.names[0]);
            }
        }
    }

    /// Clients look for the first word, which has to be the command's, or that of a property.
    #[test]
    fn every_feature_is_that_of_its_command() {
        const PROPERTIES: [(&str, &str); 2] = [("OPTS", "UTF8"), ("MLST", "TVFS")];
        for row in rows() {
            assert!(row.is_implemented() || row.features.is_empty(), "{}", row.names[0]);
            for feature in row.features {
                let Line(line) = feature else { continue };
                let word = line.split(' ').next().unwrap();
                let known = row.names.contains(&word) || PROPERTIES.contains(&(row.names[0], word));
                assert!(known, "{}: {line}", row.names[0]);
            }
        }
    }

    fn names_of(wanted: impl Fn(&Row) -> bool) -> Vec<&'static str> {
        let mut names: Vec<_> =
            ROWS.iter().filter(|row| wanted(row)).map(|row| row.names[0]).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn only_these_work_before_login() {
        let open = names_of(|row| !row.login);
        let expected = "ABOR ACCT ADAT AUTH CCC CLNT CONF CSID ENC FEAT HELP HOST LANG MIC NOOP \
                        OPTS PASS PBSZ PROT QUIT REIN SYST USER";
        assert_eq!(open.join(" "), expected);
    }

    #[test]
    fn only_these_keep_a_rename_open_or_are_not_implemented() {
        assert_eq!(names_of(|row| !row.clears_rename), ["NOOP"]);
        assert_eq!(names_of(|row| !row.is_implemented()), ["LPRT", "LPSV", "MFCT", "SMNT"]);
    }

    #[test]
    fn only_these_act_while_the_session_is_busy() {
        let acts = |wanted| names_of(|row| row.while_busy == wanted);
        assert_eq!(acts(WhileBusy::Aborts), ["ABOR"]);
        assert_eq!(acts(WhileBusy::Reports), ["STAT"]);
        assert_eq!(acts(WhileBusy::Leaves), ["QUIT"]);
    }

    #[test]
    fn no_line_panics() {
        let mut random = Random::new(0xc0de);
        for _ in 0..100_000 {
            let line = random.octets(16, b"  RETRPASNO\0\xff\r\n");
            assert_eq!(split(&line).is_none(), line.is_empty());
        }
    }
}
