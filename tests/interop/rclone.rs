//! rclone: trees both ways by MLSD, with modification times kept by MFMT, removal and renaming.
//! It takes every MLSD line that is not `.` or `..` for an entry.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::content;
use crate::run::{DEADLINE, Finished, run};
use crate::site::{Family, Site};
use crate::support::Listener;
use crate::support::server::BOTH_LISTENERS;

#[test]
fn trees_both_ways() {
    for listener in BOTH_LISTENERS {
        let site = Site::start();
        let up = site.local("up");
        for (index, directory) in ["", "a", "a/b c", "ünï"].into_iter().enumerate() {
            fs::create_dir_all(up.join(directory)).unwrap();
            for (seed, size) in [0, 1, 16_384, 300_000].into_iter().enumerate() {
                let name = up.join(directory).join(format!("file {size}"));
                content::write(&name, size, (10 * index + seed) as u64);
            }
        }
        let path = |local: &str| site.local(local).display().to_string();
        rclone(&site, listener, &["copy", &path("up"), ":ftp:/tree"]).success();
        assert_eq!(content::tree(&site.served("tree")), content::tree(&up));
        rclone(&site, listener, &["copy", ":ftp:/tree", &path("down")]).success();
        assert_eq!(content::tree(&site.local("down")), content::tree(&up));
        let times = |name: &str| fs::metadata(site.local(name)).unwrap().modified().unwrap();
        let seconds =
            |name: &str| times(name).duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds("down/file 1"), seconds("up/file 1"));

        let listed = rclone(&site, listener, &["lsf", "-R", ":ftp:/"]).success();
        assert_eq!(listed.out().lines().count(), 1 + 3 + 16, "{listed}");

        rclone(&site, listener, &["moveto", ":ftp:/tree/a", ":ftp:/tree/moved"]).success();
        assert!(site.served("tree/moved/b c/file 1").exists());
        rclone(&site, listener, &["purge", ":ftp:/tree"]).success();
        assert!(!site.served("tree").exists());
    }
}

/// Several sessions at once, with one store of tickets for all: each shows tickets of the others,
/// and none is ever refused.
#[test]
fn many_sessions_with_one_store() {
    let site = Site::start();
    for listener in BOTH_LISTENERS {
        let up = site.local("up");
        fs::create_dir_all(&up).unwrap();
        for number in 0..120 {
            content::write(&up.join(format!("file {number}")), 5_000, number);
        }
        let up = up.display().to_string();
        let many = ["--transfers", "8", "--low-level-retries", "1"];
        let copied = |from: &str, to: &str| {
            rclone(&site, listener, &[&["copy", from, to][..], &many].concat()).success();
        };
        copied(&up, ":ftp:/tree");
        copied(":ftp:/tree", &site.local("down").display().to_string());
        assert_eq!(content::tree(&site.local("down")), content::tree(&site.local("up")));
        fs::remove_dir_all(site.local("down")).unwrap();
        fs::remove_dir_all(site.served("tree")).unwrap();
    }
}

/// A symbolic link in a tree is a link: neither removal of the tree nor a mirror of an empty one
/// takes anything of what the link leads to.
#[test]
fn links_are_not_walked_through() {
    for listener in BOTH_LISTENERS {
        let site = Site::start();
        let empty = site.local("empty").display().to_string();
        fs::create_dir(&empty).unwrap();
        fs::create_dir(site.served("target")).unwrap();
        for command in [&["purge", ":ftp:/tree"][..], &["sync", &empty, ":ftp:/tree"]] {
            fs::create_dir_all(site.served("tree/sub")).unwrap();
            fs::write(site.served("tree/sub/file"), "content").unwrap();
            fs::write(site.served("target/kept"), "content").unwrap();
            symlink("../target", site.served("tree/link")).unwrap();
            symlink("..", site.served("tree/loop")).unwrap();
            rclone(&site, listener, command).success();
            assert!(!site.served("tree/sub/file").exists(), "{command:?}");
            assert!(site.served("target/kept").exists(), "{command:?}");
            let _ = fs::remove_dir_all(site.served("tree"));
        }
    }
}

fn rclone(site: &Site, listener: Listener, arguments: &[&str]) -> Finished {
    let address = site.address(listener, Family::V4);
    let tls = match listener {
        Listener::Explicit => "--ftp-explicit-tls",
        Listener::Implicit => "--ftp-tls",
    };
    let obscured = run(Command::new("rclone").args(["obscure", "secret"]), DEADLINE).success();
    let mut command = Command::new("rclone");
    // No configuration of the person who runs the tests.
    command.args(["--config", "", "--retries", "1", "--ftp-user", "alice", tls]);
    command.args(["--ftp-host", &address.ip().to_string()]);
    command.args(["--ftp-port", &address.port().to_string()]);
    command.args(["--ftp-pass", obscured.out().trim(), "--ftp-no-check-certificate"]);
    run(command.args(arguments), DEADLINE)
}
