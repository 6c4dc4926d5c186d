//! The network of a simulated shard: ports by address, and connections that are pairs of local
//! sockets.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    rc::{Rc, Weak},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair},
};

use super::{Simulation, descriptor::inode};
use crate::runtime::Notify;

#[derive(Default)]
pub(super) struct Network {
    /// Bound ports, listening or not.
    ports: RefCell<BTreeMap<SocketAddr, Weak<Bound>>>,
    next_port: Cell<u16>,
    /// The inodes of both ends of each connection.
    ends: RefCell<BTreeMap<u64, u64>>,
}

struct Bound {
    address: SocketAddr,
    backlog: RefCell<VecDeque<(OwnedFd, SocketAddr)>>,
    listening: Cell<bool>,
    news: Notify,
}

/// A bound port.
pub(crate) struct Port(Rc<Bound>);

impl Simulation {
    /// Listens on `address`; a port of 0 is any.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`.
    pub(crate) fn listen(&self, mut address: SocketAddr) -> io::Result<Port> {
        let network = &self.0.network;
        let mut ports = network.ports.borrow_mut();
        if address.port() == 0 {
            address.set_port(self.any_port());
        }
        if ports.get(&address).and_then(Weak::upgrade).is_some() {
            return Err(Errno::ADDRINUSE.into());
        }
        let bound = Rc::new(Bound {
            address,
            backlog: RefCell::default(),
            listening: Cell::new(true),
            news: Notify::new(),
        });
        ports.insert(address, Rc::downgrade(&bound));
        Ok(Port(bound))
    }

    /// Connects from `local`'s address, and `port` or any.
    ///
    /// # Errors
    ///
    /// `ECONNREFUSED`.
    pub(crate) fn connect(
        &self,
        mut local: SocketAddr,
        peer: SocketAddr,
        port: Option<u16>,
    ) -> io::Result<OwnedFd> {
        let bound = self.0.network.ports.borrow().get(&peer).and_then(Weak::upgrade);
        let bound = bound.filter(|bound| bound.listening.get()).ok_or(Errno::CONNREFUSED)?;
        local.set_port(port.unwrap_or_else(|| self.any_port()));
        let (ours, theirs) = self.pair()?;
        bound.backlog.borrow_mut().push_back((theirs, local));
        bound.news.notify();
        Ok(ours)
    }

    /// Two ends of one connection.
    pub(crate) fn pair(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let octets = self.0.weather.get().socket_bytes;
        if octets > 0 {
            rustix::net::sockopt::set_socket_send_buffer_size(&ours, octets)?;
            rustix::net::sockopt::set_socket_send_buffer_size(&theirs, octets)?;
        }
        let (one, other) = (inode(&ours)?, inode(&theirs)?);
        self.0.network.ends.borrow_mut().extend([(one, other), (other, one)]);
        Ok((ours, theirs))
    }

    /// Makes the close of `stream`, which must follow, a reset for its peer: the kernel resets a
    /// pair of local sockets when one is closed with unread octets in it, as it does with TCP.
    pub(crate) fn reset_on_close(&self, stream: impl AsFd) {
        let peer =
            inode(stream).ok().and_then(|inode| self.0.network.ends.borrow().get(&inode).copied());
        if let Some(peer) = peer.and_then(|peer| self.0.interests.open(peer)) {
            // When there is no room, there are unread octets.
            let _ = send(&peer, b"unread", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    fn any_port(&self) -> u16 {
        let next = &self.0.network.next_port;
        let port = next.get().max(40_000);
        next.set(port.checked_add(1).unwrap_or(40_000));
        port
    }
}

impl Port {
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The next connection.
    ///
    /// # Errors
    ///
    /// As accept(2): `EAGAIN` when none waits, `EINVAL` when nobody listens.
    pub(crate) fn accept(&self) -> rustix::io::Result<(OwnedFd, SocketAddr)> {
        let next = self.0.backlog.borrow_mut().pop_front();
        match next {
            Some(connection) => Ok(connection),
            None if self.0.listening.get() => Err(Errno::AGAIN),
            None => Err(Errno::INVAL),
        }
    }

    /// Returns when [`Port::accept`] may have something.
    pub(crate) async fn ready(&self) {
        self.0.news.notified().await;
    }

    pub(crate) fn shut_down(&self) {
        self.0.listening.set(false);
        let backlog = self.0.backlog.take();
        drop(backlog);
        self.0.news.notify();
    }

    pub(crate) fn listen_again(&self) {
        self.0.listening.set(true);
    }
}
