//! Waking one task of an executor from any thread, whichever task that is at the moment and whether
//! the executor runs yet. Carries nothing: what there is to tell goes by a channel.

use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use crate::core::Core;
use crate::inbox::{Inbox, Wake};
use crate::slab::Key;

/// A bell and who rings it. Neither belongs to an executor yet.
#[must_use]
pub fn bell() -> (Ringer, Bell) {
    let shared = Arc::new(Shared { heard: OnceLock::new(), rung: AtomicBool::new(false) });
    (Ringer(Arc::clone(&shared)), Bell(shared))
}

/// Rings a bell, from any thread.
#[derive(Clone)]
pub struct Ringer(Arc<Shared>);

/// A bell before it is in its executor.
pub struct Bell(Arc<Shared>);

/// A bell in its executor.
pub struct Listening {
    core: Rc<Core>,
    key: Key,
    shared: Arc<Shared>,
}

/// A ringer sets `rung` and then looks who listens; the listener says that it does and then takes
/// `rung`. Both use `rung` by an exchange, so that whoever comes second sees what the first did.
struct Shared {
    heard: OnceLock<(Arc<Inbox>, Key)>,
    rung: AtomicBool,
}

impl Ringer {
    /// Ends the wait of [`Listening::rung`], or the next one. What the caller did before is seen by
    /// whom it wakes. Never waits; a system call only if the executor sleeps.
    pub fn ring(&self) {
        if self.0.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some((inbox, key)) = self.0.heard.get() {
            inbox.push(Wake::Bell(*key));
        }
    }
}

impl Bell {
    /// Brings it into the executor that runs on this thread.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    #[must_use]
    pub fn listen(self) -> Listening {
        let core = Core::current();
        let key = core.bells.borrow_mut().insert(None);
        // Once, for the bell is used up.
        let _ = self.0.heard.set((Arc::clone(&core.inbox), key));
        Listening { core, key, shared: self.0 }
    }
}

impl Listening {
    /// Returns when the bell has been rung since the last time. May be dropped at any time.
    pub async fn rung(&self) {
        poll_fn(|cx| {
            // First: a ringer that comes after the look finds it.
            match self.core.bells.borrow_mut().get_mut(self.key) {
                Some(Some(waker)) => waker.clone_from(cx.waker()),
                Some(none) => *none = Some(cx.waker().clone()),
                None => {}
            }
            if self.shared.rung.swap(false, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let waker = self.core.bells.borrow_mut().remove(self.key);
        drop(waker);
    }
}

impl fmt::Debug for Ringer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ringer").finish_non_exhaustive()
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}
