//! The executor over the kernel's ring: turns, queues, timers, wakes from other threads, the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "what is not tested, and counts")]

mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ringftpd_reactor::{
    Builder, Level, Queue, TurnBudget, bell, counters, note_input, now, readable, set_group,
    sleep_until, spawn, timeout_at, turn_is_over, yield_now,
};
use support::{at_each_level, eventually, executors, pair, pause, poll_once, with_each_level};

#[test]
fn the_best_level_is_taken_and_works() {
    let executor = Builder::new().build().unwrap();
    println!("{:?}", executor.level());
    let better = Level::ALL.into_iter().take_while(|level| *level != executor.level());
    for level in better {
        let refusal = Builder::new().level(level).build().unwrap_err();
        assert_eq!(refusal.error().raw_os_error(), Some(libc::EINVAL), "{refusal}");
    }
    assert_eq!(executor.run(async { 7 }).unwrap(), 7);
}

#[test]
fn tasks_give_their_results_and_end_with_their_handles() {
    at_each_level(async || {
        assert_eq!(spawn(async { 7 }).await, 7);
        let alive = Rc::new(());
        let task = |alive: &Rc<()>| {
            let alive = Rc::clone(alive);
            spawn(async move {
                std::future::pending::<()>().await;
                drop(alive);
            })
        };
        let tasks = [(); 3].map(|()| task(&alive));
        yield_now().await;
        assert_eq!(Rc::strong_count(&alive), 4);
        let [a, b, c] = tasks;
        drop(a);
        assert_eq!(b.cancel(), None);
        assert_eq!(Rc::strong_count(&alive), 2);
        c.detach();
        yield_now().await;
        assert_eq!(Rc::strong_count(&alive), 2);
        let finished = spawn(async { 8 });
        yield_now().await;
        assert_eq!(finished.cancel(), Some(8));
        // One that drops its own handle runs to its next await.
        let (own, seen) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(0)));
        let task = spawn({
            let (own, seen) = (Rc::clone(&own), Rc::clone(&seen));
            async move {
                drop(own.take());
                seen.set(1);
                yield_now().await;
                seen.set(2);
            }
        });
        own.replace(Some(task));
        pause(2).await;
        assert_eq!(seen.get(), 1);
    });
}

#[test]
fn the_end_drops_every_task() {
    for executor in executors(&Builder::new()) {
        let alive = Rc::new(());
        let inside = Rc::clone(&alive);
        let (server, _client) = pair();
        let run = executor.run(async move {
            for _ in 0..100 {
                let (alive, server) = (Rc::clone(&inside), server.clone());
                spawn(async move {
                    let _ = readable(&server).await;
                    drop(alive);
                })
                .detach();
            }
            yield_now().await;
            drop(inside);
            server
        });
        assert_eq!(Rc::strong_count(&alive), 1);
        assert!(run.unwrap().into_owned().is_some(), "an operation still has the descriptor");
    }
}

/// A panic of a task goes through, and leaves nothing behind.
#[test]
fn a_panic_ends_the_executor_and_drops_its_tasks() {
    for executor in executors(&Builder::new()) {
        let alive = Rc::new(());
        let inside = Rc::clone(&alive);
        let run = std::panic::AssertUnwindSafe(move || {
            executor.run(async move {
                spawn(async move {
                    std::future::pending::<()>().await;
                    drop(inside);
                })
                .detach();
                spawn(async { panic!("on purpose") }).await
            })
        });
        assert!(std::panic::catch_unwind(run).is_err());
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}

#[test]
fn timers_fire_in_order_and_cost_no_system_call() {
    at_each_level(async || {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = now();
        let before = counters().ring;
        let tasks: Vec<_> = (0..1_000_u64)
            .map(|number| {
                let order = Rc::clone(&order);
                let deadline = start + Duration::from_micros(20_000 + number * 7_919 % 1_000);
                spawn(async move {
                    sleep_until(deadline).await;
                    assert!(now() >= deadline);
                    order.borrow_mut().push(deadline);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert!(order.borrow().is_sorted());
        let calls = counters().ring.enters - before.enters;
        assert!(calls < 200, "{calls} calls for 1,000 timers in one millisecond");
        let late = start + Duration::from_millis(50);
        let (never, soon) = (std::future::pending::<()>(), now());
        assert!(timeout_at(soon, never).await.is_err());
        assert_eq!(timeout_at(soon, async { 7 }).await, Ok(7));
        assert!(poll_once(sleep_until(late)).await.is_none());
        sleep_until(late).await;
        sleep_until(late).await;
    });
}

/// Nothing happens, so nothing is done.
#[test]
fn an_idle_executor_is_not_woken() {
    at_each_level(async || {
        let (server, mut client) = pair();
        let (sender, receiver) = mpsc::channel();
        let other = std::thread::spawn(move || {
            let _: () = receiver.recv().unwrap();
            // A wait on another clock than the executor's, with nothing to wait for.
            let (_never, forever) = mpsc::channel::<()>();
            let _ = forever.recv_timeout(Duration::from_millis(300));
            client.write_all(b"x").unwrap();
            client
        });
        pause(1).await;
        let before = counters();
        sender.send(()).unwrap();
        // The watch over the test's time is a timer, and set once.
        readable(&server).await.unwrap();
        let after = counters();
        assert!(after.turns - before.turns <= 2, "{before:?} {after:?}");
        assert!(after.ring.enters - before.ring.enters <= 2);
        drop(other.join());
    });
}

/// A future that another thread completes.
async fn told(sender: &mpsc::Sender<(u32, Waker, mpsc::Sender<u32>)>, number: u32) -> u32 {
    let (answer, answers) = mpsc::channel();
    let mut answer = Some(answer);
    poll_fn(|cx| {
        if let Some(answer) = answer.take() {
            sender.send((number, cx.waker().clone(), answer)).unwrap();
        }
        answers.try_recv().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

#[test]
fn other_threads_wake_tasks() {
    at_each_level(async || {
        let (sender, receiver) = mpsc::channel::<(u32, Waker, mpsc::Sender<u32>)>();
        let thread = std::thread::spawn(move || {
            while let Ok((number, waker, answer)) = receiver.recv() {
                answer.send(number + 1).unwrap();
                waker.wake();
            }
        });
        // One at a time: the executor sleeps in between.
        for number in 0..500 {
            assert_eq!(told(&sender, number).await, number + 1);
        }
        // All at once: it does not.
        let before = counters().ring.enters;
        let tasks: Vec<_> = (0..2_000)
            .map(|number| {
                let sender = sender.clone();
                spawn(async move { told(&sender, number).await })
            })
            .collect();
        for (number, task) in (0..).zip(tasks) {
            assert_eq!(task.await, number + 1);
        }
        println!("{} calls for 2,000 wakes", counters().ring.enters - before);
        drop(sender);
        thread.join().unwrap();
    });
}

/// Wakers outlive their tasks and their executor.
#[test]
fn a_waker_may_outlive_everything() {
    for executor in executors(&Builder::new()) {
        let kept = Rc::new(RefCell::new(Vec::new()));
        executor.run(keep_wakers(Rc::clone(&kept))).unwrap();
        let wakers = kept.take();
        assert!(!wakers.is_empty());
        std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
    }
}

/// Has tasks leave their wakers in `kept`, and end.
async fn keep_wakers(kept: Rc<RefCell<Vec<Waker>>>) {
    for polled in [false, true].repeat(10) {
        let keep = Rc::clone(&kept);
        let task = spawn(poll_fn(move |cx| {
            keep.borrow_mut().push(cx.waker().clone());
            Poll::<()>::Pending
        }));
        if polled {
            yield_now().await;
        }
        drop(task);
        kept.borrow().iter().for_each(Waker::wake_by_ref);
    }
}

fn work(span: Duration) {
    let start = now();
    while now() - start < span {
        std::hint::spin_loop();
    }
}

/// How many pieces of 100 µs a busy task does before input is found that came during one of them.
async fn pieces_before_input() -> u32 {
    let (server, mut client) = pair();
    let found = spawn(async move { readable(&server).await });
    pause(2).await;
    let mut found = std::pin::pin!(found);
    client.write_all(b"x").unwrap();
    let mut pieces = 0;
    while poll_once(&mut found).await.is_none() {
        work(Duration::from_micros(100));
        pieces += 1;
        yield_now().await;
    }
    pieces
}

#[test]
fn input_is_looked_for_within_the_budget() {
    let [quiet, busy] = [5_000, 200].map(Duration::from_micros);
    let budget = TurnBudget { quiet, busy, busy_for: Duration::from_secs(5), ..Default::default() };
    with_each_level(&Builder::new().turn_budget(budget), async || {
        let [mut quiet, mut busy] = [0, 0];
        for _ in 0..5 {
            quiet += pieces_before_input().await;
        }
        note_input();
        for _ in 0..5 {
            busy += pieces_before_input().await;
        }
        // Fifty pieces a quiet turn, two a busy one; some are lost to other programs.
        assert!(busy <= 40 && quiet > busy, "{busy} and {quiet} pieces");
    });
}

/// The others look for input seldom while a favoured queue rests, and as often as it needs from its
/// next task on.
#[test]
fn turns_are_long_while_a_favoured_queue_rests() {
    let [alone, quiet] = [20_000, 200].map(Duration::from_micros);
    let budget = TurnBudget { alone, quiet, busy: quiet, busy_for: Duration::from_secs(5) };
    with_each_level(&Builder::new().turn_budget(budget), async || {
        let [favoured, others] = [90, 10].map(Queue::new);
        others.ration(favoured, 10);
        let [mut alone, mut beside] = [0, 0];
        for _ in 0..5 {
            alone += others.spawn(pieces_before_input()).await;
        }
        favoured.spawn(async {}).await;
        for _ in 0..5 {
            beside += others.spawn(pieces_before_input()).await;
        }
        // Two hundred pieces a long turn, two a short one.
        assert!(beside <= 40 && alone > beside, "{beside} and {alone} pieces");
    });
}

#[test]
fn queues_share_the_time() {
    at_each_level(async || {
        let counts = [Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(0_u32))];
        let queues = [Queue::new(90), Queue::new(10)];
        let tasks: Vec<_> = counts
            .iter()
            .zip(queues)
            .flat_map(|(count, queue)| {
                (0..4).map(move |_| {
                    let count = Rc::clone(count);
                    queue.spawn(async move {
                        loop {
                            work(Duration::from_micros(50));
                            count.set(count.get() + 1);
                            yield_now().await;
                        }
                    })
                })
            })
            .collect();
        pause(400).await;
        drop(tasks);
        let [sessions, newcomers] = counts.map(|count| count.get());
        assert!(sessions > 0 && newcomers > 0, "{sessions} to {newcomers}");
        // Nine to one; but other programs take time slices out of single pieces, and the pieces
        // pay.
        let [most, least] = queues.map(Queue::take_runtime);
        assert!(most > 2 * least, "{most:?} to {least:?}");
    });
}

/// From its next wait on a task's time is that of the queue it has entered, and so is that of the
/// tasks that it starts.
#[test]
fn a_task_enters_another_queue() {
    at_each_level(async || {
        let [first, second] = [Queue::new(50), Queue::new(50)];
        let long = Duration::from_millis(2);
        let task = first.spawn(async move {
            work(long);
            second.enter();
            yield_now().await;
            // Woken before it was there.
            yield_now().await;
            let before = [first, second].map(Queue::take_runtime);
            work(long);
            spawn(async move { work(long) }).await;
            before
        });
        let before = task.await;
        let after = [first, second].map(Queue::take_runtime);
        assert!(before[0] >= long && before[1] < long, "{before:?}");
        assert!(after[0] < long && after[1] >= 2 * long, "{after:?}");
    });
}

/// A user with many tasks that are always ready, and another's task that one of them wakes.
#[test]
fn groups_take_turns() {
    at_each_level(async || {
        // How many of the crowd have run, and when the other task was woken.
        let run = Rc::new(Cell::new(0_u32));
        let woken_at = Rc::new(Cell::new(None));
        let (counted, waking) = (Rc::clone(&run), Rc::clone(&woken_at));
        let other: Rc<RefCell<Option<Waker>>> = Rc::default();
        let sleeper = Rc::clone(&other);
        let crowd = spawn(async move {
            set_group(1);
            // They are in the group of the task that starts them.
            let tasks: Vec<_> = (0..64)
                .map(|_| {
                    spawn(crowd_member(Rc::clone(&counted), Rc::clone(&other), Rc::clone(&waking)))
                })
                .collect();
            std::future::pending::<()>().await;
            drop(tasks);
        });
        let lonely = spawn(async move {
            set_group(2);
            let mut waited = Vec::new();
            for _ in 0..20 {
                woken_at.set(None);
                let woken = poll_fn(|cx| {
                    sleeper.replace(Some(cx.waker().clone()));
                    woken_at.get().map_or(Poll::Pending, Poll::Ready)
                });
                let at = woken.await;
                waited.push(run.get() - at);
            }
            waited
        });
        let waited = lonely.await;
        drop(crowd);
        // The one that woke it, not each of the 64.
        assert!(waited.iter().all(|tasks| *tasks <= 2), "{waited:?}");
    });
}

async fn crowd_member(
    run: Rc<Cell<u32>>,
    other: Rc<RefCell<Option<Waker>>>,
    woken_at: Rc<Cell<Option<u32>>>,
) {
    loop {
        work(Duration::from_micros(20));
        if let Some(waker) = other.take() {
            woken_at.set(Some(run.get()));
            waker.wake();
        }
        run.set(run.get() + 1);
        yield_now().await;
    }
}

/// More operations at once than the submission queue has entries.
#[test]
fn a_small_ring_does_as_much() {
    with_each_level(&Builder::new().entries(4), async || {
        let pairs: Vec<_> = (0..300).map(|_| pair()).collect();
        let waits: Vec<_> = pairs
            .iter()
            .map(|(server, _)| {
                let server = server.clone();
                spawn(async move { readable(&server).await })
            })
            .collect();
        pause(2).await;
        for (_, client) in &pairs {
            (&*client).write_all(b"x").unwrap();
        }
        for wait in waits {
            wait.await.unwrap();
        }
        assert!(eventually(|| counters().in_flight <= 1).await);
    });
}

/// Rung before it is heard, while the executor works, and while it sleeps; by many, and each with
/// something to tell that is seen.
#[test]
fn a_bell_ends_the_wait_of_whoever_listens() {
    for executor in executors(&Builder::new()) {
        let (ringer, bell) = bell();
        let (sender, receiver) = mpsc::channel();
        sender.send(1).unwrap();
        ringer.ring();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (ringer, sender) = (ringer.clone(), sender.clone());
                std::thread::spawn(move || {
                    for number in 0..500 {
                        sender.send(1).unwrap();
                        ringer.ring();
                        if number % 50 == 0 {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let heard = executor.run(async move {
            let bell = bell.listen();
            // A wait that is given up takes nothing with it.
            assert!(poll_once(bell.rung()).await.is_some());
            let mut sum = 0;
            let deadline = now() + Duration::from_secs(10);
            while sum < 2_001 {
                match receiver.try_recv() {
                    Ok(number) => sum += number,
                    Err(_) => timeout_at(deadline, bell.rung()).await.expect("a ring was lost"),
                }
            }
            let _ = poll_once(bell.rung()).await;
            assert!(poll_once(bell.rung()).await.is_none());
            sum
        });
        assert_eq!(heard.unwrap(), 2_001);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Nobody is there any more.
        ringer.ring();
    }
}

#[test]
fn a_task_can_tell_that_its_turn_is_over() {
    at_each_level(async || {
        yield_now().await;
        let start = now();
        while !turn_is_over() {}
        let budget = TurnBudget::default().quiet;
        assert!(now() - start <= budget * 20, "{:?}", now() - start);
        pause(1).await;
        assert!(!turn_is_over() || now() - start > budget);
    });
}
