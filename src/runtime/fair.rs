//! The fair queue of file work. Work is queued by device and, within a device, by user; devices
//! take turns, and so do the users of a device. No device and no user may hold all threads, however
//! long its work takes.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The user and the device of file work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The user's number.
    pub user: u64,
    /// The device (`st_dev`), as far as it is known beforehand.
    pub device: u64,
}

/// A number for `what`: of nothing else, but for one chance in 2^64.
pub fn number_of(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Bounds of running and of queued work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    /// Pieces of work of one device on threads.
    pub(super) per_device: usize,
    /// Pieces of work of one user on threads.
    pub(super) per_user: usize,
    /// Pieces of work of one user that wait.
    pub(super) waiting_per_user: usize,
    /// Pieces of work that wait.
    pub(super) waiting: usize,
}

/// Queued work, in the order of the [`Owner`]s' turns. Finding the next piece is linear in the
/// devices and users that have their share on threads, whatever waits.
pub(super) struct FairQueue<J> {
    shares: Shares,
    devices: BTreeMap<u64, Device<J>>,
    /// Devices with work that waits, the next turn first.
    turns: VecDeque<u64>,
    users: BTreeMap<u64, User>,
    waiting: usize,
}

struct Device<J> {
    running: usize,
    waiting: BTreeMap<u64, VecDeque<J>>,
    /// Users with work that waits, the next turn first.
    turns: VecDeque<u64>,
}

#[derive(Default)]
struct User {
    running: usize,
    waiting: usize,
}

impl<J> FairQueue<J> {
    pub(super) const fn new(shares: Shares) -> Self {
        Self {
            shares,
            devices: BTreeMap::new(),
            turns: VecDeque::new(),
            users: BTreeMap::new(),
            waiting: 0,
        }
    }

    /// Whether the user may queue one more.
    pub(super) fn has_room(&self, owner: Owner) -> bool {
        let waiting = self.users.get(&owner.user).map_or(0, |user| user.waiting);
        waiting < self.shares.waiting_per_user && self.waiting < self.shares.waiting
    }

    /// Puts `job` behind the others of its owner.
    pub(super) fn push(&mut self, owner: Owner, job: J) {
        self.waiting += 1;
        self.users.entry(owner.user).or_default().waiting += 1;
        let device = self.devices.entry(owner.device).or_insert_with(|| Device {
            running: 0,
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
        });
        if device.waiting.is_empty() {
            self.turns.push_back(owner.device);
        }
        let queue = device.waiting.entry(owner.user).or_default();
        if queue.is_empty() {
            device.turns.push_back(owner.user);
        }
        queue.push_back(job);
    }

    /// The owner whose turn it is, if one may start work.
    pub(super) fn next(&self) -> Option<Owner> {
        self.turns.iter().find_map(|&number| {
            let device = self.devices.get(&number)?;
            if device.running >= self.shares.per_device {
                return None;
            }
            let may = |user: &&u64| {
                self.users.get(user).is_none_or(|user| user.running < self.shares.per_user)
            };
            let user = *device.turns.iter().find(may)?;
            Some(Owner { user, device: number })
        })
    }

    /// Takes the next piece of work out; it runs until [`FairQueue::done`].
    pub(super) fn pop(&mut self) -> Option<(Owner, J)> {
        let owner = self.next()?;
        let job = self.take(owner, 0)?;
        self.devices.get_mut(&owner.device)?.running += 1;
        self.users.entry(owner.user).or_default().running += 1;
        Some((owner, job))
    }

    /// A piece of work of `owner` has ended.
    pub(super) fn done(&mut self, owner: Owner) {
        if let Some(device) = self.devices.get_mut(&owner.device) {
            device.running -= 1;
        }
        if let Some(user) = self.users.get_mut(&owner.user) {
            user.running -= 1;
        }
        self.forget(owner);
    }

    /// Takes out the first piece of work of `owner` that waits and is the `wanted` one.
    pub(super) fn remove(&mut self, owner: Owner, wanted: impl Fn(&J) -> bool) -> Option<J> {
        let queue = self.devices.get(&owner.device)?.waiting.get(&owner.user)?;
        let at = queue.iter().position(wanted)?;
        let job = self.take(owner, at);
        self.forget(owner);
        job
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many pieces of work wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    /// All that waits.
    pub(super) fn iter(&self) -> impl Iterator<Item = &J> {
        self.devices.values().flat_map(|device| device.waiting.values().flatten())
    }

    /// Takes a piece of work out of its queue and gives the turn to the next ones.
    fn take(&mut self, owner: Owner, at: usize) -> Option<J> {
        let device = self.devices.get_mut(&owner.device)?;
        let queue = device.waiting.get_mut(&owner.user)?;
        let job = queue.remove(at)?;
        self.waiting -= 1;
        self.users.entry(owner.user).or_default().waiting -= 1;
        let more = !queue.is_empty();
        if !more {
            device.waiting.remove(&owner.user);
        }
        to_the_back(&mut device.turns, owner.user, more);
        to_the_back(&mut self.turns, owner.device, !device.waiting.is_empty());
        Some(job)
    }

    fn forget(&mut self, owner: Owner) {
        let idle = |device: &Device<J>| device.running == 0 && device.waiting.is_empty();
        if self.devices.get(&owner.device).is_some_and(idle) {
            self.devices.remove(&owner.device);
        }
        let gone = |user: &User| user.running == 0 && user.waiting == 0;
        if self.users.get(&owner.user).is_some_and(gone) {
            self.users.remove(&owner.user);
        }
    }
}

/// The turn of `number` is over; it goes to the back of the queue if it `stays`.
fn to_the_back(turns: &mut VecDeque<u64>, number: u64, stays: bool) {
    if let Some(at) = turns.iter().position(|turn| *turn == number) {
        turns.remove(at);
    }
    if stays {
        turns.push_back(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares { per_device: 3, per_user: 2, waiting_per_user: 4, waiting: 40 };

    fn owner(user: u64, device: u64) -> Owner {
        Owner { user, device }
    }

    fn pops(queue: &mut FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|(_, job)| job).collect()
    }

    #[test]
    fn users_take_turns_and_have_their_order() {
        let mut queue = FairQueue::new(SHARES);
        for (user, job) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (2, 21)] {
            queue.push(owner(user, 7), job);
        }
        let mut order = Vec::new();
        while let Some((of, job)) = queue.pop() {
            order.push(job);
            queue.done(of);
        }
        assert_eq!(order, [10, 20, 30, 11, 21, 12]);
        assert!(queue.is_empty() && queue.devices.is_empty() && queue.users.is_empty());
    }

    #[test]
    fn neither_a_user_nor_a_device_has_more_than_its_share() {
        let mut queue = FairQueue::new(SHARES);
        for job in 0..4 {
            queue.push(owner(1, 7), job);
            queue.push(owner(2, 7), 10 + job);
            queue.push(owner(1, 8), 20 + job);
            queue.push(owner(3, 8), 30 + job);
        }
        // User 1 has two, whatever the device; device 7 three; device 8 what user 3 may.
        assert_eq!(pops(&mut queue), [0, 20, 10, 30, 11, 31]);
        // A place of the device that is full is for the next one there.
        queue.done(owner(2, 7));
        assert_eq!(pops(&mut queue), [12]);
        // The user whose share is full gets a turn when one of its pieces is done.
        queue.done(owner(1, 8));
        assert_eq!(pops(&mut queue), [21]);
    }

    /// Work that hangs keeps its threads for ever, and all others get theirs.
    #[test]
    fn work_that_never_ends_keeps_to_its_share() {
        let mut queue = FairQueue::new(SHARES);
        (0..4).for_each(|job| queue.push(owner(1, 7), job));
        assert_eq!(pops(&mut queue), [0, 1]);
        for job in 100..200 {
            queue.push(owner(2, 8), job);
            assert_eq!(queue.pop(), Some((owner(2, 8), job)));
            queue.done(owner(2, 8));
        }
        assert!(!queue.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_can_leave() {
        let mut queue = FairQueue::new(SHARES);
        (0..4).for_each(|job| queue.push(owner(1, job), 1));
        assert!(!queue.has_room(owner(1, 9)) && queue.has_room(owner(2, 0)));
        assert_eq!(queue.remove(owner(1, 2), |job| *job == 1), Some(1));
        assert_eq!(queue.remove(owner(1, 2), |job| *job == 1), None);
        assert!(queue.has_room(owner(1, 9)));
        assert_eq!((queue.iter().count(), queue.devices.len()), (3, 3));
    }
}
