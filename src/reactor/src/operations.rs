//! Who waits for which operation. Pure: a completion goes in, and out comes what to do about it.
//!
//! | state | the future is dropped | a completion | the last completion |
//! |---|---|---|---|
//! | waiting | given up, and cancelled | kept for the future | done |
//! | done | forgotten | – | – |
//! | given up | – | dropped | forgotten |
//! | accepting, the listener's | given up, and cancelled | to the listener | to the listener |
//!
//! Whatever is dropped here is dropped by the caller, outside of all borrows: a descriptor is
//! closed and a block goes home by code that is not ours.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::arrivals::Arrivals;
use crate::operation::{Completion, InFlight, Operation, Value};
use crate::slab::{Key, Slab};

/// The waiters. Their keys are not those of the ring, which gives a place away again when the
/// operation has ended: its outcome may wait here for longer.
#[derive(Debug)]
pub(crate) struct Operations {
    waiters: Slab<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    operation: InFlight,
    state: State,
}

#[derive(Debug)]
enum State {
    Accepting(Rc<Arrivals>),
    Done(Outcome),
    GivenUp,
    /// The read that ends the executor's sleep.
    Sleep,
    Waiting(Option<Waker>),
}

/// For whom an operation is started.
#[derive(Debug)]
pub(crate) enum For {
    /// A future, which will poll for the outcome.
    Future,
    /// A listener, which is given the connections.
    Listener(Rc<Arrivals>),
    /// The executor: it ends its sleep.
    Sleep,
}

/// How an operation ended, and the operation.
pub(crate) type Outcome = (io::Result<Value>, Operation);

/// What to do about a completion.
#[derive(Debug)]
#[must_use]
pub(crate) enum Effect {
    /// Drop what nobody waits for.
    Drop(Completion),
    /// It is for this listener, and the last of its operation or not.
    Arrive(Rc<Arrivals>, io::Result<Value>, bool),
    /// The executor was woken, and the bell is to be read again before the next sleep.
    Rung,
    /// Wake the task that waits, if it does.
    Wake(Option<Waker>),
}

impl Operations {
    pub(crate) const fn new() -> Self {
        Self { waiters: Slab::new() }
    }

    /// Has `start` start an operation whose completions are for the key it is given.
    pub(crate) fn insert(&mut self, whom: For, start: impl FnOnce(Key) -> InFlight) -> Key {
        let state = match whom {
            For::Future => State::Waiting(None),
            For::Listener(arrivals) => State::Accepting(arrivals),
            For::Sleep => State::Sleep,
        };
        self.waiters.insert_with(|key| Waiter { operation: start(key), state })
    }

    /// The operation, as the ring knows it.
    pub(crate) fn in_flight(&self, key: Key) -> Option<InFlight> {
        self.waiters.get(key).map(|waiter| waiter.operation)
    }

    /// The outcome, which ends the operation's life here, or a place for the waker.
    pub(crate) fn poll(&mut self, key: Key, cx: &Context<'_>) -> Poll<Option<Outcome>> {
        match self.waiters.get_mut(key).map(|waiter| &mut waiter.state) {
            Some(State::Waiting(waker)) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            Some(State::Done(_)) => Poll::Ready(self.take_outcome(key)),
            _ => Poll::Ready(None),
        }
    }

    /// Nobody waits any more: what the kernel is to cancel, and what is to be dropped.
    pub(crate) fn give_up(&mut self, key: Key) -> (Option<InFlight>, Option<Outcome>) {
        let Some(Waiter { operation, state }) = self.waiters.get_mut(key) else {
            return (None, None);
        };
        match state {
            State::Done(_) => (None, self.take_outcome(key)),
            State::Waiting(_) | State::Accepting(_) => {
                *state = State::GivenUp;
                (Some(*operation), None)
            }
            State::GivenUp | State::Sleep => (None, None),
        }
    }

    fn take_outcome(&mut self, key: Key) -> Option<Outcome> {
        match self.waiters.remove(key)?.state {
            State::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// A completion has come.
    pub(crate) fn complete(&mut self, completion: Completion) -> Effect {
        let key = completion.waiter;
        let Some(Waiter { state, .. }) = self.waiters.get_mut(key) else {
            return Effect::Drop(completion);
        };
        let last = completion.ended.is_some();
        let effect = match state {
            State::Accepting(arrivals) => {
                Effect::Arrive(Rc::clone(arrivals), completion.result, last)
            }
            State::Sleep => Effect::Rung,
            State::Done(_) | State::GivenUp => Effect::Drop(completion),
            State::Waiting(waker) => {
                let waker = waker.take();
                if let Some(operation) = completion.ended {
                    *state = State::Done((completion.result, operation));
                }
                return Effect::Wake(waker);
            }
        };
        if last {
            self.waiters.remove(key);
        }
        effect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(waiter: Key, last: bool) -> Completion {
        let ended = last.then_some(Operation::Nothing);
        Completion { waiter, result: Ok(Value::Count(7)), ended }
    }

    fn waiting() -> (Operations, Key) {
        let mut operations = Operations::new();
        let key = operations.insert(For::Future, InFlight);
        (operations, key)
    }

    /// The rows of the table at the head, those of a future.
    #[test]
    fn states_and_events() {
        let cx = Context::from_waker(Waker::noop());
        let (mut operations, key) = waiting();
        assert!(operations.poll(key, &cx).is_pending());
        assert!(matches!(operations.complete(completion(key, true)), Effect::Wake(Some(_))));
        assert!(matches!(operations.poll(key, &cx), Poll::Ready(Some((Ok(Value::Count(7)), _)))));
        assert!(matches!(operations.poll(key, &cx), Poll::Ready(None)));

        let (mut operations, key) = waiting();
        assert!(matches!(operations.complete(completion(key, true)), Effect::Wake(None)));
        assert!(matches!(operations.give_up(key), (None, Some(_))));
        assert!(matches!(operations.give_up(key), (None, None)));

        let (mut operations, key) = waiting();
        assert!(matches!(operations.give_up(key), (Some(_), None)));
        assert!(matches!(operations.give_up(key), (None, None)));
        assert!(matches!(operations.complete(completion(key, false)), Effect::Drop(_)));
        assert_eq!(operations.waiters.len(), 1);
        assert!(matches!(operations.complete(completion(key, true)), Effect::Drop(_)));
        assert_eq!(operations.waiters.len(), 0);
    }
}
