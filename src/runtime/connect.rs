//! Making a connection: the active side. The caller bounds it with a deadline.

use std::{future::poll_fn, io, net::SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Stream, Watched};

/// Connects to `peer` from `local`'s address: for the active data connection the control
/// connection's own, RFC 1123 §4.1.2.12 [PORT-11]; `local`'s port does not matter. The source
/// port is `source_port` (L-1, RFC 959 §3.2 [PORT-10]) where that can be had, and otherwise, or
/// when it already carries a connection to this peer, any.
///
/// A `peer` on a link of its own (fe80::/10) without a scope, as EPRT gives it, gets `local`'s.
///
/// Dropping the future closes the socket.
///
/// # Errors
///
/// Those of socket(2), bind(2) and connect(2), `EADDRNOTAVAIL` among them only when no port works.
pub async fn connect(
    local: SocketAddr,
    peer: SocketAddr,
    source_port: Option<u16>,
) -> io::Result<Stream> {
    let peer = scoped(local, peer);
    #[cfg(test)]
    if let Some(simulation) = super::simulated::current() {
        let socket = simulation.connect(local, peer, source_port)?;
        return Ok(Stream::adopt(socket, peer));
    }
    if let Some(port) = source_port.filter(|port| *port != 0) {
        match connect_from(local, port, peer).await {
            Err(error) if port_unavailable(&error) => {}
            other => return other,
        }
    }
    connect_from(local, 0, peer).await
}

async fn connect_from(local: SocketAddr, port: u16, peer: SocketAddr) -> io::Result<Stream> {
    let socket =
        Socket::new(Domain::for_address(peer), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // A fixed source port has connections in TIME_WAIT as soon as it has been used.
    socket.set_reuse_address(true)?;
    let mut source = local;
    source.set_ip(local.ip().to_canonical());
    source.set_port(port);
    if source.is_ipv4() != peer.is_ipv4() {
        return Err(Errno::AFNOSUPPORT.into());
    }
    socket.bind(&source.into())?;
    match rustix::net::connect(&socket, &peer) {
        Ok(()) => return Ok(Stream::adopt(socket, peer)),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let watched = Watched::new(socket.into());
    poll_fn(|cx| watched.poll_writable(cx)).await?;
    rustix::net::sockopt::socket_error(&watched)??;
    Ok(Stream::from_watched(watched, peer))
}

/// Whether another source port could help.
fn port_unavailable(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::ACCESS | Errno::PERM | Errno::ADDRINUSE | Errno::ADDRNOTAVAIL)
    )
}

fn scoped(local: SocketAddr, mut peer: SocketAddr) -> SocketAddr {
    peer.set_ip(peer.ip().to_canonical());
    if let (SocketAddr::V6(local), SocketAddr::V6(peer)) = (local, &mut peer)
        && peer.ip().is_unicast_link_local()
        && peer.scope_id() == 0
    {
        peer.set_scope_id(local.scope_id());
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        poll_once,
        testing::{alone, eventually, on_shard, open_files, pause},
    };
    use std::net::TcpListener;

    const HERE: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 21);

    #[test]
    fn comes_from_the_port_asked_for_or_from_another() {
        on_shard(|| async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let peer = listener.local_addr().unwrap();
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let first = connect(HERE, peer, Some(free)).await.unwrap();
            assert_eq!(listener.accept().unwrap().1.port(), free);
            // The same pair of addresses again: EADDRNOTAVAIL, so from any port.
            let second = connect(HERE, peer, Some(free)).await.unwrap();
            assert_ne!(listener.accept().unwrap().1.port(), free);
            // The port is listened on: EADDRINUSE.
            let third = connect(HERE, peer, Some(peer.port())).await.unwrap();
            assert_ne!(third.local_addr().unwrap().port(), peer.port());
            // Closed, and TIME_WAIT does not stand in the way to another peer.
            drop((first, second));
            let other = TcpListener::bind("127.0.0.1:0").unwrap();
            let fourth = connect(HERE, other.local_addr().unwrap(), Some(free)).await.unwrap();
            assert_eq!(fourth.local_addr().unwrap().port(), free);
            assert_eq!(fourth.peer_addr(), other.local_addr().unwrap());
        });
    }

    #[test]
    fn a_refusal_is_an_error_and_a_dropped_attempt_leaves_nothing() {
        const NAME: &str =
            "runtime::connect::tests::a_refusal_is_an_error_and_a_dropped_attempt_leaves_nothing";
        if !alone(NAME) {
            return;
        }
        on_shard(|| async {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let error = connect(HERE, gone, None).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            let error = connect("[::1]:21".parse().unwrap(), gone, None).await.unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::AFNOSUPPORT));
            // A full backlog leaves the attempt waiting.
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            listener.listen(0).unwrap();
            let full = listener.local_addr().unwrap().as_socket().unwrap();
            let _filler = std::net::TcpStream::connect(full).unwrap();
            let before = open_files();
            for _ in 0..50 {
                let mut attempt = Box::pin(connect(HERE, full, None));
                assert!(poll_once(&mut attempt).await.is_none());
                pause(0).await;
                assert!(open_files() > before);
            }
            assert!(eventually(|| open_files() <= before).await);
        });
    }

    #[test]
    fn link_local_peers_get_the_scope_of_the_control_connection() {
        let local = "[fe80::1%3]:21".parse().unwrap();
        #[track_caller]
        fn check(local: SocketAddr, peer: &str, expected: &str) {
            assert_eq!(scoped(local, peer.parse().unwrap()), expected.parse().unwrap());
        }
        check(local, "[fe80::2]:5000", "[fe80::2%3]:5000");
        check(local, "[fe80::2%4]:5000", "[fe80::2%4]:5000");
        check(local, "[2001:db8::2]:5000", "[2001:db8::2]:5000");
        check(local, "[::ffff:192.0.2.1]:5000", "192.0.2.1:5000");
    }
}
