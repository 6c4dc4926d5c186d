//! lftp: mirrors both ways, pipelining, resumption, globs and names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::content::{self, LARGE, SIZES};
use crate::run::{DEADLINE, Finished, run};
use crate::site::{Family, Site, VERSIONS};
use crate::support::Listener;
use crate::support::server::BOTH_LISTENERS;

/// Two mirrors of 2,000 files each make 4,000 data connections with a TLS handshake each.
const MIRROR_DEADLINE: Duration = Duration::from_secs(180);

/// Files of the mirrored tree.
const TREE_FILES: usize = 2000;

#[test]
fn sizes_both_ways() {
    let site = Site::start();
    for version in VERSIONS {
        for listener in BOTH_LISTENERS {
            for family in [Family::V4, Family::V6] {
                round_trip(&site, listener, family, version, "set ftp:passive-mode yes");
            }
            round_trip(&site, listener, Family::V4, version, "set ftp:passive-mode no");
            round_trip(&site, listener, Family::V4, version, "set ftp:prefer-epsv yes");
        }
    }
}

#[test]
fn hundred_mebibytes() {
    let site = Site::start();
    let hash = content::write(&site.local("up"), LARGE, 1);
    let script = "put up -o large\nget large -o down";
    lftp(&site, Listener::Implicit, script, MIRROR_DEADLINE).success();
    assert_eq!(content::sha256_of(&site.served("large")), hash);
    assert_eq!(content::sha256_of(&site.local("down")), hash);
}

/// A symbolic link to a directory is a link: a mirror does not walk round it, and `rm -r` takes the
/// link alone, with MLSD and with LIST.
#[test]
fn links_are_not_walked_through() {
    let site = Site::start();
    fs::create_dir(site.served("keep")).unwrap();
    fs::write(site.served("keep/precious"), "kept").unwrap();
    for (listener, mlsd) in [(Listener::Implicit, "yes"), (Listener::Explicit, "no")] {
        let tree = site.served("tree");
        fs::create_dir_all(tree.join("real")).unwrap();
        fs::write(tree.join("real/file"), "x").unwrap();
        for (target, name) in [("../keep", "to-keep"), (".", "loop"), ("no thing", "dangling")] {
            symlink(target, tree.join(name)).unwrap();
        }
        let down = format!("down-{mlsd}");
        let script = format!("set ftp:use-mlsd {mlsd}\nmirror tree {down}\nrm -r tree");
        lftp(&site, listener, &script, DEADLINE).success();
        assert_eq!(fs::read(site.local(&down).join("real/file")).unwrap(), b"x");
        assert!(site.local(&down).join("loop").is_symlink());
        assert!(!tree.exists());
        assert_eq!(fs::read(site.served("keep/precious")).unwrap(), b"kept");
    }
}

/// A tree of 2,000 files in 40 directories, up and down with 8 connections, equal to the octet.
#[test]
fn mirror_of_a_tree_with_eight_connections() {
    let site = Site::start();
    let up = site.local("up");
    for index in 0..TREE_FILES {
        let directory = up.join(format!("branch {}/ünï-{}", index % 8, index % 40));
        fs::create_dir_all(&directory).unwrap();
        let size = [0, 1, 100, 4096, 16385, 20_000][index % 6];
        content::write(&directory.join(format!("file {index}")), size, index as u64);
    }
    fs::create_dir(up.join("empty")).unwrap();
    let sent = content::tree(&up);
    assert!(sent.len() > TREE_FILES);

    let script = "mirror --reverse --parallel=8 up tree\nmirror --parallel=8 tree down";
    lftp(&site, Listener::Explicit, script, MIRROR_DEADLINE).success();
    assert!(content::tree(&site.served("tree")) == sent, "the uploaded tree differs");
    assert!(content::tree(&site.local("down")) == sent, "the downloaded tree differs");

    // Nothing is new, so nothing is transferred: times and sizes in listings are right.
    let again = "mirror --reverse --verbose up tree\nmirror --verbose tree down";
    let finished = lftp(&site, Listener::Implicit, again, MIRROR_DEADLINE).success();
    assert_eq!(finished.count("Transferring file"), 0, "{finished}");
}

/// `mkdir -p` is one SITE MKDIR, however deep.
#[test]
fn deep_directories_in_one_command() {
    let site = Site::start();
    for listener in BOTH_LISTENERS {
        let deep = format!("{listener:?}/b/c/d");
        let script = format!("debug 5\nmkdir -p {deep}\nmkdir -p {deep}");
        let finished = lftp(&site, listener, &script, DEADLINE).success();
        assert!(site.served(&deep).is_dir());
        assert_eq!(finished.count("---> SITE MKDIR"), 2, "{finished}");
        assert_eq!(finished.count("---> MKD"), 0, "{finished}");
    }
}

#[test]
fn resumes_both_ways() {
    let site = Site::start();
    let whole = content::bytes(300_000, 2);
    for listener in BOTH_LISTENERS {
        fs::write(site.served("file"), &whole).unwrap();
        fs::write(site.local("file"), &whole[..100_001]).unwrap();
        lftp(&site, listener, "reget file", DEADLINE).success();
        assert_eq!(fs::read(site.local("file")).unwrap(), whole);
        fs::write(site.served("file"), &whole[..100_001]).unwrap();
        lftp(&site, listener, "reput file", DEADLINE).success();
        assert_eq!(fs::read(site.served("file")).unwrap(), whole);
        // The whole file again: there is nothing left to do.
        lftp(&site, listener, "reget file\nreput file", DEADLINE).success();
        assert_eq!(fs::read(site.served("file")).unwrap(), whole);
    }
}

/// `ftp:sync-mode off`: commands are sent without waiting for replies \[SYN-05, ABUSE-01\].
#[test]
fn pipelining() {
    let site = Site::start();
    let mut script = String::from("set ftp:sync-mode off\nset cmd:parallel 1\n");
    for index in 0..50 {
        content::write(&site.served(format!("file-{index}")), 1000 + index, index as u64);
    }
    script += "mget file-*\nmkdir -p a/b/c\ncd a/b/c\nput file-1 -o again\ncls -1";
    for listener in BOTH_LISTENERS {
        let finished = lftp(&site, listener, &script, DEADLINE).success();
        assert!(finished.out().lines().any(|line| line == "again"), "{finished}");
        for index in 0..50 {
            let name = format!("file-{index}");
            let hash = content::sha256_of(&site.served(&name));
            assert_eq!(content::sha256_of(&site.local(&name)), hash);
            fs::remove_file(site.local(&name)).unwrap();
        }
        assert_eq!(fs::metadata(site.served("a/b/c/again")).unwrap().len(), 1001);
        fs::remove_dir_all(site.served("a")).unwrap();
    }
}

#[test]
fn listings_and_globs() {
    let site = Site::start();
    fs::create_dir_all(site.served("d/sub")).unwrap();
    for name in ["a.txt", "b.txt", "c.bin", "two words.txt"] {
        fs::write(site.served("d").join(name), name).unwrap();
    }
    let names = ["a.txt", "b.txt", "c.bin", "sub", "two words.txt"];
    for listener in BOTH_LISTENERS {
        for settings in ["set ftp:use-mlsd yes", "set ftp:use-mlsd no"] {
            let list = |command: &str| {
                let script = format!("{settings}\ncd d\n{command}");
                lftp(&site, listener, &script, DEADLINE).success()
            };
            let classified = list("cls -1").out().replace("sub/", "sub");
            let mut classified: Vec<_> = classified.lines().collect();
            classified.sort_unstable();
            assert_eq!(classified, names, "{settings}");
            assert_eq!(list("nlist").sorted_lines(), names, "{settings}");
            let long = list("ls");
            assert_eq!(long.out().lines().count(), names.len(), "{long}");
            let found = list("find .").sorted_lines().len();
            assert_eq!(found, names.len() + 1, "{settings}");
            assert_eq!(list("glob echo *.txt").out().trim_end(), "a.txt b.txt two words.txt");
            assert_eq!(list("du -b c.bin").out().split('\t').next(), Some("5"));
        }
    }
}

#[test]
fn renaming_removing_and_modes() {
    let site = Site::start();
    for listener in BOTH_LISTENERS {
        let script = "mkdir -p keep gone/deep/er\nput -O gone/deep file\nput file -o one\n\
                      mv one keep/two\nchmod 640 keep/two\nrm -r gone\nput file -o three\n\
                      rm three\nmkdir four\nrmdir four";
        fs::write(site.local("file"), "content").unwrap();
        lftp(&site, listener, script, DEADLINE).success();
        let two = site.served("keep/two");
        assert_eq!(fs::read(&two).unwrap(), b"content");
        assert_eq!(fs::metadata(&two).unwrap().permissions().mode() & 0o7777, 0o640);
        let left = content::tree(&site.server.root()).into_keys().collect::<Vec<_>>();
        assert_eq!(left, [b"keep".to_vec(), b"keep/two".to_vec()]);
        fs::remove_dir_all(site.served("keep")).unwrap();
    }
}

#[test]
fn names_of_every_kind() {
    let site = Site::start();
    let names: [&[u8]; 9] = [
        b"two words",
        b" leading",
        b"quo\"te",
        b"apostrophe's",
        "ünï-名前".as_bytes(),
        b"percent%20",
        b"semi;colon=x; y",
        b"-dash",
        b"100% #hash & ampersand",
    ];
    let up = site.local("up");
    fs::create_dir(&up).unwrap();
    for (index, name) in names.into_iter().enumerate() {
        content::write(&up.join(OsStr::from_bytes(name)), 100 + index, index as u64);
        fs::create_dir(up.join(OsStr::from_bytes(&[b"dir ", name].concat()))).unwrap();
    }
    let sent = content::tree(&up);
    for listener in BOTH_LISTENERS {
        let script = "mirror --reverse up names\nmirror names down";
        lftp(&site, listener, script, DEADLINE).success();
        assert_eq!(content::tree(&site.served("names")), sent);
        assert_eq!(content::tree(&site.local("down")), sent);
        fs::remove_dir_all(site.served("names")).unwrap();
        fs::remove_dir_all(site.local("down")).unwrap();
    }
    // Octets that are not UTF-8. FEAT and LANG would make lftp talk UTF-8.
    let latin = OsStr::from_bytes(b"Stra\xdfe");
    fs::write(up.join(latin), "latin").unwrap();
    let charsets = "set ftp:use-feat no\nset ftp:charset ISO-8859-1\nset file:charset ISO-8859-1";
    let open = open(&site, Listener::Explicit, Family::V4);
    let script = format!("{charsets}\n{open}\nmirror --reverse up latin\nmirror latin down");
    let sent = content::tree(&up);
    run(&mut command(&site, &script), DEADLINE).success();
    assert_eq!(content::tree(&site.served("latin")), sent);
    assert_eq!(content::tree(&site.local("down")), sent);
}

/// `ftp:ssl-copy-sid` (on by default): data connections resume the control session.
#[test]
fn data_session_resumed() {
    for version in VERSIONS {
        for listener in BOTH_LISTENERS {
            let site = Site::requiring_resumption();
            content::write(&site.local("up"), 70_000, 5);
            let script = format!(
                "set ftp:ssl-copy-sid yes\n{}\nput up -o file\nget file -o down\nput up -o file2",
                pinned(version)
            );
            lftp(&site, listener, &script, DEADLINE).success();
            let hash = content::sha256_of(&site.local("up"));
            assert_eq!(content::sha256_of(&site.local("down")), hash);
            assert_eq!(content::sha256_of(&site.served("file2")), hash);
            site.assert_log_has_resumed(3);
        }
    }
}

/// A wrong password is an error at once, not a retry for ever; a distrusted certificate too.
#[test]
fn refusals() {
    let site = Site::start();
    let address = site.address(Listener::Explicit, Family::V4);
    let open = format!("open -u alice,wrong ftp://{address}\nls");
    let mut command = command(&site, &open);
    run(&mut command, DEADLINE).exits(1).says("530");
    let script = "set ssl:ca-file /dev/null\nls";
    lftp(&site, Listener::Implicit, script, DEADLINE).exits(1).says("Certificate verification");
}

#[track_caller]
fn round_trip(site: &Site, listener: Listener, family: Family, version: &str, setting: &str) {
    let (mut script, mut hashes) = (String::new(), Vec::new());
    for size in SIZES {
        let name = format!("size-{size}");
        hashes.push((name.clone(), content::write(&site.local(&name), size, size as u64)));
        script += &format!("put {name}\nget {name} -o back-{size}\n");
    }
    let case = format!("{listener:?} {family:?} TLS {version} {setting}");
    let (pinned, open) = (pinned(version), open(site, listener, family));
    let script = format!("{pinned}\n{setting}\n{open}\n{script}");
    run(&mut command(site, &script), DEADLINE).success();
    for (name, hash) in hashes {
        let back = name.replace("size", "back");
        assert_eq!(content::sha256_of(&site.served(&name)), hash, "{case}: upload of {name}");
        assert_eq!(content::sha256_of(&site.local(&back)), hash, "{case}: download of {name}");
        fs::remove_file(site.served(&name)).unwrap();
        fs::remove_file(site.local(&back)).unwrap();
    }
}

/// Exactly this TLS version, as GnuTLS says it.
fn pinned(version: &str) -> String {
    format!("set ssl:priority NORMAL:-VERS-ALL:+VERS-TLS{version}")
}

fn open(site: &Site, listener: Listener, family: Family) -> String {
    format!("open -u alice,secret {}", site.url(listener, family))
}

/// Runs a script as alice in the client's directory.
#[track_caller]
fn lftp(site: &Site, listener: Listener, script: &str, deadline: Duration) -> Finished {
    let open = open(site, listener, Family::V4);
    run(&mut command(site, &format!("{open}\n{script}")), deadline)
}

/// lftp without the user's settings, with TLS demanded and checked, failing at the first error.
pub(crate) fn command(site: &Site, script: &str) -> Command {
    let settings = format!(
        "set cmd:fail-exit yes\n\
         set net:max-retries 2\nset net:timeout 20\nset net:reconnect-interval-base 1\n\
         set ftp:ssl-force yes\nset ftp:ssl-protect-data yes\nset ftp:ssl-protect-list yes\n\
         set ssl:ca-file {}\n",
        site.server.authority_pem().display()
    );
    let mut command = Command::new("lftp");
    command.args(["--norc", "-c", &format!("{settings}{script}\n")]);
    command.current_dir(Path::new(&site.local("")));
    command.env("HOME", site.local("")).env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8");
    command
}
