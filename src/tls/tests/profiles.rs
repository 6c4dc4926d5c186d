//! What each profile agrees on with which client, and that sessions resume under it.

use super::*;
use crate::tls::{GROUPS, POST_QUANTUM, TlsProfile};
use TlsProfile::{Balanced, PostQuantum, Throughput};

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];
const ONLY12: &[&SupportedProtocolVersion] = &[&version::TLS12];
const ONLY13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// A client that offers these versions, and these groups in this order.
fn offering(
    tls: &ServerTls,
    versions: &[&'static SupportedProtocolVersion],
    groups: &[&str],
) -> Arc<ClientConfig> {
    let suites = aws_lc_rs::default_provider().cipher_suites;
    let config = client_config_with(tls, versions, &suites, None);
    let named = |name: &&str| {
        let all = aws_lc_rs::ALL_KX_GROUPS;
        *all.iter().find(|group| group.name().as_str() == Some(*name)).unwrap()
    };
    let provider = CryptoProvider {
        kx_groups: groups.iter().map(named).collect(),
        ..(**config.crypto_provider()).clone()
    };
    let mut roots = RootCertStore::empty();
    roots.add(tls.certificates()[0].certified().cert[0].clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn of(profile: TlsProfile) -> Arc<ServerTls> {
    server(TlsOptions { profile, ..options() })
}

#[test]
fn what_is_agreed_on() {
    const CLASSIC: &[&str] = &["X25519", "secp256r1"];
    const QUANTUM_LAST: &[&str] = &["X25519", POST_QUANTUM];
    const QUANTUM_FIRST: &[&str] = &[POST_QUANTUM, "X25519"];
    for (profile, versions, groups, expected) in [
        (Balanced, BOTH, CLASSIC, ("TLSv1.3", "X25519")),
        (Balanced, ONLY12, CLASSIC, ("TLSv1.2", "X25519")),
        (Balanced, BOTH, QUANTUM_LAST, ("TLSv1.3", "X25519")),
        (Balanced, BOTH, QUANTUM_FIRST, ("TLSv1.3", POST_QUANTUM)),
        (Balanced, BOTH, &["secp384r1", "X25519"], ("TLSv1.3", "secp384r1")),
        (Throughput, BOTH, CLASSIC, ("TLSv1.2", "X25519")),
        (Throughput, BOTH, QUANTUM_FIRST, ("TLSv1.2", "X25519")),
        (Throughput, ONLY12, CLASSIC, ("TLSv1.2", "X25519")),
        (Throughput, ONLY13, CLASSIC, ("TLSv1.3", "X25519")),
        // TLS 1.2 has no such group, so this client gets TLS 1.3.
        (Throughput, BOTH, &[POST_QUANTUM], ("TLSv1.3", POST_QUANTUM)),
        // Not guessed, so it takes a HelloRetryRequest.
        (PostQuantum, BOTH, QUANTUM_LAST, ("TLSv1.3", POST_QUANTUM)),
        (PostQuantum, BOTH, QUANTUM_FIRST, ("TLSv1.3", POST_QUANTUM)),
        (PostQuantum, BOTH, CLASSIC, ("TLSv1.3", "X25519")),
        (PostQuantum, ONLY12, CLASSIC, ("TLSv1.2", "X25519")),
    ] {
        let tls = of(profile);
        // Whole, and octet by octet: what is agreed on must not depend on segments.
        for piece in [usize::MAX, 1] {
            let config = offering(&tls, versions, groups);
            let mut client = client(&config, "localhost");
            let (purpose, session) = (Purpose::Control, this_session());
            let ended = connect_in_pieces(&tls, purpose, &session, &mut client, piece).unwrap();
            let agreed = (ended.facts.version.name(), ended.facts.group.as_deref().unwrap());
            let kinds = versions.len();
            assert_eq!(agreed, expected, "{profile:?}, {kinds} versions, {groups:?}");
            assert_eq!(ended.facts.is_post_quantum(), expected.1 == POST_QUANTUM);
        }
    }
}

/// Data connections resume under every profile, with clients of every version.
#[test]
fn sessions_resume() {
    for profile in [Balanced, Throughput, PostQuantum] {
        for versions in [BOTH, ONLY12, ONLY13] {
            let tls = of(profile);
            let config = offering(&tls, versions, &GROUPS);
            let session = this_session();
            for (purpose, resumes) in
                [(Purpose::Control, false), (Purpose::Data, true), (Purpose::Data, true)]
            {
                let mut client = client(&config, "localhost");
                let ended =
                    connect_in_pieces(&tls, purpose, &session, &mut client, usize::MAX).unwrap();
                let found = ended.facts.resumption;
                let versions = versions.len();
                assert_eq!(found.is_this_session(), resumes, "{profile:?}, {versions}: {found}");
            }
        }
    }
}

#[test]
fn groups_are_those_allowed() {
    let tls = server(TlsOptions { groups: Some(vec!["secp384r1".to_owned()]), ..options() });
    let mut wide = client(&offering(&tls, BOTH, &GROUPS), "localhost");
    assert_eq!(connect(&tls, &mut wide).facts.group.as_deref(), Some("secp384r1"));
    let mut narrow = client(&offering(&tls, BOTH, &["X25519"]), "localhost");
    let (purpose, session) = (Purpose::Control, this_session());
    connect_in_pieces(&tls, purpose, &session, &mut narrow, usize::MAX).map(drop).unwrap_err();
    let unknown = TlsOptions { groups: Some(vec!["X448".to_owned()]), ..options() };
    let error = ServerTls::new(unknown).unwrap_err().to_string();
    assert!(error.contains("X448") && error.contains(POST_QUANTUM), "{error}");
}
