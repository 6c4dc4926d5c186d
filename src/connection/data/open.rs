//! How a data connection is made (RFC 959 §3.2): the client connects to the announced port, or the
//! server connects; then the TLS handshake, and what that proves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::DataConnection;
use super::interrupts::Interrupts;
use crate::clock;
use crate::connection::arrivals::handshake::{DataHandshake, DataTls, Secured};
use crate::connection::arrivals::proof::Verdict;
use crate::connection::ports::session::{PassiveListener, ServedPort};
use crate::metrics::{Latencies, Phase};
use crate::protocol::session::TransferError;
use crate::runtime::{Stream, connect, timeout_at};
use crate::tls::{HandshakeFacts, TlsVersion};

/// Where the data connection comes from.
pub(crate) enum Origin {
    /// The client connects to this port.
    Passive(PassiveListener),
    /// The server connects to this address, from the port of RFC 959 §5.2 if it may.
    Active {
        /// Checked address of PORT or EPRT.
        peer: SocketAddr,
        /// Our end of the control connection (RFC 1123 §4.1.2.12).
        local: SocketAddr,
    },
    /// The passive port is gone already.
    Nothing,
}

/// Why there is no data connection for the transfer.
pub(crate) struct Refused {
    /// The connection that was refused, if there is one. It stays open until the client has read
    /// the reply.
    pub(crate) connection: Option<DataConnection>,
    pub(crate) error: TransferError,
}

/// What a transfer moves over, and what its handshake agreed on.
pub(crate) type Connected = (DataConnection, Option<HandshakeFacts>);

/// A data connection before its TLS.
struct Raw {
    stream: Stream,
    /// The port it came to, until it is known whether that serves again.
    port: Option<ServedPort>,
    /// The handshake, if it was made at the port.
    secured: Option<Box<Secured>>,
    /// Why it does not get the transfer.
    refusal: Option<TransferError>,
}

/// Waits for the client, or connects to it, until `deadline`. With `tls` the handshake is made and
/// judged; with `hold` TLS 1.3 tickets are kept back until the next octets are sent.
///
/// # Errors
///
/// [`Refused`].
pub(crate) async fn open(
    origin: Origin,
    tls: Option<&DataTls>,
    deadline: Instant,
    interrupts: Interrupts,
    hold: bool,
    latencies: &Latencies,
) -> Result<Connected, Refused> {
    let opened = interrupts.guard(open_raw(origin, tls, deadline, latencies)).await;
    let raw = opened.map_err(|error| Refused { connection: None, error })?;
    let mut connection = DataConnection::clear(raw.stream, interrupts);
    // In clear nothing proves that the client made the connection, so its port does not serve
    // again.
    let Some(tls) = tls else { return Ok((connection, None)) };
    let made = (raw.secured, raw.refusal);
    match protect(&mut connection, made, raw.port, tls, deadline, hold).await {
        Ok((facts, took)) => {
            let resumed = facts.resumption.is_resumed();
            let phase =
                if resumed { Phase::ResumedDataHandshake } else { Phase::FullDataHandshake };
            latencies.record(phase, took);
            Ok((connection, Some(facts)))
        }
        Err(error) => Err(Refused { connection: Some(connection), error }),
    }
}

async fn open_raw(
    origin: Origin,
    tls: Option<&DataTls>,
    deadline: Instant,
    latencies: &Latencies,
) -> Result<Raw, TransferError> {
    match origin {
        Origin::Nothing => Err(TransferError::NotOpened),
        Origin::Passive(listener) => {
            let (arrived, port) = listener.connection(tls.cloned(), deadline).await?;
            let (stream, secured, refusal) = (arrived.stream, arrived.secured, arrived.refusal);
            Ok(Raw { stream, port: Some(port), secured, refusal })
        }
        Origin::Active { peer, local } => {
            // RFC 959 §5.2, MS-FTPS 1.9: port L-1, that is 20 or 989.
            let source = local.port().checked_sub(1).filter(|&port| port != 0);
            let start = clock::now();
            let connected = timeout_at(deadline, connect(local, peer, source)).await.ok();
            let stream = connected.and_then(Result::ok).ok_or(TransferError::NotOpened)?;
            let waited = clock::now().saturating_duration_since(start);
            latencies.record(Phase::ActiveConnect, waited);
            Ok(Raw { stream, port: None, secured: None, refusal: None })
        }
    }
}

/// Makes the TLS handshake and judges what it proves, unless that was done at the port.
async fn protect(
    connection: &mut DataConnection,
    (secured, refusal): (Option<Box<Secured>>, Option<TransferError>),
    port: Option<ServedPort>,
    tls: &DataTls,
    deadline: Instant,
    hold: bool,
) -> Result<(HandshakeFacts, Duration), TransferError> {
    let (secured, judged) = match (secured, &refusal) {
        (Some(secured), _) => (secured, true),
        (None, Some(refusal)) => return Err(refusal.clone()),
        (None, None) => (Box::new(shake_hands(connection, tls, deadline).await?), false),
    };
    let Secured { channel, facts, raw, out, took } = *secured;
    connection.protect(channel, raw, out);
    if !hold {
        connection.flush().await?;
    }
    tls.counters.data_handshakes.increment();
    if facts.resumption.is_this_session() {
        tls.counters.data_handshakes_resumed.increment();
        tls.proof.resumed(facts.ticket, facts.version == TlsVersion::Tls12);
        port.into_iter().for_each(ServedPort::park);
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    if !judged && tls.judge(&facts) == Verdict::Refused {
        return Err(TransferError::NotResumed(facts.resumption.to_string()));
    }
    Ok((facts, took))
}

/// A handshake without other candidates: the server has connected, or the port is closed.
async fn shake_hands(
    connection: &DataConnection,
    tls: &DataTls,
    deadline: Instant,
) -> Result<Secured, TransferError> {
    let mut handshake = DataHandshake::new(tls);
    let timed = async {
        let secured = timeout_at(deadline, handshake.run(&connection.stream)).await;
        secured.unwrap_or(Err(TransferError::HandshakeFailed))
    };
    connection.interrupts.guard(timed).await?;
    handshake.finish()
}
