//! `ringload check`: one session with a server, told step by step, and what it lacks for the
//! workloads. Nothing is measured and nothing is left on the server.

use std::{cell::RefCell, net::IpAddr, rc::Rc, sync::Arc, time::Instant};

use crate::{
    client::{
        Client, Endpoint, Failure, Listing, Opening, OperationRecord, Protection, ResumeMode,
        Session, SharedRecorder, TicketStore, is_its_own_issuer,
    },
    engine,
    measure::{Channel, Phase, Recorder, ResumptionCounts, Window, printable},
    report::format,
    verify::fingerprint,
};

/// Tickets kept of the session.
const TICKETS: usize = 8;

/// What a server may say in its reply to FEAT (RFC 2389) and what it is for.
const FEATURES: [(&str, &str); 7] = [
    ("AUTH TLS", "explicit TLS (RFC 4217)"),
    ("PBSZ", "protected data connections (RFC 4217)"),
    ("PROT", "protected data connections (RFC 4217)"),
    ("EPSV", "passive mode over IPv6 and behind NAT (RFC 2428)"),
    ("MLST", "listings for programs (RFC 3659): `list --listing mlsd`"),
    ("SIZE", "sizes of files (RFC 3659)"),
    ("REST STREAM", "transfers that go on where they broke off (RFC 3659)"),
];

/// Takes a line of the account: what it is about, and what was seen.
pub type Say = Box<dyn Fn(&str, &str) + Send>;

/// Talks to the server from `source` and says what happens. What it lacks is returned, a sentence
/// each.
///
/// # Errors
///
/// Where the session ended, and why.
pub fn check(endpoint: Endpoint, source: Option<IpAddr>, say: Say) -> Result<Vec<String>, String> {
    engine::check()?;
    let run = move || async move { Check::new(endpoint, source, say).run().await };
    let thread = engine::start("check", None, run).map_err(|error| error.to_string())?;
    thread.join().map_err(|error| error.to_string())?.map_err(|failure| failure.to_string())
}

struct Check {
    endpoint: Rc<Endpoint>,
    client: Client,
    recorder: SharedRecorder,
    say: Say,
    lacks: Vec<String>,
}

impl Check {
    fn new(mut endpoint: Endpoint, source: Option<IpAddr>, say: Say) -> Self {
        // Both are what is to be found out.
        endpoint.resume_control = ResumeMode::Offered;
        endpoint.resume_data = ResumeMode::Offered;
        let endpoint = Rc::new(endpoint);
        let client = Client::new(Rc::clone(&endpoint), source, Arc::new(TicketStore::new(TICKETS)));
        let recorder = Rc::new(RefCell::new(recorder()));
        Self { endpoint, client, recorder, say, lacks: Vec::new() }
    }

    async fn run(mut self) -> Result<Vec<String>, Failure> {
        let mut session = self.connect().await?;
        let listing = self.features(&mut session).await?;
        self.log_in(&mut session).await?;
        self.list(&mut session, listing).await?;
        session.quit().await?;
        self.say("QUIT", "221");
        self.again().await?;
        Ok(self.lacks)
    }

    fn say(&self, what: &str, seen: &str) {
        (self.say)(what, &printable(seen));
    }

    fn record(&self) -> OperationRecord {
        OperationRecord::now(&self.recorder)
    }

    /// How a channel's handshakes resumed so far.
    fn resumption(&self, channel: Channel) -> ResumptionCounts {
        self.recorder.borrow().so_far().counters().resumption(channel)
    }

    async fn connect(&mut self) -> Result<Session, Failure> {
        self.say("address", &self.endpoint.target.to_string());
        let session = self.client.open(&mut self.record()).await?;
        let recorder = Rc::clone(&self.recorder);
        let recorder = recorder.borrow();
        let recording = recorder.so_far();
        let took =
            |phase: Phase| format::duration_ns(recording.latency(phase).uncorrected.max() as f64);
        self.say("TCP", &format!("connected in {}", took(Phase::TcpConnect)));
        let greeting = self.endpoint.greeting.get().map_or("", String::as_str);
        let greeting = format!("220 {greeting} (in {})", took(Phase::Greeting));
        let implicit = self.endpoint.opening == Opening::Implicit;
        if !implicit {
            self.say("greeting", &greeting);
            self.say("AUTH", "234");
        }
        for (_, names, _) in recording.counters().handshakes() {
            let took = took(Phase::TlsHandshake);
            let (version, suite, group) = (names.version, names.suite, names.group);
            self.say("TLS", &format!("{version}, {suite}, {group}, in {took}"));
            if let Some(der) = session.certificate() {
                let own = if is_its_own_issuer(&der) { ", its own issuer" } else { "" };
                let print = fingerprint(&der);
                let kind = names.certificate;
                self.say("certificate", &format!("{kind}{own}; --pin {print} demands it"));
            }
        }
        if implicit {
            self.say("greeting", &greeting);
        }
        Ok(session)
    }

    /// FEAT, and which listing it allows.
    async fn features(&mut self, session: &mut Session) -> Result<Listing, Failure> {
        let reply = session.exchange(Phase::Operation, "FEAT").await?;
        if reply.code != 211 {
            self.say("FEAT", &format!("{} {}", reply.code, reply.text));
            self.lacks.push("FEAT: it does not tell what it can do".to_owned());
            return Ok(Listing::List);
        }
        let lines: Vec<String> =
            reply.text.lines().map(|line| line.trim().to_ascii_uppercase()).collect();
        let has = |feature: &str| lines.iter().any(|line| line.starts_with(feature));
        let (found, missing): (Vec<_>, Vec<_>) =
            FEATURES.into_iter().partition(|(feature, _)| has(feature));
        let names: Vec<&str> = found.into_iter().map(|(feature, _)| feature).collect();
        self.say("FEAT", &names.join(", "));
        for (feature, purpose) in missing {
            self.lacks.push(format!("{feature} is not in FEAT: {purpose}"));
        }
        Ok(if has("MLST") { Listing::Mlsd } else { Listing::List })
    }

    async fn log_in(&mut self, session: &mut Session) -> Result<(), Failure> {
        let mut record = self.record();
        session.log_in(&mut record).await.map_err(|mut failure| {
            failure
                .detail
                .push_str("; --user NAME and the variable RINGLOAD_PASSWORD say who is to log in");
            failure
        })?;
        self.say("log-in", &format!("as {}", self.endpoint.users.of(0).name));
        session.settle(&mut record).await?;
        let private = self.endpoint.protection == Protection::Private;
        let level =
            if private { "data connections under TLS" } else { "data connections in clear" };
        self.say("settings", &format!("{level}, TYPE I"));
        Ok(())
    }

    async fn list(&mut self, session: &mut Session, listing: Listing) -> Result<(), Failure> {
        let lines = session.list(listing, "", &mut self.record()).await?;
        let counts = self.resumption(Channel::Data);
        let how = match (counts.handshakes, counts.resumed) {
            (0, _) => "in clear",
            (_, 0) => "under TLS, a full handshake",
            _ => "under TLS, the session resumed",
        };
        self.say("listing", &format!("{lines} lines, {how}"));
        if counts.handshakes > counts.resumed {
            self.lacks.push(
                "resumption on data connections: each costs a full handshake, and clients cannot \
                 tell that it is the same server (`--resume-data`)"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// A second session, which offers what the first one left.
    async fn again(&mut self) -> Result<(), Failure> {
        self.client.open(&mut self.record()).await?.close().await;
        let counts = self.resumption(Channel::Control);
        let (what, good) = match (counts.offered, counts.resumed) {
            (0, _) => ("the first one left nothing to resume", false),
            (_, 0) => ("a full handshake, though a session was offered", false),
            _ => ("its TLS session was resumed", true),
        };
        self.say("again", what);
        if !good {
            self.lacks.push("resumption on control connections (`--resume`)".to_owned());
        }
        Ok(())
    }
}

fn recorder() -> Recorder {
    Recorder::new(Window {
        start: Instant::now(),
        warmup: std::time::Duration::ZERO,
        measured: None,
    })
}
