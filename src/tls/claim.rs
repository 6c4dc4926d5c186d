//! Whose a data connection says it is: the tickets and the session ID that its ClientHello offers,
//! read before anything is answered. That only tells to whom it is given; what it proves is the
//! handshake's to find out.

use super::client_hello::Resumable;
use super::control_session::SessionId;
use super::messages::CLIENT_HELLO;
use super::record::{HANDSHAKE, HEADER_BYTES, Header};
use super::{ControlSession, ServerTls};
use crate::limits::{TLS_FRAGMENT_BYTES_MAX, UNDECIDED_BYTES_MAX};

/// Tickets of one ClientHello that are opened. Clients offer one.
const TICKETS_MAX: usize = 4;

/// Records that a ClientHello may be spread over. Clients make it one.
const RECORDS_MAX: usize = 4;

/// Type and length of a message.
const MESSAGE_HEADER_BYTES: usize = 4;

/// What a client offers to resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    session_id: Vec<u8>,
    tickets: Vec<Vec<u8>>,
}

/// What the first octets of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The beginning of a ClientHello.
    Part,
    /// A whole one.
    Hello(Claim),
    /// Something else, or a ClientHello that is too long or broken.
    Else,
}

/// The control sessions that the tickets of a claim are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedTickets(Vec<SessionId>);

impl Claim {
    /// Reads all that came of a connection so far.
    #[must_use]
    pub fn hear(mut octets: &[u8]) -> Heard {
        if octets.len() > UNDECIDED_BYTES_MAX {
            return Heard::Else;
        }
        let mut message = Vec::new();
        for _ in 0..RECORDS_MAX {
            if octets.first().is_some_and(|kind| *kind != HANDSHAKE) {
                return Heard::Else;
            }
            let Some(header) = Header::parse(octets) else { return Heard::Part };
            let sound = header.major == 3 && (1..=TLS_FRAGMENT_BYTES_MAX).contains(&header.length);
            let end = HEADER_BYTES + header.length;
            if !sound || end > UNDECIDED_BYTES_MAX {
                return Heard::Else;
            }
            let Some(record) = octets.get(..end) else { return Heard::Part };
            message.extend_from_slice(&record[HEADER_BYTES..]);
            octets = &octets[end..];
            if message[0] != CLIENT_HELLO {
                return Heard::Else;
            }
            if let [_, high, middle, low, ..] = message[..] {
                let length = u32::from_be_bytes([0, high, middle, low]);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > UNDECIDED_BYTES_MAX {
                    return Heard::Else;
                }
                if message.len() - MESSAGE_HEADER_BYTES >= length {
                    return Self::of(&message);
                }
            }
        }
        Heard::Else
    }

    fn of(message: &[u8]) -> Heard {
        let Some(resumable) = Resumable::parse(message, TICKETS_MAX) else { return Heard::Else };
        let tickets = resumable.tickets.into_iter().map(<[u8]>::to_vec).collect();
        Heard::Hello(Self { session_id: resumable.session_id.to_vec(), tickets })
    }

    /// Those of its tickets that are of this server, or of one with the same secrets.
    #[must_use]
    pub fn opened_by(&self, tls: &ServerTls) -> ClaimedTickets {
        ClaimedTickets(self.tickets.iter().filter_map(|ticket| tls.origin_of(ticket)).collect())
    }

    /// Whether it names the session that `session` keeps for clients without tickets.
    #[must_use]
    pub fn is_by_id_of(&self, session: &ControlSession) -> bool {
        !self.session_id.is_empty() && session.knows(&self.session_id)
    }
}

impl ClaimedTickets {
    /// Whether one is of this control session.
    #[must_use]
    pub fn are_of(&self, session: &ControlSession) -> bool {
        self.0.iter().any(|id| session.is(*id))
    }
}
