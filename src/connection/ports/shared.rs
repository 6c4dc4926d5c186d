//! Which of a shard's ports at which sessions wait takes one more when no other is free.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    rc::Rc,
};

use super::pool::{OpenPort, PassiveError, PassivePorts, random_below};
use crate::connection::arrivals::{
    Fit,
    gate::{Expected, Place},
};

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
    let place = port.gate().join(expected);
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
    for port in behind.chain(before).filter_map(|(_, port)| port.upgrade()) {
        if !port.gate().is_open() {
            continue;
        }
        match port.gate().fit(expected) {
            Fit::Alone => return Ok(Some(port)),
            Fit::ByTickets => second = second.or(Some(port)),
            Fit::Not => {}
        }
    }
    Ok(second)
}
