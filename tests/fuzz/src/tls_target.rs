//! TLS records nobody honest sends: into a handshake, and into an established session.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ringftpd::buffer::RecvBuffer;
use ringftpd::protocol::policy::DataResumption;
use ringftpd::protocol::session::AfterTls;
use ringftpd::tls::{
    Channel, Claim, ControlSession, Drain, DrainProgress, Handshake, Heard, OpenedRecord, PemText,
    Progress, Purpose, ServerCertificate, ServerTls, TicketSecrets, TlsOptions, TlsProfile,
    TlsVersions, is_tls_record,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

struct Setup {
    server: Arc<ServerTls>,
    client: Arc<ClientConfig>,
}

static SETUP: LazyLock<Option<Setup>> = LazyLock::new(|| set_up().ok());

fn pem(text: &str) -> PemText {
    PemText { origin: "memory".to_owned(), pem: text.as_bytes().to_vec() }
}

fn set_up() -> Result<Setup, Box<dyn std::error::Error>> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let certificate =
        rcgen::CertificateParams::new(vec!["fuzz.test".to_owned()])?.self_signed(&key)?;
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let certificates = vec![ServerCertificate::from_pem(&pem(&chain), &pem(&key))?];
    let server = ServerTls::new(TlsOptions {
        certificates,
        profile: TlsProfile::Balanced,
        versions: TlsVersions::default(),
        groups: None,
        cipher_suites: None,
        client_ca: None,
        client_fingerprints: BTreeSet::new(),
        resumption: DataResumption::Prefer,
        ticket_secrets: TicketSecrets::only([7; 32]),
        ticket_lifetime: Duration::from_secs(3_600),
    })?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der().to_vec()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Setup { server, client: Arc::new(client) })
}

/// The first octet chooses: 0 octets into a fresh handshake · 1 a sealed record with changed
/// octets · 2 forged records behind an honest one · 3 octets while leaving TLS. Nothing panics, and
/// what is delivered is what the client sealed.
pub fn tls_record(data: &[u8]) {
    let _ = is_tls_record(data);
    let Some((&choice, octets)) = data.split_first() else { return };
    let setup = SETUP.as_ref().expect("a certificate of our own");
    match choice % 4 {
        0 => into_handshake(setup, octets),
        1 => changed_record(setup, octets),
        2 => forged_record(setup, octets),
        _ => into_drain(setup, octets),
    }
}

fn into_handshake(setup: &Setup, octets: &[u8]) {
    // A passive port that sessions share reads them first: none of a stranger's names a session.
    if let Heard::Hello(claim) = Claim::hear(octets) {
        let session = ControlSession::new().expect("random numbers");
        assert!(!claim.opened_by(&setup.server).are_of(&session) && !claim.is_by_id_of(&session));
    }
    let mut handshake = server(setup);
    let (mut raw, mut out) = (RecvBuffer::new(), Vec::new());
    for segment in octets.chunks(11) {
        raw.extend_from_slice(segment);
        match handshake.advance(&mut raw, &mut out) {
            Ok(Progress::NeedBytes) => {}
            Ok(Progress::Established) => panic!("established by {}", octets.escape_ascii()),
            Err(_) => return,
        }
    }
}

fn changed_record(setup: &Setup, octets: &[u8]) {
    let (mut channel, mut raw, mut client) = established(setup);
    let sent = b"RETR a file\r\n";
    client.writer().write_all(sent).expect("writing to memory");
    let mut record = flush(&mut client);
    let original = record.clone();
    for pair in octets.chunks_exact(2) {
        let at = usize::from(pair[0]) % record.len();
        record[at] ^= pair[1];
    }
    raw.extend_from_slice(&record);
    let received = receive(&mut channel, &mut raw);
    assert!(received.is_empty() || record == original, "a changed record was accepted");
    assert!(record != original || received == sent);
}

fn forged_record(setup: &Setup, octets: &[u8]) {
    let (mut channel, mut raw, mut client) = established(setup);
    let sent = b"NOOP\r\n";
    client.writer().write_all(sent).expect("writing to memory");
    raw.extend_from_slice(&flush(&mut client));
    raw.extend_from_slice(octets);
    assert_eq!(receive(&mut channel, &mut raw), sent);
}

fn into_drain(setup: &Setup, octets: &[u8]) {
    let (first, octets) = octets.split_first().unwrap_or((&0, &[]));
    let (mut channel, mut raw, _) = established(setup);
    channel.seal_close_notify(&mut Vec::new()).expect("close_notify");
    let after = if first % 2 == 0 { AfterTls::Implicit } else { AfterTls::Clear };
    let mut drain = Drain::new(channel, after);
    raw.extend_from_slice(octets);
    // No record is sealed for this session, so all octets belong to the next state or to nobody.
    if let Ok(DrainProgress::Finished) = drain.advance(&mut raw) {
        assert_eq!(raw.filled(), octets);
    }
}

fn server(setup: &Setup) -> Handshake {
    let session = ControlSession::new().expect("random numbers");
    Handshake::new(&setup.server, Purpose::Control, &session, None)
}

fn established(setup: &Setup) -> (Channel, RecvBuffer, ClientConnection) {
    let mut handshake = server(setup);
    let name = ServerName::try_from("fuzz.test").expect("a name");
    let mut client = ClientConnection::new(setup.client.clone(), name).expect("a client");
    let (mut raw, mut out) = (RecvBuffer::new(), Vec::new());
    loop {
        raw.extend_from_slice(&flush(&mut client));
        let progress = handshake.advance(&mut raw, &mut out).expect("an honest handshake");
        let mut said = &std::mem::take(&mut out)[..];
        while !said.is_empty() {
            client.read_tls(&mut said).expect("reading from memory");
            client.process_new_packets().expect("an honest server");
        }
        if progress == Progress::Established {
            return (handshake.finish().expect("established").0, raw, client);
        }
    }
}

fn flush(client: &mut ClientConnection) -> Vec<u8> {
    let mut octets = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut octets).expect("writing to memory");
    }
    octets
}

/// All application data up to the first error.
fn receive(channel: &mut Channel, raw: &mut RecvBuffer) -> Vec<u8> {
    let mut received = Vec::new();
    loop {
        match channel.open(raw.filled_mut(), &mut Vec::new()) {
            Ok(OpenedRecord::Data { consumed, plaintext }) => {
                received.extend_from_slice(&raw.filled()[plaintext]);
                raw.consume(consumed);
            }
            Ok(OpenedRecord::Handled { consumed }) => raw.consume(consumed),
            Ok(OpenedRecord::Incomplete | OpenedRecord::CloseNotify { .. }) | Err(_) => {
                return received;
            }
        }
    }
}
