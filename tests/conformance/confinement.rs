//! Nothing leads out of the root: every verb that takes a pathname, `..`, absolute names and
//! symbolic links.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::fixture::{alice_clear_data, expect_one_of, on_both, own, relaxed};
use crate::support::{Client, End, Listener, Server};

/// Verbs with the codes they may refuse a name with.
const VERBS: &[(&str, &[u16])] = &[
    ("CWD", &[550]),
    ("SIZE", &[550]),
    ("MDTM", &[550]),
    ("MLST", &[550, 553]),
    ("STAT", &[550]),
    ("HASH", &[550, 553]),
    ("MFMT 20200101000000", &[550, 553]),
    ("MFF modify=20200101000000;", &[550, 553]),
    ("RETR", &[550]),
    ("LIST", &[550]),
    ("NLST", &[550]),
    ("MLSD", &[501, 550]),
    ("XCWD", &[550]),
];

/// A client in its own place, and a directory of the test's own beside the root with a secret in
/// it; from inside it would be `../../outside-place`.
fn with_secret(server: &Server, listener: Listener, place: &str) -> (Client, PathBuf) {
    let outside = server.scratch().join(format!("outside-{}", own(place, listener)));
    std::fs::create_dir_all(outside.join("dir")).unwrap();
    std::fs::write(outside.join("secret"), "top secret").unwrap();
    (alice_clear_data(server, listener, place), outside)
}

/// The last component of the directory beside the root.
fn name_of(outside: &Path) -> &str {
    outside.file_name().unwrap().to_str().unwrap()
}

/// [TRAV-*] `..` at the root stays at the root, in every verb: names that would climb out are
/// names inside.
#[test]
fn dot_dot_stays_inside() {
    let server = relaxed();
    on_both(|listener| {
        let (mut client, outside) = with_secret(&server, listener, "trav");
        let beside = name_of(&outside);
        for climb in [
            format!("../../{beside}/secret"),
            format!("/../{beside}/secret"),
            "/../../../../etc/passwd".to_owned(),
        ] {
            for (verb, codes) in VERBS {
                client.epsv();
                let reply = client.cmd(format!("{verb} {climb}"));
                assert!(codes.contains(&reply.code), "{verb} {climb} → {reply:?}");
            }
            for verb in ["DELE", "RMD", "RNFR"] {
                client.expect(format!("{verb} {climb}"), 550);
            }
        }
        client.expect("CWD ../../../../..", 250);
        assert_eq!(client.expect("PWD", 257).quoted(), b"/");
        assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"top secret");
    });
}

/// [TRAV-*] Absolute names are inside the virtual root; uploads, MKD and RNTO cannot climb either.
#[test]
fn writes_stay_inside() {
    let server = relaxed();
    on_both(|listener| {
        let (mut client, outside) = with_secret(&server, listener, "trav2");
        client.store("STOR file", b"x");
        let beside = name_of(&outside);
        client.refused(format!("STOR ../../{beside}/planted"), 553);
        let refused = [550, 553];
        client.epsv();
        expect_one_of(&mut client, &format!("APPE /../{beside}/planted"), &refused);
        for command in [format!("MKD ../../{beside}/made"), format!("MKD /../{beside}/made")] {
            let reply = client.cmd(&command);
            assert!(refused.contains(&reply.code), "{command} → {reply:?}");
        }
        client.expect("RNFR file", 350);
        client.expect(format!("RNTO ../../{beside}/moved"), 553);
        let mut names: Vec<_> =
            std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dir", "secret"]);
        // What would climb past the root is cut off there.
        let name = own("climbed", listener);
        client.store(format!("STOR /../../{name}"), b"inside");
        assert!(server.root().join(name).exists());
    });
}

/// [LINK-*] A symbolic link that leaves the root is refused by every verb that would follow it.
#[test]
fn links_do_not_lead_out() {
    let server = relaxed();
    on_both(|listener| {
        let (mut client, outside) = with_secret(&server, listener, "link");
        let place = server.root().join(own("link", listener));
        symlink(outside.join("secret"), place.join("abs")).unwrap();
        symlink(format!("../../{}/secret", name_of(&outside)), place.join("rel")).unwrap();
        symlink(&outside, place.join("dir")).unwrap();
        symlink("/proc/self/root", place.join("magic")).unwrap();
        let mut faults = Vec::new();
        for name in ["abs", "rel", "dir/secret", "dir/dir", "magic/etc/passwd"] {
            for (verb, codes) in VERBS {
                client.epsv();
                let reply = client.cmd(format!("{verb} {name}"));
                // MLST tells of the link itself, and nothing of what it leads to.
                if *verb == "MLST" && !name.contains('/') {
                    assert_eq!(reply.code, 250, "{reply:?}");
                    let line = String::from_utf8_lossy(&reply.inner()[0]).into_owned();
                    assert!(line.contains("type=OS.unix=s") && !line.contains("size="), "{line}");
                } else if !codes.contains(&reply.code) {
                    faults.push(format!("{verb} {name} → {reply:?}"));
                }
                if reply.code == 150 {
                    client.expect("ABOR", 426);
                    client.expect_reply(226);
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        client.refused("STOR abs", 553);
        client.epsv();
        expect_one_of(&mut client, "APPE rel", &[550, 553]);
        client.refused("STOR dir/planted", 553);
        for command in ["MKD dir/made", "DELE dir/secret", "RMD dir/dir", "RNFR dir/secret"] {
            let reply = client.cmd(command);
            assert!([550, 553].contains(&reply.code), "{command} → {reply:?}");
        }
        client.store("STOR file", b"x");
        client.expect("RNFR file", 350);
        client.expect("RNTO dir/moved", 553);
        assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"top secret");
        assert!(!outside.join("planted").exists() && !outside.join("moved").exists());
    });
}

/// [LINK-*] Links inside the root work; deleting or renaming a link is about the link itself.
#[test]
fn links_inside_work() {
    let server = relaxed();
    on_both(|listener| {
        let (mut client, outside) = with_secret(&server, listener, "link2");
        let place = server.root().join(own("link2", listener));
        client.store("STOR file", b"inside");
        client.expect("MKD sub", 257);
        client.store("STOR sub/inner", b"inner");
        symlink("file", place.join("to-file")).unwrap();
        symlink("sub", place.join("to-dir")).unwrap();
        symlink("../file", place.join("sub/up")).unwrap();
        symlink("loop", place.join("loop")).unwrap();
        assert_eq!(client.retrieve("RETR to-file"), b"inside");
        assert_eq!(client.retrieve("RETR to-dir/inner"), b"inner");
        assert_eq!(client.retrieve("RETR sub/up"), b"inside");
        client.refused("RETR loop", 550);
        client.expect("CWD to-dir", 250);
        client.expect("CDUP", 250);
        symlink(outside.join("secret"), place.join("out")).unwrap();
        client.expect("RNFR out", 350);
        client.expect("RNTO still-out", 250);
        client.refused("RETR still-out", 550);
        for name in ["to-file", "to-dir", "still-out", "loop"] {
            client.expect(format!("DELE {name}"), 250);
        }
        assert_eq!(client.retrieve("RETR file"), b"inside");
        assert!(outside.join("secret").exists());
    });
}

/// [LINK-*] [MLSD-07] A link is listed as a link, wherever it leads: a client that deletes or
/// mirrors a tree by what is listed leaves alone what lies behind it. DELE takes it away, RMD says
/// so.
#[test]
fn links_are_listed_as_links() {
    let server = relaxed();
    on_both(|listener| {
        let (mut client, outside) = with_secret(&server, listener, "link3");
        let place = server.root().join(own("link3", listener));
        client.expect("MKD real", 257);
        client.store("STOR real/precious", b"kept");
        for (target, name) in [("real", "to-dir"), (".", "to-self"), ("nothing", "dangling")] {
            symlink(target, place.join(name)).unwrap();
        }
        symlink(&outside, place.join("out")).unwrap();
        let long = text(&client.list("LIST"));
        let facts = text(&client.list("MLSD"));
        for (target, name) in [("real", "to-dir"), (".", "to-self"), ("nothing", "dangling")] {
            let line = long.iter().find(|line| line.contains(&format!(" {name} -> {target}")));
            assert!(line.is_some_and(|line| line.starts_with('l')), "{name}: {long:?}");
            let line = facts.iter().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
            assert!(line.contains(&format!("type=OS.unix=slink:{target};")), "{line}");
            let line = text(client.expect(format!("MLST {name}"), 250).inner());
            assert!(line[0].contains(&format!("type=OS.unix=slink:{target};")), "{line:?}");
        }
        assert!(long.iter().any(|line| line.starts_with('l') && line.contains(" out -> ")));
        let refusal = client.expect("RMD to-dir", 550);
        assert!(String::from_utf8_lossy(&refusal.lines[0]).contains("DELE"), "{refusal:?}");
        client.expect("CWD to-self", 250);
        client.expect("CDUP", 250);
        assert_eq!(client.retrieve("RETR to-dir/precious"), b"kept");
        client.expect("SIZE to-dir/precious", 213);
        for name in ["to-dir", "to-self", "dangling", "out"] {
            client.expect(format!("DELE {name}"), 250);
        }
        assert!(place.join("real/precious").exists() && outside.join("secret").exists());
    });
}

/// [SYN-17] A name with a LF or CR in it is one line of every listing, and can be removed by the
/// name that is shown.
#[test]
fn listings_are_not_forged() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "forged");
        for end in [&b"\n"[..], b"\r\0", b"\x0b"] {
            let forged = [b"note", end, b"type=file;size=9; invoice.pdf"].concat();
            client.store([b"STOR ", &forged[..]].concat(), b"x");
            for verb in ["LIST", "NLST", "MLSD"] {
                let lines = client.list(verb);
                let lines = lines.iter().filter(|line| !line.ends_with(b".")).count();
                assert_eq!(lines, 1, "{verb} {}", end.escape_ascii());
            }
            let lines = client.expect("STAT .", 213).inner().len();
            assert_eq!(lines, 1, "STAT {}", end.escape_ascii());
            client.expect("DELE note?type=file;size=9; invoice.pdf", 250);
            assert!(client.list("NLST").is_empty());
        }
    });
}

/// [LINK-*] A component swapped for a link between check and use gains nothing: resolution is one
/// step, beneath the root.
#[test]
fn swapped_links_gain_nothing() {
    let server = relaxed();
    let (mut client, outside) = with_secret(&server, Listener::Implicit, "race");
    let place = server.root().join(own("race", Listener::Implicit));
    std::fs::create_dir(place.join("real")).unwrap();
    std::fs::write(place.join("real/secret"), "harmless").unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let swapper = std::thread::spawn({
        move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                for target in [outside.as_path(), Path::new("real")] {
                    symlink(target, place.join("next")).unwrap();
                    std::fs::rename(place.join("next"), place.join("swap")).unwrap();
                }
            }
        }
    });
    let mut served = 0;
    for _ in 0..100 {
        let mut data = client.passive();
        if client.cmd("RETR swap/secret").code == 150 {
            served += 1;
            let (bytes, end) = data.read_to_end();
            assert_eq!((bytes, end), (b"harmless".to_vec(), End::Fin));
            drop(data);
            client.expect_reply(226);
        }
    }
    drop(stop);
    swapper.join().unwrap();
    assert!(served > 0, "the link inside the root was never followed");
}

fn text(lines: &[Vec<u8>]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}
