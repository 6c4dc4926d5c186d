//! Counters of one shard: plain cells, no atomics, because nobody else touches them.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Events of one shard since its start.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl Counters {
            /// Name and value of every counter, in the order of this file.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Control connections accepted.
    connections,
    /// Control connections answered with 421 because of a session limit.
    connections_refused,
    /// Times accepting had to pause because descriptors or memory ran out.
    accept_pauses,
    /// TLS handshakes completed on control connections.
    control_handshakes,
    /// TLS handshakes on control connections that failed or timed out.
    control_handshakes_failed,
    /// Those completed that resumed an earlier session.
    control_handshakes_resumed,
    /// Those completed with TLS 1.2.
    control_handshakes_tls12,
    /// Those completed with a post-quantum key exchange.
    control_handshakes_post_quantum,
    /// The most TLS handshakes of control connections in progress at the same time.
    handshakes_most,
    /// TLS handshakes of control connections that had to wait for others to end.
    handshakes_queued,
    /// Connections closed in the middle of the TLS handshake because others waited.
    handshakes_shed,
    /// Connections closed because no ClientHello came in time.
    handshakes_silent,
    /// TLS handshakes completed on data connections.
    data_handshakes,
    /// Those that resumed the TLS session of their own control connection.
    data_handshakes_resumed,
    /// Successful log-ins.
    logins,
    /// Failed log-ins.
    logins_failed,
    /// Downloads and listings that ended with 226.
    downloads,
    /// Uploads that ended with 226.
    uploads,
    /// Transfers that ended with anything but 226.
    transfers_failed,
    /// Octets of files and listings sent.
    bytes_sent,
    /// Octets of files received.
    bytes_received,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `amount`; wraps after 2^64.
    pub fn add(&self, amount: u64) {
        self.0.set(self.0.get().wrapping_add(amount));
    }

    /// Keeps the greatest value there was.
    pub fn raise_to(&self, value: usize) {
        self.0.set(self.0.get().max(u64::try_from(value).unwrap_or(u64::MAX)));
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let counters = Counters::default();
        counters.logins.increment();
        counters.bytes_sent.add(10);
        [3, 7, 5].iter().for_each(|value| counters.handshakes_most.raise_to(*value));
        let snapshot = counters.snapshot();
        assert!(snapshot.contains(&("logins", 1)));
        assert!(snapshot.contains(&("bytes_sent", 10)));
        assert!(snapshot.contains(&("uploads", 0)));
        assert!(snapshot.contains(&("handshakes_most", 7)));
    }
}
