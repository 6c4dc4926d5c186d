//! Which of a shard's ports at which sessions wait takes one more when no other is free.

use std::{io, net::IpAddr, rc::Rc};

use super::pool::{OpenPort, PassiveError, PassivePorts};
use super::random_below;
use crate::connection::arrivals::{
    Fit,
    gate::{Expected, Place},
};

/// A place at a port of this local address that is open already: at a random one where no session
/// of this client address waits, else, if they need not be `alone`, at one where tickets tell them
/// apart.
///
/// # Errors
///
/// [`PassiveError::Exhausted`]: there is none.
pub(super) fn join(
    ports: &PassivePorts,
    address: IpAddr,
    expected: Expected,
    alone: bool,
) -> Result<(Rc<OpenPort>, Place), PassiveError> {
    let found = find(ports, address, &expected, alone)?;
    let port = found.ok_or(PassiveError::Exhausted)?;
    ports.counters().passive_shared.increment();
    let place = port.gate().join(expected);
    Ok((port, place))
}

fn find(
    ports: &PassivePorts,
    address: IpAddr,
    expected: &Expected,
    alone: bool,
) -> io::Result<Option<Rc<OpenPort>>> {
    if ports.debts().is_owed(address) {
        return Ok(None);
    }
    let open = ports.open_ports().borrow();
    let mut all = open.range((address, 0)..=(address, u16::MAX)).map(|((_, port), _)| *port);
    let Some(first) = all.next() else { return Ok(None) };
    let last = all.next_back().unwrap_or(first);
    let beyond = random_below(usize::from(last - first) + 1)?;
    let begin = first.saturating_add(u16::try_from(beyond).unwrap_or(0));
    let behind = open.range((address, begin)..=(address, u16::MAX));
    let before = open.range((address, 0)..(address, begin));
    let mut second = None;
    for port in behind.chain(before).filter_map(|(_, port)| port.upgrade()) {
        if !port.gate().is_open() {
            continue;
        }
        match port.gate().fit(expected) {
            Fit::Alone => return Ok(Some(port)),
            Fit::ByTickets if !alone => second = second.or(Some(port)),
            Fit::ByTickets | Fit::Not => {}
        }
    }
    Ok(second)
}
