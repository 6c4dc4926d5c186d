//! Handshakes: versions, client certificates, settings, hostile openings.

use std::io::Write as _;

use rcgen::{BasicConstraints, CertifiedIssuer, IsCa};
use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription as Alert, CertificateError, HandshakeKind};

use super::*;
use crate::tls::{Culprit, Resumption, TlsSetupError, sha256_fingerprint};

#[test]
fn every_version_and_suite_in_any_pieces() {
    for kind in kinds() {
        for piece in [1, 3, 5, 100, usize::MAX] {
            let tls = server(options());
            let mut client = client(&client_config(&tls, kind, None), "localhost");
            let server =
                connect_in_pieces(&tls, Purpose::Control, &this_session(), &mut client, piece)
                    .unwrap();
            assert!(!client.is_handshaking());
            assert!(server.inbound.is_empty());
            let tls13 = *kind.version == version::TLS13;
            assert_eq!(server.facts.version.name(), if tls13 { "TLSv1.3" } else { "TLSv1.2" });
            assert_eq!(server.facts.cipher_suite, crate::tls::server::suite_name(kind.suite));
            assert_eq!(server.facts.group.as_deref(), Some("X25519"));
            assert_eq!(server.facts.server_name.as_deref(), Some("localhost"));
            assert_eq!(server.facts.resumption, Resumption::NotOffered);
            assert_eq!(server.facts.client_certificate, None);
        }
    }
}

#[test]
fn the_server_prefers_aes_128_whatever_the_client_prefers() {
    let tls = server(options());
    let versions = [&version::TLS12, &version::TLS13];
    let mut suites = aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec();
    suites.reverse();
    let config = client_config_with(&tls, &versions, &suites, None);
    let server = connect(&tls, &mut client(&config, "localhost"));
    assert_eq!(server.facts.cipher_suite, "TLS_AES_128_GCM_SHA256");
}

#[test]
fn data_behind_the_clients_finished_is_left_for_us() {
    for kind in kinds() {
        for piece in [1, 7, usize::MAX] {
            let tls = server(options());
            let config = client_config(&tls, kind, None);
            // The second time the session is resumed: then the client's Finished is the last
            // message in TLS 1.2 too, and data may stand in the same segment.
            for _ in 0..2 {
                check_data_behind_finished(&tls, &mut client(&config, "localhost"), piece);
            }
        }
    }
}

#[track_caller]
fn check_data_behind_finished(tls: &Arc<ServerTls>, client: &mut ClientConnection, piece: usize) {
    client.writer().write_all(b"USER anonymous\r\n").unwrap();
    let mut handshake = Handshake::new(tls, Purpose::Control, &this_session(), None);
    let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
    loop {
        let last = !client.is_handshaking();
        for bytes in sent(client).chunks(piece) {
            inbound.extend_from_slice(bytes);
            handshake.advance(&mut inbound, &mut out).unwrap();
        }
        receive(client, &out).unwrap();
        out.clear();
        if last {
            break;
        }
    }
    let (mut channel, _) = handshake.finish().unwrap();
    let opened = open_all(&mut channel, inbound.filled_mut(), &mut out).unwrap();
    assert_eq!(opened.0, b"USER anonymous\r\n");
}

/// A CA and a client certificate of it.
fn client_identity(ca_name: &str) -> (PemText, Identity) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, ca_name);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
    let certificate = params.signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    (text("CA", &ca.pem()), (vec![certificate.der().clone()], key))
}

#[test]
fn client_certificates_are_accepted_by_ca_or_fingerprint() {
    let (ca, (chain, key)) = client_identity("CA");
    let (other_ca, _) = client_identity("other CA");
    let fingerprint = sha256_fingerprint(&chain[0]);
    let rules = [
        (Some(&ca), false, Some(true)),
        (Some(&ca), true, Some(true)),
        (None, true, Some(false)),
        (Some(&other_ca), true, Some(false)),
        (Some(&other_ca), false, None),
    ];
    for kind in [TLS12, TLS13] {
        for (ca, listed, expected) in rules {
            let mut rule = options();
            rule.client_ca = ca.cloned();
            rule.client_fingerprints.extend(listed.then_some(fingerprint));
            let tls = server(rule);
            let identity = (chain.clone(), key.clone_key());
            let config = client_config(&tls, kind, Some(identity));
            for attempt in 0..2 {
                let mut client = client(&config, "localhost");
                let all = usize::MAX;
                let server =
                    connect_in_pieces(&tls, Purpose::Control, &this_session(), &mut client, all);
                match expected {
                    Some(chain_verified) => {
                        let facts = server.unwrap().facts;
                        let certificate = facts.client_certificate.unwrap();
                        assert_eq!(certificate.chain_verified, chain_verified);
                        assert_eq!(certificate.subject, "CN=alice".parse().unwrap());
                        assert_eq!(certificate.sha256, fingerprint);
                        assert_eq!(facts.resumption.is_this_session(), attempt == 1);
                    }
                    None => {
                        let unknown = CertificateError::UnknownIssuer;
                        let refused = rustls::Error::InvalidCertificate(unknown);
                        assert_eq!(server.err(), Some(TlsError::Handshake(refused)));
                    }
                }
            }
            // Without a certificate everybody may come in; logging in is another matter.
            let config = client_config(&tls, kind, None);
            let server = connect(&tls, &mut client(&config, "localhost"));
            assert_eq!(server.facts.client_certificate, None);
        }
    }
}

#[test]
fn unknown_client_certificates_are_refused_with_their_alert() {
    let (_, (chain, key)) = client_identity("CA");
    for kind in [TLS12, TLS13] {
        let mut rule = options();
        rule.client_fingerprints.insert([0; 32]);
        let tls = server(rule);
        let config = client_config(&tls, kind, Some((chain.clone(), key.clone_key())));
        let mut client = client(&config, "localhost");
        let server = connect_in_pieces(&tls, Purpose::Control, &this_session(), &mut client, 50);
        let error = server.err().unwrap();
        assert_eq!(error.culprit(), Culprit::Peer);
        assert!(matches!(error, TlsError::Handshake(rustls::Error::InvalidCertificate(_))));
        let alert = client.process_new_packets().unwrap_err();
        let unknown_ca = rustls::AlertDescription::UnknownCA;
        assert_eq!(alert, rustls::Error::AlertReceived(unknown_ca));
    }
}

#[test]
fn a_ticket_does_not_outlive_the_trust_in_its_certificate() {
    let (_, (chain, key)) = client_identity("CA");
    let mut before = options();
    before.client_fingerprints.insert(sha256_fingerprint(&chain[0]));
    let before = server(before);
    let mut after = options();
    after.certificates = before.certificates().to_vec();
    after.client_fingerprints.insert([0; 32]);
    let after = server(after);
    let config = client_config(&before, TLS13, Some((chain, key)));
    connect(&before, &mut client(&config, "localhost"));
    let mut data = client(&config, "localhost");
    let refused = connect_in_pieces(&after, Purpose::Data, &this_session(), &mut data, usize::MAX);
    assert!(matches!(refused.err().unwrap(), TlsError::ClientCertificate(_)));
    let told = data.process_new_packets().unwrap_err();
    assert!(matches!(told, rustls::Error::AlertReceived(_)), "{told:?}");
}

/// The key is one of P-256.
#[test]
fn a_client_that_no_key_can_sign_for_is_told() {
    let tls = server(options());
    let mut provider = aws_lc_rs::default_provider();
    let known = provider.signature_verification_algorithms.mapping;
    let wanted = rustls::SignatureScheme::ECDSA_NISTP384_SHA384;
    let mapping: Vec<_> = known.iter().filter(|(scheme, _)| *scheme == wanted).copied().collect();
    provider.signature_verification_algorithms.mapping = mapping.leak();
    for kind in [TLS12, TLS13] {
        let mut roots = RootCertStore::empty();
        roots.add(tls.certificates()[0].certified().cert[0].clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_protocol_versions(&[kind.version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = client(&Arc::new(config), "localhost");
        let refused =
            connect_in_pieces(&tls, Purpose::Control, &this_session(), &mut client, usize::MAX);
        assert!(matches!(refused.err().unwrap(), TlsError::Handshake(_)));
        let told = client.process_new_packets().unwrap_err();
        let alert = rustls::AlertDescription::HandshakeFailure;
        assert_eq!(told, rustls::Error::AlertReceived(alert));
    }
}

/// `alert` is sent in the clear, for there are no keys.
#[track_caller]
fn check_opening(bytes: &[u8], expected: &TlsError, alert: Option<u8>) {
    let tls = server(options());
    let mut handshake = Handshake::new(&tls, Purpose::Control, &this_session(), None);
    let mut inbound = RecvBuffer::new();
    inbound.extend_from_slice(bytes);
    let mut out = Vec::new();
    assert_eq!(handshake.advance(&mut inbound, &mut out).as_ref(), Err(expected));
    let alert = alert.map(|alert| vec![21, 3, 3, 0, 2, 2, alert]).unwrap_or_default();
    assert_eq!(out, alert);
    assert_eq!(handshake.finish().err(), Some(TlsError::NotEstablished));
}

#[test]
fn other_protocols_are_refused_at_their_first_byte() {
    for opening in [&b"USER a\r\n"[..], b"GET /", b"U", &[0x80, 0x2e, 1], &[21, 2], &[22, 2], &[0]]
    {
        check_opening(opening, &TlsError::NotTls { first: opening[0] }, None);
    }
}

/// RFC 8446 §5, §5.1: what is a record of TLS, but none to begin with.
#[test]
fn a_wrong_first_record_gets_its_alert() {
    for kind in [0, 20, 21, 23, 24, 99] {
        let unexpected = TlsError::UnexpectedRecord { kind };
        check_opening(&[kind, 3, 3, 0, 2, 1, 0], &unexpected, Some(10));
    }
    check_opening(&[22, 3, 1, 0xff, 0xff], &TlsError::RecordOverflow { length: 65_535 }, Some(22));
    check_opening(&[22, 3, 1, 0x40, 1], &TlsError::RecordOverflow { length: 16_385 }, Some(22));
    check_opening(&[22, 3, 1, 0, 0], &TlsError::UnexpectedRecord { kind: 22 }, Some(10));
    check_opening(&[22, 3, 1, 0, 4, 1, 1, 0, 0], &TlsError::Decode, Some(50));
}

#[test]
fn a_handshake_without_end_is_refused() {
    let tls = server(options());
    let mut handshake = Handshake::new(&tls, Purpose::Control, &this_session(), None);
    let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
    // A ClientHello of 64 KiB less one, in records of 1,000.
    let mut record = [&[22, 3, 1, 3, 232, 1, 0, 255, 255][..], &[0; 996]].concat();
    let mut seen = 0;
    let error = loop {
        inbound.extend_from_slice(&record);
        seen += record.len();
        assert!(seen < 70_000, "not bounded");
        match handshake.advance(&mut inbound, &mut out) {
            Ok(progress) => assert_eq!(progress, Progress::NeedBytes),
            Err(error) => break error,
        }
        record[5..9].fill(0);
    };
    assert_eq!(error, TlsError::HandshakeTooLong);
    assert_eq!(out, [21, 3, 3, 0, 2, 2, 50]);
}

#[test]
fn a_fragmented_client_hello_is_put_together() {
    for kind in [TLS12, TLS13] {
        let tls = server(options());
        let mut client = client(&client_config(&tls, kind, None), "localhost");
        let hello = sent(&mut client);
        let mut handshake = Handshake::new(&tls, Purpose::Control, &this_session(), None);
        let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
        for fragment in hello[5..].chunks(50) {
            inbound.extend_from_slice(&[22, 3, 1, 0, u8::try_from(fragment.len()).unwrap()]);
            inbound.extend_from_slice(fragment);
            handshake.advance(&mut inbound, &mut out).unwrap();
        }
        receive(&mut client, &out).unwrap();
        out.clear();
        inbound.extend_from_slice(&sent(&mut client));
        assert_eq!(handshake.advance(&mut inbound, &mut out), Ok(Progress::Established));
    }
}

#[test]
fn damaged_handshakes_give_errors_and_never_panic() {
    for kind in [TLS12, TLS13] {
        let tls = server(options());
        let config = client_config(&tls, kind, None);
        let length = sent(&mut client(&config, "localhost")).len();
        for position in 0..length {
            let mut client = client(&config, "localhost");
            let mut hello = sent(&mut client);
            hello[position] ^= 1 << (position % 8);
            let mut handshake = Handshake::new(&tls, Purpose::Control, &this_session(), None);
            let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
            inbound.extend_from_slice(&hello);
            let result = handshake.advance(&mut inbound, &mut out);
            assert_ne!(result, Ok(Progress::Established));
            let _ = receive(&mut client, &out);
            inbound.extend_from_slice(&sent(&mut client));
            if handshake.advance(&mut inbound, &mut out) == Ok(Progress::Established) {
                // Only what neither side authenticates may differ: the record's version.
                assert!(matches!(position, 1 | 2), "octet {position}");
            }
        }
    }
}

/// A handshake up to the client's last flight, which is given back.
fn before_last_flight(
    tls: &Arc<ServerTls>,
    client: &mut ClientConnection,
) -> (Handshake, RecvBuffer, Vec<u8>) {
    let mut handshake = Handshake::new(tls, Purpose::Control, &this_session(), None);
    let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
    inbound.extend_from_slice(&sent(client));
    handshake.advance(&mut inbound, &mut out).unwrap();
    receive(client, &out).unwrap();
    (handshake, inbound, sent(client))
}

#[test]
fn a_damaged_last_flight_is_refused() {
    for kind in [TLS12, TLS13] {
        let tls = server(options());
        let config = client_config(&tls, kind, None);
        let (_, _, whole) = before_last_flight(&tls, &mut client(&config, "localhost"));
        for position in 0..whole.len() {
            let mut client = client(&config, "localhost");
            let (mut handshake, mut inbound, mut last) = before_last_flight(&tls, &mut client);
            last[position] ^= 1 << (position % 8);
            inbound.extend_from_slice(&last);
            match handshake.advance(&mut inbound, &mut Vec::new()) {
                Err(error) => assert_eq!(error.culprit(), Culprit::Peer),
                Ok(Progress::NeedBytes) => assert!(!inbound.is_empty(), "octet {position}"),
                // The minor version of a record means nothing (RFC 8446 §5.1).
                Ok(Progress::Established) => assert_eq!(whole[position - 1], 3),
            }
        }
    }
}

#[test]
fn a_damaged_finished_is_answered_with_an_alert() {
    for kind in kinds() {
        let tls = server(options());
        let mut client = client(&client_config(&tls, kind, None), "localhost");
        let (mut handshake, mut inbound, mut last) = before_last_flight(&tls, &mut client);
        *last.last_mut().unwrap() ^= 1;
        inbound.extend_from_slice(&last);
        let mut out = Vec::new();
        let error = handshake.advance(&mut inbound, &mut out).unwrap_err();
        assert_eq!(error.culprit(), Culprit::Peer);
        receive(&mut client, &out).unwrap_err();
        assert_eq!(handshake.advance(&mut inbound, &mut out), Err(error), "and stays so");
    }
}

#[test]
fn a_hello_retry_request_and_its_answer_pass() {
    use aws_lc_rs::kx_group::{MLKEM1024, X25519};
    let tls = server(options());
    let mut roots = RootCertStore::empty();
    roots.add(tls.certificates()[0].certified().cert[0].clone()).unwrap();
    let provider = CryptoProvider {
        kx_groups: vec![MLKEM1024, X25519], // a share of the first, which the server has not
        ..aws_lc_rs::default_provider()
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let mut first = client(&config, "localhost");
    let server = connect_in_pieces(&tls, Purpose::Control, &this_session(), &mut first, 7).unwrap();
    assert_eq!(first.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
    assert_eq!(server.facts.resumption, Resumption::NotOffered);
    assert_eq!(server.facts.server_name.as_deref(), Some("localhost"));
    let mut second = client(&config, "localhost");
    let server = connect(&tls, &mut second);
    assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(server.facts.resumption, Resumption::ThisSession);
}

#[test]
fn a_client_that_gives_up_is_named() {
    let tls = server(options());
    let stranger = server(options());
    // The client trusts another certificate.
    let mut client = client(&client_config(&stranger, TLS13, None), "localhost");
    let mut handshake = Handshake::new(&tls, Purpose::Control, &this_session(), None);
    let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
    inbound.extend_from_slice(&sent(&mut client));
    handshake.advance(&mut inbound, &mut out).unwrap();
    receive(&mut client, &out).unwrap_err();
    inbound.extend_from_slice(&sent(&mut client));
    let error = handshake.advance(&mut inbound, &mut out).unwrap_err();
    assert!(matches!(error, TlsError::AlertReceived(_)), "{error}");
}

#[track_caller]
fn check_setup(change: impl FnOnce(&mut TlsOptions), expected: &str) {
    let mut changed = options();
    change(&mut changed);
    let error: TlsSetupError = ServerTls::new(changed).err().unwrap();
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn impossible_settings_are_explained() {
    let suites = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
    check_setup(|o| o.certificates.clear(), "no server certificate");
    check_setup(|o| o.versions = TlsVersions { tls12: false, tls13: false }, "enable at least");
    check_setup(
        |o| o.cipher_suites = suites(&["TLS_RSA_WITH_RC4_128_MD5"]),
        "unknown cipher suite \"TLS_RSA_WITH_RC4_128_MD5\"; known are: TLS_AES_128_GCM_SHA256, ",
    );
    check_setup(
        |o| o.cipher_suites = suites(&["TLS13_AES_128_GCM_SHA256"]),
        "TLS 1.2 is enabled but none of its cipher suites is; disable it or add: TLS_ECDHE_ECDSA",
    );
    check_setup(|o| o.ticket_lifetime = Duration::ZERO, "ticket lifetime of 0 s");
    check_setup(|o| o.ticket_lifetime = LIFETIME * 1000, "7 days");
    check_setup(
        |o| o.client_ca = Some(text("ca.pem", "nothing")),
        "in ca.pem cannot be used: the PEM text has no section",
    );
}

/// What a client that offers `offered` in ALPN (RFC 7301) is given, or refused with.
#[track_caller]
fn check_protocol(purpose: Purpose, offered: &[&[u8]], expected: Result<Option<&[u8]>, Alert>) {
    let tls = server(options());
    for kind in [TLS12, TLS13] {
        let mut config = (*client_config(&tls, kind, None)).clone();
        config.alpn_protocols = offered.iter().map(|&name| name.to_vec()).collect();
        let mut client = client(&Arc::new(config), "localhost");
        let mut handshake = Handshake::new(&tls, purpose, &this_session(), None);
        let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
        inbound.extend_from_slice(&sent(&mut client));
        let answered = handshake.advance(&mut inbound, &mut out).map(drop);
        let received = receive(&mut client, &out).map(drop);
        match expected {
            Ok(name) => assert_eq!((answered, client.alpn_protocol()), (Ok(()), name)),
            Err(alert) => {
                assert!(answered.is_err(), "{offered:?}");
                assert_eq!(received, Err(rustls::Error::AlertReceived(alert)));
            }
        }
    }
}

/// A client that was led here from another protocol's server (ALPACA) is refused.
#[test]
fn application_protocols() {
    let refused = Err(Alert::NoApplicationProtocol);
    for purpose in [Purpose::Control, Purpose::Data] {
        check_protocol(purpose, &[], Ok(None));
        check_protocol(purpose, &[b"h2", b"ftp"], Ok(Some(b"ftp")));
        check_protocol(purpose, &[b"x-filezilla-ftp"], Ok(Some(b"x-filezilla-ftp")));
        check_protocol(purpose, &[b"x-filezilla-ftp", b"ftp"], Ok(Some(b"ftp")));
        check_protocol(purpose, &[b"h2", b"http/1.1"], refused);
        check_protocol(purpose, &[b"smtp"], refused);
        check_protocol(purpose, &[b"FTP"], refused);
    }
    check_protocol(Purpose::Control, &[b"ftp-data"], refused);
    check_protocol(Purpose::Data, &[b"ftp-data"], Ok(Some(b"ftp-data")));
    check_protocol(Purpose::Data, &[b"ftp", b"ftp-data"], Ok(Some(b"ftp-data")));
}
