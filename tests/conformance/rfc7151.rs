//! HOST: RFC 7151.

use std::sync::Arc;

use crate::fixture::{dialogue, on_both, strict};
use crate::support::{Client, End, Listener, Server};

/// A server that knows two names.
fn two_hosts() -> Server {
    let names = "host_names = [\"ftp.example.test\", \"localhost\"]";
    Server::builder().toml(&format!("[policy]\n{names}")).start()
}

/// [HOST-01] A known name is 220, in any letter case, before and under TLS; FEAT lists HOST.
#[test]
fn known_host_is_220() {
    let server = two_hosts();
    let mut plain = Client::plain(&server);
    assert!(plain.expect("FEAT", 211).has_feature("HOST"));
    dialogue(&mut plain, &[("HOST ftp.example.test", 220), ("HOST FTP.Example.TEST", 220)]);
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("HOST localhost", 220);
        client.login().expect("PWD", 257);
    });
}

/// [HOST-02] After the log-in it is 503.
#[test]
fn host_after_login_is_503() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        dialogue(&mut client, &[("HOST ftp.example.test", 503), ("PWD", 257)]);
    });
}

/// [HOST-03] [HOST-04] An unknown name, or an address that is not ours, is 504 and changes nothing.
#[test]
fn unknown_host_is_504() {
    let server = two_hosts();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        for name in ["other.example.test", "192.0.2.1", "[2001:db8::1]", "ftp.example.test.evil"] {
            client.expect(format!("HOST {name}"), 504);
        }
        client.login().expect("PWD", 257);
    });
}

/// [HOST-05] [HOST-08] Bad syntax, also `host:port`, is 501.
#[test]
fn malformed_host_is_501() {
    let server = two_hosts();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        let long = "a".repeat(64) + ".test";
        for name in
            ["ftp.example.test:21", "-bad-.test", "a..b", "[::1", "a b", "under_score", &long]
        {
            client.expect(format!("HOST {name}"), 501);
        }
        client.expect("HOST", 501);
        client.login().expect("PWD", 257);
    });
}

/// [HOST-06] When the handshake named a server (SNI), HOST must name the same, else 504.
#[test]
fn host_must_equal_sni() {
    let server = two_hosts();
    on_both(|listener| {
        let tls = server.tls().server_name("localhost");
        let mut client = Client::open_with(&server, listener, tls);
        client.expect("HOST ftp.example.test", 504);
        client.expect("HOST LOCALHOST", 220);
        client.login().expect("PWD", 257);
    });
}

/// [HOST-06] Without SNI HOST may come on either side of AUTH.
#[test]
fn host_on_either_side_of_auth() {
    let server = two_hosts();
    let mut client = Client::plain(&server);
    client.expect("HOST ftp.example.test", 220);
    client.auth();
    client.expect("HOST ftp.example.test", 220);
    client.login().expect("PWD", 257);
}

/// [HOST-06] Where HOST before AUTH and the handshake name two hosts, nobody logs in to either.
#[test]
fn host_before_auth_must_equal_sni() {
    let server = two_hosts();
    for (name, code) in [("LOCALHOST", 220), ("ftp.example.test", 421)] {
        let mut client = Client::plain(&server);
        client.expect(format!("HOST {name}"), 220);
        client.use_tls(server.tls().server_name("localhost"));
        client.auth();
        if code == 421 {
            client.expect_reply(421);
            client.expect_close();
        } else {
            client.expect("HOST localhost", code);
            client.login().expect("PWD", 257);
        }
    }
}

/// [HOST-07] Repeated before the log-in the last one counts, and a pending USER is forgotten.
#[test]
fn repeated_host_forgets_user() {
    let server = two_hosts();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(
            &mut client,
            &[
                ("HOST localhost", 220),
                ("USER alice", 331),
                ("HOST ftp.example.test", 220),
                ("PASS secret", 503),
                ("USER alice", 331),
                ("HOST unknown.test", 504),
                ("PASS secret", 230),
            ],
        );
    });
}

/// [HOST-09] REIN forgets it: HOST is accepted again.
#[test]
fn rein_forgets_host() {
    let server = Arc::new(two_hosts());
    let mut client = Client::explicit(&server);
    client.expect("HOST localhost", 220);
    let mut client = client.login();
    client.expect("REIN", 220);
    client.end_tls();
    client.expect("HOST ftp.example.test", 220);

    let mut client = Client::open(&server, Listener::Implicit).login();
    client.expect("REIN", 220);
    client.expect_end(End::CloseNotify);
    client.wire.forget_tls();
    client.start_tls();
    client.expect_reply(220);
    client.expect("HOST ftp.example.test", 220);
}

/// [HOST-01] With no names configured there is one virtual host, and any well-formed name is it.
#[test]
fn any_host_where_none_is_configured() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(&mut client, &[("HOST any.example.test", 220), ("HOST bad..name", 501)]);
    });
}
