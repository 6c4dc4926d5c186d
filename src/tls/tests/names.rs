//! Several certificates: which one a client gets, and that no session of one name resumes under
//! another (RFC 6066 §3).

use std::sync::OnceLock;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::UnixTime;
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::*;
use crate::tls::{Resumption, sha256_fingerprint};

/// The default one for `first.example`, and two more.
fn several() -> Arc<ServerTls> {
    let mut several = options();
    several.certificates = vec![
        certificate(&["first.example"]),
        certificate(&["*.second.example", "localhost"]),
        certificate(&["a.second.example", "xn--e1afmkfd.example"]),
    ];
    server(several)
}

fn quiet(config: &Arc<ClientConfig>) -> Arc<ClientConfig> {
    let mut quiet = (**config).clone();
    quiet.enable_sni = false;
    Arc::new(quiet)
}

/// Takes note of the certificate, and takes it.
#[derive(Debug, Default)]
struct Witness(OnceLock<CertificateDer<'static>>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.get_or_init(|| end_entity.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The number of the certificate that a client is shown that sends `sni`, or none.
#[track_caller]
fn shown(
    tls: &Arc<ServerTls>,
    kind: Kind,
    (purpose, session): (Purpose, &Arc<ControlSession>),
    sni: Option<&'static str>,
    host: Option<&str>,
) -> usize {
    let witness = Arc::new(Witness::default());
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[kind.version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    config.enable_sni = sni.is_some();
    let mut client = client(&Arc::new(config), sni.unwrap_or("any.example"));
    let mut handshake = Handshake::new(tls, purpose, session, host);
    let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
    inbound.extend_from_slice(&sent(&mut client));
    handshake.advance(&mut inbound, &mut out).unwrap();
    receive(&mut client, &out).unwrap();
    let seen = sha256_fingerprint(witness.0.get().unwrap());
    tls.certificates().iter().position(|own| own.fingerprint() == seen).unwrap()
}

#[test]
fn certificates_are_chosen_by_name() {
    let tls = several();
    let check = |sni, host, index| {
        for kind in [TLS13, TLS12] {
            let session = ControlSession::new().unwrap();
            let shown = shown(&tls, kind, (Purpose::Control, &session), sni, host);
            assert_eq!(shown, index, "{sni:?} {host:?}");
        }
    };
    check(Some("first.example"), None, 0);
    check(Some("b.second.example"), None, 1);
    check(Some("a.second.example"), None, 2);
    check(Some("A.Second.EXAMPLE"), None, 2);
    check(Some("a.second.example."), None, 2);
    check(Some("xn--e1afmkfd.example"), None, 2);
    check(Some("second.example"), None, 0);
    check(Some("c.a.second.example"), None, 0);
    check(Some("unknown.example"), None, 0);
    check(Some("b.second.example"), Some("first.example"), 1);
    check(Some("unknown.example"), Some("localhost"), 0);
    check(None, None, 0);
    check(None, Some("LOCALHOST"), 1);
    check(None, Some("unknown.example"), 0);
    // An address is no server name.
    check(Some("127.0.0.1"), None, 0);
}

/// Of those for a name the client gets one that it can verify, and no other's.
#[test]
fn a_key_that_the_client_cannot_verify_is_passed_over() {
    let of = |algorithm, names: &[&str]| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let (chain, key) = (text("chain", &made.pem()), text("key", &key.serialize_pem()));
        ServerCertificate::from_pem(&chain, &key).unwrap()
    };
    let (p256, p384) = (&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384);
    let tls = server(TlsOptions {
        certificates: vec![
            of(p256, &["both.example"]),
            of(p384, &["both.example", "p384.example"]),
            of(p256, &["p256.example"]),
        ],
        ..options()
    });
    let mut provider = aws_lc_rs::default_provider();
    let known = provider.signature_verification_algorithms.mapping;
    let wanted = SignatureScheme::ECDSA_NISTP256_SHA256;
    let mapping: Vec<_> = known.iter().filter(|(scheme, _)| *scheme == wanted).copied().collect();
    provider.signature_verification_algorithms.mapping = mapping.leak();
    let roots = tls.certificates().iter().map(|own| own.certified().cert[0].clone());
    let mut store = RootCertStore::empty();
    roots.for_each(|root| store.add(root).unwrap());
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let config = Arc::new(config);
    let session = || ControlSession::new().unwrap();
    let all = usize::MAX;
    for (name, expected) in [("both.example", 0), ("p256.example", 2)] {
        let mut client = client(&config, name);
        connect_in_pieces(&tls, Purpose::Control, &session(), &mut client, all).unwrap();
        let shown = sha256_fingerprint(&client.peer_certificates().unwrap()[0]);
        assert_eq!(shown, tls.certificates()[expected].fingerprint(), "{name}");
    }
    let mut refused = client(&config, "p384.example");
    connect_in_pieces(&tls, Purpose::Control, &session(), &mut refused, all).err().unwrap();
}

/// A client that names nobody on the data connection gets the certificate of its control
/// connection, whether that had the name from SNI or from HOST.
#[test]
fn data_connections_are_of_the_control_connections_name() {
    let tls = several();
    for kind in [TLS13, TLS12] {
        for (host, sni, expected) in [
            (None, Some("a.second.example"), 2),
            (None, Some("b.second.example"), 1),
            (Some("localhost"), None, 1),
            (None, None, 0),
        ] {
            let session = ControlSession::new().unwrap();
            let (control, data) = ((Purpose::Control, &session), (Purpose::Data, &session));
            assert_eq!(shown(&tls, kind, control, sni, host), expected);
            assert_eq!(shown(&tls, kind, data, None, None), expected);
            assert_eq!(shown(&tls, kind, data, Some("first.example"), None), 0);
        }
    }
}

/// One connection of a client whose tickets are all in `config`, whatever the name.
fn resumption(
    tls: &Arc<ServerTls>,
    config: &Arc<ClientConfig>,
    (session, purpose): (&Arc<ControlSession>, Purpose),
    (name, host): (&'static str, Option<&str>),
) -> Resumption {
    let mut client = client(config, name);
    let mut handshake = Handshake::new(tls, purpose, session, host);
    let (mut inbound, mut out) = (RecvBuffer::new(), Vec::new());
    loop {
        inbound.extend_from_slice(&sent(&mut client));
        let progress = handshake.advance(&mut inbound, &mut out).unwrap();
        receive(&mut client, &out).unwrap();
        out.clear();
        if progress == Progress::Established {
            return handshake.finish().unwrap().1.resumption;
        }
    }
}

/// A client that offers every session under every name.
#[derive(Debug)]
struct OneForAll(Arc<dyn rustls::client::ClientSessionStore>);

fn any_name() -> ServerName<'static> {
    ServerName::try_from("any").unwrap()
}

impl rustls::client::ClientSessionStore for OneForAll {
    fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(any_name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&any_name())
    }

    fn set_tls12_session(
        &self,
        _: ServerName<'static>,
        session: rustls::client::Tls12ClientSessionValue,
    ) {
        self.0.set_tls12_session(any_name(), session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&any_name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&any_name());
    }

    fn insert_tls13_ticket(
        &self,
        _: ServerName<'static>,
        ticket: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(any_name(), ticket);
    }

    fn take_tls13_ticket(
        &self,
        _: &ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&any_name())
    }
}

/// As such a client, with tickets or, in TLS 1.2, with session IDs.
fn confused(tls: &ServerTls, kind: Kind, by_id: bool) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(client_config(tls, kind, None));
    let store = Arc::new(rustls::client::ClientSessionMemoryCache::new(64));
    config.resumption = rustls::client::Resumption::store(Arc::new(OneForAll(store)));
    let config = Arc::new(config);
    if !by_id {
        return config;
    }
    let mut config = Arc::unwrap_or_clone(config);
    config.resumption = config.resumption.tls12_resumption(Tls12Resumption::SessionIdOnly);
    Arc::new(config)
}

/// RFC 6066 §3.
#[test]
fn no_session_of_one_name_resumes_under_another() {
    let tls = several();
    let (control, data) = (Purpose::Control, Purpose::Data);
    let (first, second) = (("first.example", None), ("a.second.example", None));
    for (kind, by_id) in [(TLS13, false), (TLS12, false), (TLS12, true)] {
        let try_it = |made: (&'static str, Option<&str>), used, quietly: bool| {
            let config = confused(&tls, kind, by_id);
            let config = if quietly { quiet(&config) } else { config };
            let session = ControlSession::new().unwrap();
            let seen = resumption(&tls, &config, (&session, control), made);
            assert_eq!(seen, Resumption::NotOffered);
            // On a data connection, and as the next control connection, which knows no IDs.
            let of_data = resumption(&tls, &config, (&session, data), used);
            let next = ControlSession::new().unwrap();
            (of_data, resumption(&tls, &config, (&next, control), used))
        };
        for (made, used) in [(first, second), (second, first)] {
            let (of_data, next) = try_it(made, used, false);
            assert_eq!(of_data, Resumption::Declined);
            assert!(!next.is_resumed(), "{next:?}");
            let (of_data, next) = try_it(made, made, false);
            assert_eq!(of_data, Resumption::ThisSession);
            assert_eq!(next.is_resumed(), !by_id, "{next:?}");
        }
        // The name of HOST, where the client sends no SNI, has chosen the certificate, too.
        let (plain, named) = (("first.example", None), ("localhost", Some("localhost")));
        for (made, used) in [(plain, named), (named, plain)] {
            assert!(!try_it(made, used, true).1.is_resumed(), "{made:?} {used:?}");
        }
        let (of_data, next) = try_it(named, ("localhost", Some("LocalHost")), true);
        assert_eq!((of_data, next.is_resumed()), (Resumption::ThisSession, !by_id));
    }
}

/// A ticket that the control connection gives later is of its name, too.
#[test]
fn further_tickets_are_of_the_name() {
    let tls = several();
    let config = confused(&tls, TLS13, false);
    let (session, all) = (ControlSession::new().unwrap(), usize::MAX);
    let mut control = client(&config, "first.example");
    let mut server =
        connect_in_pieces(&tls, Purpose::Control, &session, &mut control, all).unwrap();
    for (name, expected) in
        [("first.example", Resumption::ThisSession), ("a.second.example", Resumption::Declined)]
    {
        // Uses up those of the handshakes.
        for _ in 0..4 {
            sent(&mut client(&config, "first.example"));
        }
        let mut out = Vec::new();
        let message = tls.new_ticket(&session).unwrap();
        server.channel.seal_ticket(&message, &mut out).unwrap();
        receive(&mut control, &out).unwrap();
        let seen = resumption(&tls, &config, (&session, Purpose::Data), (name, None));
        assert_eq!(seen, expected, "{name}");
    }
}
