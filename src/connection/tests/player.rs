//! A client that plays a script: it speaks as fast as it may, hears every reply and has the model
//! judge it, and carries its transfers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::carrier::{Carrier, Fault};
use super::client::reply_length;
use super::line::{Came, ControlLine, Leaving};
use super::model::{Canary, Heard, Model, Moved};
use super::workload::{Command, Random, Step, Swarm};
use super::world::{CLIENT, SERVER, World};
use crate::clock;
use crate::protocol::session::Mode;
use crate::runtime::{Listener, Notify, Stream, Task, connect, sleep_until, spawn, timeout_at};

/// Shortest time after which the server may lose patience, with room for the network: the log-in
/// deadline is 60 s.
const PATIENCE: Duration = Duration::from_secs(50);

/// The port of PORT.
const ACTIVE_PORT: u16 = 200 * 256 + 1;

/// How a data connection is to come about.
struct Rendezvous {
    /// The server's port, or none where it connects.
    port: Option<u16>,
    fault: Fault,
    /// What was connected already.
    early: Option<Stream>,
    /// The client knows of the port so late that it may be closed.
    late: bool,
}

pub(super) struct Player {
    world: Rc<World>,
    swarm: Swarm,
    canary: Canary,
    config: Arc<ClientConfig>,
    listener: Listener,
    line: ControlLine,
    model: RefCell<Model>,
    random: RefCell<Random>,
    script: RefCell<VecDeque<Step>>,
    /// The script is cut when this many steps are left.
    cut_at: Option<usize>,
    waiting: Cell<bool>,
    /// TLS is to be taken off when the server's close_notify comes.
    leaving: Cell<bool>,
    /// What comes is no reply to anything.
    deaf: Cell<bool>,
    draining: Cell<bool>,
    answers_close_notify: bool,
    news: Notify,
    rendezvous: RefCell<Option<Rendezvous>>,
    /// Commands that wait for their reply since before a transfer that took long: their ports may
    /// be closed by now.
    late: Cell<usize>,
    carrying: RefCell<Option<Task<Moved>>>,
    start: Instant,
    last_said: Cell<Instant>,
    logged_out_since: Cell<Instant>,
    trace: Trace,
}

/// What happened, line by line; kept although a run ends by a panic.
pub(super) struct Trace {
    pub(super) lines: Rc<RefCell<Vec<String>>>,
    /// Each line is printed at once.
    pub(super) echo: bool,
}

impl Player {
    pub(super) fn new(
        world: &Rc<World>,
        swarm: Swarm,
        mut random: Random,
        canary: Canary,
        trace: Trace,
    ) -> Rc<Self> {
        let script: VecDeque<Step> = swarm.script(&mut random).into();
        let cut_at = swarm.cut.then(|| random.below(script.len() + 1));
        let mode = if swarm.implicit { Mode::Implicit } else { Mode::Explicit };
        let (tree, vast) = world.furnish();
        let now = clock::now();
        Rc::new(Self {
            model: RefCell::new(Model::new(&swarm, canary, &tree, vast)),
            config: world.client_tls(),
            listener: Listener::bind(SocketAddr::from((CLIENT, ACTIVE_PORT)), 8).unwrap(),
            line: ControlLine::new(world.accept(mode), Random::new(random.next())),
            world: world.clone(),
            swarm,
            canary,
            script: RefCell::new(script),
            cut_at,
            waiting: Cell::new(true),
            leaving: Cell::default(),
            deaf: Cell::default(),
            draining: Cell::default(),
            answers_close_notify: !random.one_in(4),
            news: Notify::new(),
            rendezvous: RefCell::default(),
            late: Cell::default(),
            carrying: RefCell::default(),
            start: now,
            last_said: Cell::new(now),
            logged_out_since: Cell::new(now),
            trace,
            random: RefCell::new(random),
        })
    }

    /// Plays the script to the end of the connection, and checks what is left.
    pub(super) async fn play(self: Rc<Self>) -> Result<(), String> {
        self.note(format!("{:?}", self.swarm));
        if self.swarm.implicit {
            self.line.start_tls(&self.config);
        }
        let pumping = spawn({
            let player = self.clone();
            async move { player.line.pump().await }
        });
        let speaking = spawn({
            let player = self.clone();
            async move { player.speak().await }
        });
        let draining = spawn(self.clone().drain());
        let heard = self.hear().await;
        for task in [pumping, speaking, draining] {
            task.cancel().await;
        }
        self.line.close();
        heard?;
        let moved = self.carried().await?;
        self.rendezvous.replace(None);
        self.world.rest().await;
        let cut_off = self.deaf.get()
            || self.draining.get()
            // A TLS shutdown that is never answered ends without a word on either side.
            || self.leaving.get()
            || self.line.is_handshaking();
        let trees = ["ann", "bob"].map(|user| self.world.tree_of(user));
        let failures = self.failures();
        self.model.borrow_mut().check_end(&trees, cut_off, failures, moved.as_ref())
    }

    fn note(&self, text: String) {
        let line = format!("{:>7} {text}", (clock::now() - self.start).as_millis());
        if self.trace.echo {
            println!("{line}");
        }
        self.trace.lines.borrow_mut().push(line);
    }

    fn failures(&self) -> u64 {
        let failures = self.world.simulation.failures();
        failures.refused + failures.lost
    }

    async fn drain(self: Rc<Self>) {
        if !self.swarm.drain {
            return;
        }
        let after = Duration::from_millis(self.random.borrow_mut().next() % 3_000);
        sleep_until(self.start + after).await;
        self.note("the server drains".into());
        self.draining.set(true);
        self.world.context.drain.set();
    }

    /// Every reply, to the end of the connection.
    async fn hear(self: &Rc<Self>) -> Result<(), String> {
        loop {
            let came = self.line.next().await;
            if came == Came::Established {
                self.note("client: TLS is up".into());
                self.model.borrow_mut().established();
                self.news.notify();
            }
            while let Some(reply) = self.next_reply()? {
                self.replied(&reply).await?;
            }
            match came {
                Came::TlsEnds if self.leaving.replace(false) => self.leave_tls(),
                Came::End => {
                    self.note("the server closed".into());
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    fn next_reply(&self) -> Result<Option<Vec<u8>>, String> {
        let mut text = self.line.text.borrow_mut();
        if self.deaf.get() {
            text.clear();
        }
        if text.get(..3).is_some_and(|code| !code.iter().all(u8::is_ascii_digit)) {
            return Err(format!("no reply: {}", text.escape_ascii()));
        }
        let length = reply_length(&text);
        Ok(length.map(|length| text.drain(..length).collect()))
    }

    fn leave_tls(&self) {
        if self.answers_close_notify {
            self.line.close_notify();
        }
        self.line.leave_tls();
        self.note("client: TLS is off".into());
        if self.swarm.implicit {
            self.line.start_tls(&self.config);
        } else {
            self.news.notify();
        }
    }

    async fn replied(self: &Rc<Self>, text: &[u8]) -> Result<(), String> {
        let code: u16 = String::from_utf8_lossy(&text[..3]).parse().map_err(|_| "no code")?;
        self.note(format!("reply {code}"));
        if self.canary == Canary::LostReply && self.random.borrow_mut().one_in(40) {
            return Ok(());
        }
        let ends_transfer = self.model.borrow().ends_transfer(code);
        let moved = if ends_transfer { self.carried().await? } else { None };
        if let (Some(moved), true) = (&moved, code >= 300) {
            self.publish_the_part(moved);
        }
        let now = clock::now();
        let was_logged_in = self.model.borrow().is_logged_in();
        let late = now - self.last_said.get() >= PATIENCE
            || (!was_logged_in && now - self.logged_out_since.get() >= PATIENCE);
        let may_close = late || self.draining.get();
        let heard = Heard { code, text, may_close, failures: self.failures(), moved };
        let command = self.model.borrow_mut().reply(heard)?;
        let was_late = self.late.get();
        self.late.set(was_late.saturating_sub(usize::from(command.is_some())));
        let logged_out = was_logged_in && !self.model.borrow().is_logged_in();
        if logged_out || matches!(command, Some(Command::Greeting | Command::Rein)) {
            self.logged_out_since.set(now);
        }
        self.act_on(code, command, text, was_late > 0);
        self.news.notify();
        Ok(())
    }

    /// What the client does about a reply.
    fn act_on(self: &Rc<Self>, code: u16, command: Option<Command>, text: &[u8], late: bool) {
        let (waits, over) = (self.model.borrow().waits(), self.model.borrow().is_over());
        match (command, code) {
            (Some(Command::Auth), 234) if !waits && !over => self.line.start_tls(&self.config),
            // There were octets behind it: the connection ends, one way or another.
            (Some(Command::Auth), _) if over => self.deaf.set(true),
            (Some(Command::Rein), _) if self.line.is_protected() => self.leaving.set(true),
            (Some(Command::Ccc), 200) => self.leaving.set(true),
            (Some(Command::Epsv), 229) => self.meet(Some(port_of_epsv(text)), late),
            (Some(Command::Pasv), 227) => self.meet(Some(port_of_pasv(text)), late),
            (Some(Command::Port), 200) => self.meet(None, late),
            (None, 150) => self.carry(),
            _ if !self.model.borrow().has_data() => {
                self.rendezvous.replace(None);
            }
            _ => {}
        }
    }

    /// The next transfer has an address.
    fn meet(&self, port: Option<u16>, late: bool) {
        let mut random = self.random.borrow_mut();
        let fault = if self.swarm.data_faults && random.one_in(2) {
            random.pick(&[
                Fault::NotOpened,
                Fault::BadHandshake,
                Fault::BareFin,
                Fault::Reset,
                Fault::Stall,
            ])
        } else {
            Fault::None
        };
        // A transfer that is asked for already may be connected.
        let asked = port.is_none() && self.model.borrow().waits();
        let fault = if asked && fault == Fault::NotOpened { Fault::None } else { fault };
        // Whom the server cannot connect to does not listen.
        match (port, fault) {
            (None, Fault::NotOpened) => self.listener.shut_down(),
            (None, _) => self.listener.listen_again(8).unwrap(),
            _ => {}
        }
        // The next announcement may name the same port, and take this connection for its own.
        let again = self.model.borrow().waits_for(|it| matches!(it, Command::Epsv | Command::Pasv));
        let early = port.filter(|_| fault != Fault::NotOpened && !again && random.one_in(2));
        let early = early.and_then(|port| connect_to(port).ok());
        self.rendezvous.replace(Some(Rendezvous { port, fault, early, late }));
    }

    /// A transfer begins.
    fn carry(self: &Rc<Self>) {
        let rendezvous = self.rendezvous.take();
        let Rendezvous { port, fault, early, late } = rendezvous.expect("150 needs an address");
        self.note(format!("runs {} {fault:?}", self.model.borrow().running()));
        let mut carrier = Carrier {
            world: self.world.clone(),
            config: self.config.clone(),
            fault,
            random: Random::new(self.random.borrow_mut().next()),
            upload: self.model.borrow().is_upload(),
            private: self.model.borrow().is_private(),
        };
        let player = self.clone();
        self.carrying.replace(Some(spawn(async move {
            let stream = match (early, port) {
                (_, None) => player.accept(fault).await,
                (None, Some(_)) if fault == Fault::NotOpened => None,
                (None, Some(port)) => connect_to(port).ok(),
                (early, _) => early,
            };
            if stream.is_none() && late {
                carrier.fault = Fault::NotOpened;
            }
            carrier.carry(stream).await
        })));
    }

    /// The server's connection to the client's port.
    async fn accept(&self, fault: Fault) -> Option<Stream> {
        if fault == Fault::NotOpened {
            return None;
        }
        let mut exhausted = |_: &std::io::Error| {};
        let accepting = self.listener.accept(&mut exhausted);
        timeout_at(clock::now() + Duration::from_secs(40), accepting).await.ok().flatten()
    }

    /// How the transfer went that is over by now.
    async fn carried(&self) -> Result<Option<Moved>, String> {
        let Some(carrying) = self.carrying.take() else { return Ok(None) };
        let since = clock::now();
        let moved = timeout_at(since + Duration::from_secs(900), carrying).await;
        if clock::now() - since > Duration::from_secs(20) {
            self.late.set(self.model.borrow().waiting());
        }
        let moved = moved.map_err(|_| "the server keeps a data connection of what is over")?;
        let (end, count) = (moved.end, moved.octets.len());
        self.note(format!("carried {count} octets, {end:?}, whole: {}", moved.whole));
        Ok(Some(moved))
    }

    fn publish_the_part(&self, moved: &Moved) {
        let goes_to = self.model.borrow().upload_goes_to();
        if let (Canary::PartialUpload, Some((user, path))) = (self.canary, goes_to)
            && !moved.octets.is_empty()
        {
            self.world.put_for(user, &path, &moved.octets);
        }
    }

    async fn speak(self: Rc<Self>) {
        loop {
            self.news.notified().await;
            let pause = match self.random.borrow_mut().below(400) {
                0 => 400_000,
                1..10 => 3_000,
                number => number as u64 / 10,
            };
            sleep_until(clock::now() + Duration::from_millis(pause)).await;
            while !self.is_busy() {
                let left = self.script.borrow().len();
                if self.cut_at == Some(left) {
                    return self.is_cut();
                }
                let Some(step) = self.script.borrow_mut().pop_front() else { return };
                self.waiting.set(step.wait);
                self.note(format!("say {:?}", step.command));
                self.model.borrow_mut().sent(step.command);
                self.say(&step.command.line());
                let last = left == 1 && self.cut_at.is_none();
                if last
                    && self.swarm.half_close
                    && !self.swarm.behind
                    && !step.command.changes_wire()
                {
                    self.end();
                }
            }
        }
    }

    fn is_busy(&self) -> bool {
        let model = self.model.borrow();
        self.leaving.get()
            || self.line.is_handshaking()
            || model.is_over()
            || (self.waiting.get() && model.waits())
    }

    fn say(&self, octets: &[u8]) {
        self.last_said.set(clock::now());
        self.line.say(octets);
    }

    /// close_notify, FIN, or both, right behind the last command.
    fn end(&self) {
        self.note("the client sends no more".into());
        let how = self.random.borrow_mut().below(3);
        if how < 2 {
            self.line.close_notify();
        }
        if !self.line.is_protected() || how > 0 {
            self.line.leave(Leaving::EndsSending);
        }
        self.model.borrow_mut().ends_sending();
    }

    /// The connection breaks in the middle of a line, at any octet of it.
    fn is_cut(&self) {
        let next = self.script.borrow().front().map(|step| step.command);
        let command = next.unwrap_or(Command::Dele(b"a"));
        let line = command.line();
        let mut random = self.random.borrow_mut();
        // Often just before its CR LF, or in it: there it would be executed first.
        let mut length = match random.below(4) {
            0 => line.len() - 1,
            1 => line.len() - 2,
            _ => random.below(line.len()),
        };
        let how = random.pick(&[Leaving::EndsSending, Leaving::Closes, Leaving::Resets]);
        drop(random);
        self.note(match how {
            Leaving::Resets => "the connection is reset".into(),
            _ => format!("the client is gone: {how:?}"),
        });
        self.note(format!("say {length} octets of {command:?}"));
        if self.canary == Canary::CutLine {
            length = line.len();
        }
        self.say(&line[..length]);
        self.model.borrow_mut().ends_sending();
        // The part of a line behind AUTH ends the connection, one way or another.
        let behind_auth = self.model.borrow().waits_for(|command| command == Command::Auth);
        self.deaf.set(self.deaf.get() || behind_auth || how != Leaving::EndsSending);
        self.line.leave(how);
    }
}

fn connect_to(port: u16) -> std::io::Result<Stream> {
    let server = SocketAddr::new(Ipv4Addr::from(SERVER).into(), port);
    let client = SocketAddr::new(Ipv4Addr::from(CLIENT).into(), 0);
    let mut connecting = Box::pin(connect(client, server, None));
    // A simulated connection is made at once.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match connecting.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => unreachable!("it waits for nothing"),
    }
}

fn numbers(text: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(text);
    let numbers = text.split(|letter: char| !letter.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

fn port_of_epsv(text: &[u8]) -> u16 {
    numbers(text)[1]
}

fn port_of_pasv(text: &[u8]) -> u16 {
    let numbers = numbers(text);
    numbers[5] * 256 + numbers[6]
}
