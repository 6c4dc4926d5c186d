//! What a round trip costs the server's thread: 24 octets come, 24 go, and the session waits again.
//! The same loop on the reactor of `src/reactor`, by readiness and by receives of the ring, and
//! through `src/runtime`, which stands on the reactor or (`--features glommio`) on glommio. TCP
//! over loopback; the clients have a CPU of their own.
//!
//! Prints the thread's CPU time per round trip, and for the reactor its system calls; those through
//! `src/runtime` are counted by `strace -c` (benches/README.md).

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use ringftpd::runtime;
use ringftpd::sys::cpu;
use ringftpd_reactor::{Accepting, Block, Builder, Descriptor, Listener, Socket, counters};
use rustix::net::{RecvFlags, SendFlags};
use support::round_trips::{OCTETS, Server, compare, cpu_nanoseconds};

fn main() {
    let asked: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut servers: Vec<Server<'_>> = vec![
        ("reactor", &by_readiness),
        ("reactor_receive", &by_receives),
        ("runtime", &on_runtime),
    ];
    servers.retain(|(name, _)| asked.is_empty() || asked.iter().any(|word| word == name));
    compare(&servers);
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
