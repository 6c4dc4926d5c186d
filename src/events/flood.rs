//! Floods are counted, not written: of each kind of line that a stranger can cause without end, a
//! thread writes a bounded number a second, and the next one says how many were left out before it.
//! Shards have threads of their own, so nothing of it is shared.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::clock;

/// More kinds of lines than there are.
pub(super) const KINDS_MAX: usize = 64;

thread_local! {
    static FLOOD: Flood = const {
        Flood {
            max: Cell::new(None),
            kinds: [const { Cell::new(Counted::NOTHING) }; KINDS_MAX],
            any: Cell::new(false),
            waiting: RefCell::new(None),
        }
    };
}

struct Flood {
    /// Lines of a kind a second; `None` is no limit.
    max: Cell<Option<u32>>,
    kinds: [Cell<Counted>; KINDS_MAX],
    /// Something was suppressed since [`first_suppressed`] returned.
    any: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy)]
struct Counted {
    /// Begin of the second that is counted.
    window: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl Counted {
    const NOTHING: Self = Self { window: None, written: 0, suppressed: 0 };
}

/// Lines of each kind that this thread writes a second; `None` is no limit.
pub fn set_rate(max: Option<u32>) {
    FLOOD.with(|flood| flood.max.set(max));
}

/// Whether a line of this kind is written, and how many were not since the last that was.
pub(super) fn admit(kind: usize) -> Option<u64> {
    FLOOD.with(|flood| {
        let Some(max) = flood.max.get() else { return Some(0) };
        let mut counted = flood.kinds[kind].get();
        let now = clock::now();
        if counted.window.is_none_or(|begin| now.saturating_duration_since(begin) >= WINDOW) {
            (counted.window, counted.written) = (Some(now), 0);
        }
        let admitted = counted.written < max;
        let before = if admitted {
            counted.written += 1;
            Some(std::mem::take(&mut counted.suppressed))
        } else {
            counted.suppressed += 1;
            None
        };
        flood.kinds[kind].set(counted);
        if !admitted
            && !flood.any.replace(true)
            && let Some(waker) = flood.waiting.borrow_mut().take()
        {
            waker.wake();
        }
        before
    })
}

/// Returns when something is suppressed that nobody has been told of. Then
/// [`tell_suppressed`](super::tell_suppressed) is due a moment later: the flood may be over.
pub async fn first_suppressed() {
    poll_fn(|cx| {
        FLOOD.with(|flood| {
            if flood.any.get() {
                return Poll::Ready(());
            }
            *flood.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
    })
    .await;
}

/// Tells `tell` how many lines of each kind were suppressed on this thread, where no line has said
/// so.
pub(super) fn take(tell: impl Fn(usize, u64)) {
    FLOOD.with(|flood| {
        flood.any.set(false);
        for (kind, counts) in flood.kinds.iter().enumerate() {
            let mut counted = counts.get();
            let suppressed = std::mem::take(&mut counted.suppressed);
            counts.set(counted);
            if suppressed > 0 {
                tell(kind, suppressed);
            }
        }
    });
}

const WINDOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the clock does between two calls: all are written or told of, none twice.
    #[test]
    fn each_is_written_or_counted() {
        set_rate(Some(3));
        let admitted: Vec<_> = (0..10).filter_map(|_| admit(0)).collect();
        assert_eq!(admitted, [0, 0, 0]);
        // Another kind is none of its business.
        assert_eq!(admit(1), Some(0));
        let mut waited = std::pin::pin!(first_suppressed());
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(waited.as_mut().poll(&mut cx).is_ready());
        FLOOD.with(|flood| {
            let counted = flood.kinds[0].get();
            assert_eq!((counted.written, counted.suppressed), (3, 7));
            flood.kinds[0].set(Counted { window: None, ..counted });
        });
        assert_eq!((admit(0), admit(0)), (Some(7), Some(0)));
        set_rate(None);
        assert!((0..10).all(|_| admit(0) == Some(0)));
        take(|kind, suppressed| panic!("{suppressed} of {kind}"));
        assert!(std::pin::pin!(first_suppressed()).poll(&mut cx).is_pending());
    }
}
