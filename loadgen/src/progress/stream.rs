//! `--stream`: a line of JSON for each interval, for programs that watch a run. `SCHEMA.md`
//! documents it.

use std::io;
use std::time::Duration;

use serde::Serialize;

use super::gather::Stretch;
use crate::measure::IntervalRow;

/// Writes the lines.
pub(super) struct Stream {
    /// `None` once nobody reads it.
    out: Option<Box<dyn io::Write + Send>>,
    warmup: Duration,
    started: Duration,
    problem: Option<io::Error>,
}

#[derive(Serialize)]
struct Line {
    /// When the interval began.
    unix_ms: u64,
    #[serde(flatten)]
    row: IntervalRow,
}

impl Stream {
    pub(super) fn new(out: Box<dyn io::Write + Send>, warmup: Duration) -> Self {
        Self { out: Some(out), warmup, started: Duration::ZERO, problem: None }
    }

    /// The run begins at this Unix time.
    pub(super) fn begins(&mut self, started: Duration) {
        self.started = started;
    }

    pub(super) fn write(&mut self, stretch: &Stretch) {
        let Some(out) = &mut self.out else { return };
        let unix = self.started + stretch.begin;
        let line = Line {
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            row: IntervalRow::new(&stretch.sum, self.warmup, stretch.end()),
        };
        let Ok(text) = serde_json::to_string(&line) else {
            unreachable!("all keys are text and all values plain");
        };
        if let Err(error) = out.write_all((text + "\n").as_bytes()).and_then(|()| out.flush()) {
            // A reader that has gone (`| head`) is no failure of the run.
            self.problem = Some(error).filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
            self.out = None;
        }
    }

    /// Whether all of it was written.
    pub(super) fn end(self) -> Result<(), String> {
        self.problem.map_or(Ok(()), |error| Err(format!("--stream: {error}")))
    }
}
