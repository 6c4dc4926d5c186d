//! Lines of LIST, NLST and MLSD and the facts of MLST, one name at a time. Which names, in which
//! order and over which connection is decided elsewhere.
//!
//! Names are octets; on the data connection 0xFF is not doubled, since nothing there is Telnet.
//! Control characters in them are shown as `?`: an entry is one line for every client, whatever the
//! client accepts as a line end (see [`shown`](super::shown)) [SYN-17].

use super::account::Permissions;
use super::digits::{push_decimal, push_hex, push_octal};
use super::file::{FactSet, FileKind, Metadata, NamedDigest};
use super::hash_command;
use super::hexadecimal;
use super::mlst_options;
use super::shown::push_shown;
use super::timestamp::{push_ls_date, push_utc};

/// Appends a line of LIST, as `ls -l` prints it: the form that clients parse. Owner and group are
/// always `ftp`: the system's user names are not disclosed. `now_seconds`, since the epoch, chooses
/// the form of the date [LIST-01]. A symbolic link ends in ` -> ` and `link`, its text.
pub fn long_line(
    out: &mut Vec<u8>,
    metadata: &Metadata,
    name: &[u8],
    link: &[u8],
    now_seconds: i64,
) {
    out.push(type_letter(metadata.kind));
    out.extend_from_slice(&mode_letters(metadata.mode));
    out.push(b' ');
    push_decimal(out, metadata.links, 3, b' ');
    out.extend_from_slice(b" ftp      ftp      ");
    push_decimal(out, metadata.size, 12, b' ');
    out.push(b' ');
    push_ls_date(out, metadata.modified, now_seconds);
    out.push(b' ');
    push_shown(out, name);
    if matches!(metadata.kind, FileKind::Link | FileKind::LinkToFile) && !link.is_empty() {
        out.extend_from_slice(b" -> ");
        push_shown(out, link);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a line of NLST: nothing but the name, after the `prefix` that makes it usable from the
/// working directory (RFC 1123 §4.1.2.7) [NLST-01].
pub fn name_line(out: &mut Vec<u8>, prefix: &[u8], name: &[u8]) {
    push_shown(out, prefix);
    push_shown(out, name);
    out.extend_from_slice(b"\r\n");
}

/// Appends a line of MLSD: `facts SP name` (RFC 3659 §7.2) [MLSD-01]. `kind_override` is `cdir` or
/// `pdir` for the entries of that type, which only MLSD has; `link` is what a symbolic link reads.
pub fn fact_line(
    out: &mut Vec<u8>,
    metadata: &Metadata,
    kind_override: Option<&str>,
    link: &[u8],
    selected: FactSet,
    permissions: Permissions,
    name: &[u8],
) {
    facts(out, metadata, kind_override, link, selected, permissions);
    out.push(b' ');
    push_shown(out, name);
    out.extend_from_slice(b"\r\n");
}

/// Appends `fact=value;` for each selected fact that applies; nothing else, since MLST puts its
/// pathname into a reply and so encodes it otherwise.
pub fn facts(
    out: &mut Vec<u8>,
    metadata: &Metadata,
    kind_override: Option<&str>,
    link: &[u8],
    selected: FactSet,
    permissions: Permissions,
) {
    if selected.kind {
        out.extend_from_slice(b"type=");
        match kind_override {
            Some(kind) => out.extend_from_slice(kind.as_bytes()),
            None => push_kind(out, metadata.kind, link),
        }
        out.push(b';');
    }
    // Of a link to a file, too: clients compare it with the octets that RETR sends.
    if selected.size && matches!(metadata.kind, FileKind::File | FileKind::LinkToFile) {
        out.extend_from_slice(b"size=");
        push_decimal(out, metadata.size, 1, b'0');
        out.push(b';');
    }
    if selected.modify {
        out.extend_from_slice(b"modify=");
        push_utc(out, metadata.modified);
        out.push(b';');
    }
    if selected.perm {
        out.extend_from_slice(b"perm=");
        out.extend(perm(metadata, kind_override, permissions));
        out.push(b';');
    }
    if selected.unique {
        let (device, inode) = metadata.unique;
        out.extend_from_slice(b"unique=");
        push_hex(out, device);
        out.push(b'g');
        push_hex(out, inode);
        out.push(b';');
    }
    if selected.unix_mode {
        out.extend_from_slice(b"UNIX.mode=");
        push_octal(out, u64::from(metadata.mode & 0o7777));
        out.push(b';');
    }
}

/// The value of the `perm` fact (RFC 3659 §7.5.5) [MLST-05]: what the account may try. Whether a
/// name can be removed from its directory is not known here, so `d` and `f` follow the permissions
/// alone; the working directory and its parent (`kind_override`) have neither.
fn perm(
    metadata: &Metadata,
    kind_override: Option<&str>,
    may: Permissions,
) -> impl Iterator<Item = u8> + use<> {
    let directory = metadata.kind == FileKind::Directory;
    let file = matches!(metadata.kind, FileKind::File | FileKind::LinkToFile);
    let writable = metadata.writable;
    let plain = kind_override.is_none();
    [
        (b'a', file && may.append && writable),
        (b'c', directory && may.create && writable),
        (b'd', plain && may.delete),
        (b'e', directory && metadata.searchable),
        (b'f', plain && may.rename),
        (b'l', directory && may.list && metadata.searchable),
        (b'm', directory && may.mkdir && writable),
        (b'p', directory && may.delete && writable),
        (b'r', file && may.read),
        (b'w', file && may.overwrite && writable),
    ]
    .into_iter()
    .filter_map(|(letter, granted)| granted.then_some(letter))
}

/// Appends the fact `X.hash=NAME:digest,NAME:digest;`, a local one (RFC 3659 §7.5), for no standard
/// defines any; nothing when no digest is known.
pub fn hash_fact(out: &mut Vec<u8>, digests: &[NamedDigest]) {
    let mut separator = "X.hash=";
    for (algorithm, digest) in digests {
        let (name, digest) = (hash_command::name(*algorithm), hexadecimal::lower(digest));
        out.extend_from_slice(format!("{separator}{name}:{digest}").as_bytes());
        separator = ",";
    }
    if !digests.is_empty() {
        out.push(b';');
    }
}

/// The FEAT line of MLST (RFC 3659 §7.8), asterisks after the selected facts; `hashes` when digests
/// can be asked for.
#[must_use]
pub fn feat_mlst(selected: FactSet, hashes: bool) -> String {
    mlst_options::feature(selected, hashes)
}

/// The value of the `type` fact. Ours for what RFC 3659 §7.5.1 leaves to the system (§7.5.1.5), in
/// the form that FileZilla, lftp and basic-ftp know: `OS.unix=slink:` and what the link reads. A
/// value has no room for every octet (RCHAR, §7.2): where the link has others, it is left out.
fn push_kind(out: &mut Vec<u8>, kind: FileKind, link: &[u8]) {
    let is_link = matches!(kind, FileKind::Link | FileKind::LinkToFile);
    let plain =
        |&octet: &u8| octet.is_ascii_alphanumeric() || b",.:!@#$%^&()-_+?/\\'\"=".contains(&octet);
    out.extend_from_slice(match kind {
        FileKind::Directory => b"dir",
        FileKind::File => b"file",
        FileKind::Link | FileKind::LinkToFile => {
            if link.is_empty() || !link.iter().all(plain) {
                return out.extend_from_slice(b"OS.unix=symlink");
            }
            b"OS.unix=slink:"
        }
        FileKind::Other => b"OS.unix=special",
    });
    if is_link {
        out.extend_from_slice(link);
    }
}

/// First letter of `ls -l`. What is neither file, directory nor link is shown as a FIFO: like all
/// of them it cannot be fetched, and unlike devices it has a size column.
fn type_letter(kind: FileKind) -> u8 {
    match kind {
        FileKind::Directory => b'd',
        FileKind::File => b'-',
        FileKind::Link | FileKind::LinkToFile => b'l',
        FileKind::Other => b'p',
    }
}

/// `rwxr-xr-x`, with `s`, `S`, `t` and `T` as `ls -l` has them.
fn mode_letters(mode: u32) -> [u8; 9] {
    let mut letters = *b"---------";
    let classes = [(6, 0o4000, b's', b'S'), (3, 0o2000, b's', b'S'), (0, 0o1000, b't', b'T')];
    for ((shift, special, with, without), class) in classes.into_iter().zip(letters.chunks_mut(3)) {
        let bits = mode >> shift;
        if bits & 0o4 != 0 {
            class[0] = b'r';
        }
        if bits & 0o2 != 0 {
            class[1] = b'w';
        }
        class[2] = match (mode & special != 0, bits & 0o1 != 0) {
            (false, false) => b'-',
            (false, true) => b'x',
            (true, true) => with,
            (true, false) => without,
        };
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::file::FileTime;
    use crate::protocol::test_random::Random;

    const NOW: i64 = 1_700_000_000;

    fn metadata(kind: FileKind) -> Metadata {
        Metadata {
            kind,
            size: 12_345,
            modified: FileTime { seconds: NOW, nanoseconds: 5 },
            mode: 0o644,
            links: 1,
            unique: (0, 0x1234),
            writable: true,
            searchable: kind == FileKind::Directory,
        }
    }

    #[test]
    fn long_lines() {
        #[track_caller]
        fn check(kind: FileKind, mode: u32, name: &[u8], expected: &[u8]) {
            let mut out = Vec::new();
            long_line(&mut out, &Metadata { mode, ..metadata(kind) }, name, b"to\nx", NOW);
            assert_eq!(out, expected);
        }
        let file = FileKind::File;
        let line = b"-rw-r--r--   1 ftp      ftp             12345 Nov 14 22:13  a \r\n";
        check(file, 0o644, b" a ", line);
        let line = b"drwxrwxrwt   1 ftp      ftp             12345 Nov 14 22:13 d\r\n";
        check(FileKind::Directory, 0o1777, b"d", line);
        let line = b"lrwxrwxrwx   1 ftp      ftp             12345 Nov 14 22:13 l -> to?x\r\n";
        check(FileKind::Link, 0o777, b"l", line);
        let line = b"p--S-wsrwT   1 ftp      ftp             12345 Nov 14 22:13 \xff\r\n";
        check(FileKind::Other, 0o7036, b"\xff", line);
    }

    #[test]
    fn extreme_values_do_not_panic() {
        let mut out = Vec::new();
        let extreme = Metadata {
            size: u64::MAX,
            links: u64::MAX,
            mode: u32::MAX,
            modified: FileTime { seconds: i64::MIN, nanoseconds: u32::MAX },
            unique: (u64::MAX, u64::MAX),
            ..metadata(FileKind::File)
        };
        long_line(&mut out, &extreme, b"x", b"", i64::MAX);
        fact_line(&mut out, &extreme, None, b"", FactSet::DEFAULT, Permissions::ALL, b"x");
        assert_eq!(out.iter().filter(|&&octet| octet == b'\n').count(), 2);
    }

    #[test]
    fn bare_names() {
        for (prefix, name, expected) in [
            (&b""[..], &b"a"[..], &b"a\r\n"[..]),
            (b"sub/", b"a", b"sub/a\r\n"),
            (b"s\r/", b"a\r\nb\r", b"s?/a??b?\r\n"),
            (b"", b"a\nb\xff", b"a?b\xff\r\n"),
        ] {
            let mut out = Vec::new();
            name_line(&mut out, prefix, name);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn fact_lines() {
        #[track_caller]
        fn check(kind: FileKind, as_kind: Option<&str>, selected: FactSet, expected: &str) {
            let mut out = Vec::new();
            let may = Permissions::ALL;
            fact_line(&mut out, &metadata(kind), as_kind, b"../to", selected, may, b" a\r");
            assert_eq!(out, format!("{expected}  a?\r\n").as_bytes());
        }
        let all = FactSet { unix_mode: true, ..FactSet::DEFAULT };
        let rest = "unique=0g1234;UNIX.mode=0644;";
        let file = "type=file;size=12345;modify=20231114221320;perm=adfrw;";
        check(FileKind::File, None, all, &format!("{file}{rest}"));
        let dir = "type=dir;modify=20231114221320;perm=cdeflmp;";
        check(FileKind::Directory, None, all, &format!("{dir}{rest}"));
        let cdir = "type=cdir;modify=20231114221320;perm=celmp;";
        check(FileKind::Directory, Some("cdir"), all, &format!("{cdir}{rest}"));
        let slink = "type=OS.unix=slink:../to;modify=20231114221320;perm=df;unique=0g1234;";
        check(FileKind::Link, None, FactSet::DEFAULT, slink);
        let slink = slink.replace("modify=", "size=12345;modify=").replace("=df;", "=adfrw;");
        check(FileKind::LinkToFile, None, FactSet::DEFAULT, &slink);
        check(
            FileKind::Other,
            None,
            FactSet { kind: true, ..FactSet::NONE },
            "type=OS.unix=special;",
        );
        check(FileKind::File, None, FactSet::NONE, "");
    }

    /// RFC 3659 §7.2 has no room for every octet in a value.
    #[test]
    fn kinds_of_links() {
        for (link, expected) in [
            (&b"a/../b_c.d-e=f"[..], &b"OS.unix=slink:a/../b_c.d-e=f"[..]),
            (b"two words", b"OS.unix=symlink"),
            (b"x;type=file", b"OS.unix=symlink"),
            (b"x\ny", b"OS.unix=symlink"),
            ("\u{e9}".as_bytes(), b"OS.unix=symlink"),
            (b"", b"OS.unix=symlink"),
        ] {
            let mut out = Vec::new();
            push_kind(&mut out, FileKind::Link, link);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn perm_letters() {
        #[track_caller]
        fn check(kind: FileKind, may: Permissions, writable: bool, expected: &str) {
            let metadata = Metadata { writable, ..metadata(kind) };
            let letters: Vec<u8> = perm(&metadata, None, may).collect();
            assert_eq!(letters, expected.as_bytes(), "{kind:?} {may:?}");
        }
        let none = Permissions::NONE;
        for (may, file, directory) in [
            (none, "", "e"),
            (Permissions::READ_ONLY, "r", "el"),
            (Permissions::ALL, "adfrw", "cdeflmp"),
            (Permissions { create: true, ..none }, "", "ce"),
            (Permissions { overwrite: true, ..none }, "w", "e"),
            (Permissions { chmod: true, mtime: true, ..none }, "", "e"),
            (Permissions { append: true, ..none }, "a", "e"),
            (Permissions { delete: true, ..none }, "d", "dep"),
            (Permissions { rename: true, ..none }, "f", "ef"),
            (Permissions { mkdir: true, ..none }, "", "em"),
        ] {
            check(FileKind::File, may, true, file);
            check(FileKind::Directory, may, true, directory);
        }
        check(FileKind::File, Permissions::ALL, false, "dfr");
        check(FileKind::Directory, Permissions::ALL, false, "defl");
        check(FileKind::Link, Permissions::ALL, true, "df");
        check(FileKind::Other, Permissions::ALL, true, "df");
    }

    #[test]
    fn feature_line() {
        let selected = FactSet { kind: true, unix_mode: true, ..FactSet::NONE };
        assert_eq!(feat_mlst(selected, false), "MLST type*;size;modify;perm;unique;UNIX.mode*;");
    }

    #[test]
    fn no_name_ends_its_line_early() {
        let mut random = Random::new(0x11f7);
        for _ in 0..20_000 {
            let name = random.octets(12, b"\r\n\r\n\0 ;=");
            let mut out = Vec::new();
            name_line(&mut out, b"", &name);
            long_line(&mut out, &metadata(FileKind::Link), &name, &name, NOW);
            fact_line(
                &mut out,
                &metadata(FileKind::Link),
                None,
                &name,
                FactSet::DEFAULT,
                Permissions::ALL,
                &name,
            );
            for end in [b'\r', b'\n'] {
                assert_eq!(out.iter().filter(|&&octet| octet == end).count(), 3, "{name:?}");
            }
        }
    }
}
