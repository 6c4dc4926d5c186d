//! One run: what it needs is made on the server, the threads are started, begin together, and are
//! merged into one record. The main thread only waits; it measures the server's process if told to.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, channel},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::{
    client::Endpoint,
    engine::{self, EngineThread},
    measure::{
        CpuRow, CpuSample, CpuSeries, Ending, Live, ProcessSample, Recording, ServerProcesses,
        ServerUse, Tally, process_cpu_time,
    },
    moment::format_moment,
    plan::{Load, Place, Plan},
    report::format,
    slo::AbortRule,
    sys,
    workload::{
        RunCommands, ShardResult, ShardSetup, ThreadReport, Workload, clean_up, prepare, run_shard,
    },
};

/// How often the main thread polls the clock and Ctrl-C.
const LOOK: Duration = Duration::from_millis(20);

/// From the last thread's readiness to the first operation, and more of it for each client, whose
/// task has to be started meanwhile.
const COUNTDOWN: Duration = Duration::from_millis(20);
const COUNTDOWN_PER_CLIENT: Duration = Duration::from_micros(50);

/// Before a start at a given time, preparation begins this long before it: sessions that wait
/// longer are ended by some servers.
const LEAD: Duration = Duration::from_secs(120);

/// How long beyond its end a run may take before its threads are given up as dead.
const GRACE: Duration = Duration::from_secs(30);

/// Everything that makes a run.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// When operations begin.
    pub plan: Plan,
    /// What they do.
    pub workload: Workload,
    /// The target.
    pub endpoint: Endpoint,
    /// Source addresses; empty: the system's choice.
    pub sources: Vec<IpAddr>,
    /// Silent connections beside the workload.
    pub silent: u64,
    /// One thread on each.
    pub cpus: Vec<usize>,
    /// The server's processes on this host.
    pub server: Option<ServerProcesses>,
    /// What ends the run early.
    pub abort_on: Option<AbortRule>,
    /// When the first operation is to begin; `None`: as soon as all is ready.
    pub start_at: Option<SystemTime>,
    /// Length of an interval of the record.
    pub interval: Duration,
}

/// What a run leaves.
#[derive(Debug)]
pub struct Finished {
    /// The merged record.
    pub recording: Recording,
    /// Unix time of the start.
    pub started: Duration,
    /// From the start until everything had ended.
    pub elapsed: Duration,
    /// Length of the measured part.
    pub measured: Duration,
    /// Why it ended.
    pub ending: Ending,
    /// The server's use of its host.
    pub server: Option<ServerUse>,
    /// CPU time of generator and server over time.
    pub cpu: Vec<CpuRow>,
    /// What could not be cleaned up.
    pub warning: Option<String>,
    /// Why it was ended early, if a rule did it.
    pub aborted: Option<String>,
}

impl RunSpec {
    /// How many threads the run uses: no more than there is work for.
    #[must_use]
    pub fn threads(&self) -> u64 {
        let part = self.plan.part;
        let work =
            part.share(self.plan.clients()).min(part.share(self.plan.count.unwrap_or(u64::MAX)));
        (self.cpus.len() as u64).min(work).max(1)
    }

    /// From when all is ready to the first operation.
    fn countdown(&self) -> Duration {
        match self.plan.load {
            Load::Closed { clients, .. } => {
                let clients = u32::try_from(self.plan.part.share(clients)).unwrap_or(u32::MAX);
                COUNTDOWN + COUNTDOWN_PER_CLIENT * clients
            }
            Load::Open { .. } => COUNTDOWN,
        }
    }
}

/// Runs `spec` until its end or until `interrupted`. Intervals go to `live` as they close.
///
/// # Errors
///
/// A sentence: the server refused the preparation, or this host a thread.
pub fn run(
    spec: &RunSpec,
    interrupted: &Arc<AtomicBool>,
    live: Option<&SyncSender<Live>>,
) -> Result<Finished, String> {
    sys::raise_locked_memory();
    engine::check()?;
    if let Some(at) = spec.start_at.and_then(|at| at.checked_sub(LEAD)) {
        wait_until(at, interrupted)?;
    }
    prepare(&spec.plan, &spec.workload, &spec.endpoint, &spec.sources, interrupted)
        .map_err(|error| format!("the preparation failed: {error}"))?;
    let finished = measure(spec, interrupted, live);
    let uploaders = match &finished {
        Ok((_, clients)) => clients.clone(),
        Err(_) => Vec::new(),
    };
    let cleaned =
        clean_up(&spec.plan, &spec.workload, &spec.endpoint, &spec.sources, uploaders, interrupted);
    let left = cleaned.err().map(|error| format!("files were left behind: {error}"));
    match (finished, left) {
        (Ok((finished, _)), warning) => Ok(Finished { warning, ..finished }),
        (Err(error), Some(left)) => Err(format!("{error}; {left}")),
        (Err(error), None) => Err(error),
    }
}

/// Returns at `at`.
///
/// # Errors
///
/// A sentence: somebody pressed Ctrl-C.
fn wait_until(at: SystemTime, interrupted: &AtomicBool) -> Result<(), String> {
    while let Ok(left) = at.duration_since(SystemTime::now()) {
        if interrupted.load(Ordering::Relaxed) {
            return Err("interrupted before it began".to_owned());
        }
        std::thread::sleep(left.min(LOOK));
    }
    Ok(())
}

/// When the first operation begins: on the monotonic clock, and as Unix time.
fn start_of(spec: &RunSpec, interrupted: &AtomicBool) -> Result<(Instant, Duration), String> {
    let countdown = spec.countdown();
    let Some(at) = spec.start_at else {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        return Ok((Instant::now() + countdown, now + countdown));
    };
    if let Some(ready) = at.checked_sub(countdown * 2) {
        wait_until(ready, interrupted)?;
    }
    // What the clock says now, not when the command was given: it may have been set meanwhile.
    let (now, clock) = (Instant::now(), SystemTime::now());
    match at.duration_since(clock) {
        Ok(left) if left >= countdown => {
            Ok((now + left, at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))
        }
        _ => {
            let late = (clock + countdown).duration_since(at).unwrap_or_default();
            Err(format!(
                "not ready at --start-at {}, but {} later: the preparation took that long; begin \
                 all parts anew at a later time",
                format_moment(at),
                format::duration_ns(late.as_secs_f64() * 1e9)
            ))
        }
    }
}

fn measure(
    spec: &RunSpec,
    interrupted: &AtomicBool,
    live: Option<&SyncSender<Live>>,
) -> Result<(Finished, Vec<u64>), String> {
    let mut server = ServerWatch::new(spec.server.clone(), spec.interval)?;
    let commands = Arc::new(RunCommands::default());
    let threads = Threads::start(spec, &commands, live)?;
    let (start, started) =
        match threads.ready(interrupted).and_then(|()| start_of(spec, interrupted)) {
            Ok(start) => start,
            Err(error) => {
                commands.stop.store(true, Ordering::Relaxed);
                // The failure of the preparation is the better answer than that of a thread.
                let _ = threads.join();
                return Err(error);
            }
        };
    if let Some(live) = live {
        // Full or gone: the watcher's loss.
        let _ = live.try_send(Live::Begins(started));
    }
    // Set once, here.
    let _ = commands.start.set(start);
    let Measured { ended, open, aborted } =
        threads.measured(spec, start, interrupted, &commands, &mut server);
    server.end(open, start.elapsed());
    commands.release.store(true, Ordering::Relaxed);
    let (recording, clients) = threads.join()?;
    let elapsed = start.elapsed();
    let sent = ended.saturating_duration_since(start + spec.plan.warmup);
    let finished = Finished {
        ending: match aborted {
            Some(_) => Ending::Aborted,
            None => ending(spec, &recording, interrupted),
        },
        recording,
        started,
        elapsed,
        measured: sent.min(spec.plan.duration),
        server: server.result(),
        cpu: server.cpu.rows(),
        warning: None,
        aborted,
    };
    Ok((finished, clients))
}

fn ending(spec: &RunSpec, recording: &Recording, interrupted: &AtomicBool) -> Ending {
    let counters = recording.counters();
    let ended = counters.operations + counters.abandoned + recording.errors().total();
    match spec.plan.count {
        _ if interrupted.load(Ordering::Relaxed) => Ending::Interrupted,
        Some(count) if ended < spec.plan.part.share(count) => Ending::Limit,
        _ => Ending::Complete,
    }
}

struct Threads {
    running: Vec<EngineThread<ShardResult>>,
    reports: Receiver<ThreadReport>,
    tallies: Vec<Arc<Tally>>,
}

/// The end of the measured part in all threads.
struct Measured {
    /// When the last one's was.
    ended: Instant,
    /// Connections open then.
    open: u64,
    aborted: Option<String>,
}

impl Threads {
    fn start(
        spec: &RunSpec,
        commands: &Arc<RunCommands>,
        live: Option<&SyncSender<Live>>,
    ) -> Result<Self, String> {
        let (sender, reports) = channel();
        let (mut running, mut tallies) = (Vec::new(), Vec::new());
        let threads = spec.threads();
        for (thread, cpu) in (0..threads).zip(&spec.cpus) {
            let tally = Arc::new(Tally::default());
            tallies.push(Arc::clone(&tally));
            let setup = ShardSetup {
                plan: spec.plan.clone(),
                workload: spec.workload.clone(),
                endpoint: spec.endpoint.clone(),
                sources: spec.sources.clone(),
                silent: spec.silent,
                place: Place::new(spec.plan.part, thread, threads),
                commands: Arc::clone(commands),
                reports: sender.clone(),
                interval: spec.interval,
                live: live.cloned(),
                tally,
            };
            let name = format!("ringload-{thread}");
            match engine::start(&name, Some(*cpu), move || run_shard(setup)) {
                Ok(thread) => running.push(thread),
                Err(error) => {
                    commands.stop.store(true, Ordering::Relaxed);
                    let _ = Self { running, reports, tallies }.join();
                    return Err(error.to_string());
                }
            }
        }
        Ok(Self { running, reports, tallies })
    }

    /// Waits until every thread has opened its sessions.
    fn ready(&self, interrupted: &AtomicBool) -> Result<(), String> {
        let mut waiting = self.running.len();
        while waiting > 0 {
            match self.reports.recv_timeout(LOOK) {
                Ok(ThreadReport::Ready(Ok(()))) => waiting -= 1,
                Ok(ThreadReport::Ready(Err(failure))) => {
                    return Err(format!("cannot open the sessions: {failure}"));
                }
                Ok(ThreadReport::Measured { .. }) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("the threads died".to_owned()),
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err("interrupted before it began".to_owned());
            }
        }
        Ok(())
    }

    /// Waits for the end of every thread's measured part.
    fn measured(
        &self,
        spec: &RunSpec,
        start: Instant,
        interrupted: &AtomicBool,
        commands: &RunCommands,
        server: &mut ServerWatch,
    ) -> Measured {
        let warm = start + spec.plan.warmup;
        let end = spec.plan.count.is_none().then(|| start + spec.plan.length());
        let latest = start + spec.plan.length() + spec.plan.drain + GRACE;
        let mut waiting = self.running.len();
        let mut measured = Measured { ended: start, open: 0, aborted: None };
        while waiting > 0 && Instant::now() < latest {
            // The server's use is read at the edges of the measured part, not up to one poll later.
            let now = Instant::now();
            let edges = [Some(warm), end].into_iter().flatten().filter(|edge| *edge > now);
            let next = (start + server.cpu.next_due()).saturating_duration_since(now);
            let look = edges.map(|edge| edge - now).fold(LOOK.min(next), Duration::min);
            match self.reports.recv_timeout(look) {
                Ok(ThreadReport::Measured { open: connections, at }) => {
                    waiting -= 1;
                    measured.open += connections;
                    measured.ended = measured.ended.max(at);
                }
                Ok(ThreadReport::Ready(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if now >= start {
                server.watch(now - start);
            }
            if now >= warm {
                server.begin();
            }
            if end.is_some_and(|end| now >= end) {
                server.stop();
            }
            if interrupted.load(Ordering::Relaxed) {
                commands.stop.store(true, Ordering::Relaxed);
            }
            let stopped = commands.stop.load(Ordering::Relaxed);
            if let Some(rule) = spec.abort_on.as_ref().filter(|_| !stopped && now > start) {
                measured.aborted = self.abort(rule, now - start);
                commands.stop.store(measured.aborted.is_some(), Ordering::Relaxed);
            }
        }
        measured
    }

    /// Whether `rule` ends the run now, and why.
    fn abort(&self, rule: &AbortRule, elapsed: Duration) -> Option<String> {
        let sum = |(a, b): (u64, u64), (c, d): (u64, u64)| (a + c, b + d);
        let (operations, errors) = self.tallies.iter().map(|tally| tally.read()).fold((0, 0), sum);
        rule.reached(operations, errors, elapsed).then(|| {
            format!(
                "aborted by --abort-on {rule}: {errors} of {} operations had failed after {:.1} s",
                operations + errors,
                elapsed.as_secs_f64()
            )
        })
    }

    fn join(self) -> Result<(Recording, Vec<u64>), String> {
        let mut recording = Recording::default();
        let mut clients = Vec::new();
        let mut failure = None;
        for thread in self.running {
            match thread.join() {
                Ok(result) => {
                    recording.merge(result.recording);
                    clients.extend(result.clients);
                }
                Err(error) => failure = Some(error.to_string()),
            }
        }
        failure.map_or(Ok((recording, clients)), Err)
    }
}

/// Reads the server's processes: their memory before any session and at the end, their CPU time at
/// both edges of the measured part.
struct ServerWatch {
    processes: Option<ServerProcesses>,
    memory_bytes: u64,
    before: Option<ProcessSample>,
    edge: Option<ProcessSample>,
    after: Option<(ProcessSample, u64)>,
    /// CPU time from the start on.
    cpu: CpuSeries,
}

impl ServerWatch {
    fn new(processes: Option<ServerProcesses>, interval: Duration) -> Result<Self, String> {
        let cpu = CpuSeries::new(interval);
        let mut watch =
            Self { processes, memory_bytes: 0, before: None, edge: None, after: None, cpu };
        if let Some(processes) = &watch.processes {
            let sample = watch.sample();
            let sample = sample.ok_or_else(|| format!("the server: there is no {processes}"))?;
            watch.memory_bytes = sample.memory_bytes;
        }
        Ok(watch)
    }

    fn sample(&self) -> Option<ProcessSample> {
        self.processes.as_ref().and_then(ServerProcesses::sample)
    }

    /// Reads the CPU time of both sides if that is due so long after the start.
    fn watch(&mut self, elapsed: Duration) {
        if elapsed >= self.cpu.next_due() {
            self.sample_cpu(elapsed);
        }
    }

    fn sample_cpu(&mut self, elapsed: Duration) {
        let server = self.processes.as_ref().and_then(ServerProcesses::cpu_time);
        self.cpu.add(CpuSample { at: elapsed, client: process_cpu_time(), server });
    }

    fn begin(&mut self) {
        if self.before.is_none() {
            self.before = self.sample();
        }
    }

    /// The measured part has ended, though operations may still be under way.
    fn stop(&mut self) {
        if self.edge.is_none() {
            self.edge = self.sample();
        }
    }

    fn end(&mut self, sessions: u64, elapsed: Duration) {
        if self.cpu.is_worth_a_last(elapsed) {
            self.sample_cpu(elapsed);
        }
        self.after = self.sample().map(|sample| (sample, sessions));
    }

    fn result(&self) -> Option<ServerUse> {
        let (after, sessions) = self.after?;
        let before = ProcessSample { memory_bytes: self.memory_bytes, ..self.before? };
        let after = ProcessSample { cpu: self.edge.unwrap_or(after).cpu, ..after };
        Some(ServerUse { processes: self.processes.clone()?, before, after, sessions })
    }
}
