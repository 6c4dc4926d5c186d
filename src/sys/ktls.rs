//! The kernel's TLS (`CONFIG_TLS`): keys for the sending direction of a socket, records of other
//! types than data, and what this kernel can do. TLS 1.3 only: TLS 1.2 would need an explicit
//! nonce that continues where user space stopped, and a repeated one breaks AES-GCM.
//!
//! Knows no handshake and no key schedule; what keys are right is the caller's to know.

use std::fmt;
use std::io;
use std::mem::size_of_val;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use super::socket::set_option;

/// An AEAD the kernel may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// Keys for the records a socket sends from now on.
pub struct SendKeys<'a> {
    /// The AEAD; says how long `key` is.
    pub cipher: Cipher,
    /// The traffic key.
    pub key: &'a [u8],
    /// The traffic IV, before the record number is mixed in (RFC 8446 §5.3).
    pub iv: [u8; 12],
    /// Number of the next record.
    pub sequence: u64,
}

/// What the kernel's TLS can do for sockets that send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// AES-128-GCM.
    pub aes_128_gcm: bool,
    /// AES-256-GCM.
    pub aes_256_gcm: bool,
    /// ChaCha20-Poly1305.
    pub chacha20_poly1305: bool,
    /// Keys may be replaced on a living connection (Linux 6.14): KeyUpdate works.
    pub rekey: bool,
}

impl Abilities {
    /// Whether `cipher` can be handed over.
    #[must_use]
    pub const fn has(&self, cipher: Cipher) -> bool {
        match cipher {
            Cipher::Aes128Gcm => self.aes_128_gcm,
            Cipher::Aes256Gcm => self.aes_256_gcm,
            Cipher::ChaCha20Poly1305 => self.chacha20_poly1305,
        }
    }
}

/// Names of the AEADs, and whether keys can be replaced.
impl fmt::Display for Abilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            ALL.iter().filter(|(cipher, _)| self.has(*cipher)).map(|(_, name)| *name).collect();
        let rekey = if self.rekey { "with" } else { "without" };
        write!(f, "{}, {rekey} key updates", names.join(", "))
    }
}

/// Tries on a connection to ourselves, with keys that protect nothing, what the kernel takes. As
/// root this loads the kernel's module, where it is installed.
///
/// # Errors
///
/// A sentence that says why there is nothing, and what would help.
pub fn probe() -> Result<Abilities, String> {
    let mut abilities = Abilities::default();
    let mut refusal = None;
    for (cipher, _) in ALL {
        match probe_cipher(cipher) {
            Ok(rekey) => {
                abilities.rekey = rekey;
                match cipher {
                    Cipher::Aes128Gcm => abilities.aes_128_gcm = true,
                    Cipher::Aes256Gcm => abilities.aes_256_gcm = true,
                    Cipher::ChaCha20Poly1305 => abilities.chacha20_poly1305 = true,
                }
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(error) if abilities == Abilities::default() => Err(explain(&error)),
        _ => Ok(abilities),
    }
}

/// Lets the kernel's TLS take a connected socket over. Until keys are set it stays what it was.
///
/// # Errors
///
/// `ENOENT` when the kernel has no TLS or its module is not loaded; others of setsockopt(2).
pub fn attach(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: the value is the octets of a name, without pointers.
    unsafe { set_option(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls") }
}

/// From the next octet on the kernel seals what is sent, as TLS 1.3 records. After a first call a
/// second one replaces the keys, where the kernel can do that.
///
/// # Errors
///
/// `ENOENT` when the kernel lacks the cipher's module, `EBUSY` when keys are set and cannot be
/// replaced, `EINVAL` for a key of a wrong length; then nothing has changed.
pub fn set_send_keys(socket: impl AsFd, keys: &SendKeys<'_>) -> io::Result<()> {
    let mut info = Vec::with_capacity(INFO_BYTES_MAX);
    let (number, key_bytes) = match keys.cipher {
        Cipher::Aes128Gcm => (CIPHER_AES_128_GCM, 16),
        Cipher::Aes256Gcm => (CIPHER_AES_256_GCM, 32),
        Cipher::ChaCha20Poly1305 => (CIPHER_CHACHA20_POLY1305, 32),
    };
    if keys.key.len() != key_bytes {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    info.extend_from_slice(&VERSION_1_3.to_ne_bytes());
    info.extend_from_slice(&number.to_ne_bytes());
    let (salt, iv) = match keys.cipher {
        Cipher::ChaCha20Poly1305 => keys.iv.split_at(0),
        Cipher::Aes128Gcm | Cipher::Aes256Gcm => keys.iv.split_at(4),
    };
    info.extend_from_slice(iv);
    info.extend_from_slice(keys.key);
    info.extend_from_slice(salt);
    info.extend_from_slice(&keys.sequence.to_be_bytes());
    // SAFETY: the value is the octets of a `tls12_crypto_info_…`, without pointers.
    let result = unsafe { set_option(socket, SOL_TLS, TLS_TX, info.as_slice()) };
    info.fill(0);
    result
}

/// Tells the kernel that what sendfile(2) sends does not change until the client has all of it: a
/// network card that seals may then take it from the page cache itself. Without such a card nothing
/// changes. Where a file changes all the same, records sent again differ from those sent first, and
/// the client ends the connection over a bad record.
///
/// # Errors
///
/// `ENOPROTOOPT` before Linux 5.19 and without the kernel's TLS; then nothing has changed.
pub fn allow_zerocopy(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: the option takes an unsigned int, 0 or 1.
    unsafe { set_option(socket, SOL_TLS, TLS_TX_ZEROCOPY_RO, &1_u32) }
}

/// Sends one record of a type of its own, behind everything sent before; does not wait.
///
/// # Errors
///
/// `WouldBlock` when the socket is full, and nothing was taken; else those of sendmsg(2).
pub fn send_record(socket: impl AsFd, content_type: u8, content: &[u8]) -> io::Result<()> {
    // Room and alignment for one control message of one octet.
    let mut control = [0_u64; 3];
    let mut part =
        libc::iovec { iov_base: content.as_ptr().cast_mut().cast(), iov_len: content.len() };
    // SAFETY: an all-zero msghdr is a valid one without parts.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: `message` points to `control`, which has room for a header and one octet
    // (CMSG_SPACE(1) is 24 on 64-bit systems), so the first header exists and is writable.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = SOL_TLS;
        (*header).cmsg_type = TLS_SET_RECORD_TYPE;
        (*header).cmsg_len = libc::CMSG_LEN(1) as _;
        *libc::CMSG_DATA(header) = content_type;
    }
    loop {
        // SAFETY: the descriptor is borrowed for the call; message, part, control and content live
        // through it, and the kernel only reads them.
        let sent = unsafe {
            libc::sendmsg(
                socket.as_fd().as_raw_fd(),
                &raw const message,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        match usize::try_from(sent) {
            Ok(count) if count == content.len() => return Ok(()),
            // A record is taken whole or not at all.
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Whether all that the kernel's TLS still holds back fits into the socket's queue, and one small
/// record behind it. Records that did not fit wait beside the queue, where shutdown(2) would forget
/// them; there are never more than two: one sent in part and one not yet full.
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn has_room_to_finish(socket: impl AsFd) -> io::Result<bool> {
    let mut info = [0_u32; MEMINFO_FIELDS];
    let mut length = libc::socklen_t::try_from(size_of_val(&info))
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is borrowed for the call; the array lives through it, and `length` is
    // its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let (limit, queued) = (info[MEMINFO_SNDBUF], info[MEMINFO_WMEM_QUEUED]);
    Ok(queued == 0 || limit.saturating_sub(queued) >= HELD_BACK_BYTES_MAX)
}

const ALL: [(Cipher, &str); 3] = [
    (Cipher::Aes128Gcm, "AES-128-GCM"),
    (Cipher::Aes256Gcm, "AES-256-GCM"),
    (Cipher::ChaCha20Poly1305, "ChaCha20-Poly1305"),
];

// linux/tls.h
const SOL_TLS: libc::c_int = 282;
const TLS_TX: libc::c_int = 1;
const TLS_TX_ZEROCOPY_RO: libc::c_int = 3;
const TLS_SET_RECORD_TYPE: libc::c_int = 1;
const VERSION_1_3: u16 = 0x0304;
const CIPHER_AES_128_GCM: u16 = 51;
const CIPHER_AES_256_GCM: u16 = 52;
const CIPHER_CHACHA20_POLY1305: u16 = 54;
const INFO_BYTES_MAX: usize = 64;

// linux/sock_diag.h, SK_MEMINFO_*
const MEMINFO_FIELDS: usize = 9;
const MEMINFO_SNDBUF: usize = 3;
const MEMINFO_WMEM_QUEUED: usize = 5;

/// Two records of 16 KiB and an alert, with the kernel's bookkeeping for their pages.
const HELD_BACK_BYTES_MAX: u32 = 40 * 1024;

/// Whether the keys could be replaced, too.
fn probe_cipher(cipher: Cipher) -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let socket = TcpStream::connect(listener.local_addr()?)?;
    attach(&socket).map_err(|error| io::Error::new(error.kind(), Refusal::Ulp(error)))?;
    let key = [0x5a; 32];
    let key = if cipher == Cipher::Aes128Gcm { &key[..16] } else { &key };
    let keys = SendKeys { cipher, key, iv: [0x5a; 12], sequence: 0 };
    set_send_keys(&socket, &keys)?;
    Ok(set_send_keys(&socket, &keys).is_ok())
}

/// The kernel has no TLS at all, as opposed to lacking a cipher.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Ulp(#[source] io::Error),
}

fn explain(error: &io::Error) -> String {
    let ulp = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
    match ulp {
        Some(Refusal::Ulp(error)) if error.raw_os_error() == Some(libc::ENOENT) => {
            "this kernel has no TLS, or its module is not loaded (modprobe tls)".to_owned()
        }
        Some(Refusal::Ulp(error)) => format!("the kernel's TLS is refused: {error}"),
        None => format!("the kernel's TLS takes no cipher: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever this kernel has, the probe says it in a sentence.
    #[test]
    fn the_probe_answers() {
        match probe() {
            Ok(abilities) => {
                assert_ne!(abilities, Abilities::default());
                assert!(ALL.iter().any(|(cipher, _)| abilities.has(*cipher)));
            }
            Err(reason) => assert!(reason.contains("kernel"), "{reason}"),
        }
    }

    #[test]
    fn abilities_in_words() {
        let abilities = Abilities { aes_128_gcm: true, rekey: true, ..Abilities::default() };
        assert_eq!(abilities.to_string(), "AES-128-GCM, with key updates");
        let abilities = Abilities { aes_256_gcm: true, rekey: false, ..abilities };
        assert_eq!(abilities.to_string(), "AES-128-GCM, AES-256-GCM, without key updates");
        assert!(abilities.has(Cipher::Aes256Gcm) && !abilities.has(Cipher::ChaCha20Poly1305));
    }

    #[test]
    fn a_refused_socket_stays_what_it_was() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let unconnected = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        );
        assert!(attach(unconnected.unwrap()).is_err());
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let short = SendKeys { cipher: Cipher::Aes256Gcm, key: &[0; 16], iv: [0; 12], sequence: 0 };
        // With the kernel's TLS or without: a key of a wrong length is no key.
        let _ = attach(&server);
        assert!(set_send_keys(&server, &short).is_err());
        server.write_all(b"plain").unwrap();
        let mut received = [0; 5];
        client.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"plain");
    }

    /// Where the kernel has TLS (`tests/ktls/run` sees to that) it takes the promise and keeps it,
    /// through a change of keys too; a socket without TLS does not.
    #[test]
    fn zero_copy_is_remembered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(allow_zerocopy(&socket).is_err());
        if let Err(error) = attach(&socket) {
            let guest = std::env::var_os("KVM_RUN_GUEST").is_some();
            assert!(!guest, "a kernel chosen for its TLS has none: {error}");
            return println!("skipped: this kernel has no TLS");
        }
        let keys = SendKeys { cipher: Cipher::Aes128Gcm, key: &[1; 16], iv: [1; 12], sequence: 0 };
        set_send_keys(&socket, &keys).unwrap();
        assert_eq!(zerocopy(&socket), 0);
        allow_zerocopy(&socket).unwrap();
        assert_eq!(zerocopy(&socket), 1);
        let _ = set_send_keys(&socket, &keys);
        assert_eq!(zerocopy(&socket), 1);
    }

    fn zerocopy(socket: &TcpStream) -> u32 {
        let mut value = u32::MAX;
        let mut length = 4;
        // SAFETY: the descriptor is borrowed for the call; `value` lives through it, and `length`
        // is its size.
        let result = unsafe {
            let option = (&raw mut value).cast();
            let fd = socket.as_raw_fd();
            libc::getsockopt(fd, SOL_TLS, TLS_TX_ZEROCOPY_RO, option, &raw mut length)
        };
        assert_eq!((result, length), (0, 4), "{}", io::Error::last_os_error());
        value
    }
}
