//! Whose a connection says it is, before anything is answered.

use super::*;
use crate::limits::UNDECIDED_BYTES_MAX;
use crate::tls::{Claim, Heard};

fn claim(octets: &[u8]) -> Claim {
    match Claim::hear(octets) {
        Heard::Hello(claim) => claim,
        other => panic!("{other:?}"),
    }
}

/// The ClientHello of a data connection behind a control connection of `session`.
fn hello(
    tls: &Arc<ServerTls>,
    config: &Arc<ClientConfig>,
    session: &Arc<ControlSession>,
) -> Vec<u8> {
    let mut control = client(config, "localhost");
    connect_in_pieces(tls, Purpose::Control, session, &mut control, usize::MAX).unwrap();
    sent(&mut client(config, "localhost"))
}

#[test]
fn a_ticket_names_its_session() {
    for kind in kinds() {
        let tls = server(options());
        let (this, other) = (this_session(), other_session());
        let octets = hello(&tls, &client_config(&tls, kind, None), &this);
        let claim = claim(&octets);
        let tickets = claim.opened_by(&tls);
        assert!(tickets.are_of(&this) && !tickets.are_of(&other));
        assert!(!claim.is_by_id_of(&this), "a session ID beside a ticket is made up");
        // Another server with the same secret, and one with its own.
        assert!(claim.opened_by(&server(options())).are_of(&this));
        let ticket_secrets = TicketSecrets::only([8; 32]);
        let stranger = server(TlsOptions { ticket_secrets, ..options() });
        assert!(!claim.opened_by(&stranger).are_of(&this));
    }
}

#[test]
fn a_session_id_names_the_session_that_keeps_it() {
    for kind in kinds().into_iter().filter(|kind| *kind.version == version::TLS12) {
        let tls = server(options());
        let (this, other) = (this_session(), other_session());
        let config = without_tickets(client_config(&tls, kind, None));
        let claim = claim(&hello(&tls, &config, &this));
        assert!(claim.is_by_id_of(&this) && !claim.is_by_id_of(&other));
        assert!(!claim.opened_by(&tls).are_of(&this));
    }
}

#[test]
fn who_resumes_nothing_names_nobody() {
    for kind in kinds() {
        let tls = server(options());
        let this = this_session();
        let config = client_config(&tls, kind, None);
        let claim = claim(&sent(&mut client(&config, "localhost")));
        assert!(!claim.opened_by(&tls).are_of(&this) && !claim.is_by_id_of(&this));
    }
}

/// However it comes, and nothing else is taken for it.
#[test]
fn a_whole_hello_and_nothing_else() {
    let tls = server(options());
    let this = this_session();
    let octets = hello(&tls, &client_config(&tls, TLS13, None), &this);
    for length in 0..octets.len() {
        assert_eq!(Claim::hear(&octets[..length]), Heard::Part, "{length}");
    }
    let whole = claim(&octets);
    assert_eq!(claim(&[&octets[..], b"behind"].concat()), whole);
    // In several records, and in too many.
    let records = |pieces: usize| -> Vec<u8> {
        let body = &octets[5..];
        let pieces = body.chunks(body.len().div_ceil(pieces));
        pieces
            .flat_map(|piece| {
                let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                [&[22, 3, 1][..], &length, piece].concat()
            })
            .collect()
    };
    for pieces in 1..=4 {
        let split = records(pieces);
        assert_eq!(claim(&split), whole, "{pieces}");
        for length in 0..split.len() {
            assert_eq!(Claim::hear(&split[..length]), Heard::Part, "{pieces}: {length}");
        }
    }
    assert_eq!(Claim::hear(&records(5)), Heard::Else);
    for other in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"content of a file",
        &[23, 3, 3, 0, 1, 0],
        &[22, 2, 0, 0, 1],
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 0xff, 0xff],
        &[22, 3, 1, 0, 4, 2, 0, 0, 0],
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
        &[22, 3, 1, 0, 4, 1, 1, 0, 0],
    ] {
        assert_eq!(Claim::hear(other), Heard::Else, "{other:?}");
    }
    assert_eq!(Claim::hear(&vec![22; UNDECIDED_BYTES_MAX + 1]), Heard::Else);
    for position in 0..octets.len() {
        let mut damaged = octets.clone();
        damaged[position] ^= 0x55;
        let heard = Claim::hear(&damaged);
        if let Heard::Hello(claim) = heard {
            let _ = claim.opened_by(&tls);
        }
    }
}
