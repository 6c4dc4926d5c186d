//! Deadlines with a virtual clock (RFC 1123 §4.1.3.2).

use super::*;
use crate::protocol::session::TimeoutPhase;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// [BG-05]: counted from the greeting, whatever the client says meanwhile.
#[test]
fn a_login_takes_a_minute_at_most() {
    let mut shell = Shell::new(Mode::Explicit, strict());
    shell.now += seconds(50);
    shell.check("NOOP", "200");
    let mut shell = shell.auth();
    shell.check("USER ann", "331");
    assert_eq!(shell.sleep(), seconds(10));
    assert_eq!(shell.take(), "421 closed");
    assert_eq!(shell.events, [Event::TimedOut(TimeoutPhase::Login)]);
}

/// A password that is being checked does not stop the clock, nor does the delay after a wrong one.
#[test]
fn a_login_that_hangs_ends() {
    let mut shell = Shell::new(Mode::Explicit, lax()).authenticating();
    assert_eq!(shell.sleep(), seconds(60));
    assert_eq!(shell.take(), "421 closed");
    let slow = Policy { login_failure_delay: seconds(90), ..lax() };
    let mut shell = Shell::new(Mode::Explicit, slow);
    shell.check("USER ann", "331");
    shell.check("PASS wrong", "");
    assert_eq!(shell.sleep(), seconds(60));
    assert_eq!(shell.take(), "421 closed");
}

/// USER and REIN give a new minute, not none.
#[test]
fn logging_out_starts_the_minute_again() {
    for (command, code) in [("USER bob", "331"), ("REIN", "220")] {
        let mut shell = logged_in_clear();
        shell.now += seconds(200);
        shell.check(command, code);
        assert_eq!(shell.sleep(), seconds(60), "{command}");
        assert_eq!(shell.take(), "421 closed");
    }
}

/// [BG-06]; half a line is no command.
#[test]
fn idle_counts_from_the_last_command() {
    let mut shell = logged_in();
    shell.now += seconds(299);
    shell.check("NOOP", "200");
    shell.now += seconds(200);
    shell.feed(b"NO");
    assert_eq!(shell.sleep(), seconds(100));
    assert_eq!(shell.take(), "421 closed");
    assert_eq!(shell.events.last(), Some(&Event::TimedOut(TimeoutPhase::Idle)));
}

/// Suspended during a transfer and a storage request, then counted anew.
#[test]
fn a_transfer_is_not_idle() {
    let mut shell = logged_in().running();
    assert_eq!(shell.session.poll_timeout(), None);
    shell.now += seconds(10_000);
    shell.input(Input::Timeout);
    shell.finish(Ok(()));
    assert_eq!(shell.take(), "226");
    assert_eq!(shell.sleep(), seconds(300));
    assert_eq!(shell.take(), "421 closed");

    let mut shell = logged_in();
    shell.hold = Hold::File;
    shell.check("XSHA256 file", "");
    assert_eq!(shell.session.poll_timeout(), None);
    shell.now += seconds(10_000);
    let digest = vec![0; 32];
    shell.input(Input::File(Ok(FileReply::Hash { digest, start: 0, end: 10 })));
    assert_eq!(shell.take(), "250");
    assert_eq!(shell.sleep(), seconds(300));
}

/// [BG-01 BG-02]: not a word in clear.
#[test]
fn a_handshake_has_a_deadline() {
    let mut implicit = Shell::accepted(Mode::Implicit, strict());
    implicit.hold = Hold::Handshake;
    implicit.input(Input::Connected);
    let mut explicit = Shell::new(Mode::Explicit, strict());
    explicit.now += seconds(30);
    explicit.hold = Hold::Handshake;
    explicit.check("AUTH TLS", "234");
    for mut shell in [implicit, explicit] {
        assert_eq!(shell.sleep(), seconds(20));
        assert_eq!(shell.take(), "closed");
        assert_eq!(shell.events, [Event::TimedOut(TimeoutPhase::Handshake)]);
    }
}

/// Leaving the old TLS session has a deadline, and so has the handshake that follows on implicit.
#[test]
fn a_shutdown_has_a_deadline() {
    for ended in [false, true] {
        let mut shell = Shell::new(Mode::Implicit, strict()).log_in();
        shell.hold = Hold::Shutdown;
        shell.check("REIN", "220");
        if ended {
            shell.now += seconds(15);
            shell.hold = Hold::Handshake;
            shell.input(Input::TlsEnded);
        }
        assert_eq!(shell.sleep(), seconds(20));
        assert_eq!(shell.take(), "closed");
    }
}

#[test]
fn an_early_timer_and_a_clock_that_steps_back_change_nothing() {
    let mut shell = logged_in();
    let deadline = shell.session.poll_timeout();
    shell.now += seconds(299);
    shell.input(Input::Timeout);
    assert_eq!(shell.take(), "");
    assert_eq!(shell.session.poll_timeout(), deadline);
    let later = shell.now;
    shell.now -= seconds(250);
    shell.check("NOOP", "200");
    shell.now = later;
    assert_eq!(shell.sleep(), seconds(300));
}
