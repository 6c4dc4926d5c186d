//! The other end of a take-over as either server has it: lines of JSON that go to and fro over a
//! socket of this host, each with descriptors if need be (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::Value;

use crate::clock;

/// Descriptors in one message; the kernel takes 253.
const DESCRIPTORS_MAX: usize = 200;

/// A line, octets: files of a configuration are in it.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a line may take on its way.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// A server that takes over, or hands over.
#[derive(Debug)]
pub(super) struct Partner {
    stream: UnixStream,
    /// Received behind the last line.
    octets: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Partner {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self { stream, octets: Vec::new(), descriptors: Vec::new() }
    }

    /// Sends a line with these descriptors.
    ///
    /// # Errors
    ///
    /// Those of sendmsg(2); `TimedOut` when nobody reads.
    pub(super) fn say(&mut self, line: &Value, descriptors: &[OwnedFd]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(SEND_TIME_MAX))?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        // Blanks before the line, which JSON passes over, one for each message.
        for part in borrowed.chunks(DESCRIPTORS_MAX) {
            send(&self.stream, b" ", part)?;
        }
        let line = format!("{line}\n");
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            rest = &rest[send(&self.stream, rest, &[])?..];
        }
        Ok(())
    }

    /// The next line and the descriptors that came with it.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the other server is gone, `TimedOut` at `deadline`, `InvalidData` for
    /// what is no such line, and those of recvmsg(2).
    pub(super) fn hear(&mut self, deadline: Instant) -> io::Result<(Value, Vec<OwnedFd>)> {
        loop {
            if let Some(end) = self.octets.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.octets.drain(..=end).collect();
                let line = serde_json::from_slice(&line)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                return Ok((line, std::mem::take(&mut self.descriptors)));
            }
            if self.octets.len() > LINE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.receive(deadline)?;
        }
    }

    fn receive(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut octets = [0; 16 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut octets)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.stream, parts, &mut ancillary, flags) {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.octets.extend_from_slice(&octets[..received]);
        Ok(())
    }
}

fn send(stream: &UnixStream, octets: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    match sendmsg(stream, &[IoSlice::new(octets)], &mut ancillary, SendFlags::NOSIGNAL) {
        Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
        sent => Ok(sent?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_cookie;
    use serde_json::json;
    use std::net::TcpListener;

    #[test]
    fn lines_and_descriptors_arrive_in_their_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut here, mut there) = (Partner::new(ours), Partner::new(theirs));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        // More than one message takes.
        let mut sockets: Vec<OwnedFd> =
            (0..DESCRIPTORS_MAX + 10).map(|_| socket.try_clone().unwrap().into()).collect();
        sockets.push(other.try_clone().unwrap().into());
        here.say(&json!({ "line": 1, "text": "x".repeat(100_000) }), &sockets).unwrap();
        here.say(&json!({ "line": 2 }), &[]).unwrap();
        let deadline = clock::now() + Duration::from_secs(10);
        let (line, came) = there.hear(deadline).unwrap();
        assert_eq!((&line["line"], came.len()), (&json!(1), sockets.len()));
        let cookie = |socket: &dyn AsFd| socket_cookie(socket.as_fd()).unwrap();
        assert_eq!(cookie(&came[0]), cookie(&socket));
        assert_eq!(cookie(came.last().unwrap()), cookie(&other));
        let flags = rustix::io::fcntl_getfd(&came[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let (line, came) = there.hear(deadline).unwrap();
        assert_eq!((&line["line"], came.len()), (&json!(2), 0));
        let silent = there.hear(clock::now() + Duration::from_millis(20)).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        drop(here);
        assert_eq!(there.hear(deadline).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
