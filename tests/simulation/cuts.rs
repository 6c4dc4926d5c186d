//! Connections cut at every octet: the control connection in clear and under TLS, and an upload.

use std::io::Write;

use ringftpd::buffer::RecvBuffer;
use ringftpd::clock;
use ringftpd::tls::{Channel, ControlSession, Handshake, Opened, Progress, Purpose};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::model::{Asked, Canary, Tree};
use crate::server::{Later, Server, TLS};
use crate::workload::Swarm;
use crate::world::CLIENT_TLS;

/// Each line, and how many requests storage has got once it is complete.
const DIALOGUE: [(&str, usize); 9] = [
    ("USER ann\r\n", 0),
    ("PASS right\r\n", 0),
    ("MKD m\r\n", 1),
    ("RNFR a\r\n", 2),
    ("RNTO m/a\r\n", 3),
    ("EPSV\r\n", 3),
    ("STOR b\r\n", 5),
    ("DELE m/a\r\n", 6),
    ("RMD m\r\n", 7),
];

fn tree() -> Tree {
    Tree::from([(b"/".to_vec(), None), (b"/a".to_vec(), Some(b"0123456789".to_vec()))])
}

/// The control connection of a client that has nothing random about it.
struct Control {
    server: Server,
    tls: Option<ClientConnection>,
}

impl Control {
    fn new(implicit: bool) -> Self {
        let swarm = Swarm::calm(implicit);
        let server = Server::new(clock::now(), &swarm, Canary::None, &tree(), 1);
        let tls = implicit.then(client);
        let mut control = Self { server, tls };
        control.exchange();
        control
    }

    /// Until neither side has anything to say.
    fn exchange(&mut self) {
        loop {
            self.server.run(clock::now());
            for (_, later) in std::mem::take(&mut self.server.later) {
                match later {
                    Later::Answer(input) => self.server.input(input),
                    Later::Data(id) => self.server.data(id),
                }
                self.server.run(clock::now());
            }
            let mut said = Vec::new();
            let heard = std::mem::take(&mut self.server.out);
            if let Some(tls) = &mut self.tls {
                hear(tls, &heard);
                said = flush(tls);
            }
            self.server.receive(&said);
            if said.is_empty() && self.server.later.is_empty() {
                return;
            }
        }
    }

    /// A line as it goes on the wire.
    fn seal(&mut self, line: &str) -> Vec<u8> {
        match &mut self.tls {
            Some(tls) => {
                tls.writer().write_all(line.as_bytes()).unwrap();
                flush(tls)
            }
            None => line.as_bytes().to_vec(),
        }
    }
}

fn client() -> ClientConnection {
    let name = ServerName::try_from("server.test").unwrap();
    ClientConnection::new(CLIENT_TLS.clone(), name).unwrap()
}

fn hear(tls: &mut ClientConnection, mut octets: &[u8]) {
    while !octets.is_empty() {
        tls.read_tls(&mut octets).unwrap();
        tls.process_new_packets().unwrap();
    }
}

fn flush(tls: &mut ClientConnection) -> Vec<u8> {
    let mut octets = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut octets).unwrap();
    }
    octets
}

/// Sends the dialogue but for the last octets, then the client is gone.
fn cut_dialogue(implicit: bool, length: usize) -> Option<()> {
    let mut control = Control::new(implicit);
    let mut left = length;
    let mut expected = 0;
    let mut whole = true;
    for (line, asked) in DIALOGUE {
        let octets = control.seal(line);
        whole = left >= octets.len();
        control.server.receive(&octets[..left.min(octets.len())]);
        control.exchange();
        if !whole {
            break;
        }
        left -= octets.len();
        expected = asked;
    }
    control.server.ends(clock::now());
    control.exchange();
    assert!(control.server.session.is_closed());
    let asked: Vec<&Asked> = control.server.log.iter().collect();
    assert_eq!(asked.len(), expected, "cut after {length} octets: {asked:?}");
    whole.then_some(())
}

/// [SYN-20 XFER-28]: exactly the complete lines were executed.
#[test]
fn a_control_connection_cut_at_every_octet() {
    for implicit in [false, true] {
        let lengths = (0..).take_while(|length| cut_dialogue(implicit, *length).is_none()).count();
        let plain: usize = DIALOGUE.iter().map(|(line, _)| line.len()).sum();
        assert_eq!(lengths == plain, !implicit, "{lengths} cuts");
    }
}

/// The server's end of a protected data connection, and the client's.
fn data_connection() -> (Channel, RecvBuffer, ClientConnection) {
    let session = ControlSession::new().unwrap();
    let mut handshake = Handshake::new(&TLS, Purpose::Data, &session, None);
    let mut tls = client();
    let (mut raw, mut out) = (RecvBuffer::new(), Vec::new());
    loop {
        raw.extend_from_slice(&flush(&mut tls));
        let progress = handshake.advance(&mut raw, &mut out).unwrap();
        hear(&mut tls, &std::mem::take(&mut out));
        if progress == Progress::Established {
            return (handshake.finish().unwrap().0, raw, tls);
        }
    }
}

/// What arrived, and whether the upload is complete.
fn receive(channel: &mut Channel, raw: &mut RecvBuffer) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    loop {
        match channel.open(raw.filled_mut(), &mut Vec::new()).unwrap() {
            Opened::Incomplete => return (received, false),
            Opened::CloseNotify { .. } => return (received, true),
            Opened::Handled { consumed } => raw.consume(consumed),
            Opened::Data { consumed, plaintext } => {
                received.extend_from_slice(&raw.filled()[plaintext]);
                raw.consume(consumed);
            }
        }
    }
}

/// [DTLS-03]: only close_notify, whole, ends an upload.
#[test]
fn an_upload_cut_at_every_octet() {
    const PARTS: [&[u8]; 3] = [b"first", b"", b"second part"];
    let total = upload_octets(&mut data_connection().2, &PARTS).len();
    for length in 0..=total {
        let (mut channel, mut raw, mut tls) = data_connection();
        let octets = upload_octets(&mut tls, &PARTS);
        raw.extend_from_slice(&octets[..length]);
        let (received, complete) = receive(&mut channel, &mut raw);
        assert_eq!(complete, length == total, "cut after {length} of {total} octets");
        assert!(PARTS.concat().starts_with(&received));
        assert!(!complete || received == PARTS.concat());
    }
}

fn upload_octets(tls: &mut ClientConnection, parts: &[&[u8]]) -> Vec<u8> {
    for part in parts {
        tls.writer().write_all(part).unwrap();
    }
    tls.send_close_notify();
    flush(tls)
}
