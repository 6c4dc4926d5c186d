//! Log-in by client certificate against the real program (RFC 2228 §3, reply 232) [LOGIN-02]: by
//! fingerprint without any authority, by subject with one, and what must not be enough.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had is a failure")]

mod support;

use rcgen::DnType;

use support::certificates::{Authority, Identity};
use support::server::BOTH_LISTENERS;
use support::tls::{TLS12, TLS13};
use support::wire::{End, Wire};
use support::{Client, Listener, Server, wait_until};

/// A server whose user `carol` has `rule`, and which verifies client certificates by `client_ca`.
#[track_caller]
fn server(rule: &str, client_ca: Option<&Authority>) -> Server {
    Server::builder().user("carol", &["read", "list"], rule).start_with(|scratch| {
        let Some(authority) = client_ca else { return String::new() };
        let path = scratch.path.join("client_ca.pem");
        std::fs::write(&path, authority.pem()).expect("a scratch directory to write to");
        format!("[tls]\nclient_ca = \"{}\"", path.display())
    })
}

/// What USER is answered with when the client shows `identity`: 232 or 331.
#[track_caller]
fn check(server: &Server, identity: &Identity, user: &str, expected: u16) {
    for listener in BOTH_LISTENERS {
        let mut client = Client::open_with(server, listener, server.tls().identity(identity));
        client.expect(format!("USER {user}"), expected);
        if expected == 232 {
            client.retrieve("LIST");
        } else {
            client.expect("LIST", 530);
        }
    }
}

/// The handshake ends with an alert, whatever is sent afterwards.
#[track_caller]
fn check_refused(server: &Server, identity: &Identity) {
    let mut client = Client::raw(server, Listener::Implicit);
    client.use_tls(server.tls().identity(identity));
    // In TLS 1.3 the client is done before the server has seen the certificate.
    let tls = client.tls.clone();
    let greeted = client.wire.handshake(&tls).and_then(|()| client.try_reply());
    assert!(greeted.is_err(), "{greeted:?}");
    wait_until("the log names the reason", || {
        server.log().contains("TLS handshake failed: certificate: ")
    });
}

#[test]
fn a_listed_fingerprint_needs_no_authority() {
    let authority = Authority::new();
    let (carol, other) = (authority.client("carol"), authority.client("carol"));
    let fingerprint = ringftpd::tls::sha256_fingerprint(&carol.certificate);
    let hex: String = fingerprint.iter().map(|octet| format!("{octet:02x}")).collect();
    let server = server(&format!("certificate_sha256 = \"{hex}\""), None);
    check(&server, &carol, "carol", 232);
    check(&server, &carol, "alice", 331);
    // The same subject of the same issuer, but another certificate.
    check_refused(&server, &other);
}

#[test]
fn a_subject_needs_its_authority_and_all_its_parts() {
    let authority = Authority::new();
    let subject = |name: &str| {
        let unit = DnType::OrganizationalUnitName;
        let organization = (DnType::OrganizationName, "Example, Inc.");
        // Most general first, as in every certificate.
        authority.client_named(&[organization, (unit, "Ops"), (DnType::CommonName, name)])
    };
    let rule = r"certificate_subject = 'cn = carol, OU=Ops, O=Example\, Inc.'";
    let server = server(rule, Some(&authority));
    check(&server, &subject("carol"), "carol", 232);
    check(&server, &subject("carol"), "alice", 331);
    check(&server, &subject("Carol"), "carol", 331);
    check(&server, &authority.client("carol"), "carol", 331);
    check_refused(&server, &Authority::new().client("carol"));
    // Nobody has to show a certificate; then a password is asked for.
    Client::open(&server, Listener::Implicit).expect("USER carol", 331);
}

/// A session that was opened by certificate needs it, or resumption, on data connections also under
/// the default policy; a connection with neither gets nothing, even if it comes first [DTLS-11].
#[test]
fn data_connections_of_a_certificate_log_in_prove_themselves() {
    let authority = Authority::new();
    let carol = authority.client("carol");
    let server = server("certificate_subject = \"CN=carol\"", Some(&authority));
    std::fs::write(server.root().join("file"), "content").unwrap();
    for versions in [TLS12, TLS13] {
        for listener in BOTH_LISTENERS {
            let anybody = server.tls().versions(versions).no_resumption();
            let shown = server.tls().versions(versions).identity(&carol);
            let mut client = Client::open_with(&server, listener, shown.clone());
            client.expect("USER carol", 232);
            assert!(client.retrieve("LIST").ends_with(b" file\r\n"));

            let mut stranger = client.passive();
            client.expect("LIST", 150);
            stranger.handshake(&anybody).unwrap();
            let (octets, end) = stranger.read_to_end();
            assert!(octets.is_empty() && end != End::Timeout, "{octets:?} {end:?}");
            client.expect_reply(522);

            client.data_tls = shown.no_resumption();
            let address = client.epsv();
            client.expect("RETR file", 150);
            let mut stranger = Wire::connect(address);
            stranger.handshake(&anybody).unwrap();
            let mut data = Wire::connect(address);
            client.secure(&mut data);
            assert!(!data.resumed());
            assert_eq!(client.receive(data), b"content");
            assert!(stranger.read_to_end().0.is_empty());
            client.quit();
        }
    }
}
