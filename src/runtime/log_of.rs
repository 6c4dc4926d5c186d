//! For which session the running task works, for the log: what is logged on a shard's thread while
//! a task is polled can be told apart by it. A task inherits it from the one that starts it.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;

/// Name of a session: unique in the process and never used again. Written as `2-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// Number of the shard that the session lives on.
    pub shard: usize,
    /// Number on that shard, from 1.
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard, self.number)
    }
}

impl FromStr for SessionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (shard, number) = text.split_once('-').unwrap_or_default();
        match (shard.parse(), number.parse()) {
            (Ok(shard), Ok(number)) => Ok(Self { shard, number }),
            _ => Err(format!("{text:?} is no session; `ctl sessions` has them, such as 0-17")),
        }
    }
}

/// What each line of the log says that is of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOf {
    /// The session.
    pub session: SessionId,
    /// The client's end of its control connection.
    pub peer: SocketAddr,
    /// Who is logged in.
    pub user: Option<Arc<str>>,
}

thread_local! {
    static RUNNING: RefCell<Option<LogOf>> = const { RefCell::new(None) };
}

/// From here on the running task works for this session, and with it the tasks that it starts.
pub fn log_of(session: LogOf) {
    RUNNING.set(Some(session));
}

/// From here on this user is logged in, if the running task works for this session, and in the
/// tasks that it starts.
pub fn log_user(session: SessionId, user: Option<&str>) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(running) = running.as_mut().filter(|running| running.session == session) {
            running.user = user.map(Arc::from);
        }
    });
}

/// For whom the running task works; `None` outside a session.
#[must_use]
pub fn logged_of() -> Option<LogOf> {
    RUNNING.with_borrow(Clone::clone)
}

/// Shows `show` for whom the running task works.
pub fn with_logged_of<T>(show: impl FnOnce(Option<&LogOf>) -> T) -> T {
    RUNNING.with_borrow(|running| show(running.as_ref()))
}

/// Does `work` for this session, on whatever thread.
pub fn logging_of<T>(session: Option<LogOf>, work: impl FnOnce() -> T) -> T {
    let _before = Before(RUNNING.replace(session));
    work()
}

/// Runs `future` for whom the running task works, until it says otherwise.
pub(super) fn inherit<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let mut own = logged_of();
    async move {
        let mut future = pin!(future);
        poll_fn(move |cx| {
            // Also when the task panics.
            let _before = Before(RUNNING.replace(own.take()));
            let polled = future.as_mut().poll(cx);
            own = RUNNING.take();
            polled
        })
        .await
    }
}

struct Before(Option<LogOf>);

impl Drop for Before {
    fn drop(&mut self) {
        RUNNING.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{TaskGroup, spawn, testing::on_shard, yield_now};

    fn session(number: u64) -> LogOf {
        let session = SessionId { shard: 1, number };
        LogOf { session, peer: SocketAddr::from(([192, 0, 2, 1], 4711)), user: None }
    }

    #[test]
    fn a_task_keeps_its_own_and_gives_it_to_those_it_starts() {
        on_shard(|| async {
            let tasks = [1, 2, 3].map(|number| {
                spawn(async move {
                    assert_eq!(logged_of(), None);
                    log_of(session(number));
                    for _ in 0..3 {
                        yield_now().await;
                        assert_eq!(logged_of(), Some(session(number)));
                    }
                    let started = spawn(async { logged_of() });
                    assert_eq!(started.await, Some(session(number)));
                })
            });
            for task in tasks {
                task.await;
            }
            assert_eq!(logged_of(), None);
        });
    }

    #[test]
    fn the_user_is_of_one_session() {
        on_shard(|| async {
            let user = || logged_of().and_then(|of| of.user);
            log_user(session(1).session, Some("alice"));
            assert_eq!(logged_of(), None);
            let task = spawn(async move {
                log_of(session(1));
                log_user(session(1).session, Some("alice"));
                log_user(session(2).session, Some("bob"));
                assert_eq!(user().as_deref(), Some("alice"));
                yield_now().await;
                let started = spawn(async move { user() });
                assert_eq!(started.await.as_deref(), Some("alice"));
                logging_of(None, || assert_eq!(user(), None));
                log_user(session(1).session, None);
                assert_eq!(user(), None);
            });
            task.await;
        });
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        on_shard(|| async {
            let group = TaskGroup::new();
            group.spawn(async {
                log_of(session(1));
                panic!("on purpose");
            });
            group.idle().await;
            assert_eq!(logged_of(), None);
        });
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = session(17).session;
        assert_eq!((id.to_string().as_str(), id.to_string().parse()), ("1-17", Ok(id)));
        for wrong in ["", "1", "-", "1-", "-1", "1-x", "1-2-3", "1- 2"] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }
}
