//! Operations over the kernel's ring.

#![allow(clippy::unwrap_used, reason = "a test that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "what is not tested, and counts")]

mod support;

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ringftpd_reactor::{
    Accepting, Block, Descriptor, Listener, Socket, Watched, close, connect, counters, now,
    read_at, readable, spawn, timeout_at, writable,
};
use rustix::fs::{Mode, OFlags};
use support::{at_each_level, eventually, pair, pause, poll_once};

#[test]
fn readiness() {
    at_each_level(async || {
        let (server, mut client) = pair();
        writable(&server).await.unwrap();
        for _ in 0..20 {
            assert!(poll_once(readable(&server)).await.is_none());
            pause(0).await;
        }
        let waiting = spawn({
            let server = server.clone();
            async move { readable(&server).await }
        });
        pause(2).await;
        client.write_all(b"x").unwrap();
        waiting.await.unwrap();
        // Nothing was taken: it is still readable.
        readable(&server).await.unwrap();
        // So are the end, and a reset.
        drop(client);
        readable(&server).await.unwrap();
    });
}

/// A wait for failure alone, by way of an epoll instance: a FIN does not end it, a reset does.
#[test]
fn failure() {
    use rustix::event::{Timespec, epoll};
    at_each_level(async || {
        let (server, client) = pair();
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let nothing = epoll::EventFlags::empty();
        epoll::add(&watch, &server, epoll::EventData::new_u64(0), nothing).unwrap();
        let watch = Descriptor::from(watch);
        let mut broken = spawn(async move {
            loop {
                readable(&watch).await.unwrap();
                let mut events = [std::mem::MaybeUninit::uninit()];
                let none = Some(&Timespec { tv_sec: 0, tv_nsec: 0 });
                if !epoll::wait(&watch, &mut events, none).unwrap().0.is_empty() {
                    return;
                }
            }
        });
        client.shutdown(Shutdown::Write).unwrap();
        pause(10).await;
        assert!(poll_once(&mut broken).await.is_none(), "a FIN is no failure");
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        broken.await;
    });
}

/// A full socket becomes writable when the peer reads.
#[test]
fn room() {
    at_each_level(async || {
        let (server, mut client) = pair();
        let file = std::fs::File::from(server.as_fd().try_clone_to_owned().unwrap());
        rustix::io::ioctl_fionbio(&file, true).unwrap();
        let mut sent = 0;
        while let Ok(count) = (&file).write(&[7; 65_536]) {
            sent += count;
        }
        assert!(timeout_at(now() + Duration::from_millis(20), writable(&server)).await.is_err());
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; sent];
            client.read_exact(&mut buffer).unwrap();
        });
        writable(&server).await.unwrap();
        assert!(eventually(|| reader.is_finished()).await);
    });
}

fn listen(accepting: Accepting) -> (Listener, SocketAddr, TcpListener) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, other) = (socket.local_addr().unwrap(), socket.try_clone().unwrap());
    (Listener::new(OwnedFd::from(socket).into(), accepting), address, other)
}

fn client_of(connection: &OwnedFd) -> SocketAddr {
    rustix::net::getpeername(connection).unwrap().unwrap().try_into().unwrap()
}

#[test]
fn every_connection_is_accepted_once_whoever_stops_waiting() {
    for accepting in [Accepting::OnDemand, Accepting::Ahead(1), Accepting::Ahead(1_000)] {
        at_each_level(move || async move {
            let (listener, address, _) = listen(accepting);
            let (mut clients, mut served) = (Vec::new(), Vec::new());
            for round in 0..100_u32 {
                assert!(poll_once(listener.accept()).await.is_none());
                if round % 2 == 0 {
                    pause(0).await;
                }
                clients.push(TcpStream::connect(address).unwrap());
                // Armed, and dropped with a connection on its way.
                let early = poll_once(listener.accept()).await;
                served.push(match early {
                    Some(connection) => connection.unwrap(),
                    None => listener.accept().await.unwrap(),
                });
            }
            let mut expected: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
            let mut found: Vec<_> = served.iter().map(client_of).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected);
            let flags = rustix::io::fcntl_getfd(&served[0]).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        });
    }
}

/// What was accepted ahead is bounded, and what is in the backlog beyond it is not lost.
#[test]
fn accepting_ahead_has_a_bound() {
    at_each_level(async || {
        let (listener, address, _) = listen(Accepting::Ahead(3));
        assert!(poll_once(listener.accept()).await.is_none());
        let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        pause(5).await;
        let mut ahead = 0;
        while listener.take().is_some() {
            ahead += 1;
        }
        // The request is cancelled when the third has come; some come with it.
        assert!((1..=20).contains(&ahead), "{ahead}");
        for _ in ahead..clients.len() {
            drop(listener.accept().await.unwrap());
        }
        assert!(poll_once(listener.accept()).await.is_none());
    });
}

#[test]
fn a_paused_listener_leaves_the_next_in_the_backlog() {
    for accepting in [Accepting::OnDemand, Accepting::Ahead(8)] {
        at_each_level(move || async move {
            let (listener, address, other) = listen(accepting);
            assert!(poll_once(listener.accept()).await.is_none());
            pause(1).await;
            listener.pause();
            pause(1).await;
            let client = TcpStream::connect(address).unwrap();
            pause(1).await;
            assert!(listener.take().is_none());
            other.set_nonblocking(true).unwrap();
            let (_, peer) = other.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        });
    }
}

/// As the kernel does with its backlog.
#[test]
fn a_dropped_listener_closes_what_nobody_took() {
    at_each_level(async || {
        let (listener, address, other) = listen(Accepting::Ahead(8));
        assert!(poll_once(listener.accept()).await.is_none());
        let mut clients: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
        pause(5).await;
        drop((listener, other));
        pause(5).await;
        for client in &mut clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn a_socket_that_does_not_listen_is_an_error_each_time() {
    for accepting in [Accepting::OnDemand, Accepting::Ahead(8)] {
        at_each_level(move || async move {
            let (listener, _, other) = listen(accepting);
            let waiting = poll_once(listener.accept()).await;
            assert!(waiting.is_none());
            rustix::net::shutdown(&other, rustix::net::Shutdown::Both).unwrap();
            for _ in 0..3 {
                let error = listener.accept().await.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
            }
        });
    }
}

#[test]
fn octets_are_received_whoever_stops_waiting() {
    at_each_level(async || {
        let (server, mut client) = pair();
        let socket = Socket::new(server);
        assert!(socket.received().await.is_none());
        let (mut taken, mut sent) = (Vec::new(), Vec::new());
        for round in 0..200_u8 {
            let _ = socket.start_receive(Block::new(2));
            assert!(socket.start_receive(Block::new(2)).is_err());
            if round % 3 == 0 {
                assert!(poll_once(socket.received()).await.is_none());
            }
            client.write_all(&[round, round]).unwrap();
            sent.extend([round, round]);
            // Given up with octets on their way, or in the block.
            if let Some(Some((count, block))) = poll_once(socket.received()).await {
                taken.extend_from_slice(&block[..count.unwrap()]);
            }
            if round % 5 == 0 {
                pause(0).await;
            }
        }
        client.shutdown(Shutdown::Write).unwrap();
        loop {
            let _ = socket.start_receive(Block::new(100));
            let (count, block) = socket.received().await.unwrap();
            match count.unwrap() {
                0 => break,
                count => taken.extend_from_slice(&block[..count]),
            }
        }
        assert_eq!(taken, sent);
    });
}

#[test]
fn what_was_sent_is_known_whoever_stops_waiting() {
    at_each_level(async || {
        const ALL: usize = 4 << 20;
        let (server, mut client) = pair();
        let socket = Socket::new(server);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).unwrap();
            all
        });
        let mut sent = 0;
        while sent < ALL {
            let mut block = Block::new(100_000.min(ALL - sent));
            block.iter_mut().zip(sent..).for_each(|(to, at)| *to = (at % 251).to_le_bytes()[0]);
            let part = 0..block.len();
            socket.start_send(block, part).unwrap();
            let first = poll_once(socket.sent()).await.flatten();
            let (count, _) = match first {
                Some(ended) => ended,
                None => socket.sent().await.unwrap(),
            };
            sent += count.unwrap();
        }
        drop(socket);
        assert!(eventually(|| reader.is_finished()).await);
        let all = reader.join().unwrap();
        assert_eq!(all.len(), ALL);
        assert!(all.iter().zip(0_usize..).all(|(octet, at)| *octet == (at % 251).to_le_bytes()[0]));
    });
}

#[test]
fn files_are_read_at_positions() {
    at_each_level(async || {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|n| (n / 251).to_le_bytes()[0]).collect();
        file.write_all(&content).unwrap();
        let file = Descriptor::from(OwnedFd::from(file));
        let reads: Vec<_> = (0..11)
            .map(|number| {
                let (file, position) = (file.clone(), number * 10_000);
                let read =
                    async move { read_at(&file, position, Block::new(12_345), 1..9_001).await };
                (usize::try_from(position).unwrap(), spawn(read))
            })
            .collect();
        for (position, read) in reads {
            let (count, block) = read.await;
            let end = (position + 9_000).min(content.len());
            assert_eq!(block[1..=count.unwrap()], content[position..end], "{position}");
        }
        let directory = std::fs::File::open(".").unwrap();
        let directory = Descriptor::from(OwnedFd::from(directory));
        let (count, block) = read_at(&directory, 0, Block::new(10), 0..10).await;
        assert_eq!((count.unwrap_err().raw_os_error(), block.len()), (Some(libc::EISDIR), 10));
    });
}

#[test]
fn direct_reads_are_aligned() {
    at_each_level(async || {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("file");
        let content: Vec<u8> = (0..20_000_u32).map(|n| (n / 251).to_le_bytes()[0]).collect();
        std::fs::write(&name, &content).unwrap();
        let file = match rustix::fs::open(&name, OFlags::DIRECT, Mode::empty()) {
            Ok(file) => Descriptor::from(file),
            Err(error) => return println!("no O_DIRECT on this filesystem: {error}"),
        };
        let part = Block::ALIGNMENT..4 * Block::ALIGNMENT;
        let (count, block) = read_at(&file, 4096, Block::new(6 * 4096), part).await;
        assert_eq!(count.unwrap(), 3 * 4096);
        assert_eq!(block[4096..4 * 4096], content[4096..4 * 4096]);
    });
}

#[test]
fn connections_are_made_refused_and_given_up() {
    at_each_level(async || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = || {
            let domain = socket2::Domain::IPV4;
            OwnedFd::from(socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap())
        };
        let connected = connect(socket(), address).await.unwrap();
        let (_, peer) = listener.accept().unwrap();
        let own: SocketAddr = rustix::net::getsockname(&connected).unwrap().try_into().unwrap();
        assert_eq!(own, peer);
        assert!(connected.into_owned().is_some());
        drop(listener);
        let error = connect(socket(), address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        // A full backlog leaves the attempt waiting.
        let full = socket2::SockRef::from(&socket()).try_clone().unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let _filler = TcpStream::connect(address).unwrap();
        for _ in 0..10 {
            assert!(poll_once(connect(socket(), address)).await.is_none());
        }
        assert!(eventually(|| counters().in_flight <= 1).await);
    });
}

#[test]
fn a_close_happens_whoever_stops_waiting() {
    at_each_level(async || {
        for dropped in [false, true] {
            let (mut far, near) = std::io::pipe().unwrap();
            if dropped {
                assert!(poll_once(close(near.into())).await.is_none());
                pause(1).await;
            } else {
                close(near.into()).await.unwrap();
            }
            assert_eq!(far.read(&mut [0]).unwrap(), 0);
        }
    });
}

/// A wait that was given up is found again, and ends with what came meanwhile.
#[test]
fn a_watched_wait_goes_on_whoever_stops_waiting() {
    at_each_level(async || {
        let (server, mut client) = pair();
        let watched = Watched::new(server.into_owned().unwrap());
        assert!(poll_once(poll_fn(|cx| watched.poll_writable(cx))).await.is_none());
        poll_fn(|cx| watched.poll_writable(cx)).await.unwrap();
        for round in 0..50 {
            let before = counters().ring.submissions;
            for _ in 0..3 {
                assert!(poll_once(poll_fn(|cx| watched.poll_readable(cx))).await.is_none());
                pause(0).await;
            }
            assert_eq!(counters().ring.submissions, before + 1, "one wait");
            client.write_all(&[round]).unwrap();
            poll_fn(|cx| watched.poll_readable(cx)).await.unwrap();
            let mut octet = [0];
            rustix::net::recv(&watched, &mut octet, rustix::net::RecvFlags::DONTWAIT).unwrap();
            assert_eq!(octet, [round]);
        }
    });
}

/// By the ring, when its last owner is dropped: the caller, or a read that was given up.
#[test]
fn a_file_is_closed_apart_with_its_last_owner() {
    at_each_level(async || {
        for reads in [false, true] {
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            let file = Descriptor::closed_apart(reader);
            let read = reads.then(|| read_at(&file, 0, Block::new(10), 0..10));
            drop(file);
            pause(1).await;
            drop(read);
            // Nobody reads any more.
            let closed =
                || matches!(rustix::io::write(&writer, b"x"), Err(rustix::io::Errno::PIPE));
            assert!(eventually(closed).await, "{reads}");
        }
    });
}
