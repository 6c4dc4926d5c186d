//! Command lines and replies: RFC 959 §4.2 and §5.3, RFC 854, RFC 2640 §3.1, RFC 1123 §4.1.2.10.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::fixture::{alice, alice_clear_data, dialogue, expect_one_of, on_both, relaxed, strict};
use crate::support::{Client, End, Listener, Server};

/// [SYN-01] A verb nobody knows is 500 and the session goes on.
#[test]
fn unknown_verbs_are_500() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        dialogue(&mut client, &[("XYZZY", 500), ("XYZZY with words", 500), ("NOOP", 200)]);
    });
}

/// [SYN-02] [PROT-12] [AUTH-06] Verbs and symbolic arguments in any letter case.
#[test]
fn letter_case_is_ignored() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.expect("auth tLs", 234);
    client.start_tls();
    dialogue(
        &mut client,
        &[
            ("pbsz 0", 200),
            ("pRoT p", 200),
            ("uSeR alice", 331),
            ("pass secret", 230),
            ("tYpE i", 200),
            ("mode s", 200),
            ("stru f", 200),
            ("opts utf8 on", 200),
            ("noop", 200),
        ],
    );
}

/// [SYN-03] A bare LF ends no line: it is data, and it is not echoed raw.
#[test]
fn bare_lf_is_data() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        client.send_bytes(b"NOOP\nNOOP\r\n");
        let reply = client.reply();
        assert!((500..=501).contains(&reply.code), "{reply:?}");
        assert!(!reply.lines.concat().contains(&b'\n'), "LF echoed raw: {reply:?}");
        client.expect("SYST", 215);
    });
}

/// [SYN-04] Bytes one at a time, in segments and records of their own, CR and LF apart.
#[test]
fn one_byte_at_a_time() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.send_bytewise(b"USER alice\r\nPASS secret\r\nPWD\r\n");
        client.expect_reply(331);
        client.expect_reply(230);
        client.expect_reply(257);
    });
    let mut plain = Client::plain(&server);
    plain.send_bytewise(b"NOOP\r\n");
    plain.expect_reply(200);
}

/// [SYN-05] Many lines in one segment, each answered, in order.
#[test]
fn many_lines_in_one_segment() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.send_bytes(b"USER alice\r\nPASS secret\r\nTYPE I\r\nPWD\r\nSYST\r\nNOOP\r\nXX\r\n");
        for code in [331, 230, 200, 257, 215, 200, 500] {
            client.expect_reply(code);
        }
    });
}

/// [SYN-06] An empty line closes nothing.
#[test]
fn empty_lines_do_no_harm() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.send_bytes(b"\r\nSYST\r\n");
        let mut reply = client.reply();
        if reply.code == 500 {
            reply = client.reply();
        }
        assert_eq!(reply.code, 215);
    });
}

/// [SYN-07a] [SYN-07b] [SYN-07c] A line past the bound is one 500; its tail is no command; the
/// session goes on.
#[test]
fn over_long_lines_are_one_500() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        for length in [8 * 1024 + 16, 20_000, 100_000] {
            let mut line = b"CWD ".to_vec();
            line.resize(length, b'a');
            line.extend_from_slice(b" NOOP\r\nSYST\r\n");
            client.send_bytes(&line);
            client.expect_reply(500);
            client.expect_reply(215);
        }
    });
}

/// [SYN-07d] The longest path a system allows fits into a line: it is a bad name, not a bad line.
#[test]
fn lines_of_path_max_are_read() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        let path = "/abc".repeat(1000);
        client.expect(format!("CWD {path}"), 550);
    });
}

/// [SYN-07e] A line that never ends costs no memory: 16 MiB of it leave the server small.
#[test]
fn endless_line_is_bounded() {
    let server = Server::builder().start();
    let mut client = Client::implicit(&server);
    let before = resident_kib(server.pid());
    let chunk = vec![b'a'; 64 * 1024];
    for _ in 0..256 {
        client.send_bytes(&chunk);
    }
    client.send_bytes(b"\r\nSYST\r\n");
    client.expect_reply(500);
    client.expect_reply(215);
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "grew by {grown} KiB");
}

/// [SYN-08] [SYN-09] A NUL that does not follow CR is refused and never cuts a name short.
#[test]
fn nul_never_truncates() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "nul");
        client.store("STOR victim", b"x");
        for verb in ["DELE", "CWD", "SIZE", "MKD", "RNFR"] {
            let line = format!("{verb} victim\0.txt");
            expect_one_of(&mut client, &line, &[501, 550, 553]);
        }
        expect_one_of(&mut client, "NO\0OP", &[500, 501]);
        client.expect("SIZE victim", 213);
        expect_one_of(&mut client, "MKD \0", &[501, 550, 553]);
        client.expect("NOOP", 200);
    });
}

/// [SYN-11] [SYN-12] Telnet options are refused, other Telnet commands vanish, inside TLS too.
#[test]
fn telnet_commands_are_answered_or_removed() {
    const DONT: u8 = 254;
    const DO: u8 = 253;
    const WONT: u8 = 252;
    const WILL: u8 = 251;
    let server = relaxed();
    let check = |client: &mut Client| {
        client.send_bytes(&[255, WILL, 1, 255, DO, 3]);
        client.send_bytes(&[255, WONT, 1, 255, DONT, 3]);
        client.send_bytes(b"NO\xff\xf4\xff\xf2OP\xff\xf1\r\n");
        while client.wire.received.len() < 6 {
            client.wire.fill().unwrap();
        }
        let answer: Vec<u8> = client.wire.received.drain(..6).collect();
        assert_eq!(answer, [255, DONT, 1, 255, WONT, 3]);
        client.expect_reply(200);
    };
    on_both(|listener| check(&mut Client::open(&server, listener)));
    check(&mut Client::plain(&server));
}

/// [SYN-13] IAC IAC is the octet 0xFF in an argument, and 0xFF is doubled in replies.
#[test]
fn iac_is_doubled_in_names() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "iac");
        let made = client.expect(b"MKD a\xff\xffb", 257);
        assert!(made.quoted().ends_with(b"/a\xffb"), "{made:?}");
        client.expect(b"CWD a\xff\xffb", 250);
        assert!(client.expect("PWD", 257).quoted().ends_with(b"/a\xffb"));
    });
}

/// [SYN-14] One space ends the verb; every further one belongs to the pathname.
#[test]
fn spaces_belong_to_the_pathname() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "spaces");
        let made = client.expect("MKD  lead and trail  ", 257);
        assert!(made.quoted().ends_with(b"/ lead and trail  "), "{made:?}");
        client.expect("CWD lead and trail", 550);
        client.expect("CWD  lead and trail  ", 250);
    });
}

/// [SYN-15] Further spaces before an argument that is no pathname are skipped.
#[test]
fn spaces_before_other_arguments_are_skipped() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.expect("AUTH  TLS", 234);
    client.start_tls();
    dialogue(&mut client, &[("PBSZ   0", 200), ("PROT  P", 200), ("USER alice", 331)]);
    dialogue(&mut client, &[("PASS secret", 230), ("TYPE  I", 200), ("MODE   S", 200)]);
}

/// [SYN-16] CR in a name travels as CR NUL both ways; LF in a name is a plain LF.
#[test]
fn cr_travels_as_cr_nul() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "cr");
        let made = client.expect(b"MKD a\r\0b", 257);
        assert!(made.quoted().ends_with(b"/a?b"), "CR echoed: {made:?}");
        client.expect(b"CWD a\r\0b", 250);
        assert!(client.expect("PWD", 257).quoted().ends_with(b"/a?b"));
        client.expect("CDUP", 250);
        client.expect(b"MKD c\nd", 257);
        client.expect(b"CWD c\nd", 250);
        let here = client.expect("PWD", 257);
        assert!(here.quoted().ends_with(b"/c?d"), "LF echoed raw: {here:?}");
        client.expect("NOOP", 200);
    });
}

/// [SYN-17] A name with CR LF cannot forge replies or lines of listings.
#[test]
fn names_cannot_inject_lines() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "inject");
        let directory = server.root().join(crate::fixture::own("inject", listener));
        let name = b"x\r\n230 forged\r\n";
        std::fs::create_dir(directory.join(std::ffi::OsStr::from_bytes(name))).unwrap();
        // On the control connection the name arrives as CR NUL LF.
        let cwd = client.cmd(b"CWD x\r\0\n230 forged\r\0\n");
        assert!(matches!(cwd.code, 250 | 501 | 550 | 553), "{cwd:?}");
        client.expect("PWD", 257);
        client.expect("CDUP", 250);
        for verb in ["LIST", "NLST", "MLSD"] {
            for line in client.list(verb) {
                assert!(!line.starts_with(b"230 forged"), "{verb} was split: {line:?}");
                assert!(!line.iter().any(u8::is_ascii_control), "{verb}: {line:?}");
            }
        }
        let stat = client.cmd("STAT .");
        assert!(!stat.lines.iter().any(|line| line.starts_with(b"230")), "{stat:?}");
        client.expect("NOOP", 200);
    });
}

/// [SYN-18] A double quote in a 257 is doubled.
#[test]
fn quotes_are_doubled_in_257() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "quotes");
        let made = client.expect("MKD say \"hi\"", 257);
        assert!(made.line().contains("say \"\"hi\"\"\""), "{made:?}");
        client.expect("CWD say \"hi\"", 250);
        assert!(client.expect("PWD", 257).quoted().ends_with(b"/say \"hi\""));
    });
}

/// [SYN-20] A line without CRLF at the end of the connection is never executed.
#[test]
fn unfinished_line_is_not_executed() {
    let server = strict();
    on_both(|listener| {
        for end in [End::CloseNotify, End::Fin, End::Reset] {
            let mut client = alice(&server, listener, "unfinished");
            let made = server.root().join(crate::fixture::own("unfinished", listener)).join("made");
            client.send_bytes(b"MKD made");
            match end {
                End::CloseNotify => assert_ne!(client.wire.finish(), End::Timeout),
                End::Fin => {
                    client.wire.fin();
                    client.expect_close();
                }
                _ => client.wire.reset(),
            }
            // A later session is served after the former line was dropped.
            Client::open(&server, listener).expect("NOOP", 200);
            assert!(!made.exists(), "executed after {end:?}");
        }
    });
}

/// [SYN-21] A flood of Telnet commands costs neither memory nor replies.
#[test]
fn telnet_flood_is_free() {
    let server = Server::builder().start();
    let mut client = Client::implicit(&server);
    let before = resident_kib(server.pid());
    let flood = [255u8, 241].repeat(32 * 1024);
    for _ in 0..64 {
        client.send_bytes(&flood);
    }
    client.expect("NOOP", 200);
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "grew by {grown} KiB");
}

/// [FMT-01] Every reply of a long session has the form of RFC 959 §4.2: the client of these tests
/// refuses any other, multi-line replies included.
#[test]
fn replies_are_well_formed() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "form");
        client.expect("MKD 211 looks like a reply", 257);
        client.expect("MKD 213-so does this", 257);
        for command in ["FEAT", "HELP", "STAT", "STAT .", "MLST .", "HELP SITE", "SITE HELP"] {
            let reply = client.cmd(command);
            assert!((200..400).contains(&reply.code), "{command} → {reply:?}");
            client.expect("NOOP", 200);
        }
    });
}

/// [FMT-03] Codes have the meaning of the tables: kinds of failure are told apart.
#[test]
fn codes_follow_the_tables() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "codes");
        dialogue(
            &mut client,
            &[
                ("NOOP", 200),
                ("CWD", 501),
                ("CWD absent", 550),
                ("TYPE X", 501),
                ("TYPE E", 504),
                ("RNTO x", 503),
                ("SMNT x", 502),
                ("NOSUCH", 500),
            ],
        );
    });
}

/// [ABUSE-01] Every command gets its reply, in order, however many are pipelined; nothing is
/// stranded inside the TLS engine.
#[test]
fn pipelined_commands_are_all_answered() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        let count = 2000;
        let lines = b"NOOP\r\nSYST\r\n".repeat(count);
        let sent = client.wire.seal(&lines);
        let mut writer = client.wire.tcp().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            use std::io::Write;
            writer.write_all(&sent)
        });
        for _ in 0..count {
            client.expect_reply(200);
            client.expect_reply(215);
        }
        sending.join().unwrap().unwrap();
        client.quit();
    });
}

/// [EXP-01] The explicit port greets with 220, in clear, once.
#[test]
fn explicit_port_greets_in_clear() {
    let server = strict();
    let mut client = Client::raw(&server, Listener::Explicit);
    client.expect_reply(220);
    client.wire.expect_silence(Duration::from_millis(50));
}

/// Resident memory of a process, KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
