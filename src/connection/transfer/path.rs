//! Which path the octets of a transfer take between storage and the data connection, and why: a
//! decision without side effects, made once per transfer.

use crate::protocol::file::TransferRequest;
use crate::sys::ktls;

/// The path of a transfer's octets, as named in the log and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferPath {
    /// PROT C, TYPE I: the kernel moves them from the page cache to the socket.
    SendFile,
    /// PROT P, TYPE I, TLS 1.3: the same, and the kernel seals the records.
    KernelTls,
    /// PROT P, TYPE I: records are sealed and opened in user space.
    Records,
    /// PROT C, TYPE I: read into a block and sent, or received and written.
    Blocks,
    /// TYPE A and listings: the octets are made or changed in user space.
    Text,
}

impl TransferPath {
    /// The word of the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SendFile => "sendfile",
            Self::KernelTls => "ktls",
            Self::Records => "records",
            Self::Blocks => "blocks",
            Self::Text => "text",
        }
    }
}

/// What is known about a transfer once its data connection is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// What moves.
    pub(crate) content: Content,
    /// RETR of a file that goes in one write: the system calls of the kernel's paths would cost
    /// more.
    pub(crate) whole: bool,
    /// PROT P.
    pub(crate) protected: bool,
    /// What the kernel's TLS can do; `None` when it cannot be used, or the settings forbid it.
    pub(crate) kernel_tls: Option<ktls::Abilities>,
    /// The session's AEAD, if its sending half could be handed over.
    pub(crate) cipher: Option<ktls::Cipher>,
    /// Whether it is known what the page cache holds: else a file not in it would stop the shard.
    pub(crate) cache_tells: bool,
}

/// What a transfer moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// RETR in TYPE I with this many octets to send.
    File(u64),
    /// STOR and its like in TYPE I.
    Upload,
    /// TYPE A, listings.
    Text,
}

impl Content {
    /// `left` is how many octets a RETR has to send.
    pub(crate) const fn of(request: &TransferRequest, left: u64) -> Self {
        match request {
            TransferRequest::Retrieve { ascii: false, .. } => Self::File(left),
            TransferRequest::Store { ascii: false, .. } => Self::Upload,
            TransferRequest::Retrieve { .. }
            | TransferRequest::Store { .. }
            | TransferRequest::List(_) => Self::Text,
        }
    }
}

/// Chooses the path.
pub(crate) fn choose(circumstances: &Circumstances) -> TransferPath {
    let user_space =
        if circumstances.protected { TransferPath::Records } else { TransferPath::Blocks };
    let octets = match circumstances.content {
        Content::File(octets) => octets,
        Content::Upload => return user_space,
        Content::Text => return TransferPath::Text,
    };
    if circumstances.whole || !circumstances.cache_tells {
        return user_space;
    }
    if !circumstances.protected {
        return if octets >= SENDFILE_BYTES_MIN { TransferPath::SendFile } else { user_space };
    }
    let (Some(abilities), Some(cipher)) = (circumstances.kernel_tls, circumstances.cipher) else {
        return user_space;
    };
    // User space changes keys in time. A kernel that cannot would have to end the transfer early.
    let lasts = abilities.rekey || octets <= KERNEL_TLS_BYTES_MAX;
    if abilities.has(cipher) && octets >= KERNEL_TLS_BYTES_MIN && lasts {
        TransferPath::KernelTls
    } else {
        user_space
    }
}

/// Below this, one read and one send. Not measured together with the query of the page cache.
const SENDFILE_BYTES_MIN: u64 = 64 * 1024;

/// Below this, handing over the keys (three system calls, and the kernel's allocation of a cipher)
/// is assumed to cost more than the saved copies; not measured.
const KERNEL_TLS_BYTES_MIN: u64 = 1024 * 1024;

/// What 2^24 records of 16 KiB hold (RFC 8446 §5.5), less than a tenth for records that are not
/// full.
const KERNEL_TLS_BYTES_MAX: u64 = 235 * 1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use ktls::{Abilities, Cipher};

    const ALL: Abilities =
        Abilities { aes_128_gcm: true, aes_256_gcm: true, chacha20_poly1305: true, rekey: true };
    const OLD: Abilities = Abilities { rekey: false, ..ALL };
    const AES_ONLY: Abilities = Abilities { chacha20_poly1305: false, ..ALL };
    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;

    #[track_caller]
    fn check(
        content: Content,
        protected: bool,
        kernel: (Option<Abilities>, Option<Cipher>),
        cache_tells: bool,
        expected: &str,
    ) {
        let (kernel_tls, cipher) = kernel;
        let whole = false;
        let circumstances =
            Circumstances { content, whole, protected, kernel_tls, cipher, cache_tells };
        assert_eq!(choose(&circumstances).name(), expected, "{circumstances:?}");
        if matches!(content, Content::File(_)) {
            let user_space = if protected { "records" } else { "blocks" };
            let whole = Circumstances { whole: true, ..circumstances };
            assert_eq!(choose(&whole).name(), user_space, "{whole:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn table() {
        use Content::{File, Text, Upload};
        let aes = Some(Cipher::Aes128Gcm);
        let chacha = Some(Cipher::ChaCha20Poly1305);
        // content, protected, (kernel, cipher), page cache tells | path
        check(File(MIB), false, (None, None), true, "sendfile");
        check(File(TIB), false, (None, None), true, "sendfile");
        check(File(SENDFILE_BYTES_MIN), false, (None, None), true, "sendfile");
        check(File(SENDFILE_BYTES_MIN - 1), false, (None, None), true, "blocks");
        check(File(0), false, (None, None), true, "blocks");
        check(File(MIB), false, (None, None), false, "blocks");
        check(File(MIB), false, (Some(ALL), None), true, "sendfile");
        check(Upload, false, (Some(ALL), None), true, "blocks");
        check(Text, false, (Some(ALL), None), true, "text");
        check(File(MIB), true, (Some(ALL), aes), true, "ktls");
        check(File(MIB), true, (Some(ALL), chacha), true, "ktls");
        check(File(MIB), true, (Some(AES_ONLY), chacha), true, "records");
        check(File(MIB), true, (Some(ALL), None), true, "records");
        check(File(MIB), true, (None, aes), true, "records");
        check(File(MIB - 1), true, (Some(ALL), aes), true, "records");
        check(File(MIB), true, (Some(ALL), aes), false, "records");
        check(File(TIB), true, (Some(ALL), aes), true, "ktls");
        check(File(TIB), true, (Some(OLD), aes), true, "records");
        check(File(100 << 30), true, (Some(OLD), aes), true, "ktls");
        check(Upload, true, (Some(ALL), aes), true, "records");
        check(Text, true, (Some(ALL), aes), true, "text");
    }
}
