//! Counts beside the histograms: bytes, handshakes, resumption, connections by state.

use std::collections::BTreeMap;

/// Which of an FTP session's connections. RFC 959 §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The control connection.
    Control,
    /// A data connection.
    Data,
}

impl Channel {
    /// Its name in the JSON result.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

/// What became of session resumption in one handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// The client had no session to offer, or was told not to.
    NotOffered,
    /// The client offered a session and the server did a full handshake.
    Declined,
    /// The client offered a session and the server took it.
    Resumed,
}

/// One TLS handshake that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct TlsHandshake {
    /// Whose handshake.
    pub channel: Channel,
    /// What was negotiated.
    pub names: TlsNames,
    /// What became of resumption.
    pub resumption: Resumption,
}

/// What a handshake negotiated, by the IANA names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsNames {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite.
    pub suite: &'static str,
    /// The key exchange group; `none` where a resumed TLS 1.2 session had none.
    pub group: &'static str,
    /// The kind of key in the server's certificate, such as `ECDSA P-256`.
    pub certificate: &'static str,
}

/// Resumption of one channel's handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResumptionCounts {
    /// Handshakes that succeeded.
    pub handshakes: u64,
    /// Of them, those in which a session was offered.
    pub offered: u64,
    /// Of the offered, those resumed.
    pub resumed: u64,
}

/// Counts of one thread, or of all after [`merge`](Self::merge).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations that succeeded.
    pub operations: u64,
    /// Payload bytes sent on data connections.
    pub bytes_up: u64,
    /// Payload bytes received on data connections.
    pub bytes_down: u64,
    /// Control connections begun.
    pub connections: u64,
    /// Operations that the workload itself gave up on purpose (its abandon rate).
    pub abandoned: u64,
    handshakes: BTreeMap<(Channel, TlsNames), u64>,
    control: ResumptionCounts,
    data: ResumptionCounts,
}

impl Counters {
    /// Counts one handshake.
    pub fn tls(&mut self, handshake: TlsHandshake) {
        *self.handshakes.entry((handshake.channel, handshake.names)).or_default() += 1;
        let counts = match handshake.channel {
            Channel::Control => &mut self.control,
            Channel::Data => &mut self.data,
        };
        counts.handshakes += 1;
        counts.offered += u64::from(handshake.resumption != Resumption::NotOffered);
        counts.resumed += u64::from(handshake.resumption == Resumption::Resumed);
    }

    /// Resumption on `channel`.
    #[must_use]
    pub fn resumption(&self, channel: Channel) -> ResumptionCounts {
        match channel {
            Channel::Control => self.control,
            Channel::Data => self.data,
        }
    }

    /// Each combination negotiated and how often.
    pub fn handshakes(&self) -> impl Iterator<Item = (Channel, TlsNames, u64)> {
        self.handshakes.iter().map(|((channel, names), count)| (*channel, *names, *count))
    }

    /// Adds the counts of another thread.
    pub fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.connections += other.connections;
        self.abandoned += other.abandoned;
        for (key, count) in &other.handshakes {
            *self.handshakes.entry(*key).or_default() += count;
        }
        for (mine, theirs) in [(&mut self.control, other.control), (&mut self.data, other.data)] {
            mine.handshakes += theirs.handshakes;
            mine.offered += theirs.offered;
            mine.resumed += theirs.resumed;
        }
    }
}

/// Where a control connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// TCP connect under way.
    Connecting,
    /// TLS handshake under way.
    Handshaking,
    /// Waiting for the greeting, or logging in.
    LoggingIn,
    /// Nothing under way: an idle, silent or thinking session.
    Idle,
    /// A request sent, its reply awaited.
    Waiting,
    /// Payload moves on a data connection.
    Transferring,
    /// Being closed.
    Closing,
}

impl ConnectionState {
    /// All states, in the order of a connection's life.
    pub const ALL: [Self; 7] = [
        Self::Connecting,
        Self::Handshaking,
        Self::LoggingIn,
        Self::Idle,
        Self::Waiting,
        Self::Transferring,
        Self::Closing,
    ];

    /// Its name in the JSON result.
    #[must_use]
    pub fn key(self) -> &'static str {
        if self == Self::LoggingIn { "logging_in" } else { self.name() }
    }

    /// Its name in progress lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Handshaking => "handshaking",
            Self::LoggingIn => "logging in",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Transferring => "transferring",
            Self::Closing => "closing",
        }
    }
}

/// How many connections are in each state at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionStates([u64; ConnectionState::ALL.len()]);

impl ConnectionStates {
    /// Moves one connection: `None` is "not open". Leaving a state that nobody is in is a fault of
    /// the caller and leaves the count at zero.
    pub fn transition(&mut self, from: Option<ConnectionState>, to: Option<ConnectionState>) {
        if let Some(from) = from {
            debug_assert!(self.0[from as usize] > 0, "nobody is {}", from.name());
            self.0[from as usize] = self.0[from as usize].saturating_sub(1);
        }
        if let Some(to) = to {
            self.0[to as usize] += 1;
        }
    }

    /// Connections in `state`.
    #[must_use]
    pub fn count(&self, state: ConnectionState) -> u64 {
        self.0[state as usize]
    }

    /// Connections in any state.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the connections of another thread.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Channel, ConnectionState, ConnectionStates, Counters, Resumption, TlsHandshake, TlsNames,
    };

    const NAMES: TlsNames = TlsNames {
        version: "TLSv1.3",
        suite: "TLS13_AES_128_GCM_SHA256",
        group: "X25519",
        certificate: "ECDSA P-256",
    };

    #[test]
    fn resumption_counts_offers_and_successes_by_channel() {
        let mut counters = Counters::default();
        for (channel, resumption) in [
            (Channel::Control, Resumption::NotOffered),
            (Channel::Control, Resumption::Declined),
            (Channel::Data, Resumption::Resumed),
        ] {
            counters.tls(TlsHandshake { channel, names: NAMES, resumption });
        }
        let control = counters.resumption(Channel::Control);
        assert_eq!((control.handshakes, control.offered, control.resumed), (2, 1, 0));
        let data = counters.resumption(Channel::Data);
        assert_eq!((data.handshakes, data.offered, data.resumed), (1, 1, 1));
        let mut twice = counters.clone();
        twice.merge(&counters);
        assert_eq!(twice.handshakes().map(|row| row.2).sum::<u64>(), 6);
        assert_eq!(twice.resumption(Channel::Control).handshakes, 4);
    }

    #[test]
    fn a_connection_is_in_one_state_at_a_time() {
        let mut states = ConnectionStates::default();
        states.transition(None, Some(ConnectionState::Connecting));
        states.transition(Some(ConnectionState::Connecting), Some(ConnectionState::Idle));
        assert_eq!(states.open(), 1);
        assert_eq!(states.count(ConnectionState::Connecting), 0);
        states.transition(Some(ConnectionState::Idle), None);
        assert_eq!(states.open(), 0);
    }
}
