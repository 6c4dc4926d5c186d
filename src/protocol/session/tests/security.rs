//! AUTH, PROT, CCC and REIN: what crosses from one protection state into the next, and what must
//! not (RFC 4217, RFC 2228, MS-FTPS).

use super::super::{AfterTls, ProtectionLevel, Rendezvous, Security};
use super::*;
use crate::limits::PIPELINE_BYTES_MAX;

#[track_caller]
fn check_behind_auth(behind: &[u8]) {
    for verb in ["AUTH TLS", "auth ssl"] {
        let mut shell = Shell::new(Mode::Explicit, lax());
        shell.feed(&[verb.as_bytes(), b"\r\n", behind].concat());
        assert_eq!(shell.take(), "503 closed", "behind AUTH: {}", behind.escape_ascii());
        assert_eq!(shell.outputs, [Output::Close]);
        assert_eq!(shell.events, [Event::PlaintextBehindAuth]);
    }
}

/// [AUTH-13 AUTH-14 AUTH-15 AUTH-16]: whole line, part of one, half a CR LF, half a Telnet command,
/// pipelined ClientHello.
#[test]
fn plaintext_behind_auth_closes() {
    check_behind_auth(b"NOOP\r\n");
    check_behind_auth(b"USER ann\r\nPASS right\r\n");
    check_behind_auth(b"N");
    check_behind_auth(b"\r");
    check_behind_auth(b"\r\n");
    check_behind_auth(b"\xff");
    check_behind_auth(b"\xff\xfb");
    check_behind_auth(b"\xff\xfa\x01");
    check_behind_auth(b"\x16\x03\x01\x02\x00\x01\x00");
}

/// Octets the line reader had no room for stand behind AUTH as well.
#[test]
fn plaintext_behind_auth_closes_although_it_was_not_taken() {
    let mut seen = false;
    for count in PIPELINE_BYTES_MAX / 40..PIPELINE_BYTES_MAX / 32 {
        let mut shell = logged_in_clear();
        shell.hold = Hold::File;
        shell.check("MKD new", "");
        // Not one like the other, which would only be counted.
        let many = [&b"NOOP\r\n"[..], b"noop\r\n"].into_iter().cycle().take(count);
        let before = [&many.collect::<Vec<_>>().concat()[..], b"AUTH TLS\r\n"].concat();
        let bytes = [&before, &b"QUIT\r\n"[..]].concat();
        if shell.session.feed(shell.now, &bytes) != before.len() {
            continue;
        }
        seen = true;
        shell.input(Input::File(Ok(FileReply::Done)));
        let expected = format!("257{} 503 closed", " 200".repeat(count));
        assert_eq!(shell.take(), expected);
    }
    assert!(seen, "no length left exactly the last line unfed");
}

#[test]
fn plaintext_before_auth_is_harmless() {
    let mut shell = Shell::new(Mode::Explicit, strict());
    shell.feed(b"NOOP\r\nAUTH TLS\r\n");
    assert_eq!(shell.take(), "200 234");
    assert_eq!(shell.take_outputs(), [Output::StartTls { host: None }]);
}

/// Nothing fed while TLS comes or goes is executed, now or later [AUTH-17 REIN-11].
#[test]
fn nothing_is_taken_between_two_states() {
    for (hold, command) in [(Hold::Handshake, "AUTH TLS"), (Hold::Shutdown, "REIN")] {
        let mut shell = Shell::new(Mode::Explicit, lax());
        if hold == Hold::Shutdown {
            shell = shell.auth();
        }
        shell.hold = hold;
        shell.send(command);
        assert!(!shell.session.wants_bytes());
        assert_eq!(shell.session.feed(shell.now, b"QUIT\r\n"), 0);
        shell.hold = Hold::Nothing;
        let next = if hold == Hold::Shutdown { Input::TlsEnded } else { shell.established() };
        shell.input(next);
        assert_eq!(shell.take(), "");
        shell.check("NOOP", "200");
    }
}

/// AUTH is almost REIN (RFC 4217 §4.2) [AUTH-11 AUTH-12]; HOST of before chooses the certificate.
#[test]
fn auth_forgets_everything_but_host() {
    let mut shell = Shell::new(Mode::Explicit, lax());
    shell.check("HOST a.example", "220");
    let mut shell = spoil(shell.log_in());
    shell.check("AUTH TLS", "234");
    let outputs = shell.take_outputs();
    let start = Output::StartTls { host: Some("a.example".to_owned()) };
    assert_eq!(outputs, [Output::ClosePassive, start]);
    assert!(shell.session.account().is_none());
    shell.check("PASS right", "503");
    shell.check("PWD", "530");
    let shell = shell.log_in();
    check_defaults(shell);
}

/// Who names one host before AUTH and another in the handshake is told, and gets no further
/// (RFC 7151 §3.2.2) [HOST-06].
#[test]
fn host_before_auth_must_equal_the_server_name() {
    let open = |host: &str, sni: Option<&str>| {
        let mut shell = Shell::new(Mode::Explicit, strict());
        shell.server_name = sni.map(str::to_owned);
        shell.check(format!("HOST {host}"), "220");
        shell.send("AUTH TLS")
    };
    for (host, sni) in
        [("a.example", None), ("A.example", Some("a.EXAMPLE")), ("a.example", Some("a.example"))]
    {
        assert_eq!(open(host, sni), "234", "{host} {sni:?}");
    }
    for (host, sni) in
        [("a.example", "b.example"), ("a.example", "example"), ("192.0.2.1", "a.example")]
    {
        assert_eq!(open(host, Some(sni)), "234 421 closed", "{host} {sni:?}");
    }
}

/// REIN is the state just after accept [REIN-02 REIN-08].
#[test]
fn rein_forgets_everything() {
    let mut shell = Shell::new(Mode::Explicit, lax());
    shell.check("HOST a.example", "220");
    let mut shell = spoil(shell.log_in());
    shell.check("REIN", "220");
    assert_eq!(shell.take_outputs(), [Output::ClosePassive]);
    shell.check("PASS right", "503");
    shell.check("AUTH TLS", "234");
    assert_eq!(shell.take_outputs(), [Output::StartTls { host: None }]);
    check_defaults(shell.log_in());
}

/// Sets everything a client can set.
fn spoil(mut shell: Shell) -> Shell {
    for command in ["TYPE I", "OPTS MLST size;", "OPTS HASH MD5", "CWD dir", "REST 3", "ALLO 9"] {
        assert!(shell.send(command).starts_with(['2', '3']), "{command}");
    }
    shell.check("EPSV ALL", "200");
    shell.check("EPSV", "229");
    shell.check("RNFR file", "350");
    shell.take_outputs();
    shell
}

#[track_caller]
fn check_defaults(mut shell: Shell) {
    shell.check("RNTO b", "503");
    shell.check_text("PWD", b"257 \"/\" is the current directory.\r\n");
    shell.check("RETR file", "425");
    shell.check("PASV", "227");
    let request = TransferRequest::Retrieve { path: path(b"file"), offset: 0, ascii: true };
    shell.check_transfer("RETR file", request);
    shell.feed(b"FEAT\r\n");
    let text = String::from_utf8(shell.take_text()).unwrap();
    assert!(text.contains("SHA-256*;"), "{text}");
    assert!(text.contains("MLST type*;size*;modify*;perm*;unique*;"), "{text}");
}

/// [REIN-03]: 220 inside TLS, then close_notify; pipelined commands are dropped [REIN-11].
#[test]
fn rein_and_ccc_drop_what_follows() {
    for (command, code) in [("REIN", "220"), ("CCC", "200")] {
        let mut shell = logged_in();
        shell.hold = Hold::Shutdown;
        shell.feed(format!("{command}\r\nDELE file\r\nNO").as_bytes());
        assert_eq!(shell.take(), code);
        assert_eq!(shell.take_outputs(), [Output::ShutdownTls(AfterTls::Clear)]);
        shell.hold = Hold::Nothing;
        shell.input(Input::TlsEnded);
        assert_eq!(shell.take(), "");
        shell.check("NOOP", "200");
        assert!(shell.take_outputs().is_empty());
    }
}

/// [REIN-05 REIN-07]: silence until the new handshake, then the greeting again.
#[test]
fn rein_on_implicit_starts_over() {
    let mut shell = Shell::new(Mode::Implicit, strict()).log_in();
    shell.hold = Hold::Shutdown;
    shell.check("REIN", "220");
    assert_eq!(shell.take_outputs(), [Output::ShutdownTls(AfterTls::Implicit)]);
    shell.hold = Hold::Handshake;
    shell.input(Input::TlsEnded);
    assert_eq!(shell.take(), "");
    assert_eq!(shell.take_outputs(), [Output::StartTls { host: None }]);
    let established = shell.established();
    shell.input(established);
    assert_eq!(shell.take(), "220");
    assert_eq!(shell.session.security().level(), ProtectionLevel::Private);
}

/// [IMP-01 IMP-15]: not an octet in clear on implicit.
#[test]
fn implicit_says_nothing_before_tls() {
    for refused in [false, true] {
        let mut shell = Shell::start(Mode::Implicit, strict(), refused);
        shell.hold = Hold::Handshake;
        shell.input(Input::Connected);
        assert_eq!(shell.take(), "");
        assert_eq!(shell.take_outputs(), [Output::StartTls { host: None }]);
        let established = shell.established();
        shell.input(established);
        assert_eq!(shell.take(), if refused { "421 closed" } else { "220" });
    }
}

#[test]
fn ccc_needs_policy_login_and_explicit() {
    let refusing = Policy { allow_ccc: false, ..strict() };
    let mut shell = Shell::new(Mode::Explicit, refusing).auth().log_in();
    shell.check("CCC", "534");
    shell.feed(b"FEAT\r\n");
    assert!(!shell.take_text().windows(6).any(|window| window == b" CCC\r\n"));
    let mut shell = Shell::new(Mode::Implicit, strict()).log_in();
    shell.check("CCC", "534");
    shell.feed(b"FEAT\r\n");
    assert!(!shell.take_text().windows(6).any(|window| window == b" CCC\r\n"));
    let mut shell = logged_in();
    shell.feed(b"FEAT\r\n");
    assert!(shell.take_text().windows(6).any(|window| window == b" CCC\r\n"));
}

#[track_caller]
fn check_level(shell: &mut Shell, command: &str, expected: ProtectionLevel) {
    shell.take_outputs();
    shell.check(command, "150 226");
    let run = Output::RunTransfer { rendezvous: Rendezvous::Passive, level: expected };
    assert_eq!(shell.take_outputs()[1], run);
}

/// The level that counts is the one at the transfer command [PROT-13 PROT-14 PROT-19 CCC-06].
#[test]
fn the_level_of_the_transfer_command_counts() {
    let mut shell = Shell::new(Mode::Explicit, lax()).auth().log_in();
    shell.check("EPSV", "229");
    check_level(&mut shell, "RETR file", ProtectionLevel::Clear);
    shell.check("EPSV", "229");
    shell.check("PBSZ 0", "200");
    shell.check("PROT P", "200");
    check_level(&mut shell, "RETR file", ProtectionLevel::Private);
    shell.check("EPSV", "229");
    shell.check("PROT S", "536");
    shell.check("PBSZ 0", "200");
    check_level(&mut shell, "MLSD", ProtectionLevel::Private);
    shell.check("CCC", "200");
    shell.check("EPSV", "229");
    check_level(&mut shell, "STOR file", ProtectionLevel::Private);
    shell.check("REIN", "220");
    assert_eq!(shell.session.security(), Security::new());
}

/// [PROT-16]: refused before any 1xx, and storage is not asked.
#[test]
fn a_level_below_policy_is_refused() {
    let mut shell = Shell::new(Mode::Explicit, strict()).auth().log_in();
    for command in ["RETR file", "STOR file", "APPE file", "STOU", "LIST", "NLST", "MLSD"] {
        shell.check("EPSV", "229");
        shell.take_outputs();
        shell.check(command, "522");
        assert!(shell.take_outputs().is_empty());
    }
}

/// MS-FTPS 2.2.1: SSL means no more than TLS [AUTH-03 AUTH-04], unless the operator says so.
#[test]
fn auth_ssl_implies_prot_p_only_by_policy() {
    let protected = |implied| {
        let mut security = Security::new();
        security.on_start().unwrap();
        security.on_established(implied);
        security
    };
    for (policy, implied) in [
        (strict(), None),
        (Policy { auth_ssl_implies_prot_p: true, ..strict() }, Some(ProtectionLevel::Private)),
    ] {
        let mut shell = Shell::new(Mode::Explicit, policy.clone());
        shell.check("AUTH SSL", "234");
        assert_eq!(shell.session.security(), protected(implied));
        let shell = Shell::new(Mode::Explicit, policy).auth();
        assert_eq!(shell.session.security(), protected(None));
    }
}

/// [ABUSE-11 ABUSE-13]: one answer, then nothing of what follows is looked at.
#[test]
fn other_protocols_are_turned_away() {
    for bytes in [
        &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03QUIT\r\n"[..],
        b"GET / HTTP/1.1\r\nUSER ann\r\n",
        b"POST /upload HTTP/1.1\r\nQUIT\r\n",
        b"Host: a.example\r\nQUIT\r\n",
    ] {
        let mut shell = Shell::new(Mode::Explicit, lax());
        shell.feed(bytes);
        assert_eq!(shell.take(), "500 closed", "{}", bytes.escape_ascii());
        assert_eq!(shell.events, [Event::ForeignProtocol]);
    }
}
