//! What a round trip costs the server's thread: 24 octets come, 24 go, and the session waits again.
//! The same loop on the reactor of `src/reactor`, by readiness and by receives of the ring, and
//! through `src/runtime`, which stands on the reactor or (`--features glommio`) on glommio. TCP
//! over loopback; the clients have a CPU of their own.
//!
//! Prints the thread's CPU time per round trip, and for the reactor its system calls; those through
//! `src/runtime` are counted by `strace -c` (benches/README.md).

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "its report")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread;

use ringftpd::runtime;
use ringftpd::sys::cpu;
use ringftpd_reactor::{Accepting, Block, Builder, Descriptor, Listener, Socket, counters};
use rustix::net::{RecvFlags, SendFlags};

const OCTETS: usize = 24;

/// Sessions in use at a time, and those that say nothing.
const CASES: [(usize, usize); 4] = [(1, 0), (20, 0), (64, 2_000), (512, 0)];

/// What drives the server's thread: its CPU time and its system calls for this number of sessions.
type Server = fn(TcpListener, usize) -> (u64, Option<u64>);

const SERVERS: [(&str, Server); 3] =
    [("reactor", by_readiness), ("reactor_receive", by_receives), ("runtime", on_runtime)];

fn main() {
    let asked: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let (trips, rounds) = (support::size(600, 60_000), support::size(1, 5));
    println!("server           active   idle  us/round trip median  least  calls/round trip");
    for (active, idle) in CASES {
        let idle = support::size(idle.min(20), idle);
        let mut results = SERVERS.map(|_| Vec::new());
        for _ in 0..rounds {
            for ((name, server), results) in SERVERS.into_iter().zip(&mut results) {
                if asked.is_empty() || asked.iter().any(|word| word == name) {
                    results.push(run(server, active, idle, trips));
                }
            }
        }
        for ((name, _), mut results) in SERVERS.into_iter().zip(results) {
            results.sort_by(|a, b| a.0.total_cmp(&b.0));
            let Some((median, calls)) = results.get(results.len() / 2) else { continue };
            let calls = calls.map(|calls| format!("{calls:.2}")).unwrap_or_default();
            let least = results[0].0;
            println!("{name:15}  {active:6}  {idle:5}  {median:20.2}  {least:5.2}  {calls}");
        }
    }
}

/// Microseconds of the server's thread and its system calls, per round trip.
#[expect(clippy::cast_precision_loss, reason = "a report of three digits")]
fn run(server: Server, active: usize, idle: usize, trips: usize) -> (f64, Option<f64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let cpus = cpu::available();
    let clients = thread::spawn(move || {
        cpu::pin_current_thread(*cpus.last().unwrap()).unwrap();
        converse(address, active, idle, trips);
    });
    let (nanoseconds, calls) = server(listener, active + idle);
    clients.join().unwrap();
    let trips = (trips / active * active) as f64;
    (nanoseconds as f64 / 1e3 / trips, calls.map(|calls| calls as f64 / trips))
}

/// All active sessions ask, then all are answered: as many are ready at once.
fn converse(address: SocketAddr, active: usize, idle: usize, trips: usize) {
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        client
    };
    let silent: Vec<TcpStream> = (0..idle).map(|_| connect()).collect();
    let mut clients: Vec<TcpStream> = (0..active).map(|_| connect()).collect();
    let mut answer = [0; OCTETS];
    for round in 0..trips / active {
        let question = [round.to_le_bytes()[0]; OCTETS];
        for client in &mut clients {
            client.write_all(&question).unwrap();
        }
        for client in &mut clients {
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, question);
        }
    }
    drop((clients, silent));
}

fn by_readiness(listener: TcpListener, sessions: usize) -> (u64, Option<u64>) {
    on_reactor(listener, sessions, async |connection: OwnedFd| {
        let socket = Descriptor::from(connection);
        let mut octets = [0; OCTETS];
        loop {
            ringftpd_reactor::readable(&socket).await.unwrap();
            let (count, _) = rustix::net::recv(&socket, &mut octets, RecvFlags::DONTWAIT).unwrap();
            if count == 0 {
                return;
            }
            rustix::net::send(&socket, &octets[..count], SendFlags::DONTWAIT).unwrap();
        }
    })
}

fn by_receives(listener: TcpListener, sessions: usize) -> (u64, Option<u64>) {
    on_reactor(listener, sessions, async |connection: OwnedFd| {
        let socket = Socket::new(connection.into());
        let mut spare = Some(Block::new(OCTETS));
        while let Some(block) = spare.take() {
            socket.start_receive(block).unwrap();
            let (count, block) = socket.received().await.unwrap();
            let count = count.unwrap();
            if count == 0 {
                return;
            }
            rustix::net::send(&socket, &block[..count], SendFlags::DONTWAIT).unwrap();
            spare = Some(block);
        }
    })
}

fn on_reactor(
    listener: TcpListener,
    sessions: usize,
    session: impl AsyncFn(OwnedFd) + Clone + 'static,
) -> (u64, Option<u64>) {
    cpu::pin_current_thread(cpu::available()[0]).unwrap();
    let executor = Builder::new().build().unwrap();
    let main = async move {
        let listener = Listener::new(OwnedFd::from(listener).into(), Accepting::Ahead(256));
        let mut tasks = Vec::new();
        let session = Rc::new(session);
        for _ in 0..sessions {
            let (connection, session) = (listener.accept().await.unwrap(), Rc::clone(&session));
            tasks.push(ringftpd_reactor::spawn(async move { session(connection).await }));
        }
        let (before, calls) = (cpu_nanoseconds(), counters().ring.enters);
        for task in tasks {
            task.await;
        }
        (cpu_nanoseconds() - before, Some(counters().ring.enters - calls))
    };
    executor.run(main).unwrap()
}

fn on_runtime(listener: TcpListener, sessions: usize) -> (u64, Option<u64>) {
    let main = move || async move {
        let listener = runtime::Listener::adopt(listener).unwrap();
        let mut tasks = Vec::new();
        for _ in 0..sessions {
            let stream = listener.accept(&mut |_| {}).await.unwrap();
            tasks.push(runtime::spawn(async move {
                let mut octets = [0; OCTETS];
                loop {
                    let mut to = &mut octets[..];
                    let count = stream.read_with::<OCTETS>(|from| to.write_all(from).unwrap());
                    let count = count.await.unwrap();
                    if count == 0 {
                        return;
                    }
                    stream.try_write(&octets[..count]).unwrap();
                }
            }));
        }
        let before = cpu_nanoseconds();
        for task in tasks {
            task.await;
        }
        (cpu_nanoseconds() - before, None)
    };
    runtime::spawn_shard("bench", cpu::available()[0], main).unwrap().join().unwrap()
}

/// CPU time of the calling thread.
fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
