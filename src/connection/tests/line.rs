//! The control connection of a client that speaks and hears at once: octets go out in pieces and
//! late, records come in one at a time, so that what follows close_notify stays untouched.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::workload::Random;
use crate::clock;
use crate::runtime::{Flag, Notify, Stream, race, sleep_until};

/// How a client is gone, once all it said is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// FIN, and it reads on.
    EndsSending,
    Closes,
    Resets,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Clear octets, or a record; there may be text.
    Something,
    /// The handshake is complete.
    Established,
    /// close_notify.
    TlsEnds,
    /// The end, or what TLS does not allow.
    End,
}

pub(super) struct ControlLine {
    stream: RefCell<Option<Rc<Stream>>>,
    tls: RefCell<Option<Box<ClientConnection>>>,
    raw: RefCell<Vec<u8>>,
    /// Decrypted octets.
    pub(super) text: RefCell<Vec<u8>>,
    out: RefCell<Vec<u8>>,
    leaving: Cell<Option<Leaving>>,
    more: Notify,
    /// The client neither reads nor writes any more.
    pub(super) gone: Flag,
    random: RefCell<Random>,
}

impl ControlLine {
    pub(super) fn new(stream: Stream, random: Random) -> Self {
        Self {
            stream: RefCell::new(Some(Rc::new(stream))),
            tls: RefCell::default(),
            raw: RefCell::default(),
            text: RefCell::default(),
            out: RefCell::default(),
            leaving: Cell::default(),
            more: Notify::new(),
            gone: Flag::new(),
            random: RefCell::new(random),
        }
    }

    pub(super) fn is_protected(&self) -> bool {
        self.tls.borrow().is_some()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.borrow().as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub(super) fn start_tls(&self, config: &Arc<ClientConfig>) {
        let name = ServerName::try_from("server.test").unwrap();
        let tls = ClientConnection::new(config.clone(), name).unwrap();
        self.tls.replace(Some(Box::new(tls)));
        self.flush();
    }

    pub(super) fn say(&self, octets: &[u8]) {
        match &mut *self.tls.borrow_mut() {
            Some(tls) => tls.writer().write_all(octets).unwrap(),
            None => self.out.borrow_mut().extend_from_slice(octets),
        }
        self.flush();
    }

    pub(super) fn close_notify(&self) {
        if let Some(tls) = &mut *self.tls.borrow_mut() {
            tls.send_close_notify();
        }
        self.flush();
    }

    /// The connection goes on in clear.
    pub(super) fn leave_tls(&self) {
        self.tls.replace(None);
    }

    pub(super) fn leave(&self, how: Leaving) {
        self.leaving.set(Some(how));
        self.more.notify();
    }

    fn flush(&self) {
        if let Some(tls) = &mut *self.tls.borrow_mut() {
            let mut out = self.out.borrow_mut();
            while tls.wants_write() {
                tls.write_tls(&mut *out).unwrap();
            }
        }
        self.more.notify();
    }

    /// Sends what is said, until the client is gone.
    pub(super) async fn pump(&self) {
        let Some(stream) = self.stream.borrow().clone() else { return };
        loop {
            let octets = std::mem::take(&mut *self.out.borrow_mut());
            if octets.is_empty() {
                match self.leaving.take() {
                    None => self.more.notified().await,
                    Some(Leaving::EndsSending) => {
                        let _ = stream.shutdown_write();
                    }
                    Some(how) => {
                        if how == Leaving::Resets {
                            crate::runtime::simulated::current()
                                .expect("a simulation")
                                .reset_on_close(&stream);
                        }
                        return self.gone.set();
                    }
                }
                continue;
            }
            for piece in self.pieces(&octets) {
                let pause = match self.random.borrow_mut().below(50) {
                    0 => 2_000,
                    number => number as u64 * 30 / 50,
                };
                sleep_until(clock::now() + Duration::from_millis(pause)).await;
                // A server that is gone says so by its end.
                let _ = stream.write_all(&piece).await;
            }
        }
    }

    /// Cuts octets anywhere.
    fn pieces(&self, octets: &[u8]) -> Vec<Vec<u8>> {
        let mut random = self.random.borrow_mut();
        let mut cuts: Vec<usize> = (0..random.pick(&[0, 0, 1, 3]))
            .map(|_| random.below(1_000) * octets.len() / 1_000)
            .collect();
        cuts.extend([0, octets.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| octets[pair[0]..pair[1]].to_vec()).collect()
    }

    /// Waits for the next thing that comes.
    pub(super) async fn next(&self) -> Came {
        let Some(stream) = self.stream.borrow().clone() else { return Came::End };
        loop {
            if !self.is_protected() {
                let raw = std::mem::take(&mut *self.raw.borrow_mut());
                if !raw.is_empty() {
                    self.text.borrow_mut().extend(raw);
                    return Came::Something;
                }
            } else if let Some(came) = self.open_record() {
                return came;
            }
            let mut octets = vec![0; 4096];
            let reading = async { stream.read(&mut octets).await.unwrap_or(0) };
            let gone = async {
                self.gone.wait().await;
                0
            };
            let count = race(gone, reading).await;
            if count == 0 {
                return Came::End;
            }
            self.raw.borrow_mut().extend_from_slice(&octets[..count]);
        }
    }

    fn open_record(&self) -> Option<Came> {
        let record: Vec<u8> = {
            let mut raw = self.raw.borrow_mut();
            let header = raw.get(..5)?;
            let length = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
            raw.get(..length)?;
            raw.drain(..length).collect()
        };
        let (established, ended) = {
            let mut tls = self.tls.borrow_mut();
            let tls = tls.as_mut()?;
            let was_handshaking = tls.is_handshaking();
            let read = tls.read_tls(&mut &record[..]);
            let Ok(state) =
                read.map_err(drop).and_then(|_| tls.process_new_packets().map_err(drop))
            else {
                return Some(Came::End);
            };
            let mut text = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut text).unwrap();
            self.text.borrow_mut().extend(text);
            (was_handshaking && !tls.is_handshaking(), state.peer_has_closed())
        };
        self.flush();
        Some(match (established, ended) {
            (true, _) => Came::Established,
            (_, true) => Came::TlsEnds,
            _ => Came::Something,
        })
    }

    /// Closes the connection, when nobody waits for it any more.
    pub(super) fn close(&self) {
        self.stream.replace(None);
    }
}
