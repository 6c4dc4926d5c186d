//! Turns for work that must not starve the rest of the shard: input is looked for between its
//! steps, and it has a bounded share of the time when another queue is busy. Knows nothing of the
//! work.

use super::{Queue, executor};

/// Hands out turns to the tasks of one queue.
#[derive(Debug)]
pub struct Pacer {
    turns: Handle,
    percent: u8,
}

#[derive(Debug)]
enum Handle {
    Executor(executor::Pacer),
    /// The seed says who is next.
    #[cfg(test)]
    Simulated,
}

impl Pacer {
    /// For the tasks of `paced`, which give way to those of `favoured`: they get `percent`, 1 to
    /// 99, of the time of a shard that `favoured` would fill.
    ///
    /// # Panics
    ///
    /// Outside the shard that made the queues.
    #[must_use]
    pub fn new(paced: Queue, favoured: Queue, percent: u8) -> Self {
        let percent = percent.clamp(1, 99);
        let turns = match (paced.executor(), favoured.executor()) {
            (Some(paced), Some(favoured)) => {
                Handle::Executor(executor::Pacer::new(paced, favoured, percent))
            }
            #[cfg(test)]
            _ => Handle::Simulated,
            #[cfg(not(test))]
            _ => unreachable!("every queue is the executor's"),
        };
        Self { turns, percent }
    }

    /// The share of paced tasks, in per cent.
    #[must_use]
    pub const fn percent(&self) -> u8 {
        self.percent
    }

    /// A favoured task received input: turns are short for a while, so that further input is found
    /// soon.
    pub fn note_input(&self) {
        match &self.turns {
            Handle::Executor(turns) => turns.note_input(),
            #[cfg(test)]
            Handle::Simulated => {}
        }
    }

    /// Returns when the calling task may do one step of its work, in the order of the calls. May be
    /// dropped at any time.
    pub async fn turn(&self) {
        match &self.turns {
            Handle::Executor(turns) => turns.turn().await,
            #[cfg(test)]
            Handle::Simulated => super::yield_now().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runtime::{Stream, end_turn, sleep_until, yield_now};
    use crate::runtime::{testing::eventually, testing::on_shard, testing::pause};
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;
    use std::time::Duration;

    fn work(span: Duration) {
        let start = clock::now();
        while clock::now() - start < span {
            std::hint::spin_loop();
        }
    }

    fn pacer(percent: u8) -> (Rc<Pacer>, Queue, Queue) {
        let (paced, favoured) = (Queue::new("paced"), Queue::new("favoured"));
        (Rc::new(Pacer::new(paced, favoured, percent)), paced, favoured)
    }

    /// Two hundred pieces of work are ready at once; how many are done when something is noticed
    /// that became ready during the eleventh, and can only be found by polling for input.
    fn pieces_before_input_is_found(note_input: bool) -> usize {
        let (sender, receiver) = std::sync::mpsc::channel();
        on_shard(move || async move {
            let (pacer, paced, favoured) = pacer(10);
            let done = Rc::new(Cell::new(0));
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            let seen = Rc::new(Cell::new(None));
            let (count, found) = (done.clone(), seen.clone());
            let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
            let stream = Stream::adopt(one, peer);
            favoured
                .spawn(async move {
                    stream.read(&mut [0]).await.unwrap();
                    found.set(Some(count.get()));
                })
                .detach();
            pause(5).await;
            if note_input {
                pacer.note_input();
            }
            for number in 0..200 {
                let (pacer, done) = (pacer.clone(), done.clone());
                let other = other.try_clone().unwrap();
                paced
                    .spawn(async move {
                        pacer.turn().await;
                        if number == 10 {
                            std::io::Write::write_all(&mut &other, b"x").unwrap();
                        }
                        work(Duration::from_micros(100));
                        done.set(done.get() + 1);
                        end_turn();
                    })
                    .detach();
            }
            assert!(eventually(|| done.get() == 200).await, "{} of 200", done.get());
            sender.send(seen.get().unwrap()).unwrap();
        });
        receiver.recv().unwrap()
    }

    #[test]
    fn input_is_looked_for_between_pieces() {
        let pieces = pieces_before_input_is_found(false);
        assert!(pieces < 100, "found after {pieces}");
    }

    /// At the next poll, or the one behind it, with one step between.
    #[test]
    fn who_is_attended_to_is_found_sooner() {
        let pieces = pieces_before_input_is_found(true);
        assert!(pieces <= 14, "found after {pieces}");
    }

    /// Turns whose futures were dropped, and turns in the order they were asked for.
    #[test]
    fn turns_come_in_order_and_may_be_given_up() {
        on_shard(|| async {
            let (pacer, paced, _) = pacer(10);
            let order = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = (0..20)
                .map(|number| {
                    let (pacer, order) = (pacer.clone(), order.clone());
                    paced.spawn(async move {
                        work(Duration::from_micros(200));
                        pacer.turn().await;
                        order.borrow_mut().push(number);
                    })
                })
                .collect();
            for (number, task) in tasks.into_iter().enumerate() {
                if number % 3 == 0 { drop(task) } else { task.await }
            }
            let order = order.borrow();
            assert!(order.is_sorted(), "{order:?}");
            assert!((1..20).filter(|n| n % 3 != 0).all(|n| order.contains(&n)), "{order:?}");
        });
    }

    /// Both have work without end: the paced one gets something, and clearly the smaller part.
    #[test]
    fn busy_sessions_keep_their_share() {
        on_shard(|| async {
            let (pacer, paced, favoured) = pacer(10);
            let counts = [Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(0_u32))];
            let (count, piece) = (counts[0].clone(), Duration::from_micros(100));
            favoured
                .spawn(async move {
                    loop {
                        work(piece);
                        count.set(count.get() + 1);
                        sleep_until(clock::now() + Duration::from_micros(1)).await;
                    }
                })
                .detach();
            for _ in 0..10 {
                let (count, pacer) = (counts[1].clone(), pacer.clone());
                paced
                    .spawn(async move {
                        loop {
                            pacer.turn().await;
                            work(piece);
                            count.set(count.get() + 1);
                            end_turn();
                            yield_now().await;
                        }
                    })
                    .detach();
            }
            pause(500).await;
            let [sessions, newcomers] = counts.map(|count| count.get());
            assert!(newcomers > 0, "starved");
            assert!(sessions > 3 * newcomers, "{sessions} to {newcomers}");
        });
    }
}
