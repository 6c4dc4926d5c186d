//! Ten thousand tasks over the kernel's ring, ended at random in whatever they do; afterwards no
//! descriptor, no block, no operation and no task is left. A program of its own, for it counts its
//! descriptors.

#![allow(clippy::unwrap_used, reason = "a test that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "what is not tested, and counts")]

mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ringftpd_reactor::{
    Accepting, Block, Descriptor, Home, Listener, Socket, Task, close, connect, counters, now,
    read_at, readable, sleep_until, spawn, timeout_at, writable, yield_now,
};
use support::{eventually, open_files, pair, with_each_level};

const TASKS: usize = 10_000;

/// Sockets, of which many tasks wait for the same one.
const PAIRS: usize = 200;

#[derive(Default)]
struct Shelf(Cell<usize>);

impl Home for Shelf {
    fn take_back(&self, _: Vec<u8>) {
        self.0.set(self.0.get() - 1);
    }
}

/// Pseudo-random numbers (`SplitMix64`).
struct Random(Cell<u64>);

impl Random {
    fn below(&self, end: u64) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mixed = self.0.get();
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn index(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}

struct World {
    random: Random,
    shelf: Rc<Shelf>,
    pairs: Vec<(Descriptor, TcpStream)>,
    listener: Listener,
    address: std::net::SocketAddr,
    file: Descriptor,
    accepted: Cell<usize>,
    connected: Cell<usize>,
}

impl World {
    fn new() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        Self {
            random: Random(Cell::new(0x5eed)),
            shelf: Rc::default(),
            pairs: (0..PAIRS).map(|_| pair()).collect(),
            listener: Listener::new(OwnedFd::from(socket).into(), Accepting::Ahead(16)),
            address,
            file: OwnedFd::from(file).into(),
            accepted: Cell::new(0),
            connected: Cell::new(0),
        }
    }

    fn block(&self) -> Block {
        self.shelf.0.set(self.shelf.0.get() + 1);
        Block::of(vec![0; 2 * Block::ALIGNMENT], self.shelf.clone())
    }
}

/// Two things of everything there is to wait for.
async fn dabble(world: Rc<World>) {
    for _ in 0..2 {
        let (server, client) = &world.pairs[world.random.index(PAIRS)];
        let patience = now() + Duration::from_micros(world.random.below(5_000));
        match world.random.below(8) {
            0 => drop(timeout_at(patience, readable(server)).await),
            1 => drop(timeout_at(patience, writable(server)).await),
            2 => sleep_until(patience).await,
            3 => {
                let read = read_at(&world.file, 5, world.block(), 0..usize::MAX);
                if let Ok((count, block)) = timeout_at(patience, read).await {
                    assert!(block[..count.unwrap()].iter().all(|octet| *octet == 7));
                }
            }
            4 => {
                let socket = Socket::new(server.clone());
                socket.start_receive(world.block()).unwrap();
                (&*client).write_all(b"xyz").unwrap();
                drop(timeout_at(patience, socket.received()).await);
            }
            5 => {
                if let Ok(Ok(connection)) = timeout_at(patience, world.listener.accept()).await {
                    world.accepted.set(world.accepted.get() + 1);
                    drop(timeout_at(patience, close(connection)).await);
                }
            }
            6 => {
                let kind = (socket2::Domain::IPV4, socket2::Type::STREAM);
                let socket = socket2::Socket::new(kind.0, kind.1, None).unwrap();
                if timeout_at(patience, connect(socket.into(), world.address)).await.is_ok() {
                    world.connected.set(world.connected.get() + 1);
                }
            }
            _ => yield_now().await,
        }
    }
}

async fn everything() {
    let open = open_files();
    let world = Rc::new(World::new());
    let mut tasks: Vec<Task<()>> = Vec::new();
    for number in 0..TASKS {
        tasks.push(spawn(dabble(Rc::clone(&world))));
        if number % 500 == 499 {
            // So that the first ones wait in the kernel.
            yield_now().await;
        }
        if number % 3 == 2 {
            let chosen = world.random.index(tasks.len());
            drop(tasks.swap_remove(chosen));
        }
    }
    println!("{:?}", counters());
    for task in tasks {
        match world.random.below(4) {
            0 => drop(task),
            _ => task.await,
        }
    }
    println!("{} accepted, {} connected", world.accepted.get(), world.connected.get());
    assert!(world.accepted.get() > 0 && world.connected.get() > 0);
    let shelf = Rc::clone(&world.shelf);
    assert_eq!(Rc::strong_count(&world), 1, "a task lives");
    let World { pairs, .. } = Rc::into_inner(world).unwrap();
    // Whatever the tasks have left of it: the sockets work.
    for (server, mut client) in pairs.into_iter().take(20) {
        let socket = Socket::new(server);
        (&client).write_all(b"end").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut last = Vec::new();
        while !last.ends_with(b"end") {
            socket.start_receive(Block::new(10)).unwrap();
            let (count, block) = socket.received().await.unwrap();
            last.extend_from_slice(&block[..count.unwrap()]);
        }
        drop(socket);
        let _ = client.read(&mut [0]);
    }
    let left = || (counters().in_flight, counters().tasks, shelf.0.get(), open_files());
    // The read that ends the executor's sleep, and the main task.
    let clean = |(operations, tasks, blocks, files)| {
        operations <= 1 && tasks == 1 && blocks == 0 && files == open
    };
    assert!(eventually(|| clean(left())).await, "{:?} {open}", left());
}

#[test]
fn ten_thousand_tasks_leave_nothing() {
    thread_local!(static RUNS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) });
    with_each_level(&ringftpd_reactor::Builder::new(), everything);
    RUNS.with_borrow_mut(|runs| runs.push(open_files()));
    // Rings and all: the second round begins with what the first one began with.
    with_each_level(&ringftpd_reactor::Builder::new(), everything);
    RUNS.with_borrow(|runs| assert_eq!(runs[..], [open_files()]));
}
