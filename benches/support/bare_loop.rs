//! The least that a server does for a handshake: accept, rustls as it comes, a greeting,
//! close_notify and close, on one thread that waits by epoll. No limits, no deadlines, no log,
//! nothing counted.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::net::{SocketFlags, accept_with};
use rustls::{ServerConfig, ServerConnection};

/// As long as the server's without a configuration.
const GREETING: &[u8] = b"220 ringftpd ready.\r\n";

/// As the server's implicit listeners have it: they are told of a connection when its ClientHello
/// is there.
const DEFER: Duration = Duration::from_secs(10);

const LISTENER: u64 = u64::MAX;

/// Runs the loop on this CPU, until the process ends; `announce` is told the port, on 127.0.0.1.
pub fn run(cpu: usize, config: Arc<ServerConfig>, announce: impl FnOnce(u16)) -> io::Result<()> {
    ringftpd::sys::cpu::pin_current_thread(cpu).map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    ringftpd::sys::socket::set_defer_accept(&listener, DEFER)?;
    let socket = socket2::SockRef::from(&listener);
    socket.set_tcp_nodelay(true)?;
    // A burst of clients is not to wait for a second SYN.
    socket.listen(4096)?;
    announce(listener.local_addr()?.port());
    Loop { listener, config, connections: Vec::new() }.run()
}

struct Loop {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
}

struct Connection {
    socket: TcpStream,
    tls: ServerConnection,
    greeted: bool,
}

impl Loop {
    fn run(mut self) -> io::Result<()> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let input = epoll::EventFlags::IN;
        epoll::add(&epoll, &self.listener, epoll::EventData::new_u64(LISTENER), input)?;
        let mut events = Vec::with_capacity(128);
        loop {
            events.clear();
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                match event.data.u64() {
                    LISTENER => {
                        for index in self.accept()? {
                            let socket = &self.connections[index].as_ref().unwrap().socket;
                            let data = epoll::EventData::new_u64(index as u64);
                            epoll::add(&epoll, socket, data, input)?;
                        }
                    }
                    index => self.advance(usize::try_from(index).unwrap()),
                }
            }
        }
    }

    /// The connections that are there, with their ClientHellos answered.
    fn accept(&mut self) -> io::Result<Vec<usize>> {
        let mut accepted = Vec::new();
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => TcpStream::from(socket),
                Err(error) if error == rustix::io::Errno::AGAIN => return Ok(accepted),
                Err(error) => return Err(error.into()),
            };
            let index = usize::try_from(socket.as_raw_fd()).unwrap();
            if self.connections.len() <= index {
                self.connections.resize_with(index + 1, || None);
            }
            let tls = ServerConnection::new(self.config.clone()).unwrap();
            self.connections[index] = Some(Connection { socket, tls, greeted: false });
            self.advance(index);
            if self.connections[index].is_some() {
                accepted.push(index);
            }
        }
    }

    /// Reads once, and goes on with what has come. The kernel forgets a connection that is closed.
    fn advance(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else { return };
        if !connection.advance().unwrap_or(false) {
            self.connections[index] = None;
        }
    }
}

impl Connection {
    /// Whether it goes on.
    fn advance(&mut self) -> io::Result<bool> {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        let state = self.tls.process_new_packets().map_err(io::Error::other)?;
        let ended = state.peer_has_closed();
        if !self.greeted && !self.tls.is_handshaking() {
            self.tls.writer().write_all(GREETING)?;
            self.greeted = true;
        }
        if ended {
            self.tls.send_close_notify();
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(!ended)
    }
}
