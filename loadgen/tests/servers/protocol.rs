//! The client role against a server under the test's control: what is said and in which order, and
//! that whatever a broken or hostile server does ends its connection with the right error, never
//! the run.

use crate::support::scripted::{Act, Moment, Scripted};
use crate::support::{Outcome, ringload};

const RIGHT: fn(Moment<'_>) -> Act = |_| Act::Right;

/// Five operations, one client, and little patience.
fn run(server: &Scripted, line: &str) -> Outcome {
    let (workload, options) = line.split_once(' ').unwrap_or((line, ""));
    let address = server.address;
    ringload(&format!("{workload} {address} --cpus 0 -c 1 --timeout 1s {options}"))
}

/// A script that does `act` at `moment` and the right thing otherwise.
fn at(
    moment: Moment<'static>,
    act: impl Fn() -> Act + Send + Sync,
) -> impl Fn(Moment<'_>) -> Act + Send + Sync {
    move |now| if now == moment { act() } else { Act::Right }
}

#[test]
fn implicit_sends_neither_pbsz_nor_prot_when_told() {
    let server = Scripted::implicit(RIGHT);
    run(&server, "login --count 1 --user u").all_succeeded(1);
    assert_eq!(server.commands(), ["USER u", "PASS secret", "QUIT"]);
    let server = Scripted::implicit(RIGHT);
    run(&server, "list --count 1 --path d --listing list --implied-prot").all_succeeded(1);
    let expected = ["USER anonymous", "PASS secret", "TYPE I", "EPSV", "LIST d"];
    assert_eq!(server.commands(), expected);
}

/// As curl and FileZilla do; a server to the letter of MS-FTPS may refuse them.
#[test]
fn implicit_sends_them_by_default() {
    for refused in ["", "PBSZ 0", "PROT P"] {
        let server = Scripted::implicit(move |moment| match moment {
            Moment::Command(line) if line == refused => Act::Say(b"503 implied\r\n"),
            _ => Act::Right,
        });
        run(&server, "idle --count 1 --every 100ms --user u").all_succeeded(1);
        let expected = ["USER u", "PASS secret", "PBSZ 0", "PROT P", "TYPE I", "NOOP"];
        assert_eq!(server.commands(), expected);
    }
}

#[test]
fn explicit_negotiates_before_the_password() {
    for (option, auth) in [("--explicit", "AUTH TLS"), ("--auth-ssl", "AUTH SSL")] {
        let server = Scripted::explicit(RIGHT);
        run(&server, &format!("idle --count 1 --every 100ms --user u --prot C {option}"))
            .all_succeeded(1);
        let expected = [auth, "USER u", "PASS secret", "PBSZ 0", "PROT C", "TYPE I", "NOOP"];
        assert_eq!(server.commands(), expected);
    }
}

/// On implicit the level P is implied, so that C has to be asked for.
#[test]
fn implicit_asks_for_clear_data_connections() {
    let server = Scripted::implicit(RIGHT);
    run(&server, "upload --count 2 --size 1000 --prot C --implied-prot").all_succeeded(2);
    assert_eq!(server.commands()[..3], ["USER anonymous", "PASS secret", "PROT C"]);
    assert!(server.uploads().iter().all(|file| file.len() == 1000));
}

#[test]
fn a_line_end_in_an_argument_is_no_second_command() {
    let server = Scripted::implicit(RIGHT);
    let address = server.address.to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["login", &address, "--count", "1", "--quiet", "--user", "u\r\nDELE x"])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(server.commands()[0], "USER uDELE x");
}

#[test]
fn what_a_broken_server_says_is_a_typed_error() {
    #[track_caller]
    fn check(moment: Moment<'static>, act: fn() -> Act, phase: &str, kind: &str) {
        let server = Scripted::implicit(at(moment, act));
        run(&server, "login --count 3").all_failed(3, phase, kind);
    }
    let greeting = Moment::Greeting;
    check(greeting, || Act::Say(b"hello\r\n"), "greeting", "reply_parse");
    check(greeting, || Act::Say(b"220 no carriage return\n"), "greeting", "reply_parse");
    check(greeting, || Act::Say(b"\xff\xfe\0\0\r\n"), "greeting", "reply_parse");
    check(greeting, || Act::Say(&[b'2'; 10_000]), "greeting", "reply_parse");
    check(greeting, || Act::Say(b"421 full\r\n"), "greeting", "unexpected_reply");
    check(greeting, || Act::Say(b"120 later\r\n120 later\r\n"), "greeting", "unexpected_reply");
    check(greeting, || Act::Say(b"220-never\r\n"), "greeting", "reply_timeout");
    check(greeting, || Act::Say(b"220 a\0b\r\n"), "greeting", "reply_parse");
    check(greeting, || Act::Say(b"220-half\r\n22"), "greeting", "reply_timeout");
    let endless: &[u8] = b"220-\r\n".repeat(20_000).leak();
    let server =
        Scripted::implicit(at(Moment::Command("USER anonymous"), move || Act::Say(endless)));
    run(&server, "login --count 3").all_failed(3, "login", "reply_parse");
    check(greeting, || Act::Close, "greeting", "connection_closed");
    check(greeting, || Act::Hang, "greeting", "reply_timeout");
    check(greeting, || Act::SayInClear(b"220 in clear\r\n"), "greeting", "tls_protocol");
    let accepted = Moment::Accepted;
    check(accepted, || Act::Say(b"220 before TLS\r\n"), "tls_handshake", "tls_protocol");
    check(accepted, || Act::Say(b"\x15\x03\x03\0\x02\x02\x28"), "tls_handshake", "tls_alert");
    let huge = || Act::Say(b"\x16\x03\x03\0\x04\x02\xff\xff\xff");
    check(accepted, huge, "tls_handshake", "tls_protocol");
    check(accepted, || Act::Hang, "tls_handshake", "tls_timeout");
    // A reply before its command would be taken for the reply to it.
    check(greeting, || Act::Say(b"220 a\r\n230 early\r\n"), "login", "unexpected_reply");
    check(greeting, || Act::Say(b"220 a\r\n421 full\r\n"), "login", "unexpected_reply");
    check(greeting, || Act::Say(b"220 a\r\n33"), "login", "reply_parse");
    check(greeting, || Act::Say(b"220 a\r\nhello\r\n"), "login", "reply_parse");
    let user = Moment::Command("USER anonymous");
    check(user, || Act::Say(b"150 what\r\n"), "login", "unexpected_reply");
    check(user, || Act::Say(b"530 no\r\n"), "login", "unexpected_reply");
    check(user, || Act::Close, "login", "connection_closed");
    let pass = Moment::Command("PASS secret");
    check(pass, || Act::Say(b"332 account\r\n"), "login", "unexpected_reply");
    check(pass, || Act::Say(b"999 what\r\n"), "login", "reply_parse");
}

#[test]
fn a_connection_closed_before_tls_is_told_as_such() {
    let server = Scripted::implicit(at(Moment::Accepted, || Act::Close));
    let outcome = run(&server, "handshake --count 3").failed();
    assert_eq!(outcome.total("errors"), 3);
    // Whether the end of file or the reset is seen first is the kernel's choice.
    for row in outcome.result["errors"].as_array().unwrap() {
        assert_eq!(row["phase"], "tls_handshake");
        let kind = row["kind"].as_str().unwrap();
        assert!(["connection_closed", "connection_reset"].contains(&kind), "{kind}");
    }
}

/// RFC 959 §5.4: 120 announces a delay, 220 follows.
#[test]
fn a_delayed_greeting_is_waited_for() {
    let server =
        Scripted::implicit(at(Moment::Greeting, || Act::Say(b"120 soon\r\n220-now\r\n220 ok\r\n")));
    run(&server, "handshake --count 2").all_succeeded(2);
}

/// Octets behind 234 came in clear and would be taken for protected ones.
#[test]
fn octets_injected_behind_auth_are_refused() {
    let injected = || Act::Say(b"234 go\r\n230 logged in\r\n");
    let server = Scripted::explicit(at(Moment::Command("AUTH TLS"), injected));
    run(&server, "login --count 2 --explicit").all_failed(2, "tls_handshake", "reply_parse");
    let server = Scripted::explicit(at(Moment::Command("AUTH TLS"), || Act::Say(b"500 no\r\n")));
    run(&server, "login --count 2 --explicit").all_failed(2, "tls_handshake", "unexpected_reply");
}

#[test]
fn faults_of_transfers_are_told_apart() {
    #[track_caller]
    fn check(prefix: &'static str, act: fn() -> Act, phase: &str, kind: &str) {
        let server = Scripted::implicit(move |moment| match moment {
            Moment::Command(line) if line.starts_with(prefix) => act(),
            _ => Act::Right,
        });
        run(&server, "download --count 3 --size 5000 --files 2 --keep").all_failed(3, phase, kind);
    }
    check("RETR", || Act::Corrupt, "last_byte", "verification_mismatch");
    check("RETR", || Act::Truncate, "last_byte", "data_truncated");
    check("RETR", || Act::Say(b"550 gone\r\n"), "first_byte", "unexpected_reply");
    check("RETR", || Act::Close, "first_byte", "connection_closed");
    check("RETR", || Act::Hang, "first_byte", "reply_timeout");
    check("RETR", || Act::Say(b"226 already\r\n"), "first_byte", "unexpected_reply");
    check("RETR", || Act::Garbage, "data_tls", "tls_protocol");
    check("RETR", || Act::Endless, "last_byte", "verification_mismatch");
    check("RETR", || Act::CompleteWith(b"150 more\r\n"), "completion", "unexpected_reply");
    check("RETR", || Act::CompleteWith(b"426 lost\r\n"), "completion", "unexpected_reply");
    check("RETR", || Act::CompleteWith(b"226-never\r\n"), "completion", "reply_timeout");
    check("RETR", || Act::CompleteWith(b"\0\0\r\n"), "completion", "reply_parse");
    check("RETR", || Act::CompleteWith(b""), "completion", "connection_closed");
    let server = Scripted::implicit(at(Moment::Command("RETR f"), || Act::CutData));
    let outcome = run(&server, "download --count 2 --path f").failed();
    assert_eq!(outcome.total("errors"), 2);
    for row in outcome.result["errors"].as_array().unwrap() {
        // Whether the end of file or the reset is seen first is the kernel's choice.
        assert_eq!(row["phase"], "data_tls");
        assert_eq!(row["class"], "connection");
    }
}

/// Whatever its size, and however slowly it comes: a transfer ends.
#[test]
fn transfers_without_end_are_ended() {
    #[track_caller]
    fn check(act: fn() -> Act, line: &str, phase: &str, kind: &str) {
        let server = Scripted::implicit(move |moment| match moment {
            Moment::Command(line) if line.starts_with("RETR") || line.starts_with("LIST") => act(),
            _ => Act::Right,
        });
        run(&server, line).all_failed(2, phase, kind);
    }
    let size = "--size 100KB --files 1 --discard";
    for level in ["P", "C"] {
        let options = format!("--count 2 --prot {level}");
        let known = format!("download {options} {size}");
        check(|| Act::Endless, &known, "last_byte", "verification_mismatch");
        let unknown = format!("download {options} --path f --max-bytes 1MiB");
        check(|| Act::Endless, &unknown, "last_byte", "data_too_long");
        let listing = format!("list {options} --path d --listing list --max-bytes 1MiB");
        check(|| Act::Endless, &listing, "last_byte", "data_too_long");
        for line in [&known, &unknown, &listing] {
            let line = format!("{line} --transfer-timeout 300ms");
            check(|| Act::Trickle, &line, "last_byte", "data_timeout");
        }
    }
    let digest = format!("download --count 2 --path f --max-bytes 9KB --sha256 {}", "0".repeat(64));
    check(|| Act::Endless, &digest, "last_byte", "data_too_long");
    check(
        || Act::Truncate,
        &format!("download --count 2 {size} --prot P"),
        "last_byte",
        "data_truncated",
    );
}

/// With --prot C nothing but the length tells a cut file from a whole one.
#[test]
fn a_discarded_file_still_has_its_length() {
    let server = Scripted::implicit(|moment| match moment {
        Moment::Command(line) if line.starts_with("RETR") => Act::Cut,
        _ => Act::Right,
    });
    let line = "download --count 2 --size 5000 --prot C --discard";
    run(&server, line).all_failed(2, "last_byte", "verification_mismatch");
    let server = Scripted::implicit(RIGHT);
    run(&server, line).all_succeeded(2);
}

#[test]
fn faults_of_passive_replies_are_told_apart() {
    #[track_caller]
    fn check(reply: &'static [u8], options: &str, phase: &str, kind: &str) {
        let server = Scripted::implicit(move |moment| match moment {
            Moment::Command("EPSV" | "PASV") => Act::Say(reply),
            _ => Act::Right,
        });
        let line = format!("list --count 2 --path . {options}");
        run(&server, &line).all_failed(2, phase, kind);
    }
    check(b"229 (|||70000|)\r\n", "", "epsv", "reply_parse");
    check(b"229 nowhere\r\n", "", "epsv", "reply_parse");
    check(b"425 no\r\n", "", "epsv", "unexpected_reply");
    check(b"227 (127,0,0,1,0,0)\r\n", "--data pasv", "epsv", "reply_parse");
    // A server may not send the load to another host.
    check(b"227 (192,0,2,1,4,1)\r\n", "--data pasv-reply", "epsv", "reply_parse");
    // Port 1 of this host: nobody listens there.
    check(b"229 (|||1|)\r\n", "", "data_connect", "data_connect_refused");
    check(b"227 (192,0,2,1,0,1)\r\n", "--data pasv", "data_connect", "data_connect_refused");
}

#[test]
fn the_certificate_is_verified_when_told() {
    let server = Scripted::implicit(RIGHT);
    let pem = server.identity.certificate_pem().display().to_string();
    let print = server.identity.fingerprint();
    run(&server, &format!("handshake --count 2 --pin {print}")).all_succeeded(2);
    run(&server, "handshake --count 2").all_succeeded(2);
    run(&server, &format!("handshake --count 2 --ca {pem}")).all_succeeded(2);
    let wrong = "00".repeat(32);
    run(&server, &format!("handshake --count 2 --pin {wrong}")).all_failed(
        2,
        "tls_handshake",
        "certificate_rejected",
    );
    let name = format!("handshake --count 2 --ca {pem} --server-name other.test");
    let outcome = run(&server, &name).all_failed(2, "tls_handshake", "certificate_rejected");
    assert_eq!(outcome.result["errors"][0]["class"], "certificate");
}

/// The right certificate in the wrong hands: the handshake's signature tells.
#[test]
fn an_impostor_is_found_by_the_signature() {
    let server = Scripted::impostor();
    let (pem, print) = (server.identity.certificate_pem(), server.identity.fingerprint());
    for version in ["1.2", "1.3"] {
        for demand in [format!("--ca {}", pem.display()), format!("--pin {print}")] {
            let line = format!("handshake --count 2 --tls {version} {demand}");
            let kind = "certificate_rejected";
            run(&server, &line).all_failed(2, "tls_handshake", kind);
        }
        // Documented: without a demand not even the signature is looked at.
        run(&server, &format!("handshake --count 2 --tls {version}")).all_succeeded(2);
    }
}

#[test]
fn version_suite_and_group_are_those_asked_for() {
    #[track_caller]
    fn check(options: &str, expected: [&str; 3]) {
        let server = Scripted::implicit(RIGHT);
        let outcome = run(&server, &format!("handshake --count 2 {options}")).all_succeeded(2);
        let rows = outcome.result["tls"].as_array().unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!([&rows[0]["version"], &rows[0]["suite"], &rows[0]["group"]], expected);
    }
    check(
        "--tls 1.3 --suites TLS13_AES_128_GCM_SHA256 --groups secp384r1",
        ["TLSv1.3", "TLS13_AES_128_GCM_SHA256", "secp384r1"],
    );
    check(
        "--tls 1.2 --suites TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 --groups X25519",
        ["TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "X25519"],
    );
}

#[test]
fn resumption_is_what_was_asked_for() {
    for version in ["1.2", "1.3"] {
        let server = Scripted::implicit(RIGHT);
        let line = |mode| format!("handshake --count 10 --tls {version} --resume {mode}");
        let never = run(&server, &line("never")).all_succeeded(10);
        assert_eq!(never.resumption("control"), (10, 0, 0), "{version}");
        let always = run(&server, &line("always")).all_succeeded(10);
        assert_eq!(always.resumption("control"), (10, 10, 10), "{version}");
        let line =
            |mode| format!("download --count 4 --size 10 --tls {version} --resume-data {mode}");
        let never = run(&server, &line("never")).all_succeeded(4);
        assert_eq!(never.resumption("data"), (4, 0, 0), "{version}");
        let always = run(&server, &line("always")).all_succeeded(4);
        assert_eq!(always.resumption("data"), (4, 4, 4), "{version}");
    }
}

#[test]
fn a_server_without_sessions_to_resume_fails_always_and_only_always() {
    let server = Scripted::without_tickets();
    let offered = run(&server, "handshake --count 4 --resume offered").all_succeeded(4);
    assert_eq!(offered.resumption("control"), (4, 0, 0));
    run(&server, "handshake --count 4 --resume always").all_failed(
        4,
        "tls_handshake",
        "resumption_refused",
    );
    run(&server, "list --count 4 --path . --resume-data always").all_failed(
        4,
        "data_tls",
        "resumption_refused",
    );
}

/// Servers that write tickets on a data connection which the client only sends on.
#[test]
fn a_client_that_only_uploads_finds_the_tickets_of_its_data_connections() {
    let server = Scripted::implicit(RIGHT);
    let line = "upload --count 40 --size 10 --tls 1.3 --resume-data always";
    let outcome = run(&server, line).all_succeeded(40);
    assert_eq!(outcome.resumption("data"), (40, 40, 40));
}

/// One seed, one work: the same commands with the same contents.
#[test]
fn the_same_seed_asks_for_the_same_work() {
    let scenario = tempfile::NamedTempFile::new().unwrap();
    let text = "abandon = 0.1\n\
                operation = [{ kind = \"upload\" }, { kind = \"download\" }, { kind = \"noop\" }]\n\
                size = [{ bytes = \"100\" }, { bytes = \"3KiB\", weight = 2 }]\n";
    std::fs::write(scenario.path(), text).unwrap();
    let work = |seed: u64| {
        let server = Scripted::implicit(RIGHT);
        let path = scenario.path().display();
        let outcome =
            run(&server, &format!("mixed --scenario {path} --count 40 --seed {seed}")).good();
        assert_eq!(outcome.total("errors"), 0, "{}", outcome.result["errors"]);
        (server.commands(), server.uploads())
    };
    let first = work(7);
    assert!(first.0.iter().filter(|line| line.starts_with("STOR")).count() > 5);
    assert_eq!(first, work(7));
    assert_ne!(first.0, work(8).0);
}

#[test]
fn what_was_made_is_deleted() {
    let server = Scripted::implicit(RIGHT);
    run(&server, "download --count 2 --size 10 --files 3").all_succeeded(2);
    run(&server, "upload --count 3 --size 10").all_succeeded(3);
    run(&server, "list --count 2 --entries 5 --listing nlst").all_succeeded(2);
    assert_eq!(server.files(), [""; 0]);
    run(&server, "upload --count 3 --size 10 --keep").all_succeeded(3);
    assert_eq!(server.files().len(), 1);
}

/// Fewer lines than the directory has files: a fast wrong server.
#[test]
fn a_listing_that_lacks_files_is_an_error() {
    let server = Scripted::implicit(|moment| match moment {
        Moment::Command(line) if line.starts_with("STOR") => Act::Right,
        Moment::Command("NLST ringload-1-dir") => Act::Say(b"450 no\r\n"),
        _ => Act::Right,
    });
    run(&server, "list --count 1 --entries 5 --listing nlst").all_failed(
        1,
        "first_byte",
        "unexpected_reply",
    );
    let server = Scripted::implicit(RIGHT);
    // A directory that was there, with less in it than it was said to have.
    run(&server, "list --count 2 --path d --entries 50 --listing list").all_failed(
        2,
        "last_byte",
        "verification_mismatch",
    );
    // Its own directory is empty for it; one file was asked for and the server has one, not two.
    run(&server, "list --count 1 --entries 1 --listing list").all_succeeded(1);
}

#[test]
fn a_run_that_cannot_begin_says_why() {
    let server = Scripted::implicit(at(Moment::Command("PASS secret"), || Act::Say(b"530 no\r\n")));
    let outcome = run(&server, "idle --count 1");
    assert_eq!(outcome.status, 3);
    assert!(outcome.output.contains("login: unexpected_reply: 530 no"), "{}", outcome.output);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = ringload(&format!("download {gone} --cpus 0 --count 1"));
    assert_eq!(outcome.status, 3);
    assert!(outcome.output.contains("connect_refused"), "{}", outcome.output);
    let outcome = ringload("login 192.0.2.1:21 --count 1");
    assert_eq!(outcome.status, 2);
    assert!(outcome.output.contains("--i-own-this-target 192.0.2.1"), "{}", outcome.output);
}

#[test]
fn a_refused_connection_is_counted_and_does_not_spin() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = format!("handshake {gone} --cpus 0 -c 2 --warm-up 0s --duration 500ms");
    let outcome = ringload(&line).failed();
    let errors = outcome.total("errors");
    assert!((2..=14).contains(&errors), "{errors} attempts of two clients in half a second");
    assert_eq!(outcome.result["errors"][0]["kind"], "connect_refused");
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn count(server: &Scripted, verb: &str) -> usize {
    server.commands().iter().filter(|command| command.starts_with(verb)).count()
}

/// Client n is user n, and what downloads need is made and deleted for each of them.
#[test]
fn clients_log_in_as_the_users_of_a_file() {
    let users = file("ann:1\nben:2:x\nclo\n");
    let server = Scripted::implicit(RIGHT);
    let path = users.path().display().to_string();
    // Made for its owner alone.
    let line = format!("idle --count 3 --every 10ms -c 3 --users {path}");
    let outcome = ringload(&line.replacen(' ', &format!(" {} --cpus 0 ", server.address), 1));
    let outcome = outcome.all_succeeded(3);
    assert!(!outcome.output.contains("open to others"), "{}", outcome.output);
    assert_eq!(count(&server, "USER"), 3);
    for expected in ["PASS 1", "PASS 2:x", "PASS secret"] {
        assert_eq!(count(&server, expected), 1, "{expected}");
    }
    assert_eq!(outcome.result["workload"]["parameters"]["users"], "3");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o604);
    std::fs::set_permissions(users.path(), open).unwrap();
    let server = Scripted::implicit(RIGHT);
    let line = format!(
        "small-files {} --cpus 0 -c 2 --files 2 --size 64 --count 4 --users {path}",
        server.address
    );
    let outcome = ringload(&line).all_succeeded(4);
    let warning = format!("{path} holds passwords and is open to others; remedy: chmod 600");
    assert!(outcome.output.contains(&warning), "{}", outcome.output);
    assert_eq!((count(&server, "STOR"), count(&server, "DELE")), (4, 4), "for two users");
}

/// Downloads of a list go by its weights, and sizes that are said are compared.
#[test]
fn downloads_choose_from_a_list() {
    let server = Scripted::implicit(RIGHT);
    run(&server, "upload --count 1 --size 100 --keep").all_succeeded(1);
    let name = server.files()[0].clone();
    let list = file(&format!("{name}\t100\t3\n{name}\n"));
    let path = list.path().display().to_string();
    run(&server, &format!("download --count 8 --paths {path}")).all_succeeded(8);
    assert_eq!(server.files(), std::slice::from_ref(&name), "it was there, and it stays");
    std::fs::write(list.path(), format!("{name}\t101\n")).unwrap();
    run(&server, &format!("download --count 2 --paths {path}")).all_failed(
        2,
        "last_byte",
        "verification_mismatch",
    );
}

/// At four times the pace of the log, in the order of the log, by its users; what was not whole
/// there is given up here.
#[test]
fn a_log_is_replayed() {
    let log = file(
        "Sat Nov 28 17:00:03 2026 1 ::1 5 /a b b _ o r ben ftp 0 * c\n\
         Sat Nov 28 17:00:01 2026 1 ::1 5 /a b b _ i r ann ftp 0 * c\n\
         Sat Nov 28 17:00:04 2026 1 ::1 70000 /c b _ i r ann ftp 0 * i\n",
    );
    let users = file("ben:2\nann:1\n");
    let server = Scripted::implicit(RIGHT);
    let line = format!(
        "replay {} --cpus 0 --xferlog {} --speed 4x --users {}",
        server.address,
        log.path().display(),
        users.path().display()
    );
    let outcome = ringload(&line).good();
    assert_eq!((outcome.total("operations"), outcome.total("errors")), (2, 0));
    assert_eq!(outcome.total("abandoned"), 1);
    for kind in ["upload", "download"] {
        assert_eq!(outcome.result["kinds"][kind]["corrected"]["count"], 1, "{kind}");
    }
    let elapsed = outcome.result["timing"]["elapsed_s"].as_f64().unwrap();
    assert!((0.75..10.0).contains(&elapsed), "{elapsed}");
    let wanted = |command: &&String| {
        ["USER", "PASS", "STOR", "RETR"].iter().any(|verb| command.starts_with(verb))
    };
    let commands = server.commands();
    let commands: Vec<_> = commands.iter().filter(wanted).map(String::as_str).collect();
    let expected =
        ["USER ann", "PASS 1", "STOR /a b", "USER ben", "PASS 2", "RETR /a b", "STOR /c"];
    assert_eq!(commands, expected);
    let sizes: Vec<_> = server.uploads().iter().map(Vec::len).collect();
    assert_eq!(sizes, [5]);
}
