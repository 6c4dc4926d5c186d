//! Resumption: tickets and session IDs, which connections are given some, and what they prove.

use rustls::HandshakeKind;
use rustls::crypto::aws_lc_rs;

use super::*;
use crate::tls::Resumption;

/// A control connection, then `later` seconds pass, then a data connection of `session`.
fn resume(
    kind: Kind,
    purpose: Purpose,
    session: &Arc<ControlSession>,
    later: u64,
) -> HandshakeFacts {
    let tls = server(options());
    let config = client_config(&tls, kind, None);
    connect(&tls, &mut client(&config, "localhost"));
    NOW.set(NOW.get() + later);
    let mut data = client(&config, "localhost");
    connect_in_pieces(&tls, purpose, session, &mut data, usize::MAX).unwrap().facts
}

#[test]
fn data_connections_resume_their_control_session() {
    for kind in kinds() {
        let purpose = Purpose::Data;
        let this = resume(kind, purpose, &this_session(), 900);
        assert_eq!(this.resumption, Resumption::ThisSession);
        assert!(this.resumption.is_this_session());
        let other = resume(kind, purpose, &other_session(), 0);
        assert_eq!(other.resumption, Resumption::OtherSession);
        assert!(!other.resumption.is_this_session());
        let late = resume(kind, purpose, &other_session(), 1600);
        assert_eq!(late.resumption, Resumption::ExpiredOrUnknownKey);
    }
}

/// What the server sees of a client of TLS 1.2 that knows no tickets.
fn by_session_id(
    tls: &Arc<ServerTls>,
    config: &Arc<ClientConfig>,
    purpose: Purpose,
    session: &Arc<ControlSession>,
) -> HandshakeFacts {
    let mut client = client(config, "localhost");
    let server = connect_in_pieces(tls, purpose, session, &mut client, usize::MAX);
    let facts = server.unwrap().facts;
    let resumed = client.handshake_kind() == Some(HandshakeKind::Resumed);
    assert_eq!(resumed, facts.resumption.is_this_session());
    facts
}

#[test]
fn clients_without_tickets_resume_their_control_session_by_id() {
    for kind in kinds().into_iter().filter(|kind| *kind.version == version::TLS12) {
        let tls = server(options());
        let config = without_tickets(client_config(&tls, kind, None));
        let connect = |purpose, session: &Arc<ControlSession>| {
            by_session_id(&tls, &config, purpose, session).resumption
        };
        let control = ControlSession::new().unwrap();
        assert_eq!(connect(Purpose::Control, &control), Resumption::NotOffered);
        for purpose in [Purpose::Data; 3] {
            assert_eq!(connect(purpose, &control), Resumption::ThisSession);
        }
        // A new log-in, on this connection or another, is another control session.
        let next = ControlSession::new().unwrap();
        assert_eq!(connect(Purpose::Data, &next), Resumption::UnknownSessionId);
        assert_eq!(connect(Purpose::Control, &next), Resumption::UnknownSessionId);
        assert_eq!(connect(Purpose::Data, &next), Resumption::ThisSession);
        assert_eq!(connect(Purpose::Data, &control), Resumption::UnknownSessionId);
    }
}

#[test]
fn session_ids_are_not_given_when_resumption_is_off() {
    let tls = server(TlsOptions { resumption: DataResumption::Off, ..options() });
    let config = without_tickets(client_config(&tls, TLS12, None));
    let control = ControlSession::new().unwrap();
    for purpose in [Purpose::Control, Purpose::Data, Purpose::Data] {
        let facts = by_session_id(&tls, &config, purpose, &control);
        assert_eq!(facts.resumption, Resumption::Off);
    }
}

/// A server, and a client with a ticket that an earlier one gave it for another suite. Both suites
/// have SHA-256, so the client offers the ticket although the server has changed.
fn after_a_change_of_suites() -> (Arc<ServerTls>, Arc<ClientConfig>) {
    use aws_lc_rs::cipher_suite as suite;
    let control = server(options());
    let suites = [suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_CHACHA20_POLY1305_SHA256];
    let config = client_config_with(&control, &[&version::TLS13], &suites, None);
    connect(&control, &mut client(&config, "localhost"));
    let data = server(TlsOptions {
        certificates: control.certificates().to_vec(),
        versions: TlsVersions { tls12: false, tls13: true },
        cipher_suites: Some(vec!["tls_chacha20_poly1305_sha256".to_owned()]),
        ..options()
    });
    (data, config)
}

#[test]
fn a_good_ticket_for_another_suite_is_declined() {
    let (data, config) = after_a_change_of_suites();
    let server = connect(&data, &mut client(&config, "localhost"));
    assert_eq!(server.facts.resumption, Resumption::Declined);
    assert_eq!(server.facts.cipher_suite, "TLS_CHACHA20_POLY1305_SHA256");
}

#[test]
fn tickets_are_counted_by_purpose() {
    let tls = server(options());
    let config = client_config(&tls, TLS13, None);
    let connect_for = |purpose| {
        let mut data = client(&config, "localhost");
        connect_in_pieces(&tls, purpose, &this_session(), &mut data, usize::MAX)
            .unwrap()
            .facts
            .resumption
    };
    // What a data connection did not bring, it is not given: else a stranger who reached the
    // passive port first would take the proof along.
    assert_eq!(connect_for(Purpose::Data), Resumption::NotOffered);
    assert_eq!(connect_for(Purpose::Data), Resumption::NotOffered);
    // Two on a control connection; a data connection that resumes replaces the one it used.
    connect(&tls, &mut client(&config, "localhost"));
    for _ in 0..6 {
        assert_eq!(connect_for(Purpose::Data), Resumption::ThisSession);
    }
}

/// A client that uses each ticket once goes on resuming as long as its control connection gives it
/// more; what it is given beside that is thrown away here.
#[test]
fn a_control_connection_gives_further_tickets() {
    for kind in kinds().into_iter().filter(|kind| kind.version == TLS13.version) {
        let tls = server(options());
        let config = client_config(&tls, kind, None);
        let use_up = |tickets| {
            for _ in 0..tickets {
                sent(&mut client(&config, "localhost"));
            }
        };
        let (session, mut control) = (this_session(), client(&config, "localhost"));
        let mut server =
            connect_in_pieces(&tls, Purpose::Control, &session, &mut control, usize::MAX).unwrap();
        use_up(2);
        let data = |session| {
            let mut data = client(&config, "localhost");
            let server = connect_in_pieces(&tls, Purpose::Data, session, &mut data, usize::MAX);
            server.unwrap().facts.resumption
        };
        assert_eq!(data(&session), Resumption::NotOffered);
        for _ in 0..3 {
            let mut out = Vec::new();
            let message = tls.new_ticket(&session).unwrap();
            server.channel.seal_ticket(&message, &mut out).unwrap();
            server.channel.seal(b"226 \r\n", &mut out).unwrap();
            assert_eq!(receive(&mut control, &out).unwrap(), b"226 \r\n");
            assert_eq!(data(&session), Resumption::ThisSession);
            use_up(1);
        }
        assert_eq!(data(&session), Resumption::NotOffered);
        // Nor does it give any once it is closed, with what it says behind that in the clear.
        let mut out = Vec::new();
        server.channel.seal_close_notify(&mut out).unwrap();
        let closed = out.len();
        let message = tls.new_ticket(&session).unwrap();
        server.channel.seal_ticket(&message, &mut out).unwrap();
        assert_eq!(out.len(), closed);
    }
}

#[test]
fn further_tickets_are_of_tls13_and_where_resumption_is_on() {
    for kind in kinds() {
        for resumption in [DataResumption::Off, DataResumption::Prefer, DataResumption::Require] {
            let tls = server(TlsOptions { resumption, ..options() });
            let mut control = client(&client_config(&tls, kind, None), "localhost");
            let (session, purpose) = (this_session(), Purpose::Control);
            connect_in_pieces(&tls, purpose, &session, &mut control, usize::MAX).unwrap();
            let given = kind.version == TLS13.version && resumption != DataResumption::Off;
            assert_eq!(session.gives_tickets(), given);
            assert_eq!(tls.new_ticket(&session).is_some(), given);
        }
    }
}

/// Each has a nonce of its own (RFC 8446 section 4.6.1), and is another ticket.
#[test]
fn no_ticket_is_given_twice() {
    let tls = server(options());
    let mut control = client(&client_config(&tls, TLS13, None), "localhost");
    let (session, purpose) = (this_session(), Purpose::Control);
    connect_in_pieces(&tls, purpose, &session, &mut control, usize::MAX).unwrap();
    let messages = [(); 9].map(|()| tls.new_ticket(&session).unwrap());
    let nonces: BTreeSet<_> = messages.iter().map(|message| message[12..21].to_vec()).collect();
    assert_eq!(nonces.len(), messages.len());
    let tickets: BTreeSet<_> = messages.iter().map(|message| message[23..].to_vec()).collect();
    assert_eq!(tickets.len(), messages.len());
}

/// A ticket that was made after the log-in names the user, in every version.
#[test]
fn another_session_of_the_same_user_is_known() {
    for kind in kinds() {
        let tls = server(options());
        let config = client_config(&tls, kind, None);
        let (session, mut control) = (other_session(), client(&config, "localhost"));
        let mut end =
            connect_in_pieces(&tls, Purpose::Control, &session, &mut control, usize::MAX).unwrap();
        session.logged_in("alice");
        if let Some(message) = tls.new_ticket(&session) {
            let mut out = Vec::new();
            end.channel.seal_ticket(&message, &mut out).unwrap();
            receive(&mut control, &out).unwrap();
        }
        let seen = [Some("alice"), Some("bob"), None].map(|user| {
            let session = this_session();
            user.into_iter().for_each(|user| session.logged_in(user));
            let mut data = client(&config, "localhost");
            // The newest ticket first, and each once.
            let server =
                connect_in_pieces(&tls, Purpose::Data, &session, &mut data, usize::MAX).unwrap();
            server.facts.resumption
        });
        let known =
            if session.gives_tickets() { Resumption::SameUser } else { Resumption::OtherSession };
        assert_eq!(seen, [known, Resumption::OtherSession, Resumption::OtherSession]);
    }
}

/// A client with OpenSSL retires the session that it resumes when it is given another ticket, also
/// the one of its control connection; and what is given is what it came with, by ticket or by ID.
#[test]
fn a_resumed_data_connection_of_tls12_is_given_no_ticket() {
    for kind in kinds().into_iter().filter(|kind| kind.version == TLS12.version) {
        for purpose in [Purpose::Control, Purpose::Data] {
            let tls = server(options());
            let config = client_config(&tls, kind, None);
            connect(&tls, &mut client(&config, "localhost"));
            let mut data = client(&config, "localhost");
            let mut handshake = Handshake::new(&tls, purpose, &this_session(), None);
            let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
            inbound.extend_from_slice(&sent(&mut data));
            handshake.advance(&mut inbound, &mut out).unwrap();
            // ServerHello, then a NewSessionTicket or at once ChangeCipherSpec. What follows is
            // sealed, and may begin with any octet.
            let (mut rest, mut records) = (&out[..], Vec::new());
            while let [kind @ 22, _, _, high, low, body @ ..] = rest {
                let length = usize::from(*high) << 8 | usize::from(*low);
                records.push((*kind, body[0]));
                rest = &body[length..];
            }
            let given = records.contains(&(22, 4));
            assert_eq!(given, purpose == Purpose::Control, "{purpose:?}: {records:?}");
        }
    }
}

/// A session of a data connection is good as long as the control connection that it belongs to;
/// for another control connection only as long as its lifetime.
#[test]
fn a_ticket_does_not_expire_before_its_control_connection() {
    for kind in [TLS12, TLS13] {
        let tls = server(options());
        let config = client_config(&tls, kind, None);
        let before = NOW.get();
        let later = |purpose, session: Arc<ControlSession>| {
            connect(&tls, &mut client(&config, "localhost"));
            // The lifetime that the client was told is over as well; it would not ask (RFC 8446
            // section 4.6.1). Its own clock does not move.
            NOW.set(before + 2 * LIFETIME.as_secs());
            let mut data = client(&config, "localhost");
            let server = connect_in_pieces(&tls, purpose, &session, &mut data, usize::MAX);
            NOW.set(before);
            server.unwrap().facts.resumption
        };
        assert_eq!(later(Purpose::Data, this_session()), Resumption::ThisSession);
        assert_eq!(later(Purpose::Data, other_session()), Resumption::ExpiredOrUnknownKey);
        assert_eq!(later(Purpose::Control, this_session()), Resumption::ExpiredOrUnknownKey);
    }
}

/// Several data connections of `config`'s client, one after the other, to this session.
fn downloads(tls: &Arc<ServerTls>, config: &Arc<ClientConfig>) -> [Resumption; 6] {
    [(); 6].map(|()| {
        let (mut client, session) = (client(config, "localhost"), this_session());
        let purpose = Purpose::Data;
        let server = connect_in_pieces(tls, purpose, &session, &mut client, usize::MAX);
        server.unwrap().facts.resumption
    })
}

/// A refused data connection must not be handed the key to the next one.
#[test]
fn data_connections_of_others_get_no_ticket_of_this_session() {
    for kind in kinds() {
        let tls = server(options());
        let other = client_config(&tls, kind, None);
        let mut control = client(&other, "localhost");
        let session = other_session();
        connect_in_pieces(&tls, Purpose::Control, &session, &mut control, usize::MAX).unwrap();
        let seen = downloads(&tls, &other);
        assert_eq!(seen[0], Resumption::OtherSession);
        assert!(!seen.contains(&Resumption::ThisSession), "{seen:?}");
    }
}

/// A ticket travels in clear in the ClientHello: a client that has only seen it is declined, and is
/// given no other.
#[test]
fn a_declined_ticket_proves_nothing() {
    let (data, config) = after_a_change_of_suites();
    let seen = downloads(&data, &config);
    assert_eq!(seen[..2], [Resumption::Declined; 2]);
    assert_eq!(seen[2..], [Resumption::NotOffered; 4]);
}

/// TLS 1.2 issues its ticket inside the handshake, refused or not; by ticket and by session ID.
#[test]
fn a_full_data_handshake_proves_nothing_the_next_time() {
    for kind in kinds() {
        let tls = server(options());
        let config = client_config(&tls, kind, None);
        for _ in 0..3 {
            let mut thief = client(&config, "localhost");
            let stolen =
                connect_in_pieces(&tls, Purpose::Data, &this_session(), &mut thief, usize::MAX);
            assert!(!stolen.unwrap().facts.resumption.is_this_session());
        }
    }
}

#[test]
fn resumption_can_be_switched_off() {
    for kind in kinds() {
        let tls = server(TlsOptions { resumption: DataResumption::Off, ..options() });
        let config = client_config(&tls, kind, None);
        for _ in 0..2 {
            let server = connect(&tls, &mut client(&config, "localhost"));
            assert_eq!(server.facts.resumption, Resumption::Off);
        }
    }
}
