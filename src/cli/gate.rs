//! Accepting that can be given up while another process goes on with the same socket: closing a
//! descriptor would not wake who waits, and shutdown(2) would end it for both.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// Open until it is closed; clones are the same gate.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<OwnedFd>);

impl Gate {
    /// # Errors
    ///
    /// Those of eventfd(2).
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Ends every wait, for ever.
    pub(super) fn close(&self) {
        // It fails only when it is closed already.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until a connection waits at `listener`, which does not block; false when the gate is
    /// closed. Another process may be faster and take the connection.
    pub(super) fn wait(&self, listener: impl AsFd) -> bool {
        loop {
            let mut watched = [
                PollFd::new(&listener, PollFlags::IN),
                PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Ok(_) => return !watched[1].revents().contains(PollFlags::IN),
                Err(rustix::io::Errno::INTR) => {}
                // Accepting says what is wrong.
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_gate_ends_the_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (gate, other) = (Gate::new().unwrap(), Gate::new().unwrap());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(gate.wait(&listener));
        let idle = TcpListener::bind("127.0.0.1:0").unwrap();
        let closing = gate.clone();
        let waiting = std::thread::spawn(move || gate.wait(&idle));
        closing.close();
        assert!(!waiting.join().unwrap());
        assert!(!closing.wait(&listener) && other.wait(&listener));
    }
}
