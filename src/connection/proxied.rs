//! Connections that a proxy made for a client: reads the header that says for whom (PROXY
//! protocol).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::config::Settings;
use crate::events::Refusal;
use crate::protocol::proxy_header::{
    Introduced, PROXY_HEADER_BYTES_MAX, PROXY_HEADER_BYTES_MIN, ProxyHeader, ProxyHeaderError,
};
use crate::runtime::{Stream, timeout_at};

/// Who may speak for clients.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<Settings>);

/// Between whom a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub peer: SocketAddr,
    /// What the client connected to: an address of this host, or of a proxy.
    pub destination: SocketAddr,
    /// The proxy in between.
    pub proxy: Option<SocketAddr>,
}

/// Why a connection has no client.
#[derive(Debug)]
pub enum Unintroduced {
    /// It is no proxy's (`listen.proxy_from`).
    Stranger,
    /// It did not begin with a header.
    Header(ProxyHeaderError),
    /// The header did not come in time.
    Late,
    /// The connection ended or broke before.
    Gone,
}

impl Unintroduced {
    /// For the log.
    #[must_use]
    pub const fn reason(&self) -> Refusal {
        match self {
            Self::Stranger => Refusal::NotAProxy,
            Self::Header(_) | Self::Late | Self::Gone => Refusal::ProxyHeader,
        }
    }
}

impl fmt::Display for Unintroduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => f.write_str("this address is not in listen.proxy_from"),
            Self::Header(error) => error.fmt(f),
            Self::Late => f.write_str("the PROXY header did not come in time"),
            Self::Gone => f.write_str("the connection ended before its PROXY header"),
        }
    }
}

impl Proxies {
    /// Of control connections; `None` where clients come themselves.
    #[must_use]
    pub fn of_listeners(settings: &Arc<Settings>) -> Option<Self> {
        settings.listen.proxy_protocol.then(|| Self(settings.clone()))
    }

    /// Of connections to passive ports.
    #[must_use]
    pub fn of_passive_ports(settings: &Arc<Settings>) -> Option<Self> {
        settings.passive.proxy_protocol.then(|| Self(settings.clone()))
    }

    fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.listen.proxy_from.iter().any(|network| network.contains(&address))
    }

    /// Reads the header at the beginning of `stream`, and not an octet more, until `deadline`. One
    /// that speaks for nobody is the proxy's own connection.
    ///
    /// # Errors
    ///
    /// [`Unintroduced`]; the connection is to be closed.
    pub async fn introduce(
        &self,
        stream: &Stream,
        deadline: Instant,
    ) -> Result<Introduced, Unintroduced> {
        let proxy = stream.peer_addr();
        if !self.include(proxy.ip()) {
            return Err(Unintroduced::Stranger);
        }
        let read = timeout_at(deadline, read(stream)).await;
        Ok(match read.unwrap_or(Err(Unintroduced::Late))? {
            // HAProxy's looks at whether the server is well, with headers of version 1.
            Introduced::Client { source, .. } if source == proxy => Introduced::Nobody,
            introduced => introduced,
        })
    }
}

impl Ends {
    /// Those of a connection between `peer` and our end, `local`, that was made for whom the header
    /// says; without a header for `peer`.
    #[must_use]
    pub const fn new(peer: SocketAddr, local: SocketAddr, introduced: Introduced) -> Self {
        match introduced {
            Introduced::Nobody => Self { peer, destination: local, proxy: None },
            Introduced::Client { source, destination } => {
                Self { peer: source, destination, proxy: Some(peer) }
            }
        }
    }
}

/// Takes a header off the stream. What follows stays in the socket, for whoever reads next: so each
/// octet is looked at before it is taken, but those that a header has in any case.
async fn read(stream: &Stream) -> Result<Introduced, Unintroduced> {
    let gone = |_: io::Error| Unintroduced::Gone;
    let mut octets = vec![0; PROXY_HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        match ProxyHeader::parse(&octets[..taken]).map_err(Unintroduced::Header)? {
            ProxyHeader::Complete(_, introduced) => return Ok(introduced),
            ProxyHeader::Incomplete => {}
        }
        let (from, sure) = (taken, taken.max(PROXY_HEADER_BYTES_MIN - 1) + 1);
        let seen = match stream.peek(&mut octets[from..]) {
            Ok(0) => return Err(Unintroduced::Gone),
            Ok(count) => from + count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // One more octet of a header is sure to be its own.
                match stream.read(&mut octets[from..sure]).await.map_err(gone)? {
                    0 => return Err(Unintroduced::Gone),
                    count => taken += count,
                }
                continue;
            }
            Err(_) => return Err(Unintroduced::Gone),
        };
        let length = match ProxyHeader::parse(&octets[..seen]).map_err(Unintroduced::Header)? {
            ProxyHeader::Complete(length, _) => length,
            ProxyHeader::Incomplete => seen,
        };
        taken += stream.try_read(&mut octets[from..length]).map_err(gone)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runtime::spawn;
    use crate::runtime::testing::{on_shard, pause};
    use crate::sys::socket;
    use std::io::{Read, Write};
    use std::time::Duration;

    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 203.0.113.5 50000 990\r\n";

    fn proxies(from: &str) -> Proxies {
        let mut settings = Settings::default();
        settings.listen.proxy_protocol = true;
        settings.listen.proxy_from = vec![from.parse().unwrap()];
        Proxies::of_listeners(&Arc::new(settings)).unwrap()
    }

    async fn introduce(stream: &Stream, from: &str) -> Result<Ends, Unintroduced> {
        let deadline = clock::now() + Duration::from_millis(300);
        let introduced = proxies(from).introduce(stream, deadline).await?;
        Ok(Ends::new(stream.peer_addr(), "127.0.0.1:990".parse().unwrap(), introduced))
    }

    /// However the octets come, the header goes and what is behind it stays.
    #[test]
    fn a_header_and_not_an_octet_more() {
        on_shard(|| async {
            for piece in [1, 2, 15, 16, HEADER.len(), usize::MAX] {
                let (accepted, mut client) = socket::pair();
                let peer = client.local_addr().unwrap();
                let stream = Stream::adopt(accepted, peer);
                let octets = [HEADER, b"behind"].concat();
                let introduced = spawn(async move {
                    let ends = introduce(&stream, "127.0.0.0/8").await;
                    (ends, stream)
                });
                for piece in octets.chunks(piece.min(octets.len())) {
                    client.write_all(piece).unwrap();
                    pause(1).await;
                }
                let (ends, stream) = introduced.await;
                let ends = ends.unwrap();
                assert_eq!(ends.peer, "192.0.2.7:50000".parse().unwrap());
                assert_eq!(ends.destination, "203.0.113.5:990".parse().unwrap());
                assert_eq!(ends.proxy, Some(peer));
                let mut behind = Vec::new();
                while behind.len() < 6 {
                    let mut buffer = [0; 16];
                    let count = stream.read(&mut buffer).await.unwrap();
                    behind.extend_from_slice(&buffer[..count]);
                }
                assert_eq!(behind, b"behind");
                stream.write_all(b"answer").await.unwrap();
                client.read_exact(&mut [0; 6]).unwrap();
            }
        });
    }

    #[test]
    fn no_client() {
        on_shard(|| async {
            let pair = || {
                let (accepted, client) = socket::pair();
                let stream = Stream::adopt(accepted, client.local_addr().unwrap());
                (stream, client)
            };
            let (stream, mut client) = pair();
            client.write_all(HEADER).unwrap();
            let stranger = introduce(&stream, "192.0.2.0/24").await.unwrap_err();
            assert!(matches!(stranger, Unintroduced::Stranger), "{stranger}");
            assert_eq!(stranger.reason(), Refusal::NotAProxy);

            let (stream, mut client) = pair();
            client.write_all(&HEADER[..20]).unwrap();
            let late = introduce(&stream, "127.0.0.1/32").await.unwrap_err();
            assert!(matches!(late, Unintroduced::Late), "{late}");

            let (stream, mut client) = pair();
            client.write_all(&HEADER[..20]).unwrap();
            drop(client);
            let gone = introduce(&stream, "127.0.0.1/32").await.unwrap_err();
            assert!(matches!(gone, Unintroduced::Gone), "{gone}");

            let (stream, mut client) = pair();
            client.write_all(b"USER alice\r\n").unwrap();
            let other = introduce(&stream, "127.0.0.1/32").await.unwrap_err();
            assert!(matches!(other, Unintroduced::Header(_)), "{other}");
            assert_eq!(other.reason(), Refusal::ProxyHeader);

            let (stream, mut client) = pair();
            client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
            let own = introduce(&stream, "127.0.0.1/32").await.unwrap();
            assert_eq!((own.peer, own.proxy), (stream.peer_addr(), None));
            assert_eq!(own.destination, "127.0.0.1:990".parse().unwrap());
        });
    }
}
