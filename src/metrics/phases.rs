//! The parts that sessions and transfers consist of, and how long they take. A part has the name
//! that the load generator gives it, so that what a client saw can be laid beside it.

use std::time::Duration;

use super::histogram::{Histogram, Spans};

macro_rules! phases {
    ($($(#[doc = $doc:literal])+ $variant:ident: $phase:literal, $kind:literal;)+) => {
        /// A part of a session or of a transfer, and which kind of it. Those of transfers are of
        /// transfers that ended with 226.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Phase {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Phase {
            /// All of them, in the order of the source.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The values of the labels `phase` and `kind`; each pair is there once.
            #[must_use]
            pub const fn labels(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant => ($phase, $kind),)+
                }
            }
        }
    };
}

phases! {
    /// From the accept, or the reply to AUTH, to the ClientHello of a control connection, a wait
    /// for its turn included.
    ClientHello: "client_hello", "any";
    /// From the ClientHello to the end of a handshake on a control connection that resumed nothing.
    FullHandshake: "tls_handshake", "full";
    /// The same where an earlier session was resumed.
    ResumedHandshake: "tls_handshake", "resumed";
    /// From the accept, or on the implicit port from the end of the handshake, until the socket has
    /// taken the greeting.
    Greeting: "greeting", "any";
    /// From PASS, or the USER that needs none, to the answer that lets the user in.
    LoginAccepted: "login", "accepted";
    /// The same where it lets nobody in.
    LoginRefused: "login", "refused";
    /// From the reply to PASV or EPSV to the client's connection.
    PassiveConnect: "data_connect", "passive";
    /// From the transfer command to the connection that the server makes.
    ActiveConnect: "data_connect", "active";
    /// From the first octet of the ClientHello to the end of a handshake on a data connection that
    /// resumed nothing.
    FullDataHandshake: "data_tls", "full";
    /// The same where a session was resumed.
    ResumedDataHandshake: "data_tls", "resumed";
    /// From the data connection, its handshake included, to the first octets of a file sent.
    DownloadFirstByte: "first_byte", "download";
    /// The same until the first octets were received.
    UploadFirstByte: "first_byte", "upload";
    /// The same until the first lines were sent.
    ListingFirstByte: "first_byte", "listing";
    /// From the first octets to the last, and the end of the stream.
    DownloadLastByte: "last_byte", "download";
    /// The same.
    UploadLastByte: "last_byte", "upload";
    /// The same.
    ListingLastByte: "last_byte", "listing";
    /// From there to the 226.
    DownloadCompletion: "completion", "download";
    /// The same: what is left is written, the file synced as the settings say, and named.
    UploadCompletion: "completion", "upload";
    /// The same.
    ListingCompletion: "completion", "listing";
    /// From the command to the 226.
    Download: "transfer", "download";
    /// The same.
    Upload: "transfer", "upload";
    /// The same.
    Listing: "transfer", "listing";
}

/// What all phases of a shard took.
#[derive(Debug, Default)]
pub struct Latencies([Histogram; Phase::ALL.len()]);

impl Latencies {
    /// Counts one phase that has ended.
    pub fn record(&self, phase: Phase, span: Duration) {
        self.0[phase as usize].record(span);
    }

    /// What was counted so far, in the order of [`Phase::ALL`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<Spans> {
        self.0.iter().map(Histogram::snapshot).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_pairs_that_differ() {
        let labels: BTreeSet<_> = Phase::ALL.iter().map(|phase| phase.labels()).collect();
        assert_eq!(labels.len(), Phase::ALL.len());
        let words = labels.iter().flat_map(|(phase, kind)| [phase, kind]);
        assert!(words.flat_map(|word| word.bytes()).all(|o| o.is_ascii_lowercase() || o == b'_'));
    }

    #[test]
    fn each_phase_is_counted_for_itself() {
        let latencies = Latencies::default();
        for (times, phase) in Phase::ALL.iter().enumerate() {
            (0..times).for_each(|_| latencies.record(*phase, Duration::from_millis(1)));
        }
        let counts: Vec<u64> = latencies.snapshot().iter().map(Spans::count).collect();
        assert_eq!(counts, (0..Phase::ALL.len() as u64).collect::<Vec<_>>());
    }
}
