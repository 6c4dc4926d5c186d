//! Where the server listens: which addresses and ports, on which sockets, and which shard has
//! which.

use std::net::{Ipv6Addr, SocketAddr};

use super::sockets::Sockets;
use crate::config::{ListenAddress, Settings, Steering};
use crate::shard::{BoundListener, ListenError, ListenerKind, SteerBy, bind_all, deal, settle};

/// Sockets of both kinds, one list a shard.
pub(super) struct Listeners {
    pub(super) per_shard: Vec<Vec<BoundListener>>,
    pub(super) implicit: Vec<SocketAddr>,
    pub(super) explicit: Vec<SocketAddr>,
}

/// What all sockets have in common.
#[derive(Clone, Copy)]
struct Common<'a> {
    shards: usize,
    backlog: u32,
    steer_by: SteerBy<'a>,
}

/// Sockets for shards on these CPUs: those of `held` that listen where the settings say, which are
/// left as they are until [`Listeners::settle`], and new ones.
///
/// # Errors
///
/// An address that cannot be listened on, or that there is none.
pub(super) fn bind(
    settings: &Settings,
    cpus: &[usize],
    held: &mut Sockets,
) -> Result<Listeners, String> {
    let numbers = cpu_numbers(cpus);
    let common = Common {
        shards: cpus.len(),
        backlog: settings.listen.backlog,
        steer_by: steer_by(settings, &numbers),
    };
    let mut listeners = Listeners {
        per_shard: (0..common.shards).map(|_| Vec::new()).collect(),
        implicit: Vec::new(),
        explicit: Vec::new(),
    };
    let hello = settings.limits.client_hello_timeout.min(settings.policy.handshake_timeout);
    // A proxy speaks at once, whether its client does or not.
    let hello = (!settings.listen.proxy_protocol).then_some(hello);
    let implicit = ListenerKind::Implicit { defer_accept: hello };
    for address in &settings.listen.implicit {
        let bound = bind_first(address, implicit, common, held);
        let addresses = listeners.take(bound.map_err(|error| error.to_string())?);
        listeners.implicit.extend(addresses);
    }
    for address in &settings.listen.explicit {
        let bound = bind_first(address, ListenerKind::Explicit, common, held);
        let addresses = listeners.take(bound.map_err(|error| error.to_string())?);
        listeners.explicit.extend(addresses);
    }
    if listeners.implicit.is_empty() && listeners.explicit.is_empty() {
        return Err("no listener is configured: nothing to serve on (see --implicit, --explicit \
                    and the section [listen])"
            .to_owned());
    }
    Ok(listeners)
}

fn cpu_numbers(cpus: &[usize]) -> Vec<u32> {
    cpus.iter().filter_map(|cpu| u32::try_from(*cpu).ok()).collect()
}

const fn steer_by<'a>(settings: &Settings, cpus: &'a [u32]) -> SteerBy<'a> {
    match settings.shards.steering {
        Steering::Kernel => SteerBy::Kernel,
        Steering::Cpu => SteerBy::Cpu(cpus),
        Steering::Source => SteerBy::Source,
    }
}

impl Listeners {
    /// Deals the sockets of one address out to the shards; returns where they listen.
    fn take(&mut self, bound: Vec<Vec<BoundListener>>) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> =
            bound.first().into_iter().flatten().map(|listener| listener.address).collect();
        addresses.dedup();
        for (mine, new) in self.per_shard.iter_mut().zip(bound) {
            mine.extend(new);
        }
        addresses
    }

    /// Every address once.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.implicit.iter().chain(&self.explicit).copied()
    }

    /// Has the sockets as the settings want them, from now on.
    ///
    /// # Errors
    ///
    /// The address and what the kernel says.
    pub(super) fn settle(&self, settings: &Settings, cpus: &[usize]) -> Result<(), String> {
        settle_all(&self.per_shard, settings, cpus)
    }
}

/// Has the sockets of all shards as the settings want them.
///
/// # Errors
///
/// The address and what the kernel says.
pub(super) fn settle_all(
    per_shard: &[Vec<BoundListener>],
    settings: &Settings,
    cpus: &[usize],
) -> Result<(), String> {
    let numbers = cpu_numbers(cpus);
    settle(per_shard, settings.listen.backlog, steer_by(settings, &numbers))
        .map_err(|error| error.to_string())
}

/// The first of the candidate ports that can be had on all of the address's hosts; one that is
/// listened on already comes before all others.
fn bind_first(
    address: &ListenAddress,
    kind: ListenerKind,
    common: Common<'_>,
    held: &mut Sockets,
) -> Result<Vec<Vec<BoundListener>>, ListenError> {
    let is_held = |port: &u16| {
        let mut hosts = address.hosts.iter();
        hosts.any(|&host| held.find(SocketAddr::new(host, *port), kind).is_some())
    };
    let (there, others): (Vec<u16>, Vec<u16>) =
        address.ports.iter().partition(|port| is_held(port));
    let mut refusal = None;
    for port in there.into_iter().chain(others) {
        match bind_port(address, port, kind, common, held) {
            Ok(bound) => return Ok(bound),
            // The first refusal is the one about the standard port: the one worth reading.
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    refusal.map_or(Ok(Vec::new()), Err)
}

fn bind_port(
    address: &ListenAddress,
    port: u16,
    kind: ListenerKind,
    common: Common<'_>,
    held: &mut Sockets,
) -> Result<Vec<Vec<BoundListener>>, ListenError> {
    let Common { shards, backlog, steer_by } = common;
    let mut all: Vec<Vec<BoundListener>> = (0..shards).map(|_| Vec::new()).collect();
    let mut port = port;
    for &host in &address.hosts {
        let wanted = SocketAddr::new(host, port);
        let bound = match held.take(wanted, kind) {
            Some((there, sockets)) => {
                deal(sockets, there, shards, kind).map_err(|error| ListenError::new(there, &error))
            }
            None => bind_all(&[wanted], shards, kind, backlog, steer_by),
        };
        let bound = match bound {
            Err(_) if host.is_ipv6() && address.ipv6_optional && !has_ipv6() => continue,
            bound => bound?,
        };
        for (mine, new) in all.iter_mut().zip(bound) {
            // Port 0 of the second host is the port the first one got.
            port = new.first().map_or(port, |listener| listener.address.port());
            mine.extend(new);
        }
    }
    Ok(all)
}

/// Whether this host can have IPv6 sockets at all.
fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
