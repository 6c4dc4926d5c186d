//! What the simulated client says: commands, scripts, and which of them a seed uses at all.

/// Deterministic random numbers: SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Names clients use: a CR LF, a quote and 0xFF in one of them.
pub(super) const NAMES: [&[u8]; 6] = [b"a", b"b", b"dir", b"dir/x", b"/a", b"q\"\r\n\xff"];

/// A file that is as long as its file system has them.
pub(super) const VAST: &[u8] = b"/vast";

/// A file that no socket holds.
pub(super) const BIG: &[u8] = b"/big";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The 220 of a new connection, which nobody asked for.
    Greeting,
    User(&'static str),
    Pass(bool),
    Auth,
    Pbsz,
    Prot(char),
    Ccc,
    Rein,
    Quit,
    Noop,
    Feat,
    Stat,
    Abor,
    Type(char),
    Epsv,
    EpsvAll,
    Pasv,
    Port,
    Rest(u64),
    /// ALLO of more octets than a disk has.
    Allo,
    Retr(&'static [u8]),
    Stor(&'static [u8]),
    Appe(&'static [u8]),
    Mlsd,
    Mkd(&'static [u8]),
    Rmd(&'static [u8]),
    Dele(&'static [u8]),
    Rnfr(&'static [u8]),
    Rnto(&'static [u8]),
    Cwd(&'static [u8]),
    Pwd,
    Size(&'static [u8]),
    Unknown,
    TooLong,
}

impl Command {
    /// The octets on the wire, Telnet-encoded, with CRLF.
    pub(super) fn line(self) -> Vec<u8> {
        let named = |verb: &str, name: &[u8]| {
            let mut line = format!("{verb} ").into_bytes();
            for &octet in name {
                match octet {
                    b'\r' => line.extend_from_slice(b"\r\0"),
                    0xff => line.extend_from_slice(b"\xff\xff"),
                    octet => line.push(octet),
                }
            }
            line
        };
        let mut line = match self {
            Self::Greeting => return Vec::new(),
            Self::User(name) => named("USER", name.as_bytes()),
            Self::Pass(right) => named("PASS", if right { b"secret" } else { b"wrong" }),
            Self::Prot(level) => format!("PROT {level}").into_bytes(),
            Self::Type(code) => format!("TYPE {code}").into_bytes(),
            Self::Rest(marker) => format!("REST {marker}").into_bytes(),
            Self::Retr(name) => named("RETR", name),
            Self::Stor(name) => named("STOR", name),
            Self::Appe(name) => named("APPE", name),
            Self::Mkd(name) => named("MKD", name),
            Self::Rmd(name) => named("RMD", name),
            Self::Dele(name) => named("DELE", name),
            Self::Rnfr(name) => named("RNFR", name),
            Self::Rnto(name) => named("RNTO", name),
            Self::Cwd(name) => named("CWD", name),
            Self::Size(name) => named("SIZE", name),
            Self::TooLong => vec![b'x'; 9_000],
            // Telnet IP and DM before it, as RFC 959 §4.1.3 has it.
            Self::Abor => b"\xff\xf4\xff\xf2ABOR".to_vec(),
            _ => self.fixed().as_bytes().to_vec(),
        };
        line.extend_from_slice(b"\r\n");
        line
    }

    fn fixed(self) -> &'static str {
        match self {
            Self::Auth => "AUTH TLS",
            Self::Pbsz => "PBSZ 0",
            Self::Ccc => "CCC",
            Self::Rein => "REIN",
            Self::Quit => "QUIT",
            Self::Allo => "ALLO 1000000000000000000",
            Self::Noop => "noop",
            Self::Feat => "FEAT",
            Self::Stat => "STAT",
            Self::Epsv => "EPSV",
            Self::EpsvAll => "EPSV ALL",
            Self::Pasv => "PASV",
            Self::Port => "PORT 192,0,2,7,200,1",
            Self::Mlsd => "MLSD",
            Self::Pwd => "PWD",
            _ => "XYZZY",
        }
    }

    pub(super) fn is_transfer(self) -> bool {
        matches!(self, Self::Retr(_) | Self::Stor(_) | Self::Appe(_) | Self::Mlsd)
    }

    /// Commands after which the next octet may belong to another state.
    pub(super) fn changes_wire(self) -> bool {
        matches!(self, Self::Auth | Self::Rein | Self::Ccc | Self::Quit)
    }
}

/// One thing the client says, and whether it waits for every answer before it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) command: Command,
    pub(super) wait: bool,
}

/// What a seed does and does not do. Leaving whole groups out reaches states that a mixture of
/// everything hardly ever reaches (swarm testing).
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) implicit: bool,
    pub(super) tls_required: bool,
    pub(super) pipelining: bool,
    pub(super) storage_faults: bool,
    pub(super) data_faults: bool,
    pub(super) cut: bool,
    /// The client ends its sending direction behind its last command, and reads on.
    pub(super) half_close: bool,
    pub(super) drain: bool,
    /// Commands behind AUTH, REIN and CCC.
    pub(super) behind: bool,
    groups: [bool; 6],
}

impl Swarm {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut groups = [false; 6];
        for group in &mut groups {
            *group = !random.one_in(3);
        }
        Self {
            implicit: random.one_in(2),
            tls_required: random.one_in(2),
            pipelining: random.one_in(2),
            storage_faults: random.one_in(2),
            data_faults: random.one_in(2),
            cut: random.one_in(3),
            half_close: random.one_in(3),
            drain: random.one_in(8),
            behind: random.one_in(4),
            groups,
        }
    }

    fn commands(&self, random: &mut Random) -> Vec<Command> {
        let name = random.pick(&NAMES);
        let transfers = [
            Command::Retr(name),
            Command::Retr(name),
            Command::Retr(BIG),
            Command::Stor(name),
            Command::Stor(name),
            Command::Appe(name),
            Command::Appe(random.pick(&[name, VAST])),
            Command::Mlsd,
            Command::Rest(random.next() % 12),
            random.pick(&[Command::Noop, Command::Noop, Command::Allo]),
        ];
        let groups: [&[Command]; 6] = [
            &transfers,
            &[Command::Mkd(name), Command::Rmd(name), Command::Dele(name), Command::Cwd(name)],
            &[Command::Rnfr(name), Command::Rnto(name), Command::Pwd, Command::Size(name)],
            &[Command::Abor, Command::Stat, Command::Noop, Command::Feat, Command::Unknown],
            &[Command::Port, Command::Pasv, Command::EpsvAll, Command::TooLong],
            &[
                Command::Rein,
                Command::Auth,
                Command::Ccc,
                Command::User("bob"),
                Command::Pass(false),
                Command::Prot('C'),
            ],
        ];
        let mut all = vec![Command::Noop, Command::Type('I'), Command::Type('A')];
        for (commands, on) in groups.iter().zip(self.groups) {
            if on {
                all.extend_from_slice(commands);
            }
        }
        all
    }

    /// The whole script: log-ins and random commands by turns, QUIT or not at the end.
    pub(super) fn script(&self, random: &mut Random) -> Vec<Step> {
        let mut script = Vec::new();
        let say = |script: &mut Vec<Step>, command: Command| {
            script.push(Step { command, wait: true });
        };
        for _ in 0..=random.below(3) {
            if !self.implicit && (self.tls_required || random.one_in(2)) {
                say(&mut script, Command::Auth);
            }
            say(&mut script, Command::User(random.pick(&["ann", "ann", "bob"])));
            say(&mut script, Command::Pass(!random.one_in(10)));
            if !random.one_in(5) {
                say(&mut script, Command::Pbsz);
                say(&mut script, Command::Prot('P'));
            }
            for _ in 0..random.below(30) {
                let commands = self.commands(random);
                self.add(&mut script, random.pick(&commands), random);
            }
            if random.one_in(2) {
                self.add(&mut script, Command::Rein, random);
            }
        }
        if !random.one_in(4) {
            say(&mut script, Command::Quit);
        }
        script
    }

    fn add(&self, script: &mut Vec<Step>, command: Command, random: &mut Random) {
        let wait = |random: &mut Random| !self.pipelining || random.one_in(4);
        if command.is_transfer() && !random.one_in(6) {
            script.push(Step { command: Command::Epsv, wait: wait(random) });
        }
        let wait = if command.changes_wire() { !self.behind } else { wait(random) };
        script.push(Step { command, wait });
        // What a client says next goes with a transfer, or with the name of RNFR.
        match command {
            Command::Rnfr(_) => {
                let to = Command::Rnto(random.pick(&NAMES));
                script.push(Step { command: to, wait: true });
            }
            Command::Stor(_) | Command::Retr(_) if random.one_in(4) => {
                if let Some(step) = script.last_mut() {
                    step.wait = false;
                }
                let meanwhile = random.pick(&[Command::Abor, Command::Stat, Command::Noop]);
                script.push(Step { command: meanwhile, wait: true });
            }
            _ => {}
        }
    }
}
