//! The octets of one control connection on their way between socket and session: clear, in a TLS
//! handshake, protected, or leaving TLS. Works on buffers; the socket belongs to `control`.

use std::time::Instant;

use bytes::{Buf, BytesMut};

use crate::buffer::RecvBuffer;
use crate::protocol::session::{AfterTls, Session};
use crate::tls::{
    Channel, Drain, DrainProgress, Handshake, HandshakeFacts, OpenedRecord, Progress, TlsError,
};

/// What lies between the socket and the session.
pub(crate) enum Wire {
    /// Commands and replies in clear.
    Clear,
    /// A TLS handshake.
    Handshake(Box<Handshake>),
    /// Commands and replies inside TLS.
    Protected(Box<Channel>),
    /// Our close_notify is out; what still arrives of the old TLS session is dropped.
    Draining(Box<Drain>),
}

/// What one [`Wire::step`] found.
pub(crate) enum Step {
    /// Nothing to do before more octets arrive.
    NeedBytes,
    /// Octets went to the session, or TLS went on; there may be more.
    Progress,
    /// The handshake is complete.
    Established(Box<HandshakeFacts>),
    /// The old TLS session is gone; the wire is clear.
    Drained,
    /// The client ended its half by close_notify.
    Closed,
}

impl Wire {
    /// Takes the next piece of `raw`: at most one record, or what the session has room for. `plain`
    /// keeps decrypted octets the session had no room for; messages of TLS itself go to `out`.
    ///
    /// # Errors
    ///
    /// The TLS session is beyond repair; an alert may be in `out`.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        session: &mut Session,
        raw: &mut RecvBuffer,
        plain: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Result<Step, TlsError> {
        match self {
            Self::Clear => Ok(feed_clear(now, session, raw)),
            Self::Handshake(handshake) => match handshake.advance(raw, out)? {
                Progress::NeedBytes => Ok(Step::NeedBytes),
                Progress::Established => self.establish(),
            },
            Self::Protected(channel) => feed_protected(now, channel, session, raw, plain, out),
            Self::Draining(drain) => match drain.advance(raw)? {
                DrainProgress::NeedBytes => Ok(Step::NeedBytes),
                DrainProgress::Finished => {
                    *self = Self::Clear;
                    Ok(Step::Drained)
                }
            },
        }
    }

    fn establish(&mut self) -> Result<Step, TlsError> {
        let Self::Handshake(handshake) = std::mem::replace(self, Self::Clear) else {
            return Ok(Step::NeedBytes);
        };
        let (channel, facts) = handshake.finish()?;
        *self = Self::Protected(Box::new(channel));
        Ok(Step::Established(Box::new(facts)))
    }

    /// Appends a reply to `out` as it goes on the wire.
    ///
    /// # Errors
    ///
    /// As [`Channel::seal`].
    pub(crate) fn send(&mut self, reply: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        match self {
            Self::Clear => {
                out.extend_from_slice(reply);
                Ok(())
            }
            Self::Protected(channel) => channel.seal(reply, out),
            // The session sends no reply while TLS begins or ends.
            Self::Handshake(_) | Self::Draining(_) => {
                debug_assert!(false, "a reply between two TLS states");
                Ok(())
            }
        }
    }

    /// Appends a message that gives the client another session ticket.
    ///
    /// # Errors
    ///
    /// As [`Channel::seal_ticket`].
    pub(crate) fn send_ticket(
        &mut self,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        match self {
            Self::Protected(channel) => channel.seal_ticket(message, out),
            Self::Clear | Self::Handshake(_) | Self::Draining(_) => Ok(()),
        }
    }

    /// Starts leaving TLS: close_notify into `out`, then drain.
    ///
    /// # Errors
    ///
    /// As [`Channel::seal_close_notify`].
    pub(crate) fn shut_down_tls(
        &mut self,
        after: AfterTls,
        out: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        let Self::Protected(mut channel) = std::mem::replace(self, Self::Clear) else {
            return Ok(());
        };
        channel.seal_close_notify(out)?;
        *self = Self::Draining(Box::new(Drain::new(*channel, after)));
        Ok(())
    }

    /// Appends close_notify when the connection is protected.
    pub(crate) fn close_notify(&mut self, out: &mut Vec<u8>) {
        if let Self::Protected(channel) = self {
            // Nothing is lost when it cannot be sealed: the connection ends either way.
            let _ = channel.seal_close_notify(out);
        }
    }

    /// Whether octets must be read although the session takes no commands.
    pub(crate) fn is_between_states(&self) -> bool {
        matches!(self, Self::Handshake(_) | Self::Draining(_))
    }
}

fn feed_clear(now: Instant, session: &mut Session, raw: &mut RecvBuffer) -> Step {
    if raw.is_empty() || !session.wants_bytes() {
        return Step::NeedBytes;
    }
    let taken = session.feed(now, raw.filled());
    raw.consume(taken);
    Step::Progress
}

fn feed_protected(
    now: Instant,
    channel: &mut Channel,
    session: &mut Session,
    raw: &mut RecvBuffer,
    plain: &mut BytesMut,
    out: &mut Vec<u8>,
) -> Result<Step, TlsError> {
    if !session.wants_bytes() {
        return Ok(Step::NeedBytes);
    }
    if !plain.is_empty() {
        let taken = session.feed(now, plain);
        plain.advance(taken);
        return Ok(Step::Progress);
    }
    match channel.open(raw.filled_mut(), out)? {
        OpenedRecord::Incomplete => Ok(Step::NeedBytes),
        OpenedRecord::Handled { consumed } => {
            raw.consume(consumed);
            Ok(Step::Progress)
        }
        OpenedRecord::CloseNotify { consumed } => {
            raw.consume(consumed);
            Ok(Step::Closed)
        }
        OpenedRecord::Data { consumed, plaintext } => {
            let octets = &raw.filled()[plaintext];
            if !octets.is_empty() {
                let taken = session.feed(now, octets);
                plain.extend_from_slice(&octets[taken..]);
            }
            raw.consume(consumed);
            Ok(Step::Progress)
        }
    }
}

/// What the client still sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientSends {
    /// More octets may come.
    More,
    /// FIN or close_notify came; the session does not know yet.
    NoMore,
    /// As `NoMore`, and the session knows.
    NoMoreTold,
}
