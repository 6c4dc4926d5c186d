//! What a person sees while a run goes on: a bar and four lines on a terminal, one line every few
//! seconds elsewhere. It has a thread of its own, fed by the recorders' intervals, so that drawing
//! costs the measuring threads one message a second.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::measure::{
    ConnectionState, ConnectionStates, Errors, Interval, LatencyHistogram, LiveUpdate, ratio,
};
use crate::report::format;

/// Seconds between two plain lines.
const PLAIN_LINE_S: u64 = 5;

/// Updates that may wait for the display; one a second from each thread.
const UPDATES_MAX: usize = 1024;

/// Kinds of errors named in a line; the rest are counted together.
const KINDS_SHOWN_MAX: usize = 4;

/// What the display must know beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Recorders that will send updates.
    pub threads: usize,
    /// The warm-up.
    pub warmup: Duration,
    /// The whole run with its warm-up; `None` for a run by count.
    pub duration: Option<Duration>,
}

/// The display's thread.
pub struct Progress {
    thread: JoinHandle<()>,
}

impl Progress {
    /// Starts the display on standard error. Give a clone of the sender to each recorder
    /// ([`Recorder::with_live`](crate::measure::Recorder::with_live)) and drop the original: the
    /// display ends when the last is gone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(expected: Expected) -> io::Result<(SyncSender<LiveUpdate>, Self)> {
        let (sender, receiver) = sync_channel(UPDATES_MAX);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            if io::stderr().is_terminal() {
                show_bar(&receiver, expected);
            } else {
                show_lines(&receiver, expected, &mut io::stderr());
            }
        })?;
        Ok((sender, Self { thread }))
    }

    /// Waits until the display has shown everything and cleared the terminal's lines. Call it after
    /// all recorders have ended.
    pub fn finish(self) {
        // A display that panicked has printed why; the result does not depend on it.
        let _ = self.thread.join();
    }
}

fn show_bar(updates: &Receiver<LiveUpdate>, expected: Expected) {
    let bar = match expected.duration {
        Some(duration) => ProgressBar::new(duration.as_secs().max(1)),
        None => ProgressBar::no_length(),
    };
    let template = match expected.duration {
        Some(_) => "{wide_bar} {pos}/{len} s\n{msg}",
        None => "{pos} s\n{msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let mut screen = Screen::new(expected);
    for update in updates {
        for stretch in screen.add(&update) {
            bar.set_position(stretch.end_s());
            bar.set_message(screen.lines(&stretch).join("\n"));
        }
    }
    bar.finish_and_clear();
}

fn show_lines(updates: &Receiver<LiveUpdate>, expected: Expected, out: &mut impl io::Write) {
    let mut screen = Screen::new(expected);
    let mut gathered: Option<Stretch> = None;
    for update in updates {
        for next in screen.add(&update) {
            let stretch = match gathered.take() {
                Some(earlier) => earlier.followed_by(&next),
                None => next,
            };
            if stretch.seconds < PLAIN_LINE_S {
                gathered = Some(stretch);
                continue;
            }
            write_line(out, &mut screen, &stretch);
        }
    }
    if let Some(stretch) = gathered {
        write_line(out, &mut screen, &stretch);
    }
}

fn write_line(out: &mut impl io::Write, screen: &mut Screen, stretch: &Stretch) {
    // A closed standard error is no reason to end a run.
    let _ = writeln!(out, "{:>5} s  {}", stretch.end_s(), screen.lines(stretch).join("; "));
}

/// What all threads did in a stretch of the run.
struct Stretch {
    begin_s: u64,
    seconds: u64,
    sum: Interval,
}

impl Stretch {
    fn end_s(&self) -> u64 {
        self.begin_s + self.seconds
    }

    fn followed_by(mut self, next: &Self) -> Self {
        self.sum.merge_next(&next.sum);
        Self { begin_s: self.begin_s, seconds: next.end_s() - self.begin_s, sum: self.sum }
    }
}

/// Puts the threads' intervals together and words them.
struct Screen {
    expected: Expected,
    /// By begin in seconds: how many threads reported, and their sum.
    pending: BTreeMap<u64, (usize, Interval)>,
    /// Where the last stretch given out ended.
    given_until_s: u64,
    /// Since the start.
    errors: Errors,
    /// Since the last lines.
    recent: Errors,
}

impl Screen {
    fn new(expected: Expected) -> Self {
        Self {
            expected,
            pending: BTreeMap::new(),
            given_until_s: 0,
            errors: Errors::default(),
            recent: Errors::default(),
        }
    }

    /// Adds one thread's interval; returns those that are complete, oldest first.
    fn add(&mut self, update: &LiveUpdate) -> Vec<Stretch> {
        /// Beyond this the oldest is shown without the thread that stays behind.
        const PENDING_MAX: usize = 3;
        self.errors.merge(&update.errors);
        self.recent.merge(&update.errors);
        let mut interval = update.interval.clone();
        let mut begin_s = interval.index * interval.seconds;
        let mut threads = 1;
        if begin_s < self.given_until_s {
            // From a thread that is behind: its counts are shown late, its connections once it has
            // caught up.
            begin_s = self.given_until_s;
            interval.connections = ConnectionStates::default();
            threads = 0;
        }
        match self.pending.get_mut(&begin_s) {
            Some((reported, sum)) => {
                *reported += threads;
                sum.merge_thread(&interval);
            }
            None => {
                self.pending.insert(begin_s, (threads, interval));
            }
        }
        let mut complete = Vec::new();
        let mut waiting = self.pending.len();
        while let Some(first) = self.pending.first_entry() {
            if first.get().0 < self.expected.threads && waiting <= PENDING_MAX {
                break;
            }
            waiting -= 1;
            let (begin_s, (_, sum)) = first.remove_entry();
            let stretch = Stretch { begin_s, seconds: sum.seconds, sum };
            self.given_until_s = stretch.end_s();
            complete.push(stretch);
        }
        complete
    }

    /// The stretch in lines: rate and latency, errors, connections.
    fn lines(&mut self, stretch: &Stretch) -> Vec<String> {
        let interval = &stretch.sum;
        let per_s = |count: u64| ratio(count as f64, stretch.seconds as f64);
        let latency: LatencyHistogram = interval.latency();
        let mut rate = format!("{}/s", format::count(per_s(interval.operations)));
        for (bytes, name) in [(interval.bytes_down, "down"), (interval.bytes_up, "up")] {
            if bytes > 0 {
                rate.push_str(&format!(", {}/s {name}", format::bytes(per_s(bytes))));
            }
        }
        if latency.count() > 0 {
            let [p50, p99, max] = [50.0, 99.0, 100.0]
                .map(|percentile| format::duration_ns(latency.percentile(percentile) as f64));
            rate.push_str(&format!(", p50 {p50}, p99 {p99}, max {max}"));
        }
        if stretch.begin_s < self.expected.warmup.as_secs() {
            rate.push_str(" (warm-up)");
        }
        let states: Vec<String> = ConnectionState::ALL
            .into_iter()
            .map(|state| (state, interval.connections.count(state)))
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| format!("{count} {}", state.name()))
            .collect();
        let connections = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
        vec![rate, self.error_line(), format!("connections: {connections}")]
    }

    /// All errors so far by kind, and those that are new since the last line.
    fn error_line(&mut self) -> String {
        let recent = std::mem::take(&mut self.recent);
        let all = self.errors.total();
        match (all, recent.total()) {
            (0, _) => "errors: none".to_owned(),
            (_, 0) => format!("errors: {all} ({}), none new", kinds(&self.errors)),
            (_, new) if new == all => format!("errors: {all} ({})", kinds(&self.errors)),
            (_, new) => {
                format!("errors: {all} ({}), {new} new ({})", kinds(&self.errors), kinds(&recent))
            }
        }
    }
}

/// Errors by kind, the most frequent first.
fn kinds(errors: &Errors) -> String {
    let mut kinds = errors.by_kind();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest: u64 = kinds.iter().skip(KINDS_SHOWN_MAX).map(|(_, count)| count).sum();
    let mut words: Vec<String> = kinds
        .iter()
        .take(KINDS_SHOWN_MAX)
        .map(|(kind, count)| {
            let code = kind.code().map(|code| format!(" {code}")).unwrap_or_default();
            format!("{count} {}{code}", kind.name())
        })
        .collect();
    if rest > 0 {
        words.push(format!("{rest} others"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::{Duration, Instant};

    use super::{Expected, Screen, UPDATES_MAX, show_lines};
    use crate::measure::{
        ConnectionState, ErrorKind, Phase, Recorder, ThreadUse, Timeline, Window,
    };

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
        let expected =
            Expected { threads, warmup: window.warmup, duration: Some(Duration::from_secs(12)) };
        let mut out = Vec::new();
        show_lines(&receiver, expected, &mut out);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
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
        let expected = Expected { threads: 2, warmup: window.warmup, duration: None };
        let mut screen = Screen::new(expected);
        let mut operations = 0;
        let mut end_s = 0;
        for update in receiver {
            for stretch in screen.add(&update) {
                assert_eq!(stretch.begin_s, end_s, "without a gap and in order");
                end_s = stretch.end_s();
                operations += stretch.sum.operations;
                assert!(stretch.sum.connections.open() <= 2);
            }
        }
        assert_eq!((operations, end_s), (2, 10));
    }

    #[test]
    fn a_thread_that_stays_behind_does_not_stop_the_display() {
        let window = Window { start: Instant::now(), warmup: Duration::ZERO, measured: None };
        let (sender, receiver) = sync_channel(UPDATES_MAX);
        let mut recorder = Recorder::new(window).with_live(sender);
        recorder.tick(window.start + Duration::from_secs(30));
        drop(recorder);
        let expected = Expected { threads: 2, warmup: window.warmup, duration: None };
        let mut out = Vec::new();
        show_lines(&receiver, expected, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("   25 s  0/s; errors: none; connections: none"), "{text}");
    }
}
