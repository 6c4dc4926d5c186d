//! What the tests over the kernel's ring share: each runs once at each level of set-up.

#![allow(dead_code, unreachable_pub, reason = "each test is a program that uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "what is not tested, and counts")]

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use ringftpd_reactor::{Builder, Descriptor, Executor, Level, now, sleep_until, timeout_at};

/// Runs `main` over a ring of each level, for ten seconds at most.
#[track_caller]
pub fn at_each_level<F: Future<Output = ()> + 'static>(main: impl Fn() -> F) {
    with_each_level(&Builder::new(), main);
}

/// The same, with other settings.
#[track_caller]
pub fn with_each_level<F: Future<Output = ()> + 'static>(builder: &Builder, main: impl Fn() -> F) {
    for executor in executors(builder) {
        let (level, main) = (executor.level(), main());
        let finished =
            executor.run(async move { timeout_at(now() + Duration::from_secs(10), main).await });
        assert_eq!(finished.unwrap(), Ok(()), "{level:?}: not in time");
    }
}

/// One over a ring of each level, made when the one before has ended. A level that this kernel does
/// not know is named.
pub fn executors(builder: &Builder) -> impl Iterator<Item = Executor> {
    Level::ALL.into_iter().filter_map(|level| match builder.clone().level(level).build() {
        Ok(executor) => {
            assert_eq!(executor.level(), level);
            Some(executor)
        }
        Err(refusal) if refusal.error().raw_os_error() == Some(libc::EINVAL) => {
            println!("{level:?} is not tested: {refusal}");
            None
        }
        Err(refusal) => panic!("{level:?}: {refusal}"),
    })
}

/// Lets `milliseconds` pass.
pub async fn pause(milliseconds: u64) {
    sleep_until(now() + Duration::from_millis(milliseconds)).await;
}

/// Whether `condition` becomes true within two seconds.
pub async fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..1_000 {
        if condition() {
            return true;
        }
        pause(2).await;
    }
    false
}

/// What the future has at its first poll; None, and it is dropped, when it waits.
pub async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(result) => std::task::Poll::Ready(Some(result)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

/// Two ends of a TCP connection.
pub fn pair() -> (Descriptor, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (Descriptor::from(std::os::fd::OwnedFd::from(server)), client)
}

/// Descriptors this process has open.
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
