//! Made-up runs on synthetic time. They read the clock once, for an origin; nothing depends on it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringload::measure::{
    Channel, ConnectionState, CpuRow, Details, Ending, ErrorKind, Machine, PartOf, PartRow, Phase,
    ProcessSample, RateStep, Recorder, Recording, Resumption, RunResult, ServerProcesses,
    ServerUse, StepPurpose, StepVerdict, Target, ThreadUse, Timeline, TlsHandshake, TlsNames,
    Window, Workload,
};
use ringload::slo::Objective;

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

pub(crate) const NAMES: TlsNames = TlsNames {
    version: "TLSv1.3",
    suite: "TLS13_AES_128_GCM_SHA256",
    group: "X25519",
    certificate: "ECDSA P-256",
};

pub(crate) fn window(warmup: Duration) -> Window {
    Window { start: Instant::now(), warmup, measured: None }
}

/// A made-up run that has every part of a result: 2 threads, 60 s, a stall, errors, a rate search.
pub(crate) fn full_run() -> RunResult {
    let mut window = window(Duration::from_secs(5));
    window.measured = Some(Duration::from_secs(55));
    let mut recording = busy_thread(window, 1);
    recording.merge(busy_thread(window, 2));
    let mut result = RunResult::new(details("download"), &recording);
    let objective: Objective = "p99<50ms,rate>100".parse().unwrap();
    result.objective = Some(objective.result(&result));
    let steps = [
        (500.0, 3, StepPurpose::Scout, StepVerdict::TooFew),
        (2000.0, 420, StepPurpose::Scout, StepVerdict::Broken),
        (1000.0, 9, StepPurpose::Confirm, StepVerdict::Held),
    ];
    result.rate_held = Some(1000.0);
    result.parts.push(PartRow {
        number: 1,
        file: "1.json".to_owned(),
        command_line: vec!["ringload".to_owned()],
        target: "127.0.0.1:990".to_owned(),
        machine: "Example CPU, 2 CPUs, Linux 6.1".to_owned(),
        ending: Ending::Complete,
        operations: 15_000,
        errors: 3,
        operations_per_s: 500.0,
        client_was_limit: false,
    });
    for (rate, p99, purpose, verdict) in steps {
        let held = verdict == StepVerdict::Held;
        result.rate_search.push(RateStep {
            rate,
            purpose,
            verdict,
            seconds: 2.0,
            offered: rate,
            reached: rate * 0.99,
            held,
            reasons: if held { Vec::new() } else { vec!["p99<50ms: measured 420 ms".to_owned()] },
            conditions: result
                .objective
                .iter()
                .flat_map(|asked| asked.conditions.clone())
                .collect(),
            samples: 2000,
            p50_ns: 1_100_000,
            p99_ns: p99 * 1_000_000,
            max_ns: p99 * 3_000_000,
            errors: 0,
            client_was_limit: false,
        });
    }
    result
}

pub(crate) fn details(workload: &str) -> Details {
    let sample = |seconds: u64, mebibytes: u64| ProcessSample {
        cpu: Duration::from_secs(seconds),
        memory_bytes: mebibytes << 20,
        processes: 1,
    };
    Details {
        version: "0.1.0".to_owned(),
        command_line: ["ringload", workload, "127.0.0.1:990", "--rate", "1000"]
            .map(str::to_owned)
            .to_vec(),
        seed: 42,
        started: Duration::from_secs(1_795_000_000),
        elapsed: Duration::from_millis(60_040),
        warmup: Duration::from_secs(5),
        measured: Duration::from_secs(55),
        ending: Ending::Complete,
        target: Target {
            host: "127.0.0.1".to_owned(),
            port: 990,
            security: "implicit".to_owned(),
            greeting: "220 <Tom's> & \"friends\" ready".to_owned(),
        },
        workload: Workload {
            name: workload.to_owned(),
            meaning: "Clients that log in, fetch one file and leave.".to_owned(),
            loop_kind: "open".to_owned(),
            coordinated_omission: false,
            parameters: BTreeMap::from([("rate".to_owned(), "1000".to_owned())]),
        },
        server: Some(ServerUse {
            processes: ServerProcesses::Tree(4711),
            before: sample(10, 40),
            after: sample(50, 60),
            sessions: 200,
        }),
        cpu: (0..60).map(|second| cpu_row(f64::from(second))).collect(),
        machine: Machine {
            cpu_model: "Example CPU".to_owned(),
            cpus: 2,
            memory_bytes: 24 << 30,
            kernel: "Linux 6.1".to_owned(),
            architecture: "x86_64".to_owned(),
        },
        cut_as_asked: false,
        expected_interval: None,
        think: Duration::ZERO,
        aborted: None,
        asked: Some(Duration::from_secs(55)),
        part: Some(PartOf { number: 1, of: 2 }),
    }
}

fn cpu_row(start_s: f64) -> CpuRow {
    CpuRow { start_s, seconds: 1.0, client_s: 0.7, server_s: Some(0.8 + start_s / 600.0) }
}

/// 500 operations a second in one thread, with some randomness of a fixed seed, a stall of 1 s at
/// 30 s, and errors from 40 s to 45 s.
fn busy_thread(window: Window, seed: u64) -> Recording {
    let mut recorder = Recorder::new(window);
    let mut random = seed;
    let mut next = move || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let stall = window.start + Duration::from_secs(30)..window.start + Duration::from_secs(31);
    for index in 0..30_000_u32 {
        let intended = window.start + MILLISECOND * 2 * index;
        let noticed = intended + Duration::from_nanos(next() % 90_000);
        let started = if stall.contains(&noticed) { stall.end } else { noticed };
        recorder.lateness(intended, noticed);
        recorder.connection(None, Some(ConnectionState::Connecting), started);
        let mut timeline = Timeline::new(intended, started);
        timeline.of_kind(if index % 3 == 0 { "upload" } else { "download" });
        timeline.queued(&mut recorder);
        let mut now = started;
        if (40..45).contains(&(index / 500)) && next() % 50 == 0 {
            let (kind, text) = match next() % 3 {
                0 => (ErrorKind::UnexpectedReply(421), "421 <b>too many</b> users"),
                1 => (ErrorKind::TlsAlert(40), "handshake_failure"),
                _ => (ErrorKind::ConnectionReset, ""),
            };
            timeline.fail(&mut recorder, Phase::Login, kind, now, text);
        } else {
            for (step, phase) in (1..).zip(&Phase::ALL[1..Phase::COUNT - 1]) {
                let tail = if next() % 900 == 0 { 5_000_000 } else { 0 };
                now += Duration::from_nanos(20_000 * step + next() % 30_000 + tail);
                timeline.phase(&mut recorder, *phase, now);
            }
            for (channel, resumption) in
                [(Channel::Control, Resumption::NotOffered), (Channel::Data, Resumption::Resumed)]
            {
                recorder.tls(TlsHandshake { channel, names: NAMES, resumption }, now);
            }
            recorder.bytes_down(65_536, now);
            recorder.bytes_up(1000 + next() % 100, now);
            timeline.succeed(&mut recorder, now);
        }
        recorder.connection(Some(ConnectionState::Connecting), None, now);
    }
    let last = window.start + Duration::from_secs(59);
    Timeline::new(last, last).cut(&mut recorder, Phase::LastByte, last + MILLISECOND);
    let thread = ThreadUse {
        cpu: Duration::from_secs(20 + seed),
        wall: Duration::from_secs(55),
        ..ThreadUse::default()
    };
    recorder.finish(window.start + Duration::from_millis(60_040), thread)
}

/// One client that waits for each operation, at a server that takes `usual` but once `stall`.
pub(crate) fn closed_run(usual: Duration, stall: Duration) -> RunResult {
    let window = window(Duration::ZERO);
    let mut recorder = Recorder::new(window);
    let mut now = window.start;
    for index in 0..1000 {
        let begun = now;
        now += if index == 500 { stall } else { usual };
        Timeline::new(begun, begun).succeed(&mut recorder, now);
    }
    let mut details = details("login");
    details.workload.loop_kind = "closed".to_owned();
    details.workload.coordinated_omission = true;
    RunResult::new(details, &recorder.finish(now, ThreadUse::default()))
}
