//! Socket options the server uses, under one roof so that each can be audited with its reason.
//! Knows nothing of who listens or connects.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use rustix::net::{Shutdown, sockopt};
use socket2::{SockRef, TcpKeepalive};

/// Urgent data is delivered in the stream (`SO_OOBINLINE`), where RFC 959 §4.1.3 and RFC 854
/// expect the data mark and the ABOR behind it. Inherited by accepted connections.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_urgent_inline(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_oobinline(socket, true)?)
}

/// The listening socket reports a connection only once its first bytes are there, or after about
/// `wait` (`TCP_DEFER_ACCEPT`). Only where the client speaks first: implicit TLS.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_defer_accept(socket: impl AsFd, wait: Duration) -> io::Result<()> {
    let seconds = i32::try_from(wait.as_secs().max(1)).unwrap_or(i32::MAX);
    // SAFETY: the value is the i32 that this option takes.
    unsafe { set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &seconds) }
}

/// Takes [`set_defer_accept`] back.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn unset_defer_accept(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: the value is the i32 that this option takes.
    unsafe { set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, &0_i32) }
}

/// Small segments leave at once (`TCP_NODELAY`). Replies and TLS tickets are written whole, so
/// Nagle's algorithm could only add a delayed acknowledgement to them.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// What came and is not acknowledged yet is, at once, and so is what comes next, until we send
/// something (`TCP_QUICKACK`). For waits in which nothing of ours is on its way: a client with
/// Nagle's algorithm keeps its next small segment back until the last one is acknowledged, and the
/// kernel would take 40 ms for that.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn acknowledge(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_quickack(socket, true)?)
}

/// A wait for input ends when this many bytes are there, or the end of what the peer sends
/// (`SO_RCVLOWAT`); reading without waiting takes what there is. The kernel makes the receive
/// buffer large enough, or the mark smaller.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_low_water(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    // SAFETY: the value is the i32 that this option takes.
    unsafe { set_option(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &bytes) }
}

/// Probes a silent peer after `idle`, then every `interval`, and gives up after `probes` without
/// an answer. Whole seconds; the kernel takes nothing finer.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_keepalive(
    socket: impl AsFd,
    idle: Duration,
    interval: Duration,
    probes: u32,
) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)
}

/// Octets of the send queue that the peer has not acknowledged (`SIOCOUTQ`), a FIN included.
///
/// # Errors
///
/// Those of ioctl(2), and ENOTCONN once the connection was reset: its count then stays for ever.
pub fn unsent(socket: impl AsFd) -> io::Result<usize> {
    rustix::net::getpeername(&socket)?;
    let mut octets: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the call, and `octets` is the int that SIOCOUTQ, of
    // the same number as TIOCOUTQ, writes to.
    let result =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(usize::try_from(octets).unwrap_or(0))
    }
}

/// The close that follows sends RST and drops what was not sent (`SO_LINGER` with zero).
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_reset_on_close(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Several sockets may listen on the address; the kernel spreads connections among them
/// (`SO_REUSEPORT`).
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_reuse_port(socket: impl AsFd) -> io::Result<()> {
    SockRef::from(&socket).set_reuse_port(true)
}

/// The sockets that listen on the address of `socket` get the connections that `program` deals out,
/// by their number in the order in which they began to listen (`SO_ATTACH_REUSEPORT_CBPF`). Where
/// its result is no such number, the kernel's own hash decides.
///
/// # Errors
///
/// Those of setsockopt(2); `EINVAL` for a program that the kernel does not accept.
pub fn steer(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program.iter().map(|step| step.0).collect();
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let value = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the value is the sock_fprog that this option takes; it points to `length`
    // instructions that live through the call, which copies them.
    unsafe { set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &value) }
}

/// Takes back what [`steer`] has done: the kernel's own hash decides again. That nothing was to be
/// taken back is no error.
///
/// # Errors
///
/// Those of setsockopt(2); `ENOPROTOOPT` before Linux 5.3.
pub fn unsteer(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: the value is the int that this option takes, and does not look at.
    match unsafe { set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF, &0_i32) } {
        // No program, or no such group.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
        result => result,
    }
}

/// setsockopt(2) for options that neither `rustix` nor `socket2` has.
///
/// # Errors
///
/// Those of setsockopt(2).
///
/// # Safety
///
/// `value` is what the option takes; what it points to lives through the call.
pub(super) unsafe fn set_option<T: ?Sized>(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(value))
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is borrowed for the call; the value lives through it, and `length` is
    // its size. That it is right for the option is the caller's promise.
    let result = unsafe {
        let value = (&raw const *value).cast();
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, value, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One instruction of the kernel's classic packet filter (bpf(4), `linux/filter.h`): an accumulator
/// and an index register of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction(libc::sock_filter);

impl Instruction {
    /// Accumulator = the CPU that handles the packet.
    #[must_use]
    pub fn load_cpu() -> Self {
        Self::load(libc::SKF_AD_OFF + libc::SKF_AD_CPU)
    }

    /// Accumulator = a random number.
    #[must_use]
    pub fn load_random() -> Self {
        Self::load(libc::SKF_AD_OFF + libc::SKF_AD_RANDOM)
    }

    /// Accumulator = four octets of the network header, most significant first, from `offset`.
    #[must_use]
    pub fn load_network_header(offset: i32) -> Self {
        Self::load(libc::SKF_NET_OFF + offset)
    }

    /// Index = accumulator.
    #[must_use]
    pub const fn copy_to_index() -> Self {
        Self::step(libc::BPF_MISC | libc::BPF_TAX, 0)
    }

    /// Accumulator ^= index.
    #[must_use]
    pub const fn xor_index() -> Self {
        Self::step(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0)
    }

    /// Accumulator *= `factor`, wrapping.
    #[must_use]
    pub const fn multiply(factor: u32) -> Self {
        Self::step(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, factor)
    }

    /// Accumulator >>= `bits`.
    #[must_use]
    pub const fn shift_right(bits: u32) -> Self {
        Self::step(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, bits)
    }

    /// Accumulator %= `divisor`, which the kernel wants to be other than 0.
    #[must_use]
    pub const fn modulo(divisor: u32) -> Self {
        Self::step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, divisor)
    }

    /// Skips the next instruction unless the accumulator is `value`.
    #[must_use]
    pub const fn skip_unless(value: u32) -> Self {
        let mut step = Self::step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value);
        step.0.jf = 1;
        step
    }

    /// The result is `value`.
    #[must_use]
    pub const fn finish_with(value: u32) -> Self {
        Self::step(libc::BPF_RET | libc::BPF_K, value)
    }

    /// The result is the accumulator.
    #[must_use]
    pub const fn finish() -> Self {
        // `BPF_A`, which libc lacks.
        Self::step(libc::BPF_RET | 0x10, 0)
    }

    /// Negative offsets, as the kernel's extensions are, go as their two's complement.
    fn load(offset: i32) -> Self {
        Self::step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset.cast_unsigned())
    }

    #[expect(clippy::cast_possible_truncation, reason = "codes are of 16 bits")]
    const fn step(code: u32, k: u32) -> Self {
        Self(libc::sock_filter { code: code as u16, jt: 0, jf: 0, k })
    }
}

/// Sends FIN: nothing more will be written. `false` when there is no connection any more: both ends
/// have sent FIN and acknowledged it, or one has reset it.
///
/// # Errors
///
/// Those of shutdown(2) except `ENOTCONN`.
pub fn shutdown_write(socket: impl AsFd) -> io::Result<bool> {
    unless_gone(rustix::net::shutdown(socket, Shutdown::Write))
}

/// Ends a listening socket at once, also while somebody waits on it: connections are refused from
/// here on, and the waiter wakes. On a connection, ends both directions.
///
/// # Errors
///
/// Those of shutdown(2) except `ENOTCONN`.
pub fn shutdown_both(socket: impl AsFd) -> io::Result<()> {
    unless_gone(rustix::net::shutdown(socket, Shutdown::Both)).map(drop)
}

fn unless_gone(result: rustix::io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A connection over loopback, for tests: the server's end, non-blocking, and the client's.
#[cfg(test)]
pub(crate) fn pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    (server, client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn options_are_set_and_inherited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_urgent_inline(&listener).unwrap();
        set_nodelay(&listener).unwrap();
        set_defer_accept(&listener, Duration::from_secs(5)).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        io::Write::write_all(&mut &client, b"x").unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(sockopt::socket_oobinline(&accepted).unwrap());
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        let probing = (Duration::from_secs(60), Duration::from_secs(10));
        set_keepalive(&accepted, probing.0, probing.1, 4).unwrap();
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), probing.0);
        assert_eq!(sockopt::tcp_keepintvl(&accepted).unwrap(), probing.1);
        assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), 4);
    }

    #[test]
    fn defer_accept_holds_a_silent_connection_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_defer_accept(&listener, Duration::from_secs(5)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let _silent = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn shutdown_of_a_listener_refuses_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        shutdown_both(&listener).unwrap();
        let error = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
