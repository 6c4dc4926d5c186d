//! Names and languages: RFC 2640, and the pathname form of RFC 3659 §6 (TVFS).

use std::os::unix::ffi::OsStrExt;

use crate::fixture::{alice, dialogue, on_both, own, relaxed, strict};
use crate::support::{Client, Listener};

/// [LANG-01] LANG alone is 200, in any state.
#[test]
fn lang_alone_is_200() {
    let server = strict();
    Client::plain(&server).expect("LANG", 200);
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("LANG", 200);
        client.login().expect("LANG", 200);
    });
}

/// [LANG-02] A supported tag is 200, also by its primary part and in any letter case.
#[test]
fn supported_language_is_200() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(&mut client, &[("LANG EN", 200), ("LANG en", 200), ("LANG en-GB", 200)]);
    });
}

/// [LANG-03] Unsupported is 504, malformed 501; both leave the language as it was.
#[test]
fn other_languages_are_refused() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(
            &mut client,
            &[
                ("LANG de", 504),
                ("LANG fr-CA", 504),
                ("LANG toolongtag", 501),
                ("LANG 12", 501),
                ("LANG en GB", 501),
                ("LANG en-", 501),
            ],
        );
        assert!(client.expect("FEAT", 211).text().contains("LANG EN*"));
    });
}

/// [LANG-04] FEAT has `LANG EN*`: at least one tag, the asterisk on the current one.
#[test]
fn feat_marks_the_language() {
    let server = strict();
    let feat = Client::implicit(&server).expect("FEAT", 211);
    let line = feat.inner().iter().find(|line| line.starts_with(b" LANG ")).unwrap();
    let text = String::from_utf8_lossy(line).into_owned();
    assert_eq!(text.matches('*').count(), 1, "{text}");
    assert!(text.contains("EN*"), "{text}");
}

/// [PATH-01] UTF-8 names go through whole and unnormalised: NFC and NFD are two names.
#[test]
fn utf8_names_are_kept_as_they_are() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "path01");
        let (nfc, nfd) = ("caf\u{e9}", "cafe\u{301}");
        client.store(format!("STOR {nfc}"), b"composed");
        client.store(format!("STOR {nfd}"), b"decomposed");
        client.store("STOR 日本語 файл 😀", b"wide");
        assert_eq!(client.retrieve(format!("RETR {nfc}")), b"composed");
        assert_eq!(client.retrieve(format!("RETR {nfd}")), b"decomposed");
        let mut names = client.list("NLST");
        names.sort();
        let mut expected = [nfc, nfd, "日本語 файл 😀"].map(|name| name.as_bytes().to_vec());
        expected.sort();
        assert_eq!(names, expected);
        assert!(client.expect("FEAT", 211).has_feature("UTF8"));
    });
}

/// [PATH-02] Octets that are no UTF-8 go through whole, both ways.
#[test]
fn latin1_names_are_kept_as_they_are() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "path02");
        let name = b"caf\xe9 \x80\x9f";
        client.store([b"STOR ", &name[..]].concat(), b"latin");
        let place = server.root().join(own("path02", listener));
        assert!(place.join(std::ffi::OsStr::from_bytes(name)).exists());
        assert_eq!(client.list("NLST"), [name]);
        assert_eq!(client.retrieve([b"RETR ", &name[..]].concat()), b"latin");
        let mlst = client.expect([b"MLST ", &name[..]].concat(), 250);
        assert!(mlst.inner()[0].ends_with(name));
        client.expect([b"DELE ", &name[..]].concat(), 250);
    });
}

/// [PATH-03] Every octet but NUL and `/` may be in a name.
#[test]
fn names_are_eight_bit_clean() {
    let server = relaxed();
    let mut client = crate::fixture::alice_clear_data(&server, Listener::Implicit, "path03");
    for byte in 1..=255_u8 {
        if byte == b'/' {
            continue;
        }
        let encoded = match byte {
            b'\r' => b"x\r\0x".to_vec(),
            255 => b"x\xff\xffx".to_vec(),
            byte => vec![b'x', byte, b'x'],
        };
        let made = client.expect([b"MKD ", &encoded[..]].concat(), 257);
        // A reply shows no control character [SYN-03]; the directory has it.
        let shown = if byte.is_ascii_control() && byte != b'\t' { b'?' } else { byte };
        assert!(made.quoted().ends_with(&[b'/', b'x', shown, b'x']), "{byte:#x}: {made:?}");
        client.expect([b"RMD ", &encoded[..]].concat(), 250);
    }
}

/// [PATH-05] A component past 255 octets or a path past 4,095: refused, and the session lives.
#[test]
fn too_long_names_are_refused() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "path05");
        let long_name = "n".repeat(256);
        let long_path = "/d".repeat(2500);
        for name in [&long_name, &long_path] {
            for verb in ["MKD", "CWD", "RETR", "SIZE", "MLST", "DELE", "RNFR"] {
                let reply = client.cmd(format!("{verb} {name}"));
                assert!([501, 550, 553].contains(&reply.code), "{verb}: {reply:?}");
            }
            let reply = client.cmd(format!("STOR {name}"));
            assert!([425, 501, 553].contains(&reply.code), "{reply:?}");
        }
        client.expect(format!("MKD {}", "n".repeat(255)), 257);
        client.expect("PWD", 257);
    });
}

/// [PATH-06] `/` separates, a leading one is the root; `//`, trailing `/`, `.` and `..` as on Unix.
#[test]
fn slashes_and_dots() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "path06");
        let place = own("path06", listener);
        client.expect("MKD a", 257);
        client.expect("MKD a/b", 257);
        let deep = format!("/{place}/a/b");
        for path in [
            "a/b".to_owned(),
            "a//b".to_owned(),
            "a/b/".to_owned(),
            "./a/./b".to_owned(),
            "a/../a/b".to_owned(),
            deep.clone(),
            format!("//{place}//a///b//"),
            format!("/../../{place}/a/b"),
        ] {
            client.expect(format!("CWD /{place}"), 250);
            client.expect(format!("CWD {path}"), 250);
            assert_eq!(client.expect("PWD", 257).quoted(), deep.as_bytes(), "{path}");
        }
        assert!(client.expect("FEAT", 211).has_feature("TVFS"));
    });
}

/// [PATH-07] [PATH-08] No `%xx`, no backslash, no shell or environment magic in names. `~` is the
/// home directory for CWD alone, and only where nothing has that name.
#[test]
fn names_have_no_magic() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "path07");
        let here = client.expect("PWD", 257).quoted();
        for (name, code, place) in
            [("~", 250, &b"/"[..]), ("~/absent", 550, b"/"), ("~/", 250, b"/")]
        {
            client.expect(format!("CWD {name}"), code);
            assert_eq!(client.expect("PWD", 257).quoted(), place, "{name}");
        }
        client.expect([b"CWD ", &here[..]].concat(), 250);
        for name in ["%41", "~alice", "a\\b", "..\\x", "$HOME", "`id`", "|id", ";id", "x>y"] {
            client.expect(format!("CWD {name}"), 550);
            let made = client.expect(format!("MKD {name}"), 257);
            assert!(made.quoted().ends_with(format!("/{name}").as_bytes()), "{made:?}");
            client.expect(format!("CWD {name}"), 250);
            client.expect("CDUP", 250);
        }
        client.expect("CWD A", 550);
        client.expect("MKD ~", 257);
        client.expect("CWD ~", 250);
        assert!(client.expect("PWD", 257).quoted().ends_with(b"/~"));
    });
}
