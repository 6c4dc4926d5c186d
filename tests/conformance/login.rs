//! Logging in and out: RFC 959 §4.1.1, RFC 2228 §8.2 (232), RFC 2577 §5 and §7.

use std::time::Duration;

use crate::fixture::{
    alice, dialogue, expect_one_of, fail_for_the_last_time, on_both, relaxed, strict,
};
use crate::support::wait::Stopwatch;
use crate::support::{Client, End, Listener, Server, wait_until};

/// [LOGIN-02] A wrong password is 530 after a delay; the right one afterwards is 230.
#[test]
fn wrong_password_is_delayed_530() {
    let server = Server::builder().toml("[limits]\nlogin_failure_delay = \"300ms\"").start();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("USER alice", 331);
        let watch = Stopwatch::start();
        // Another session is not held up by the delay.
        client.send("PASS wrong");
        Client::open(&server, listener).login();
        client.expect_reply(530);
        assert!(watch.elapsed() >= Duration::from_millis(300), "{:?}", watch.elapsed());
        client.expect("PWD", 530);
        client.login().expect("PWD", 257);
    });
}

/// [LOGIN-03] USER is 331 for known and unknown names alike, and their PASS is alike, too.
#[test]
fn unknown_users_look_like_known_ones() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        let known = client.expect("USER alice", 331);
        let known_pass = client.expect("PASS wrong", 530);
        let unknown = client.expect("USER mallo", 331);
        let unknown_pass = client.expect("PASS wrong", 530);
        assert_eq!(known.text().replace("alice", ""), unknown.text().replace("mallo", ""));
        assert_eq!(known_pass, unknown_pass);
    });
}

/// [LOGIN-04] PASS without USER is 503; so is a second PASS.
#[test]
fn pass_needs_user() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("PASS secret", 503);
        let mut client = client.login();
        dialogue(&mut client, &[("PASS secret", 503), ("PWD", 257)]);
    });
}

/// [LOGIN-07] [LOGIN-08] USER while logged in is 331 and logs out at once; the transfer
/// parameters stay.
#[test]
fn second_user_logs_out() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = crate::fixture::alice_clear_data(&server, listener, "login07");
        client.store("STOR file", b"a\n");
        dialogue(&mut client, &[("USER bob", 331), ("PWD", 530), ("STOR x", 530)]);
        dialogue(&mut client, &[("PASS secret", 230), ("MKD x", 550)]);
        let place = crate::fixture::own("login07", listener);
        client.expect(format!("CWD /{place}"), 250);
        // TYPE I as alice had set it.
        assert_eq!(client.retrieve("RETR file"), b"a\n");
    });
}

/// [LOGIN-08] A transfer that is running when USER comes completes under the old rights.
#[test]
fn user_waits_for_the_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "login08");
        let data = client.begin("STOR file");
        client.send("USER bob");
        client.deliver(data, b"bytes");
        client.expect_reply(331);
        client.expect("PWD", 530);
    });
}

/// [LOGIN-09] After the third failure 421, and the connection closes.
#[test]
fn too_many_failures_close() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        for _ in 0..2 {
            dialogue(&mut client, &[("USER alice", 331), ("PASS wrong", 530)]);
        }
        fail_for_the_last_time(&mut client);
    });
}

/// [LOGIN-11] ACCT is superfluous: 202 once logged in, 503 before.
#[test]
fn acct_is_superfluous() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(&mut client, &[("ACCT x", 503), ("USER alice", 331), ("ACCT x", 503)]);
        let mut client = client.login();
        client.expect("ACCT x", 202);
    });
}

/// [LOGIN-12] USER without a name is 501.
#[test]
fn user_needs_a_name() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(&mut client, &[("USER", 501), ("PASS secret", 503)]);
    });
}

/// [LOGIN-14] A NOOP between USER and PASS: 230 or 503, nothing else.
#[test]
fn noop_between_user_and_pass() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(&mut client, &[("USER alice", 331), ("NOOP", 200)]);
        let code = expect_one_of(&mut client, "PASS secret", &[230, 503]);
        client.expect("PWD", if code == 230 { 257 } else { 530 });
    });
}

/// [LOGIN-15] QUIT is 221, close_notify, FIN, in every state.
#[test]
fn quit_ends_every_state() {
    let server = relaxed();
    Client::plain(&server).quit();
    Client::plain(&server).login().quit();
    on_both(|listener| {
        let mut begun = Client::open(&server, listener);
        begun.expect("USER alice", 331);
        for mut client in
            [Client::open(&server, listener), begun, Client::open(&server, listener).login()]
        {
            client.expect("QUIT", 221);
            client.expect_end(End::CloseNotify);
            client.wire.forget_tls();
            assert_eq!(client.wire.read_to_end(), (Vec::new(), End::Fin));
        }
    });
}

/// [LOGIN-16] QUIT during a transfer: it finishes, 226, then 221 and close.
#[test]
fn quit_waits_for_the_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "login16");
        let data = client.begin("STOR file");
        client.send("QUIT");
        client.deliver(data, b"bytes");
        client.expect_reply(221);
        client.expect_end(End::CloseNotify);
    });
}

/// [PRE-*] Everything that needs a log-in is 530 before it, also with USER given, also RNTO
/// without RNFR: the log-in is checked before sequence and syntax of the name.
#[test]
fn commands_before_login_are_530() {
    let server = relaxed();
    let check = |client: &mut Client| {
        for command in [
            "CWD x",
            "CDUP",
            "PWD",
            "LIST",
            "NLST",
            "RETR x",
            "STOR x",
            "STOU",
            "APPE x",
            "REST 1",
            "RNFR x",
            "RNTO x",
            "DELE x",
            "MKD x",
            "RMD x",
            "ALLO 1",
            "PORT 127,0,0,1,9,9",
            "PASV",
            "EPRT |1|127.0.0.1|2313|",
            "EPSV",
            "TYPE I",
            "MODE S",
            "STRU F",
            "STAT",
            "STAT x",
            "SITE HELP",
            "SIZE x",
            "MDTM x",
            "MLST",
            "MLSD",
            "MFMT 20200101000000 x",
            "MFF modify=20200101000000; x",
            "HASH x",
            "SMNT x",
            "XCWD x",
            "XPWD",
            "XMKD x",
            "XRMD x",
            "XCUP",
        ] {
            client.expect(command, 530);
        }
    };
    let mut plain = Client::plain(&server);
    check(&mut plain);
    plain.expect("USER alice", 331);
    check(&mut plain);
    on_both(|listener| check(&mut Client::open(&server, listener)));
}

/// [LOGIN-02] A client certificate of a configured user suffices: 232, no password.
#[test]
fn client_certificate_logs_in() {
    let holder = std::cell::RefCell::new(None);
    let server = Server::builder()
        .user("carol", &["read", "list"], "certificate_subject = \"CN=carol\"")
        .start_with(|scratch| {
            *holder.borrow_mut() = Some(scratch.authority.client("carol"));
            format!("[tls]\nclient_ca = \"{}\"", scratch.path.join("authority.pem").display())
        });
    let carol = holder.borrow_mut().take().unwrap();
    on_both(|listener| {
        let tls = server.tls().identity(&carol);
        let mut client = Client::open_with(&server, listener, tls);
        assert!(client.tls.certificate_requests() > 0);
        client.expect("USER carol", 232);
        client.retrieve("LIST");
        // The certificate speaks for carol alone, and nobody is carol without it.
        client.expect("USER alice", 331);
        let mut client = Client::open(&server, listener);
        client.expect("USER carol", 331);
        client.expect("PASS secret", 530);
    });
}

/// [LOGIN-03] Anonymous exists only where configured.
#[test]
fn anonymous_only_where_configured() {
    let server = Server::builder().anonymous().start();
    let mut client = Client::implicit(&server);
    client.expect("USER anonymous", 331);
    client.expect("PASS guest@example.test", 230);
    client.retrieve("LIST");
    client.expect("MKD x", 550);
    let server = strict();
    let mut client = Client::implicit(&server);
    client.expect("USER anonymous", 331);
    client.expect("PASS guest@example.test", 530);
}

/// [BG-05] A session that never logs in is told 421 and closed.
#[test]
fn login_has_a_deadline() {
    let server = Server::builder().toml("[limits]\nlogin_timeout = \"1s\"").start();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect_reply(421);
        client.expect_end(End::CloseNotify);
    });
    let mut plain = Client::plain(&server);
    plain.expect_reply(421);
    assert_eq!(plain.expect_close(), End::Fin);
}

/// [BG-06] An idle session is told 421, then close_notify; a transfer suspends the timer.
#[test]
fn idle_sessions_are_closed() {
    let server = Server::builder().toml("[limits]\nidle_timeout = \"1s\"").start();
    on_both(|listener| {
        let mut client = alice(&server, listener, "bg06");
        let mut data = client.begin("STOR file");
        for _ in 0..15 {
            data.send(b"slowly ").unwrap();
            crate::support::wait::pause(Duration::from_millis(100));
        }
        data.finish();
        client.expect_reply(226);
        client.expect_reply(421);
        client.expect_end(End::CloseNotify);
    });
}

/// [XFER-28] A lost control connection ends the transfer and publishes nothing.
#[test]
fn lost_control_connection_ends_the_transfer() {
    let server = strict();
    for reset in [false, true] {
        let mut client = alice(&server, Listener::Implicit, "xfer28");
        let mut data = client.begin("STOR file");
        data.send(b"partial").unwrap();
        if reset {
            client.wire.reset();
        } else {
            client.wire.fin();
        }
        assert_ne!(data.read_to_end().1, End::Timeout, "the data connection outlived its session");
        let place = server.root().join(crate::fixture::own("xfer28", Listener::Implicit));
        wait_until("nothing is left of the upload", || {
            std::fs::read_dir(&place).unwrap().count() == 0
        });
    }
}
