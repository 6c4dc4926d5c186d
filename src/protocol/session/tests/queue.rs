//! What waits, in which order it is answered, and what bounds it (RFC 959 §4.2).

use super::*;
use crate::limits::{COMMAND_LINE_BYTES_MAX, REPLY_BACKLOG_BYTES_MAX};

/// [XFER-21 ABUSE-01]: whatever is waited for, later commands wait and keep their order.
#[test]
fn commands_wait_in_order() {
    let done = |shell: &mut Shell, hold| {
        let input = match hold {
            Hold::File => Input::File(Ok(FileReply::Done)),
            Hold::Passive => passive(),
            Hold::Opening => Input::TransferOpened(Ok(Opened::default())),
            Hold::Running => shell.finished(Ok(())),
            _ => panic!("{hold:?}"),
        };
        shell.hold = Hold::Nothing;
        shell.input(input);
    };
    for (hold, command, before, after) in [
        (Hold::File, "MKD new", "", "257"),
        (Hold::Passive, "EPSV", "", "229"),
        (Hold::Opening, "RETR file", "", "150 226"),
        (Hold::Running, "RETR file", "150", "226"),
    ] {
        let mut shell = logged_in();
        shell.check("EPSV", "229");
        shell.hold = hold;
        shell.feed(format!("{command}\r\nNOOP\r\nSYST\r\nTYPE I\r\nXYZZY\r\nNO").as_bytes());
        assert_eq!(shell.take(), before, "{hold:?}");
        done(&mut shell, hold);
        assert_eq!(shell.take(), format!("{after} 200 215 200 500"), "{hold:?}");
        shell.check("OP", "200");
    }
}

/// A transfer goes on; what comes behind it, or first of all, gets 421 and nothing more is heard.
#[test]
fn the_command_after_a_revocation_is_the_last() {
    let mut shell = logged_in().running();
    shell.feed(b"NOOP\r\nSYST\r\n");
    shell.input(Input::Revoked);
    assert_eq!(shell.take(), "");
    shell.finish(Ok(()));
    assert_eq!(shell.take(), "226 421 closed");
    for command in ["NOOP", "QUIT", "USER bob", "REIN", "XYZZY"] {
        let mut shell = logged_in();
        shell.input(Input::Revoked);
        assert_eq!(shell.take(), "");
        shell.feed(format!("{command}\r\nNOOP\r\n").as_bytes());
        assert_eq!(shell.take(), "421 closed", "{command}");
    }
}

/// Between two commands at once; what is in progress is given up, or answered, and nothing that
/// waits behind it is heard.
#[test]
fn a_kick_ends_what_can_be_ended() {
    let mut shell = logged_in();
    shell.input(Input::Kicked);
    assert_eq!(shell.take(), "421 closed");
    let mut shell = logged_in().running();
    shell.feed(b"NOOP\r\nSYST\r\n");
    shell.input(Input::Kicked);
    assert_eq!(shell.take(), "426 421 closed");
    for (hold, command, given_up, after) in [
        (Hold::File, "HASH file", Some(Output::GiveUpFile), "450 421 closed"),
        (Hold::File, "MKD new", None, "450 421 closed"),
        (Hold::Opening, "RETR file", Some(Output::AbortTransfer), "426 421 closed"),
    ] {
        let mut shell = logged_in();
        shell.check("EPSV", "229");
        shell.hold = hold;
        shell.feed(format!("{command}\r\nNOOP\r\n").as_bytes());
        shell.take_outputs();
        shell.input(Input::Kicked);
        assert_eq!(shell.take_outputs(), given_up.into_iter().collect::<Vec<_>>(), "{command}");
        shell.hold = Hold::Nothing;
        shell.input(match hold {
            Hold::Opening => Input::TransferOpened(Err(FileError::Aborted)),
            _ => Input::File(Err(FileError::Busy)),
        });
        assert_eq!(shell.take(), after, "{command}");
    }
}

/// What does not end in time is not waited for, and the client learns why all the same.
#[test]
fn a_second_kick_waits_for_nothing() {
    for (hold, command) in
        [(Hold::File, "MKD new"), (Hold::File, "HASH file"), (Hold::Opening, "RETR file")]
    {
        let mut shell = logged_in();
        shell.check("EPSV", "229");
        shell.hold = hold;
        shell.feed(format!("{command}\r\nNOOP\r\n").as_bytes());
        shell.input(Input::Kicked);
        shell.take_outputs();
        shell.input(Input::Kicked);
        assert_eq!(shell.take(), "421 closed", "{command}");
    }
}

/// [XFER-22]: STAT with nothing before it is answered at once and has the octets so far.
#[test]
fn stat_during_a_transfer() {
    let mut shell = logged_in().running();
    shell.feed(b"STAT\r\n");
    let text = String::from_utf8(shell.take_text()).unwrap();
    assert!(text.contains("4711 bytes so far"), "{text}");
    shell.feed(b"NOOP\r\nSTAT\r\n");
    assert_eq!(shell.take(), "");
    shell.finish(Ok(()));
    assert_eq!(shell.take(), "226 200 211");
}

/// A progress report that comes when the transfer is over answers nothing twice.
#[test]
fn a_late_progress_report_is_nothing() {
    let mut shell = logged_in().running();
    shell.input(Input::Progress(1));
    assert_eq!(shell.take(), "");
    shell.feed(b"STAT\r\n");
    assert_eq!(shell.take(), "211");
    shell.input(Input::Progress(2));
    assert_eq!(shell.take(), "");
    shell.finish(Ok(()));
    shell.input(Input::Progress(3));
    assert_eq!(shell.take(), "226");
}

/// A client that does not read its replies is not read from [ABUSE-04].
#[test]
fn replies_nobody_reads_hold_commands_back() {
    let mut shell = logged_in();
    shell.flushes = false;
    let mut rest = &b"FEAT\r\nSTAT\r\n".repeat(1_000)[..];
    while shell.session.wants_bytes() && !rest.is_empty() {
        let taken = shell.session.feed(shell.now, rest);
        shell.perform();
        rest = &rest[taken..];
    }
    assert!(!rest.is_empty() && !shell.session.wants_bytes());
    assert!(shell.sent.len() < REPLY_BACKLOG_BYTES_MAX + 4_096, "{} octets", shell.sent.len());
    shell.flushes = true;
    shell.input(Input::Flushed);
    shell.feed(rest);
    assert_eq!(shell.take(), ["211"; 2_000].join(" "));
}

#[test]
fn status_nobody_reads_is_bounded_too() {
    let mut shell = logged_in().running();
    shell.flushes = false;
    let mut rest = &b"STAT\r\nstat\r\n".repeat(1_000)[..];
    while shell.session.wants_bytes() && !rest.is_empty() {
        let taken = shell.session.feed(shell.now, rest);
        shell.perform();
        rest = &rest[taken..];
    }
    assert!(shell.sent.len() < REPLY_BACKLOG_BYTES_MAX + 4_096, "{} octets", shell.sent.len());
    shell.flushes = true;
    shell.input(Input::Flushed);
    shell.feed(rest);
    shell.finish(Ok(()));
    assert_eq!(shell.take(), format!("{} 226", ["211"; 2_000].join(" ")));
}

/// [LOGIN-16 REIN-10]: the transfer ends first, under the old rights.
#[test]
fn quit_and_rein_wait_for_the_transfer() {
    let mut shell = logged_in().running();
    shell.feed(b"QUIT\r\nNOOP\r\n");
    assert_eq!((shell.take(), shell.closed), (String::new(), false));
    shell.finish(Ok(()));
    assert_eq!(shell.take(), "226 221 closed");

    let mut shell = logged_in().running();
    shell.feed(b"REIN\r\nDELE file\r\n");
    assert_eq!(shell.take(), "");
    assert!(shell.session.account().is_some());
    shell.finish(Ok(()));
    assert_eq!(shell.take(), "226 220");
    assert!(shell.session.account().is_none());
}

/// A transfer in hand goes on, nothing new starts.
#[test]
fn draining() {
    let mut idle = logged_in();
    idle.input(Input::Drain);
    assert_eq!(idle.take(), "421 closed");

    let mut transferring = logged_in().running();
    transferring.feed(b"DELE file\r\n");
    transferring.input(Input::Drain);
    assert_eq!((transferring.take(), transferring.closed), (String::new(), false));
    transferring.finish(Ok(()));
    assert_eq!(transferring.take(), "226 421 closed");
    assert_eq!(transferring.take_outputs(), [Output::Close]);

    let mut asking = logged_in();
    asking.hold = Hold::File;
    asking.check("MKD new", "");
    asking.input(Input::Drain);
    assert_eq!(asking.take(), "");
    asking.input(Input::File(Ok(FileReply::Done)));
    assert_eq!(asking.take(), "257 421 closed");

    let mut shaking = Shell::accepted(Mode::Implicit, strict());
    shaking.hold = Hold::Handshake;
    shaking.input(Input::Connected);
    shaking.input(Input::Drain);
    assert_eq!(shaking.take(), "closed");
}

/// Keep-alives of a long transfer never fill the queue: ABOR behind them acts, and each is answered
/// in its order [XFER-17 XFER-21].
#[test]
fn keep_alives_behind_a_transfer() {
    const TIMES: usize = 20_000;
    let mut shell = logged_in().running();
    shell.flushes = true;
    for _ in 0..TIMES {
        shell.feed(b"NOOP\r\n");
        assert!(shell.session.wants_bytes());
    }
    assert_eq!(shell.take(), "");
    shell.feed(b"ABOR\r\nSYST\r\n");
    assert_eq!(shell.take(), format!("426 {} 226 215", ["200"; TIMES].join(" ")));
}

/// ABOR does not wait until storage has copied what lies before a restart marker.
#[test]
fn abor_while_storage_is_opening() {
    let mut shell = logged_in();
    shell.check("EPSV", "229");
    shell.hold = Hold::Opening;
    shell.feed(b"RETR file\r\nNOOP\r\n");
    shell.take_outputs();
    shell.feed(b"ABOR\r\nNOOP\r\n");
    assert_eq!(shell.take_outputs(), [Output::AbortTransfer]);
    shell.hold = Hold::Nothing;
    shell.input(Input::TransferOpened(Ok(Opened::default())));
    assert_eq!(shell.take(), "150 426 200 226 200");

    // It could not be opened: nothing is left to abort.
    let mut shell = logged_in();
    shell.check("EPSV", "229");
    shell.hold = Hold::Opening;
    shell.feed(b"RETR file\r\nABOR\r\n");
    shell.input(Input::TransferOpened(Err(FileError::NotFound)));
    assert_eq!(shell.take(), "550 226");
}

/// FIN or close_notify: what is queued is executed, then the session closes. A transfer goes on
/// only if a QUIT waits for it [XFER-28 SYN-20].
#[test]
fn the_client_sends_nothing_more() {
    let done = |shell: &mut Shell, hold| {
        shell.hold = Hold::Nothing;
        let input = match hold {
            Hold::File => Input::File(Ok(FileReply::Done)),
            Hold::Passive => passive(),
            Hold::Opening => Input::TransferOpened(Ok(Opened::default())),
            Hold::Authentication => Input::Authenticated(Ok(account("ann"))),
            Hold::Running if !shell.running => return,
            _ => shell.finished(Ok(())),
        };
        shell.input(input);
    };
    for (hold, queued, before, after) in [
        (Hold::Nothing, "", "closed", "closed"),
        (Hold::Nothing, "NOOP\r\nSYST\r\nNO", "200 215 closed", "closed"),
        (Hold::File, "MKD new\r\nMKD new\r\nQUIT\r\n", "", "257 257 221 closed"),
        (Hold::File, "MKD new\r\nMKD new\r\nDELE ol", "", "257 257 closed"),
        (Hold::File, "MKD new\r\nHASH file\r\nQUIT\r\n", "", "257 213 221 closed"),
        (Hold::Passive, "EPSV\r\nNOOP\r\n", "", "229 200 closed"),
        (Hold::Opening, "STOR b\r\nNOOP\r\nQUIT\r\n", "", "150 226 200 221 closed"),
        (Hold::Opening, "STOR b\r\nNOOP\r\n", "", "150 426 200 closed"),
        (Hold::Running, "STOR b\r\nQUIT\r\n", "150", "226 221 closed"),
        (Hold::Running, "RETR b\r\nNOOP\r\nquit\r\nDELE file\r\n", "150", "226 200 221 closed"),
        (Hold::Running, "STOR b\r\nNOOP\r\nQUI", "150 426 200 closed", "closed"),
        (Hold::Running, "STOR b\r\nABOR\r\nQUIT\r\n", "150 426 226 221 closed", "closed"),
        (Hold::Running, "STOR b\r\nQUIT now\r\n", "150 426 501 closed", "closed"),
    ] {
        let mut shell = logged_in();
        shell.check("EPSV", "229");
        shell.hold = hold;
        shell.feed(queued.as_bytes());
        shell.input(Input::SendingEnded);
        assert!(!shell.session.wants_bytes(), "{queued}");
        assert_eq!(shell.take(), before, "{queued}");
        if !shell.closed {
            done(&mut shell, hold);
            assert_eq!(shell.take(), after, "{queued}");
        }
        assert!(shell.session.is_closed() && !shell.listening, "{queued}");
    }
}

/// A digest that nobody waits for ends with the client.
#[test]
fn a_digest_nobody_waits_for() {
    let mut shell = logged_in();
    shell.hold = Hold::File;
    shell.feed(b"HASH file\r\nNOOP\r\n");
    shell.input(Input::SendingEnded);
    assert_eq!(shell.take(), "closed");
}

/// ABOR ends what may take long and changes nothing: once, and in its turn.
#[test]
fn abor_gives_up_long_requests() {
    for (command, given_up) in
        [("HASH file", true), ("XMD5 file", true), ("SIZE file", true), ("MKD new", false)]
    {
        let mut shell = logged_in();
        shell.check("TYPE A", "200");
        shell.hold = Hold::File;
        shell.feed(format!("{command}\r\n").as_bytes());
        shell.take_outputs();
        shell.feed(b"NOOP\r\nABOR\r\n");
        shell.feed(b"NOOP\r\n");
        let expected: &[Output] = if given_up { &[Output::GiveUpFile] } else { &[] };
        assert_eq!(shell.take_outputs(), expected, "{command}");
        shell.hold = Hold::Nothing;
        shell.input(Input::File(Err(FileError::Aborted)));
        assert_eq!(shell.take(), "451 200 226 200", "{command}");
    }
    // A digest that comes after all is no other request's answer.
    let mut shell = logged_in();
    shell.hold = Hold::File;
    shell.feed(b"HASH file\r\nABOR\r\nHASH file\r\n");
    let digest = FileReply::Hash { digest: vec![1], start: 0, end: 1 };
    shell.take_outputs();
    shell.input(Input::File(Ok(digest)));
    assert_eq!(shell.take(), "213 226");
    shell.take_outputs();
    shell.feed(b"ABOR\r\n");
    assert_eq!(shell.take_outputs(), [Output::GiveUpFile]);
}

/// Log-ins go on as well, and what follows TLS cannot come.
#[test]
fn the_client_sends_nothing_more_before_it_is_in() {
    let mut shell = Shell::new(Mode::Implicit, strict());
    shell.hold = Hold::Authentication;
    shell.feed(b"USER ann\r\nPASS right\r\nMKD new\r\nQUIT\r\n");
    shell.input(Input::SendingEnded);
    assert_eq!(shell.take(), "331");
    shell.hold = Hold::Nothing;
    shell.input(Input::Authenticated(Ok(account("ann"))));
    assert_eq!(shell.take(), "230 257 221 closed");

    // With nothing behind it, it is no use to anybody, and keeps no place in a line.
    let mut shell = Shell::new(Mode::Implicit, strict());
    shell.hold = Hold::Authentication;
    shell.feed(b"USER ann\r\nPASS right\r\n");
    shell.input(Input::SendingEnded);
    assert_eq!(shell.take(), "331 closed");

    // The delay after a wrong password counts as ever.
    let mut shell = Shell::new(Mode::Implicit, strict());
    shell.feed(b"USER ann\r\nPASS wrong\r\nNOOP\r\n");
    shell.input(Input::SendingEnded);
    assert_eq!(shell.take(), "331");
    shell.sleep();
    assert_eq!(shell.take(), "530 200 closed");

    for held in [Hold::Handshake, Hold::Shutdown] {
        let mut shell = Shell::new(Mode::Explicit, strict());
        shell.hold = if held == Hold::Shutdown { Hold::Nothing } else { held };
        shell.check("AUTH TLS", "234");
        if held == Hold::Shutdown {
            shell.hold = held;
            shell.check("REIN", "220");
        }
        shell.input(Input::SendingEnded);
        assert_eq!(shell.take(), "closed", "{held:?}");
    }
    let mut shell = logged_in();
    shell.hold = Hold::File;
    shell.feed(b"MKD new\r\nREIN\r\n");
    shell.input(Input::SendingEnded);
    shell.input(Input::File(Ok(FileReply::Done)));
    assert_eq!(shell.take(), "257 220 closed");
}

/// [XFER-28 SYN-20]: effective ABOR and QUIT, no word, no command of a cut line.
#[test]
fn the_client_is_gone() {
    let mut shell = logged_in().running();
    shell.feed(b"STOR b\r\n");
    shell.input(Input::Disconnected);
    assert_eq!(shell.take(), "closed");
    assert_eq!(shell.take_outputs(), [Output::AbortTransfer, Output::Close]);

    let mut shell = logged_in();
    shell.check("EPSV", "229");
    shell.take_outputs();
    shell.feed(b"DELE file\r");
    shell.input(Input::Disconnected);
    assert_eq!(shell.take_outputs(), [Output::ClosePassive, Output::Close]);
    assert_eq!(shell.session.feed(shell.now, b"\nNOOP\r\n"), 7);
    shell.input(Input::Timeout);
    assert!(shell.session.poll_output().is_none());
    assert!(shell.session.is_closed() && shell.session.poll_timeout().is_none());
}

/// [SYN-07a SYN-07b SYN-07c SYN-07d SYN-07e]: one 500, and the tail is never a command.
#[test]
fn long_lines() {
    let mut shell = logged_in();
    let long = [&b"RETR "[..], &b"x".repeat(COMMAND_LINE_BYTES_MAX), b"\r\n"].concat();
    shell.feed(&long);
    assert_eq!(shell.take(), "500");
    shell.feed(&[&b"x".repeat(3 * COMMAND_LINE_BYTES_MAX)[..], b" DELE file\r\nNOOP\r\n"].concat());
    assert_eq!(shell.take(), "500 200");
    assert!(shell.take_outputs().is_empty());
}

/// [SYN-06 SYN-11 SYN-12].
#[test]
fn empty_lines_and_telnet() {
    let mut shell = Shell::new(Mode::Explicit, strict());
    shell.check("", "500");
    shell.check("\0", "500");
    shell.check(b"N\xff\xf1OO\xff\xf4P", "200");
    shell.feed(b"\xff\xfd\x01\xff\xfb\x03\xff\xfc\x05NOOP\r\n");
    assert_eq!(shell.take_text(), b"\xff\xfc\x01\xff\xfe\x03200 NOOP done.\r\n");
}
