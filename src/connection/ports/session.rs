//! The passive port of one session: listening for a data connection, or parked until the next
//! transfer. Decides when a port serves again; the ports themselves belong to `pool`, and who may
//! connect is decided in `arrivals`.
//!
//! A port that has served is parked: it is closed, but its socket stays bound, so that the next
//! EPSV costs one listen(2) instead of a socket, its options and a search for a port. While it is
//! parked every connection is refused, and those in its backlog were reset when it closed, so none
//! can be taken for that of the next transfer.
//!
//! The price is that the port of the next transfer can be predicted (RFC 2577 §8). So a port serves
//! again only its own session, only [`ANNOUNCED_MAX`] times, and only after a transfer without
//! other candidates whose TLS proved that it belongs to the session. Somebody at the client's own
//! address who finds an open port by half-open scanning can then use that knowledge for the rest of
//! its announcements, instead of scanning for each transfer; `data_resumption = "require"` refuses
//! such connections in both cases.
//!
//! When the shard's ports are used up, sessions wait at ports where others do (`shared`). Such a
//! port stays open for those others, so it is never parked.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::pool::{BACKLOG, BoundPort, OpenPort, PassiveError, PassivePorts};
use super::queue::Freed;
use super::shared;
use super::shares::Held;
use crate::{
    clock,
    connection::arrivals::{
        candidates::{AnnouncedPort, Arrived, Asked, arrive},
        gate::{Expected, Place},
        handshake::DataTls,
    },
    connection::proxied::Proxies,
    protocol::session::TransferError,
    runtime::{Mailbox, Task, mailbox, race, spawn, timeout_at},
    tls::{ControlSession, ServerTls},
};

/// How often a port is announced before another is drawn: by then the price of a new port hardly
/// counts, and the port stays short-lived.
const ANNOUNCED_MAX: u32 = 16;

/// How long a port is parked for its session's next transfer.
const PARKED_MAX: Duration = Duration::from_secs(5);

/// How long connections may wait for the transfer command before a task guards the port. Clients
/// send the command right after they connect, which saves the task, a duplicate descriptor and a
/// poll.
const UNGUARDED_MAX: Duration = Duration::from_millis(20);

/// For whom a port is to wait.
#[derive(Clone)]
pub(crate) struct Client {
    /// Its end of the control connection.
    pub(crate) peer: IpAddr,
    /// What tells its data connections from those of others; `None` where nothing does.
    pub(crate) tickets: Option<(Arc<ServerTls>, Arc<ControlSession>)>,
    /// How long it may take between a connection and its ClientHello.
    pub(crate) patience: Duration,
    /// The proxies that it comes by.
    pub(crate) proxies: Option<Proxies>,
    /// Its tickets count wherever they are shown.
    pub(crate) elsewhere: bool,
}

/// The passive ports of one session. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct SessionPorts(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    ports: PassivePorts,
    /// The port parked for this session, unless it was evicted, and until when.
    parked: Cell<Option<(u64, Instant)>>,
    /// The user whose share of the ports counts.
    user: RefCell<Option<Rc<str>>>,
}

impl SessionPorts {
    pub(crate) fn new(ports: &PassivePorts) -> Self {
        Self(Rc::new(Inner {
            ports: ports.clone(),
            parked: Cell::new(None),
            user: RefCell::default(),
        }))
    }

    /// Waits on `local`'s address (its own port does not matter) for one connection from the client
    /// of the control connection [PASV-04]: on the port that is parked for the session, else on a
    /// random one [PASV-02], else on one where others wait already. Where tickets would have to
    /// tell them apart, [`SessionPorts::listen_until`] asks other shards for a port first.
    ///
    /// # Errors
    ///
    /// `PassiveError`, every kind answered with 425, unless waiting helps
    /// ([`PassiveError::may_pass`]).
    pub(crate) fn listen(
        &self,
        local: SocketAddr,
        client: Client,
    ) -> Result<PassiveListener, PassiveError> {
        self.listen_now(local, client, true)
    }

    /// The same; it `may_wait` for other shards to be asked.
    fn listen_now(
        &self,
        local: SocketAddr,
        client: Client,
        may_wait: bool,
    ) -> Result<PassiveListener, PassiveError> {
        let Client { peer, tickets, patience, proxies, elsewhere } = client;
        let (peer, user) = (peer.to_canonical(), self.0.user.borrow().clone());
        let address = local.ip().to_canonical();
        let ports = &self.0.ports;
        let take = |user| ports.shares().take(user, peer, ports.size_at(address));
        let held = user.clone().map(take).transpose()?;
        let expected = Expected { peer, user, tickets, patience, proxies, elsewhere };
        let (port, place) = match self.unparked(local) {
            Some(port) => OpenPort::new(ports, port, expected),
            None => match ports.open(local) {
                Ok(port) => OpenPort::new(ports, port, expected),
                Err(PassiveError::Exhausted) => {
                    let alone = may_wait && ports.wants().may_ask(address, clock::now());
                    shared::join(ports, address, expected, alone)?
                }
                Err(error) => return Err(error),
            },
        };
        // Only now: who finds no port has none to give back.
        let freed = ports.queue().when_freed(peer);
        let share = Some(Share { _held: held, _freed: freed });
        let announced = clock::now();
        Ok(PassiveListener {
            waiting: Waiting { port, place: Rc::new(place), share },
            session: self.clone(),
            announced,
            guard_due: Some(announced + UNGUARDED_MAX),
            guard: None,
        })
    }

    /// As [`SessionPorts::listen`], but asks other shards for ports, and waits until `deadline` for
    /// others to be done.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn listen_until(
        &self,
        local: SocketAddr,
        client: Client,
        deadline: Instant,
    ) -> Result<PassiveListener, PassiveError> {
        let (wants, address) = (self.0.ports.wants(), local.ip().to_canonical());
        let turn = self.0.ports.queue().enter(client.peer.to_canonical());
        loop {
            let asked = wants.ask(address, clock::now());
            let until = match &asked {
                Some(_) => deadline,
                None => wants.pause_ends(address).map_or(deadline, |end| end.min(deadline)),
            };
            let tried = async {
                match asked {
                    Some(tried) => tried.wait().await,
                    None => pending().await,
                }
            };
            // What it comes to, the next look tells.
            let _ = timeout_at(until, race(tried, turn.comes())).await;
            let in_time = clock::now() < deadline;
            match self.listen_now(local, client.clone(), in_time) {
                Err(error) if in_time && error.may_pass() => {}
                result => return result,
            }
        }
    }

    /// The user of the session changes: a log-in, or its end.
    pub(crate) fn enter(&self, user: Option<&str>) {
        *self.0.user.borrow_mut() = user.map(Rc::from);
    }

    /// Until when a port is parked for this session.
    #[must_use]
    pub(crate) fn parked_until(&self) -> Option<Instant> {
        self.0.parked.get().map(|(_, until)| until)
    }

    /// Frees the port parked for this session.
    pub(crate) fn free(&self) {
        self.0.free();
    }

    /// The parked port, listening again; `None` when another socket has taken it meanwhile.
    fn unparked(&self, local: SocketAddr) -> Option<BoundPort> {
        let mut port = self.0.take()?;
        if port.address.ip() != local.ip().to_canonical()
            || port.listener.listen_again(BACKLOG).is_err()
        {
            return None;
        }
        port.announced += 1;
        self.0.ports.counters().passive_reused.increment();
        Some(port)
    }

    fn park(&self, port: BoundPort) {
        self.free();
        let id = self.0.ports.parked().borrow_mut().add(port);
        self.0.parked.set(Some((id, clock::now() + PARKED_MAX)));
        // Outside the borrow: dropping a port gives it back to the pool.
        let evicted = self.0.ports.parked().borrow_mut().evict_surplus();
        drop(evicted);
    }
}

impl Inner {
    fn take(&self) -> Option<BoundPort> {
        let (id, _) = self.parked.take()?;
        self.ports.parked().borrow_mut().take(id)
    }

    fn free(&self) {
        let port = self.take();
        drop(port);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.free();
    }
}

/// A port waiting for one data connection. Dropping it frees the port at once, if no other session
/// waits there.
pub(crate) struct PassiveListener {
    waiting: Waiting,
    session: SessionPorts,
    announced: Instant,
    guard_due: Option<Instant>,
    guard: Option<Guard>,
}

/// A session's place at a port, and its user's share.
struct Waiting {
    port: Rc<OpenPort>,
    place: Rc<Place>,
    share: Option<Share>,
}

/// What a session has of the ports. The order is that in which they are dropped: when others are
/// told, it is given back.
#[derive(Debug)]
struct Share {
    _held: Option<Held>,
    _freed: Freed,
}

impl Waiting {
    /// Tells the sessions of the same client address that wait for a port.
    fn freed(&self) -> Freed {
        self.port.queue().when_freed(self.place.peer())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A task may hold the place for another turn; nothing more comes there from here on.
        let share = self.share.take();
        self.place.leave(share.map(|share| Box::new(share) as Box<dyn Any>));
    }
}

/// The task that guards the port before the transfer command comes.
struct Guard {
    arrived: Mailbox<Result<Arrived, TransferError>>,
    asked: Asked,
    _task: Task<()>,
}

impl PassiveListener {
    /// Where the client is to connect, for the 227 or 229 reply: at the address that its control
    /// connection `reached`, if that is another's. The masquerade address is for IPv4 clients; IPv6
    /// has no such need (EPSV tells no address).
    pub(crate) fn advertised(
        &self,
        masquerade: Option<Ipv4Addr>,
        reached: Option<IpAddr>,
    ) -> SocketAddr {
        let own = self.waiting.port.address();
        let shown = reached.map_or(own, |host| SocketAddr::new(host, own.port()));
        match masquerade {
            Some(public) if shown.is_ipv4() => SocketAddr::new(public.into(), own.port()),
            _ => shown,
        }
    }

    /// When to call [`PassiveListener::guard`], unless the transfer command comes first.
    #[must_use]
    pub(crate) const fn guard_due(&self) -> Option<Instant> {
        self.guard_due
    }

    /// Guards the port although no transfer command has come [PASV-05]: from here on connections of
    /// strangers are closed as they come, and the port closes with the client's connection. With
    /// `tls` the handshake is made meanwhile: some clients finish it before they send the command.
    /// Costs a task and a descriptor.
    pub(crate) fn guard(&mut self, tls: Option<DataTls>) {
        self.guard_due = None;
        let (sender, arrived) = mailbox(1);
        let asked = Asked::default();
        let port = self.announced();
        let task = spawn({
            let asked = asked.clone();
            let freed = self.waiting.freed();
            async move {
                let arrived = arrive(port, tls, asked).await;
                // Others need not wait for the transfer command.
                drop(freed);
                // Fails only when the listener is gone, and the connection goes with it.
                let _ = sender.send(arrived);
            }
        });
        self.guard = Some(Guard { arrived, asked, _task: task });
    }

    /// The connection from the control connection's client, which may have come earlier, and the
    /// port, which takes no further ones [PASV-13]. With `tls` it has made its handshake and was
    /// chosen by `contest`.
    ///
    /// # Errors
    ///
    /// [`TransferError::NotOpened`]: no connection until `deadline`.
    /// [`TransferError::ConnectionLost`]: a handshake had begun when the transfer command asked for
    /// a clear connection.
    pub(crate) async fn connection(
        mut self,
        tls: Option<DataTls>,
        deadline: Instant,
    ) -> Result<(Arrived, ServedPort), TransferError> {
        let arrived = if let Some(guard) = &mut self.guard {
            guard.asked.ask(tls.is_some(), deadline);
            guard.arrived.recv().await.unwrap_or(Err(TransferError::NotOpened))
        } else {
            let asked = Asked::default();
            asked.ask(tls.is_some(), deadline);
            arrive(self.announced(), tls, asked).await
        };
        let arrived = arrived?;
        let Self { mut waiting, session, .. } = self;
        waiting.place.leave(None);
        let (port, share, alone) = (waiting.port.clone(), waiting.share.take(), arrived.alone);
        Ok((arrived, ServedPort { port, session, share, alone }))
    }

    fn announced(&self) -> AnnouncedPort {
        AnnouncedPort {
            place: self.waiting.place.clone(),
            since: self.announced,
            counters: self.session.0.ports.counters().clone(),
            latencies: self.session.0.ports.latencies().clone(),
        }
    }
}

/// A port whose data connection has come, closed. Dropping it frees the port.
#[derive(Debug)]
pub(crate) struct ServedPort {
    port: Rc<OpenPort>,
    session: SessionPorts,
    share: Option<Share>,
    alone: bool,
}

impl ServedPort {
    /// Parks the port for the session's next transfer. Call only when the data connection was the
    /// session's own.
    pub(crate) fn park(self) {
        let Self { port, session, share, alone } = self;
        let bound = if alone { port.into_unshared() } else { None };
        let parks = |bound: &BoundPort| {
            let owed = session.0.ports.debts().is_owed(bound.address.ip());
            bound.lasting && bound.announced < ANNOUNCED_MAX && !owed
        };
        if let Some(bound) = bound.filter(parks) {
            session.park(bound);
        }
        drop(share);
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::ShareExceeded;
    use super::*;
    use crate::connection::ports::pool::tests::{HERE, free_range};
    use crate::runtime::{
        Stream, poll_once,
        testing::{eventually, on_shard},
    };
    use socket2::{Domain, Socket, Type};
    use std::{
        io::{self, Read, Write},
        net::{TcpListener, TcpStream},
    };

    fn at(peer: IpAddr) -> Client {
        let patience = Duration::from_secs(20);
        Client { peer, tickets: None, patience, proxies: None, elsewhere: false }
    }

    fn connect_from(source: [u8; 4], target: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&target.into())?;
        Ok(socket.into())
    }

    #[track_caller]
    fn assert_refused(address: SocketAddr) {
        let error = connect_from([127, 0, 0, 1], address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    async fn connection(passive: PassiveListener) -> (Stream, ServedPort) {
        let deadline = clock::now() + Duration::from_secs(20);
        let (arrived, served) = passive.connection(None, deadline).await.ok().unwrap();
        assert!(arrived.refusal.is_none() && arrived.secured.is_none());
        (arrived.stream, served)
    }

    /// One whole announcement: listen, connect, accept; octets move.
    async fn serve(session: &SessionPorts, guarded: bool) -> (u16, ServedPort) {
        let mut passive = session.listen(HERE, at(HERE.ip())).unwrap();
        let mut client = TcpStream::connect(passive.advertised(None, None)).unwrap();
        let port = passive.advertised(None, None).port();
        if guarded {
            passive.guard(None);
        }
        let (stream, served) = connection(passive).await;
        assert_eq!(stream.peer_addr(), client.local_addr().unwrap());
        client.write_all(b"up").unwrap();
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap(), 2);
        stream.write_all(b"down").await.unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        (port, served)
    }

    #[test]
    fn a_connection_comes_before_or_after_it_is_waited_for() {
        on_shard(|| async {
            let session = SessionPorts::new(&PassivePorts::new(None, Rc::default(), Rc::default()));
            for guarded in [false, true] {
                let mut early = session.listen(HERE, at(HERE.ip())).unwrap();
                if guarded {
                    early.guard(None);
                }
                let client = TcpStream::connect(early.advertised(None, None)).unwrap();
                let (stream, _) = connection(early).await;
                assert_eq!(stream.peer_addr(), client.local_addr().unwrap());

                let late = session.listen(HERE, at(HERE.ip())).unwrap();
                let address = late.advertised(None, None);
                let mut waiting = Box::pin(connection(late));
                for _ in 0..5 {
                    assert!(poll_once(&mut waiting).await.is_none());
                }
                let client = TcpStream::connect(address).unwrap();
                let (stream, _) = waiting.await;
                assert_eq!(stream.peer_addr(), client.local_addr().unwrap());
            }
        });
    }

    /// [PASV-04] [PASV-05]: theft from another address; [PASV-13]: later connections. The same
    /// before and after anybody asks for the connection.
    #[test]
    fn strangers_are_closed_and_later_ones_refused() {
        on_shard(|| async {
            let ports = PassivePorts::new(None, Rc::default(), Rc::default());
            let session = SessionPorts::new(&ports);
            let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
            for guarded in [false, true] {
                let before = ports.counters().passive_strangers.get();
                let mut passive = session.listen(HERE, at(mapped)).unwrap();
                let address = passive.advertised(None, None);
                if guarded {
                    passive.guard(None);
                }
                let waiting = spawn(connection(passive));
                for _ in 0..20 {
                    let mut thief = connect_from([127, 0, 0, 2], address).unwrap();
                    let reader = std::thread::spawn(move || thief.read(&mut [0; 1]).unwrap_or(0));
                    assert!(eventually(|| reader.is_finished()).await);
                    assert_eq!(reader.join().unwrap(), 0);
                }
                assert_eq!(ports.counters().passive_strangers.get() - before, 20);
                let client = connect_from([127, 0, 0, 1], address).unwrap();
                let (stream, served) = waiting.await;
                assert_eq!(stream.peer_addr(), client.local_addr().unwrap());
                assert_refused(address);
                // A port that somebody else has tried does not serve again.
                served.park();
                assert!(session.parked_until().is_none());
                assert!(TcpListener::bind(address).is_ok());
            }
        });
    }

    /// Behind the first connection others may wait already, the client's own included: closing
    /// the port resets them, and the next announcement does not find them.
    #[test]
    fn what_waits_behind_the_first_is_not_taken_for_the_next() {
        on_shard(|| async {
            let session = SessionPorts::new(&PassivePorts::new(None, Rc::default(), Rc::default()));
            let passive = session.listen(HERE, at(HERE.ip())).unwrap();
            let address = passive.advertised(None, None);
            let first = TcpStream::connect(address).unwrap();
            let mut second = TcpStream::connect(address).unwrap();
            let (stream, served) = connection(passive).await;
            assert_eq!(stream.peer_addr(), first.local_addr().unwrap());
            served.park();
            assert_refused(address);
            let again = session.listen(HERE, at(HERE.ip())).unwrap();
            assert_eq!(again.advertised(None, None), address);
            let mut waiting = Box::pin(connection(again));
            assert!(poll_once(&mut waiting).await.is_none());
            let error = second.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let client = TcpStream::connect(address).unwrap();
            assert_eq!(waiting.await.0.peer_addr(), client.local_addr().unwrap());
        });
    }

    /// [PASV-02]: one port serves a session a bounded number of times, and only that session.
    #[test]
    fn a_parked_port_serves_its_session_again_and_not_for_ever() {
        on_shard(|| async {
            let ports = PassivePorts::new(None, Rc::default(), Rc::default());
            let session = SessionPorts::new(&ports);
            let mut first = None;
            for round in 0..ANNOUNCED_MAX {
                let (port, served) = serve(&session, round % 2 == 0).await;
                assert_eq!(*first.get_or_insert(port), port, "round {round}");
                served.park();
                assert_refused(SocketAddr::new(HERE.ip(), port));
            }
            let counts = || {
                let counters = ports.counters();
                (counters.passive_opened.get(), counters.passive_reused.get())
            };
            assert_eq!(counts(), (1, u64::from(ANNOUNCED_MAX) - 1));
            assert!(session.parked_until().is_none());
            let (_, served) = serve(&session, false).await;
            assert_eq!(counts().0, 2);
            served.park();
            let _other = serve(&SessionPorts::new(&ports), false).await;
            assert_eq!(counts().0, 3);
        });
    }

    #[test]
    fn a_port_is_free_when_nobody_parks_it_or_its_session_ends() {
        on_shard(|| async {
            let range = free_range(1);
            let address = SocketAddr::new(HERE.ip(), *range.start());
            let ports = PassivePorts::new(Some(range), Rc::default(), Rc::default());
            for round in 0..20 {
                let session = SessionPorts::new(&ports);
                let mut passive = session.listen(HERE, at(HERE.ip())).unwrap();
                assert_eq!(passive.advertised(None, None), address);
                let exhausted = session.listen(HERE, at(HERE.ip()));
                assert!(matches!(exhausted, Err(PassiveError::Exhausted)));
                match round % 4 {
                    0 => drop(passive),
                    1 => {
                        passive.guard(None);
                        assert!(poll_once(Box::pin(connection(passive))).await.is_none());
                    }
                    2 => {
                        let _client = TcpStream::connect(address).unwrap();
                        drop(connection(passive).await);
                    }
                    _ => {
                        let _client = TcpStream::connect(address).unwrap();
                        let (_, served) = connection(passive).await;
                        served.park();
                        assert!(session.parked_until().unwrap() > clock::now());
                        drop(session);
                    }
                }
                assert_refused(address);
                assert!(ports.parked().borrow().is_empty());
            }
            assert_eq!(ports.counters().passive_reused.get(), 0);
        });
    }

    /// A small range is not hogged by sessions between two transfers.
    #[test]
    fn a_scarce_port_is_taken_from_the_session_it_is_parked_for() {
        on_shard(|| async {
            let ports = PassivePorts::new(Some(free_range(2)), Rc::default(), Rc::default());
            let [idle, later, busy] = [(); 3].map(|()| SessionPorts::new(&ports));
            let (first, served) = serve(&idle, false).await;
            served.park();
            let (_, served) = serve(&later, false).await;
            served.park();
            let taken = busy.listen(HERE, at(HERE.ip())).unwrap();
            assert_eq!(taken.advertised(None, None).port(), first, "the one that was parked first");
            let kept = later.listen(HERE, at(HERE.ip())).unwrap();
            assert_eq!(ports.counters().passive_reused.get(), 1);
            assert!(matches!(idle.listen(HERE, at(HERE.ip())), Err(PassiveError::Exhausted)));
            drop((taken, kept));
            assert!(idle.listen(HERE, at(HERE.ip())).is_ok());
        });
    }

    /// However many sessions a user opens, others find a port.
    #[test]
    fn sessions_of_one_user_do_not_take_all_ports() {
        on_shard(|| async {
            let ports = PassivePorts::new(Some(free_range(4)), Rc::default(), Rc::default());
            let listen = |user| {
                let session = SessionPorts::new(&ports);
                session.enter(Some(user));
                session.listen(HERE, at(HERE.ip()))
            };
            let mut held = [(); 3].map(|()| listen("greedy").ok());
            assert!(held.iter().all(Option::is_some));
            let refused = listen("greedy").err().unwrap();
            assert!(
                matches!(refused, PassiveError::Share(ShareExceeded { held: 3, ports: 4, .. })),
                "{refused}"
            );
            let other = listen("other").unwrap();
            held[0] = None;
            assert!(listen("greedy").is_err(), "the last one is kept");
            drop(other);
            assert!(listen("greedy").is_ok());
        });
    }

    /// Who waits for a port does nothing until one is given back, and not for ever.
    #[test]
    fn a_port_is_waited_for() {
        on_shard(|| async {
            let range = free_range(1);
            let ports = PassivePorts::new(Some(range.clone()), Rc::default(), Rc::default());
            let session = SessionPorts::new(&ports);
            let soon = || clock::now() + Duration::from_millis(50);
            let others = TcpListener::bind((Ipv4Addr::LOCALHOST, *range.start())).unwrap();
            let result = session.listen_until(HERE, at(HERE.ip()), soon()).await;
            assert!(matches!(result, Err(PassiveError::Exhausted)));
            drop(others);
            let first = session.listen(HERE, at(HERE.ip())).unwrap();
            let result = session.listen_until(HERE, at(HERE.ip()), soon()).await;
            assert!(matches!(result, Err(PassiveError::Exhausted)));
            let late = clock::now() + Duration::from_secs(20);
            let mut waiting = Box::pin(session.listen_until(HERE, at(HERE.ip()), late));
            assert!(poll_once(&mut waiting).await.is_none());
            drop(first);
            let second = waiting.await.unwrap();
            // Another address needs no port of its own.
            let other = session.listen(HERE, at([127, 0, 0, 2].into())).unwrap();
            assert_eq!(other.advertised(None, None), second.advertised(None, None));
        });
    }

    /// Between two transfers another process may have begun to listen on the port.
    #[test]
    fn a_port_lost_to_another_process_is_replaced() {
        on_shard(|| async {
            let session = SessionPorts::new(&PassivePorts::new(None, Rc::default(), Rc::default()));
            let (port, served) = serve(&session, false).await;
            served.park();
            let _thief = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (other, _) = serve(&session, false).await;
            assert_ne!(port, other);
        });
    }
}
