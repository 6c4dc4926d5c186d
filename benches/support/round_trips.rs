//! Clients that ask and are answered over TCP on loopback, on a CPU of their own, and what that
//! costs servers.

#![allow(clippy::print_stdout, reason = "its report")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use ringftpd::sys::cpu;

/// Octets of a question, and of an answer.
pub const OCTETS: usize = 24;

/// Sessions in use at a time, and those that say nothing.
const CASES: [(usize, usize); 4] = [(1, 0), (20, 0), (64, 2_000), (512, 0)];

/// A server by its name. Given a listener and the number of connections to expect, it returns its
/// thread's nanoseconds and, if it knows them, its calls of io_uring_enter(2), from when all are
/// there to when all are gone.
pub type Server<'a> = (&'a str, &'a dyn Fn(TcpListener, usize) -> (u64, Option<u64>));

/// Prints what a round trip costs each server in each of the cases, in interleaved rounds.
pub fn compare(servers: &[Server<'_>]) {
    let (trips, rounds) = (super::size(600, 60_000), super::size(1, 5));
    println!("round trips                   active   idle  median us  least  calls");
    for (active, idle) in CASES {
        let idle = super::size(idle.min(20), idle);
        let mut results = vec![Vec::new(); servers.len()];
        for _ in 0..rounds {
            for ((_, server), results) in servers.iter().zip(&mut results) {
                results.push(run(server, active, idle, trips));
            }
        }
        for ((name, _), mut results) in servers.iter().zip(results) {
            results.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (median, calls) = results[results.len() / 2];
            let calls = calls.map(|calls| format!("{calls:.2}")).unwrap_or_default();
            let least = results[0].0;
            println!("{name:28}  {active:6}  {idle:5}  {median:9.2}  {least:5.2}  {calls:>5}");
        }
    }
}

/// Microseconds of the server's thread and its system calls, per round trip.
#[expect(clippy::cast_precision_loss, reason = "a report of three digits")]
fn run(
    server: impl Fn(TcpListener, usize) -> (u64, Option<u64>),
    active: usize,
    idle: usize,
    trips: usize,
) -> (f64, Option<f64>) {
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

/// CPU time of the calling thread.
pub fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
