//! Accepting connections on a listening socket. Knows nothing of what they are for.

use std::{
    cell::Cell,
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    rc::Rc,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SocketAddrAny, SocketFlags},
};

use socket2::{Domain, Protocol, Type};

use super::{Flag, Queue, Stream, Task, polled::Descriptor, race, sleep_until, yield_if_needed};
use crate::{clock, sys::socket};

/// First pause when the host is out of descriptors or memory; doubled up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(50);

/// Longest such pause.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// A listening socket of a shard.
///
/// Each wait is a poll, which takes no connection, and accept4(2) does not block; so the futures
/// here may be dropped at any time and lose no connection.
#[derive(Clone)]
pub struct Listener {
    socket: Rc<Socket>,
    /// Not shut down. A second shutdown(2) would mark the socket itself as closed, and every
    /// connection it accepts after [`Listener::listen_again`] would inherit that.
    listening: Rc<Cell<bool>>,
}

enum Socket {
    Kernel(Descriptor),
    #[cfg(test)]
    Simulated(super::simulated::Port),
}

impl Listener {
    /// Listens on `address`; a port of 0 is any that the kernel chooses. Connections of an earlier
    /// socket on this port may be in TIME_WAIT. What is accepted sends small segments at once.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2), `EADDRINUSE` when another socket has the port.
    pub fn bind(address: SocketAddr, backlog: i32) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(simulation) = super::simulated::current() {
            return Ok(Self::new(Socket::Simulated(simulation.listen(address)?)));
        }
        let socket =
            socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // The option lets another process bind the port too, but only one of us can listen: the
        // other gets EADDRINUSE there.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket::set_nodelay(&socket)?;
        socket.listen(backlog)?;
        Self::adopt(socket)
    }

    fn new(socket: Socket) -> Self {
        Self { socket: Rc::new(socket), listening: Rc::new(Cell::new(true)) }
    }

    /// Takes over a bound and listening socket, and makes it non-blocking.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2).
    pub fn adopt(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = socket.into();
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self::new(Socket::Kernel(Descriptor::new(socket))))
    }

    /// The address listened on.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &*self.socket {
            Socket::Kernel(socket) => Ok(rustix::net::getsockname(socket)?.try_into()?),
            #[cfg(test)]
            Socket::Simulated(port) => Ok(port.address()),
        }
    }

    /// Refuses connections from here on, also those in the backlog, and ends the accept loop on
    /// this socket. It is closed when the last clone of this value is dropped.
    pub fn shut_down(&self) {
        if self.listening.replace(false) {
            match &*self.socket {
                // It cannot fail on a listening socket.
                Socket::Kernel(socket) => drop(socket::shutdown_both(socket)),
                #[cfg(test)]
                Socket::Simulated(port) => port.shut_down(),
            }
        }
    }

    /// Listens again after [`Listener::shut_down`], on the port it is still bound to (bind(2) with
    /// a port holds it). What came meanwhile was refused, and what waited then was reset.
    ///
    /// # Errors
    ///
    /// Those of listen(2): another socket listens there now.
    pub fn listen_again(&self, backlog: i32) -> io::Result<()> {
        match &*self.socket {
            Socket::Kernel(socket) => rustix::net::listen(socket, backlog)?,
            #[cfg(test)]
            Socket::Simulated(port) => port.listen_again(),
        }
        self.listening.set(true);
        Ok(())
    }

    /// The next connection if one waits; `None` also when it cannot be taken now.
    #[must_use]
    pub fn accept_waiting(&self) -> Option<Stream> {
        loop {
            match self.try_accept() {
                Ok(Some(stream)) => return Some(stream),
                Ok(None) | Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Hands each connection to `on_connection` until stopped, in a task of `queue`. The next one
    /// is accepted when that has returned; until then connections wait in the backlog, as they do
    /// while the host has no descriptor or memory left: then the task pauses, from 50 ms up to 1 s,
    /// and calls `on_exhausted` once at the beginning of such a time. It does the same while only
    /// descriptors from `reserved` on are left, with a connection in its hand.
    pub fn run(
        self,
        queue: Queue,
        reserved: RawFd,
        mut on_connection: impl AsyncFnMut(Stream) + 'static,
        mut on_exhausted: impl FnMut(&io::Error) + 'static,
    ) -> ListenerTask {
        let (listener, leaving) = (self.clone(), Flag::new());
        let left = leaving.clone();
        let task = queue.spawn(async move {
            while !left.is_set() {
                let end = async {
                    left.wait().await;
                    None
                };
                let Some(stream) = race(self.accept(&mut on_exhausted), end).await else { break };
                let stream = lower(stream, reserved, &mut on_exhausted).await;
                on_connection(stream).await;
                yield_if_needed().await;
            }
        });
        ListenerTask { listener, leaving, task }
    }

    /// The next connection; `None` once the socket has been shut down. `on_exhausted` as in
    /// [`Listener::run`].
    pub async fn accept(&self, on_exhausted: &mut impl FnMut(&io::Error)) -> Option<Stream> {
        let mut pause = None;
        loop {
            let error = match self.try_accept() {
                Ok(Some(stream)) => return Some(stream),
                // Gone before it could be taken.
                Ok(None) => Errno::CONNABORTED,
                Err(Errno::AGAIN) => match self.ready().await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            match Trouble::of(error) {
                Trouble::Passing => yield_if_needed().await,
                Trouble::Ended => return None,
                Trouble::Exhausted => back_off(&mut pause, error, on_exhausted).await,
            }
        }
    }

    async fn ready(&self) -> rustix::io::Result<()> {
        match &*self.socket {
            Socket::Kernel(socket) => socket.readable().await,
            #[cfg(test)]
            Socket::Simulated(port) => {
                port.ready().await;
                Ok(())
            }
        }
    }

    /// `Ok(None)` when the connection came without an address.
    fn try_accept(&self) -> rustix::io::Result<Option<Stream>> {
        match &*self.socket {
            Socket::Kernel(socket) => accept(socket),
            #[cfg(test)]
            Socket::Simulated(port) => {
                port.accept().map(|(socket, peer)| Some(Stream::adopt(socket, peer)))
            }
        }
    }
}

fn accept(socket: &Descriptor) -> rustix::io::Result<Option<Stream>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = rustix::net::acceptfrom_with(socket, flags)?;
    // The address comes with the connection: getpeername(2) would fail when the client has
    // reset it already.
    let peer = peer.and_then(|any: SocketAddrAny| SocketAddr::try_from(any).ok());
    Ok(peer.map(|peer| Stream::adopt(socket, peer)))
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.local_addr().ok()).finish_non_exhaustive()
    }
}

/// Waits until `stream` has a descriptor below `reserved`. The kernel always gives the lowest free
/// number, so the number tells how many are in use by all shards, without a counter.
async fn lower(
    mut stream: Stream,
    reserved: RawFd,
    on_exhausted: &mut impl FnMut(&io::Error),
) -> Stream {
    let mut pause = None;
    while stream.as_fd().as_raw_fd() >= reserved {
        match rustix::io::fcntl_dupfd_cloexec(&stream, 0) {
            Ok(socket) if socket.as_raw_fd() < reserved => {
                stream = Stream::adopt(socket, stream.peer_addr());
            }
            Ok(_) | Err(_) => back_off(&mut pause, Errno::MFILE, on_exhausted).await,
        }
    }
    stream
}

async fn back_off(
    pause: &mut Option<Duration>,
    error: Errno,
    on_exhausted: &mut impl FnMut(&io::Error),
) {
    if pause.is_none() {
        on_exhausted(&error.into());
    }
    let length = pause.map_or(BACK_OFF_MIN, |last| last * 2).min(BACK_OFF_MAX);
    *pause = Some(length);
    sleep_until(clock::now() + length).await;
}

/// A running accept loop. Dropping it ends the loop soon; [`ListenerTask::stop`] waits for it.
#[derive(Debug)]
#[must_use = "dropping it stops the listener"]
pub struct ListenerTask {
    listener: Listener,
    /// Nothing more is to be accepted.
    leaving: Flag,
    task: Task<()>,
}

impl ListenerTask {
    /// Refuses connections from here on, closes the socket and returns when that is done.
    /// Connections already handed over are not touched; those still in the backlog are reset.
    pub async fn stop(self) {
        self.listener.shut_down();
        self.task.cancel().await;
    }

    /// Accepts nothing more and leaves the socket to others who have it, with all that waits there.
    /// Returns when what was accepted has been handed over, and our descriptor is closed.
    pub async fn leave(self) {
        self.leaving.set();
        self.task.await;
    }

    /// Another descriptor of the socket.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2).
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match &*self.listener.socket {
            Socket::Kernel(socket) => Ok(rustix::io::fcntl_dupfd_cloexec(socket, 0)?),
            #[cfg(test)]
            Socket::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What a failed accept means for the loop.
enum Trouble {
    /// It was about one connection (accept(2) asks to treat pending network errors so).
    Passing,
    /// The socket does not listen any more.
    Ended,
    /// The host has nothing left, or something unknown happened: try again later.
    Exhausted,
}

impl Trouble {
    fn of(error: Errno) -> Self {
        match error {
            Errno::CONNABORTED
            | Errno::INTR
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::TIMEDOUT => Self::Passing,
            Errno::INVAL | Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP => Self::Ended,
            _ => Self::Exhausted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        poll_once, spawn,
        testing::{alone, eventually, on_shard, open_files, pause},
    };
    use std::{cell::RefCell, net, sync::mpsc};

    fn listening() -> (Listener, SocketAddr) {
        adopted(net::TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn adopted(socket: net::TcpListener) -> (Listener, SocketAddr) {
        let address = socket.local_addr().unwrap();
        (Listener::adopt(socket).unwrap(), address)
    }

    #[test]
    fn dropped_accepts_leak_nothing_and_lose_nothing() {
        if !alone("runtime::listener::tests::dropped_accepts_leak_nothing_and_lose_nothing") {
            return;
        }
        on_shard(|| async {
            let (listener, address) = listening();
            pause(10).await;
            let before = open_files();
            for _ in 0..200 {
                assert!(poll_once(listener.accept(&mut |_| {})).await.is_none());
                pause(0).await;
                let client = net::TcpStream::connect(address).unwrap();
                // Armed, and dropped with the connection waiting: still there the next time.
                assert_eq!(
                    poll_once(listener.accept(&mut |_| {})).await.unwrap().unwrap().peer_addr(),
                    client.local_addr().unwrap()
                );
            }
            assert!(eventually(|| open_files() <= before).await, "{} {before}", open_files());

            // The same with the wait armed when the connection comes and the task dropped.
            for _ in 0..50 {
                let task = spawn({
                    let listener = listener.clone();
                    async move { listener.accept(&mut |_| {}).await.is_some() }
                });
                pause(1).await;
                let _client = net::TcpStream::connect(address).unwrap();
                task.cancel().await;
                let _ = listener.try_accept();
            }
            assert!(eventually(|| open_files() <= before).await, "{} {before}", open_files());
        });
    }

    #[test]
    fn stop_closes_the_socket_and_keeps_the_connections() {
        on_shard(|| async {
            let (listener, address) = listening();
            let accepted = Rc::new(RefCell::new(Vec::new()));
            let task = listener.run(
                Queue::new("test"),
                RawFd::MAX,
                {
                    let accepted = Rc::clone(&accepted);
                    async move |stream| accepted.borrow_mut().push(stream)
                },
                |_| {},
            );
            let mut client = net::TcpStream::connect(address).unwrap();
            assert!(eventually(|| accepted.borrow().len() == 1).await);
            task.stop().await;
            let error = net::TcpStream::connect(address).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            let stream = accepted.borrow_mut().pop().unwrap();
            let flags = rustix::io::fcntl_getfd(&stream).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            stream.write_all(b"x").await.unwrap();
            io::Read::read_exact(&mut client, &mut [0]).unwrap();
        });
    }

    /// Of two who accept on one socket, one leaves: nothing that waits or comes is lost, and what
    /// it has accepted is its own to the end.
    #[test]
    fn a_socket_is_left_to_others() {
        on_shard(|| async {
            let (listener, address) = listening();
            let (handed, go) = (Rc::new(RefCell::new(Vec::new())), Flag::new());
            let task = listener.run(
                Queue::new("test"),
                RawFd::MAX,
                {
                    let (handed, go) = (Rc::clone(&handed), go.clone());
                    async move |stream| {
                        go.wait().await;
                        handed.borrow_mut().push(stream);
                    }
                },
                |_| {},
            );
            let other = net::TcpListener::from(task.duplicate().unwrap());
            let first = net::TcpStream::connect(address).unwrap();
            pause(10).await;
            // It waits behind the one that is being handed over.
            let second = net::TcpStream::connect(address).unwrap();
            let leaving = spawn(task.leave());
            pause(10).await;
            assert!(handed.borrow().is_empty());
            go.set();
            leaving.await;
            let peers: Vec<_> = handed.borrow().iter().map(Stream::peer_addr).collect();
            assert_eq!(peers, [first.local_addr().unwrap()]);
            assert_eq!(other.accept().unwrap().1, second.local_addr().unwrap());
            let third = net::TcpStream::connect(address).unwrap();
            assert_eq!(other.accept().unwrap().1, third.local_addr().unwrap());
        });
    }

    #[test]
    fn a_shut_listener_refuses_forgets_and_listens_again_on_its_port() {
        on_shard(|| async {
            // A port the kernel chose would not be kept.
            let (_, address) = listening();
            let (listener, _) = adopted(net::TcpListener::bind(address).unwrap());
            for _ in 0..3 {
                assert!(listener.accept_waiting().is_none());
                let client = net::TcpStream::connect(address).unwrap();
                let taken = listener.accept_waiting().unwrap();
                assert_eq!(taken.peer_addr(), client.local_addr().unwrap());
                let forgotten = net::TcpStream::connect(address).unwrap();
                listener.shut_down();
                listener.clone().shut_down();
                let error = net::TcpStream::connect(address).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                listener.listen_again(8).unwrap();
                assert!(listener.accept_waiting().is_none());
                let error = io::Read::read(&mut &forgotten, &mut [0]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                // The connection taken before is not touched.
                taken.write_all(b"x").await.unwrap();
                io::Read::read_exact(&mut &client, &mut [0]).unwrap();
                io::Write::write_all(&mut &client, b"y").unwrap();
                assert_eq!(taken.read(&mut [0; 2]).await.unwrap(), 1);
            }
        });
    }

    /// A client that resets at once does not end the loop.
    #[test]
    fn connections_reset_at_once_do_not_end_the_loop() {
        on_shard(|| async {
            let (listener, address) = listening();
            for _ in 0..20 {
                let client = net::TcpStream::connect(address).unwrap();
                socket::set_reset_on_close(&client).unwrap();
            }
            let good = net::TcpStream::connect(address).unwrap();
            loop {
                let stream = listener.accept(&mut |_| {}).await.unwrap();
                if stream.peer_addr() == good.local_addr().unwrap() {
                    break;
                }
            }
            listener.shut_down();
            assert!(listener.accept(&mut |_| {}).await.is_none());
        });
    }

    #[test]
    fn out_of_descriptors_it_pauses_reports_once_and_recovers() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        if !alone(
            "runtime::listener::tests::out_of_descriptors_it_pauses_reports_once_and_recovers",
        ) {
            return;
        }
        on_shard(|| async {
            let (listener, address) = listening();
            let (report, reports) = mpsc::channel();
            let accepted = Rc::new(RefCell::new(Vec::new()));
            let task = listener.run(
                Queue::new("test"),
                RawFd::MAX,
                {
                    let accepted = Rc::clone(&accepted);
                    async move |stream| accepted.borrow_mut().push(stream)
                },
                move |error| report.send(error.raw_os_error()).unwrap(),
            );
            let _first = net::TcpStream::connect(address).unwrap();
            assert!(eventually(|| accepted.borrow().len() == 1).await);
            pause(5).await;

            let client = socket2::Socket::new(Domain::IPV4, Type::STREAM, None);
            let client = client.unwrap();
            let limits = getrlimit(Resource::Nofile);
            let used = u64::try_from(open_files()).unwrap();
            setrlimit(Resource::Nofile, Rlimit { current: Some(used), ..limits }).unwrap();
            let fillers: Vec<_> = std::iter::from_fn(|| rustix::io::dup(&client).ok()).collect();
            client.connect(&address.into()).unwrap();
            pause(300).await;
            assert_eq!(reports.try_iter().collect::<Vec<_>>(), [Some(libc::EMFILE)]);
            // The session that was there goes on.
            let session = accepted.borrow_mut().remove(0);
            session.write_all(b"x").await.unwrap();

            drop(fillers);
            setrlimit(Resource::Nofile, limits).unwrap();
            assert!(eventually(|| accepted.borrow().len() == 1).await);
            assert_eq!(reports.try_iter().count(), 0);
            task.stop().await;
        });
    }

    /// Above a number nothing is accepted, and with a lower one free again it goes on below it.
    #[test]
    fn reserved_descriptors_are_not_for_connections() {
        if !alone("runtime::listener::tests::reserved_descriptors_are_not_for_connections") {
            return;
        }
        on_shard(|| async {
            let (listener, address) = listening();
            let (report, reports) = mpsc::channel();
            let accepted = Rc::new(RefCell::new(Vec::new()));
            let clients: Vec<_> =
                (0..3).map(|_| net::TcpStream::connect(address).unwrap()).collect();
            // The next is that of the first connection; room for two.
            let next = rustix::io::fcntl_dupfd_cloexec(&clients[0], 0).unwrap();
            let reserved = next.as_raw_fd() + 2;
            drop(next);
            let fill = || rustix::io::dup(&clients[0]).unwrap();
            let gap = fill();
            let task = listener.run(
                Queue::new("test"),
                reserved,
                {
                    let accepted = Rc::clone(&accepted);
                    async move |stream| accepted.borrow_mut().push(stream)
                },
                move |error| report.send(error.raw_os_error()).unwrap(),
            );
            assert!(eventually(|| accepted.borrow().len() == 1).await);
            pause(150).await;
            assert_eq!(accepted.borrow().len(), 1, "the second has a reserved descriptor");
            assert_eq!(reports.try_iter().collect::<Vec<_>>(), [Some(libc::EMFILE)]);
            drop(gap);
            assert!(eventually(|| accepted.borrow().len() == 2).await);
            pause(150).await;
            assert_eq!(accepted.borrow().len(), 2);
            let numbers = |stream: &Stream| stream.as_fd().as_raw_fd();
            assert!(accepted.borrow().iter().map(numbers).all(|number| number < reserved));
            assert_eq!(reports.try_iter().collect::<Vec<_>>(), [Some(libc::EMFILE)]);
            task.stop().await;
        });
    }
}
