//! The run that the options ask for: targets resolved and admitted, files read, numbers bounded.

use std::{
    collections::BTreeMap,
    env,
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use rustls::pki_types::ServerName;

use super::{
    Command, Common, CostOptions, KEY_LOG_VARIABLE, LoadOptions, OutputOptions, PASSWORD_VARIABLE,
    ServerOptions, SlowOptions, TlsArguments,
};
use crate::{
    client::{
        AuthWord, DataMode, Endpoint, Opening, Pace, TlsOptions, TlsSettings, Trace, User, Users,
        Verification,
    },
    engine::available_cpus,
    guard,
    measure::ServerProcesses,
    moment::format_moment,
    plan::{Arrivals, Load, Part, Plan, Profile},
    report::format,
    run::RunSpec,
    slo::Objective,
    sys,
    verify::Expected,
    workload::{Files, Kind, Paths, Replay, Scenario, Workload},
};

/// Clients of a closed loop.
const CLIENTS: u64 = 10;

/// Connections of an open loop.
const CONNECTIONS: u64 = 1000;

/// Files of a directory made for listings.
const ENTRIES: u64 = 100;

/// Latest start, from now on.
const START_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A run as asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to run.
    pub spec: RunSpec,
    /// The host as given.
    pub host: String,
    /// Everything that shapes the workload, by option name.
    pub parameters: BTreeMap<String, String>,
    /// What to do with the result, and the search.
    pub common: Common,
    /// What somebody should know before it runs, a sentence each.
    pub warnings: Vec<String>,
}

impl Command {
    /// The run that a workload's options ask for; `None` for the other commands.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn request(&self) -> Result<Option<Request>, String> {
        let Some((common, kind)) = self.kind()? else {
            return Ok(None);
        };
        let mut files = self.files(common)?;
        let mut load = common.load.clone();
        if let Kind::Mixed(scenario) = &kind {
            files.sizes = scenario.sizes().collect();
            files.count = files.sizes.len() as u64;
            let closed = load.clients.is_some() || load.think.is_some();
            if !closed && !load.is_open() {
                load.rate = scenario.rate;
            }
            if load.is_open() {
                load.arrivals = load.arrivals.or(scenario.arrivals);
            } else {
                load.think = load.think.or(scenario.think);
            }
        }
        if matches!(kind, Kind::Replay(_)) && load.is_said() {
            return Err(
                "a log has its own pace: of the load of `replay` only --max-connections and \
                        --duration can be said"
                    .to_owned(),
            );
        }
        let workload = Workload { kind, files };
        if workload.beat().is_some_and(|beat| beat.every.is_zero()) {
            return Err("--every must be above 0".to_owned());
        }
        if load.is_open() && (workload.beat().is_some() || workload.name() == "silent") {
            return Err(format!("{} has --clients; a rate means nothing to it", workload.name()));
        }
        common.request(workload, &load).map(Some)
    }

    /// The server that `check` is to talk to; `None` for the other commands.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn checked(&self) -> Result<Option<Endpoint>, String> {
        match self {
            Self::Check { target, server, tls } => {
                endpoint(target, server, tls).map(|(_, endpoint)| Some(endpoint))
            }
            _ => Ok(None),
        }
    }

    fn kind(&self) -> Result<Option<(&Common, Kind)>, String> {
        let slow = |slow: &SlowOptions| Pace::BytesPerSecond(slow.byte_rate.max(1));
        Ok(Some(match self {
            Self::Handshake(common) => (common, Kind::Handshake),
            Self::Login { common, rein } => (common, Kind::Login { rein: *rein }),
            Self::Idle { common, every } => (common, Kind::Idle { every: *every }),
            Self::Download { common, .. } => (common, Kind::Download(Pace::Full)),
            Self::Upload { common, .. } => (common, Kind::Upload(Pace::Full)),
            Self::SmallFiles { common, upload, .. } => {
                (common, Kind::SmallFiles { upload: *upload })
            }
            Self::List { common, listing, entries, path, .. } => {
                let files = self.files(common)?;
                let path = path.clone().unwrap_or_else(|| files.directory());
                let entries = entries.unwrap_or(files.entries);
                (common, Kind::List { listing: *listing, path, entries })
            }
            Self::Mixed { common, scenario, .. } => {
                (common, Kind::Mixed(Scenario::read(scenario)?))
            }
            Self::Replay { common, xferlog, speed } => {
                (common, Kind::Replay(Replay::read(xferlog, *speed)?))
            }
            Self::SlowReader { common, slow: options } => (common, Kind::Download(slow(options))),
            Self::SlowWriter { common, slow: options } => (common, Kind::Upload(slow(options))),
            Self::Silent(common) => (common, Kind::Silent),
            Self::ReconnectStorm { common, every } => {
                (common, Kind::ReconnectStorm { every: *every })
            }
            Self::Check { .. } | Self::Compare { .. } | Self::Merge { .. } | Self::Versus(_) => {
                return Ok(None);
            }
        }))
    }

    fn files(&self, common: &Common) -> Result<Files, String> {
        let mut files = Files {
            seed: common.load.seed,
            sizes: vec![0],
            count: 1,
            existing: None,
            discard: false,
            keep: false,
            entries: 0,
        };
        match self {
            Self::Download { files: options, .. } => {
                files.sizes = vec![options.size];
                files.count = options.files;
                files.discard = options.discard;
                files.keep = options.keep;
                let expected = options.sha256.map_or(Expected::Anything, Expected::Sha256);
                files.existing = match (&options.paths, &options.path) {
                    (Some(list), _) => Some(Paths::read(list)?),
                    (None, path) => path.clone().map(|path| Paths::one(path, expected)),
                };
            }
            Self::Upload { size, keep, .. } => {
                files.sizes = vec![*size];
                files.keep = *keep;
            }
            Self::SmallFiles { size, files: count, discard, keep, .. } => {
                files.sizes = vec![*size];
                files.count = *count;
                files.discard = *discard;
                files.keep = *keep;
            }
            Self::List { entries, path, keep, .. } => {
                files.entries = if path.is_some() { 0 } else { entries.unwrap_or(ENTRIES) };
                files.keep = *keep;
            }
            Self::SlowReader { slow, .. } | Self::SlowWriter { slow, .. } => {
                files.sizes = vec![slow.size];
                files.keep = slow.keep;
            }
            Self::Mixed { keep, .. } => files.keep = *keep,
            _ => {}
        }
        Ok(files)
    }
}

impl LoadOptions {
    const fn is_open(&self) -> bool {
        self.rate.is_some() || self.ramp.is_some() || !self.steps.is_empty() || self.find_max_rate
    }

    /// Whether anything is said of what a log says itself.
    const fn is_said(&self) -> bool {
        self.is_open()
            || self.clients.is_some()
            || self.think.is_some()
            || self.arrivals.is_some()
            || self.count.is_some()
            || self.warm_up.is_some()
    }

    /// The plan; of a workload with a timetable, by that.
    fn plan(&self, times: Option<Arc<[Duration]>>) -> Result<Plan, String> {
        let count = self.count.or(times.as_ref().map(|times| times.len() as u64));
        let counted = count.is_some();
        let usual = if counted { guard::LENGTH_MAX } else { Duration::from_secs(10) };
        let duration = self.duration.unwrap_or(usual);
        let warmup =
            if counted { Duration::ZERO } else { self.warm_up.unwrap_or(Duration::from_secs(1)) };
        if duration.is_zero() || duration.saturating_add(warmup) > guard::LENGTH_MAX {
            return Err(
                "--duration must be above 0 and, with the warm-up, at most a day".to_owned()
            );
        }
        let profile = match (self.rate, self.ramp) {
            (Some(rate), _) => Some(Profile::constant(rate)?),
            (None, Some((from, to))) => Some(Profile::ramp(from, to, warmup, duration)?),
            (None, None) if !self.steps.is_empty() => {
                Some(Profile::steps(&self.steps, warmup, duration)?)
            }
            // The search sets its own.
            (None, None) if self.find_max_rate => Some(Profile::constant(1.0)?),
            (None, None) => times.map(Profile::times),
        };
        let load = match profile {
            Some(_) if self.expected_interval.is_some() => {
                return Err("--expected-interval is of closed loop; with a rate latency counts \
                            from when each operation was due"
                    .to_owned());
            }
            Some(_) if self.clients.is_some() || self.think.is_some() => {
                return Err("--clients and --think are of closed loop; a rate is not".to_owned());
            }
            Some(profile) => Load::Open {
                arrivals: self.arrivals.unwrap_or(Arrivals::Constant),
                profile,
                connections: self.max_connections.unwrap_or(CONNECTIONS),
            },
            None if self.max_connections.is_some() || self.arrivals.is_some() => {
                return Err("--max-connections and --arrivals are of open loop; give a --rate, a \
                            --ramp or --steps"
                    .to_owned());
            }
            None => Load::Closed {
                clients: self.clients.unwrap_or(CLIENTS),
                think: self.think.unwrap_or_default(),
            },
        };
        let plan = Plan {
            load,
            count,
            duration,
            warmup,
            drain: self.drain,
            seed: self.seed,
            part: self.part.unwrap_or(Part::WHOLE),
        };
        refuse_empty_part(&plan)?;
        Ok(plan)
    }

    /// When the first operation is to begin, if that was said.
    fn start(&self) -> Result<Option<SystemTime>, String> {
        let Some(at) = self.start_at else { return Ok(None) };
        let now = SystemTime::now();
        match at.duration_since(now) {
            Ok(left) if left > START_MAX => {
                Err(format!("--start-at {} is more than a week away", format_moment(at)))
            }
            Ok(_) => Ok(Some(at)),
            Err(past) => Err(format!(
                "--start-at {} is past by {}: it is {} on this host",
                format_moment(at),
                format::duration_ns(past.duration().as_secs_f64() * 1e9),
                format_moment(now)
            )),
        }
    }
}

/// A part without a client or an operation would measure nothing.
fn refuse_empty_part(plan: &Plan) -> Result<(), String> {
    let what = match plan.load {
        Load::Closed { .. } => "client",
        Load::Open { .. } => "connection",
    };
    let shared = [(Some(plan.clients()), what), (plan.count, "operation")];
    for (number, what) in shared.into_iter().filter_map(|(number, what)| Some((number?, what))) {
        let Part { number: part, of } = plan.part;
        if plan.part.share(number) == 0 {
            let end = if number == 1 { "" } else { "s" };
            return Err(format!("there is nothing for --part {part}/{of} of {number} {what}{end}"));
        }
    }
    Ok(())
}

impl CostOptions {
    /// Which of this host's processes are the server, if that was said.
    fn processes(&self) -> Option<ServerProcesses> {
        let cgroup = self.server_cgroup.clone().map(ServerProcesses::Cgroup);
        self.server_pid.map(ServerProcesses::Tree).or(cgroup)
    }
}

impl Common {
    fn request(&self, workload: Workload, load: &LoadOptions) -> Result<Request, String> {
        let (target, mut endpoint) = endpoint(&self.target, &self.server, &self.tls)?;
        let plan = match &workload.kind {
            Kind::Replay(replay) => {
                endpoint.users = self.server.users_named(replay.users())?;
                load.plan(Some(replay.times()))?
            }
            _ => load.plan(None)?,
        };
        let cpus = load.cpus.clone().unwrap_or_else(available_cpus);
        let connections = plan.part.share(plan.clients());
        let limit = sys::raise_open_files().map_err(|error| format!("RLIMIT_NOFILE: {error}"))?;
        let silent = plan.part.share(load.silent);
        let all = connections.saturating_add(silent);
        let descriptors =
            connections.saturating_mul(workload.descriptors_per_client()).saturating_add(silent);
        let threads = cpus.len() as u64;
        if let Some(refusal) = guard::open_files_refusal(limit, all, descriptors, threads) {
            return Err(refusal);
        }
        let sources = if load.sources.is_empty() {
            guard::default_sources(endpoint.target.ip())
        } else {
            load.sources.clone()
        };
        if sources.iter().any(|source| source.is_ipv4() != endpoint.target.is_ipv4()) {
            return Err("--sources and the target must be of one address family".to_owned());
        }
        endpoint.trace = self.output.trace()?;
        let parameters = self.parameters(&workload, &plan, load, endpoint.users.count());
        let spec = RunSpec {
            plan,
            workload,
            endpoint,
            sources,
            silent: load.silent,
            cpus,
            server: self.cost.processes(),
            abort_on: load.abort_on.clone(),
            start_at: load.start()?,
            interval: self.output.interval,
        };
        let warnings = self.server.users.as_deref().and_then(told_to_others);
        let warnings = warnings.into_iter().collect();
        Ok(Request { spec, host: target.host, parameters, common: self.clone(), warnings })
    }

    /// What makes two runs comparable, for the report.
    fn parameters(
        &self,
        workload: &Workload,
        plan: &Plan,
        load: &LoadOptions,
        users: u64,
    ) -> BTreeMap<String, String> {
        let mut all = workload_parameters(workload);
        let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
        set("tls", word(&self.tls.version));
        set("resume", word(&self.tls.resume));
        set("resume-data", word(&self.tls.resume_data));
        set("prot", word(&self.server.prot));
        set("data", word(&self.server.data));
        set("silent", load.silent.to_string());
        if users > 1 {
            set("users", users.to_string());
        }
        set("verify-server", self.tls.verified_by().to_owned());
        for (name, list) in [("suites", &self.tls.suites), ("groups", &self.tls.groups)] {
            if !list.is_empty() {
                set(name, list.join(","));
            }
        }
        if let Some(count) = plan.count {
            set("count", count.to_string());
        }
        match &plan.load {
            Load::Closed { clients, think } => {
                set("clients", clients.to_string());
                set("think", format!("{think:?}"));
            }
            Load::Open { arrivals, connections, .. } => {
                if !matches!(workload.kind, Kind::Replay(_)) {
                    set("arrivals", word(arrivals));
                }
                set("max-connections", connections.to_string());
                if let Some(rate) = load.rate {
                    set("rate", rate.to_string());
                }
                if let Some((from, to)) = load.ramp {
                    set("ramp", format!("{from}..{to}"));
                }
                if !load.steps.is_empty() {
                    set("steps", format!("{:?}", load.steps));
                }
            }
        }
        all
    }
}

/// The server that the options mean, resolved and admitted, and how to speak to it.
fn endpoint(
    target: &str,
    server: &ServerOptions,
    tls: &TlsArguments,
) -> Result<(guard::Target, Endpoint), String> {
    let family = match (server.ipv4, server.ipv6) {
        (true, _) => guard::Family::Four,
        (false, true) => guard::Family::Six,
        (false, false) => guard::Family::Any,
    };
    let admitted = guard::admit(target, &server.i_own_this_target, family)
        .map_err(|error| error.to_string())?;
    let opening = match (server.explicit, server.auth_ssl, admitted.explicit) {
        (true, _, Some(false)) | (_, true, Some(false)) => {
            return Err(format!("{target} is implicit TLS; --explicit and --auth-ssl are not"));
        }
        (_, true, _) => Opening::Explicit(AuthWord::Ssl),
        (true, false, _) | (_, _, Some(true)) => Opening::Explicit(AuthWord::Tls),
        (false, false, _) => Opening::Implicit,
    };
    if server.implied_prot && opening != Opening::Implicit {
        return Err(format!("{target} is explicit TLS, where --implied-prot means nothing"));
    }
    let name = tls.server_name.clone().unwrap_or_else(|| admitted.host.clone());
    let name = ServerName::try_from(name.clone())
        .map_err(|_| format!("\"{name}\" is neither a name nor an address"))?;
    let verification = match (&tls.ca, tls.pin) {
        (Some(path), _) => Verification::Authority(path.clone()),
        (None, Some(digest)) => Verification::Pinned(digest),
        (None, None) => Verification::None,
    };
    let options = TlsOptions {
        version: tls.version,
        suites: tls.suites.clone(),
        groups: tls.groups.clone(),
        verification,
        identity: tls.client_cert.clone().zip(tls.client_key.clone()),
        sni: !tls.no_sni,
        key_log: key_log_file().is_some(),
    };
    if let Some(file) = key_log_file() {
        appended(&file)?;
    }
    let settings = TlsSettings::new(&options, name).map_err(|error| error.to_string())?;
    let address = admitted.reach().map_err(|error| error.to_string())?;
    let old = matches!(server.data, DataMode::Pasv | DataMode::PasvReply | DataMode::Port);
    if old && !address.ip().to_canonical().is_ipv4() {
        return Err("PASV and PORT have no form for IPv6 addresses (RFC 2428 §1): --data epsv or \
                    eprt"
            .to_owned());
    }
    let endpoint = Endpoint {
        target: address,
        opening,
        implied_prot: server.implied_prot,
        protection: server.prot,
        data: server.data,
        users: server.users()?,
        tls: settings,
        resume_control: tls.resume,
        resume_data: tls.resume_data,
        timeout: server.timeout,
        transfer_timeout: server.transfer_timeout,
        bytes_max: server.max_bytes,
        greeting: Arc::new(OnceLock::new()),
        trace: None,
    };
    Ok((admitted, endpoint))
}

/// The part of the parameters that is the workload's own.
fn workload_parameters(workload: &Workload) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: String| {
        all.insert(name.to_owned(), value);
    };
    let files = &workload.files;
    match &workload.kind {
        Kind::Login { rein } => set("rein", rein.to_string()),
        Kind::SmallFiles { upload } => set("upload", upload.to_string()),
        Kind::Mixed(scenario) => set("scenario", scenario.to_string()),
        Kind::Replay(replay) => {
            set("xferlog", replay.to_string());
            set("speed", replay.speed().to_string());
        }
        Kind::Download(Pace::BytesPerSecond(rate)) | Kind::Upload(Pace::BytesPerSecond(rate)) => {
            set("byte-rate", rate.to_string());
        }
        Kind::List { listing, path, entries } => {
            set("listing", word(listing));
            set("entries", entries.to_string());
            if files.entries == 0 {
                set("path", path.clone());
            }
        }
        _ => {}
    }
    if let Some(beat) = workload.beat() {
        set("every", format!("{:?}", beat.every));
    }
    match &files.existing {
        Some(paths) => {
            set("path", paths.to_string());
            set("verify", paths.are_verified().to_string());
        }
        None => {
            if files.sizes.iter().any(|size| *size > 0) {
                set("sizes", format!("{:?}", files.sizes));
            }
            if workload.downloads() {
                set("files", files.count.to_string());
                set("verify", (!files.discard).to_string());
            }
        }
    }
    all
}

/// A value of an option as the report writes it.
fn word(value: &dyn std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

impl Common {
    /// The search for the highest rate, if it is asked for, and the objective.
    #[must_use]
    pub const fn search(&self) -> Option<&Objective> {
        if self.load.find_max_rate { self.load.slo.as_ref() } else { None }
    }

    /// How often a client of a closed loop would have begun an operation, if that was said.
    #[must_use]
    pub const fn expected_interval(&self) -> Option<Duration> {
        self.load.expected_interval
    }

    /// The generator's CPUs, if they were chosen.
    #[must_use]
    pub fn cpus(&self) -> Option<&[usize]> {
        self.load.cpus.as_deref()
    }

    /// The server's process on this host, if it was named.
    #[must_use]
    pub const fn server_pid(&self) -> Option<u32> {
        self.cost.server_pid
    }

    /// The objective of a single run.
    #[must_use]
    pub const fn objective(&self) -> Option<&Objective> {
        self.load.slo.as_ref()
    }
}

impl OutputOptions {
    /// The account of one client, if it is wanted.
    fn trace(&self) -> Result<Option<Trace>, String> {
        let file = self.trace_file.as_deref().map(|path| {
            File::create(path)
                .map_err(|error| format!("{}: cannot be written: {error}", path.display()))
        });
        let file = file.transpose()?;
        Ok(self.trace_session.map(|client| Trace::new(client, file)))
    }
}

/// The file that takes the secrets of TLS connections, if the environment names one.
#[must_use]
pub fn key_log_file() -> Option<PathBuf> {
    env::var_os(KEY_LOG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What to say of a file of passwords that anybody on this host can read.
fn told_to_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & 0o007 != 0)
        .then(|| format!("{path} holds passwords and is open to others; remedy: chmod 600 {path}"))
}

/// Makes the file for its owner alone where it is not there: secrets are added to it.
fn appended(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map(drop).map_err(|error| {
        format!("{}: cannot be written ({KEY_LOG_VARIABLE}): {error}", path.display())
    })
}

impl ServerOptions {
    fn password(&self) -> String {
        self.password.clone().unwrap_or_else(default_password)
    }

    /// Who logs in.
    fn users(&self) -> Result<Users, String> {
        match &self.users {
            Some(file) => Users::read(file, &self.password()),
            None => Ok(Users::one(&self.user, &self.password())),
        }
    }

    /// The users with these names, each with the password of its line in --users, or with that of
    /// all.
    fn users_named(&self, names: &[String]) -> Result<Users, String> {
        let (known, usual) = (self.users()?, self.password());
        let user = |name: &String| User {
            name: name.clone(),
            password: known.password_of(name).unwrap_or(&usual).to_owned(),
        };
        Ok(Users::of_list(names.iter().map(user).collect()))
    }
}

impl TlsArguments {
    const fn verified_by(&self) -> &'static str {
        match (&self.ca, self.pin) {
            (Some(_), _) => "ca",
            (None, Some(_)) => "pin",
            (None, None) => "none",
        }
    }
}

fn default_password() -> String {
    env::var(PASSWORD_VARIABLE).unwrap_or_else(|_| "ringload@".to_owned())
}
