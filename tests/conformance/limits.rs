//! Hostile input and limits: what a client may cost, and that nobody else pays for it.

use std::io::Write;
use std::time::Duration;

use crate::command_lines::resident_kib;
use crate::fixture::{alice, dialogue, expect_one_of, loopback, on_both, own, relaxed, strict};
use crate::support::wait::pause;
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

/// [ABUSE-02] Ten thousand pipelined commands from a client that does not read: the server stops
/// reading instead of growing, answers in order once it reads, and serves others meanwhile.
#[test]
fn pipelining_without_reading_is_pushed_back() {
    let server = Server::builder().start();
    let mut client = Client::implicit(&server).login();
    let before = resident_kib(server.pid());
    let count = 10_000;
    let records = client.wire.seal(&b"FEAT\r\n".repeat(count));
    let mut writer = client.wire.tcp().try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&records));
    Client::implicit(&server).login().quit();
    pause(Duration::from_millis(200));
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 16 * 1024, "grew by {grown} KiB");
    for _ in 0..count {
        client.expect_reply(211);
    }
    sending.join().unwrap().unwrap();
    client.expect("NOOP", 200);
}

/// [ABUSE-04] Octets of every kind in a line: a reply, and the session lives.
#[test]
fn binary_garbage_is_answered() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        for seed in 0..50_u32 {
            let mut state = seed.wrapping_mul(2_654_435_761) | 1;
            let mut line: Vec<u8> = (0..200)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    state.to_le_bytes()[0]
                })
                // CR and LF would make several lines, IAC would begin Telnet commands.
                .filter(|byte| ![b'\r', b'\n', 255].contains(byte))
                .collect();
            line[0] = b'X';
            let reply = client.cmd(&line);
            assert!([500, 501, 502].contains(&reply.code), "{reply:?}");
        }
        client.expect("NOOP", 200);
    });
}

/// [ABUSE-05] Too many sessions, in all or from one address: accepted, told 421, closed.
#[test]
fn too_many_sessions_are_told_421() {
    let config = "[limits]\nsessions_per_ip = 2\n[shards]\ncpus = \"0\"";
    let server = Server::builder().toml(config).start();
    let _first = Client::plain(&server);
    let mut second = Client::explicit(&server);
    let mut third = Client::raw(&server, Listener::Explicit);
    third.expect_reply(421);
    third.expect_close();
    // Another address still gets in, and a place that was given back is given out again.
    let wire = Wire::connect_from(loopback(7), server.address(Listener::Explicit));
    Client::from_wire(&server, Listener::Explicit, wire).expect_reply(220);
    second.expect("QUIT", 221);
    second.expect_close();
    wait_until("the place is free again", || {
        Client::raw(&server, Listener::Explicit).reply().code == 220
    });
}

/// [ABUSE-05] The limit of the whole process; on implicit the refused one is closed without a
/// byte in clear.
#[test]
fn the_process_has_a_limit() {
    let config = "[limits]\nsessions = 2\n[shards]\ncpus = \"0\"";
    let server = Server::builder().toml(config).start();
    let (_first, _second) = (Client::implicit(&server), Client::implicit(&server));
    let mut third = Client::raw(&server, Listener::Explicit);
    third.expect_reply(421);
    third.expect_close();
    let mut fourth = Client::raw(&server, Listener::Implicit);
    let tls = fourth.tls.clone();
    match fourth.wire.handshake(&tls) {
        Ok(()) => {
            fourth.expect_reply(421);
        }
        Err(end) => assert_ne!(end, End::Timeout),
    }
}

/// [ABUSE-05] Sessions of one user can be limited, too.
#[test]
fn sessions_of_a_user_are_limited() {
    let config = "[limits]\nsessions_per_user = 1\n[shards]\ncpus = \"0\"";
    let server = Server::builder().toml(config).start();
    let _first = Client::implicit(&server).login();
    let mut second = Client::implicit(&server);
    second.expect("USER alice", 331);
    expect_one_of(&mut second, "PASS secret", &[421, 530]);
    Client::implicit(&server).login_as("bob").quit();
}

/// [ABUSE-06] [BG-05] A client that drips its log-in byte by byte is cut off at the deadline.
#[test]
fn slow_loris_is_cut_off() {
    let server = Server::builder().toml("[limits]\nlogin_timeout = \"1s\"").start();
    let mut client = Client::plain(&server);
    let mut cut = false;
    for byte in b"USER a-name-that-takes-for-ever-to-send".iter().cycle().take(200) {
        if client.wire.send(&[*byte]).is_err() {
            cut = true;
            break;
        }
        pause(Duration::from_millis(10));
    }
    assert!(cut, "still open after twice the deadline");
    Client::implicit(&server).login().quit();
}

/// [ABUSE-08] A hundred half-open handshakes hold nobody up.
#[test]
fn half_open_handshakes_block_nobody() {
    let server = strict();
    let hello = Wire::client_hello(&server.tls());
    let mut held = Vec::new();
    for n in 0..100 {
        let mut wire = Wire::connect(server.address(Listener::Implicit));
        wire.send_raw(&hello[..n % hello.len()]).unwrap();
        held.push(wire);
    }
    Client::implicit(&server).login().quit();
    Client::explicit(&server).login().quit();
}

/// [ABUSE-09] Three hundred PASVs leave one listener open.
#[test]
fn many_pasvs_leave_one_listener() {
    let server = Server::builder().start();
    let mut client = Client::implicit(&server).login();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    client.epsv();
    let before = descriptors();
    for _ in 0..150 {
        client.epsv();
        client.pasv();
    }
    wait_until("the former listeners are closed", || descriptors() <= before + 2);
    client.retrieve("LIST");
}

/// [ABUSE-10] Numbers are checked for their range, never wrapped.
#[test]
fn numbers_are_range_checked() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "abuse10");
        client.store("STOR file", b"0123456789");
        let huge = "340282366920938463463374607431768211456";
        dialogue(
            &mut client,
            &[
                (&format!("PBSZ {huge}"), 501),
                (&format!("ALLO {huge}"), 501),
                (&format!("EPRT |1|127.0.0.1|{huge}|"), 501),
                ("EPRT |1|127.0.0.1|65537|", 501),
                (&format!("MFMT {huge} file"), 501),
                ("PORT 127,0,0,1,257,1", 501),
                ("PORT 383,0,0,1,100,1", 501),
            ],
        );
        expect_one_of(&mut client, &format!("TYPE L {huge}"), &[501, 504]);
        expect_one_of(&mut client, &format!("EPSV {huge}"), &[501, 522]);
        expect_one_of(&mut client, &format!("EPRT |{huge}|127.0.0.1|2000|"), &[501, 522]);
        if expect_one_of(&mut client, &format!("REST {huge}"), &[350, 501]) == 350 {
            client.refused("RETR file", 554);
        }
        assert_eq!(client.retrieve("RETR file"), b"0123456789");
    });
}

/// [ABUSE-11] A browser's request is 500 and the connection closes: its body is never executed.
#[test]
fn http_requests_are_cut_off() {
    let server = relaxed();
    let requests = [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\nUSER alice\r\nPASS secret\r\nMKD abuse11\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER alice\r\nPASS secret\r\nMKD abuse11\r\n",
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"PUT / HTTP/1.1\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\n\r\n",
        b"CONNECT x:21 HTTP/1.1\r\n\r\n",
        b"Host: example.test\r\n\r\n",
    ];
    let check = |mut client: Client, request: &[u8]| {
        client.send_bytes(request);
        client.expect_reply(500);
        match client.try_reply() {
            Ok(reply) => panic!("went on after {}: {reply:?}", request.escape_ascii()),
            Err(end) => assert_ne!(end, End::Timeout, "{}", request.escape_ascii()),
        }
    };
    for request in requests {
        check(Client::plain(&server), request);
        check(Client::implicit(&server), request);
    }
    assert!(!server.root().join("abuse11").exists());
}

/// [ABUSE-12] Names that would blow up as patterns cost nothing.
#[test]
fn glob_bombs_are_just_names() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "abuse12");
        let bomb = "*/../".repeat(700) + "*";
        for verb in ["LIST", "NLST"] {
            let _data = client.passive();
            let reply = client.cmd(format!("{verb} {bomb}"));
            assert!([501, 550].contains(&reply.code), "{reply:?}");
        }
        client.expect(format!("SIZE {bomb}"), 550);
        let recursive = client.list("LIST -R");
        assert!(recursive.len() < 10, "{}", recursive.len());
    });
}

/// [ABUSE-13] A ClientHello on the explicit port is garbage in lines: 500 or close, never a loop.
#[test]
fn client_hello_on_the_explicit_port() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.wire.send_raw(&Wire::client_hello(&server.tls())).unwrap();
    client.wire.fin();
    let mut replies = 0;
    loop {
        match client.try_reply() {
            Ok(reply) => {
                assert_eq!(reply.code, 500, "{reply:?}");
                replies += 1;
                assert!(replies < 20, "a loop");
            }
            Err(end) => {
                assert_ne!(end, End::Timeout);
                break;
            }
        }
    }
}

/// [ABUSE-14] Format characters are only characters.
#[test]
fn format_characters_are_harmless() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "abuse14");
        for name in ["%s%s%s%n", "{}{0}{:?}", "%p%x", "${jndi:x}"] {
            let place = own("abuse14", listener);
            let made = client.expect(format!("MKD {name}"), 257);
            assert_eq!(made.quoted(), format!("/{place}/{name}").as_bytes());
            client.expect(format!("XY%n {name}"), 500);
        }
    });
    let mut client = Client::implicit(&server);
    client.expect("USER %s%n{}", 331);
    client.expect("PASS %s%n{}", 530);
}

/// [ABUSE-04] A log line cannot be forged through a name, and never holds a password.
#[test]
fn logs_hold_no_secrets_and_no_forged_lines() {
    let server = Server::builder().toml("[log]\nlevel = \"debug\"").start();
    let mut client = Client::implicit(&server);
    client.expect(b"USER eve\r\0\nFORGED line", 331);
    client.expect("PASS hunter2-and-more", 530);
    let mut client = Client::implicit(&server).login().within(&server, "logs");
    client.store(b"STOR a\r\0\nFORGED name", b"x");
    client.quit();
    let log = server.log();
    assert!(!log.contains("hunter2") && !log.contains("PASS"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("FORGED")), "{log}");
}
