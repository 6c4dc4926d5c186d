//! An FTPS client of the simulation: rustls and the RFCs, nothing of the server's.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::world::{CLIENT, SERVER, World};
use crate::protocol::session::Mode;
use crate::runtime::{Stream, connect};

/// Why a client's work ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It has cut its own connection, as it was told to.
    Cut,
    /// The server has closed, or said something that TLS does not allow.
    Closed,
}

/// One connection of a client, clear or under TLS.
pub(super) struct Connection {
    pub(super) stream: Stream,
    tls: Option<Box<ClientConnection>>,
    /// Octets it sends before it ends its sending direction for good.
    pub(super) cut: Option<usize>,
    /// Octets it has sent.
    pub(super) sent: usize,
    /// What came of the record in progress, and how much of it is still to come.
    record: (Vec<u8>, usize),
    /// KeyUpdates that came, as their length tells (RFC 8446 §4.6.3): 5 octets of message, their
    /// type and 16 of tag. No data that a test sends makes a record of that length.
    pub(super) key_updates: usize,
}

const KEY_UPDATE_RECORD_BYTES: usize = 22;

impl Connection {
    pub(super) const fn new(stream: Stream, cut: Option<usize>) -> Self {
        Self { stream, tls: None, cut, sent: 0, record: (Vec::new(), 0), key_updates: 0 }
    }

    /// Walks over the headers of the records that came.
    fn count_key_updates(&mut self, mut octets: &[u8]) {
        let (header, left) = &mut self.record;
        while let Some((&first, rest)) = octets.split_first() {
            if *left > 0 {
                let skipped = octets.len().min(*left);
                *left -= skipped;
                octets = &octets[skipped..];
                continue;
            }
            header.push(first);
            octets = rest;
            if let [23, 3, 3, high, low] = header[..] {
                *left = usize::from(high) << 8 | usize::from(low);
                self.key_updates += usize::from(*left == KEY_UPDATE_RECORD_BYTES);
            } else if let [_, _, _, high, low] = header[..] {
                *left = usize::from(high) << 8 | usize::from(low);
            }
            if header.len() == 5 {
                header.clear();
            }
        }
    }

    pub(super) async fn start_tls(&mut self, config: &Arc<ClientConfig>) -> Result<(), Gone> {
        self.say_hello(config).await?;
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            if !self.fill().await? {
                return Err(Gone::Closed);
            }
        }
        Ok(())
    }

    /// The ClientHello, and no more yet.
    pub(super) async fn say_hello(&mut self, config: &Arc<ClientConfig>) -> Result<(), Gone> {
        let name = ServerName::try_from("server.test").unwrap();
        let tls = ClientConnection::new(config.clone(), name).unwrap();
        self.tls = Some(Box::new(tls));
        self.flush().await
    }

    /// A ClientHello as it would send it.
    pub(super) fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
        let name = ServerName::try_from("server.test").unwrap();
        let mut octets = Vec::new();
        let mut tls = ClientConnection::new(config.clone(), name).unwrap();
        tls.write_tls(&mut octets).unwrap();
        octets
    }

    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), Gone> {
        let Some(tls) = &mut self.tls else { return self.put(octets).await };
        // Its buffer is bounded.
        for piece in octets.chunks(16 * 1024) {
            tls.writer().write_all(piece).unwrap();
            let mut sealed = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut sealed).unwrap();
            }
            put(&self.stream, &mut self.cut, &mut self.sent, &sealed).await?;
        }
        Ok(())
    }

    /// Asks for new keys in both directions (RFC 8446 §4.6.3).
    pub(super) async fn update_keys(&mut self) -> Result<(), Gone> {
        if let Some(tls) = &mut self.tls {
            tls.refresh_traffic_keys().unwrap();
        }
        self.flush().await
    }

    /// Sends a record that does not authenticate.
    pub(super) async fn forge(&mut self) -> Result<(), Gone> {
        self.put(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat()).await
    }

    /// close_notify, where there is TLS, and FIN.
    pub(super) async fn end(&mut self) -> Result<(), Gone> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush().await?;
        self.stream.shutdown_write().map(drop).map_err(|_| Gone::Closed)
    }

    /// What came; `None` at a proper end.
    pub(super) async fn receive(&mut self) -> Result<Option<Vec<u8>>, Gone> {
        loop {
            let Some(tls) = &mut self.tls else {
                let mut octets = vec![0; 4096];
                let count = self.stream.read(&mut octets).await.map_err(|_| Gone::Closed)?;
                octets.truncate(count);
                return Ok((count > 0).then_some(octets));
            };
            let mut octets = vec![0; 4096];
            match tls.reader().read(&mut octets) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    octets.truncate(count);
                    return Ok(Some(octets));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Gone::Closed),
            }
            if !self.fill().await? {
                return Err(Gone::Closed);
            }
        }
    }

    /// More octets for TLS; false at the end of what comes.
    async fn fill(&mut self) -> Result<bool, Gone> {
        let mut octets = vec![0; 4096];
        let count = self.stream.read(&mut octets).await.map_err(|_| Gone::Closed)?;
        self.count_key_updates(&octets[..count]);
        let Some(tls) = &mut self.tls else { return Ok(count > 0) };
        let mut rest = &octets[..count];
        while !rest.is_empty() {
            tls.read_tls(&mut rest).map_err(|_| Gone::Closed)?;
            tls.process_new_packets().map_err(|_| Gone::Closed)?;
        }
        self.flush().await?;
        Ok(count > 0)
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        let mut sealed = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut sealed).unwrap();
            }
        }
        self.put(&sealed).await
    }

    async fn put(&mut self, octets: &[u8]) -> Result<(), Gone> {
        put(&self.stream, &mut self.cut, &mut self.sent, octets).await
    }
}

async fn put(
    stream: &Stream,
    cut: &mut Option<usize>,
    sent: &mut usize,
    octets: &[u8],
) -> Result<(), Gone> {
    let count = cut.map_or(octets.len(), |cut| octets.len().min(cut - *sent));
    stream.write_all(&octets[..count]).await.map_err(|_| Gone::Closed)?;
    *sent += count;
    if *cut == Some(*sent) {
        let _ = stream.shutdown_write();
        return Err(Gone::Cut);
    }
    Ok(())
}

/// A session of a client.
pub(super) struct Client {
    pub(super) control: Connection,
    text: Vec<u8>,
    /// What its connections are made with, and the sessions that it can resume.
    pub(super) config: Arc<ClientConfig>,
    address: [u8; 4],
    private: bool,
    /// The last reply, whole.
    pub(super) last: String,
}

/// How a download ended for its client.
pub(super) struct Download {
    pub(super) code: u16,
    pub(super) octets: Vec<u8>,
    /// It came to a proper end.
    pub(super) whole: bool,
}

impl Client {
    /// A connection, before its greeting.
    pub(super) fn connect(world: &Rc<World>, mode: Mode, cut: Option<usize>) -> Self {
        let mut client = Self::connect_from(CLIENT, world, mode);
        client.control.cut = cut;
        client
    }

    /// The same, from another address.
    pub(super) fn connect_from(address: [u8; 4], world: &Rc<World>, mode: Mode) -> Self {
        let stream = world.accept_from(address, mode);
        Self {
            control: Connection::new(stream, None),
            text: Vec::new(),
            config: world.client_tls(),
            address,
            private: false,
            last: String::new(),
        }
    }

    /// Greeting, TLS where `private`, and log-in.
    pub(super) async fn log_in(&mut self, mode: Mode, private: bool) -> Result<(), Gone> {
        self.log_in_as("anonymous", mode, private).await
    }

    /// The same, as `user`, whose password is "secret".
    pub(super) async fn log_in_as(
        &mut self,
        user: &str,
        mode: Mode,
        private: bool,
    ) -> Result<(), Gone> {
        self.begin_session(mode, private).await?;
        self.say(&format!("USER {user}"), 331).await?;
        self.say("PASS secret", 230).await?;
        self.say("TYPE I", 200).await?;
        if private || mode == Mode::Implicit {
            self.say("PBSZ 0", 200).await?;
            self.say(if private { "PROT P" } else { "PROT C" }, 200).await?;
            self.private = private;
        }
        Ok(())
    }

    /// Greeting, and TLS where `private`.
    pub(super) async fn begin_session(&mut self, mode: Mode, private: bool) -> Result<(), Gone> {
        if mode == Mode::Implicit {
            self.control.start_tls(&self.config.clone()).await?;
        }
        self.expect(220).await?;
        if mode == Mode::Explicit && private {
            self.say("AUTH TLS", 234).await?;
            self.control.start_tls(&self.config.clone()).await?;
        }
        Ok(())
    }

    /// A command whose reply must be `code`, unless the server goes (421).
    pub(super) async fn say(&mut self, line: &str, code: u16) -> Result<(), Gone> {
        self.send(line).await?;
        self.expect(code).await
    }

    /// A command, and the code of its reply.
    pub(super) async fn ask(&mut self, line: &str) -> Result<u16, Gone> {
        self.send(line).await?;
        self.reply().await
    }

    pub(super) async fn send(&mut self, line: &str) -> Result<(), Gone> {
        self.control.send(format!("{line}\r\n").as_bytes()).await
    }

    async fn expect(&mut self, code: u16) -> Result<(), Gone> {
        let found = self.reply().await?;
        assert!(found == code || found == 421, "{} instead of {code}", self.last);
        if found == code { Ok(()) } else { Err(Gone::Closed) }
    }

    /// The next reply, whole.
    pub(super) async fn reply(&mut self) -> Result<u16, Gone> {
        loop {
            if let Some(length) = reply_length(&self.text) {
                let reply: Vec<u8> = self.text.drain(..length).collect();
                self.last = String::from_utf8(reply).unwrap();
                return Ok(self.last[..3].parse().unwrap());
            }
            match self.control.receive().await? {
                Some(octets) => self.text.extend(octets),
                None => return Err(Gone::Closed),
            }
        }
    }

    /// A data connection to the port that EPSV tells.
    pub(super) async fn data(&mut self, cut: Option<usize>) -> Result<Connection, Gone> {
        let port = self.port().await?;
        self.data_at(port, cut).await
    }

    /// The port that EPSV tells.
    pub(super) async fn port(&mut self) -> Result<u16, Gone> {
        self.say("EPSV", 229).await?;
        Ok(self.last.split('|').nth(3).unwrap().parse().unwrap())
    }

    pub(super) async fn data_at(&self, port: u16, cut: Option<usize>) -> Result<Connection, Gone> {
        self.data_from(self.address, port, cut).await
    }

    /// The same, from another address than the control connection's.
    pub(super) async fn data_from(
        &self,
        address: [u8; 4],
        port: u16,
        cut: Option<usize>,
    ) -> Result<Connection, Gone> {
        let server = SocketAddr::new(Ipv4Addr::from(SERVER).into(), port);
        let client = SocketAddr::new(Ipv4Addr::from(address).into(), 0);
        let stream = connect(client, server, None).await.map_err(|_| Gone::Closed)?;
        if cut == Some(0) {
            let _ = stream.shutdown_write();
            return Err(Gone::Cut);
        }
        Ok(Connection::new(stream, cut))
    }

    /// A data connection for `line`, secured behind the command.
    pub(super) async fn begin(&mut self, line: &str) -> Result<Connection, Gone> {
        let mut data = self.data(None).await?;
        self.send(line).await?;
        self.secure(&mut data).await?;
        Ok(data)
    }

    /// `line` with `content` on its data connection, which may be cut; the final reply, and how
    /// many octets went over the data connection.
    pub(super) async fn store(
        &mut self,
        line: &str,
        content: &[u8],
        cut: Option<usize>,
    ) -> Result<(u16, usize), Gone> {
        let data = self.data(cut).await;
        if data.as_ref().is_err_and(|gone| *gone == Gone::Closed) {
            return Err(Gone::Closed);
        }
        self.send(line).await?;
        let mut sent = 0;
        if let Ok(mut data) = data {
            // Its failure shows in the reply.
            let _ = self.send_all(&mut data, content).await;
            sent = data.sent;
            drop(data);
        }
        Ok((self.final_reply().await?, sent))
    }

    async fn send_all(&self, data: &mut Connection, content: &[u8]) -> Result<(), Gone> {
        self.send_to(data, content).await?;
        data.end().await?;
        // Until the server ends its side, as clients do.
        while data.receive().await?.is_some() {}
        Ok(())
    }

    /// `line` and what comes, of which no more than `stop` octets are read.
    pub(super) async fn retrieve(
        &mut self,
        line: &str,
        stop: Option<usize>,
    ) -> Result<Download, Gone> {
        let mut data = self.data(None).await?;
        self.send(line).await?;
        let mut octets = Vec::new();
        let whole = self.receive_all(&mut data, stop, &mut octets).await.is_ok();
        drop(data);
        let code = self.final_reply().await?;
        Ok(Download { code, octets, whole })
    }

    /// The lines of a listing, but for those of the directory itself (MLSD).
    pub(super) async fn list(&mut self, line: &str) -> Vec<String> {
        let listing = self.retrieve(line, None).await.unwrap();
        assert!(listing.code == 226 && listing.whole, "{line}: {}", self.last);
        let text = String::from_utf8(listing.octets).unwrap();
        assert!(text.is_empty() || text.ends_with("\r\n"), "{text}");
        let lines = text.split_terminator("\r\n").map(str::to_owned);
        lines.filter(|line| !line.contains("type=cdir") && !line.contains("type=pdir")).collect()
    }

    async fn receive_all(
        &self,
        data: &mut Connection,
        stop: Option<usize>,
        octets: &mut Vec<u8>,
    ) -> Result<(), Gone> {
        self.secure(data).await?;
        while stop.is_none_or(|stop| octets.len() < stop) {
            match data.receive().await? {
                Some(more) => octets.extend(more),
                None => return data.end().await,
            }
        }
        Err(Gone::Cut)
    }

    /// The reply behind the 1xx, if there is one.
    pub(super) async fn final_reply(&mut self) -> Result<u16, Gone> {
        match self.reply().await? {
            100..200 => self.reply().await,
            code => Ok(code),
        }
    }

    /// QUIT, and the end of the connection.
    pub(super) async fn quit(mut self) -> Result<(), Gone> {
        self.say("QUIT", 221).await?;
        while self.control.receive().await?.is_some() {}
        Ok(())
    }

    /// Whether its data connections are under TLS.
    pub(super) const fn is_private(&self) -> bool {
        self.private
    }

    /// TLS on a data connection, where the session has it so.
    pub(super) async fn secure(&self, data: &mut Connection) -> Result<(), Gone> {
        if self.private { data.start_tls(&self.config).await } else { Ok(()) }
    }

    /// The same, and `content` without its end.
    pub(super) async fn send_to(&self, data: &mut Connection, content: &[u8]) -> Result<(), Gone> {
        self.secure(data).await?;
        data.send(content).await
    }
}

/// Octets of the first reply, if it is whole (RFC 959 §4.2).
pub(super) fn reply_length(text: &[u8]) -> Option<usize> {
    let mut length = 0;
    let code = text.get(..3)?;
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        if !line.ends_with(b"\r\n") {
            return None;
        }
        length += line.len();
        if line.starts_with(code) && line.get(3) == Some(&b' ') {
            return Some(length);
        }
    }
    None
}
