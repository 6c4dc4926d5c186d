//! One run: a client, a network and a clock around the server, all decided by one seed.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ringftpd::clock;
use ringftpd::protocol::account::Permissions;
use ringftpd::protocol::session::Input;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::model::{Canary, Model, Tree};
use crate::server::{CERTIFICATE, Later, Server};
use crate::workload::{Command, Random, Step, Swarm};

/// Log-ins that may fail.
pub(crate) const FAILURES_MAX: u32 = 3;

/// Events after which a run has gone astray.
const EVENTS_MAX: usize = 50_000;

/// Shortest time after which the server may lose patience, with room for the network: the log-in
/// deadline is 60 s.
const PATIENCE_MS: u64 = 50_000;

pub(crate) static CLIENT_TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE.1.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
});

pub(crate) fn permissions_of(user: Option<&str>) -> Permissions {
    match user {
        Some("ann") => Permissions::ALL,
        Some("bob") => Permissions::READ_ONLY,
        _ => Permissions::NONE,
    }
}

enum Event {
    ToServer(Vec<u8>),
    ClientGone,
    /// The connection was reset.
    ClientReset,
    /// FIN of a client that still reads.
    ClientEnds,
    ToClient(Vec<u8>),
    ServerGone,
    Server(Later),
    Timer,
    Drain,
    Think,
}

/// What a finished run leaves.
pub(crate) struct Run {
    pub(crate) trace: Vec<String>,
    pub(crate) verdict: Result<(), String>,
}

struct Client {
    tls: Option<Box<ClientConnection>>,
    /// Octets received and not yet looked at.
    raw: Vec<u8>,
    /// Decrypted octets that are no whole reply yet.
    text: Vec<u8>,
    script: VecDeque<Step>,
    waiting: bool,
    /// TLS is to be taken off when the server's close_notify comes.
    leaving: bool,
    answers_close_notify: bool,
    gone: bool,
    /// The script is cut when so many steps are left.
    cut_at: Option<usize>,
}

pub(crate) struct World {
    random: Random,
    swarm: Swarm,
    start: Instant,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    last_to_server: u64,
    last_to_client: u64,
    last_said: u64,
    logged_out_since: u64,
    timer: Option<u64>,
    draining: bool,
    server: Server,
    client: Client,
    model: Model,
    trace: Vec<String>,
}

/// Runs one seed to its end.
pub(crate) fn run(seed: u64, canary: Canary) -> Run {
    let mut world = World::new(seed, canary);
    let verdict = world.run();
    Run { trace: world.trace, verdict }
}

impl World {
    fn new(seed: u64, canary: Canary) -> Self {
        let mut random = Random::new(seed);
        let swarm = Swarm::new(&mut random);
        let start = clock::now();
        let tree = Tree::from([
            (b"/".to_vec(), None),
            (b"/dir".to_vec(), None),
            (b"/a".to_vec(), Some(b"0123456789".to_vec())),
        ]);
        let script: VecDeque<Step> = swarm.script(&mut random).into();
        let cut_at = swarm.cut.then(|| random.below(script.len() + 1));
        let client = Client {
            tls: None,
            raw: Vec::new(),
            text: Vec::new(),
            script,
            waiting: true,
            leaving: false,
            answers_close_notify: !random.one_in(4),
            gone: false,
            cut_at,
        };
        let mut world = Self {
            server: Server::new(start, &swarm, canary, &tree, seed),
            model: Model::new(&swarm, canary, &tree),
            random,
            swarm,
            start,
            now: 0,
            events: BTreeMap::new(),
            sequence: 0,
            last_to_server: 0,
            last_to_client: 0,
            last_said: 0,
            logged_out_since: 0,
            timer: None,
            draining: false,
            client,
            trace: Vec::new(),
        };
        if world.swarm.drain {
            let at = world.random.next() % 3_000;
            world.schedule(at, Event::Drain);
        }
        world
    }

    fn run(&mut self) -> Result<(), String> {
        self.trace.push(format!("{:?}", self.swarm));
        self.serve();
        if self.swarm.implicit {
            self.start_tls()?;
        }
        for _ in 0..EVENTS_MAX {
            let Some(((at, _), event)) = self.events.pop_first() else {
                if !self.server.session.is_closed() {
                    return Err("nothing happens any more, and the session is open".into());
                }
                let cut_off = self.client.gone || self.draining;
                return self.model.check_end(&self.server.trees, cut_off);
            };
            self.now = at;
            self.happen(event)?;
        }
        Err("too many events".into())
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn note(&mut self, text: String) {
        self.trace.push(format!("{:>7} {text}", self.now));
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToServer(octets) => self.server.receive(&octets),
            Event::ClientGone => {
                self.note("the client is gone".into());
                let now = self.instant();
                if !self.server.closing {
                    self.server.run(now);
                    self.server.ends(now);
                }
            }
            Event::ClientReset => {
                self.note("the connection is reset".into());
                self.server.input(Input::Disconnected);
            }
            Event::ClientEnds => {
                self.note("the client sends no more".into());
                let now = self.instant();
                self.server.ends(now);
            }
            Event::ToClient(octets) => return self.client_receives(&octets),
            Event::ServerGone => {
                self.note("the server closed".into());
                self.client.gone |= self.model_is_cut();
                self.client.script.clear();
                return Ok(());
            }
            Event::Server(Later::Answer(input)) => self.server.input(input),
            Event::Server(Later::Data(id)) => self.server.data(id),
            Event::Timer => {
                self.timer = None;
                self.server.input(Input::Timeout);
            }
            Event::Drain => {
                self.note("the server drains".into());
                self.draining = true;
                self.server.input(Input::Drain);
            }
            Event::Think => return self.client_speaks(),
        }
        self.serve();
        Ok(())
    }

    /// A TLS shutdown that was never answered ends without a word on either side.
    fn model_is_cut(&self) -> bool {
        self.client.leaving || self.client.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Lets the server go on and puts what it says on the network.
    fn serve(&mut self) {
        let was_closing = self.server.closing;
        let now = self.instant();
        self.server.run(now);
        for asked in std::mem::take(&mut self.server.log) {
            self.note(format!("asked {asked:?}"));
            self.model.log.push_back(asked);
        }
        for (delay, later) in std::mem::take(&mut self.server.later) {
            self.schedule(self.now + delay, Event::Server(later));
        }
        let octets = std::mem::take(&mut self.server.out);
        for piece in self.pieces(&octets) {
            let at = self.arrival(self.last_to_client);
            self.last_to_client = at;
            self.schedule(at, Event::ToClient(piece));
        }
        if self.server.closing && !was_closing {
            self.schedule(self.last_to_client.max(self.now) + 1, Event::ServerGone);
        }
        let deadline = self.server.session.poll_timeout().map(|deadline| {
            let span = deadline.saturating_duration_since(self.start);
            u64::try_from(span.as_millis()).unwrap() + 1
        });
        if let Some(at) = deadline.filter(|at| self.timer.is_none_or(|timer| *at < timer)) {
            self.timer = Some(at);
            self.schedule(at.max(self.now), Event::Timer);
        }
    }

    /// Cuts octets anywhere. The cuts depend on the length alone through fractions, so that a
    /// signature that is one octet longer does not change the rest of the run.
    fn pieces(&mut self, octets: &[u8]) -> Vec<Vec<u8>> {
        if octets.is_empty() {
            return Vec::new();
        }
        let mut cuts: Vec<usize> = (0..self.random.pick(&[0, 0, 1, 3]))
            .map(|_| self.random.below(1_000) * octets.len() / 1_000)
            .collect();
        cuts.extend([0, octets.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| octets[pair[0]..pair[1]].to_vec()).collect()
    }

    fn arrival(&mut self, last: u64) -> u64 {
        let delay = if self.random.one_in(50) { 2_000 } else { self.random.next() % 30 };
        last.max(self.now + delay)
    }

    fn client_receives(&mut self, octets: &[u8]) -> Result<(), String> {
        if self.client.gone {
            return Ok(());
        }
        self.client.raw.extend_from_slice(octets);
        loop {
            let progressed = match self.client.tls {
                Some(_) => self.client_opens_record()?,
                None => {
                    let raw = std::mem::take(&mut self.client.raw);
                    self.client.text.extend_from_slice(&raw);
                    false
                }
            };
            self.client_reads()?;
            if !progressed {
                return Ok(());
            }
        }
    }

    /// One record at a time, so that what follows close_notify stays untouched.
    fn client_opens_record(&mut self) -> Result<bool, String> {
        let client = &mut self.client;
        let Some(tls) = &mut client.tls else { return Ok(false) };
        let Some(header) = client.raw.get(..5) else { return Ok(false) };
        let length = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
        if client.raw.len() < length {
            return Ok(false);
        }
        let record: Vec<u8> = client.raw.drain(..length).collect();
        let was_handshaking = tls.is_handshaking();
        tls.read_tls(&mut &record[..]).map_err(|error| error.to_string())?;
        let state = tls.process_new_packets().map_err(|error| format!("client TLS: {error}"))?;
        let mut text = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut text).map_err(|error| error.to_string())?;
        client.text.extend_from_slice(&text);
        let established = was_handshaking && !tls.is_handshaking();
        let closed = state.peer_has_closed();
        if established {
            self.note("client: TLS is up".into());
            self.model.established();
            self.think();
        }
        self.client_flushes();
        if closed {
            self.client_reads()?;
            self.client_leaves_tls()?;
        }
        Ok(true)
    }

    fn client_leaves_tls(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.client.leaving) {
            return Ok(()); // QUIT, 421: the end of the connection
        }
        let implicit_rein = self.swarm.implicit;
        if let (Some(tls), true) = (&mut self.client.tls, self.client.answers_close_notify) {
            tls.send_close_notify();
        }
        self.client_flushes();
        self.client.tls = None;
        self.note("client: TLS is off".into());
        if implicit_rein {
            self.start_tls()?;
        } else {
            self.think();
        }
        Ok(())
    }

    fn start_tls(&mut self) -> Result<(), String> {
        let name = ServerName::try_from("server.test").map_err(|error| error.to_string())?;
        let tls = ClientConnection::new(CLIENT_TLS.clone(), name);
        self.client.tls = Some(Box::new(tls.map_err(|error| error.to_string())?));
        self.client_flushes();
        Ok(())
    }

    fn client_flushes(&mut self) {
        let mut octets = Vec::new();
        if let Some(tls) = &mut self.client.tls {
            while tls.wants_write() {
                tls.write_tls(&mut octets).unwrap();
            }
        }
        self.send_to_server(&octets);
    }

    fn send_to_server(&mut self, octets: &[u8]) {
        for piece in self.pieces(octets) {
            let at = self.arrival(self.last_to_server);
            self.last_to_server = at;
            self.schedule(at, Event::ToServer(piece));
        }
    }

    /// Every whole reply.
    fn client_reads(&mut self) -> Result<(), String> {
        while let Some((code, length)) = first_reply(&self.client.text)? {
            self.client.text.drain(..length);
            self.note(format!("reply {code}"));
            let was_logged_in = self.model.is_logged_in();
            let since = self.now - self.logged_out_since;
            let late = self.now - self.last_said >= PATIENCE_MS
                || (!was_logged_in && since >= PATIENCE_MS);
            let command = self.model.reply(code, late || self.draining)?;
            let logged_out = was_logged_in && !self.model.is_logged_in();
            if logged_out || matches!(command, Some(Command::Greeting | Command::Rein)) {
                self.logged_out_since = self.now;
            }
            let protected = self.client.tls.is_some();
            match (command, code) {
                (Some(Command::Auth), 234) if !self.model.waits() => self.start_tls()?,
                (Some(Command::Rein), _) if protected => self.client.leaving = true,
                (Some(Command::Ccc), 200) => self.client.leaving = true,
                _ => self.think(),
            }
        }
        Ok(())
    }

    fn think(&mut self) {
        let delay = match self.random.below(400) {
            0 => 400_000,
            1..10 => 3_000,
            _ => self.random.next() % 40,
        };
        self.schedule(self.now + delay, Event::Think);
    }

    fn client_speaks(&mut self) -> Result<(), String> {
        loop {
            let busy = self.client.leaving
                || self.client.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
                || (self.client.waiting && self.model.waits());
            if busy || self.client.gone {
                return Ok(());
            }
            if self.client.cut_at == Some(self.client.script.len()) {
                return self.client_is_cut();
            }
            let Some(step) = self.client.script.pop_front() else { return Ok(()) };
            self.client.waiting = step.wait;
            self.note(format!("say {:?}", step.command));
            self.model.sent(step.command);
            self.say(&step.command.line())?;
            let last = self.client.script.is_empty() && self.client.cut_at.is_none();
            if last && self.swarm.half_close && !self.swarm.behind && !step.command.changes_wire() {
                self.client_ends();
            }
        }
    }

    /// close_notify, FIN, or both, right behind the last command.
    fn client_ends(&mut self) {
        let how = self.random.below(3);
        if let Some(tls) = self.client.tls.as_mut().filter(|_| how < 2) {
            tls.send_close_notify();
            self.client_flushes();
        }
        if self.client.tls.is_none() || how > 0 {
            let at = self.arrival(self.last_to_server);
            self.schedule(at, Event::ClientEnds);
        }
    }

    fn say(&mut self, line: &[u8]) -> Result<(), String> {
        self.last_said = self.now;
        match &mut self.client.tls {
            Some(tls) => {
                tls.writer().write_all(line).map_err(|error| error.to_string())?;
                self.client_flushes();
            }
            None => self.send_to_server(line),
        }
        Ok(())
    }

    /// The connection breaks in the middle of a line, at any octet of it.
    fn client_is_cut(&mut self) -> Result<(), String> {
        let command = self.client.script.front().map_or(Command::Dele(b"a"), |step| step.command);
        let line = command.line();
        // Often just before its CR LF, or in it: there it would be executed first.
        let length = match self.random.below(4) {
            0 => line.len() - 1,
            1 => line.len() - 2,
            _ => self.random.below(line.len()),
        };
        self.note(format!("say {length} octets of {command:?}"));
        self.say(&line[..length])?;
        self.client.gone = true;
        let at = self.arrival(self.last_to_server);
        let reset = self.random.one_in(3);
        self.schedule(at, if reset { Event::ClientReset } else { Event::ClientGone });
        Ok(())
    }
}

/// Code and length of the first reply, if it is whole (RFC 959 §4.2).
fn first_reply(text: &[u8]) -> Result<Option<(u16, usize)>, String> {
    let mut start = 0;
    let mut code: Option<&[u8]> = None;
    while let Some(end) = text[start..].windows(2).position(|pair| pair == b"\r\n") {
        let line = &text[start..start + end];
        start += end + 2;
        let head = line.get(..4);
        let digits = |head: &[u8]| head[..3].iter().all(u8::is_ascii_digit);
        let first = code.is_none();
        let head = match head {
            Some(head) if digits(head) => head,
            _ if first => return Err(format!("no reply: {}", line.escape_ascii())),
            _ => continue,
        };
        if head[3] == b' ' && code.is_none_or(|code| code == &head[..3]) {
            let number = std::str::from_utf8(&head[..3]).ok().and_then(|code| code.parse().ok());
            return Ok(number.map(|number| (number, start)));
        }
        if first {
            code = Some(&text[start - end - 2..][..3]);
        }
    }
    Ok(None)
}
