//! Clients that ask and are answered over TCP on loopback, on a CPU of their own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use ringftpd::sys::cpu;

/// Octets of a question, and of an answer.
pub const OCTETS: usize = 24;

/// Sessions in use at a time, and those that say nothing.
pub const CASES: [(usize, usize); 4] = [(1, 0), (20, 0), (64, 2_000), (512, 0)];

/// Microseconds of the server's thread and its calls of io_uring_enter(2), per round trip. `server`
/// is given a listener and the number of connections to expect, and returns the thread's
/// nanoseconds and, if it knows them, its calls, from when all are there to when all are gone.
#[expect(clippy::cast_precision_loss, reason = "a report of three digits")]
pub fn run(
    server: impl FnOnce(TcpListener, usize) -> (u64, Option<u64>),
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
