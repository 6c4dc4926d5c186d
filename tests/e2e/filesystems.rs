//! Trees that reach over several file systems, and directories whose rights do not go all the way.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use rustix::process::geteuid;

use crate::hung::alone;
use crate::support::{Client, Server};

/// A file system or file mounted over a name, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn at(at: PathBuf, what: &[&str]) -> Self {
        let mut mount = Command::new("mount");
        assert!(mount.args(what).arg(&at).status().unwrap().success());
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A rename is no copy: over the edge of a file system it is refused, with the reason. So is what
/// would take a name away over which something is mounted; that does not pass, so no 450 has
/// clients ask again.
#[test]
fn a_mount_says_why_a_name_stays() {
    if !geteuid().is_root() {
        return alone("filesystems::a_mount_says_why_a_name_stays");
    }
    let server = Server::start();
    let path = |name: &str| server.root().join(name);
    for name in ["other", "folder"] {
        fs::create_dir(path(name)).unwrap();
    }
    let _other = Mounted::at(path("other"), &["-t", "tmpfs", "tmpfs"]);
    for name in ["file", "other/there", "bound"] {
        fs::write(path(name), name).unwrap();
    }
    let source = path("file");
    let _bound = Mounted::at(path("bound"), &["--bind", source.to_str().unwrap()]);

    let mut client = Client::implicit(&server).login();
    let mut rename = |from: &str, to: &str| {
        client.expect(format!("RNFR {from}"), 350);
        client.expect(format!("RNTO {to}"), 553).text()
    };
    for (from, to) in [("file", "other/file"), ("other/there", "there"), ("folder", "other/folder")]
    {
        let text = rename(from, to);
        assert!(text.contains("on another file system: copy the file"), "{from} to {to}: {text}");
    }
    let mut mounted = vec![rename("other", "another"), rename("file", "bound")];
    mounted.push(client.expect("RMD other", 550).text());
    mounted.push(client.expect("DELE bound", 550).text());
    client.expect("TYPE I", 200);
    let mut data = client.begin("STOR bound");
    data.send(b"new").unwrap();
    data.finish();
    mounted.push(client.expect_reply(553).text());
    for text in mounted {
        assert!(text.contains("file system is mounted there"), "{text}");
    }
    for name in ["file", "other/there"] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), name);
    }
    client.quit();
    server.stop();
}

/// The `unique` fact (RFC 3659 §7.5.2) tells files of several file systems apart, and is the same
/// on every node that has them mounted at the same places: no device's number is in it, which
/// differs between nodes and is another after the next boot; a mirror would fetch everything again.
#[test]
fn unique_is_the_same_on_every_node() {
    if !geteuid().is_root() {
        return alone("filesystems::unique_is_the_same_on_every_node");
    }
    const DIRECTORIES: [&str; 5] = ["", "a", "a/deep/er", "a/deep/inside", "b"];
    const NAMES: [&str; 5] = ["file", "a/file", "a/deep/er/file", "a/deep/inside/file", "b/file"];
    let nodes = [(); 2].map(|()| Server::start());
    let mut mounts = Vec::new();
    for (node, order) in nodes.iter().zip([["a", "b"], ["b", "a"]]) {
        let path = |name: &str| node.root().join(name);
        for name in order {
            fs::create_dir(path(name)).unwrap();
            mounts.push(Mounted::at(path(name), &["-t", "tmpfs", "tmpfs"]));
        }
        fs::create_dir_all(path("a/deep/er")).unwrap();
        fs::create_dir(path("a/deep/inside")).unwrap();
        mounts.push(Mounted::at(path("a/deep/inside"), &["-t", "tmpfs", "tmpfs"]));
        for name in NAMES {
            File::create(path(name)).unwrap();
        }
        // The same file system once more, where it begins at no mount of its own, and elsewhere.
        let deep = path("a/deep");
        for name in ["a/bound", "elsewhere"] {
            fs::create_dir(path(name)).unwrap();
            mounts.push(Mounted::at(path(name), &["--bind", deep.to_str().unwrap()]));
        }
        fs::hard_link(path("file"), path("again")).unwrap();
        std::os::unix::fs::symlink("a/deep", path("link")).unwrap();
    }
    let devices = nodes.each_ref().map(|node| fs::metadata(node.root().join("a")).unwrap().dev());
    assert_ne!(devices[0], devices[1]);
    let told = nodes.each_ref().map(|node| {
        let mut client = Client::implicit(node).login();
        let facts = unique_facts(&mut client, &NAMES);
        for (same, name) in [
            ("again", "file"),
            ("link/er/file", "a/deep/er/file"),
            ("a/bound/er/file", "a/deep/er/file"),
        ] {
            let place = NAMES.iter().position(|listed| *listed == name).unwrap();
            assert_eq!(unique_facts(&mut client, &[same]), [&*facts[place]], "{same}");
        }
        let elsewhere = unique_facts(&mut client, &["elsewhere/er/file", "elsewhere"]);
        for directory in DIRECTORIES {
            listed_as_told(&mut client, directory);
        }
        client.quit();
        let root = fs::metadata(node.root().join("file")).unwrap();
        assert_eq!(facts[0], format!("0g{:x}", root.ino()));
        // Those of the new file systems have the same few inode numbers.
        assert_eq!(BTreeSet::from_iter(&facts).len(), facts.len(), "{facts:?}");
        [&facts[1..], &elsewhere].concat()
    });
    assert_eq!(told[0], told[1]);
    mounts.into_iter().rev().for_each(drop);
    for node in nodes {
        node.stop();
    }
}

/// What MLST tells of each of these.
fn unique_facts(client: &mut Client, names: &[&str]) -> Vec<String> {
    let unique = |name| unique_of(&client.expect(format!("MLST {name}"), 250).text()).to_owned();
    names.iter().map(unique).collect()
}

fn unique_of(line: &str) -> &str {
    let (_, fact) = line.split_once("unique=").unwrap();
    fact.split(';').next().unwrap()
}

/// MLSD tells of a directory and its entries what MLST does.
fn listed_as_told(client: &mut Client, directory: &str) {
    client.expect(format!("CWD /{directory}"), 250);
    for line in client.list("MLSD") {
        let line = String::from_utf8(line).unwrap();
        let (_, name) = line.split_once(' ').unwrap();
        assert_eq!(unique_facts(client, &[name]), [unique_of(&line)], "{directory}: {line}");
    }
    client.expect("CWD /", 250);
}

/// What the bits allow and no more: without x a directory's names can be read and nothing of what
/// they name; without r it can be entered and its entries opened by a name that is known.
#[test]
fn a_directory_that_is_half_open() {
    let server = unprivileged();
    let half = server.root().join("half");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("file"), "x").unwrap();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let open = |mode| fs::set_permissions(&half, Permissions::from_mode(mode)).unwrap();

    open(0o444);
    for command in ["CWD half", "SIZE half/file", "MLST half/file", "DELE half/file", "STAT half"] {
        let reply = client.expect(command, 550);
        assert!(reply.text().contains("Permission denied"), "{command}: {reply:?}");
    }
    client.refused("RETR half/file", 550);
    assert_eq!(client.list("NLST half"), [b"half/file"]);
    for command in ["LIST half", "MLSD half"] {
        // Nothing, and no 226 that would call it the whole.
        let mut data = client.begin(command);
        assert_eq!(data.read_to_end().0, b"", "{command}");
        client.expect_reply(550);
    }

    open(0o111);
    client.expect("CWD half", 250);
    assert_eq!(client.retrieve("RETR file"), b"x");
    for command in ["LIST", "NLST", "MLSD"] {
        client.refused(command, 550);
    }
    client.expect("CDUP", 250);

    open(0o000);
    client.expect("CWD half", 550);
    for command in ["LIST half", "NLST half", "MLSD half", "RETR half/file"] {
        client.refused(command, 550);
    }
    open(0o755);
    assert_eq!(client.retrieve("RETR half/file"), b"x");
    client.quit();
    server.stop();
}

/// A server to which the bits of files mean something, as they do not to root.
fn unprivileged() -> Server {
    let builder = Server::builder();
    if !geteuid().is_root() {
        return builder.start();
    }
    builder.toml("[process]\nuser = \"nobody\"\n").start_with(|scratch| {
        // It has to reach the home.
        fs::set_permissions(scratch.path, Permissions::from_mode(0o711)).unwrap();
        String::new()
    })
}
