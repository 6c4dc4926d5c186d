//! A receive buffer that is consumed from the front and filled at the back.

/// Bytes received and not yet consumed, in one contiguous slice.
///
/// Invariant: `start <= end <= data.len()`. An emptied buffer starts over at 0, so in steady state
/// nothing is moved.
#[derive(Debug, Default)]
pub struct RecvBuffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl RecvBuffer {
    /// An empty buffer that owns no memory until [`RecvBuffer::spare`] is called.
    #[must_use]
    pub const fn new() -> Self {
        Self { data: Vec::new(), start: 0, end: 0 }
    }

    /// The bytes received and not yet consumed.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// The same, for decrypting in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start..self.end]
    }

    /// Number of unconsumed bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is waiting.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops `count` bytes from the front.
    ///
    /// # Panics
    ///
    /// When `count` is more than [`RecvBuffer::len`].
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consume past the end of what was received");
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room for at least `min` more bytes; call [`RecvBuffer::commit`] with how many were filled.
    pub fn spare(&mut self, min: usize) -> &mut [u8] {
        if self.data.len() - self.end < min {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.data.len() < self.end + min {
                self.data.resize(self.end + min, 0);
            }
        }
        &mut self.data[self.end..]
    }

    /// Marks `count` bytes of [`RecvBuffer::spare`] as received.
    ///
    /// # Panics
    ///
    /// When `count` is more than the spare room.
    pub fn commit(&mut self, count: usize) {
        assert!(count <= self.data.len() - self.end, "commit past the spare room");
        self.end += count;
    }

    /// Octets of memory it works in; [`RecvBuffer::spare`] adds to them when it must.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.data.len()
    }

    /// Goes on in `memory`, with what is waiting moved there, and gives the old memory back. The
    /// memory grows if too small for that.
    pub fn change_memory(&mut self, mut memory: Vec<u8>) -> Vec<u8> {
        let waiting = self.len();
        if memory.len() < waiting {
            memory.resize(waiting, 0);
        }
        memory[..waiting].copy_from_slice(self.filled());
        self.start = 0;
        self.end = waiting;
        std::mem::replace(&mut self.data, memory)
    }

    /// Appends a copy of `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.commit(bytes.len());
    }

    /// Drops everything received.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Gives the memory back when nothing is waiting; an idle session should hold none.
    pub fn release_if_empty(&mut self) {
        if self.is_empty() {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_consumes_and_compacts() {
        let mut buffer = RecvBuffer::new();
        buffer.extend_from_slice(b"hello world");
        buffer.consume(6);
        assert_eq!(buffer.filled(), b"world");
        let room = buffer.spare(8);
        room[..3].copy_from_slice(b"!!!");
        buffer.commit(3);
        assert_eq!(buffer.filled(), b"world!!!");
        buffer.consume(8);
        assert!(buffer.is_empty());
        buffer.extend_from_slice(b"-kept");
        buffer.consume(1);
        let old = buffer.change_memory(vec![0; 100]);
        assert_eq!((buffer.filled(), buffer.memory()), (&b"kept"[..], 100));
        assert_eq!(buffer.change_memory(Vec::new()).len(), 100);
        assert_eq!((buffer.filled(), buffer.memory()), (&b"kept"[..], 4));
        assert!(old.len() >= 11);
        buffer.clear();
        buffer.release_if_empty();
        assert_eq!((buffer.len(), buffer.memory()), (0, 0));
    }
}
