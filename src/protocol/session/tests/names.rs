//! Names with every octet, in requests and in replies (RFC 2640 §3.1, RFC 854).

use super::*;

/// As the client sends it, and as storage gets it.
#[track_caller]
fn check_name(sent: &[u8], expected: &[u8]) {
    let mut shell = logged_in();
    shell.check([b"DELE ", sent].concat(), "250");
    assert_eq!(shell.take_outputs(), [Output::File(FileRequest::Delete(path(expected)))]);
}

/// [SYN-03 SYN-13 SYN-14 SYN-16].
#[test]
fn names_in_requests() {
    check_name(b"plain", b"/plain");
    check_name(b" two  spaces ", b"/ two  spaces ");
    check_name(b"a\nb", b"/a\nb");
    check_name(b"a\r\0b", b"/a\rb");
    check_name(b"a\r\0\nQUIT", b"/a\r\nQUIT");
    check_name(b"\xff\xff\xfe", b"/\xff\xfe");
    check_name(b"\"", b"/\"");
    check_name("naïve".as_bytes(), "/naïve".as_bytes());
    check_name(b"../../etc/passwd", b"/etc/passwd");
}

/// [SYN-08 SYN-09]: never cut at the NUL.
#[test]
fn a_nul_is_refused() {
    let mut shell = logged_in();
    shell.check("EPSV", "229");
    shell.take_outputs();
    for (command, code) in [
        ("DELE a\0b", "550"),
        ("CWD a\0", "550"),
        ("MKD \0", "550"),
        ("STOR a\0b", "553"),
        ("LIST a\0b", "550"),
        ("STAT a\0b", "550"),
        ("MLSD a\0b", "550"),
        ("HASH a\0b", "550"),
    ] {
        shell.check(command, code);
    }
    assert!(shell.take_outputs().is_empty());
}

/// [SYN-03 SYN-17 SYN-18 FILE-05 FILE-06]: no name ends a reply early.
#[test]
fn names_in_replies() {
    let sent = b"dir\"\r\0\n226 x\xff\xff";
    let shown = b"dir\"\"??226 x\xff\xff";
    let plain = b"dir\"??226 x\xff\xff";
    let mut shell = logged_in();
    shell.check_text(
        [b"MKD ", &sent[..]].concat(),
        &[b"257 \"/", &shown[..], b"\" created.\r\n"].concat(),
    );
    shell.check_text([b"CWD ", &sent[..]].concat(), b"250 Directory changed.\r\n");
    let expected = [b"257 \"/", &shown[..], b"\" is the current directory.\r\n"].concat();
    shell.check_text("PWD", &expected);
    shell.check("CDUP", "250");
    shell.check("EPSV", "229");
    shell.feed(&[b"RETR ", &sent[..], b"\r\n"].concat());
    assert!(shell.take_text().starts_with(&[b"150 Data connection for \"", &shown[..]].concat()));
    shell.check("EPSV", "229");
    shell.feed(&[b"STOU ", &sent[..], b"\r\n"].concat());
    assert!(shell.take_text().starts_with(&[b"150 FILE: ", &plain[..], b"\r\n"].concat()));
    shell.feed(&[b"MLST ", &sent[..], b"\r\n"].concat());
    let text = shell.take_text();
    let ending = [b"; /", &plain[..], b"\r\n250 End\r\n"].concat();
    assert!(text.ends_with(&ending), "{}", text.escape_ascii());
    shell.feed(&[b"MFMT 20200101000000 ", &sent[..], b"\r\n"].concat());
    assert!(shell.take_text().ends_with(&[b"; ", &plain[..], b"\r\n"].concat()));
    shell.feed(&[b"HASH ", &sent[..], b"\r\n"].concat());
    assert!(shell.take_text().ends_with(&[b" ", &plain[..], b"\r\n"].concat()));
}

/// The exact lines some clients look for.
/// The fact is offered, selected and answered only where uploads are hashed.
#[test]
fn digests_as_a_fact() {
    let hashes = [HashAlgorithm::Sha1].into_iter().collect();
    let policy = Policy { hash_uploads: hashes, ..lax() };
    let mut shell = Shell::new(Mode::Explicit, policy).log_in();
    shell.feed(b"FEAT\r\n");
    let text = shell.take_text();
    assert!(text.windows(18).any(|part| part == b"UNIX.mode;X.hash;\r"), "{}", text.escape_ascii());
    shell.check_text("OPTS MLST size;", b"200 MLST OPTS size;\r\n");
    shell.check_text("MLST file", b"250-Listing\r\n size=10; /file\r\n250 End\r\n");
    shell.check_text("OPTS MLST size;x.hash;", b"200 MLST OPTS size;X.hash;\r\n");
    let digest = "ab".repeat(20);
    let expected = format!("250-Listing\r\n size=10;X.hash=SHA-1:{digest}; /file\r\n250 End\r\n");
    shell.check_text("MLST file", expected.as_bytes());
    shell.check("MLST absent", "550");
}

#[test]
fn exact_texts() {
    let mut shell = Shell::new(Mode::Explicit, strict());
    shell.check_text("SYST", b"215 UNIX Type: L8\r\n");
    let mut shell = shell.auth();
    shell.check_text("PBSZ 16384", b"200 PBSZ=0\r\n");
    let mut shell = shell.log_in();
    shell.check("PROT P", "200");
    shell.check_text("PWD", b"257 \"/\" is the current directory.\r\n");
    shell.feed(b"PASV\r\n");
    let text = shell.take_text();
    assert!(text.ends_with(b"(192,0,2,1,195,81)\r\n"), "{}", text.escape_ascii());
    shell.feed(b"EPSV\r\n");
    let text = shell.take_text();
    assert!(text.windows(11).any(|part| part == b"(|||50001|)"), "{}", text.escape_ascii());
    shell.check_text("MDTM file", b"213 20010909014640\r\n");
    shell.check_text("SIZE file", b"213 12\r\n");
    shell.check("TYPE I", "200");
    shell.check_text("SIZE file", b"213 10\r\n");
    shell.check_text("MFMT 20200101000000 a b", b"213 Modify=20010909014640; a b\r\n");
    shell.check_text("OPTS MLST size;junk;type;", b"200 MLST OPTS type;size;\r\n");
    shell.check_text("MLST file", b"250-Listing\r\n type=file;size=10; /file\r\n250 End\r\n");
    // Where uploads are not hashed there is no such fact.
    shell.check_text("OPTS MLST size;X.hash;", b"200 MLST OPTS size;\r\n");
    shell.check_text("STAT file", b"213-Status:\r\n-rw-r--r-- file\r\n213 End\r\n");
}

/// RFC 3659 §3.4: the whole argument is the name; only where there is none may it set the time.
#[test]
fn mdtm_with_a_time() {
    let mut shell = logged_in();
    shell.check("MDTM 20200101000000 file", "213");
    let asked = FileRequest::Metadata(path(b"20200101000000 file"));
    assert_eq!(shell.take_outputs(), [Output::File(asked)]);
    shell.hold = Hold::File;
    shell.check("MDTM 20200101000000 file", "");
    shell.take_outputs();
    shell.hold = Hold::Nothing;
    shell.input(Input::File(Err(FileError::NotFound)));
    assert_eq!(shell.take(), "213");
    let time = FileTime { seconds: 1_577_836_800, nanoseconds: 0 };
    let set = FileRequest::SetFacts { path: path(b"file"), modified: Some(time), mode: None };
    assert_eq!(shell.take_outputs(), [Output::File(set)]);
}
