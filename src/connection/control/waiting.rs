//! What a control connection waits for, and what each end of a wait means.

use std::pin::pin;
use std::time::Instant;

use bytes::BytesMut;

use super::state::{Control, Stage, earlier};
use super::wire::ClientSends;
use crate::clock;
use crate::connection::context::Context;
use crate::connection::newcomers::permits::HandshakePermit;
use crate::connection::sessions::Listed;
use crate::events::Ending;
use crate::protocol::session::Input;
use crate::runtime::{end_turn, race, timeout_at};
use crate::tls::TlsError;

impl Control {
    /// Waits for octets, an answer, a deadline, or the end of the shard.
    pub(super) async fn wait(&mut self, stage: Stage) {
        if !stage.is_handshake() {
            self.release_buffers();
        } else if self.permit.as_ref().is_some_and(|permit| !permit.is_heard()) && self.read_ready()
        {
            // Accept was deferred until data came, so the ClientHello of an implicit connection is
            // here: no wait is needed, only a turn.
            return self.context.pacer.turn().await;
        } else {
            // This handshake step was expensive: let the other queues run.
            end_turn();
            // The client's next record may wait for the acknowledgement of its last. What answers
            // it acknowledges it as well, and an acknowledgement by itself is a segment more.
            if std::mem::take(&mut self.unanswered) {
                self.stream.acknowledge();
            }
        }
        if let Some(listed) = &self.listed {
            let (activity, since) = self.session.activity();
            listed.note_activity(activity, since);
        }
        let wake = self.next(stage).await;
        self.handle(stage, wake).await;
    }

    /// What comes first.
    async fn next(&mut self, stage: Stage) -> Wake {
        let deadline = self.deadline(stage);
        // Nothing is read while the session takes no commands: a client that pipelines has to wait.
        let reading = self.client_sends == ClientSends::More
            && (self.session.wants_bytes() || self.wire.is_between_states());
        // Each of these futures is pinned where it is made: an idle session waits here, and each
        // layer that a future is moved into keeps room for it.
        let (stream, raw) = (&self.stream, &mut self.raw);
        let mut received = pin!(async {
            if reading {
                let take = |octets: &[u8]| raw.extend_from_slice(octets);
                Wake::Received(stream.read_with::<CONTROL_READ_BYTES>(take).await)
            } else if self.logged_in.is_some() && stream.broken().await.is_ok() {
                Wake::Broken
            } else {
                // Do not watch: `broken` needs a second descriptor, which a client that is not
                // logged in does not get. A failed send will reveal a broken connection.
                std::future::pending().await
            }
        });
        let mut answered = pin!(async { Wake::Answer(self.mailbox.recv().await) });
        let listed = self.listed.as_ref().filter(|_| self.kick_due.is_none());
        let mut told = pin!(told_to_end(&self.context, self.drain_told, listed));
        let events = race(answered.as_mut(), told.as_mut());
        let received = received.as_mut();
        let waiting = async {
            match (stage, &self.permit) {
                (Stage::LogIn | Stage::Session, _) => race(events, received).await,
                // Boxed: a handshake is short, and a session that is idle has no room for it.
                (Stage::Handshake, Some(permit)) => {
                    let evicted = Box::pin(async {
                        permit.evicted().await;
                        Wake::Evicted
                    });
                    race(race(events, received), evicted).await
                }
                // Without a permit nothing is read: a waiting handshake costs no buffer.
                (Stage::Handshake, None) => {
                    let entering =
                        Box::pin(async { Wake::Permit(self.context.handshakes.enter().await) });
                    race(events, entering).await
                }
            }
        };
        let mut waiting = pin!(waiting);
        match deadline {
            Some(deadline) => timeout_at(deadline, waiting.as_mut()).await.unwrap_or(Wake::Timeout),
            None => waiting.as_mut().await,
        }
    }

    /// When the wait is over whatever comes.
    fn deadline(&self, stage: Stage) -> Option<Instant> {
        let session = earlier(self.session.poll_timeout(), self.hello_deadline(stage));
        earlier(earlier(session, self.ports_due()), self.kick_due)
    }

    pub(super) async fn handle(&mut self, stage: Stage, wake: Wake) {
        match wake {
            Wake::Received(received) => {
                self.received(received);
                if stage.is_handshake() {
                    self.context.pacer.turn().await;
                } else if self.logged_in.is_some() {
                    self.context.pacer.note_input();
                }
            }
            Wake::Answer(Some(input)) => {
                if let Input::Identified(_)
                | Input::Authenticated(_)
                | Input::File(_)
                | Input::PassiveListening(_) = input
                {
                    // Its task has nothing left to do, and what is left of it goes with its handle.
                    self.request = None;
                }
                self.answers.push_back(input);
            }
            Wake::Answer(None) => {}
            Wake::Broken => self.answers.push_back(Input::Disconnected),
            Wake::Permit(permit) => {
                self.permit = Some(permit);
                self.hello_due = clock::now() + self.context.settings().limits.client_hello_timeout;
            }
            // The client has sent something since the eviction was decided.
            Wake::Evicted if self.read_ready() => {
                if let Some(permit) = &self.permit {
                    permit.keep();
                }
            }
            Wake::Evicted => {
                self.context.counters.handshakes_shed.increment();
                self.tls_failed(&TlsError::Shed);
            }
            Wake::Timeout if self.kick_due.is_some_and(|due| due <= clock::now()) => {
                self.answers.push_back(Input::Kicked);
            }
            Wake::Timeout if self.hello_deadline(stage).is_some_and(|due| due <= clock::now()) => {
                self.context.counters.handshakes_silent.increment();
                self.tls_failed(&TlsError::NoClientHello);
            }
            Wake::Timeout if self.ports_due().is_some_and(|due| due <= clock::now()) => {
                self.service_ports();
            }
            Wake::Timeout => self.answers.push_back(Input::Timeout),
            Wake::Shutdown if self.context.cut.is_set() => {
                self.ending = Some(Ending::Draining);
                self.answers.push_back(Input::Disconnected);
            }
            Wake::Shutdown | Wake::Kicked => {}
        }
    }

    pub(super) fn received(&mut self, received: std::io::Result<usize>) {
        match received {
            Ok(0) => self.client_sends = ClientSends::NoMore,
            Ok(_) => self.unanswered = true,
            Err(_) => self.answers.push_back(Input::Disconnected),
        }
    }

    pub(super) fn release_buffers(&mut self) {
        self.raw.release_if_empty();
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
        self.out = Vec::new();
        self.session.release_buffers();
    }

    /// Deadline for the ClientHello; `None` while the handshake waits for a permit.
    pub(super) fn hello_deadline(&self, stage: Stage) -> Option<Instant> {
        let permit = self.permit.as_ref().filter(|_| stage.is_handshake())?;
        (!permit.is_heard()).then_some(self.hello_due)
    }

    /// Reads what has arrived, without waiting; false when nothing has.
    pub(super) fn read_ready(&mut self) -> bool {
        // Not into the session's own buffer, which would have to be as long: what comes is short.
        let mut room = [0; CONTROL_READ_BYTES];
        match self.stream.try_read(&mut room) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            read => {
                if let Ok(count) = read {
                    self.raw.extend_from_slice(&room[..count]);
                }
                self.received(read);
            }
        }
        true
    }
}

/// Returns when the shard or an operator ends the session. The drain is reported to the session
/// once, and after that only the cut ends a wait; so is the kick, at the beginning of the next
/// round, and `listed` is `None` then.
async fn told_to_end(context: &Context, drain_told: bool, listed: Option<&Listed>) -> Wake {
    let mut shutdown = pin!(async {
        if drain_told {
            context.cut.wait().await
        } else {
            context.drain.wait().await
        }
        Wake::Shutdown
    });
    let mut kicked = pin!(async {
        kicked(listed).await;
        Wake::Kicked
    });
    race(shutdown.as_mut(), kicked.as_mut()).await
}

/// Returns when an operator ends the session.
pub(super) async fn kicked(listed: Option<&Listed>) {
    match listed {
        Some(listed) => listed.end().wait().await,
        None => std::future::pending().await,
    }
}

/// Why [`Control::wait`] returned.
pub(super) enum Wake {
    /// Octets received; 0 is the end.
    Received(std::io::Result<usize>),
    /// The connection failed while it was not read from.
    Broken,
    Answer(Option<Input>),
    Timeout,
    Shutdown,
    /// An operator ends the session.
    Kicked,
    /// The handshake may begin.
    Permit(HandshakePermit),
    /// The handshake is evicted: others wait for its permit.
    Evicted,
}

/// Octets read from a control connection at once.
const CONTROL_READ_BYTES: usize = 4 * 1024;
