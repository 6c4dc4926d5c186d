//! The least a protected download can cost: an aligned `pread` of a file in the page cache, the
//! records sealed out of place into a wire buffer, one `send` to a loopback socket whose other end
//! drops what comes. No protocol, no executor, one blocking thread; ringftpd's own CPU time per GB
//! is held against it (benches/README.md says how).
//!
//! Prints CPU time per GB (10^9 octets) of the sending thread, as the kernel accounts it, by octets
//! of plaintext per send and octets per read.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "its report")]

mod support;

use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::thread;

use ringftpd::sys::cpu;
use ringftpd::tls::{Channel, Purpose};
use rustix::net::RecvFlags;
use support::Random;
use support::tls::{Ends, KINDS};

const KIB: usize = 1024;

/// Octets of plaintext per send, and of those per read.
const CASES: [(usize, usize); 8] = [
    (64 * KIB, 64 * KIB),
    (256 * KIB, 16 * KIB),
    (256 * KIB, 64 * KIB),
    (256 * KIB, 256 * KIB),
    (512 * KIB, 64 * KIB),
    (512 * KIB, 128 * KIB),
    (512 * KIB, 512 * KIB),
    (1024 * KIB, 1024 * KIB),
];

/// Buffers start at a page, as those of the server's pool do.
const PAGE: usize = 4 * KIB;

fn main() {
    let file_size = support::size(2 << 20, 256 << 20);
    let passes = support::size(1, 4);
    let rounds = support::size(1, 7);
    let file = content(file_size);
    let mut costs = vec![Vec::new(); CASES.len()];
    let cpus = cpu::available();
    // The receiver has a CPU of its own, as clients do: one on the sender's is cheaper to wake.
    let receivers_cpu = *cpus.last().unwrap();
    cpu::pin_current_thread(cpus[0]).unwrap();
    for _ in 0..rounds {
        for (case, costs) in CASES.iter().zip(&mut costs) {
            costs.push(run(&file, file_size, passes, *case, receivers_cpu));
        }
    }
    println!("batch KiB  read KiB  s/GB median  least");
    for ((batch, read), mut costs) in CASES.into_iter().zip(costs) {
        costs.sort_by(f64::total_cmp);
        let (median, least) = (costs[costs.len() / 2], costs[0]);
        println!("{:9}  {:8}  {median:11.3}  {least:.3}", batch / KIB, read / KIB);
    }
}

/// An unnamed file, all of it in the page cache.
fn content(size: usize) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let part = Random::new().octets(1 << 20);
    for _ in 0..size / part.len() {
        file.write_all(&part).unwrap();
    }
    support::report_work("content", &part);
    file
}

/// CPU seconds of this thread per GB.
#[expect(clippy::cast_precision_loss, reason = "a report of three digits")]
fn run(
    file: &File,
    size: usize,
    passes: usize,
    (batch, read): (usize, usize),
    receivers_cpu: usize,
) -> f64 {
    let mut channel = Ends::new(KINDS[0], false).connect(Purpose::Data).channel;
    let (sender, receiver) = sockets();
    let total = size * passes;
    let discarding = thread::spawn(move || {
        cpu::pin_current_thread(receivers_cpu).unwrap();
        discard(&receiver)
    });
    let before = cpu_nanoseconds();
    let wire = send(file, size, passes, &sender, &mut channel, (batch, read));
    let spent = cpu_nanoseconds() - before;
    drop(sender);
    assert_eq!(discarding.join().unwrap(), wire, "every octet sent arrived");
    assert!(wire > total, "records are longer than their plaintext");
    spent as f64 / total as f64
}

fn send(
    file: &File,
    size: usize,
    passes: usize,
    mut to: &TcpStream,
    channel: &mut Channel,
    (batch, read): (usize, usize),
) -> usize {
    let mut plain = vec![0; read + PAGE];
    let start = plain.as_ptr().align_offset(PAGE);
    let plain = &mut plain[start..][..read];
    let mut wire = vec![0; channel.sealed_len_max(batch) + PAGE];
    let start = wire.as_ptr().align_offset(PAGE);
    let wire = &mut wire[start..];
    let mut sent = 0;
    for position in (0..passes).flat_map(|_| (0..size).step_by(batch)) {
        let mut sealed = 0;
        for part in (position..(position + batch).min(size)).step_by(read) {
            file.read_exact_at(plain, part as u64).unwrap();
            sealed += channel.seal_into(plain, &mut wire[sealed..]).unwrap();
        }
        to.write_all(&wire[..sealed]).unwrap();
        sent += sealed;
    }
    sent
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (sender, listener.accept().unwrap().0)
}

/// Octets until the end, dropped in the kernel.
fn discard(socket: &TcpStream) -> usize {
    let mut sink = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let (_, count) = rustix::net::recv(socket, &mut sink[..], RecvFlags::TRUNC).unwrap();
        if count == 0 {
            return total;
        }
        total += count;
    }
}

/// Time this thread has been on a CPU (proc_pid_schedstat(5)).
fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
