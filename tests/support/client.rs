//! A blocking FTP client that does what it is told, right or wrong.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::reply::{Reply, take_reply};
use super::server::{Listener, Server};
use super::tls::Tls;
use super::wait::{PATIENCE, Stopwatch, pause};
use super::wire::{End, Wire};

/// A control connection and what its data connections will use.
pub struct Client {
    /// The control connection.
    pub wire: Wire,
    /// TLS settings of the control connection, and of data connections unless `data_tls` differs.
    pub tls: Tls,
    /// TLS settings of data connections.
    pub data_tls: Tls,
    /// Whether data connections use TLS: follows what the test negotiates (PROT P).
    pub private: bool,
    /// Address of the server.
    pub server: SocketAddr,
}

/// Opening: connections and log-in.
impl Client {
    /// Connects in clear and reads nothing.
    #[track_caller]
    pub fn raw(server: &Server, listener: Listener) -> Self {
        Self::from_wire(server, listener, Wire::connect(server.address(listener)))
    }

    /// Takes over a connection to `listener`.
    pub fn from_wire(server: &Server, listener: Listener, wire: Wire) -> Self {
        let tls = server.tls();
        let address = server.address(listener);
        Self { wire, data_tls: tls.clone(), tls, private: false, server: address }
    }

    /// Explicit port, greeting read, still in clear.
    #[track_caller]
    pub fn plain(server: &Server) -> Self {
        let mut client = Self::raw(server, Listener::Explicit);
        client.expect_reply(220);
        client
    }

    /// Ready for USER under TLS: implicit, or explicit with AUTH TLS, PBSZ 0 and PROT P.
    #[track_caller]
    pub fn open(server: &Server, listener: Listener) -> Self {
        Self::open_with(server, listener, server.tls())
    }

    /// [`Self::open`] with other TLS settings.
    #[track_caller]
    pub fn open_with(server: &Server, listener: Listener, tls: Tls) -> Self {
        let mut client = Self::raw(server, listener);
        client.use_tls(tls);
        match listener {
            Listener::Implicit => {
                client.start_tls();
                client.expect_reply(220);
            }
            Listener::Explicit => {
                client.expect_reply(220);
                client.auth();
                client.expect("PBSZ 0", 200);
                client.expect("PROT P", 200);
            }
        }
        client.private = true;
        client
    }

    /// [`Self::open`] on the implicit port.
    #[track_caller]
    pub fn implicit(server: &Server) -> Self {
        Self::open(server, Listener::Implicit)
    }

    /// [`Self::open`] on the explicit port.
    #[track_caller]
    pub fn explicit(server: &Server) -> Self {
        Self::open(server, Listener::Explicit)
    }

    /// Logs alice in.
    #[track_caller]
    pub fn login(self) -> Self {
        self.login_as("alice")
    }

    /// Logs a user in with the password `secret`.
    #[track_caller]
    pub fn login_as(mut self, user: &str) -> Self {
        self.expect(format!("USER {user}"), 331);
        self.expect("PASS secret", 230);
        self
    }

    /// Makes `directory` under the root and changes into it with TYPE I: the place of one test.
    #[track_caller]
    pub fn within(mut self, server: &Server, directory: &str) -> Self {
        server.directory(directory);
        self.expect(format!("CWD /{directory}"), 250);
        self.expect("TYPE I", 200);
        self
    }

    /// Sets the TLS settings of control and data connections.
    pub fn use_tls(&mut self, tls: Tls) {
        self.data_tls = tls.clone();
        self.tls = tls;
    }

    /// AUTH TLS and the handshake. Data connections are in clear again.
    #[track_caller]
    pub fn auth(&mut self) {
        self.expect("AUTH TLS", 234);
        self.start_tls();
        self.private = false;
    }

    /// Handshake on the control connection.
    #[track_caller]
    pub fn start_tls(&mut self) {
        let tls = self.tls.clone();
        assert_eq!(self.wire.handshake(&tls), Ok(()), "control handshake");
    }

    /// Sends close_notify and forgets TLS: the client's half of REIN and CCC. The server's
    /// close_notify is awaited first and must be the very next record.
    #[track_caller]
    pub fn end_tls(&mut self) {
        self.expect_end(End::CloseNotify);
        self.wire.close_notify().unwrap();
        self.wire.forget_tls();
        self.private = false;
    }
}

/// Commands and replies.
impl Client {
    /// Sends a command line; CRLF is added.
    #[track_caller]
    pub fn send(&mut self, line: impl AsRef<[u8]>) {
        let line = [line.as_ref(), b"\r\n"].concat();
        self.send_bytes(&line);
    }

    /// Sends bytes as they are (under TLS if there is TLS).
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let result = self.wire.send(bytes);
        assert_eq!(result, Ok(()), "sending {}", bytes[..bytes.len().min(80)].escape_ascii());
    }

    /// Sends each byte in a segment (and record) of its own.
    #[track_caller]
    pub fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send_bytes(&[*byte]);
        }
    }

    /// Next reply, or how the connection ended.
    ///
    /// # Errors
    /// The end, when no whole reply came before it.
    #[track_caller]
    pub fn try_reply(&mut self) -> Result<Reply, End> {
        loop {
            if let Some(reply) = take_reply(&mut self.wire.received) {
                return Ok(reply);
            }
            self.wire.fill()?;
        }
    }

    /// Next reply.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        match self.try_reply() {
            Ok(reply) => reply,
            Err(end) => {
                let got = self.wire.received.escape_ascii();
                panic!("no reply: {end:?}, after \"{got}\"")
            }
        }
    }

    /// Sends a command, reads one reply.
    #[track_caller]
    pub fn cmd(&mut self, line: impl AsRef<[u8]>) -> Reply {
        self.send(line);
        self.reply()
    }

    /// Sends a command whose one reply must have this code.
    #[track_caller]
    pub fn expect(&mut self, line: impl AsRef<[u8]>, code: u16) -> Reply {
        let shown = line.as_ref().escape_ascii().to_string();
        self.send(line);
        let reply = self.reply();
        assert_eq!(reply.code, code, "{shown} → {} {}", reply.code, reply.text());
        reply
    }

    /// Reads a reply that must have this code.
    #[track_caller]
    pub fn expect_reply(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        assert_eq!(reply.code, code, "got {} {}", reply.code, reply.text());
        reply
    }

    /// The connection must end so, without another reply.
    #[track_caller]
    pub fn expect_end(&mut self, end: End) {
        let result = self.try_reply();
        assert_eq!(result, Err(end), "unread: {}", self.wire.received.escape_ascii());
    }

    /// The connection must end, by close_notify, FIN or RST, without another reply.
    #[track_caller]
    pub fn expect_close(&mut self) -> End {
        match self.try_reply() {
            Err(End::Timeout) => panic!("still open after {PATIENCE:?}"),
            Err(end) => end,
            Ok(reply) => panic!("a reply instead of the end: {reply:?}"),
        }
    }

    /// QUIT, 221, close.
    #[track_caller]
    pub fn quit(mut self) {
        self.expect("QUIT", 221);
        self.expect_close();
    }
}

/// Data connections.
impl Client {
    /// EPSV; where to connect.
    #[track_caller]
    pub fn epsv(&mut self) -> SocketAddr {
        let reply = self.expect("EPSV", 229);
        SocketAddr::new(self.server.ip(), epsv_port(&reply))
    }

    /// PASV; where to connect.
    #[track_caller]
    pub fn pasv(&mut self) -> SocketAddr {
        let reply = self.expect("PASV", 227);
        pasv_address(&reply)
    }

    /// EPSV and TCP connect, still in clear.
    #[track_caller]
    pub fn passive(&mut self) -> Wire {
        Wire::connect(self.epsv())
    }

    /// A listener on 127.0.0.1, announced with PORT.
    #[track_caller]
    pub fn port(&mut self) -> TcpListener {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let command = port_command(listener.local_addr().unwrap());
        self.expect(command, 200);
        listener
    }

    /// A listener on the loopback address of the control connection's family, announced with EPRT.
    #[track_caller]
    pub fn eprt(&mut self) -> TcpListener {
        let listener = TcpListener::bind((self.server.ip(), 0)).unwrap();
        let command = eprt_command(listener.local_addr().unwrap());
        self.expect(command, 200);
        listener
    }

    /// TLS on a data connection, if the protection level asks for it.
    #[track_caller]
    pub fn secure(&self, data: &mut Wire) {
        if self.private {
            assert_eq!(data.handshake(&self.data_tls), Ok(()), "data handshake");
        }
    }

    /// Opens a transfer in passive mode: EPSV, the command's 150, and TLS if the protection level
    /// asks for it.
    #[track_caller]
    pub fn begin(&mut self, command: impl AsRef<[u8]>) -> Wire {
        self.begin_with_reply(command).0
    }

    #[track_caller]
    fn begin_with_reply(&mut self, command: impl AsRef<[u8]>) -> (Wire, Reply) {
        let mut data = self.passive();
        let opened = self.expect(command, 150);
        self.secure(&mut data);
        (data, opened)
    }

    /// A whole RETR, LIST, NLST or MLSD in passive mode: 150, the bytes, 226.
    #[track_caller]
    pub fn retrieve(&mut self, command: impl AsRef<[u8]>) -> Vec<u8> {
        let data = self.begin(command);
        self.receive(data)
    }

    /// The rest of a download: the bytes, a clean end, 226.
    #[track_caller]
    pub fn receive(&mut self, mut data: Wire) -> Vec<u8> {
        let (bytes, end) = data.read_to_end();
        let clean = if data.tls().is_some() { End::CloseNotify } else { End::Fin };
        assert_eq!(end, clean, "end of the data connection after {} octets", bytes.len());
        data.finish();
        self.expect_reply(226);
        bytes
    }

    /// A whole STOR, APPE or STOU in passive mode; the 150 is returned.
    #[track_caller]
    pub fn store(&mut self, command: impl AsRef<[u8]>, bytes: &[u8]) -> Reply {
        let (data, opened) = self.begin_with_reply(command);
        self.deliver(data, bytes);
        opened
    }

    /// An upload that ABOR cuts behind these octets: 426, and 226 for the ABOR.
    #[track_caller]
    pub fn store_and_abort(&mut self, command: impl AsRef<[u8]>, bytes: &[u8]) {
        let mut data = self.begin(command);
        data.send(bytes).unwrap();
        self.expect("ABOR", 426);
        self.expect_reply(226);
    }

    /// The rest of an upload: the bytes, a clean end, 226.
    #[track_caller]
    pub fn deliver(&mut self, mut data: Wire, bytes: &[u8]) {
        data.send(bytes).unwrap();
        data.finish();
        self.expect_reply(226);
    }

    /// Lines of a listing, CRLF checked and cut off.
    #[track_caller]
    pub fn list(&mut self, command: impl AsRef<[u8]>) -> Vec<Vec<u8>> {
        split_lines(&self.retrieve(command))
    }

    /// EPSV and a transfer command that must be refused with `code` before any 1xx.
    #[track_caller]
    pub fn refused(&mut self, command: impl AsRef<[u8]>, code: u16) -> Reply {
        let _data = self.passive();
        self.expect(command, code)
    }
}

/// Accepts one data connection within the deadline.
#[track_caller]
pub fn accept(listener: &TcpListener) -> Wire {
    listener.set_nonblocking(true).unwrap();
    let watch = Stopwatch::start();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Wire::new(stream);
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
        assert!(watch.elapsed() < PATIENCE, "no data connection arrived");
        pause(Duration::from_millis(2));
    }
}

/// `PORT h1,h2,h3,h4,p1,p2` for an IPv4 address.
pub fn port_command(address: SocketAddr) -> String {
    let IpAddr::V4(ip) = address.ip() else { panic!("PORT is for IPv4") };
    let [a, b, c, d] = ip.octets();
    let [high, low] = address.port().to_be_bytes();
    format!("PORT {a},{b},{c},{d},{high},{low}")
}

/// `EPRT |family|address|port|`.
pub fn eprt_command(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    format!("EPRT |{family}|{}|{}|", address.ip(), address.port())
}

/// The port in `229 text (|||port|)`.
#[track_caller]
pub fn epsv_port(reply: &Reply) -> u16 {
    let line = reply.line();
    let inside = line.split_once("(|||").and_then(|(_, rest)| rest.split_once("|)"));
    let (port, rest) = inside.unwrap_or_else(|| panic!("not a 229: {line}"));
    assert_eq!(rest, "", "text behind the port: {line}");
    port.parse().unwrap()
}

/// The address in `227 text (h1,h2,h3,h4,p1,p2)`.
#[track_caller]
pub fn pasv_address(reply: &Reply) -> SocketAddr {
    let line = reply.line();
    let inside = line.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let (numbers, _) = inside.unwrap_or_else(|| panic!("not a 227: {line}"));
    let numbers: Vec<u8> = numbers.split(',').map(|number| number.parse().unwrap()).collect();
    let [a, b, c, d, high, low] = numbers[..] else { panic!("not six numbers: {line}") };
    SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
}

/// Lines that each end with CRLF, without it.
#[track_caller]
pub fn split_lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = rest.windows(2).position(|pair| pair == b"\r\n");
        let length = length.unwrap_or_else(|| panic!("no CRLF: {}", rest.escape_ascii()));
        lines.push(rest[..length].to_vec());
        rest = &rest[length + 2..];
    }
    lines
}
