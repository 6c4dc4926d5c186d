//! Reads of files by the ring, into blocks that are used again as long as somebody reads.

use std::cell::RefCell;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use ringftpd_reactor as reactor;
use ringftpd_reactor::{Block, Home, Reading};

/// An open file, and the blocks of its shard.
pub(crate) struct File {
    file: reactor::Descriptor,
    shelf: Rc<Shelf>,
}

impl File {
    /// Takes over `file`; its close(2) is the ring's, for it may wait.
    pub(crate) fn new(file: OwnedFd) -> Self {
        Self { file: reactor::Descriptor::closed_apart(file), shelf: Shelf::of_this_thread() }
    }

    /// Starts to read up to `count` octets at `position`.
    pub(crate) fn start(&self, position: u64, count: usize) -> Read {
        let block = Shelf::block(&self.shelf, count);
        Read(reactor::read_at(&self.file, position, block, 0..count))
    }
}

/// A read under way.
#[derive(Debug)]
pub(crate) struct Read(Reading);

impl Future for Read {
    type Output = io::Result<Octets>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (count, block) = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(count.map(|count| Octets { block, count }))
    }
}

/// What a read brought.
#[derive(Debug)]
pub(crate) struct Octets {
    block: Block,
    count: usize,
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.block[..self.count]
    }
}

/// Blocks that nobody uses at the moment: a new one costs a page fault for each of its pages. They
/// go with the last file that is read.
#[derive(Default)]
struct Shelf(RefCell<Vec<Vec<u8>>>);

/// How many blocks are kept: what one download reads ahead, twice.
const KEPT_MAX: usize = 16;

thread_local! {
    static SHELF: RefCell<Weak<Shelf>> = const { RefCell::new(Weak::new()) };
}

impl Shelf {
    fn of_this_thread() -> Rc<Self> {
        SHELF.with_borrow_mut(|shelf| {
            shelf.upgrade().unwrap_or_else(|| {
                let new = Rc::<Self>::default();
                *shelf = Rc::downgrade(&new);
                new
            })
        })
    }

    /// A block of `count` octets at least. A smaller one that lies in front is let go, so that the
    /// shelf holds what is asked for of late.
    fn block(shelf: &Rc<Self>, count: usize) -> Block {
        let room = count + Block::ALIGNMENT - 1;
        let memory = shelf.0.borrow_mut().pop().filter(|memory| memory.len() >= room);
        Block::of(memory.unwrap_or_else(|| vec![0; room]), Rc::clone(shelf) as Rc<dyn Home>)
    }
}

impl Home for Shelf {
    fn take_back(&self, memory: Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(memory);
        }
    }
}
