//! What the measuring and reporting half promises, on synthetic time: no clock, no socket, no
//! sleep. Every expected figure is computed by hand from the made-up run.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use ringload::compare::versus;
use ringload::measure::{
    Channel, ConnectionState, Ending, ErrorKind, Latency, LatencyHistogram, Phase, Recorder,
    Recording, Resumption, RunResult, ThreadUse, Timeline, TlsHandshake, Window,
};
use ringload::report::{html, summary, write_hdr_log};

use crate::made_up::{MILLISECOND, NAMES, closed_run, details, full_run, window};
use crate::page;

/// A server that takes one operation at a time, asked at a constant rate.
struct Queue {
    interval: Duration,
    operations: u32,
    service: fn(u32) -> Duration,
}

impl Queue {
    /// (intended, started, ended) of each operation, since the start.
    fn times(&self) -> Vec<(Duration, Duration, Duration)> {
        let mut free_at = Duration::ZERO;
        (0..self.operations)
            .map(|index| {
                let intended = self.interval * index;
                let started = intended.max(free_at);
                free_at = started + (self.service)(index);
                (intended, started, free_at)
            })
            .collect()
    }
}

fn record(window: Window, times: &[(Duration, Duration, Duration)]) -> Recording {
    let mut recorder = Recorder::new(window);
    let at = |since: Duration| window.start + since;
    for (intended, started, ended) in times {
        recorder.record(Phase::Operation, at(*intended), at(*started), at(*ended));
    }
    let end = times.iter().map(|times| times.2).max().unwrap_or_default();
    recorder.finish(at(end), ThreadUse::default())
}

/// 100 operations a second for 10 s, 1 ms each, but the 501st takes 1 s: 111 operations are late,
/// the k-th of them by 1 s − 9 ms × k.
#[test]
fn a_stall_shows_at_every_percentile_that_it_touched() {
    let queue = Queue {
        interval: MILLISECOND * 10,
        operations: 1000,
        service: |index| if index == 500 { Duration::from_secs(1) } else { MILLISECOND },
    };
    let recording = record(window(Duration::ZERO), &queue.times());
    let Latency { corrected, uncorrected } = recording.latency(Phase::Operation);
    // The value of rank n from below is the (1000 − n)-th late one, counted from 0.
    let late = |k: u32| Duration::from_secs(1) - MILLISECOND * 9 * k;
    for (percentile, expected) in [
        (50.0, MILLISECOND),
        (88.9, MILLISECOND),
        (90.0, late(100)),
        (95.0, late(50)),
        (99.0, late(10)),
        (99.9, late(1)),
        (100.0, late(0)),
    ] {
        check_close(corrected, percentile, expected);
    }
    for percentile in [50.0, 90.0, 99.0, 99.9] {
        check_close(uncorrected, percentile, MILLISECOND);
    }
    check_close(uncorrected, 100.0, Duration::from_secs(1));
    assert_eq!((corrected.count(), uncorrected.count()), (1000, 1000));
}

#[track_caller]
fn check_close(histogram: &LatencyHistogram, percentile: f64, expected: Duration) {
    let found = Duration::from_nanos(histogram.percentile(percentile));
    let tolerance = expected / 500; // three significant digits, on both sides
    assert!(found.abs_diff(expected) <= tolerance, "p{percentile}: {found:?}, not {expected:?}");
}

/// Asked for twice what it can do for 10 s, a server needs 20 s: it never did 200 a second.
#[test]
fn a_backlog_worked_off_later_is_no_throughput() {
    let queue =
        Queue { interval: MILLISECOND * 5, operations: 2000, service: |_| MILLISECOND * 10 };
    let measured = Some(Duration::from_secs(10));
    let recording = record(Window { measured, ..window(Duration::ZERO) }, &queue.times());
    let mut details = details("login");
    details.warmup = Duration::ZERO;
    details.measured = Duration::from_secs(10);
    details.elapsed = Duration::from_secs(20);
    let result = RunResult::new(details, &recording);
    assert_eq!(result.totals.operations, 2000);
    let rate = result.totals.operations_per_s;
    assert!((rate - 100.0).abs() < 0.2, "{rate}");
    assert!((result.totals.offered_per_s - 200.0).abs() < 0.2, "{:?}", result.totals);
    assert_eq!((result.totals.backlog_begin, result.totals.backlog_end), (0, 1001));
    check_close(&recording.latency(Phase::Operation).corrected, 100.0, MILLISECOND * 10_005);
}

/// Edges of the measured part within an interval share it.
#[test]
fn a_rate_counts_what_lies_inside() {
    let queue = Queue { interval: MILLISECOND, operations: 4000, service: |_| MILLISECOND / 2 };
    for (warmup, measured) in [(0, 4000), (0, 2500), (1500, 1000), (1500, 2500), (3900, 50)] {
        let part =
            Window { measured: Some(MILLISECOND * measured), ..window(MILLISECOND * warmup) };
        let recording = record(part, &queue.times());
        let mut details = details("login");
        details.warmup = MILLISECOND * warmup;
        details.measured = MILLISECOND * measured;
        details.elapsed = Duration::from_secs(4);
        let rate = RunResult::new(details, &recording).totals.operations_per_s;
        assert!((rate - 1000.0).abs() < 1e-6, "{warmup} {measured}: {rate}");
    }
}

#[test]
fn merged_threads_count_exactly() {
    let window = window(Duration::from_secs(1));
    let thread = |number: u32| {
        let mut recorder = Recorder::new(window);
        for index in 0..10 * number {
            let at = window.start + Duration::from_millis(500) * index;
            recorder.connection(None, Some(ConnectionState::Connecting), at);
            recorder.bytes_up(3, at);
            recorder.bytes_down(5, at);
            recorder.tls(
                TlsHandshake {
                    channel: Channel::Data,
                    names: NAMES,
                    resumption: Resumption::Resumed,
                },
                at,
            );
            let timeline = Timeline::new(at, at);
            if index % 5 == 4 {
                let kind = ErrorKind::UnexpectedReply(550);
                timeline.fail(&mut recorder, Phase::Completion, kind, at, "550 no");
            } else {
                timeline.succeed(&mut recorder, at + MILLISECOND);
            }
            recorder.connection(Some(ConnectionState::Connecting), None, at + MILLISECOND);
        }
        let end = window.start + Duration::from_secs(20);
        recorder.finish(
            end,
            ThreadUse {
                cpu: Duration::from_secs(1),
                wall: Duration::from_secs(2),
                ..ThreadUse::default()
            },
        )
    };
    let mut merged = thread(1);
    merged.merge(thread(2));
    merged.merge(thread(4));
    // 70 events; of each thread the first two lie in the warm-up; each fifth fails.
    let counters = merged.counters();
    assert_eq!(counters.operations, 70 - 6 - 14);
    assert_eq!(merged.errors().total(), 14);
    assert_eq!(merged.errors().count(Phase::Completion, ErrorKind::UnexpectedReply(550)), 14);
    assert_eq!((counters.bytes_up, counters.bytes_down), (64 * 3, 64 * 5));
    assert_eq!(counters.connections, 64);
    assert_eq!(counters.resumption(Channel::Data).resumed, 64);
    assert_eq!(counters.handshakes().collect::<Vec<_>>(), [(Channel::Data, NAMES, 64)]);
    assert_eq!(merged.latency(Phase::Operation).corrected.count(), 50);
    // The intervals hold the warm-up too.
    let intervals = merged.intervals();
    assert_eq!(intervals.iter().map(|interval| interval.operations).sum::<u64>(), 56);
    assert_eq!(intervals.iter().flat_map(|interval| interval.errors).sum::<u64>(), 14);
    assert_eq!(intervals[0].operations, 6);
    assert_eq!(intervals[0].connections_peak, 3, "one in each of three threads");
}

#[test]
fn phases_add_up_in_both_latencies() {
    let window = window(Duration::ZERO);
    let mut recorder = Recorder::new(window);
    let late = MILLISECOND * 7;
    let started = window.start + late;
    let mut timeline = Timeline::new(window.start, started);
    timeline.queued(&mut recorder);
    let mut now = started;
    for (index, phase) in (1..).zip(&Phase::ALL[1..Phase::COUNT - 1]) {
        now += MILLISECOND * index;
        timeline.phase(&mut recorder, *phase, now);
    }
    timeline.succeed(&mut recorder, now);
    let recording = recorder.finish(now, ThreadUse::default());
    let sum = |which: fn(&Latency) -> &LatencyHistogram| -> u64 {
        Phase::ALL[..Phase::COUNT - 1]
            .iter()
            .map(|phase| which(recording.latency(*phase)).max())
            .sum()
    };
    for (which, expected) in [
        ((|latency| &latency.corrected) as fn(&Latency) -> &LatencyHistogram, MILLISECOND * 62),
        (|latency| &latency.uncorrected, MILLISECOND * 55),
    ] {
        check_close(which(recording.latency(Phase::Operation)), 100.0, expected);
        let sum = Duration::from_nanos(sum(which));
        assert!(sum.abs_diff(expected) < MILLISECOND / 10, "{sum:?} is not {expected:?}");
    }
    let interval = &recording.intervals()[0];
    let (operation, phases) = interval.phase_ns.split_last().unwrap();
    assert_eq!((interval.due, *operation), (1, phases.iter().sum()));
    assert_eq!(u128::from(*operation), (MILLISECOND * 62).as_nanos());
}

/// The intended start alone decides: not when it began, not when it ended.
#[test]
fn the_warm_up_ends_by_intention() {
    let window = window(Duration::from_secs(5));
    let second = Duration::from_secs(1);
    let recording = record(
        window,
        &[
            (second * 4, second * 4, second * 9),
            (second * 5 - MILLISECOND, second * 6, second * 7),
            (second * 5, second * 8, second * 9),
        ],
    );
    assert_eq!(recording.counters().operations, 1);
    check_close(&recording.latency(Phase::Operation).corrected, 100.0, second * 4);
    check_close(&recording.latency(Phase::Operation).uncorrected, 100.0, second);
}

/// An operation of the warm-up leaves none of its phases in the measured part.
#[test]
fn phases_of_one_operation_are_counted_together() {
    let window = window(Duration::from_secs(1));
    let mut recorder = Recorder::new(window);
    let start = window.start + MILLISECOND * 999;
    let mut timeline = Timeline::new(start, start);
    timeline.phase(&mut recorder, Phase::TcpConnect, start + MILLISECOND * 2);
    timeline.phase(&mut recorder, Phase::TlsHandshake, start + MILLISECOND * 4);
    let recording = recorder.finish(start + MILLISECOND * 4, ThreadUse::default());
    for phase in Phase::ALL {
        assert_eq!(recording.latency(phase).corrected.count(), 0, "{}", phase.name());
    }
}

#[test]
fn a_result_reads_back_as_it_was_written() {
    let result = full_run();
    let read = RunResult::from_json(&result.to_json()).unwrap();
    assert!(read == result, "the same to the last digit");
    // The histogram inside is the recording's, not only its figures.
    let operation = read.phase(Phase::Operation).unwrap();
    let decoded = operation.corrected.decode().unwrap();
    assert_eq!(decoded.count(), operation.corrected.count);
    assert_eq!(decoded.percentile(99.0), operation.corrected.p99_ns);
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let json = full_run().to_json();
    for (text, message) in [
        (json.replace("\"schema_version\": 2", "\"schema_version\": 3"), "version 3, wanted"),
        (json.replace("ringload-result", "ringload-versus"), "schema ringload-versus"),
        ("{}".to_owned(), "schema none version 0"),
        ("[]".to_owned(), "schema none version 0"),
        (json[..json.len() / 2].to_owned(), "not a result"),
        (json.replace("\"seed\"", "\"sead\""), "missing field `seed`"),
    ] {
        let error = RunResult::from_json(&text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    // Fields that came later may be missing: they did not raise the version.
    let mut older: serde_json::Value = serde_json::from_str(&json).unwrap();
    let client = older["client"].as_object_mut().unwrap();
    assert!(client.remove("was_starved").and(client.remove("thread_waiting")).is_some());
    for interval in older["intervals"].as_array_mut().unwrap() {
        let interval = interval.as_object_mut().unwrap();
        for field in ["states", "due", "phase_ns"] {
            assert!(interval.remove(field).is_some());
        }
    }
    let fields = older.as_object_mut().unwrap();
    assert!(fields.remove("objective").and(fields.remove("cpu")).is_some());
    assert!(RunResult::from_json(&older.to_string()).is_ok());
}

const SCHEMA: &str = include_str!("../../SCHEMA.md");

/// Every key of the JSON is documented by its path, and every documented path exists.
#[test]
fn the_schema_documents_every_field_and_no_other() {
    let (result_part, versus_part) =
        SCHEMA.split_once("## TWO TARGETS IN TURN").expect("the section on versus");
    let run = full_run();
    // Of what only one kind of loop has, the other has null.
    let closed = closed_run(MILLISECOND, Duration::from_secs(1)).to_json();
    let mut part: serde_json::Value = serde_json::from_str(&closed).unwrap();
    part.as_object_mut().unwrap().retain(|key, _| key == "expected_interval");
    check_documented(&[run.to_json(), part.to_string()], result_part);
    let mut other = run.clone();
    other.tls[0].suite = "another".to_owned();
    let mut versus = versus("a", vec![run], "b", vec![other]);
    (versus.results_a, versus.results_b) = (Vec::new(), Vec::new());
    check_documented(&[versus.to_json()], versus_part);
}

/// A server that stops for 1 s of 2: one of a thousand latencies shows it, though half the time a
/// client that comes would have waited.
#[test]
fn a_closed_loop_says_what_it_leaves_out() {
    let result = closed_run(MILLISECOND, Duration::from_secs(1));
    let operation = &result.phases[&Phase::Operation];
    assert!(operation.corrected.p99_ns < 2_000_000);
    let expected = result.expected_interval.as_ref().unwrap();
    assert!(!expected.given && expected.interval_ns.abs_diff(1_000_000) < 2000, "{expected:?}");
    let p99 = expected.operation.p99_ns;
    assert!(p99.abs_diff(980_000_000) < 3_000_000, "{p99}");
    assert!(expected.operation.count.abs_diff(1999) < 3, "{}", expected.operation.count);
    for text in [summary(&result), html(&result)] {
        assert!(text.contains("coordinated omission"), "{text}");
        assert!(text.contains("made up for"), "{text}");
    }
    assert!(result.to_json().contains("\"coordinated_omission\": true"));
    let open = full_run();
    assert_eq!(open.expected_interval, None);
    assert!(!summary(&open).contains("coordinated omission"));
}

/// What is divided by what: at twice what the server can do, and with files that take longer than
/// the measured part, CPU time and work are of the same time.
#[test]
fn the_cost_of_an_operation_is_that_of_the_measured_part() {
    for warmup in [0, 5] {
        let part = Window {
            measured: Some(Duration::from_secs(3)),
            ..window(Duration::from_secs(warmup))
        };
        for microseconds in [2000, 1000, 500] {
            check_cost(part, handshakes(part, Duration::from_micros(microseconds)), None);
        }
        check_cost(part, files(part), Some(1.0));
    }
}

type Recorded = (Recorder, Duration);

/// Operations due at every `interval`; a thousand connections at most, and a server that takes 1 ms
/// for each, one after another: what waits there costs nothing yet.
fn handshakes(part: Window, interval: Duration) -> Recorded {
    let (begin, end) = (part.begin(), part.end().unwrap());
    let mut recorder = Recorder::new(part);
    let (mut cpu, mut ends) = (Duration::ZERO, Vec::new());
    let mut intended = part.start;
    while intended < end {
        let freed = ends.len().checked_sub(1000).map_or(intended, |index| ends[index]);
        let started = intended.max(freed);
        let served = ends.last().map_or(started, |last| started.max(*last));
        let ended = served + MILLISECOND;
        cpu += end.min(ended).saturating_duration_since(begin.max(served));
        Timeline::new(intended, started).succeed(&mut recorder, ended);
        ends.push(ended);
        intended += interval;
    }
    (recorder, cpu)
}

/// Files of 1 MB that take 4 s and 1 ms of CPU time, evenly, three at once.
fn files(part: Window) -> Recorded {
    let (begin, end) = (part.begin(), part.end().unwrap());
    let length = Duration::from_secs(4);
    let mut recorder = Recorder::new(part);
    let mut cpu = Duration::ZERO;
    for lane in 0..3 {
        let mut started = part.start + length / 3 * lane;
        while started < end {
            let ended = started + length;
            let inside = end.min(ended).saturating_duration_since(begin.max(started));
            cpu += MILLISECOND.mul_f64(inside.as_secs_f64() / length.as_secs_f64());
            let mut timeline = Timeline::new(started, started);
            for step in 0..100 {
                timeline.bytes_down(&mut recorder, 10_000, started + length * step / 100);
            }
            timeline.succeed(&mut recorder, ended);
            started = ended;
        }
    }
    (recorder, cpu)
}

#[track_caller]
fn check_cost(part: Window, (recorder, cpu): Recorded, by_gb: Option<f64>) {
    let (begin, end) = (part.begin(), part.end().unwrap());
    let thread = ThreadUse { cpu, wall: end - begin, ..ThreadUse::default() };
    let mut details = details("download");
    (details.measured, details.warmup) = (end - begin, begin - part.start);
    let server = details.server.as_mut().unwrap();
    (server.before.cpu, server.after.cpu) = (MILLISECOND, MILLISECOND + cpu);
    let result = RunResult::new(details, &recorder.finish(end, thread));
    let server = result.server.unwrap();
    for found in [result.client.cpu_us_per_operation, server.cpu_us_per_operation] {
        assert!((found - 1000.0).abs() < 30.0, "{found} µs instead of 1000");
    }
    for found in [result.client.cpu_s_per_gb, server.cpu_s_per_gb] {
        assert_eq!(found.is_some(), by_gb.is_some());
        let found = found.unwrap_or_default() - by_gb.unwrap_or_default();
        assert!(found.abs() < 0.03, "{found} s by GB too much");
    }
}

#[track_caller]
fn check_documented(jsons: &[String], documentation: &str) {
    let mut found = BTreeSet::new();
    for json in jsons {
        collect_paths(&serde_json::from_str(json).unwrap(), "", &mut found);
    }
    // Null in the first.
    found.remove("expected_interval");
    if jsons.len() > 1 {
        found.insert("expected_interval".to_owned());
    }
    let documented: BTreeSet<String> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        // Rows of three columns are fields; those of two list phases and classes.
        .filter(|(_, rest)| rest.matches('|').count() == 2)
        .map(|(path, _)| path.to_owned())
        .collect();
    let missing: Vec<_> = found.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&found).collect();
    assert!(missing.is_empty() && stale.is_empty(), "undocumented {missing:?}, stale {stale:?}");
}

/// Paths as the schema writes them: `[]` for elements, `<…>` for keys that are data, and a latency
/// once for all places that have one.
fn collect_paths(value: &serde_json::Value, path: &str, paths: &mut BTreeSet<String>) {
    let data_key = match path {
        "phases" => Some("<phase>"),
        "workload.parameters" => Some("<option>"),
        "resumption" => Some("<channel>"),
        "kinds" => Some("<kind>"),
        "unfinished" => Some("<phase>"),
        "intervals[].errors" => Some("<class>"),
        "intervals[].phase_ns" => Some("<phase>"),
        "intervals[].states" => Some("<state>"),
        _ => None,
    };
    match value {
        serde_json::Value::Object(fields) => {
            let is_latency = fields.contains_key("stdev_ns") && path != "latency";
            if is_latency {
                paths.insert(path.to_owned());
                return collect_paths(value, "latency", paths);
            }
            // Objects that may be absent as a whole.
            if ["server", "part", "totals.within", "objective"].contains(&path) {
                paths.insert(path.to_owned());
            }
            for (key, value) in fields {
                let key = data_key.unwrap_or(key);
                let separator = if path.is_empty() { "" } else { "." };
                collect_paths(value, &format!("{path}{separator}{key}"), paths);
            }
        }
        serde_json::Value::Array(elements) => {
            if elements.is_empty() {
                paths.insert(format!("{path}[]"));
            }
            for element in elements {
                collect_paths(element, &format!("{path}[]"), paths);
            }
        }
        _ => {
            paths.insert(path.to_owned());
        }
    }
}

/// The lists of names in the schema are the code's.
#[test]
fn the_schema_lists_every_phase_and_kind_of_error() {
    for phase in Phase::ALL {
        assert!(SCHEMA.contains(&format!("\n| `{}` | ", phase.name())), "{}", phase.name());
    }
    for kind in [
        ErrorKind::CertificateRejected,
        ErrorKind::ConnectionClosed,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectRefused,
        ErrorKind::ConnectTimeout,
        ErrorKind::ConnectUnreachable,
        ErrorKind::DataConnectRefused,
        ErrorKind::DataConnectTimeout,
        ErrorKind::DataTimeout,
        ErrorKind::DataTruncated,
        ErrorKind::FdLimit,
        ErrorKind::LocalAddress,
        ErrorKind::ReplyParse,
        ErrorKind::ReplyTimeout,
        ErrorKind::ResumptionRefused,
        ErrorKind::System(5),
        ErrorKind::TlsAlert(40),
        ErrorKind::TlsProtocol,
        ErrorKind::TlsTimeout,
        ErrorKind::UnexpectedReply(421),
        ErrorKind::VerificationMismatch,
    ] {
        let row = format!("\n| `{}` | ", kind.class().name());
        let row = SCHEMA.split_once(&row).unwrap().1.lines().next().unwrap();
        assert!(row.contains(&format!("`{}`", kind.name())), "{} in: {row}", kind.name());
    }
}

#[test]
fn the_histogram_log_reads_back() {
    let result = full_run();
    let mut log = Vec::new();
    write_hdr_log(&result, &mut log).unwrap();
    let mut by_tag: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    let mut begins = Vec::new();
    let mut times = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        match entry.unwrap() {
            LogEntry::Interval(interval) => {
                let tag = interval.tag().map_or("", |tag| tag.as_str()).to_owned();
                let bytes = base64_decode(interval.encoded_histogram());
                let histogram: Histogram<u64> =
                    Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                let max_ms = histogram.max() as f64 / 1e6;
                // Three digits behind the point.
                let tolerance = max_ms / 500.0 + 0.001;
                assert!((interval.max() - max_ms).abs() <= tolerance, "the maximum is in ms");
                begins.push(interval.start_timestamp());
                match by_tag.get_mut(&tag) {
                    Some(sum) => sum.add(&histogram).unwrap(),
                    None => drop(by_tag.insert(tag, histogram)),
                }
            }
            LogEntry::StartTime(time) | LogEntry::BaseTime(time) => times.push(time),
        }
    }
    assert_eq!(times, [Duration::from_secs(1_795_000_000); 2]);
    assert!(begins.is_sorted());
    assert_eq!(by_tag.len(), 1 + 2 * Phase::COUNT, "intervals, and each phase in two latencies");
    for (phase, latency) in &result.phases {
        for (kind, summary) in [("", &latency.corrected), ("uncorrected.", &latency.uncorrected)] {
            let logged = &by_tag[&format!("total.{kind}{}", phase.name())];
            assert_eq!(logged.len(), summary.count);
            assert_eq!(logged.value_at_percentile(99.0).min(logged.max()), summary.p99_ns);
        }
    }
    // What tools read without options is what the JSON result says.
    assert_eq!(by_tag[""], by_tag["total.operation"]);
    let all: u64 = result.intervals.iter().map(|row| row.operations).sum();
    assert!(by_tag[""].len() < all, "the warm-up is in none of them");
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// A run in which nothing happened is reported too.
#[test]
fn an_empty_run_has_every_report() {
    let recorder = Recorder::new(window(Duration::ZERO));
    let start = recorder.window().start;
    let recording = recorder.finish(start, ThreadUse::default());
    let mut details = details("idle");
    details.measured = Duration::ZERO;
    details.elapsed = Duration::ZERO;
    details.server = None;
    details.ending = Ending::Interrupted;
    let result = RunResult::new(details, &recording);
    assert!(RunResult::from_json(&result.to_json()).unwrap() == result);
    assert!(summary(&result).contains("No operation got through its first phase"));
    assert!(summary(&result).contains("interrupted"));
    page::parse_page(&html(&result));
    let mut log = Vec::new();
    write_hdr_log(&result, &mut log).unwrap();
    assert!(IntervalLogIterator::new(&log).all(|entry| entry.is_ok()));
}

#[test]
fn the_summary_says_what_was_measured() {
    let text = summary(&full_run());
    for part in [
        "download (open loop) on 127.0.0.1:990 (implicit), 55.0 s after 5.0 s of warm-up",
        "whole operation (uncorrected)",
        "generator's lateness",
        "reply in login: unexpected_reply 421, first: 421 <b>too many</b> users",
        "control: TLSv1.3 TLS13_AES_128_GCM_SHA256 X25519",
        "data resumed: 100 % of handshakes",
        "Highest rate that held, three times: 1000/s",
        "only upload",
        "only download",
        " under way at the end (2 in last byte)",
        ", certificate ECDSA P-256",
        " per GB of payload",
        "the client was not the limit",
        "102 KiB for each of 200 sessions",
        "seed 42",
        "command      ringload download 127.0.0.1:990 --rate 1000",
    ] {
        assert!(text.contains(part), "{part}\nnot in\n{text}");
    }
    for line in text.lines() {
        assert!(!line.ends_with(' '), "{line:?}");
    }
}

/// The generator admits its limit exactly when one of its three signs is there, and tells its own
/// work from what others took.
#[test]
fn the_client_says_when_it_was_the_limit() {
    struct Signs {
        busy: u64,
        waiting: u64,
        lateness: Duration,
        own_errors: bool,
    }
    #[track_caller]
    fn check(signs: &Signs, (own, others): (bool, bool), reason: Option<&str>) {
        let window = window(Duration::ZERO);
        let mut recorder = Recorder::new(window);
        for _ in 0..100 {
            let end = window.start + MILLISECOND * 20;
            recorder.record(Phase::Operation, window.start, window.start, end);
            recorder.lateness(window.start, window.start + signs.lateness);
        }
        if signs.own_errors {
            let kind = ErrorKind::FdLimit;
            recorder.error(Phase::TcpConnect, kind, window.start, window.start, "");
        }
        let thread = ThreadUse {
            cpu: Duration::from_millis(signs.busy * 10),
            waited: Duration::from_millis(signs.waiting * 10),
            wall: Duration::from_secs(1),
        };
        let recording = recorder.finish(window.start, thread);
        let client = RunResult::new(details("login"), &recording).client;
        let verdict = (client.was_limit, client.was_starved);
        assert_eq!(verdict, (own, others), "{:?}", client.limit_reasons);
        assert_eq!(client.limit_reasons.len(), usize::from(reason.is_some()));
        if let Some(reason) = reason {
            assert!(client.limit_reasons[0].contains(reason), "{:?}", client.limit_reasons);
        }
    }
    let (none, own, others) = ((false, false), (true, false), (false, true));
    let calm =
        Signs { busy: 60, waiting: 0, lateness: Duration::from_micros(80), own_errors: false };
    check(&calm, none, None);
    check(&Signs { busy: 84, ..calm }, none, None);
    check(&Signs { busy: 85, ..calm }, own, Some("used 85 % of its core"));
    // A little waiting alone is no harm; a thread that always ran or waited had no room.
    check(&Signs { busy: 70, waiting: 15, ..calm }, others, Some("waited for 15 %"));
    check(&Signs { waiting: 19, ..calm }, none, None);
    check(&Signs { waiting: 20, ..calm }, others, Some("waited for 20 %"));
    check(&Signs { waiting: 35, ..calm }, others, Some("waited for 35 %"));
    check(&Signs { busy: 96, waiting: 4, ..calm }, own, Some("used 96 % of its core"));
    // The median operation takes 20 ms: a tenth of it is 2 ms.
    check(&Signs { lateness: MILLISECOND * 19 / 10, ..calm }, none, None);
    let late = Signs { lateness: MILLISECOND * 3, ..calm };
    check(&late, own, Some("more than 3.0 ms late"));
    check(&Signs { waiting: 9, ..late }, others, Some("waited 9 % of the time"));
    check(&Signs { own_errors: true, ..calm }, own, Some("own host"));
}

/// Neither a fuller thread beside it nor the lateness of its own sends hides what a thread was.
#[test]
fn each_thread_is_judged_by_itself() {
    #[track_caller]
    fn check(threads: &[(u64, u64)], lateness: Duration, own: bool, others: bool) {
        let window = window(Duration::ZERO);
        let mut recording = Recording::default();
        for (busy, waiting) in threads {
            let mut recorder = Recorder::new(window);
            let end = window.start + MILLISECOND * 20;
            recorder.record(Phase::Operation, window.start, window.start, end);
            recorder.lateness(window.start, window.start + lateness);
            let percent = |share: u64| Duration::from_millis(share * 10);
            let (cpu, waited) = (percent(*busy), percent(*waiting));
            let thread = ThreadUse { cpu, waited, wall: Duration::from_secs(1) };
            recording.merge(recorder.finish(end, thread));
        }
        let client = RunResult::new(details("login"), &recording).client;
        let verdict = (client.was_limit, client.was_starved);
        assert_eq!(verdict, (own, others), "{:?}", client.limit_reasons);
    }
    check(&[(70, 0), (10, 30)], Duration::ZERO, false, true);
    check(&[(97, 0), (70, 25)], Duration::ZERO, true, true);
    check(&[(97, 3)], MILLISECOND * 3, true, false);
    check(&[(50, 1), (60, 5)], MILLISECOND * 3, false, true);
}
