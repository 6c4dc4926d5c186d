//! Names: links, patterns, what a listing shows, rights to names, and which refusals are for good.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{CONTENT, each};
use crate::connection::tests::client::Client;
use crate::protocol::session::Mode;

/// A link is listed as one, wherever it leads; DELE removes it, RMD does not, and what lies behind
/// it stays. What follows it gets no further than the home.
#[test]
fn links_are_links() {
    each(async |world, mut client| {
        fs::create_dir(world.path("real")).unwrap();
        world.put("real/kept", CONTENT);
        world.put_for("bob", b"/secret", b"secret");
        let links =
            [("real", "dir"), (".", "self"), ("nothing", "dangling"), ("../bob/secret", "out")];
        for (target, name) in links {
            symlink(target, world.path(name)).unwrap();
        }
        let (long, facts) = (client.list("LIST").await, client.list("MLSD").await);
        for (target, name) in links {
            let end = format!(" {name} -> {target}");
            let line = long.iter().find(|line| line.ends_with(&end));
            assert!(line.is_some_and(|line| line.starts_with('l')), "{name}: {long:?}");
            let line = facts.iter().find(|line| line.ends_with(&format!("; {name}"))).unwrap();
            assert!(line.contains(&format!("type=OS.unix=slink:{target};")), "{line}");
        }
        assert_eq!(client.ask("SIZE dir/kept").await, Ok(213));
        for line in ["RETR out", "SIZE out", "CWD out", "STOR out"] {
            client.port().await.unwrap();
            let code = client.ask(line).await.unwrap();
            assert!(matches!(code, 550 | 553), "{line}: {}", client.last);
        }
        assert_eq!(client.ask("RMD dir").await, Ok(550));
        assert!(client.last.contains("DELE"), "{}", client.last);
        for (_, name) in links {
            client.say(&format!("DELE {name}"), 250).await.unwrap();
        }
        assert_eq!(world.get("real/kept").as_deref(), Some(CONTENT));
        assert_eq!(fs::read(world.path_of("bob", "secret")).unwrap(), b"secret");
        client.quit().await.unwrap();
    });
}

/// A name with a LF or CR is one line of each listing, and goes by the name that is shown.
#[test]
fn a_listing_is_not_forged() {
    each(async |world, mut client| {
        for end in ["\n", "\r", "\x0b"] {
            world.put(&format!("note{end}type=file;size=9; invoice"), b"x");
            for verb in ["LIST", "NLST", "MLSD"] {
                let lines = client.list(verb).await;
                assert!(lines.len() == 1 && lines[0].contains("note?type"), "{verb}: {lines:?}");
            }
            client.say("DELE note?type=file;size=9; invoice", 250).await.unwrap();
        }
        client.quit().await.unwrap();
    });
}

/// LIST and NLST take patterns in the last part of a name and -R, sorted by name.
#[test]
fn patterns() {
    each(async |world, mut client| {
        fs::create_dir(world.path("dir")).unwrap();
        for name in ["b.txt", "a.txt", "c.bin", "dir/x1", "dir/x2", "dir/y1"] {
            world.put(name, b"");
        }
        for (line, expected) in [
            ("NLST *.txt", &["a.txt", "b.txt"][..]),
            ("NLST [bc].*", &["b.txt", "c.bin"]),
            ("NLST dir/x?", &["dir/x1", "dir/x2"]),
            ("NLST", &["a.txt", "b.txt", "c.bin", "dir"]),
        ] {
            assert_eq!(client.list(line).await, expected, "{line}");
        }
        let lines = client.list("LIST dir/*1").await;
        assert!(lines.len() == 2 && lines[0].ends_with(" x1"), "{lines:?}");
        let lines = client.list("LIST -R").await;
        assert!(lines.iter().any(|line| line.ends_with(" y1")), "{lines:?}");
        client.quit().await.unwrap();
    });
}

/// What asking again does not mend is 550, what is busy 450: clients ask again after 450, some for
/// ever.
#[test]
fn for_good_or_busy() {
    each(async |world, mut client| {
        for line in ["LIST absent", "NLST absent", "STAT absent", "RETR absent", "MLSD absent"] {
            client.port().await.unwrap();
            assert_eq!(client.ask(line).await, Ok(550), "{line}: {}", client.last);
        }
        world.put("log", b"old ");
        let mut data = client.begin("APPE log").await.unwrap();
        assert_eq!(client.reply().await, Ok(150));
        let mut other = Client::connect(&world, Mode::Explicit, None);
        other.log_in(Mode::Explicit, false).await.unwrap();
        other.port().await.unwrap();
        assert_eq!(other.ask("APPE log").await, Ok(450), "{}", other.last);
        other.quit().await.unwrap();
        data.end().await.unwrap();
        assert_eq!(client.reply().await, Ok(226), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// `~` is the home, unless something has that name.
#[test]
fn cwd_to_the_home() {
    each(async |_, mut client| {
        client.say("MKD dir", 257).await.unwrap();
        client.say("CWD dir", 250).await.unwrap();
        client.say("CWD ~", 250).await.unwrap();
        client.say("PWD", 257).await.unwrap();
        assert!(client.last.contains("\"/\""), "{}", client.last);
        client.say("MKD ~", 257).await.unwrap();
        client.say("CWD ~", 250).await.unwrap();
        client.say("PWD", 257).await.unwrap();
        assert!(client.last.contains("\"/~\""), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// No command makes a file that runs as somebody else.
#[test]
fn no_set_user_id() {
    each(async |world, mut client| {
        world.put("file", b"#!/bin/sh");
        client.ask("SITE CHMOD 6755 file").await.unwrap();
        client.ask("MFF UNIX.mode=6755; file").await.unwrap();
        let mode = fs::metadata(world.path("file")).unwrap().permissions().mode();
        assert_eq!(mode & 0o6000, 0, "{mode:o}");
        client.quit().await.unwrap();
    });
}

/// The right to rename is none to take a name from a file.
#[test]
fn to_rename_is_not_to_overwrite() {
    each(async |world, client| {
        client.quit().await.unwrap();
        world.put_for("limited", b"/one", b"one");
        world.put_for("limited", b"/two", b"two");
        let mut mover = Client::connect(&world, Mode::Explicit, None);
        mover.log_in_as("mover", Mode::Explicit, false).await.unwrap();
        mover.say("RNFR one", 350).await.unwrap();
        assert_eq!(mover.ask("RNTO two").await, Ok(553), "{}", mover.last);
        assert_eq!(fs::read(world.path_of("limited", "two")).unwrap(), b"two");
        mover.say("RNFR one", 350).await.unwrap();
        mover.say("RNTO three", 250).await.unwrap();
        mover.quit().await.unwrap();
    });
}
