//! The sockets control connections arrive on: one per address and shard, made before the shards
//! start and before root is given up. Accepting is `runtime`'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::steering;
use crate::sys::socket;

/// Longest time the kernel keeps a silent implicit-TLS connection back.
const DEFER_ACCEPT_MAX: Duration = Duration::from_secs(10);

const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// When TLS starts on the connections of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// After AUTH TLS (RFC 4217); the server speaks first.
    Explicit,
    /// At once (MS-FTPS); the client speaks first.
    Implicit {
        /// Keep connections in the kernel until the ClientHello is there, so that one that never
        /// speaks costs no session (`TCP_DEFER_ACCEPT`); for so long, but at most 10 seconds. It is
        /// handed over after that anyway, and then the handshake deadline runs. `None` hands it
        /// over at once.
        defer_accept: Option<Duration>,
    },
}

/// Who decides which of the sockets on one address gets a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteerBy<'a> {
    /// The kernel, by its own hash.
    Kernel,
    /// The CPU that handled the first packet; the shards run on these.
    Cpu(&'a [u32]),
    /// The client's address.
    Source,
}

/// A bound and listening socket that no shard has taken yet.
#[derive(Debug)]
pub struct BoundListener {
    /// The socket, for [`crate::runtime::Listener::adopt`].
    pub socket: OwnedFd,
    /// The address it really has; never port 0.
    pub address: SocketAddr,
    /// When TLS starts on it.
    pub kind: ListenerKind,
    /// Somebody else has the socket, too, and goes on with it when this server ends: it is closed
    /// then, and not shut down.
    pub lasting: bool,
}

/// Binds each of `addresses` once per shard. The result has one list per shard, each in the order
/// of `addresses`; the kernel spreads connections over the shards (`SO_REUSEPORT`), as `steer_by`
/// has it; connections that come before this returns are spread anyhow. For port 0 the socket of
/// the first shard chooses, and the others follow. IPv6 sockets take IPv6 only, so `0.0.0.0` and
/// `[::]` go together. `backlog` is capped by net.core.somaxconn.
///
/// # Errors
///
/// [`ListenError`] names the address, the cause and the remedy; nothing stays bound.
pub fn bind_all(
    addresses: &[SocketAddr],
    shards: usize,
    kind: ListenerKind,
    backlog: u32,
    steer_by: SteerBy<'_>,
) -> Result<Vec<Vec<BoundListener>>, ListenError> {
    let mut per_shard: Vec<Vec<BoundListener>> = (0..shards).map(|_| Vec::new()).collect();
    for &asked in addresses {
        // SO_REUSEPORT would let a second server of the same user in and share the connections
        // with it. A socket without it finds that out; it is closed again before the real ones.
        if asked.port() != 0 {
            open(asked, false).map_err(|error| ListenError::new(asked, &error))?;
        }
        let mut address = asked;
        for listeners in &mut per_shard {
            let listener = listen(address, kind, backlog)
                .map_err(|error| ListenError::new(address, &error))?;
            address = listener.address;
            listeners.push(listener);
        }
        // One program serves all sockets of the address.
        if let Some(listener) = per_shard.first().and_then(|listeners| listeners.last()) {
            steer(listener, shards, steer_by).map_err(|error| ListenError::new(address, &error))?;
        }
    }
    Ok(per_shard)
}

fn steer(listener: &BoundListener, sockets: usize, by: SteerBy<'_>) -> io::Result<()> {
    let sockets = u32::try_from(sockets).unwrap_or(u32::MAX);
    let program = match by {
        SteerBy::Kernel => return Ok(()),
        SteerBy::Cpu(cpus) => steering::cpu_program(cpus, sockets),
        SteerBy::Source => steering::source_program(listener.address.is_ipv6(), sockets),
    };
    socket::steer(&listener.socket, &program)
}

/// Deals sockets that listen at `address` already, in the order in which they began to, out to the
/// shards: one each. Those that are left over are accepted on all the same, for connections may
/// wait there; what is missing is made if the kernel allows it, and else a shard accepts on the
/// socket of another. Nothing is made beside lasting ones: what waits at it would be lost with this
/// server. Nothing is changed before [`settle`].
///
/// # Errors
///
/// Those of fcntl(2).
pub fn deal(
    sockets: Vec<(OwnedFd, bool)>,
    address: SocketAddr,
    shards: usize,
    kind: ListenerKind,
) -> io::Result<Vec<Vec<BoundListener>>> {
    let mut per_shard: Vec<Vec<BoundListener>> = (0..shards).map(|_| Vec::new()).collect();
    let there = sockets.len();
    let are_lasting = sockets.iter().any(|(_, lasting)| *lasting);
    let bound = |socket, lasting| BoundListener { socket, address, kind, lasting };
    for (index, (socket, lasting)) in sockets.into_iter().enumerate() {
        per_shard[index % shards].push(bound(socket, lasting));
    }
    for shard in there..shards {
        let made = (!are_lasting).then(|| open(address, true).ok()).flatten();
        let listener = match made {
            Some(socket) => bound(socket.into(), false),
            None => {
                let other = &per_shard[shard % there][0];
                bound(rustix::io::fcntl_dupfd_cloexec(&other.socket, 0)?, other.lasting)
            }
        };
        per_shard[shard].push(listener);
    }
    Ok(per_shard)
}

/// Has sockets of [`deal`] as new ones would be: their options, their backlog, and which of them
/// gets a connection. Those that are left over get none.
///
/// # Errors
///
/// [`ListenError`] names the address.
pub fn settle(
    per_shard: &[Vec<BoundListener>],
    backlog: u32,
    steer_by: SteerBy<'_>,
) -> Result<(), ListenError> {
    let mut groups: BTreeMap<SocketAddr, Vec<(u64, &BoundListener)>> = BTreeMap::new();
    for listener in per_shard.iter().flatten() {
        let failed = |error: &io::Error| ListenError::new(listener.address, error);
        prepare(&listener.socket, listener.kind).map_err(|error| failed(&error))?;
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        let socket = SockRef::from(&listener.socket);
        socket.listen(backlog).map_err(|error| failed(&error))?;
        let cookie = rustix::net::sockopt::socket_cookie(&listener.socket)
            .map_err(|error| failed(&error.into()))?;
        groups.entry(listener.address).or_default().push((cookie, listener));
    }
    for (address, group) in groups {
        let sockets: BTreeSet<u64> = group.iter().map(|(cookie, _)| *cookie).collect();
        let (sockets, wanted) = (sockets.len(), per_shard.len());
        let listener = group[0].1;
        let steered = match steer_by {
            SteerBy::Kernel if sockets > wanted => {
                let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
                socket::steer(&listener.socket, &steering::first_program(wanted))
            }
            SteerBy::Kernel => socket::unsteer(&listener.socket),
            // One that is no member of a group needs no steering, and can have none.
            _ if sockets == 1 && wanted > 1 => Ok(()),
            by => steer(listener, sockets.min(wanted), by),
        };
        steered.map_err(|error| ListenError::new(address, &error))?;
    }
    Ok(())
}

/// An address that cannot be listened on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot listen on {address}: {cause}; {remedy}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the kernel said.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

impl ListenError {
    /// What to say about `error`, met when binding `address`.
    #[must_use]
    pub fn new(address: SocketAddr, error: &io::Error) -> Self {
        let port = address.port();
        let remedy = match Errno::from_io_error(error) {
            Some(Errno::ADDRINUSE) => format!(
                "another server has it (`ss -ltnp 'sport = :{port}'` shows which); stop that one \
                 or configure another port"
            ),
            Some(Errno::ACCESS | Errno::PERM) => format!(
                "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE: start \
                 as root, use AmbientCapabilities=CAP_NET_BIND_SERVICE in the service unit or \
                 `setcap cap_net_bind_service=+ep` on the program, or configure a port other than \
                 {port}"
            ),
            Some(Errno::ADDRNOTAVAIL) => {
                "this host has no such address (`ip address` shows those it has), or it is not up \
                 yet; start after network-online.target"
                    .to_owned()
            }
            Some(Errno::AFNOSUPPORT) => {
                "the address family is switched off on this host; leave this address out".to_owned()
            }
            Some(Errno::INVAL) if address.is_ipv6() => {
                "a link-local address needs its interface, as in [fe80::1%2]:21".to_owned()
            }
            Some(Errno::MFILE | Errno::NFILE) => "raise LimitNOFILE".to_owned(),
            _ => "see the system log".to_owned(),
        };
        Self { address, cause: error.to_string(), remedy }
    }
}

fn listen(address: SocketAddr, kind: ListenerKind, backlog: u32) -> io::Result<BoundListener> {
    let socket = open(address, true)?;
    prepare(&socket, kind)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(BoundListener { socket: socket.into(), address, kind, lasting: false })
}

/// Sets the options of a listening socket.
fn prepare(socket: impl AsFd, kind: ListenerKind) -> io::Result<()> {
    let socket = socket.as_fd();
    // Inherited by the connections, so that they are right from their first octet on.
    socket::set_nodelay(socket)?;
    socket::set_urgent_inline(socket)?;
    // Long transfers leave the control connection silent; keepalive keeps NAT entries, and tells
    // of clients that vanished without FIN.
    socket::set_keepalive(socket, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES)?;
    match kind {
        ListenerKind::Explicit | ListenerKind::Implicit { defer_accept: None } => {
            socket::unset_defer_accept(socket)
        }
        ListenerKind::Implicit { defer_accept: Some(span) } => {
            socket::set_defer_accept(socket, span.min(DEFER_ACCEPT_MAX))
        }
    }
}

/// A bound socket. `SO_REUSEADDR` because connections of the previous run may still be in
/// TIME_WAIT on the port.
fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket::set_reuse_port(&socket)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    const BACKLOG: u32 = 128;
    const KERNEL: SteerBy<'static> = SteerBy::Kernel;

    fn local(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_shard_gets_every_address() {
        let addresses = [local("127.0.0.1:0"), local("[::1]:0")];
        let shards = bind_all(&addresses, 3, ListenerKind::Explicit, BACKLOG, KERNEL).unwrap();
        assert_eq!(shards.len(), 3);
        for (index, asked) in addresses.iter().enumerate() {
            let bound = shards[0][index].address;
            assert_eq!(bound.ip(), asked.ip());
            assert_ne!(bound.port(), 0);
            for shard in &shards {
                assert_eq!(shard[index].address, bound);
                let flags = rustix::io::fcntl_getfd(&shard[index].socket).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            }
            TcpStream::connect(bound).unwrap();
        }
    }

    #[test]
    fn both_families_share_a_port() {
        let first =
            bind_all(&[local("0.0.0.0:0")], 1, ListenerKind::Explicit, BACKLOG, KERNEL).unwrap();
        let port = first[0][0].address.port();
        bind_all(
            &[SocketAddr::new(local("[::]:0").ip(), port)],
            2,
            ListenerKind::Explicit,
            BACKLOG,
            KERNEL,
        )
        .unwrap();
    }

    #[test]
    fn implicit_connections_wait_for_the_client_hello() {
        let kind = ListenerKind::Implicit { defer_accept: Some(Duration::from_secs(5)) };
        let shards = bind_all(&[local("127.0.0.1:0")], 1, kind, BACKLOG, KERNEL).unwrap();
        let listener = &shards[0][0];
        let socket = TcpListener::from(listener.socket.try_clone().unwrap());
        socket.set_nonblocking(true).unwrap();
        let _silent = TcpStream::connect(listener.address).unwrap();
        assert_eq!(socket.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(listener.kind, kind);
    }

    #[test]
    fn a_taken_port_is_refused_even_when_its_owner_shares_it() {
        let first =
            bind_all(&[local("127.0.0.1:0")], 2, ListenerKind::Explicit, BACKLOG, KERNEL).unwrap();
        let taken = first[0][0].address;
        let error = bind_all(&[taken], 1, ListenerKind::Explicit, BACKLOG, KERNEL).unwrap_err();
        assert_eq!(error.address, taken);
        assert!(error.remedy.contains("another server"), "{error}");
    }

    #[test]
    fn errors_say_what_to_do() {
        #[track_caller]
        fn check(errno: Errno, address: &str, expected: &str) {
            let error = ListenError::new(local(address), &errno.into());
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains(address), "{error}");
        }
        check(Errno::ACCESS, "0.0.0.0:21", "setcap cap_net_bind_service=+ep");
        check(Errno::ADDRNOTAVAIL, "192.0.2.1:21", "no such address");
        check(Errno::AFNOSUPPORT, "[::]:21", "switched off");
        check(Errno::INVAL, "[fe80::1]:21", "needs its interface");
        let nowhere = bind_all(&[local("192.0.2.1:0")], 1, ListenerKind::Explicit, BACKLOG, KERNEL);
        assert!(nowhere.unwrap_err().remedy.contains("no such address"));
    }

    /// The kernel computes what the function says, on both families: the connections of one address
    /// are all in one backlog.
    #[test]
    fn a_source_leads_to_its_shard() {
        use std::net::IpAddr;
        for (asked, sources) in [
            ("127.0.0.1:0", (1..=60).map(|n| IpAddr::from([127, 0, 3, n])).collect::<Vec<_>>()),
            ("[::1]:0", vec![IpAddr::V6(std::net::Ipv6Addr::LOCALHOST); 3]),
        ] {
            for shards in [2, 3, 5] {
                let bound = bind_all(
                    &[local(asked)],
                    shards,
                    ListenerKind::Explicit,
                    BACKLOG,
                    SteerBy::Source,
                );
                let bound = bound.unwrap();
                let clients: Vec<_> = [&sources[..], &sources]
                    .concat()
                    .into_iter()
                    .map(|source| connect_from(source, bound[0][0].address))
                    .collect();
                let accepted = accept_all(&bound);
                assert_eq!(accepted.len(), clients.len());
                for (shard, peer) in accepted {
                    let shards = shards.try_into().unwrap();
                    let expected = steering::tests::shard_of_source(peer.ip(), shards);
                    let expected = usize::try_from(expected).unwrap();
                    assert_eq!(shard, expected, "{peer} of {shards}");
                }
            }
        }
    }

    /// Connections made on one CPU come to the shard that runs there.
    #[test]
    fn a_cpu_leads_to_its_shard() {
        let cpus: Vec<u32> =
            crate::sys::cpu::available().iter().map(|cpu| u32::try_from(*cpu).unwrap()).collect();
        let bound = bind_all(
            &[local("127.0.0.1:0")],
            cpus.len(),
            ListenerKind::Explicit,
            BACKLOG,
            SteerBy::Cpu(&cpus),
        );
        let bound = bound.unwrap();
        for (shard, cpu) in cpus.iter().enumerate() {
            let (cpu, address) = (usize::try_from(*cpu).unwrap(), bound[0][0].address);
            let connecting = move || {
                crate::sys::cpu::pin_current_thread(cpu).unwrap();
                (0..20).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>()
            };
            let _clients = std::thread::spawn(connecting).join().unwrap();
            // On the loopback the packet is handled where it is sent.
            let shards: Vec<_> = accept_all(&bound).into_iter().map(|(shard, _)| shard).collect();
            assert_eq!(shards, vec![shard; 20]);
        }
    }

    /// Sockets that are handed over to fewer shards and to more lose nothing that waits, and lead a
    /// source to its shard by their new number.
    #[test]
    fn sockets_are_dealt_out_and_steered_anew() {
        use std::net::IpAddr;
        let by = SteerBy::Source;
        let kind = ListenerKind::Explicit;
        let mut bound = bind_all(&[local("127.0.0.1:0")], 3, kind, BACKLOG, by).unwrap();
        let address = bound[0][0].address;
        let sources: Vec<_> = (1..=40).map(|n| IpAddr::from([127, 0, 4, n])).collect();
        for shards in [2, 5, 1, 3] {
            let waiting: Vec<_> = sources.iter().map(|one| connect_from(*one, address)).collect();
            let sockets = in_order(&bound);
            bound = deal(sockets, address, shards, kind).unwrap();
            settle(&bound, BACKLOG, by).unwrap();
            assert_eq!(accept_all(&bound).len(), waiting.len(), "{shards}");
            let clients: Vec<_> = sources.iter().map(|one| connect_from(*one, address)).collect();
            let accepted = accept_all(&bound);
            assert_eq!(accepted.len(), clients.len(), "{shards}");
            for (shard, peer) in accepted {
                let expected =
                    steering::tests::shard_of_source(peer.ip(), shards.try_into().unwrap());
                assert_eq!(shard, usize::try_from(expected).unwrap(), "{peer} of {shards}");
            }
        }
        // By the kernel's own hash all shards get some, and sockets that are left over none.
        let dealt = deal(in_order(&bound), address, 2, kind).unwrap();
        settle(&dealt, BACKLOG, KERNEL).unwrap();
        let _clients: Vec<_> = sources.iter().map(|one| connect_from(*one, address)).collect();
        let shards: BTreeSet<_> = accept_all(&dealt).into_iter().map(|(shard, _)| shard).collect();
        assert_eq!(shards, BTreeSet::from([0, 1]));
    }

    /// Those of one address, as they began to listen.
    fn in_order(bound: &[Vec<BoundListener>]) -> Vec<(OwnedFd, bool)> {
        let rounds = bound.iter().map(Vec::len).max().unwrap();
        let of_round = |round| bound.iter().filter_map(move |of| of.get(round));
        let all = (0..rounds).flat_map(of_round);
        all.map(|one| (one.socket.try_clone().unwrap(), false)).collect()
    }

    fn connect_from(source: std::net::IpAddr, to: SocketAddr) -> TcpStream {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        socket.into()
    }

    /// What waits in the backlogs, with the number of the shard.
    fn accept_all(bound: &[Vec<BoundListener>]) -> Vec<(usize, SocketAddr)> {
        let mut accepted = Vec::new();
        for (shard, listeners) in bound.iter().enumerate() {
            for listener in listeners {
                let socket = TcpListener::from(listener.socket.try_clone().unwrap());
                socket.set_nonblocking(true).unwrap();
                accepted.extend(std::iter::from_fn(|| Some((shard, socket.accept().ok()?.1))));
            }
        }
        accepted
    }
}
