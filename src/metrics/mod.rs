//! Counters, gauges and histograms of one shard: plain cells, no atomics, because no other thread
//! uses them.

use std::cell::Cell;

/// Defines a set of metrics: a field's type is its Prometheus type, its doc comment its HELP text.
macro_rules! values {
    (
        #[doc = $about:literal]
        $set:ident:
        $($(#[doc = $doc:literal])+ $name:ident: $value:ident),+ $(,)?
    ) => {
        #[doc = $about]
        #[derive(Debug, Default)]
        pub struct $set {
            $($(#[doc = $doc])+ pub $name: $value,)+
        }

        impl $set {
            /// Each of them, in the order of the source.
            pub(super) const DESCRIPTIONS: &[(&str, Kind, &str)] =
                &[$((stringify!($name), <$value>::KIND, concat!($($doc),+)),)+];

            /// Name and value of each, in the order of the source.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

mod gauge;
mod histogram;
mod phases;
mod replies;

pub use gauge::{Gauge, Gauges, Held, Level, Span};
pub use histogram::{Histogram, Spans, TurnLengths, seconds};
pub use phases::{Latencies, Phase};
pub use replies::Replies;

values! {
    /// Events of one shard since its start.
    Counters:

    /// Messages that came to the shard from another thread: scrapes and other looks, SIGUSR1, the
    /// end. No connection is the cause of one.
    messages: Counter,
    /// Control connections accepted.
    connections: Counter,
    /// Control connections answered with 421 because of a session limit.
    connections_refused: Counter,
    /// Times accepting had to pause because descriptors or memory ran out, or only the descriptors
    /// for the sessions that are in were left.
    accept_pauses: Counter,
    /// TLS handshakes completed on control connections.
    control_handshakes: Counter,
    /// TLS handshakes on control connections that failed or timed out.
    control_handshakes_failed: Counter,
    /// Those completed that resumed an earlier session.
    control_handshakes_resumed: Counter,
    /// Those completed with TLS 1.2.
    control_handshakes_tls12: Counter,
    /// Those completed with a post-quantum key exchange.
    control_handshakes_post_quantum: Counter,
    /// The most TLS handshakes of control connections in progress at the same time.
    handshakes_most: Maximum,
    /// TLS handshakes of control connections that had to wait for others to end.
    handshakes_queued: Counter,
    /// Connections closed in the middle of the TLS handshake because others waited.
    handshakes_shed: Counter,
    /// Connections closed because no ClientHello came in time.
    handshakes_silent: Counter,
    /// TLS handshakes completed on data connections.
    data_handshakes: Counter,
    /// Those that resumed the TLS session of their own control connection.
    data_handshakes_resumed: Counter,
    /// Successful log-ins.
    logins: Counter,
    /// Failed log-ins.
    logins_failed: Counter,
    /// Log-ins whose password was right a while ago, so that it cost no hash.
    logins_remembered: Counter,
    /// Log-ins that had to wait for the hashes of others.
    logins_queued: Counter,
    /// Log-ins that had to wait because of the wrong passwords from their address.
    logins_delayed: Counter,
    /// Log-ins told to come back (421), because too many waited.
    logins_overloaded: Counter,
    /// Log-ins refused because the user's home was not there.
    logins_without_home: Counter,
    /// Times a log-in found another directory where its user's home is, or one that had not been
    /// there.
    homes_replaced: Counter,
    /// Downloads and listings that ended with 226.
    downloads: Counter,
    /// Small files that left in one write, with ticket and close_notify.
    downloads_in_one_write: Counter,
    /// Uploads that ended with 226.
    uploads: Counter,
    /// Transfers that ended with anything but 226.
    transfers_failed: Counter,
    /// Transfers whose octets the kernel moved from the page cache to the socket (PROT C).
    transfers_sendfile: Counter,
    /// The same, sealed by the kernel's TLS (PROT P).
    transfers_ktls: Counter,
    /// Those of transfers_ktls from directories declared immutable: a network card that seals may
    /// take them from the page cache itself, and without one nothing is gained.
    ktls_zerocopy: Counter,
    /// Transfers whose TLS records were sealed or opened in user space (PROT P).
    transfers_records: Counter,
    /// Transfers through blocks of user space in the clear (PROT C).
    transfers_blocks: Counter,
    /// Listings, and transfers of TYPE A.
    transfers_text: Counter,
    /// Downloads meant for the kernel's TLS that it refused; their records were sealed in user
    /// space.
    ktls_fallbacks: Counter,
    /// Reads, where sendfile would have had to wait for the disk.
    sendfile_cold_reads: Counter,
    /// Octets of files and listings sent.
    bytes_sent: Counter,
    /// Calls by which octets of downloads and listings were sent, but for small files that left in
    /// one write: bytes_sent by these is what a socket took at a time.
    download_sends: Counter,
    /// Times downloads waited for room in a socket: the client, or the way to it, was slower.
    download_waits: Counter,
    /// Octets of files received.
    bytes_received: Counter,
    /// Octets of files sent that were read from the page cache on the shard's thread.
    bytes_read_cached: Counter,
    /// Octets of files sent that were read through the page cache and waited for.
    bytes_read_cold: Counter,
    /// Octets of files sent that were read past the page cache.
    bytes_read_direct: Counter,
    /// Files that were to be read past the page cache, on a filesystem that cannot do that.
    direct_refused: Counter,
    /// Digests answered from what was kept when the file was uploaded.
    hash_cache_hits: Counter,
    /// Digests of a kind that uploads keep, computed all the same: another range, or an older file,
    /// or one changed since.
    hash_cache_misses: Counter,
    /// Octets for which uploads had blocks reserved (ALLO).
    bytes_preallocated: Counter,
    /// Blocks of uploads written on the shard's thread, where that cannot wait for a disk.
    blocks_written_inline: Counter,
    /// Blocks of uploads written by helper threads while more was received.
    blocks_written_behind: Counter,
    /// Times a client proved so fast that its upload was waited for by the block from then on.
    uploads_waited_by_block: Counter,
    /// Helper threads started because others were held by work that was half a second old.
    helper_threads_added: Counter,
    /// Times receiving had to wait because storage was slower.
    write_behind_waits: Counter,
    /// Unfinished uploads of servers that are gone, removed.
    leftovers_removed: Counter,
    /// Octets of these.
    leftover_bytes_removed: Counter,
    /// Passive ports opened: socket, bind and listen.
    passive_opened: Counter,
    /// Passive ports that served their session once more instead.
    passive_reused: Counter,
    /// Passive ports announced to one more session, which waits there beside others.
    passive_shared: Counter,
    /// Passive ports that other shards have given to this one, because its own were all taken.
    passive_moved: Counter,
    /// Messages of other shards about that: questions, and answers.
    port_messages: Counter,
    /// Connections to a passive port that were given to the session whose ticket they showed.
    passive_by_ticket: Counter,
    /// Connections of these that came from another address than the client's.
    passive_elsewhere: Counter,
    /// PASV and EPSV refused because all passive ports were in use, and none could be shared.
    passive_exhausted: Counter,
    /// Connections to a passive port from another address than the client's, closed unread.
    passive_strangers: Counter,
    /// Connections to a passive port that got no transfer although they came from the client's
    /// address, or were read for a ticket: their TLS handshake failed, or nothing showed that they
    /// are the session's.
    passive_refused: Counter,
    /// Times a passive port had to pause because descriptors or memory ran out.
    passive_accept_pauses: Counter,
}

/// Prometheus type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows: rates and sums make sense.
    Counter,
    /// A current amount, or a maximum.
    Gauge,
    /// A current span of time, also a gauge: counted in milliseconds, written in seconds.
    Span,
}

impl Kind {
    /// `value` as everybody reads it, whether in the log or on a page.
    #[must_use]
    pub fn written(self, value: u64) -> String {
        match self {
            Self::Counter | Self::Gauge => value.to_string(),
            Self::Span => format!("{}.{:03}", value / 1000, value % 1000),
        }
    }
}

/// Kind and meaning of a value; the meaning is one sentence or two.
#[must_use]
pub fn describe(name: &str) -> Option<(Kind, &'static str)> {
    let mut known = Counters::DESCRIPTIONS.iter().chain(Gauges::DESCRIPTIONS);
    known.find(|(known, ..)| *known == name).map(|(_, kind, text)| (*kind, text.trim()))
}

/// Values for one line of the log: those that are not zero, as `name=value`. Names and units are
/// those of the page, which only adds a prefix and, to counters, `_total`.
#[must_use]
pub fn line(values: &[(&'static str, u64)]) -> String {
    let counted = values.iter().filter(|(_, value)| *value > 0);
    let written = |(name, value): &(&'static str, u64)| {
        let (kind, _) = describe(name)?;
        Some(format!("{name}={}", kind.written(*value)))
    };
    counted.filter_map(written).collect::<Vec<_>>().join(" ")
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    const KIND: Kind = Kind::Counter;

    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `amount`; wraps after 2^64.
    pub fn add(&self, amount: u64) {
        self.0.set(self.0.get().wrapping_add(amount));
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// The greatest value there was.
#[derive(Debug, Default)]
pub struct Maximum(Cell<u64>);

impl Maximum {
    const KIND: Kind = Kind::Gauge;

    /// Takes `value` when it is greater.
    pub fn raise_to(&self, value: usize) {
        self.0.set(self.0.get().max(u64::try_from(value).unwrap_or(u64::MAX)));
    }

    /// The greatest so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert_eq!(line(&snapshot), "handshakes_most=7 logins=1 bytes_sent=10");
    }

    #[test]
    fn every_value_has_a_meaning() {
        let (counters, gauges) = (Counters::default(), Gauges::default());
        for (name, _) in counters.snapshot().into_iter().chain(gauges.snapshot()) {
            let (_, text) = describe(name).unwrap();
            assert!(text.ends_with('.') && !text.starts_with(' '), "{name}: {text}");
        }
        assert_eq!(describe("none"), None);
    }

    /// A monitor computes rates of counters, and a rate of a maximum would mean nothing.
    #[test]
    fn kinds() {
        let kind = |name| describe(name).unwrap().0;
        assert_eq!(kind("handshakes_most"), Kind::Gauge);
        let others = Counters::DESCRIPTIONS.iter().filter(|(name, ..)| *name != "handshakes_most");
        others.for_each(|(name, kind, _)| assert_eq!(*kind, Kind::Counter, "{name}"));
        Gauges::DESCRIPTIONS.iter().for_each(|(name, kind, _)| {
            let span = name.ends_with("_seconds");
            assert_eq!(*kind, if span { Kind::Span } else { Kind::Gauge }, "{name}");
        });
    }

    /// A unit in a name is the base unit, as Prometheus would have it, and the one that is written.
    #[test]
    fn units() {
        let (counters, gauges) = (Counters::default(), Gauges::default());
        gauges.helper_work_oldest_seconds.set(Duration::from_micros(61_050_999));
        assert_eq!(line(&gauges.snapshot()), "helper_work_oldest_seconds=61.050");
        for (name, _) in counters.snapshot().into_iter().chain(gauges.snapshot()) {
            for scaled in ["milli", "micro", "nano", "kilo", "mega", "kib", "minutes"] {
                assert!(!name.contains(scaled), "{name}");
            }
        }
    }
}
