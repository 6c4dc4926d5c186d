//! What the service manager is told (`sd_notify(3)`): when the server serves, reloads and stops,
//! what it does meanwhile, and that no shard is stuck. On a thread of its own, for a shard that is
//! stuck is waited for. Without `NOTIFY_SOCKET` there is no thread and nothing is told.

use std::env;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::{shards, start_thread};
use crate::clock;
use crate::runtime::remote::RemoteSender;
use crate::shard::{Figures, Message};

/// Time between two states when nothing happens; less where the manager's watchdog wants it.
const INTERVAL: Duration = Duration::from_secs(10);

/// The same while the server ends.
const INTERVAL_OF_THE_END: Duration = Duration::from_secs(5);

/// What each state of the end asks for in addition: several intervals, so that one that comes late
/// is no end with SIGKILL.
const EXTENSION: Duration = Duration::from_secs(30);

/// How long it may take until the manager has been told of another process; a shard that hangs may
/// hold it up.
const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(3);

/// What happens to the server as a whole.
enum Event {
    Reloading,
    Reloaded {
        succeeded: bool,
    },
    Stopping {
        deadline: Instant,
    },
    /// Another process is the service.
    HandedOver {
        pid: u32,
        done: mpsc::SyncSender<()>,
    },
}

/// Tells the service manager, if there is one.
#[derive(Clone, Debug)]
pub(super) struct ServiceManager(Option<mpsc::Sender<Event>>);

impl ServiceManager {
    /// Says that the server serves, and begins to say what it does.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(shards: Vec<RemoteSender<Message>>) -> Result<Self, String> {
        if env::var_os("NOTIFY_SOCKET").is_none_or(|name| name.is_empty()) {
            return Ok(Self(None));
        }
        let watchdog = sd_notify::watchdog_enabled();
        let (sender, events) = mpsc::channel();
        let mut teller = Teller { shards, watchdog, failed: false, deadline: None };
        start_thread("manager", move || teller.tell(&events))?;
        Ok(Self(Some(sender)))
    }

    /// A reload begins.
    pub(super) fn reloading(&self) {
        self.say(Event::Reloading);
    }

    /// It has ended.
    pub(super) fn reloaded(&self, succeeded: bool) {
        self.say(Event::Reloaded { succeeded });
    }

    /// The end begins, and will be there at `deadline` at the latest.
    pub(super) fn stopping(&self, deadline: Instant) {
        self.say(Event::Stopping { deadline });
    }

    /// Another process is the service from now on. Returns when the manager has been told, which
    /// takes it from this one alone and not from the other; afterwards it is told nothing more.
    pub(super) fn handed_over(&self, pid: u32) {
        let (done, told) = mpsc::sync_channel(1);
        self.say(Event::HandedOver { pid, done });
        let _ = told.recv_timeout(HAND_OVER_TIME_MAX);
    }

    fn say(&self, event: Event) {
        // Its thread lives as long as this one.
        if let Some(sender) = &self.0 {
            let _ = sender.send(event);
        }
    }
}

struct Teller {
    shards: Vec<RemoteSender<Message>>,
    /// How long the manager waits for a sign of life.
    watchdog: Option<Duration>,
    /// The last reload did.
    failed: bool,
    /// Of the end, once it has begun.
    deadline: Option<Instant>,
}

impl Teller {
    fn tell(&mut self, events: &mpsc::Receiver<Event>) {
        let mut first = vec![NotifyState::Ready];
        loop {
            self.tell_state(std::mem::take(&mut first));
            let due = clock::now() + self.interval();
            loop {
                match events.recv_timeout(due.saturating_duration_since(clock::now())) {
                    Ok(Event::Reloading) => {
                        let now = NotifyState::monotonic_usec_now();
                        send(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
                    }
                    Ok(Event::Reloaded { succeeded }) => {
                        self.failed = !succeeded;
                        first.push(NotifyState::Ready);
                    }
                    Ok(Event::Stopping { deadline }) => {
                        self.deadline = Some(deadline);
                        first.push(NotifyState::Stopping);
                    }
                    Ok(Event::HandedOver { pid, done }) => {
                        send(&[NotifyState::MainPid(pid)]);
                        let _ = done.try_send(());
                        return;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if !first.is_empty() || due <= clock::now() {
                    break;
                }
            }
        }
    }

    fn interval(&self) -> Duration {
        let longest = if self.deadline.is_some() { INTERVAL_OF_THE_END } else { INTERVAL };
        self.watchdog.map_or(longest, |watchdog| longest.min(watchdog / 2))
    }

    /// Tells `first`, and what the server does.
    fn tell_state(&self, first: Vec<NotifyState<'_>>) {
        let mut states = first;
        if !states.is_empty() {
            // At once: the shards may take their time.
            send(&states);
            states.clear();
        }
        let call = shards::roll_call(&self.shards);
        let ending = self.deadline.is_some();
        let status = status(self.shards.len(), &call.figures, self.failed, ending);
        states.push(NotifyState::Status(&status));
        match self.deadline {
            // A shard that has ended is not stuck; who is, is left behind at the deadline.
            Some(deadline) if clock::now() < deadline => {
                let extension = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
                states.push(NotifyState::ExtendTimeoutUsec(extension));
                states.extend(self.watchdog.map(|_| NotifyState::Watchdog));
            }
            None if call.is_complete() => {
                states.extend(self.watchdog.map(|_| NotifyState::Watchdog))
            }
            Some(_) | None => {}
        }
        send(&states);
    }
}

/// For `systemctl status`.
fn status(shards: usize, figures: &[Figures], reload_failed: bool, ending: bool) -> String {
    let sum = |name: &str| -> u64 {
        let of_name = |figures: &Figures| {
            figures.gauges.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
        };
        figures.iter().map(of_name).sum()
    };
    let silent = match shards - figures.len() {
        0 => String::new(),
        silent => format!(" ({silent} of them do not answer)"),
    };
    let reload = if reload_failed { "; the last reload failed, see the log" } else { "" };
    let end = if ending { "; not ready any more, ends" } else { "" };
    let (sessions, transfers) = (sum("sessions"), sum("transfers"));
    format!("{shards} shards{silent}, {sessions} sessions, {transfers} transfers{reload}{end}")
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_a_sentence() {
        let figures = |shard, sessions, transfers| Figures {
            shard,
            gauges: vec![("sessions", sessions), ("transfers", transfers)],
            ..Figures::default()
        };
        let both = [figures(0, 3, 1), figures(1, 4, 0)];
        assert_eq!(status(2, &both, false, false), "2 shards, 7 sessions, 1 transfers");
        assert!(status(2, &both, false, true).ends_with("; not ready any more, ends"));
        let one = "2 shards (1 of them do not answer), 3 sessions, 1 transfers; \
                   the last reload failed, see the log";
        assert_eq!(status(2, &both[..1], true, false), one);
    }
}
