//! Several certificates, told apart by server name: who gets which, what resumes, how they are
//! renewed, and that HOST agrees (RFC 6066 §3, RFC 7151 §3.2.2).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustls::SupportedProtocolVersion;
use rustls::pki_types::pem::PemObject;

use crate::metrics::{endpoint, scrape};
use crate::reload::{accepted, configuration, ctl, edit, refused, replace, set, shown};
use crate::run::{DEADLINE, Finished, run, run_with_input};
use crate::support::certificates::Identity;
use crate::support::server::{BOTH_LISTENERS, write_private};
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Builder, Client, Listener, Server, Tls, program, wait_until};

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [TLS12, TLS13];

/// The names in the certificates of [`two`], and one that a client may ask for.
const A: (&str, &[&str]) = ("a", &["a.example.test", "shared.example.test"]);
const B: (&str, &[&str]) = ("b", &["b.example.test", "*.b.example.test"]);

/// A server with the default certificate and two for names; `toml` is more of its configuration.
fn two(toml: &str) -> Server {
    start(Server::builder().toml(toml))
}

fn start(builder: Builder) -> Server {
    builder.start_with(|scratch| {
        for (name, names) in [A, B] {
            let identity = scratch.authority.server_for(names);
            fs::write(chain(scratch.path, name), &identity.certificate_pem).unwrap();
            write_private(&key(scratch.path, name), &identity.key_pem);
        }
        [A, B].map(|(name, _)| table(name)).concat()
    })
}

fn table(name: &str) -> String {
    format!("[[tls.certificates]]\ncertificate = \"{name}-chain.pem\"\nkey = \"{name}-key.pem\"\n")
}

fn chain(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(format!("{name}-chain.pem"))
}

fn key(folder: &Path, name: &str) -> std::path::PathBuf {
    folder.join(format!("{name}-key.pem"))
}

/// The certificate in the file, DER.
fn in_file(server: &Server, path: &str) -> Vec<u8> {
    let file = server.scratch().join(path);
    rustls::pki_types::CertificateDer::from_pem_file(file).unwrap().to_vec()
}

/// Writes another pair for A or B, the key first if asked for.
fn renew(server: &Server, (name, names): (&str, &[&str])) -> Identity {
    let identity = server.authority().server_for(names);
    replace(&key(server.scratch(), name), &identity.key_pem);
    replace(&chain(server.scratch(), name), &identity.certificate_pem);
    identity
}

/// The certificate that a client gets with this server name.
fn served(server: &Server, name: &str) -> Vec<u8> {
    let tls = server.tls().server_name(name);
    shown(&Client::open_with(server, Listener::Implicit, tls))
}

#[test]
fn each_name_has_its_certificate() {
    let server = two("");
    fs::write(server.root().join("file"), "content").unwrap();
    let [a, b, default] =
        ["a-chain.pem", "b-chain.pem", "chain.pem"].map(|file| in_file(&server, file));
    for versions in VERSIONS {
        let tls = || server.tls().versions(versions).no_resumption();
        for listener in BOTH_LISTENERS {
            for (name, expected) in [
                (Some("a.example.test"), &a),
                (Some("A.Example.TEST"), &a),
                (Some("shared.example.test"), &a),
                (Some("b.example.test"), &b),
                (Some("any.b.example.test"), &b),
                (Some("localhost"), &default),
                (None, &default),
            ] {
                let named = name.map_or_else(tls, |name| tls().server_name(name));
                let mut client = Client::open_with(&server, listener, named.clone()).login();
                assert_eq!(&shown(&client), expected, "{name:?}");
                // The same name on the data connection, none, and another one.
                for (data_tls, expected) in [
                    (named, expected),
                    (tls(), expected),
                    (tls().server_name("localhost"), &default),
                ] {
                    client.data_tls = data_tls;
                    let data = client.begin("RETR file");
                    let seen = data.tls().unwrap().peer_certificates().unwrap()[0].to_vec();
                    assert_eq!(&seen, expected, "data of {name:?}");
                    assert_eq!(client.receive(data), b"content");
                }
                client.quit();
            }
        }
    }
}

/// A name that is nobody's gets the default certificate, which the client then judges.
#[test]
fn openssl_and_curl_agree() {
    let server = two("");
    for listener in BOTH_LISTENERS {
        for version in ["-tls1_2", "-tls1_3"] {
            for (name, subject) in [
                ("a.example.test", "CN = a.example.test"),
                ("c.b.example.test", "CN = b.example.test"),
                ("d.c.b.example.test", "CN = localhost"),
                ("unknown.example.test", "CN = localhost"),
            ] {
                let finished = s_client(&server, listener, &[version, "-servername", name]);
                let text = String::from_utf8_lossy(&finished.stdout).replace(" = ", "=");
                let expected = format!("subject={}", subject.replace(" = ", "="));
                assert!(text.contains(&expected), "{name}: {finished}");
            }
            let finished = s_client(&server, listener, &[version, "-noservername"]);
            let text = String::from_utf8_lossy(&finished.stdout).replace(" = ", "=");
            assert!(text.contains("subject=CN=localhost"), "{finished}");
        }
    }
    fs::write(server.root().join("file"), "content").unwrap();
    for (name, good) in [
        ("a.example.test", true),
        ("x.b.example.test", true),
        ("localhost", true),
        ("unknown.example.test", false),
    ] {
        for (scheme, listener) in [("ftps", Listener::Implicit), ("ftp", Listener::Explicit)] {
            let port = server.address(listener).port();
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--ssl-reqd", "--user", "alice:secret"]);
            curl.arg("--cacert").arg(server.authority_pem());
            curl.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
            curl.arg(format!("{scheme}://{name}:{port}/file"));
            let finished = run(&mut curl, DEADLINE);
            if good {
                assert_eq!(finished.success().stdout, b"content", "{name}");
            } else {
                // The certificate is not for that name.
                finished.exits(60);
            }
        }
    }
}

/// `openssl s_client` that says QUIT when it is in.
fn s_client(server: &Server, listener: Listener, words: &[&str]) -> Finished {
    let mut program = Command::new("openssl");
    program.args(["s_client", "-connect", &server.address(listener).to_string()]);
    program.arg("-CAfile").arg(server.authority_pem());
    program.args(["-crlf", "-nocommands", "-ign_eof"]).args(words);
    if listener == Listener::Explicit {
        program.args(["-starttls", "ftp"]);
    }
    run_with_input(&mut program, b"QUIT\n".to_vec(), DEADLINE)
}

#[test]
fn no_session_of_one_name_resumes_under_another() {
    let server = two("");
    for listener in BOTH_LISTENERS {
        for version in ["-tls1_2", "-tls1_3"] {
            let file = server.scratch().join("session.pem");
            let file = file.to_str().unwrap();
            let open = |file_flag: &str, name: &[&str]| {
                let finished =
                    s_client(&server, listener, &[&[version, file_flag, file], name].concat());
                let reused = finished.count("Reused, TLSv1.");
                assert_eq!(reused + finished.count("New, TLSv1."), 1, "{finished}");
                reused == 1
            };
            let names: [&[&str]; 4] = [
                &["-servername", "a.example.test"],
                &["-servername", "b.example.test"],
                &["-servername", "unknown.example.test"],
                &["-noservername"],
            ];
            for of in names {
                for under in names {
                    assert!(!open("-sess_out", of));
                    assert_eq!(open("-sess_in", under), of == under, "{of:?} {under:?}");
                }
            }
        }
    }
}

/// Whatever name a client has come by, its data connections resume.
#[test]
fn resumption_can_be_required_of_each_name() {
    let server = two("[tls]\ndata_resumption = \"require\"");
    fs::write(server.root().join("file"), "content").unwrap();
    for versions in VERSIONS {
        for listener in BOTH_LISTENERS {
            for name in ["a.example.test", "x.b.example.test", "localhost"] {
                let tls = server.tls().versions(versions).server_name(name);
                let mut client = Client::open_with(&server, listener, tls.clone()).login();
                for _ in 0..3 {
                    let data = client.begin("RETR file");
                    assert!(data.resumed(), "{name}");
                    assert_eq!(client.receive(data), b"content");
                    client.store("STOR up", b"octets");
                }
                client.data_tls = tls.no_resumption();
                let mut data = client.passive();
                client.expect("RETR file", 150);
                let _ = data.handshake(&client.data_tls);
                client.expect_reply(522);
                client.quit();
            }
        }
    }
}

/// RFC 7151 §3.2.2, §4: without SNI HOST has chosen the certificate, with it both agree.
#[test]
fn host_agrees_with_the_server_name() {
    let server = two("");
    let default = in_file(&server, "chain.pem");
    for versions in VERSIONS {
        let tls = |name: &str| server.tls().versions(versions).server_name(name);
        for (host, expected) in [
            ("A.example.test", in_file(&server, "a-chain.pem")),
            ("x.b.example.test", in_file(&server, "b-chain.pem")),
            ("unknown.example.test", default.clone()),
            ("127.0.0.1", default.clone()),
        ] {
            let mut client = Client::plain(&server);
            client.use_tls(server.tls().versions(versions));
            client.expect(format!("HOST {host}"), 220);
            client.auth();
            assert_eq!(shown(&client), expected, "{host}");
            client.login().quit();
        }
        for (host, name, agree) in [
            ("A.EXAMPLE.test", "a.example.test", true),
            ("b.example.test", "a.example.test", false),
            // Of the same certificate, and another name all the same.
            ("shared.example.test", "a.example.test", false),
            ("127.0.0.1", "a.example.test", false),
        ] {
            let mut client = Client::plain(&server);
            client.expect(format!("HOST {host}"), 220);
            client.use_tls(tls(name));
            client.auth();
            if agree {
                client.expect(format!("HOST {host}"), 220);
                client.login().quit();
            } else {
                client.expect_reply(421);
                client.expect_close();
            }
            for listener in BOTH_LISTENERS {
                let mut client = Client::open_with(&server, listener, tls(name));
                client.expect(format!("HOST {host}"), if agree { 220 } else { 504 });
                client.expect(format!("HOST {name}"), 220);
                client.login().quit();
            }
        }
    }
}

#[test]
fn a_reload_takes_and_names_what_changed() {
    let server = two("");
    let mut before = Client::open_with(&server, Listener::Implicit, tls_of(&server, "a")).login();
    let (a, b) = (served(&server, "a.example.test"), served(&server, "b.example.test"));
    let new = renew(&server, B);
    accepted(&server, "tls.certificates[b.example.test]");
    assert_eq!(served(&server, "a.example.test"), a);
    assert_eq!(served(&server, "x.b.example.test"), &*new.certificate);
    assert_ne!(b, &*new.certificate);
    before.store("STOR file", b"octets");

    // One that does not match changes nothing, and has its place.
    let path = configuration(&server);
    let good = fs::read_to_string(&path).unwrap();
    let old_key = fs::read_to_string(key(server.scratch(), "a")).unwrap();
    replace(&key(server.scratch(), "a"), &new.key_pem);
    set(&server, "[policy]\ngreeting = \"new\"");
    let place = "key=\"tls.certificates[a-chain.pem].certificate\"";
    refused(&server, &[&[&format!("file=\"{}\"", path.display()), "line=", place, "not belong"]]);
    ctl(&server, &["reload"]).exits(1).says("a-key.pem does not belong");
    assert_eq!(served(&server, "a.example.test"), a);
    replace(&key(server.scratch(), "a"), &old_key);
    replace(&path, &good);

    // A table goes, and its name is nobody's any more; then a name moves.
    let without = |server: &Server, index: usize| {
        edit(server, |table| {
            let tables = table["tls"]["certificates"].as_array_mut().unwrap();
            tables.remove(index);
        });
    };
    without(&server, 0);
    accepted(&server, "tls.certificates[a.example.test]");
    let none = Client::raw(&server, Listener::Implicit).wire.handshake(&tls_of(&server, "a"));
    assert!(none.is_err(), "the default certificate is not for that name");
    replace(&path, &good);
    accepted(&server, "tls.certificates[a.example.test]");
    assert_eq!(served(&server, "a.example.test"), a);
    accepted(&server, "nothing");
}

fn tls_of(server: &Server, name: &str) -> Tls {
    server.tls().server_name(&format!("{name}.example.test"))
}

/// Nobody says a word; one that is half renewed keeps the other from nothing.
#[test]
fn each_renewed_certificate_is_seen() {
    let server = two("[tls]\nwatch = \"100ms\"\n[metrics]\nlisten = \"127.0.0.1:0\"");
    let a = served(&server, "a.example.test");
    let half = server.authority().server_for(A.1);
    replace(&key(server.scratch(), "a"), &half.key_pem);
    wait_until("the warning", || {
        let log = server.log();
        let said = |line: &str| {
            line.contains("changed files are not taken")
                && line.contains("tls.certificates[a-chain.pem].certificate")
        };
        log.lines().any(said)
    });
    let b = renew(&server, B);
    wait_until("b", || served(&server, "b.example.test") == *b.certificate);
    assert_eq!(served(&server, "a.example.test"), a);
    replace(&chain(server.scratch(), "a"), &half.certificate_pem);
    wait_until("a", || served(&server, "a.example.test") == *half.certificate);
    for name in ["a", "b"] {
        let changed = format!("changed=\"tls.certificates[{name}.example.test]\"");
        wait_until(&changed, || server.log().contains(&changed));
    }
    let page = scrape(endpoint(&server));
    for name in ["default", "a.example.test", "b.example.test"] {
        let sample = format!("ringftpd_certificate_days_left{{certificate=\"{name}\"}} ");
        assert!(page.contains(&sample), "{sample}: {page}");
    }
}

/// A server that has given up root cannot read root's keys; root hands all of them over.
#[test]
fn root_hands_over_every_pair() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let server = Server::builder().toml("[process]\nuser = \"65534:65534\"\n");
    let server = server.start_with(|scratch| {
        fs::set_permissions(scratch.path, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, names) in [A, B] {
            let identity = scratch.authority.server_for(names);
            fs::write(chain(scratch.path, name), &identity.certificate_pem).unwrap();
            write_private(&key(scratch.path, name), &identity.key_pem);
        }
        [A, B].map(|(name, _)| table(name)).concat()
    });
    let new = renew(&server, B);
    ctl(&server, &["reload"]).success().says("tls.certificates[b.example.test]");
    assert_eq!(served(&server, "b.example.test"), &*new.certificate);
}

/// What is there is listed at the start, and `check-config` knows it.
#[test]
fn the_start_lists_them() {
    let server = two("");
    let log = server.log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.starts_with("certificate SHA-256")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[1].ends_with(" a.example.test shared.example.test"), "{log}");
    assert!(lines[2].ends_with(" b.example.test *.b.example.test"), "{log}");
    let check = || {
        let mut program = Command::new(program::path());
        program.args(["check-config", "--config"]).arg(configuration(&server));
        run(program.arg("--state-dir").arg(server.scratch()), DEADLINE)
    };
    let path = chain(server.scratch(), "a").display().to_string();
    check().success().says(&format!("certificate {path}"));
    set(&server, &(table("a") + "names = [\"a.example.test\", \"other.test\"]"));
    let finished = check().success();
    finished.says("tls.certificates[a.example.test]: was not issued for other.test");
    set(&server, &(table("a") + &table("b") + "names = [\"shared.example.test\"]"));
    let finished = check().exits(1);
    finished.says("ringftpd.toml:").says("is for shared.example.test, and so is");
}
