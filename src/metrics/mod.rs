//! Counters and gauges of one shard: plain cells, no atomics, because nobody else touches them.

use std::cell::Cell;

/// Makes a set of values, whose doc comments are what they mean to those who read them.
macro_rules! values {
    (
        #[doc = $about:literal]
        $set:ident of $value:ty:
        $($(#[doc = $doc:literal])+ $name:ident),+ $(,)?
    ) => {
        #[doc = $about]
        #[derive(Debug, Default)]
        pub struct $set {
            $($(#[doc = $doc])+ pub $name: $value,)+
        }

        impl $set {
            /// Name and meaning of each.
            pub(super) const HELP: &[(&str, &str)] =
                &[$((stringify!($name), concat!($($doc),+)),)+];

            /// Name and value of each, in the order of the source.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

mod gauge;

pub use gauge::{Gauge, Gauges, Held};

values! {
    /// Events of one shard since its start.
    Counters of Counter:

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
    /// Small files that left in one write, with ticket and close_notify.
    downloads_in_one_write,
    /// Uploads that ended with 226.
    uploads,
    /// Transfers that ended with anything but 226.
    transfers_failed,
    /// Transfers whose octets the kernel moved from the page cache to the socket (PROT C).
    transfers_sendfile,
    /// The same, sealed by the kernel's TLS (PROT P).
    transfers_ktls,
    /// Those of transfers_ktls from directories declared immutable: a network card that seals may
    /// take them from the page cache itself, and without one nothing is gained.
    ktls_zerocopy,
    /// Transfers whose TLS records were sealed or opened in user space (PROT P).
    transfers_records,
    /// Transfers through blocks of user space in the clear (PROT C).
    transfers_blocks,
    /// Listings, and transfers of TYPE A.
    transfers_text,
    /// Downloads meant for the kernel's TLS that it refused; their records were sealed in user
    /// space.
    ktls_fallbacks,
    /// Reads, where sendfile would have had to wait for the disk.
    sendfile_cold_reads,
    /// Octets of files and listings sent.
    bytes_sent,
    /// Octets of files received.
    bytes_received,
    /// Octets of files sent that were read from the page cache on the shard's thread.
    bytes_read_cached,
    /// Octets of files sent that were read through the page cache and waited for.
    bytes_read_cold,
    /// Octets of files sent that were read past the page cache.
    bytes_read_direct,
    /// Files that were to be read past the page cache, on a filesystem that cannot do that.
    direct_refused,
    /// Digests answered from what was kept when the file was uploaded.
    hash_cache_hits,
    /// Digests of a kind that uploads keep, computed all the same: another range, or an older file,
    /// or one changed since.
    hash_cache_misses,
    /// Octets for which uploads had blocks reserved (ALLO).
    bytes_preallocated,
    /// Blocks of uploads written on the shard's thread, where that cannot wait for a disk.
    blocks_written_inline,
    /// Blocks of uploads written by helper threads while more was received.
    blocks_written_behind,
    /// Times receiving had to wait because storage was slower.
    write_behind_waits,
    /// Passive ports opened: socket, bind and listen.
    passive_opened,
    /// Passive ports that served their session once more instead.
    passive_reused,
    /// PASV and EPSV refused because all passive ports were in use.
    passive_exhausted,
    /// Connections to a passive port from another address than the client's, closed unread.
    passive_strangers,
    /// Times a passive port had to pause because descriptors or memory ran out.
    passive_accept_pauses,
}

/// What a counter or gauge means, in one sentence or two.
#[must_use]
pub fn help(name: &str) -> Option<&'static str> {
    let mut known = Counters::HELP.iter().chain(Gauges::HELP);
    known.find(|(known, _)| *known == name).map(|(_, text)| text.trim())
}

/// Values for one line of the log: those that are not zero, as `name=value`.
#[must_use]
pub fn line(values: &[(&'static str, u64)]) -> String {
    let counted = values.iter().filter(|(_, value)| *value > 0);
    counted.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
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
        assert_eq!(line(&snapshot), "handshakes_most=7 logins=1 bytes_sent=10");
    }

    #[test]
    fn every_value_has_a_meaning() {
        let (counters, gauges) = (Counters::default(), Gauges::default());
        for (name, _) in counters.snapshot().into_iter().chain(gauges.snapshot()) {
            let text = help(name).unwrap();
            assert!(text.ends_with('.') && !text.starts_with(' '), "{name}: {text}");
        }
        assert_eq!(help("none"), None);
    }
}
