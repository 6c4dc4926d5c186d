//! The client's end of a data connection, with everything that can go wrong with one.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::client::Connection;
use super::model::{End, Moved};
use super::workload::Random;
use super::world::World;
use crate::clock;
use crate::runtime::{Stream, sleep_until};

/// What a client does to a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    NotOpened,
    BadHandshake,
    BareFin,
    Reset,
    Stall,
}

/// The client's end of one data connection.
pub(super) struct Carrier {
    pub(super) world: Rc<World>,
    pub(super) config: Arc<ClientConfig>,
    pub(super) fault: Fault,
    pub(super) random: Random,
    pub(super) upload: bool,
    pub(super) private: bool,
}

/// Longer than a server waits for a client that does nothing.
const STALL: Duration = Duration::from_secs(130);

impl Carrier {
    /// Everything that a transfer does with `stream`, which there is unless it could not be
    /// opened.
    pub(super) async fn carry(mut self, stream: Option<Stream>) -> Moved {
        let mut moved = Moved { end: End::Broken, octets: Vec::new(), whole: false };
        let Some(stream) = stream else {
            moved.end = if self.fault == Fault::NotOpened { End::NotOpened } else { End::Broken };
            return moved;
        };
        let mut connection = Connection::new(stream, None);
        if self.private && self.fault == Fault::BadHandshake {
            let _ = connection.send(b"GET / HTTP/1.0\r\n\r\n").await;
            while matches!(connection.receive().await, Ok(Some(_))) {}
            moved.end = End::BadHandshake;
            return moved;
        }
        if self.private && connection.start_tls(&self.config).await.is_err() {
            return moved;
        }
        moved.end = if self.upload {
            self.upload(&mut connection, &mut moved.octets).await
        } else {
            self.download(&mut connection, &mut moved).await
        };
        if moved.end == End::Reset {
            self.world.simulation.reset_on_close(&connection.stream);
        }
        moved
    }

    async fn pause(&mut self, longest: usize) {
        let span = Duration::from_millis(self.random.below(longest) as u64);
        sleep_until(clock::now() + span).await;
    }

    fn content(&mut self) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        for _ in 0..self.random.below(4) {
            let length = if self.random.one_in(12) { 70_000 } else { self.random.below(6) };
            chunks.push((0..length).map(|_| self.random.pick(b"x\r\ny\n")).collect());
        }
        chunks
    }

    async fn upload(&mut self, connection: &mut Connection, sent: &mut Vec<u8>) -> End {
        for chunk in self.content() {
            self.pause(60).await;
            if connection.send(&chunk).await.is_err() {
                return End::Broken;
            }
            sent.extend(chunk);
        }
        self.pause(40).await;
        let ended = match self.fault {
            Fault::Reset => return End::Reset,
            Fault::BareFin => connection.stream.shutdown_write().is_ok(),
            Fault::Stall => true,
            _ => connection.end().await.is_ok(),
        };
        while matches!(connection.receive().await, Ok(Some(_))) {}
        match self.fault {
            _ if !ended => End::Broken,
            Fault::BareFin => End::BareFin,
            Fault::Stall => End::Stalled,
            _ => End::Clean,
        }
    }

    async fn download(&mut self, connection: &mut Connection, moved: &mut Moved) -> End {
        let pieces = self.random.below(3);
        for piece in 0.. {
            self.pause(5).await;
            match self.fault {
                Fault::Reset if piece == pieces => return End::Reset,
                Fault::Stall if piece == pieces => sleep_until(clock::now() + STALL).await,
                _ => {}
            }
            match connection.receive().await {
                Ok(Some(octets)) => moved.octets.extend(octets),
                Ok(None) => {
                    moved.whole = true;
                    break;
                }
                Err(_) => break,
            }
        }
        let end = match self.fault {
            Fault::BareFin => connection.stream.shutdown_write().map(drop).map_err(drop),
            _ => connection.end().await.map_err(drop),
        };
        match self.fault {
            Fault::Stall => End::Stalled,
            // The server may have closed in both directions.
            _ if end.is_err() && !moved.whole => End::Broken,
            Fault::BareFin => End::BareFin,
            _ => End::Clean,
        }
    }
}
