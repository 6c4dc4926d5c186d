//! Why a run counts as failed, whatever its objectives say.

use std::time::Duration;

use super::super::phase::Phase;
use super::super::recording::Recording;
use super::rows::{Details, ErrorRow};

/// Failures at the end of which as many or more mean that the server has gone, if they are also
/// [`SHARE`] of all.
const ERRORS: u64 = 10;

/// And the share of all operations, or of the measured time, that they must be.
const SHARE: f64 = 0.1;

/// Shorter silences say nothing.
const SILENCE: Duration = Duration::from_secs(1);

/// One sentence for each reason; empty for a run that did what it was asked.
pub(super) fn problems(
    details: &Details,
    recording: &Recording,
    errors: &[ErrorRow],
) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(details.aborted.clone());
    let counters = &recording.counters;
    let held = details.cut_as_asked
        && recording.unfinished.iter().any(|(phase, count)| *count > 0 && is_under_way(*phase));
    if counters.operations + counters.abandoned == 0 && !held {
        problems.push(match errors.first() {
            Some(first) => format!(
                "nothing succeeded: {} operations failed, most in {}: {}{}{}",
                recording.errors.total(),
                first.phase.title(),
                first.kind,
                first.code.map(|code| format!(" {code}")).unwrap_or_default(),
                if first.example.is_empty() {
                    String::new()
                } else {
                    format!(": {}", first.example)
                }
            ),
            None => "nothing succeeded: no operation of the measured part ended".to_owned(),
        });
    } else if let Some(silence) = gone_for(details, recording) {
        problems.push(format!(
            "the server has gone: nothing succeeded in the last {:.1} s, and {} operations failed",
            silence.as_secs_f64(),
            recording.ends.errors_since
        ));
    }
    problems
}

/// Phases in which a silent or slow client is what it is meant to be.
const fn is_under_way(phase: Phase) -> bool {
    !matches!(
        phase,
        Phase::Queued | Phase::TcpConnect | Phase::TlsHandshake | Phase::Greeting | Phase::Login
    )
}

/// How long the server had been gone when the run ended, if it had.
fn gone_for(details: &Details, recording: &Recording) -> Option<Duration> {
    let ends = recording.ends;
    let silence = ends.last_error?.checked_duration_since(ends.last_success?)?;
    let all = recording.counters.operations + recording.errors.total();
    let since = ends.errors_since;
    let many = since >= ERRORS && since as f64 >= all as f64 * SHARE;
    let long = silence >= SILENCE.max(details.measured.mul_f64(SHARE));
    (since > 0 && (many || long)).then_some(silence)
}
