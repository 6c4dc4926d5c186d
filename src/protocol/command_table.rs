//! Every command the server knows, one row each, and how a line is split into verb and argument.
//! What a command does is the session's.

use Argument::{None as Nothing, Optional, OptionalPathname, Pathname, Required};

/// A command, whatever its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the verb of the same name; its row says the rest")]
pub enum Verb {
    User,
    Pass,
    Acct,
    Cwd,
    Cdup,
    Smnt,
    Rein,
    Quit,
    Port,
    Pasv,
    Type,
    Stru,
    Mode,
    Retr,
    Stor,
    Stou,
    Appe,
    Allo,
    Rest,
    Rnfr,
    Rnto,
    Abor,
    Dele,
    Rmd,
    Mkd,
    Pwd,
    List,
    Nlst,
    Site,
    Syst,
    Stat,
    Help,
    Noop,
    Auth,
    Adat,
    Pbsz,
    Prot,
    Ccc,
    Mic,
    Conf,
    Enc,
    Feat,
    Opts,
    Eprt,
    Epsv,
    Lprt,
    Lpsv,
    Lang,
    Mdtm,
    Size,
    Mlst,
    Mlsd,
    Host,
    Mfmt,
    Mfct,
    Mff,
    Hash,
    Xcrc,
    Xmd5,
    Xsha1,
    Xsha256,
    Xsha512,
    Md5,
    Clnt,
    Avbl,
}

/// What may follow a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// Perhaps words.
    Optional,
    /// Words.
    Required,
    /// A pathname, alone or at the end.
    Pathname,
    /// Perhaps a pathname.
    OptionalPathname,
}

/// What is known about a command before it runs.
#[derive(Debug)]
pub struct Row {
    /// The command.
    pub verb: Verb,
    /// Its spellings in capitals, the standard's own first.
    pub names: &'static [&'static str],
    /// What may follow.
    pub argument: Argument,
    /// Whether it is refused with 530 before log-in [PRE-*]. The others have no 530 in their reply
    /// lists (RFC 959 §5.4, RFC 2228 §8.2, RFC 2389, RFC 2640, RFC 7151), or are the log-in.
    pub login: bool,
    /// Whether it ends the wait for RNTO, which must follow RNFR immediately (RFC 959 §4.1.3)
    /// [FILE-18]. RNFR starts a new wait, RNTO uses the old one up.
    pub clears_rename: bool,
    /// Syntax, for HELP (RFC 959 §5.3.1).
    pub help: &'static str,
    /// False for commands that are known and answered 502 [SYN-01].
    pub implemented: bool,
    /// Where the command is defined.
    pub section: &'static str,
}

/// A line taken apart: the row, or the octets of a verb nobody knows; and the argument.
pub type Split<'a> = (Result<&'static Row, &'a [u8]>, Option<&'a [u8]>);

/// Splits a line; `None` for an empty one [SYN-06].
///
/// One SP ends the verb. In an argument that is or ends with a pathname, and in a password, every
/// further space counts (RFC 2640 §3.1) [SYN-14]; around others spaces are dropped (RFC 959 §5.3)
/// [SYN-15], also those of an unknown verb. An argument of no octets is `None`, so that `RMD `
/// never means the working directory; only an empty password is one.
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
    let argument = match row {
        Some(row) if row.verb == Verb::Pass => argument,
        Some(row) if row.is_exact() => argument.filter(|octets| !octets.is_empty()),
        _ => argument.map(trim_spaces).filter(|octets| !octets.is_empty()),
    };
    Some((row.ok_or(name), argument))
}

/// The row of a verb in any case; `None` when nobody knows it.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name)))
}

/// Every row, in the order of the standards.
#[must_use]
pub fn rows() -> &'static [Row] {
    &ROWS
}

impl Row {
    /// Whether spaces around the argument belong to it. SITE may have a pathname at its end.
    fn is_exact(&self) -> bool {
        matches!(self.argument, Pathname | OptionalPathname)
            || matches!(self.verb, Verb::Pass | Verb::Site)
    }

    const fn before_login(self) -> Self {
        Self { login: false, ..self }
    }

    const fn keeps_rename(self) -> Self {
        Self { clears_rename: false, ..self }
    }

    const fn unimplemented(self) -> Self {
        Self { implemented: false, ..self }
    }
}

fn trim_spaces(octets: &[u8]) -> &[u8] {
    let start = octets.iter().position(|&octet| octet != b' ').unwrap_or(octets.len());
    let end = octets.iter().rposition(|&octet| octet != b' ').map_or(start, |last| last + 1);
    &octets[start..end]
}

const fn row(
    verb: Verb,
    names: &'static [&'static str],
    argument: Argument,
    help: &'static str,
    section: &'static str,
) -> Row {
    Row {
        verb,
        names,
        argument,
        login: true,
        clears_rename: true,
        help,
        implemented: true,
        section,
    }
}

const S959_ACCESS: &str = "RFC 959 §4.1.1";
const S959_PARAMETER: &str = "RFC 959 §4.1.2";
const S959_SERVICE: &str = "RFC 959 §4.1.3";
const S2228: &str = "RFC 2228 §3";
const AVBL_DRAFT: &str = "draft-peterson-streamlined-ftp";
const HASH_DRAFT: &str = "draft-bryan-ftpext-hash §3";
const MFXX_DRAFT: &str = "draft-somers-ftp-mfxx §3";
const PRACTICE: &str = "no standard";

#[rustfmt::skip] // one row, one line
static ROWS: [Row; 65] = [
    row(Verb::User, &["USER"], Required, "USER <name>", S959_ACCESS).before_login(),
    row(Verb::Pass, &["PASS"], Required, "PASS <password>", S959_ACCESS).before_login(),
    row(Verb::Acct, &["ACCT"], Required, "ACCT <account>", S959_ACCESS).before_login(),
    row(Verb::Cwd, &["CWD", "XCWD"], Pathname, "CWD <pathname>", S959_ACCESS),
    row(Verb::Cdup, &["CDUP", "XCUP"], Nothing, "CDUP", S959_ACCESS),
    row(Verb::Smnt, &["SMNT"], Pathname, "SMNT <pathname>", S959_ACCESS).unimplemented(),
    row(Verb::Rein, &["REIN"], Nothing, "REIN", S959_ACCESS).before_login(),
    row(Verb::Quit, &["QUIT"], Nothing, "QUIT", S959_ACCESS).before_login(),
    row(Verb::Port, &["PORT"], Required, "PORT <h1,h2,h3,h4,p1,p2>", S959_PARAMETER),
    // Clients behind middleboxes that mangle PASV send the second spelling.
    row(Verb::Pasv, &["PASV", "P@SW"], Nothing, "PASV", S959_PARAMETER),
    row(Verb::Type, &["TYPE"], Required, "TYPE A [N|T] | I | L 8", S959_PARAMETER),
    row(Verb::Stru, &["STRU"], Required, "STRU F", S959_PARAMETER),
    row(Verb::Mode, &["MODE"], Required, "MODE S", S959_PARAMETER),
    row(Verb::Retr, &["RETR"], Pathname, "RETR <pathname>", S959_SERVICE),
    row(Verb::Stor, &["STOR"], Pathname, "STOR <pathname>", S959_SERVICE),
    row(Verb::Stou, &["STOU"], OptionalPathname, "STOU [<pathname>]", S959_SERVICE),
    row(Verb::Appe, &["APPE"], Pathname, "APPE <pathname>", S959_SERVICE),
    row(Verb::Allo, &["ALLO"], Required, "ALLO <octets> [R <octets>]", S959_SERVICE),
    row(Verb::Rest, &["REST"], Required, "REST <octets>", "RFC 3659 §5"),
    row(Verb::Rnfr, &["RNFR"], Pathname, "RNFR <pathname>", S959_SERVICE),
    row(Verb::Rnto, &["RNTO"], Pathname, "RNTO <pathname>", S959_SERVICE),
    row(Verb::Abor, &["ABOR"], Nothing, "ABOR", S959_SERVICE).before_login(),
    row(Verb::Dele, &["DELE"], Pathname, "DELE <pathname>", S959_SERVICE),
    row(Verb::Rmd, &["RMD", "XRMD"], Pathname, "RMD <pathname>", S959_SERVICE),
    row(Verb::Mkd, &["MKD", "XMKD"], Pathname, "MKD <pathname>", S959_SERVICE),
    row(Verb::Pwd, &["PWD", "XPWD"], Nothing, "PWD", S959_SERVICE),
    row(Verb::List, &["LIST"], OptionalPathname, "LIST [-al] [<pathname>]", S959_SERVICE),
    row(Verb::Nlst, &["NLST"], OptionalPathname, "NLST [<pathname>]", S959_SERVICE),
    row(Verb::Site, &["SITE"], Required, "SITE <command>", S959_SERVICE),
    row(Verb::Syst, &["SYST"], Nothing, "SYST", S959_SERVICE).before_login(),
    row(Verb::Stat, &["STAT"], OptionalPathname, "STAT [<pathname>]", S959_SERVICE),
    row(Verb::Help, &["HELP"], Optional, "HELP [<command>]", S959_SERVICE).before_login(),
    // "Does not affect any parameters or previously entered commands" (RFC 959 §4.1.3).
    row(Verb::Noop, &["NOOP"], Nothing, "NOOP", S959_SERVICE).before_login().keeps_rename(),
    row(Verb::Auth, &["AUTH"], Required, "AUTH TLS | SSL", "RFC 4217 §4").before_login(),
    row(Verb::Adat, &["ADAT"], Required, "ADAT <base64>", S2228).before_login(),
    row(Verb::Pbsz, &["PBSZ"], Required, "PBSZ 0", "RFC 4217 §8").before_login(),
    row(Verb::Prot, &["PROT"], Required, "PROT C | P", "RFC 4217 §9").before_login(),
    row(Verb::Ccc, &["CCC"], Nothing, "CCC", "RFC 4217 §5").before_login(),
    row(Verb::Mic, &["MIC"], Required, "MIC <base64>", S2228).before_login(),
    row(Verb::Conf, &["CONF"], Required, "CONF <base64>", S2228).before_login(),
    row(Verb::Enc, &["ENC"], Required, "ENC <base64>", S2228).before_login(),
    row(Verb::Feat, &["FEAT"], Nothing, "FEAT", "RFC 2389 §3").before_login(),
    row(Verb::Opts, &["OPTS"], Required, "OPTS <command> [...]", "RFC 2389 §4").before_login(),
    row(Verb::Eprt, &["EPRT"], Required, "EPRT |<protocol>|<address>|<port>|", "RFC 2428 §2"),
    row(Verb::Epsv, &["EPSV"], Optional, "EPSV [1|2|ALL]", "RFC 2428 §3"),
    row(Verb::Lprt, &["LPRT"], Required, "LPRT <long address>", "RFC 1639").unimplemented(),
    row(Verb::Lpsv, &["LPSV"], Nothing, "LPSV", "RFC 1639").unimplemented(),
    row(Verb::Lang, &["LANG"], Optional, "LANG [<tag>]", "RFC 2640 §4.1").before_login(),
    row(Verb::Mdtm, &["MDTM"], Pathname, "MDTM <pathname>", "RFC 3659 §3"),
    row(Verb::Size, &["SIZE"], Pathname, "SIZE <pathname>", "RFC 3659 §4"),
    row(Verb::Mlst, &["MLST"], OptionalPathname, "MLST [<pathname>]", "RFC 3659 §7"),
    row(Verb::Mlsd, &["MLSD"], OptionalPathname, "MLSD [<pathname>]", "RFC 3659 §7"),
    row(Verb::Host, &["HOST"], Required, "HOST <name>", "RFC 7151 §3").before_login(),
    row(Verb::Mfmt, &["MFMT"], Pathname, "MFMT <time> <pathname>", MFXX_DRAFT),
    // The creation time of a file cannot be set on Unix.
    row(Verb::Mfct, &["MFCT"], Pathname, "MFCT <time> <pathname>", MFXX_DRAFT).unimplemented(),
    row(Verb::Mff, &["MFF"], Pathname, "MFF <fact=value;...> <pathname>", MFXX_DRAFT),
    row(Verb::Hash, &["HASH"], Pathname, "HASH <pathname>", HASH_DRAFT),
    row(Verb::Xcrc, &["XCRC"], Pathname, "XCRC <pathname> [<start> [<end>]]", PRACTICE),
    row(Verb::Xmd5, &["XMD5"], Pathname, "XMD5 <pathname> [<start> [<end>]]", PRACTICE),
    row(Verb::Xsha1, &["XSHA1", "XSHA"], Pathname, "XSHA1 <pathname> [<start> [<end>]]", PRACTICE),
    row(Verb::Xsha256, &["XSHA256"], Pathname, "XSHA256 <pathname> [<start> [<end>]]", PRACTICE),
    row(Verb::Xsha512, &["XSHA512"], Pathname, "XSHA512 <pathname> [<start> [<end>]]", PRACTICE),
    row(Verb::Md5, &["MD5"], Pathname, "MD5 <pathname>", "draft-twine-ftpmd5 §3"),
    row(Verb::Clnt, &["CLNT"], Optional, "CLNT <name>", PRACTICE).before_login(),
    row(Verb::Avbl, &["AVBL"], OptionalPathname, "AVBL [<pathname>]", AVBL_DRAFT),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[track_caller]
    fn check(line: &[u8], verb: Result<Verb, &[u8]>, argument: Option<&[u8]>) {
        let (found, rest) = split(line).unwrap();
        assert_eq!(found.map(|row| row.verb), verb);
        assert_eq!(rest, argument);
    }

    #[test]
    fn splits() {
        check(b"NOOP", Ok(Verb::Noop), None);
        check(b"noop ", Ok(Verb::Noop), None);
        check(b"NoOp  x ", Ok(Verb::Noop), Some(b"x"));
        check(b"RETR a", Ok(Verb::Retr), Some(b"a"));
        check(b"RETR  a ", Ok(Verb::Retr), Some(b" a "));
        check(b"RETR  ", Ok(Verb::Retr), Some(b" "));
        check(b"RETR ", Ok(Verb::Retr), None);
        check(b"RETR", Ok(Verb::Retr), None);
        check(b"RETR \xff\r\n\0", Ok(Verb::Retr), Some(b"\xff\r\n\0"));
        check(b"RETR\ta", Err(b"RETR\ta"), None);
        check(b"TYPE   I  ", Ok(Verb::Type), Some(b"I"));
        check(b"TYPE L 8", Ok(Verb::Type), Some(b"L 8"));
        check(b"TYPE   ", Ok(Verb::Type), None);
        check(b"PASS  secret ", Ok(Verb::Pass), Some(b" secret "));
        check(b"PASS ", Ok(Verb::Pass), Some(b""));
        check(b"PASS", Ok(Verb::Pass), None);
        check(b"SITE CHMOD 644 a ", Ok(Verb::Site), Some(b"CHMOD 644 a "));
        check(b"XYZZY  a ", Err(b"XYZZY"), Some(b"a"));
        check(b" NOOP", Err(b""), Some(b"NOOP"));
        check(b"  ", Err(b""), None);
        check(b"NOOPX", Err(b"NOOPX"), None);
        check(b"NOO\0", Err(b"NOO\0"), None);
        assert!(split(b"").is_none());
    }

    #[test]
    fn spellings() {
        for (name, verb) in [
            ("XCWD", Verb::Cwd),
            ("xcup", Verb::Cdup),
            ("XMKD", Verb::Mkd),
            ("XRMD", Verb::Rmd),
            ("XPWD", Verb::Pwd),
            ("XSHA", Verb::Xsha1),
            ("p@sw", Verb::Pasv),
        ] {
            assert_eq!(find(name.as_bytes()).unwrap().verb, verb);
        }
    }

    #[test]
    fn every_name_and_verb_has_one_row() {
        let mut names: Vec<&str> = ROWS.iter().flat_map(|row| row.names).copied().collect();
        let mut verbs: Vec<Verb> = ROWS.iter().map(|row| row.verb).collect();
        let (all_names, all_verbs) = (names.len(), verbs.len());
        names.sort_unstable();
        names.dedup();
        verbs.sort_unstable();
        verbs.dedup();
        assert_eq!((names.len(), verbs.len()), (all_names, all_verbs));
        for row in rows() {
            assert!(row.names.iter().all(|name| *name == name.to_uppercase()));
            let syntax = row.help.split(' ').next();
            assert_eq!(syntax, Some(row.names[0]), "help of {:?}", row.verb);
            let words = row.help.contains(' ');
            assert_eq!(words, row.argument != Nothing, "argument of {:?}", row.verb);
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
        let expected = "ABOR ACCT ADAT AUTH CCC CLNT CONF ENC FEAT HELP HOST LANG MIC NOOP OPTS \
                        PASS PBSZ PROT QUIT REIN SYST USER";
        assert_eq!(open.join(" "), expected);
    }

    #[test]
    fn only_these_keep_a_rename_open_or_are_not_implemented() {
        assert_eq!(names_of(|row| !row.clears_rename), ["NOOP"]);
        assert_eq!(names_of(|row| !row.implemented), ["LPRT", "LPSV", "MFCT", "SMNT"]);
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
