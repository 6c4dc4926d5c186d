//! curl: explicit (`--ssl-reqd ftp://`) and implicit (`ftps://`), every way to make a data
//! connection, resumption of transfers and of TLS sessions.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::content::{self, LARGE, SIZES};
use crate::run::{DEADLINE, Finished, run};
use crate::site::{Family, Site, VERSIONS};
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Listener, wait_until};

/// curl's exit statuses (curl(1)).
mod exit {
    pub(super) const QUOTE: i32 = 21;
    pub(super) const CERTIFICATE: i32 = 60;
    pub(super) const LOGIN_DENIED: i32 = 67;
    pub(super) const NOT_FOUND: i32 = 78;
}

/// How curl asks for the data connection.
const EPSV: &[&str] = &[];
const PASV: &[&str] = &["--disable-epsv"];
const PORT: &[&str] = &["--ftp-port", "-", "--disable-eprt"];
const EPRT: &[&str] = &["--ftp-port", "-"];

#[test]
fn every_way_to_move_a_file() {
    let site = Site::start();
    for version in VERSIONS {
        for listener in BOTH_LISTENERS {
            for data in [EPSV, PASV] {
                round_trip(&site, listener, Family::V4, version, data);
            }
            round_trip(&site, listener, Family::V6, version, EPSV);
        }
    }
}

/// curl offers both versions when not told otherwise; its data connections resume in either.
#[test]
fn tls_profiles() {
    for (profile, version) in [("balanced", "1.3"), ("throughput", "1.2"), ("pq", "1.3")] {
        let settings = format!("[tls]\nprofile = \"{profile}\"\ndata_resumption = \"require\"");
        let site = Site::with(|builder| builder.toml(&settings));
        fs::write(site.served("file"), "content").unwrap();
        for listener in BOTH_LISTENERS {
            let mut command = Command::new("curl");
            command.args(["--verbose", "--silent", "--ssl-reqd", "--user", "alice:secret"]);
            command.arg("--cacert").arg(site.server.authority_pem());
            command.arg(format!("{}/file", site.url(listener, Family::V4)));
            let finished = run(&mut command, DEADLINE).success().says("content");
            let connections = finished.count(&format!("SSL connection using TLSv{version}"));
            assert_eq!(connections, 2, "{profile}: {finished}");
        }
        site.assert_log_has_resumed(2);
    }
}

/// PORT and EPRT. curl 7.87.0 to 7.88.1 (Debian 12 has the latter) forgets TLS on data connections
/// it accepts (curl issue 10666) and sends what should be protected in clear: then nothing of it
/// may be taken.
#[test]
fn active_mode() {
    let site = Site::start();
    let forgets = forgets_tls_when_active();
    for version in VERSIONS {
        for listener in BOTH_LISTENERS {
            for (family, data) in [(Family::V4, PORT), (Family::V4, EPRT), (Family::V6, EPRT)] {
                if forgets {
                    clear_text_is_not_taken(&site, listener, family, data);
                } else {
                    round_trip(&site, listener, family, version, data);
                }
            }
        }
    }
}

/// Active mode with data in clear, which every curl can do, where policy allows it.
#[test]
fn active_mode_in_clear() {
    let site = Site::with(|builder| builder.toml("[policy]\nrequire_data_tls = false"));
    for (family, data) in [(Family::V4, PORT), (Family::V4, EPRT), (Family::V6, EPRT)] {
        let url = format!("{}/file", site.url(Listener::Explicit, family));
        for size in SIZES {
            let hash = content::write(&site.local("up"), size, size as u64);
            let upload = ["--upload-file", &text(&site, "up"), &url];
            clear_data(&site, &[data, &upload].concat()).success();
            assert_eq!(content::sha256_of(&site.served("file")), hash, "{data:?} {size}");
            let download = clear_data(&site, &[data, &[url.as_str()]].concat()).success();
            assert_eq!(content::sha256(&download.stdout), hash, "{data:?} {size}");
        }
    }
}

/// Passive mode with data in clear: what is large goes by sendfile, from any restart marker.
#[test]
fn large_downloads_in_clear() {
    let site = Site::with(|builder| builder.toml("[policy]\nrequire_data_tls = false"));
    let whole = content::bytes(3_000_017, 3);
    fs::write(site.served("file"), &whole).unwrap();
    for family in [Family::V4, Family::V6] {
        let url = format!("{}/file", site.url(Listener::Explicit, family));
        assert!(clear_data(&site, &[&url]).success().stdout == whole);
        fs::write(site.local("part"), &whole[..100_001]).unwrap();
        let part = text(&site, "part");
        clear_data(&site, &["--continue-at", "-", "--output", &part, &url]).success();
        assert!(fs::read(site.local("part")).unwrap() == whole);
    }
    let by_sendfile = || site.server.log().matches("data_path=\"sendfile\"").count();
    wait_until("the log of four transfers", || by_sendfile() == 4);
}

#[test]
fn hundred_mebibytes() {
    let site = Site::start();
    let hash = content::write(&site.local("up"), LARGE, 1);
    let up = format!("{}/large", site.url(Listener::Explicit, Family::V4));
    curl(&site, &["--upload-file", &text(&site, "up"), &up]).success();
    assert_eq!(content::sha256_of(&site.served("large")), hash);
    let down = format!("{}/large", site.url(Listener::Implicit, Family::V4));
    curl(&site, &["--output", &text(&site, "down"), &down]).success();
    assert_eq!(content::sha256_of(&site.local("down")), hash);
}

/// Interrupted at 100,001 octets, both ways \[XFER-08, XFER-12\].
#[test]
fn resumes_both_ways() {
    let site = Site::start();
    let whole = content::bytes(300_000, 2);
    for listener in BOTH_LISTENERS {
        let url = format!("{}/file", site.url(listener, Family::V4));
        fs::write(site.served("file"), &whole).unwrap();
        fs::write(site.local("part"), &whole[..100_001]).unwrap();
        curl(&site, &["--continue-at", "-", "--output", &text(&site, "part"), &url]).success();
        assert_eq!(fs::read(site.local("part")).unwrap(), whole);

        fs::write(site.served("file"), &whole[..100_001]).unwrap();
        fs::write(site.local("whole"), &whole).unwrap();
        let resume = ["--continue-at", "-", "--upload-file", &text(&site, "whole"), &url];
        curl(&site, &resume).success();
        assert_eq!(fs::read(site.served("file")).unwrap(), whole);

        curl(&site, &["--range", "299000-299999", "--output", &text(&site, "range"), &url])
            .success();
        assert_eq!(fs::read(site.local("range")).unwrap(), &whole[299_000..]);
        curl(&site, &["--append", "--upload-file", &text(&site, "range"), &url]).success();
        assert_eq!(fs::metadata(site.served("file")).unwrap().len(), 301_000);
    }
}

/// One control connection serves several URLs; each data connection resumes its TLS session,
/// which curl can do in TLS 1.3: for TLS 1.2 it switches tickets off (`SSL_OP_NO_TICKET`).
#[test]
fn several_urls_on_one_connection() {
    let (requiring, preferring) = (Site::requiring_resumption(), Site::start());
    for (version, site) in [("1.3", &requiring), ("1.2", &preferring)] {
        for listener in BOTH_LISTENERS {
            let url = site.url(listener, Family::V4);
            let mut arguments = pinned(version);
            let names = ["a", "b", "c"];
            for (seed, name) in names.iter().enumerate() {
                content::write(&site.served(name), 40_000, seed as u64 + 10);
                arguments.extend([format!("{url}/{name}"), "-o".into(), text(site, name)]);
            }
            let finished = curl(site, &arguments).success();
            for name in names {
                let hash = content::sha256_of(&site.local(name));
                assert_eq!(hash, content::sha256_of(&site.served(name)));
                fs::remove_file(site.local(name)).unwrap();
            }
            assert_eq!(finished.count("< 230"), 1, "more than one log-in: {finished}");
            assert_eq!(finished.count("< 226"), 3, "{finished}");
            if version == "1.3" {
                assert_resumed(&finished, 3);
            }
        }
    }
}

/// Many uploads on one connection resume, too: curl uses each TLS 1.3 ticket once and reads none
/// that an upload brings.
#[test]
fn many_uploads_on_one_connection() {
    let site = Site::requiring_resumption();
    for listener in BOTH_LISTENERS {
        let url = site.url(listener, Family::V4);
        let mut arguments = pinned("1.3");
        let names: Vec<_> = (0..12).map(|number| format!("up {number}")).collect();
        for (name, seed) in names.iter().zip(20..) {
            content::write(&site.local(name), 10_000, seed);
            let to = format!("{url}/{}", name.replace(' ', "%20"));
            arguments.extend(["--upload-file".into(), text(&site, name), to]);
        }
        let finished = curl(&site, &arguments).success();
        for name in &names {
            let hash = content::sha256_of(&site.local(name));
            assert_eq!(hash, content::sha256_of(&site.served(name)));
            fs::remove_file(site.served(name)).unwrap();
        }
        assert_eq!(finished.count("< 230"), 1, "more than one log-in: {finished}");
        assert_resumed(&finished, names.len());
    }
}

/// Under `require` uploads work too, and the log calls every data connection resumed.
#[test]
fn uploads_resume_the_control_session() {
    let site = Site::requiring_resumption();
    for listener in BOTH_LISTENERS {
        let hash = content::write(&site.local("up"), 100_000, 3);
        let url = format!("{}/up", site.url(listener, Family::V4));
        let upload = ["--tlsv1.3", "--upload-file", &text(&site, "up"), &url];
        assert_resumed(&curl(&site, &upload).success(), 1);
        assert_eq!(content::sha256_of(&site.served("up")), hash);
        fs::remove_file(site.served("up")).unwrap();
    }
    site.assert_log_has_resumed(2);
}

#[test]
fn names_of_every_kind() {
    let site = Site::start();
    // As a URL has it, as the disk has it.
    let names: [(&str, &[u8]); 9] = [
        ("with%20space", b"with space"),
        ("%20leading%20and%20trailing%20", b" leading and trailing "),
        ("quo%22te%22", b"quo\"te\""),
        ("apostrophe's", b"apostrophe's"),
        ("%C3%BCn%C3%AF-%E5%90%8D", "ünï-名".as_bytes()),
        ("latin-%FC%DF", b"latin-\xfc\xdf"),
        // 255 is IAC to Telnet, and curl does not double it.
        ("%FF-255-%FFx%FF", b"\xff-255-\xffx\xff"),
        ("percent%25semi%3Bhash%23", b"percent%semi;hash#"),
        ("-rf%20*%3F%5B", b"-rf *?["),
    ];
    fs::create_dir(site.served("d")).unwrap();
    for (seed, (encoded, raw)) in names.into_iter().enumerate() {
        let hash = content::write(&site.local("up"), 100 + seed, seed as u64 + 20);
        for method in ["nocwd", "singlecwd", "multicwd"] {
            let url = format!("{}/d/{encoded}", site.url(Listener::Explicit, Family::V4));
            let method = ["--globoff", "--ftp-method", method];
            let up = ["--upload-file", &text(&site, "up"), &url];
            curl(&site, &[method.as_slice(), &up].concat()).success();
            let served = site.served("d").join(OsStr::from_bytes(raw));
            assert_eq!(content::sha256_of(&served), hash, "{encoded}");
            let down = ["--output", &text(&site, "down"), &url];
            curl(&site, &[method.as_slice(), &down].concat()).success();
            assert_eq!(content::sha256_of(&site.local("down")), hash, "{encoded}");
            fs::remove_file(served).unwrap();
        }
    }
}

#[test]
fn listings() {
    let site = Site::start();
    fs::create_dir_all(site.served("d/sub")).unwrap();
    for name in ["one", "two words", "ünï"] {
        fs::write(site.served("d").join(name), name).unwrap();
    }
    for listener in BOTH_LISTENERS {
        let url = format!("{}/d/", site.url(listener, Family::V4));
        let names = curl(&site, &["--list-only", &url]).success();
        assert_eq!(names.sorted_lines(), ["one", "sub", "two words", "ünï"]);
        let long = curl(&site, &[&url]).success();
        assert_eq!(long.out().lines().count(), 4, "{long}");
        for (start, end) in [("drwx", " sub"), ("-rw", " one"), ("-rw", " two words")] {
            let found = long.out().lines().any(|l| l.starts_with(start) && l.ends_with(end));
            assert!(found, "no {start}…{end}: {long}");
        }
        let facts = curl(&site, &["--request", "MLSD", &url]).success();
        assert!(facts.out().lines().any(|l| l.contains("type=dir;") && l.ends_with("; sub")));
        let empty = format!("{}/d/sub/", site.url(listener, Family::V4));
        assert_eq!(curl(&site, &["--list-only", &empty]).success().out(), "");
    }
}

#[test]
fn directories_quotes_and_headers() {
    let site = Site::start();
    let root = site.url(Listener::Implicit, Family::V4);
    let hash = content::write(&site.local("up"), 5000, 4);
    let deep = format!("{root}/a/b/c%20d/file");
    let create = ["--ftp-create-dirs", "--upload-file", &text(&site, "up"), &deep];
    curl(&site, &create).success();
    assert_eq!(content::sha256_of(&site.served("a/b/c d/file")), hash);

    // Before, after PWD, and after the transfer; the star forgives a refusal.
    let quotes = ["-Q", "MKD q", "-Q", "+RMD /q", "-Q", "*DELE none", "-Q", "-DELE /a/b/c d/file"];
    let fetch = [deep.as_str(), "--output", &text(&site, "down")];
    curl(&site, &[quotes.as_slice(), &fetch].concat()).success().says("550");
    assert_eq!(content::sha256_of(&site.local("down")), hash);
    assert!(!site.served("a/b/c d/file").exists() && !site.served("q").exists());
    curl(&site, &["-Q", "DELE none", &format!("{root}/")]).exits(exit::QUOTE);

    fs::write(site.served("head"), "12345").unwrap();
    let head = curl(&site, &["--head", &format!("{root}/head")]).success();
    head.says("Content-Length: 5").says("Last-Modified: ");
    let rename = ["-Q", "RNFR head", "-Q", "RNTO tail", &format!("{root}/")];
    curl(&site, &rename).success();
    assert!(site.served("tail").exists());
}

/// Text mode: LF on both disks, CRLF on the wire, which curl makes LF again
/// \[TYPE-05, TYPE-06\].
#[test]
fn ascii() {
    let site = Site::start();
    let root = site.url(Listener::Explicit, Family::V4);
    fs::write(site.served("text"), "one\ntwo\n").unwrap();
    let url = format!("{root}/text;type=a");
    assert_eq!(curl(&site, &[&url]).success().out(), "one\ntwo\n");
    let on_the_wire = || site.server.log().contains("bytes=10 ");
    wait_until("ten octets in the log", on_the_wire);
    fs::write(site.local("text"), "one\ntwo\n").unwrap();
    let up = format!("{root}/up;type=a");
    curl(&site, &["--crlf", "--upload-file", &text(&site, "text"), &up]).success();
    assert_eq!(fs::read(site.served("up")).unwrap(), b"one\ntwo\n");
}

/// What must fail, must fail with the status that says why, and leave the server working.
#[test]
fn refusals() {
    let site = Site::start();
    fs::write(site.served("file"), "content").unwrap();
    let explicit = format!("{}/file", site.url(Listener::Explicit, Family::V4));
    let implicit = format!("{}/file", site.url(Listener::Implicit, Family::V4));

    // CCC: 534, and curl goes on under TLS.
    let ccc = curl(&site, &["--ftp-ssl-ccc", &explicit]).success();
    assert_eq!(ccc.out(), "content");
    ccc.says("< 534");

    for url in [&explicit, &implicit] {
        curl(&site, &["--user", "alice:wrong", url]).exits(exit::LOGIN_DENIED);
        curl(&site, &["--user", "nobody:secret", url]).exits(exit::LOGIN_DENIED);
        curl(&site, &["--ftp-method", "nocwd", &format!("{url}.absent")]).exits(exit::NOT_FOUND);
        let mut distrustful = Command::new("curl");
        distrustful.args(["-q", "--silent", "--ssl-reqd", "--max-time", "20", url]);
        run(&mut distrustful, DEADLINE).exits(exit::CERTIFICATE);
        assert_eq!(curl(&site, &[url]).success().out(), "content");
    }
    // Without TLS there is no log-in on the explicit port.
    let mut clear = Command::new("curl");
    clear.args(["-q", "--silent", "--verbose", "--max-time", "20", "-u", "alice:secret"]);
    run(clear.arg(&explicit), DEADLINE).exits(exit::LOGIN_DENIED).says("< 530");
}

/// `--ftp-ssl-control`: data in clear, refused by default and allowed by policy \[PROT-16\].
#[test]
fn data_in_clear_is_a_policy() {
    let refusing = Site::start();
    fs::write(refusing.served("file"), "content").unwrap();
    let url = format!("{}/file", refusing.url(Listener::Explicit, Family::V4));
    let refused = clear_data(&refusing, &[&url]);
    assert_eq!(refused.out(), "");
    refused.says("< 522");

    let allowing = Site::with(|builder| builder.toml("[policy]\nrequire_data_tls = false"));
    fs::write(allowing.served("file"), "content").unwrap();
    let url = format!("{}/file", allowing.url(Listener::Explicit, Family::V4));
    assert_eq!(clear_data(&allowing, &[&url]).success().out(), "content");
}

/// Up and down again: every size in one curl each, compared on both disks.
#[track_caller]
fn round_trip(site: &Site, listener: Listener, family: Family, version: &str, data: &[&str]) {
    let case = format!("{listener:?} {family:?} TLS {version} {data:?}");
    let url = site.url(listener, family);
    let mut up = pinned(version);
    up.extend(data.iter().map(|&argument| argument.into()));
    let mut down = up.clone();
    let mut hashes = Vec::new();
    for size in SIZES {
        let name = format!("size-{size}");
        hashes.push((name.clone(), content::write(&site.local(&name), size, size as u64)));
        up.extend(["--upload-file".into(), text(site, &name), format!("{url}/{name}")]);
        down.extend(["--output".into(), text(site, &name), format!("{url}/{name}")]);
    }
    let finished = curl(site, &up).success();
    assert_eq!(finished.count("< 226"), SIZES.len(), "{case}: {finished}");
    for (name, hash) in &hashes {
        assert_eq!(&content::sha256_of(&site.served(name)), hash, "{case}: upload of {name}");
        fs::remove_file(site.local(name)).unwrap();
    }
    let finished = curl(site, &down).success();
    assert_eq!(finished.count("< 226"), SIZES.len(), "{case}: {finished}");
    for (name, hash) in &hashes {
        assert_eq!(&content::sha256_of(&site.local(name)), hash, "{case}: download of {name}");
        fs::remove_file(site.served(name)).unwrap();
    }
    let used = match data {
        [] => "> EPSV",
        ["--disable-epsv"] => "> PASV",
        [_, _, _] => "> PORT",
        _ => "> EPRT",
    };
    assert!(finished.count(used) >= SIZES.len(), "{case}: no {used}: {finished}");
    assert_eq!(finished.count(&format!("SSL connection using TLSv{version}")), 6, "{case}");
}

/// curl names its side of resumption differently from version to version.
#[track_caller]
fn assert_resumed(finished: &Finished, times: usize) {
    let said = finished.count("SSL re-using session ID")
        + finished.count("SSL reusing session")
        + finished.count("SSL session reuse");
    assert_eq!(said, times, "resumptions: {finished}");
}

/// Exactly this TLS version.
fn pinned(version: &str) -> Vec<String> {
    vec![format!("--tlsv{version}"), "--tls-max".into(), version.into()]
}

fn text(site: &Site, name: &str) -> String {
    site.local(name).into_os_string().into_string().unwrap()
}

/// Whether this curl sends in clear what it says it protects, in active mode.
fn forgets_tls_when_active() -> bool {
    let said = run(Command::new("curl").arg("--version"), DEADLINE).success().out();
    let version = said.split_whitespace().nth(1).unwrap().to_owned();
    version.starts_with("7.87.") || version.starts_with("7.88.")
}

/// An upload in clear at PROT P fails and leaves nothing; a download gives nothing away.
#[track_caller]
fn clear_text_is_not_taken(site: &Site, listener: Listener, family: Family, data: &[&str]) {
    content::write(&site.local("up"), 50_000, 6);
    fs::write(site.served("file"), "content").unwrap();
    let url = site.url(listener, family);
    let (up, down) = (format!("{url}/up"), format!("{url}/file"));
    let upload = ["--upload-file", &text(site, "up"), &up];
    let finished = curl(site, &[data, &upload].concat());
    assert_eq!(finished.count("< 226"), 0, "{finished}");
    assert_eq!(finished.count("< 522"), 1, "{finished}");
    assert!(!site.served("up").exists());
    // This curl waits for the server, the server for a ClientHello: the client gives up first.
    let finished = curl(site, &[data, &["--max-time", "2", &down]].concat());
    assert_eq!(finished.out(), "", "{finished}");
}

/// curl with the data connection in clear.
#[track_caller]
fn clear_data(site: &Site, arguments: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    command.args(["-q", "--silent", "--verbose", "--ftp-ssl-control", "--max-time", "20"]);
    command.arg("--cacert").arg(site.server.authority_pem()).args(["--user", "alice:secret"]);
    run(command.arg("--globoff").args(arguments), DEADLINE)
}

/// curl as alice, with the certificate checked and the dialogue on standard error.
#[track_caller]
fn curl(site: &Site, arguments: &[impl AsRef<OsStr>]) -> Finished {
    let mut command = Command::new("curl");
    command.args(["-q", "--silent", "--show-error", "--verbose", "--ssl-reqd"]);
    command.args(["--noproxy", "*", "--globoff", "--max-time", "60"]);
    command.arg("--cacert").arg(site.server.authority_pem());
    if !arguments.iter().any(|argument| argument.as_ref() == "--user") {
        command.args(["--user", "alice:secret"]);
    }
    run(command.args(arguments), DEADLINE)
}
