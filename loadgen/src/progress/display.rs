//! What a person sees while a run goes on: a bar and four lines on a terminal, one line every few
//! seconds elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressStyle};

use super::Expected;
use super::gather::Stretch;
use crate::measure::{ConnectionState, Errors, LatencyHistogram, ratio};
use crate::moment::format_moment;
use crate::report::format;

/// Between two lines, and between two pictures of the bar.
const LINE: Duration = Duration::from_secs(5);
const PICTURE: Duration = Duration::from_secs(1);

/// Kinds of errors named in a line; the rest are counted together.
const KINDS_SHOWN_MAX: usize = 4;

/// Where it is shown.
enum Screen {
    Bar(ProgressBar),
    Lines(Box<dyn io::Write>),
}

/// Words what is shown.
pub(super) struct Display {
    screen: Screen,
    expected: Expected,
    /// What has not been shown yet.
    gathered: Option<Stretch>,
    /// Since the start.
    errors: Errors,
}

impl Display {
    /// On standard error.
    pub(super) fn start(expected: Expected) -> Self {
        if !io::stderr().is_terminal() {
            return Self::lines_on(Box::new(io::stderr()), expected);
        }
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
        Self { screen: Screen::Bar(bar), expected, gathered: None, errors: Errors::default() }
    }

    /// In lines that stay.
    pub(super) fn lines_on(mut out: Box<dyn io::Write>, expected: Expected) -> Self {
        if let Some(awaited) = awaited(expected) {
            // A closed standard error is no reason to end a run.
            let _ = writeln!(out, "{awaited}");
        }
        Self { screen: Screen::Lines(out), expected, gathered: None, errors: Errors::default() }
    }

    /// Shows how long the start is still to come.
    pub(super) fn wait(&mut self) {
        if let (Screen::Bar(bar), Some(awaited)) = (&self.screen, awaited(self.expected)) {
            bar.set_message(awaited);
        }
    }

    /// Shows a stretch, or keeps it until there is more.
    pub(super) fn show(&mut self, next: Stretch) {
        // The run is over when a last one comes that is cut: its summary follows.
        if !next.is_whole {
            return;
        }
        let stretch = match self.gathered.take() {
            Some(earlier) => earlier.followed_by(&next),
            None => next,
        };
        let enough = match self.screen {
            Screen::Bar(_) => PICTURE,
            Screen::Lines(_) => LINE,
        };
        if stretch.length < enough {
            self.gathered = Some(stretch);
        } else {
            self.put(&stretch);
        }
    }

    /// Shows the rest.
    pub(super) fn end(mut self) {
        if let Some(stretch) = self.gathered.take() {
            self.put(&stretch);
        }
        if let Screen::Bar(bar) = self.screen {
            bar.finish_and_clear();
        }
    }

    fn put(&mut self, stretch: &Stretch) {
        let lines = self.lines(stretch);
        match &mut self.screen {
            Screen::Bar(bar) => {
                bar.set_position(stretch.end().as_secs());
                bar.set_message(lines.join("\n"));
            }
            Screen::Lines(out) => {
                let end = stretch.end().as_secs_f64();
                // A closed standard error is no reason to end a run.
                let _ = writeln!(out, "{end:>5.0} s  {}", lines.join("; "));
            }
        }
    }

    /// The stretch in lines: rate and latency, errors, connections.
    fn lines(&mut self, stretch: &Stretch) -> Vec<String> {
        let interval = &stretch.sum;
        let per_s = |count: u64| ratio(count as f64, stretch.length.as_secs_f64());
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
        if stretch.begin < self.expected.warmup {
            rate.push_str(" (warm-up)");
        }
        let states: Vec<String> = ConnectionState::ALL
            .into_iter()
            .map(|state| (state, interval.connections.count(state)))
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| format!("{count} {}", state.name()))
            .collect();
        let connections = if states.is_empty() { "none".to_owned() } else { states.join(", ") };
        vec![rate, self.error_line(&stretch.errors), format!("connections: {connections}")]
    }

    /// All errors so far by kind, and those that are new since the last line.
    fn error_line(&mut self, recent: &Errors) -> String {
        self.errors.merge(recent);
        let all = self.errors.total();
        match (all, recent.total()) {
            (0, _) => "errors: none".to_owned(),
            (_, 0) => format!("errors: {all} ({}), none new", kinds(&self.errors)),
            (_, new) if new == all => format!("errors: {all} ({})", kinds(&self.errors)),
            (_, new) => {
                format!("errors: {all} ({}), {new} new ({})", kinds(&self.errors), kinds(recent))
            }
        }
    }
}

/// What is awaited, and how long it is still to come; `None` once it has.
fn awaited(expected: Expected) -> Option<String> {
    let at = expected.start_at?;
    let left = at.duration_since(SystemTime::now()).ok()?;
    Some(format!("begins at {}, in {:.1} s", format_moment(at), left.as_secs_f64()))
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
