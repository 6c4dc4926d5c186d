//! Every command in every state of the session, explicit and implicit, as one table.
//!
//! States: **P0** fresh, clear, TLS optional · **PR** fresh, clear, TLS demanded · **T** under TLS,
//! not logged in · **U** USER given · **L** logged in · **X** transfer running · **C** after CCC ·
//! **R** after REIN. Each cell is tried on a connection of its own.

use crate::fixture::{on_both, relaxed, strict};
use crate::support::{Client, End, Listener, Server};

/// Reply codes one command may have in each state. `C` is as `L` except where `after_ccc` says.
struct Row {
    command: &'static str,
    p0: &'static [u16],
    pr: &'static [u16],
    t: &'static [u16],
    u: &'static [u16],
    l: &'static [u16],
    after_ccc: Option<&'static [u16]>,
    implicit: Option<Implicit>,
}

/// Deviations of the implicit port: before the log-in, and after it.
#[derive(Clone, Copy)]
struct Implicit {
    before: &'static [u16],
    after: &'static [u16],
}

type Codes = &'static [u16];

const fn row(command: &'static str, before: Codes, l: Codes) -> Row {
    let (p0, pr, t, u) = (before, before, before, before);
    Row { command, p0, pr, t, u, l, after_ccc: None, implicit: None }
}

impl Row {
    const fn pr(mut self, codes: Codes) -> Self {
        self.pr = codes;
        self
    }
    const fn tls(mut self, codes: Codes) -> Self {
        (self.t, self.u) = (codes, codes);
        self
    }
    const fn u(mut self, codes: Codes) -> Self {
        self.u = codes;
        self
    }
    const fn ccc(mut self, codes: Codes) -> Self {
        self.after_ccc = Some(codes);
        self
    }
    const fn implicit(mut self, before: Codes, after: Codes) -> Self {
        self.implicit = Some(Implicit { before, after });
        self
    }
    const fn c(&self) -> Codes {
        match self.after_ccc {
            Some(codes) => codes,
            None => self.l,
        }
    }
    fn codes(&self, state: State, listener: Listener) -> Codes {
        match (self.implicit, listener) {
            (Some(codes), Listener::Implicit) if state == State::L => return codes.after,
            (Some(codes), Listener::Implicit) => return codes.before,
            _ => {}
        }
        match state {
            State::P0 => self.p0,
            State::PR => self.pr,
            State::T => self.t,
            State::U => self.u,
            State::L => self.l,
            State::C => self.c(),
        }
    }
}

const LOGIN: Codes = &[530];
const OK: Codes = &[200];
const TABLE: &[Row] = &[
    row("USER alice", &[331], &[331]).pr(LOGIN),
    row("PASS secret", &[503], &[503]).u(&[230]),
    row("PASS wrong", &[503], &[503]).u(&[530]),
    row("ACCT x", &[503], &[202]).pr(LOGIN),
    row("AUTH TLS", &[234], &[534]).tls(&[534]).ccc(&[534]),
    row("AUTH SSL", &[234], &[534]).tls(&[534]).ccc(&[534]),
    row("AUTH TLS-C", &[234], &[534]).tls(&[534]).ccc(&[534]),
    row("PBSZ 0", &[503], OK).tls(OK).ccc(&[533]),
    row("PROT P", &[503], OK).ccc(&[533]).implicit(OK, OK),
    row("PROT C", &[503], OK).ccc(&[533]).implicit(OK, OK),
    row("CCC", &[533], OK).tls(&[534]).ccc(&[533]).implicit(&[534], &[534]),
    row("REIN", &[220], &[220]),
    row("QUIT", &[221], &[221]),
    row("HOST ftp.example.test", &[220], &[503]),
    row("HOST ftp.example.test:21", &[501], &[503]),
    row("FEAT", &[211], &[211]),
    row("OPTS UTF8 ON", OK, OK),
    row("OPTS NOSUCH", &[501], &[501]),
    row("LANG", OK, OK),
    row("LANG xx", &[504], &[504]),
    row("SYST", &[215], &[215]),
    row("HELP", &[211, 214], &[211, 214]),
    row("NOOP", OK, OK),
    row("STAT", LOGIN, &[211]),
    row("STAT .", LOGIN, &[211, 212, 213]),
    row("STAT absent", LOGIN, &[550]),
    row("ABOR", &[226], &[226]),
    row("TYPE I", LOGIN, OK),
    row("TYPE E", LOGIN, &[504]),
    row("TYPE X", LOGIN, &[501]),
    row("MODE S", LOGIN, OK),
    row("MODE Z", LOGIN, &[504]),
    row("STRU F", LOGIN, OK),
    row("PASV", LOGIN, &[227]),
    row("EPSV", LOGIN, &[229]),
    row("PORT 127,0,0,1,100,100", LOGIN, OK),
    row("PORT 192,0,2,1,100,100", LOGIN, &[504]),
    row("EPRT |1|127.0.0.1|25700|", LOGIN, OK),
    row("EPRT |7|127.0.0.1|25700|", LOGIN, &[522]),
    row("REST 0", LOGIN, &[350]),
    row("REST x", LOGIN, &[501]),
    row("RETR file", LOGIN, &[425]),
    row("RETR absent", LOGIN, &[550, 425]),
    row("STOR new", LOGIN, &[425]),
    row("STOU", LOGIN, &[425]),
    row("APPE new", LOGIN, &[425]),
    row("LIST", LOGIN, &[425]),
    row("NLST", LOGIN, &[425]),
    row("MLSD", LOGIN, &[425]),
    row("MLST", LOGIN, &[250]),
    row("MLST absent", LOGIN, &[550]),
    row("SIZE file", LOGIN, &[213]),
    row("SIZE absent", LOGIN, &[550]),
    row("MDTM file", LOGIN, &[213]),
    row("MFMT 20200101000000 file", LOGIN, &[213]),
    row("MFF modify=20200101000000; file", LOGIN, &[213]),
    row("MFF nosuch=1; file", LOGIN, &[504]),
    row("HASH file", LOGIN, &[213]),
    row("CWD sub", LOGIN, &[250]),
    row("CWD absent", LOGIN, &[550]),
    row("CDUP", LOGIN, &[250]),
    row("PWD", LOGIN, &[257]),
    row("MKD new", LOGIN, &[257]),
    row("RMD sub", LOGIN, &[250]),
    row("RMD absent", LOGIN, &[550]),
    row("DELE file", LOGIN, &[250]),
    row("DELE absent", LOGIN, &[550]),
    row("RNFR file", LOGIN, &[350]),
    row("RNFR absent", LOGIN, &[550]),
    row("RNTO new", LOGIN, &[503]),
    row("ALLO 1", LOGIN, &[200, 202]),
    row("SITE HELP", LOGIN, &[211, 214]),
    row("SITE NOSUCH", LOGIN, &[500, 501, 502, 504]),
    row("SMNT x", LOGIN, &[502]),
    row("ADAT x", &[503], &[503]),
    row("MIC x", &[537], &[537]),
    row("CONF x", &[537], &[537]),
    row("ENC x", &[537], &[537]),
    row("XYZZY", &[500], &[500]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    P0,
    PR,
    T,
    U,
    L,
    C,
}

/// A client in the state; logged-in ones stand in a fresh directory of the test with `file` and
/// `sub`.
#[track_caller]
fn enter(server: &Server, listener: Listener, state: State, test: &str) -> Client {
    let mut client = match state {
        State::P0 | State::PR => Client::plain(server),
        State::T if listener == Listener::Explicit => {
            let mut client = Client::plain(server);
            client.auth();
            client
        }
        State::T | State::U | State::L | State::C => Client::open(server, listener),
    };
    match state {
        State::P0 | State::PR | State::T => {}
        State::U => {
            client.expect("USER alice", 331);
        }
        State::L | State::C => {
            let place = format!("{test}-{listener:?}").to_lowercase();
            let path = server.root().join(&place);
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("sub")).unwrap();
            std::fs::write(path.join("file"), "bytes").unwrap();
            client = client.login();
            client.expect(format!("CWD /{place}"), 250);
            if state == State::C {
                client.expect("CCC", 200);
                client.end_tls();
            }
        }
    }
    client
}

/// Tries every command in one state.
#[track_caller]
fn check(server: &Server, listener: Listener, state: State) {
    let mut faults = Vec::new();
    for row in TABLE {
        let codes = row.codes(state, listener);
        let mut client = enter(server, listener, state, &format!("state-{state:?}"));
        let reply = client.cmd(row.command);
        if !codes.contains(&reply.code) {
            let (command, code, text) = (row.command, reply.code, reply.text());
            faults.push(format!("{command} → {code} {text}, expected one of {codes:?}"));
            continue;
        }
        match (row.command, state) {
            ("QUIT", _) => drop(client.expect_close()),
            ("AUTH TLS" | "AUTH SSL" | "AUTH TLS-C", _) if reply.code == 234 => client.start_tls(),
            ("REIN", _) if client.wire.tls().is_some() => client.expect_end(End::CloseNotify),
            ("CCC", _) if reply.code == 200 => client.end_tls(),
            _ => drop(client.expect("NOOP", 200)),
        }
    }
    assert!(faults.is_empty(), "{listener:?} {state:?}:\n{}", faults.join("\n"));
}

/// [STATE-P0] Fresh explicit session, TLS optional.
#[test]
fn state_p0() {
    check(&relaxed(), Listener::Explicit, State::P0);
}

/// [STATE-PR] Fresh explicit session, TLS demanded.
#[test]
fn state_pr() {
    check(&strict(), Listener::Explicit, State::PR);
}

/// [STATE-T] Under TLS, not logged in: `PROT` wants `PBSZ` on explicit, and does not on implicit.
#[test]
fn state_t() {
    on_both(|listener| check(&relaxed(), listener, State::T));
}

/// [STATE-U] USER given, waiting for PASS. The explicit client has done PBSZ, so PROT is 200.
#[test]
fn state_u() {
    on_both(|listener| {
        let server = relaxed();
        for row in TABLE {
            let prot = row.command.starts_with("PROT");
            let codes = if prot { OK } else { row.codes(State::U, listener) };
            let mut client = enter(&server, listener, State::U, "state-u");
            let reply = client.cmd(row.command);
            let (command, text) = (row.command, reply.text());
            assert!(codes.contains(&reply.code), "{listener:?} {command} → {} {text}", reply.code);
        }
    });
}

/// [STATE-U] USER given in clear: AUTH TLS is possible and forgets it.
#[test]
fn state_u_in_clear() {
    let server = relaxed();
    for mechanism in ["TLS", "SSL", "TLS-C"] {
        let mut client = Client::plain(&server);
        client.expect("USER alice", 331);
        client.expect(format!("AUTH {mechanism}"), 234);
        client.start_tls();
        client.expect("PASS secret", 503);
    }
}

/// [STATE-L] Logged in under TLS.
#[test]
fn state_l() {
    on_both(|listener| check(&relaxed(), listener, State::L));
}

/// [STATE-L] Logged in, in clear: AUTH logs out, PBSZ and PROT are 503, CCC 533.
#[test]
fn state_l_in_clear() {
    let server = relaxed();
    for (command, code) in
        [("AUTH TLS", 234), ("AUTH SSL", 234), ("PBSZ 0", 503), ("PROT P", 503), ("CCC", 533)]
    {
        let mut client = Client::plain(&server).login();
        client.expect(command, code);
        if code == 234 {
            client.start_tls();
            client.expect("PWD", 530);
        } else {
            client.expect("PWD", 257);
        }
    }
}

/// [STATE-X] Transfer running: every command waits for its 226 and is then answered as in L;
/// STAT at once, ABOR 426 and 226, REIN and QUIT end the session after the 226.
#[test]
fn state_x() {
    let server = relaxed();
    on_both(|listener| {
        for row in TABLE {
            let mut client = enter(&server, listener, State::L, "state-x");
            let data = client.begin("STOR upload");
            client.send(row.command);
            if row.command == "STAT" {
                client.expect_reply(211);
            }
            if row.command == "ABOR" {
                client.expect_reply(426);
                client.expect_reply(226);
                continue;
            }
            client.deliver(data, b"bytes");
            if row.command != "STAT" {
                let codes = row.codes(State::L, listener);
                let reply = client.reply();
                let (command, text) = (row.command, reply.text());
                let known = codes.contains(&reply.code);
                assert!(known, "{listener:?} {command} → {} {text}", reply.code);
            }
        }
    });
}

/// [STATE-C] After CCC on explicit.
#[test]
fn state_c() {
    check(&relaxed(), Listener::Explicit, State::C);
}

/// [STATE-R] After REIN on explicit: as fresh, TLS optional or demanded.
#[test]
fn state_r_explicit() {
    for (server, state) in [(relaxed(), State::P0), (strict(), State::PR)] {
        for row in TABLE {
            let mut client = Client::explicit(&server).login();
            client.expect("REIN", 220);
            client.end_tls();
            let codes = row.codes(state, Listener::Explicit);
            let reply = client.cmd(row.command);
            let (command, text) = (row.command, reply.text());
            assert!(codes.contains(&reply.code), "{state:?} {command} → {} {text}", reply.code);
        }
    }
}

/// [STATE-R] After REIN on implicit nothing but a ClientHello is taken: each command in clear
/// closes the connection, unanswered.
#[test]
fn state_r_implicit() {
    let server = relaxed();
    for row in TABLE {
        let mut client = Client::implicit(&server).login();
        client.expect("REIN", 220);
        client.end_tls();
        let mut line = row.command.as_bytes().to_vec();
        line.extend_from_slice(b"\r\n");
        client.wire.send_raw(&line).unwrap();
        let (bytes, end) = client.wire.read_to_end();
        assert_ne!(end, End::Timeout, "{}", row.command);
        let alert = bytes.is_empty() || bytes[0] == 21;
        assert!(alert, "{}: {}", row.command, bytes.escape_ascii());
    }
}
