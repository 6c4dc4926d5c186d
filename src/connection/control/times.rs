//! When the parts of a control connection began, for what they take.

use std::rc::Rc;
use std::time::Instant;

use crate::clock;
use crate::metrics::{Latencies, Phase};
use crate::protocol::session::Mode;

/// Of one control connection.
pub(super) struct Times {
    latencies: Rc<Latencies>,
    /// Since when a ClientHello is waited for.
    waiting: Instant,
    /// When the ClientHello of the handshake in progress was there.
    hello: Option<Instant>,
    /// The greeting has not been sent.
    greets: bool,
    /// Since when it could have been.
    greets_since: Option<Instant>,
    /// When a user name or a password came.
    asked: Option<Instant>,
}

impl Times {
    /// Of a connection that was accepted `now`.
    pub(super) fn new(latencies: Rc<Latencies>, now: Instant, mode: Mode) -> Self {
        let greets_since = (mode == Mode::Explicit).then_some(now);
        Self { latencies, waiting: now, hello: None, greets: true, greets_since, asked: None }
    }

    /// AUTH was answered.
    pub(super) const fn tls_begins(&mut self, now: Instant) {
        (self.waiting, self.hello) = (now, None);
    }

    /// The ClientHello is there, and may have been for long.
    pub(super) fn hello(&mut self, now: Instant) {
        if self.hello.is_none() {
            self.hello = Some(now);
            self.end(Phase::ClientHello, Some(self.waiting), now);
        }
    }

    /// The handshake is complete.
    pub(super) fn established(&mut self, now: Instant, resumed: bool) {
        let phase = if resumed { Phase::ResumedHandshake } else { Phase::FullHandshake };
        self.end(phase, self.hello, now);
        if self.greets {
            self.greets_since = Some(now);
        }
    }

    /// The socket has taken replies.
    pub(super) fn sent(&mut self) {
        if let Some(since) = self.greets_since.take() {
            self.greets = false;
            self.end(Phase::Greeting, Some(since), clock::now());
        }
    }

    /// An account is looked for, and a password checked.
    pub(super) fn login_begins(&mut self) {
        self.asked = Some(clock::now());
    }

    /// Whether the user may come in is known; nothing if a password is needed first.
    pub(super) fn login_ends(&mut self, now: Instant, accepted: Option<bool>) {
        let asked = self.asked.take();
        match accepted {
            Some(true) => self.end(Phase::LoginAccepted, asked, now),
            Some(false) => self.end(Phase::LoginRefused, asked, now),
            None => {}
        }
    }

    fn end(&self, phase: Phase, began: Option<Instant>, now: Instant) {
        if let Some(began) = began {
            self.latencies.record(phase, now.saturating_duration_since(began));
        }
    }
}
