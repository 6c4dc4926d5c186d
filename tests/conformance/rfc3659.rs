//! SIZE, MDTM, MLST and MLSD: RFC 3659; MFMT, MFF and HASH of the later drafts.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, UNIX_EPOCH};

use crate::fixture::{alice, dialogue, expect_one_of, on_both, own, strict};
use crate::support::{Client, Listener, Server};

/// 2001-09-09 01:46:40 UTC.
const MOMENT: Duration = Duration::from_secs(1_000_000_000);

fn text(lines: &[Vec<u8>]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// A file with a known time, and its directory's client.
fn with_file(server: &Server, listener: Listener, place: &str) -> Client {
    let client = alice(server, listener, place);
    let path = server.root().join(own(place, listener)).join("file");
    std::fs::write(&path, "12345").unwrap();
    std::fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(UNIX_EPOCH + MOMENT)
        .unwrap();
    client
}

/// The facts of one MLST or MLSD line by name, and the pathname.
#[track_caller]
fn facts(line: &str) -> (std::collections::BTreeMap<String, String>, String) {
    let (facts, name) = line.split_once(' ').unwrap();
    assert!(facts.is_empty() || facts.ends_with(';'), "{line}");
    let facts = facts
        .split_terminator(';')
        .map(|fact| fact.split_once('=').unwrap_or_else(|| panic!("{line}")))
        .map(|(fact, value)| (fact.to_ascii_lowercase(), value.to_owned()))
        .collect();
    (facts, name.to_owned())
}

/// [FILE-01] SIZE is 213 and the number alone; directory or nothing 550, no argument 501.
#[test]
fn size() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "file01");
        client.expect("MKD sub", 257);
        assert_eq!(client.expect("SIZE file", 213).line(), "5");
        dialogue(&mut client, &[("SIZE sub", 550), ("SIZE absent", 550), ("SIZE", 501)]);
    });
}

/// [FILE-02] MDTM is 213 and the time in UTC; nothing is 550.
#[test]
fn mdtm() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "file02");
        let time = client.expect("MDTM file", 213).line();
        assert!(time == "20010909014640" || time.starts_with("20010909014640.0"), "{time}");
        dialogue(&mut client, &[("MDTM absent", 550), ("MDTM", 501)]);
    });
}

/// [FILE-03] The whole argument of MDTM is a name first; with the switch on it sets a time when
/// no file has that name.
#[test]
fn mdtm_with_a_time() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "file03");
        let odd = "19990929043300 file";
        client.expect(format!("MDTM {odd}"), 213);
        assert!(client.expect("MDTM file", 213).line().starts_with("19990929043300"));
        client.store(format!("STOR {odd}"), b"");
        client.expect(format!("MFMT 20200102030405 {odd}"), 213);
        assert!(client.expect(format!("MDTM {odd}"), 213).line().starts_with("20200102030405"));
        assert!(client.expect("MDTM file", 213).line().starts_with("19990929043300"));
    });
    let server = Server::builder().toml("[policy]\nmdtm_may_set = false").start();
    let mut client = with_file(&server, Listener::Implicit, "file03");
    client.expect("MDTM 19990929043300 file", 550);
    assert!(client.expect("MDTM file", 213).line().starts_with("20010909014640"));
}

/// [FILE-10] MFMT sets the time: `213 Modify=…; path`; a date that does not exist 501, nothing 550.
#[test]
fn mfmt() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "file10");
        let reply = client.expect("MFMT 20200229123456 file", 213).line();
        assert_eq!(reply, "Modify=20200229123456; file");
        assert!(client.expect("MDTM file", 213).line().starts_with("20200229123456"));
        for bad in [
            "MFMT 20210229000000 file",
            "MFMT 20200132000000 file",
            "MFMT 20201301000000 file",
            "MFMT 20200101240000 file",
            "MFMT 20200101006000 file",
            "MFMT 2020010100000 file",
            "MFMT 202001010000000 file",
            "MFMT abcdefghijklmn file",
            "MFMT 20200101000000",
            "MFMT",
        ] {
            client.expect(bad, 501);
        }
        client.expect("MFMT 20200101000000 absent", 550);
        assert!(client.expect("MDTM file", 213).line().starts_with("20200229123456"));
        let mut reader = Client::open(&server, listener)
            .login_as("bob")
            .within(&server, &own("file10", listener));
        reader.expect("MFMT 20200101000000 file", 550);
    });
}

/// [FILE-12] MFF sets facts: `213 Modify=…; path`; unknown fact 504, nothing 550, bad date 501.
#[test]
fn mff() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "file12");
        let reply = client.expect("MFF modify=20200229123456; file", 213).line();
        assert_eq!(reply.to_ascii_lowercase(), "modify=20200229123456; file");
        client.expect("MFF UNIX.mode=640; file", 213);
        use std::os::unix::fs::PermissionsExt;
        let path = server.root().join(own("file12", listener)).join("file");
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o640);
        dialogue(
            &mut client,
            &[
                ("MFF nosuch=1; file", 504),
                ("MFF size=1; file", 504),
                ("MFF modify=20201301000000; file", 501),
                ("MFF modify=20200101000000; absent", 550),
                ("MFF", 501),
            ],
        );
    });
}

/// [FILE-14] HASH: `213 ALG start-end hex path`, SHA-256 by default, OPTS HASH chooses, FEAT marks.
#[test]
fn hash() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "file14");
        client.store("STOR file", b"abc");
        client.expect("MKD sub", 257);
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let reply = client.expect("HASH file", 213).line();
        let (head, tail) = reply.split_once(' ').unwrap();
        assert_eq!(head, "SHA-256");
        assert!(
            tail == format!("0-3 {sha256} file") || tail == format!("0-2 {sha256} file"),
            "{reply}"
        );
        assert_eq!(client.expect("OPTS HASH", 200).line(), "SHA-256");
        assert_eq!(client.expect("OPTS HASH SHA-1", 200).line(), "SHA-1");
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert!(client.expect("HASH file", 213).line().contains(sha1));
        let feat = client.expect("FEAT", 211).text();
        assert!(feat.contains("SHA-1*;") && feat.contains("SHA-256;"), "{feat}");
        client.expect("OPTS HASH NOSUCH", 501);
        assert_eq!(client.expect("OPTS HASH MD5", 200).line(), "MD5");
        assert!(
            client.expect("HASH file", 213).line().contains("900150983cd24fb0d6963f7d28e17f72")
        );
        client.expect("HASH sub", 553);
        dialogue(&mut client, &[("HASH absent", 550), ("HASH", 501)]);
    });
}

/// [MLSD-01] `fact=value;…; SP name CRLF`: bare names, no header, `.`-names included.
#[test]
fn mlsd_lines() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlsd01");
        client.expect("MKD sub dir", 257);
        client.store("STOR .dot", b"");
        let mut seen = Vec::new();
        for line in text(&client.list("MLSD")) {
            let (facts, name) = facts(&line);
            match facts["type"].as_str() {
                "cdir" | "pdir" => continue,
                "dir" => assert!(!facts.contains_key("size"), "{line}"),
                "file" => assert!(facts.contains_key("size"), "{line}"),
                other => panic!("type {other}: {line}"),
            }
            assert!(!name.contains('/'), "{line}");
            if name == "file" {
                assert_eq!(facts["size"], "5");
                assert!(facts["modify"].starts_with("20010909014640"), "{line}");
            }
            seen.push(name);
        }
        seen.sort();
        assert_eq!(seen, [".dot", "file", "sub dir"]);
    });
}

/// [MLSD-02] [MLSD-03] MLSD of a file is 501, of nothing 550, both before any 1xx.
#[test]
fn mlsd_refusals() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlsd02");
        client.refused("MLSD file", 501);
        client.refused("MLSD absent", 550);
    });
}

/// [MLSD-07] `unique` is equal for all names of one file, and only for them.
#[test]
fn unique_names_the_file() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlsd07");
        let place = server.root().join(own("mlsd07", listener));
        std::fs::hard_link(place.join("file"), place.join("hard")).unwrap();
        std::os::unix::fs::symlink("file", place.join("soft")).unwrap();
        std::fs::write(place.join("other"), "").unwrap();
        let mut unique = std::collections::BTreeMap::new();
        for line in text(&client.list("MLSD")) {
            let (facts, name) = facts(&line);
            unique.insert(name, facts["unique"].clone());
        }
        assert_eq!(unique["file"], unique["hard"]);
        assert_ne!(unique["file"], unique["soft"], "a link is shown as itself");
        let device = std::fs::metadata(&place).unwrap().dev();
        assert!(unique.values().all(|value| value.starts_with("0g")), "{device:x}: {unique:?}");
        assert_ne!(unique["file"], unique["other"]);
    });
}

/// [MLST-01] `250-text`, exactly one space, facts, space, path, `250 End`; no data connection.
#[test]
fn mlst_form() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlst01");
        let reply = client.expect("MLST file", 250);
        assert_eq!(reply.lines.len(), 3, "{reply:?}");
        assert_eq!(reply.lines[2].to_ascii_lowercase(), b"end");
        let line = &text(reply.inner())[0];
        assert!(line.starts_with(' ') && !line.starts_with("  "), "{line}");
        let (facts, name) = facts(&line[1..]);
        assert_eq!(facts["type"], "file");
        assert!(name.ends_with("file"), "{line}");
        client.expect("MLST absent", 550);
    });
}

/// [MLST-02] [MLST-06] Without an argument it is the working directory, as type=dir (never cdir).
#[test]
fn mlst_of_the_working_directory() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlst02");
        for command in ["MLST", "MLST ."] {
            let line = text(client.expect(command, 250).inner())[0].clone();
            let (facts, name) = facts(&line[1..]);
            assert_eq!(facts["type"], "dir", "{line}");
            assert!(name.starts_with('/'), "{line}");
        }
    });
}

/// [MLST-04] The path in the answer is fully qualified.
#[test]
fn mlst_path_is_absolute() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlst04");
        let absolute = format!("/{}/file", own("mlst04", listener));
        for path in ["file", "./file", &absolute] {
            let line = text(client.expect(format!("MLST {path}"), 250).inner())[0].clone();
            assert_eq!(facts(&line[1..]).1, absolute, "{line}");
        }
    });
}

/// [MLST-05] `perm` tells what this user may do, by kind of name.
#[test]
fn perm_follows_the_permissions() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlst05");
        let place = own("mlst05", listener);
        let mut reader = Client::open(&server, listener).login_as("bob");
        reader.expect(format!("CWD /{place}"), 250);
        let perm = |client: &mut Client, path: &str| {
            let line = text(client.expect(format!("MLST {path}"), 250).inner())[0].clone();
            facts(&line[1..]).0["perm"].to_ascii_lowercase()
        };
        let holds = |perm: &str, with: &str, without: &str| {
            assert!(with.chars().all(|c| perm.contains(c)), "{perm} lacks one of {with}");
            assert!(!without.chars().any(|c| perm.contains(c)), "{perm} has one of {without}");
        };
        holds(&perm(&mut client, "file"), "adfrw", "celmp");
        holds(&perm(&mut client, "."), "celmp", "arw");
        holds(&perm(&mut reader, "file"), "r", "acdefmpw");
        holds(&perm(&mut reader, "."), "el", "acdfmprw");
    });
}

/// [MLST-07] No wildcards in MLST, MLSD, SIZE and MDTM.
#[test]
fn no_wildcards() {
    let server = strict();
    on_both(|listener| {
        let mut client = with_file(&server, listener, "mlst07");
        for command in ["MLST fil*", "SIZE fil?", "MDTM f*", "MLST [f]ile"] {
            client.expect(command, 550);
        }
        client.refused("MLSD *", 550);
        client.store("STOR fil*", b"star");
        assert_eq!(client.expect("SIZE fil*", 213).line(), "4");
    });
}

/// [FILE-14] The choice of OPTS HASH is forgotten by REIN.
#[test]
fn rein_forgets_the_hash() {
    let server = strict();
    let mut client = Client::implicit(&server).login();
    dialogue(&mut client, &[("OPTS HASH SHA-1", 200), ("REIN", 220)]);
    client.end_tls();
    client.start_tls();
    client.expect_reply(220);
    assert_eq!(client.expect("OPTS HASH", 200).line(), "SHA-256");
}

/// [MLST-04] A name that is a directory's is answered in full as well.
#[test]
fn mlst_of_a_name_with_spaces() {
    let server = strict();
    let mut client = alice(&server, Listener::Implicit, "mlst04b");
    client.expect("MKD  a b ", 257);
    let line = text(client.expect("MLST  a b ", 250).inner())[0].clone();
    assert_eq!(facts(&line[1..]).1, format!("/{}/ a b ", own("mlst04b", Listener::Implicit)));
    expect_one_of(&mut client, "MLST a b", &[550]);
}
