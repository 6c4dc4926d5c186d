//! USER, PASS, HOST and client certificates (RFC 959 §4.1.1, RFC 2577 §5, RFC 7151).

use super::*;

/// [LOGIN-02 LOGIN-09]: the answer waits for its timer, commands behind it wait as well.
#[test]
fn a_wrong_password_is_answered_late() {
    let mut shell = Shell::new(Mode::Explicit, lax());
    shell.check("USER ann", "331");
    shell.feed(b"PASS wrong\r\nNOOP\r\n");
    assert_eq!(shell.take(), "");
    assert_eq!(shell.sleep(), Duration::from_secs(1));
    assert_eq!(shell.take(), "530 200");
    shell.check("PASS right", "503");
}

/// Neither REIN nor AUTH nor a log-in that works gives new attempts [REIN-09].
#[test]
fn failures_are_counted_for_the_life_of_the_connection() {
    let mut shell = Shell::new(Mode::Explicit, lax());
    for between in ["REIN", "AUTH TLS"] {
        shell.check("USER ann", "331");
        shell.check("PASS wrong", "");
        shell.sleep();
        assert_eq!(shell.take(), "530");
        let mut inside = shell.log_in();
        assert!(inside.send(between).starts_with('2'));
        shell = inside;
    }
    shell.check("USER ann", "331");
    shell.check("PASS wrong", "");
    shell.sleep();
    assert_eq!(shell.take(), "421 closed");
    let failures: Vec<u32> = shell
        .events
        .iter()
        .filter_map(|event| match event {
            Event::LoginFailed { failures, .. } => Some(*failures),
            _ => None,
        })
        .collect();
    assert_eq!(failures, [1, 2, 3]);
}

#[test]
fn other_reasons_to_refuse_a_login() {
    for (error, expected) in [
        (AuthenticationError::Overloaded, "421 closed"),
        (AuthenticationError::TooManySessions, "530"),
        (AuthenticationError::NoHome, "530"),
    ] {
        let mut shell = Shell::new(Mode::Explicit, lax()).authenticating();
        shell.input(Input::Authenticated(Err(error)));
        assert_eq!(shell.take(), expected);
        assert!(shell.session.account().is_none());
    }
}

/// A password would change nothing about these, so none is asked for.
#[test]
fn other_reasons_to_refuse_a_certificate() {
    for (error, expected) in [
        (AuthenticationError::Overloaded, "421 closed"),
        (AuthenticationError::TooManySessions, "530"),
        (AuthenticationError::NoHome, "530"),
    ] {
        let mut shell = Shell::new(Mode::Explicit, strict());
        shell.certificate = true;
        let mut shell = shell.auth();
        shell.hold = Hold::Authentication;
        shell.check("USER cert", "");
        shell.input(Input::Identified(Err(error)));
        assert_eq!(shell.take(), expected);
        assert!(shell.session.account().is_none());
        if expected == "530" {
            shell.check("PASS right", "503");
        }
    }
}

/// RFC 2228 §8.2: 232; a name the certificate does not prove gets the 331 everybody gets.
#[test]
fn client_certificates() {
    let mut shell = Shell::new(Mode::Explicit, strict());
    shell.certificate = true;
    let mut shell = shell.auth();
    shell.check("USER cert", "232");
    shell.check("PWD", "257");
    shell.check("USER other", "331");
    shell.check("PWD", "530");
    shell.check("PASS right", "230");
    let by_certificate: Vec<bool> = shell
        .events
        .iter()
        .filter_map(|event| match event {
            Event::LoggedIn { by_certificate, .. } => Some(*by_certificate),
            _ => None,
        })
        .collect();
    assert_eq!(by_certificate, [true, false]);
}

/// [LOGIN-07 LOGIN-08]: from that moment unauthorised; transfer parameters are kept.
#[test]
fn user_ends_a_login() {
    let mut shell = logged_in();
    for command in ["TYPE I", "CWD dir", "REST 3", "EPSV"] {
        assert!(shell.send(command).starts_with(['2', '3']), "{command}");
    }
    shell.check("USER bob", "331");
    assert!(!shell.listening, "the old user's listener stays open");
    assert!(shell.events.contains(&Event::LoggedOut));
    shell.check("RETR file", "530");
    shell.check("PASS right", "230");
    assert_eq!(shell.session.account().map(|account| account.name.as_str()), Some("bob"));
    shell.check("RETR file", "425");
    shell.check("EPSV", "229");
    let request = TransferRequest::Retrieve { path: path(b"file"), offset: 0, ascii: false };
    shell.check_transfer("RETR file", request);
}

#[test]
fn the_password_is_never_shown() {
    let mut shell = Shell::new(Mode::Explicit, lax());
    shell.hold = Hold::Authentication;
    shell.check("USER ann", "331");
    shell.check("PASS s3cret", "");
    let shown = format!("{:?} {:?} {:?}", shell.session, shell.outputs, shell.events);
    assert!(!shown.contains("s3cret") && !shown.contains(&format!("{:?}", b"s3cret")), "{shown}");
    assert!(shown.contains("Authenticate"), "{shown}");
}

/// [HOST-01 HOST-06 HOST-07].
#[test]
fn host_must_equal_the_server_name() {
    let mut shell = Shell::new(Mode::Explicit, strict());
    shell.server_name = Some("a.example".to_owned());
    let mut shell = shell.auth();
    shell.check("HOST b.example", "504");
    shell.check("HOST A.Example", "220");
    shell.check("USER ann", "331");
    shell.check("HOST b.example", "504");
    shell.check("PASS right", "230");
    shell.check("HOST a.example", "503");
}

#[test]
fn host_forgets_user() {
    let mut shell = Shell::new(Mode::Explicit, lax());
    shell.check("USER ann", "331");
    shell.check("HOST a.example", "220");
    shell.check("PASS right", "503");
}

#[test]
fn only_known_hosts() {
    let names = ["a.example", "192.0.2.1"].map(|name| name.parse().unwrap()).to_vec();
    let mut shell = Shell::new(Mode::Explicit, Policy { host_names: names, ..lax() });
    shell.check("HOST c.example", "504");
    shell.check("HOST A.EXAMPLE", "220");
    shell.check("HOST 192.0.2.1", "220");
    shell.check("HOST 192.0.2.9", "504");
    shell.check("USER ann", "331");
}

/// [ABUSE-05]: a word, not a silent drop.
#[test]
fn a_refused_session_is_told() {
    let mut shell = Shell::start(Mode::Explicit, lax(), true);
    shell.input(Input::Connected);
    assert_eq!(shell.take(), "421 closed");
}
