//! Python's ftplib: the cases are in `ftplib_cases.py`, one per invocation.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::content;
use crate::run::run;
use crate::site::{Family, Site, VERSIONS};
use crate::support::Listener;
use crate::support::server::BOTH_LISTENERS;

/// Python moves 100 MiB in tens of seconds when both cores are busy.
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn sizes() {
    everywhere("sizes", 5);
}

#[test]
fn hundred_mebibytes() {
    let site = Site::start();
    check(&site, "large", Listener::Explicit, Family::V4, "1.3", 1);
}

#[test]
fn data_in_clear() {
    let site = Site::with(|builder| builder.toml("[policy]\nrequire_data_tls = false"));
    for listener in BOTH_LISTENERS {
        check(&site, "clear", listener, Family::V4, "1.3", 1);
    }
}

#[test]
fn active_mode() {
    everywhere("active", 1);
}

#[test]
fn restart_markers() {
    everywhere("restart", 1);
}

#[test]
fn text_lines() {
    everywhere("text", 1);
}

#[test]
fn names() {
    everywhere("names", 13);
}

#[test]
fn files_and_directories() {
    everywhere("files", 0);
}

#[test]
fn abort() {
    everywhere("abort", 0);
}

#[test]
fn two_way_shutdown_in_both_directions() {
    everywhere("unwrap", 1);
}

#[test]
fn protection_before_login() {
    everywhere("php_order", 1);
}

#[test]
fn ccc_is_refused() {
    everywhere("ccc", 0);
}

/// ftplib never resumes by itself and is refused; the well-known subclass resumes and is served.
/// Python's `SSLSocket.session` before the first read has no TLS 1.3 ticket yet, but after the
/// log-in it has.
#[test]
fn data_session_resumed() {
    for version in VERSIONS {
        let site = Site::requiring_resumption();
        check(&site, "reuse", Listener::Explicit, Family::V4, version, 4);
        let served = fs::read_dir(site.server.root()).unwrap().count();
        assert_eq!(served, 4, "the refused upload left something");
        site.assert_log_has_resumed(8);
    }
}

/// OpenSSL as PHP and Ruby use it: one session is kept for all data connections. Sixteen of sixteen
/// operations, where the session that has resumed was once retired.
#[test]
fn one_session_kept() {
    for version in VERSIONS {
        let site = Site::requiring_resumption();
        check(&site, "one_session", Listener::Explicit, Family::V4, version, 8);
        site.assert_log_has_resumed(16);
    }
}

/// Python's sockets have Nagle's algorithm on: what comes behind a Finished, and the close_notify
/// behind the octets, wait for our acknowledgement, which the kernel would send after 40 ms.
#[test]
fn small_uploads_do_not_wait_for_acknowledgements() {
    for version in VERSIONS {
        let site = Site::requiring_resumption();
        check(&site, "small", Listener::Explicit, Family::V4, version, 1);
    }
}

/// Both listeners, both TLS versions, both address families.
#[track_caller]
fn everywhere(case: &str, announced: usize) {
    let site = Site::start();
    for version in VERSIONS {
        for listener in BOTH_LISTENERS {
            check(&site, case, listener, Family::V4, version, announced);
            empty(&site.server.root());
        }
    }
    check(&site, case, Listener::Explicit, Family::V6, "1.3", announced);
}

/// Runs a case and compares what it announced with what the server has on disk.
#[track_caller]
fn check(
    site: &Site,
    case: &str,
    listener: Listener,
    family: Family,
    version: &str,
    announced: usize,
) {
    let address = site.address(listener, family);
    let mut command = Command::new("python3");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/ftplib_cases.py"))
        .args([case, if listener == Listener::Implicit { "implicit" } else { "explicit" }])
        .args([address.ip().to_string(), address.port().to_string()])
        .arg(version)
        .arg(site.server.authority_pem())
        .env("FTP_USER", "alice")
        .env("FTP_PASSWORD", "secret")
        .env("PYTHONIOENCODING", "utf-8")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let finished = run(&mut command, DEADLINE).success();
    let mut checked = 0;
    for line in finished.out().lines() {
        let (path, hash) = line.strip_prefix("sha256 ").unwrap().rsplit_once(' ').unwrap();
        assert_eq!(content::sha256_of(&site.served(path)), hash, "{listener:?} {path}");
        checked += 1;
    }
    assert_eq!(checked, announced, "{finished}");
}

/// Removes what is in the directory, not itself: the server holds it open.
fn empty(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}
