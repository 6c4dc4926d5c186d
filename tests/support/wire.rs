//! One TCP connection, in clear or under TLS, driven record by record so that no byte behind a
//! close_notify is ever swallowed. Control and data connections are both made of it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{AlertDescription, ClientConnection, HandshakeKind};
use socket2::{Domain, SockRef, Socket, Type};

use super::tls::Tls;
use super::wait::PATIENCE;

/// How the other side's stream ended, or why nothing came.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// TLS close_notify; the TCP connection may still be open.
    CloseNotify,
    /// TCP FIN (under TLS: without close_notify, a truncation).
    Fin,
    /// TCP RST.
    Reset,
    /// Nothing within the deadline.
    Timeout,
    /// The TLS engine refused what came, or the peer sent an alert.
    Tls(rustls::Error),
}

/// A connection of the test client.
pub struct Wire {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Decoded bytes not yet taken.
    pub received: Vec<u8>,
}

impl Wire {
    /// Wraps a connected stream, in clear.
    pub fn new(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { tcp, tls: None, received: Vec::new() }
    }

    /// Connects in clear.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&to, PATIENCE).unwrap())
    }

    /// Connects in clear from `source`, for example 127.0.0.5.
    #[track_caller]
    pub fn connect_from(source: IpAddr, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect_timeout(&to.into(), PATIENCE).unwrap();
        Self::new(socket.into())
    }

    /// The TCP stream below, for raw bytes past TLS.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The TLS engine, if any.
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_deref()
    }

    /// Whether the handshake resumed a session.
    pub fn resumed(&self) -> bool {
        self.tls().and_then(|tls| tls.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// Deadline of each read from here on.
    pub fn set_patience(&self, patience: Duration) {
        self.tcp.set_read_timeout(Some(patience)).unwrap();
    }

    // --- TLS up and down ---

    /// Starts TLS and completes the handshake.
    ///
    /// # Errors
    /// What the server did instead.
    pub fn handshake(&mut self, tls: &Tls) -> Result<(), End> {
        self.tls = Some(Box::new(tls.connection()));
        self.flush()?;
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.fill()?;
        }
        self.flush()
    }

    /// The bytes of a ClientHello, not sent.
    pub fn client_hello(tls: &Tls) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut connection = tls.connection();
        while connection.wants_write() {
            connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Starts TLS, but returns the ClientHello instead of sending it; [`Self::finish_handshake`]
    /// goes on from there.
    pub fn begin_handshake(&mut self, tls: &Tls) -> Vec<u8> {
        self.tls = Some(Box::new(tls.connection()));
        self.sealed()
    }

    /// Completes a handshake begun with [`Self::begin_handshake`].
    ///
    /// # Errors
    /// What the server did instead.
    pub fn finish_handshake(&mut self) -> Result<(), End> {
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.fill()?;
        }
        self.flush()
    }

    /// Reads the server's answer to the ClientHello, and takes what is to be sent next instead of
    /// sending it, one record each. In TLS 1.3, and when a session is resumed, the client is done
    /// then.
    ///
    /// # Errors
    /// What the server did instead.
    pub fn hear_flight(&mut self) -> Result<Vec<Vec<u8>>, End> {
        let mut answer = Vec::new();
        loop {
            let record = self.read_record()?;
            let tls = self.tls.as_mut().unwrap();
            let mut input = record.as_slice();
            while !input.is_empty() {
                tls.read_tls(&mut input).unwrap();
                tls.process_new_packets().map_err(End::Tls)?;
            }
            answer.extend(self.sealed());
            // In TLS 1.3 ChangeCipherSpec goes ahead of the Finished, at the ServerHello.
            if answer.len() > CHANGE_CIPHER_SPEC_BYTES {
                return Ok(records(&answer));
            }
        }
    }

    /// New keys for what is sent, without the KeyUpdate that says so: it was forged.
    pub fn change_keys(&mut self) {
        self.tls.as_mut().unwrap().refresh_traffic_keys().unwrap();
        drop(self.sealed());
    }

    /// Reads until the server ends the connection: the fatal alert it sends before, if any, and how
    /// the connection ends.
    ///
    /// # Panics
    /// When the TLS engine cannot open what comes.
    #[track_caller]
    pub fn read_to_alert(&mut self) -> (Option<AlertDescription>, End) {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(End::Tls(rustls::Error::AlertReceived(alert))) => {
                    self.forget_tls();
                    let (behind, end) = self.read_to_end();
                    assert!(behind.is_empty(), "octets behind the alert: {behind:?}");
                    return (Some(alert), end);
                }
                Err(End::Tls(error)) => panic!("what came cannot be opened: {error}"),
                Err(end) => return (None, end),
            }
        }
    }

    /// As [`Self::read_to_alert`], but takes all there is before any of it is opened.
    pub fn take_to_alert(&mut self) -> (Option<AlertDescription>, End) {
        let mut taken = Vec::new();
        let end = loop {
            let mut chunk = [0; 256 * 1024];
            match (&self.tcp).read(&mut chunk) {
                Ok(0) => break End::Fin,
                Ok(count) => taken.extend_from_slice(&chunk[..count]),
                Err(error) => break end_of(&error),
            }
        };
        let tls = self.tls.as_mut().unwrap();
        let mut taken = taken.as_slice();
        while !taken.is_empty() {
            tls.read_tls(&mut taken).unwrap();
            match tls.process_new_packets() {
                Ok(state) => {
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut plain).unwrap();
                }
                Err(rustls::Error::AlertReceived(alert)) => {
                    assert!(taken.is_empty(), "octets behind the alert");
                    return (Some(alert), end);
                }
                Err(error) => panic!("what came cannot be opened: {error}"),
            }
        }
        (None, end)
    }

    /// Records the TLS engine wants to send, taken instead of sent.
    pub fn sealed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut bytes).unwrap();
            }
        }
        bytes
    }

    /// Seals application bytes into records without sending them.
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.as_mut().unwrap().writer().write_all(bytes).unwrap();
        self.sealed()
    }

    /// Seals a close_notify without sending it.
    pub fn seal_close_notify(&mut self) -> Vec<u8> {
        self.tls.as_mut().unwrap().send_close_notify();
        self.sealed()
    }

    /// New keys for what is sent, and the request for new ones in return (RFC 8446 §4.6.3):
    /// sealed and not sent.
    pub fn seal_key_update(&mut self) -> Vec<u8> {
        self.tls.as_mut().unwrap().refresh_traffic_keys().unwrap();
        self.sealed()
    }

    /// Shows the TLS engine a forged record; the fatal alert it answers with, sealed and not sent.
    pub fn provoke_alert(&mut self) -> Vec<u8> {
        let tls = self.tls.as_mut().unwrap();
        let forged = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
        tls.read_tls(&mut forged.as_slice()).unwrap();
        assert!(tls.process_new_packets().is_err());
        self.sealed()
    }

    /// Sends close_notify; TCP stays open.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn close_notify(&mut self) -> Result<(), End> {
        let bytes = self.seal_close_notify();
        self.send_raw(&bytes)
    }

    /// From here on records are sealed with new keys (RFC 8446 §4.6.3); KeyUpdate goes with them.
    pub fn update_keys(&mut self) {
        self.tls.as_mut().unwrap().refresh_traffic_keys().unwrap();
    }

    /// Drops the TLS engine: what follows on the TCP connection is read in clear.
    pub fn forget_tls(&mut self) {
        self.tls = None;
        self.received.clear();
    }

    // --- bytes ---

    /// Sends application bytes, under TLS if there is TLS.
    ///
    /// # Errors
    /// When the connection is gone or the server does not read.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        if self.tls.is_none() {
            return self.send_raw(bytes);
        }
        for chunk in bytes.chunks(64 * 1024) {
            let records = self.seal(chunk);
            self.send_raw(&records)?;
        }
        Ok(())
    }

    /// Sends bytes as they are, past TLS.
    ///
    /// # Errors
    /// When the connection is gone or the server does not read.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), End> {
        (&self.tcp).write_all(bytes).map_err(|error| end_of(&error))
    }

    /// Sends one byte as TCP urgent data.
    pub fn send_urgent(&self, byte: u8) {
        SockRef::from(&self.tcp).send_out_of_band(&[byte]).unwrap();
    }

    /// Reads one TLS record, or what TCP has in clear, into `received`.
    ///
    /// # Errors
    /// How the stream ended.
    pub fn fill(&mut self) -> Result<(), End> {
        if self.tls.is_none() {
            let mut chunk = [0; 16 * 1024];
            return match (&self.tcp).read(&mut chunk) {
                Ok(0) => Err(End::Fin),
                Ok(count) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    Ok(())
                }
                Err(error) => Err(end_of(&error)),
            };
        }
        let record = self.read_record()?;
        self.open(&record)
    }

    /// As [`Self::fill`] under TLS; gives how long the record was on the wire, octets.
    ///
    /// # Errors
    /// How the stream ended.
    pub fn fill_record(&mut self) -> Result<usize, End> {
        let record = self.read_record()?;
        self.open(&record)?;
        Ok(record.len())
    }

    /// Reads until octets of the transfer are there: before them TLS may have said something.
    ///
    /// # Errors
    /// How the stream ended.
    pub fn fill_with_data(&mut self) -> Result<(), End> {
        let before = self.received.len();
        while self.received.len() == before {
            self.fill()?;
        }
        Ok(())
    }

    /// Reads one record as it stands on the wire.
    ///
    /// # Errors
    /// How the stream ended.
    pub fn read_record(&mut self) -> Result<Vec<u8>, End> {
        let mut record = vec![0; 5];
        self.read_exact_raw(&mut record)?;
        let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
        record.resize(5 + length, 0);
        self.read_exact_raw(&mut record[5..])?;
        Ok(record)
    }

    /// Reads everything until the stream ends; the bytes and how it ended.
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.received), end);
            }
        }
    }

    /// Asserts that no application byte arrives for `duration` (TLS may say what it likes).
    #[track_caller]
    pub fn expect_silence(&mut self, duration: Duration) {
        self.set_patience(duration);
        let end = loop {
            if let Err(end) = self.fill() {
                break end;
            }
            let got = self.received.escape_ascii();
            assert!(self.received.is_empty(), "expected silence, received {got}");
        };
        self.set_patience(PATIENCE);
        assert_eq!(end, End::Timeout, "expected silence");
    }

    // --- endings ---

    /// Sends FIN, without close_notify.
    pub fn fin(&self) {
        // Fails only when the peer has reset the connection, which ends it just as well.
        let _ = self.tcp.shutdown(std::net::Shutdown::Write);
    }

    /// close_notify (under TLS), FIN, then waits for the end of the other side.
    pub fn finish(&mut self) -> End {
        if self.tls.is_some() {
            let _ = self.close_notify();
        }
        self.fin();
        self.read_to_end().1
    }

    /// Resets the connection (RST).
    pub fn reset(self) {
        SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn flush(&mut self) -> Result<(), End> {
        let bytes = self.sealed();
        if bytes.is_empty() { Ok(()) } else { self.send_raw(&bytes) }
    }

    /// Feeds one record to the TLS engine.
    fn open(&mut self, record: &[u8]) -> Result<(), End> {
        let tls = self.tls.as_mut().unwrap();
        let mut input = record;
        while !input.is_empty() {
            tls.read_tls(&mut input).unwrap();
            let state = match tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The alert, if the engine made one; the connection is lost either way.
                    let _ = self.flush();
                    return Err(End::Tls(error));
                }
            };
            let at = self.received.len();
            self.received.resize(at + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut self.received[at..]).unwrap();
            if state.peer_has_closed() {
                return Err(End::CloseNotify);
            }
        }
        self.flush()
    }

    fn read_exact_raw(&self, buffer: &mut [u8]) -> Result<(), End> {
        (&self.tcp).read_exact(buffer).map_err(|error| end_of(&error))
    }
}

const CHANGE_CIPHER_SPEC_BYTES: usize = 6;

/// The records in `bytes`, one each.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = bytes {
        let (record, rest) = bytes.split_at(5 + usize::from(u16::from_be_bytes([*high, *low])));
        records.push(record.to_vec());
        bytes = rest;
    }
    records
}

fn end_of(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => End::Fin,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::BrokenPipe => End::Reset,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => End::Timeout,
        kind => panic!("unexpected socket error {kind:?}: {error}"),
    }
}
