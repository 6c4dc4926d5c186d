//! Listening sockets that were there before the server started: those of the server that it takes
//! over from, or those of the service manager.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::shard::{BoundListener, ListenerKind};

/// What a socket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Implicit(SocketAddr),
    Explicit(SocketAddr),
    Metrics(SocketAddr),
    /// The path is absolute.
    Control(PathBuf),
}

/// A listening socket with its purpose.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) purpose: Purpose,
    pub(super) socket: OwnedFd,
    /// As [`BoundListener::lasting`].
    pub(super) lasting: bool,
}

impl Purpose {
    /// As it is told to another server.
    fn value(&self, lasting: bool) -> Value {
        let (word, place) = match self {
            Self::Implicit(address) => ("implicit", address.to_string()),
            Self::Explicit(address) => ("explicit", address.to_string()),
            Self::Metrics(address) => ("metrics", address.to_string()),
            Self::Control(path) => ("control", path.display().to_string()),
        };
        json!({ "for": word, "at": place, "lasting": lasting })
    }

    /// The inverse; `None` for what this version does not know.
    fn of_value(value: &Value) -> Option<Self> {
        let place = value["at"].as_str()?;
        let address = || place.parse().ok();
        Some(match value["for"].as_str()? {
            "implicit" => Self::Implicit(address()?),
            "explicit" => Self::Explicit(address()?),
            "metrics" => Self::Metrics(address()?),
            "control" => Self::Control(PathBuf::from(place)),
            _ => return None,
        })
    }
}

impl From<BoundListener> for Held {
    fn from(bound: BoundListener) -> Self {
        let purpose = match bound.kind {
            ListenerKind::Implicit { .. } => Purpose::Implicit(bound.address),
            ListenerKind::Explicit => Purpose::Explicit(bound.address),
        };
        Self { purpose, socket: bound.socket, lasting: bound.lasting }
    }
}

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Sockets(Vec<Held>);

impl Sockets {
    pub(super) const fn new(held: Vec<Held>) -> Self {
        Self(held)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn purposes(&self) -> impl Iterator<Item = &Purpose> {
        self.0.iter().map(|held| &held.purpose)
    }

    /// What is told of them, and they themselves, in the same order.
    pub(super) fn into_parts(self) -> (Vec<Value>, Vec<OwnedFd>) {
        self.0.into_iter().map(|held| (held.purpose.value(held.lasting), held.socket)).unzip()
    }

    /// The inverse. What this version does not know is closed.
    pub(super) fn of_parts(told: &[Value], sockets: Vec<OwnedFd>) -> Self {
        let held = told.iter().zip(sockets).filter_map(|(told, socket)| {
            let lasting = told["lasting"] == true;
            Some(Held { purpose: Purpose::of_value(told)?, socket, lasting })
        });
        Self(held.collect())
    }

    /// Takes those that listen where `wanted` says, in their order, with the address they have;
    /// port 0 is that of any socket of the same host and the same kind.
    pub(super) fn take(
        &mut self,
        wanted: SocketAddr,
        kind: ListenerKind,
    ) -> Option<(SocketAddr, Vec<(OwnedFd, bool)>)> {
        let address = self.find(wanted, kind)?;
        let (mine, others) = self.0.drain(..).partition::<Vec<_>, _>(|held| {
            matches!(&held.purpose, Purpose::Implicit(there) | Purpose::Explicit(there)
                if *there == address)
        });
        self.0 = others;
        Some((address, mine.into_iter().map(|held| (held.socket, held.lasting)).collect()))
    }

    /// Whether [`Sockets::take`] would find some.
    pub(super) fn find(&self, wanted: SocketAddr, kind: ListenerKind) -> Option<SocketAddr> {
        self.0.iter().find_map(|held| match (&held.purpose, kind) {
            (Purpose::Implicit(there), ListenerKind::Implicit { .. })
            | (Purpose::Explicit(there), ListenerKind::Explicit)
                if wanted.port() == 0 =>
            {
                (there.ip() == wanted.ip()).then_some(*there)
            }
            (Purpose::Implicit(there) | Purpose::Explicit(there), _) => {
                (*there == wanted).then_some(*there)
            }
            _ => None,
        })
    }

    /// The socket of the metrics, if it listens there.
    pub(super) fn take_metrics(&mut self, wanted: SocketAddr) -> Option<OwnedFd> {
        self.take_one(|purpose| match purpose {
            Purpose::Metrics(there) if wanted.port() == 0 => there.ip() == wanted.ip(),
            Purpose::Metrics(there) => *there == wanted,
            _ => false,
        })
    }

    /// The control socket, if it is bound there.
    pub(super) fn take_control(&mut self, wanted: &Path) -> Option<OwnedFd> {
        let wanted = std::path::absolute(wanted).ok()?;
        self.take_one(|purpose| matches!(purpose, Purpose::Control(there) if *there == wanted))
    }

    fn take_one(&mut self, is_it: impl Fn(&Purpose) -> bool) -> Option<OwnedFd> {
        let place = self.0.iter().position(|held| is_it(&held.purpose))?;
        Some(self.0.remove(place).socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const IMPLICIT: ListenerKind = ListenerKind::Implicit { defer_accept: None };

    fn held(purpose: Purpose) -> Held {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap().into();
        Held { purpose, socket, lasting: false }
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_is_taken_once_and_where_it_is_wanted() {
        let all = vec![
            held(Purpose::Implicit(at("127.0.0.1:990"))),
            held(Purpose::Explicit(at("127.0.0.1:21"))),
            held(Purpose::Implicit(at("127.0.0.1:990"))),
            held(Purpose::Implicit(at("[::1]:990"))),
            held(Purpose::Metrics(at("127.0.0.1:9121"))),
            held(Purpose::Control(PathBuf::from("/run/ctl.sock"))),
        ];
        let (told, sockets) = Sockets::new(all).into_parts();
        let mut sockets = Sockets::of_parts(&told, sockets);
        assert!(sockets.find(at("127.0.0.2:0"), IMPLICIT).is_none());
        assert!(sockets.take(at("127.0.0.1:991"), IMPLICIT).is_none());
        let (address, two) = sockets.take(at("127.0.0.1:0"), IMPLICIT).unwrap();
        assert_eq!((address, two.len()), (at("127.0.0.1:990"), 2));
        assert!(sockets.take(at("127.0.0.1:990"), IMPLICIT).is_none());
        // The same place for another kind of connection.
        assert_eq!(sockets.take(at("127.0.0.1:21"), IMPLICIT).unwrap().1.len(), 1);
        assert!(sockets.take(at("[::1]:0"), ListenerKind::Explicit).is_none());
        assert!(sockets.take_metrics(at("127.0.0.1:9122")).is_none());
        assert!(sockets.take_metrics(at("127.0.0.1:0")).is_some());
        assert!(sockets.take_control(Path::new("/run/other.sock")).is_none());
        assert!(sockets.take_control(Path::new("/run/../run/ctl.sock")).is_none());
        assert!(sockets.take_control(Path::new("/run/./ctl.sock")).is_some());
        assert!(sockets.take_control(Path::new("/run/ctl.sock")).is_none());
    }
}
