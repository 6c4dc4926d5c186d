//! Who watches while a run goes on: the terminal, a file with a line an interval, and whoever asks
//! over HTTP. One thread feeds them with the recorders' intervals, so that it costs the measuring
//! threads one message an interval.

mod display;
mod gather;
mod prometheus;
mod stream;

use std::io;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::measure::Live;
use display::Display;
use gather::{Gather, Stretch};
use prometheus::Exporter;
use stream::Stream;

/// Updates that may wait; one an interval from each thread.
const UPDATES_MAX: usize = 1024;

/// How often something is done that no update asks for.
const LOOK: Duration = Duration::from_millis(100);

/// What must be known of the run beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Recorders that will send updates.
    pub threads: usize,
    /// The warm-up.
    pub warmup: Duration,
    /// The whole run with its warm-up; `None` for a run by count.
    pub duration: Option<Duration>,
    /// When the first operation is to begin, where that was said.
    pub start_at: Option<SystemTime>,
}

/// Who watches.
#[derive(Default)]
pub struct Watchers {
    /// Whether standard error does.
    pub display: bool,
    /// What takes a line of JSON for each interval.
    pub stream: Option<Box<dyn io::Write + Send>>,
    /// Where Prometheus asks; it does not block.
    pub prometheus: Option<TcpListener>,
}

impl Watchers {
    /// Whether nobody does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.display && self.stream.is_none() && self.prometheus.is_none()
    }
}

/// The thread that feeds them.
pub struct Progress {
    thread: JoinHandle<Result<(), String>>,
}

impl Progress {
    /// Starts it. Give a clone of the sender to each recorder
    /// ([`Recorder::with_live`](crate::measure::Recorder::with_live)) and drop the original: it
    /// ends when the last is gone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(expected: Expected, watchers: Watchers) -> io::Result<(SyncSender<Live>, Self)> {
        let (sender, receiver) = sync_channel(UPDATES_MAX);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let display = watchers.display.then(|| Display::start(expected));
            let stream = watchers.stream.map(|out| Stream::new(out, expected.warmup));
            let exporter = watchers.prometheus.map(|at| Exporter::new(at, expected.warmup));
            Watch { display, stream, exporter }.run(&receiver, expected.threads)
        })?;
        Ok((sender, Self { thread }))
    }

    /// Waits until all have had everything and the terminal's lines are cleared. Call it after all
    /// recorders have ended.
    ///
    /// # Errors
    /// A sentence: a file could not be written.
    pub fn finish(self) -> Result<(), String> {
        // A thread that panicked has printed why; the result does not depend on it.
        self.thread.join().unwrap_or(Ok(()))
    }
}

struct Watch {
    display: Option<Display>,
    stream: Option<Stream>,
    exporter: Option<Exporter>,
}

impl Watch {
    fn run(mut self, updates: &Receiver<Live>, threads: usize) -> Result<(), String> {
        let mut gather = Gather::new(threads);
        loop {
            if let Some(exporter) = &self.exporter {
                exporter.answer();
            }
            let complete = match updates.recv_timeout(LOOK) {
                Ok(Live::Begins(at)) => {
                    if let Some(stream) = &mut self.stream {
                        stream.begins(at);
                    }
                    continue;
                }
                Ok(Live::Closed(update)) => gather.add(update, None),
                Ok(Live::Ended(update, elapsed)) => gather.add(update, Some(elapsed)),
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(display) = self.display.as_mut().filter(|_| complete.is_empty()) {
                display.wait();
            }
            complete.into_iter().for_each(|stretch| self.show(stretch));
        }
        gather.rest().into_iter().for_each(|stretch| self.show(stretch));
        if let Some(display) = self.display {
            display.end();
        }
        self.stream.map_or(Ok(()), Stream::end)
    }

    fn show(&mut self, stretch: Stretch) {
        if let Some(stream) = &mut self.stream {
            stream.write(&stretch);
        }
        if let Some(exporter) = &mut self.exporter {
            exporter.add(&stretch);
        }
        if let Some(display) = &mut self.display {
            display.show(stretch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::{Duration, Instant};

    use super::{Display, Expected, Gather, UPDATES_MAX, Watch};
    use crate::measure::{
        ConnectionState, ErrorKind, Live, Phase, Recorder, ThreadUse, Timeline, Window,
    };

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl io::Write for Shared {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is shown where there is no terminal.
    fn lines(updates: &Receiver<Live>, expected: Expected) -> String {
        let out = Shared::default();
        let display = Some(Display::lines_on(Box::new(out.clone()), expected));
        Watch { display, stream: None, exporter: None }.run(updates, expected.threads).unwrap();
        String::from_utf8(out.0.take()).unwrap()
    }

    const EXPECTED: Expected =
        Expected { threads: 2, warmup: Duration::ZERO, duration: None, start_at: None };

    /// Two threads, 12 s, 100 operations a second each, errors in the second thread.
    fn shown(threads: usize) -> Vec<String> {
        let window =
            Window { start: Instant::now(), warmup: Duration::from_secs(5), measured: None };
        let (sender, receiver) = sync_channel(UPDATES_MAX);
        let mut recorders: Vec<Recorder> =
            (0..threads).map(|_| Recorder::new(window).with_live(sender.clone())).collect();
        for recorder in &mut recorders {
            recorder.connection(None, Some(ConnectionState::Idle), window.start);
        }
        for index in 0..1200_u32 {
            let at = window.start + Duration::from_millis(10) * index;
            for (thread, recorder) in recorders.iter_mut().enumerate() {
                let timeline = Timeline::new(at, at);
                if thread == 1 && index % 600 == 300 {
                    let kind = ErrorKind::UnexpectedReply(421);
                    timeline.fail(recorder, Phase::Login, kind, at, "");
                } else {
                    timeline.succeed(recorder, at + Duration::from_millis(1));
                }
            }
        }
        for recorder in recorders {
            let end = window.start + Duration::from_secs(12);
            let _ = recorder.finish(end, ThreadUse::default());
        }
        drop(sender);
        let duration = Some(Duration::from_secs(12));
        let expected = Expected { threads, warmup: window.warmup, duration, start_at: None };
        lines(&receiver, expected).lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_sum_the_threads_and_say_the_warm_up() {
        let lines = shown(2);
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert_eq!(
            lines[0],
            "    5 s  200/s, p50 1.00 ms, p99 1.00 ms, max 1.00 ms (warm-up); \
             errors: 1 (1 unexpected_reply 421); connections: 2 idle"
        );
        assert!(lines[1].starts_with("   10 s  200/s, "), "{}", lines[1]);
        let errors = "; errors: 2 (2 unexpected_reply 421), 1 new (1 unexpected_reply 421); ";
        assert!(lines[1].contains(errors), "{}", lines[1]);
        assert!(lines[2].contains("; errors: 2 (2 unexpected_reply 421), none new; "));
        assert!(lines[2].starts_with("   12 s  "));
        assert!(!lines[2].contains("warm-up"));
    }

    #[test]
    fn what_a_late_thread_did_is_shown_late() {
        let window = Window { start: Instant::now(), warmup: Duration::ZERO, measured: None };
        let (sender, receiver) = sync_channel(UPDATES_MAX);
        for _ in 0..2 {
            let mut recorder = Recorder::new(window).with_live(sender.clone());
            recorder.connection(None, Some(ConnectionState::Idle), window.start);
            let at = window.start + Duration::from_millis(500);
            Timeline::new(at, at).succeed(&mut recorder, at);
            recorder.tick(window.start + Duration::from_secs(10));
        }
        drop(sender);
        let mut gather = Gather::new(2);
        let mut operations = 0;
        let mut end = Duration::ZERO;
        for update in receiver {
            let Live::Closed(update) = update else { panic!("no thread has ended") };
            for stretch in gather.add(update, None) {
                assert_eq!(stretch.begin, end, "without a gap and in order");
                end = stretch.end();
                operations += stretch.sum.operations;
                assert!(stretch.sum.connections.open() <= 2);
            }
        }
        assert_eq!((operations, end.as_secs()), (2, 10));
    }

    #[test]
    fn a_thread_that_stays_behind_does_not_stop_the_display() {
        let window = Window { start: Instant::now(), warmup: Duration::ZERO, measured: None };
        let (sender, receiver) = sync_channel(UPDATES_MAX);
        let mut recorder = Recorder::new(window).with_live(sender);
        recorder.tick(window.start + Duration::from_secs(30));
        drop(recorder);
        let text = lines(&receiver, EXPECTED);
        assert!(text.contains("   25 s  0/s; errors: none; connections: none"), "{text}");
    }

    /// One thread ends sooner than the other, in the middle of an interval.
    #[test]
    fn nothing_is_missing_when_threads_end() {
        let window = Window { start: Instant::now(), warmup: Duration::ZERO, measured: None };
        let (sender, receiver) = sync_channel(UPDATES_MAX);
        for end in [430, 1250] {
            let length = Duration::from_millis(100);
            let recorder = Recorder::new(window).with_interval(length);
            let mut recorder = recorder.with_live(sender.clone());
            for at in (0..end).step_by(10) {
                let at = window.start + Duration::from_millis(at);
                Timeline::new(at, at).succeed(&mut recorder, at);
            }
            let end = window.start + Duration::from_millis(end);
            let _ = recorder.finish(end, ThreadUse::default());
        }
        drop(sender);
        let mut gather = Gather::new(2);
        let mut stretches = Vec::new();
        for update in receiver {
            stretches.extend(match update {
                Live::Begins(_) => Vec::new(),
                Live::Closed(update) => gather.add(update, None),
                Live::Ended(update, elapsed) => gather.add(update, Some(elapsed)),
            });
        }
        stretches.extend(gather.rest());
        let operations: u64 = stretches.iter().map(|stretch| stretch.sum.operations).sum();
        assert_eq!((operations, stretches.len()), (43 + 125, 13));
        let last = stretches.last().unwrap();
        assert_eq!(
            (last.begin, last.length),
            (Duration::from_millis(1200), Duration::from_millis(50))
        );
        assert!(!last.is_whole && stretches[..12].iter().all(|stretch| stretch.is_whole));
    }
}
