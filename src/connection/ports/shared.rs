//! The ports of a shard's range at which sessions wait, and which of them takes one more when no
//! other is free.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    rc::{Rc, Weak},
};

use super::pool::{BoundPort, PassiveError, PassivePorts, random_below};
use super::queue::PortQueue;
use crate::connection::arrivals::{
    Fit,
    gate::{Expected, Gate, Place},
};

/// A port at which sessions wait, or did until their connections came.
#[derive(Debug)]
pub(super) struct OpenPort {
    ports: PassivePorts,
    address: SocketAddr,
    gate: Gate,
    /// Its socket, until it is parked for the next transfer.
    bound: RefCell<Option<BoundPort>>,
}

impl OpenPort {
    /// Opens `bound` for one session.
    pub(super) fn new(
        ports: &PassivePorts,
        bound: BoundPort,
        expected: Expected,
    ) -> (Rc<Self>, Place) {
        let gate = Gate::new(bound.listener.clone(), ports.undecided(), ports.counters());
        let place = gate.join(expected);
        let (ports, address) = (ports.clone(), bound.address);
        let port = Rc::new(Self { ports, address, gate, bound: RefCell::new(Some(bound)) });
        if port.ports.range().is_some() {
            let weak: Weak<Self> = Rc::downgrade(&port);
            port.ports.open_ports().borrow_mut().insert(key_of(address), weak);
        }
        (port, place)
    }

    /// The address that is listened on.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who waits for a port.
    pub(super) fn queue(&self) -> &PortQueue {
        self.ports.queue()
    }

    /// The socket, if the port served one session only.
    pub(super) fn into_unshared(self: Rc<Self>) -> Option<BoundPort> {
        if self.gate.is_shared() { None } else { self.bound.take() }
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        let mut open = self.ports.open_ports().borrow_mut();
        let key = key_of(self.address);
        if open.get(&key).is_some_and(|port| port.strong_count() == 0) {
            open.remove(&key);
        }
    }
}

fn key_of(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip(), address.port())
}

/// A place at a port of `local`'s address that is open already: at a random one where no session of
/// this address waits, else at one where tickets tell them apart.
///
/// # Errors
///
/// [`PassiveError::Exhausted`]: there is none.
pub(super) fn join(
    ports: &PassivePorts,
    local: SocketAddr,
    expected: Expected,
) -> Result<(Rc<OpenPort>, Place), PassiveError> {
    let found = match ports.range() {
        Some(range) => find(ports, range, local.ip().to_canonical(), &expected)?,
        None => None,
    };
    let port = found.ok_or(PassiveError::Exhausted)?;
    ports.counters().passive_shared.increment();
    let place = port.gate.join(expected);
    Ok((port, place))
}

fn find(
    ports: &PassivePorts,
    range: &RangeInclusive<u16>,
    address: IpAddr,
    expected: &Expected,
) -> io::Result<Option<Rc<OpenPort>>> {
    let begin = random_below(range.len())?;
    let begin = range.start().saturating_add(u16::try_from(begin).unwrap_or(u16::MAX));
    let open = ports.open_ports().borrow();
    let behind = open.range((address, begin)..=(address, u16::MAX));
    let before = open.range((address, 0)..(address, begin));
    let mut second = None;
    let all = behind.chain(before).filter_map(|(_, port)| port.upgrade());
    for port in all.filter_map(|port| port.downcast::<OpenPort>().ok()) {
        if !port.gate.is_open() {
            continue;
        }
        match port.gate.fit(expected) {
            Fit::Alone => return Ok(Some(port)),
            Fit::ByTickets => second = second.or(Some(port)),
            Fit::Not => {}
        }
    }
    Ok(second)
}
