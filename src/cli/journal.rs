//! The journal of systemd, in its native protocol: an entry a datagram, which is lines
//! `NAME=value`; one that is too large for a datagram is a sealed file without a name, whose
//! descriptor is sent.

use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

/// The socket that entries are sent to, by its path each time: a journal that begins anew may bind
/// another one.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    pub(super) path: PathBuf,
}

impl Journal {
    /// # Errors
    ///
    /// Nobody listens there, as a sentence that names it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let open = || -> io::Result<UnixDatagram> {
            UnixDatagram::unbound()?.connect(path)?;
            UnixDatagram::unbound()
        };
        let opened = open().map(|socket| Self { socket, path: path.to_owned() });
        opened.map_err(|error| {
            format!(
                "cannot reach the journal at {}: {error}; is systemd-journald running, and is its \
                 socket there (/run/systemd/journal/socket)? Without log.journal, lines go to \
                 log.file or standard error",
                path.display()
            )
        })
    }

    /// Sends one entry, each of whose lines has its end.
    ///
    /// # Errors
    ///
    /// Nobody took it.
    pub(super) fn send(&self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send_to(entry, &self.path) {
            Ok(_) => Ok(()),
            Err(error) if is_too_large(&error) => self.send_sealed(entry),
            Err(error) => Err(error),
        }
    }

    fn send_sealed(&self, entry: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create("ringftpd-log", flags)?);
        file.write_all(entry)?;
        // The journal takes none that could change while it reads.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&file, seals)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let address = SocketAddrUnix::new(&self.path)?;
        sendmsg_addr(&self.socket, &address, &[], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn is_too_large(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::MSGSIZE | rustix::io::Errno::NOBUFS))
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read, Seek};

    use rustix::fs::fcntl_get_seals;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// What comes at the journal's end: the datagram, and what is in the file that came with it.
    fn receive(socket: &UnixDatagram) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut octets = vec![0; 64 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut octets)];
        let message = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::empty()).unwrap();
        let mut content = None;
        for part in ancillary.drain() {
            let RecvAncillaryMessage::ScmRights(descriptors) = part else { continue };
            for descriptor in descriptors {
                let seals = fcntl_get_seals(&descriptor).unwrap();
                assert!(seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW));
                let mut file = File::from(descriptor);
                file.rewind().unwrap();
                let mut text = Vec::new();
                file.read_to_end(&mut text).unwrap();
                content = Some(text);
            }
        }
        octets.truncate(message.bytes);
        (octets, content)
    }

    #[test]
    fn an_entry_is_a_datagram_or_a_sealed_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let message = Journal::open(&path).unwrap_err();
        assert!(message.contains(&path.display().to_string()), "{message}");
        let socket = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::open(&path).unwrap();
        journal.send(b"MESSAGE=a\n").unwrap();
        assert_eq!(receive(&socket), (b"MESSAGE=a\n".to_vec(), None));
        let large = [&b"MESSAGE="[..], &[b'a'; 1 << 20], b"\n"].concat();
        journal.send(&large).unwrap();
        assert!(receive(&socket) == (Vec::new(), Some(large)), "a large entry");
        // Another one at its place is found.
        drop(socket);
        assert!(journal.send(b"MESSAGE=b\n").is_err());
        std::fs::remove_file(&path).unwrap();
        let socket = UnixDatagram::bind(&path).unwrap();
        journal.send(b"MESSAGE=c\n").unwrap();
        assert_eq!(receive(&socket).0, b"MESSAGE=c\n");
    }
}
