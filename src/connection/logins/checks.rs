//! Password checks of a shard: the tasks that wait for one, and the proofs remembered of earlier
//! ones. Whose check is next is decided in `turns`, what is remembered in `auth`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::turns::{CheckId, TooMany, Turns};
use crate::auth::{ClientNetwork, PasswordProof, Proofs, UserTable};
use crate::clock;
use crate::limits::HASHING_PER_SHARD_MAX;
use crate::metrics::{Counters, Gauge};
use crate::protocol::account::Account;
use crate::protocol::session::AuthenticationError;
use crate::runtime::{Helpers, Notify, mailbox, number_of, sleep_until, spawn};

/// All password checks of one shard. Clones share them.
#[derive(Clone)]
pub(crate) struct Logins(Rc<Inner>);

struct Inner {
    turns: RefCell<Turns>,
    proofs: RefCell<Proofs>,
    /// Waiting checks, and the signals that let them begin.
    signals: RefCell<BTreeMap<CheckId, Rc<Signal>>>,
    /// When the earliest timer fires that waits for a pause to end.
    timer: Cell<Option<Instant>>,
    counters: Rc<Counters>,
}

#[derive(Default)]
struct Signal {
    begin: Cell<bool>,
    news: Notify,
}

/// A permit for one password check, or a place in the queue for it; given back when dropped.
struct Turn {
    id: CheckId,
    wrong: bool,
    logins: Logins,
}

/// The proof that a log-in leaves, to be remembered again at the end of the session.
pub(crate) type KeptProof = Rc<Cell<Option<PasswordProof>>>;

impl Logins {
    /// Proofs are remembered for `remembered`; zero remembers none.
    pub(crate) fn new(remembered: Duration, counters: Rc<Counters>) -> Self {
        Self(Rc::new(Inner {
            turns: RefCell::new(Turns::new(HASHING_PER_SHARD_MAX)),
            proofs: RefCell::new(Proofs::new(remembered)),
            signals: RefCell::default(),
            timer: Cell::default(),
            counters,
        }))
    }

    /// From now on proofs are remembered for `remembered`, and those there for no longer.
    pub(crate) fn set_remembered(&self, remembered: Duration) {
        self.0.proofs.borrow_mut().set_lifetime(remembered, clock::now());
    }

    /// Remembers the proof of a session that ends: its client may be back soon.
    pub(crate) fn remember(&self, proof: Option<PasswordProof>) {
        if let Some(proof) = proof {
            self.0.proofs.borrow_mut().remember(&proof, clock::now());
        }
    }

    /// The proof that this password would give, and the account if it was right a while ago.
    fn recall(
        &self,
        users: &UserTable,
        asked: (ClientNetwork, &[u8], &[u8]),
    ) -> (Option<PasswordProof>, Option<Account>) {
        let mut proofs = self.0.proofs.borrow_mut();
        let (proof, account) = users.recall(asked, &mut proofs, clock::now());
        if account.is_some() {
            self.0.counters.logins_remembered.increment();
        }
        (proof, account)
    }

    /// Returns when the check may begin. May be dropped at any time.
    async fn enter(&self, network: ClientNetwork, user: u64) -> Result<Turn, TooMany> {
        let inner = &self.0;
        if inner.turns.borrow().is_delayed(network, clock::now()) {
            inner.counters.logins_delayed.increment();
        }
        let id = inner.turns.borrow_mut().arrive(network, user, clock::now())?;
        let signal = Rc::<Signal>::default();
        inner.signals.borrow_mut().insert(id, signal.clone());
        let turn = Turn { id, wrong: false, logins: self.clone() };
        self.settle();
        if !signal.begin.get() {
            inner.counters.logins_queued.increment();
        }
        while !signal.begin.get() {
            signal.news.notified().await;
        }
        Ok(turn)
    }

    /// Signals the checks whose turn it is, and sets the timer for the next.
    fn settle(&self) {
        let inner = &self.0;
        loop {
            let next = inner.turns.borrow_mut().poll(clock::now());
            let Some(next) = next else { break };
            if let Some(signal) = inner.signals.borrow_mut().remove(&next) {
                signal.begin.set(true);
                signal.news.notify();
            }
        }
        let Some(due) = inner.turns.borrow().poll_timeout() else { return };
        if inner.timer.get().is_some_and(|timer| timer <= due) {
            return;
        }
        inner.timer.set(Some(due));
        let logins = self.clone();
        spawn(async move {
            sleep_until(due).await;
            if logins.0.timer.get() == Some(due) {
                logins.0.timer.set(None);
            }
            logins.settle();
        })
        .detach();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let inner = &self.logins.0;
        inner.signals.borrow_mut().remove(&self.id);
        let mut turns = inner.turns.borrow_mut();
        turns.leave(self.id);
        turns.finished(self.id, self.wrong, clock::now());
        drop(turns);
        self.logins.settle();
    }
}

/// The accounts, by a count of the shard's own: log-ins count references to them.
pub(crate) type Users = Arc<Arc<UserTable>>;

/// What a password check needs besides the accounts. Clones share it.
#[derive(Clone)]
pub(crate) struct PasswordChecks {
    pub(crate) helpers: Helpers,
    pub(crate) logins: Logins,
    /// Counts the log-ins that wait for a check.
    pub(crate) waiting: Gauge,
}

/// Checks a password of `users`, with the hash on a helper thread. A hash that has begun runs to
/// its end and counts for its address, even when the client has gone meanwhile.
///
/// # Errors
///
/// The password is wrong, there is no such user, or too many checks wait already.
pub(crate) async fn check(
    checks: &PasswordChecks,
    users: &Users,
    network: ClientNetwork,
    (user, password): (Vec<u8>, Vec<u8>),
    kept: KeptProof,
) -> Result<Account, AuthenticationError> {
    let logins = &checks.logins;
    if !users.needs_hashing(&user) {
        return users.verify(&user, &password).map_err(|_| AuthenticationError::Rejected);
    }
    if let (proof, Some(account)) = logins.recall(users, (network, &user, &password)) {
        kept.set(proof);
        return Ok(account);
    }
    let waiting = checks.waiting.hold();
    let turn = logins.enter(network, number_of(&user)).await;
    drop(waiting);
    let Ok(mut turn) = turn else {
        logins.0.counters.logins_overloaded.increment();
        return Err(AuthenticationError::Overloaded);
    };
    // The same log-in may have been checked meanwhile: a crowd of equal log-ins costs one hash.
    let (proof, account) = logins.recall(users, (network, &user, &password));
    if let Some(account) = account {
        kept.set(proof);
        return Ok(account);
    }
    let (answer, mut answers) = mailbox(1);
    let PasswordChecks { helpers, logins, .. } = checks.clone();
    let users = users.clone();
    spawn(async move {
        let work = move || users.verify(&user, &password);
        let result = match helpers.run_hash(work).await {
            Ok(result) => result.map_err(|_| AuthenticationError::Rejected),
            Err(_) => Err(AuthenticationError::Overloaded),
        };
        turn.wrong = matches!(result, Err(AuthenticationError::Rejected));
        if result.is_ok() {
            logins.remember(proof);
        }
        // The next check begins before the reply goes out.
        drop(turn);
        let _ = answer.send(result);
    })
    .detach();
    let result = answers.recv().await.unwrap_or(Err(AuthenticationError::Overloaded));
    if result.is_ok() {
        kept.set(proof);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    fn network(last: u8) -> ClientNetwork {
        ClientNetwork::of([192, 0, 2, last].into())
    }

    async fn fail(logins: &Logins, last: u8) {
        logins.enter(network(last), 1).await.unwrap().wrong = true;
    }

    /// A pause ends by itself, and who gives up meanwhile leaves nothing behind.
    #[test]
    fn the_time_of_a_pause_is_kept() {
        on_shard(|| async {
            let logins = Logins::new(Duration::ZERO, Rc::default());
            for _ in 0..6 {
                fail(&logins, 1).await;
            }
            let mut given_up = Box::pin(logins.enter(network(1), 1));
            assert!(poll_once(&mut given_up).await.is_none());
            let next = spawn({
                let logins = logins.clone();
                async move { logins.enter(network(1), 1).await.is_ok() }
            });
            // Another address does not wait.
            assert!(poll_once(logins.enter(network(2), 1)).await.is_some());
            drop(given_up);
            assert!(next.await);
            assert_eq!(logins.0.turns.borrow().waiting(), 0);
            assert!(logins.0.signals.borrow().is_empty());
            assert!(logins.0.counters.logins_delayed.get() >= 2);
        });
    }
}
