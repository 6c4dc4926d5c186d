//! When operations are to begin: closed loop, or open loop at a constant, Poisson, stepped or
//! ramped rate. Pure arithmetic on a seed: no clock, no connection.

mod part;

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use crate::verify::Random;

pub use part::{Part, Place};

/// The highest rate accepted, operations a second.
pub const RATE_MAX: f64 = 1_000_000.0;

/// What a run asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Closed or open loop.
    pub load: Load,
    /// Operations in all; without it the duration decides.
    pub count: Option<u64>,
    /// Length of the measured part. With a count: the longest it may take.
    pub duration: Duration,
    /// What comes before the measured part. Zero with a count.
    pub warmup: Duration,
    /// How long operations still under way at the end may take.
    pub drain: Duration,
    /// The seed of everything random.
    pub seed: u64,
    /// Which part of the run this process does. All else here is of the whole run.
    pub part: Part,
}

impl Plan {
    /// Clients, or most connections at once, of the whole run.
    #[must_use]
    pub const fn clients(&self) -> u64 {
        match self.load {
            Load::Closed { clients, .. } => clients,
            Load::Open { connections, .. } => connections,
        }
    }

    /// From the start to the end of the measured part.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.warmup + self.duration
    }
}

/// What makes an operation begin.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// The end of the one before: each client has one operation at a time.
    Closed {
        /// Clients.
        clients: u64,
        /// Pause of a client after each operation.
        think: Duration,
    },
    /// The clock, independent of the operations before.
    Open {
        /// How arrivals are spread around the rate.
        arrivals: Arrivals,
        /// The rate over time.
        profile: Profile,
        /// Most connections at once; operations due when all are busy wait, and the wait counts.
        connections: u64,
    },
}

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// As those of many independent people.
    Poisson,
}

/// When arrivals are expected: by a rate over time, or each by a time of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile(Shape);

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// Pieces of which each is constant or a straight line. After the last piece its final rate
    /// goes on.
    Pieces(Vec<Piece>),
    /// One time for each, ascending, and no more.
    Times(Arc<[Duration]>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    seconds: f64,
    from: f64,
    to: f64,
}

impl Profile {
    /// A constant rate.
    ///
    /// # Errors
    ///
    /// A sentence, for a rate outside 0 < rate ≤ [`RATE_MAX`].
    pub fn constant(rate: f64) -> Result<Self, String> {
        Self::of(vec![Piece { seconds: 0.0, from: rate, to: rate }])
    }

    /// `from` during the warm-up, then a straight line to `to`.
    ///
    /// # Errors
    ///
    /// As [`Self::constant`].
    pub fn ramp(from: f64, to: f64, warmup: Duration, duration: Duration) -> Result<Self, String> {
        Self::of(vec![
            Piece { seconds: warmup.as_secs_f64(), from, to: from },
            Piece { seconds: duration.as_secs_f64(), from, to },
        ])
    }

    /// The first rate during the warm-up, then each for an equal part of `duration`.
    ///
    /// # Errors
    ///
    /// As [`Self::constant`], and for an empty list.
    pub fn steps(rates: &[f64], warmup: Duration, duration: Duration) -> Result<Self, String> {
        let first = *rates.first().ok_or("no rate is given")?;
        let parts = u32::try_from(rates.len()).map_err(|_| "too many steps")?;
        let seconds = (duration / parts).as_secs_f64();
        let warm = Piece { seconds: warmup.as_secs_f64(), from: first, to: first };
        let steps = rates.iter().map(|rate| Piece { seconds, from: *rate, to: *rate });
        Self::of(std::iter::once(warm).chain(steps).collect())
    }

    /// Each arrival at its own time.
    #[must_use]
    pub const fn times(times: Arc<[Duration]>) -> Self {
        Self(Shape::Times(times))
    }

    /// When `arrivals` operations have begun: the time at which the integral of the rate is that.
    /// `None`: so many never begin.
    #[must_use]
    pub fn time_of(&self, mut arrivals: f64) -> Option<Duration> {
        let pieces = match &self.0 {
            Shape::Pieces(pieces) => pieces,
            Shape::Times(times) => return times.get(index(arrivals)).copied(),
        };
        let mut begin = 0.0;
        let mut last = 1.0;
        for piece in pieces {
            let total = piece.seconds * f64::midpoint(piece.from, piece.to);
            if arrivals < total {
                return Some(Duration::from_secs_f64(begin + piece.time_of(arrivals)));
            }
            arrivals -= total;
            begin += piece.seconds;
            last = piece.to;
        }
        Duration::try_from_secs_f64(begin + arrivals / last).ok()
    }

    fn of(pieces: Vec<Piece>) -> Result<Self, String> {
        let valid = |rate: f64| rate > 0.0 && rate <= RATE_MAX;
        match pieces.iter().find(|piece| !valid(piece.from) || !valid(piece.to)) {
            None => Ok(Self(Shape::Pieces(pieces))),
            Some(_) => Err(format!("a rate must be above 0 and at most {RATE_MAX} a second")),
        }
    }
}

/// A number of arrivals as a position.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
#[expect(clippy::cast_sign_loss, reason = "`as` saturates")]
const fn index(arrivals: f64) -> usize {
    arrivals as usize
}

impl Piece {
    /// Solves from·t + (to − from)/(2·seconds)·t² = arrivals for t.
    fn time_of(self, arrivals: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        if slope.abs() < 1e-9 {
            return arrivals / self.from;
        }
        // The form without cancellation: 2c / (b + sqrt(b² + 4ac)).
        2.0 * arrivals / (self.from + (self.from.mul_add(self.from, 2.0 * slope * arrivals)).sqrt())
    }
}

/// The intended starts of one thread's operations, and their numbers within the whole run.
#[derive(Debug, Clone)]
pub struct Schedule {
    profile: Profile,
    arrivals: Arrivals,
    place: Place,
    taken: u64,
    random: Random,
    /// Poisson: how many arrivals of the whole run have been drawn, and the integral of the rate up
    /// to the last of them.
    drawn: u64,
    passed: f64,
}

impl Schedule {
    /// The part of the thread at `place`.
    #[must_use]
    pub fn new(profile: Profile, arrivals: Arrivals, seed: u64, place: Place) -> Self {
        // Apart from the streams that choose the work of an operation.
        let random = Random::new(!seed, 0);
        Self { profile, arrivals, place, taken: 0, random, drawn: 0, passed: 0.0 }
    }
}

impl Iterator for Schedule {
    /// The operation's number and its intended start since the start of the run.
    type Item = (u64, Duration);

    #[expect(clippy::cast_precision_loss, reason = "2^53 operations are never reached")]
    fn next(&mut self) -> Option<Self::Item> {
        let number = self.place.number(self.taken);
        self.taken += 1;
        let arrivals = match self.arrivals {
            Arrivals::Constant => number as f64,
            // All draw the arrivals of all, each the same ones, and take their own: so they do not
            // depend on how many share the run. One costs some 10 ns.
            Arrivals::Poisson => {
                while self.drawn <= number {
                    self.passed += self.random.next_exponential();
                    self.drawn += 1;
                }
                self.passed
            }
        };
        Some((number, self.profile.time_of(arrivals)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arrivals, Part, Place, Profile, RATE_MAX, Schedule};

    const S: Duration = Duration::from_secs(1);

    #[track_caller]
    fn check(profile: &Profile, arrivals: f64, seconds: f64) {
        let found = profile.time_of(arrivals).unwrap().as_secs_f64();
        assert!((found - seconds).abs() < 1e-6, "{arrivals} at {found}, not {seconds}");
    }

    #[test]
    fn profiles() {
        let constant = Profile::constant(100.0).unwrap();
        check(&constant, 0.0, 0.0);
        check(&constant, 250.0, 2.5);
        // 10 in the warm-up second, then 10→30 over 2 s: 40 more.
        let ramp = Profile::ramp(10.0, 30.0, S, 2 * S).unwrap();
        check(&ramp, 5.0, 0.5);
        check(&ramp, 10.0, 1.0);
        check(&ramp, 25.0, 2.0);
        check(&ramp, 50.0, 3.0);
        check(&ramp, 80.0, 4.0);
        let falling = Profile::ramp(30.0, 10.0, Duration::ZERO, 2 * S).unwrap();
        check(&falling, 25.0, 1.0);
        check(&falling, 40.0, 2.0);
        let steps = Profile::steps(&[10.0, 20.0], S, 2 * S).unwrap();
        check(&steps, 20.0, 2.0);
        check(&steps, 30.0, 2.5);
        check(&steps, 60.0, 4.0);
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, RATE_MAX * 2.0] {
            assert!(Profile::constant(rate).is_err(), "{rate}");
        }
        assert!(Profile::steps(&[], S, S).is_err());
    }

    #[test]
    fn a_timetable_ends() {
        let times: Vec<_> = [0, 3, 3, 7].map(Duration::from_secs).to_vec();
        let profile = Profile::times(times.into());
        for (part, expected) in
            [(1, vec![(0, Duration::ZERO), (2, 3 * S)]), (2, vec![(1, 3 * S), (3, 7 * S)])]
        {
            let place = Place::new(Part { number: part, of: 2 }, 0, 1);
            let schedule = Schedule::new(profile.clone(), Arrivals::Constant, 1, place);
            assert_eq!(schedule.collect::<Vec<_>>(), expected);
        }
    }

    /// What any number of processes with any number of threads ask for is, to the nanosecond, what
    /// one thread alone asks for.
    #[test]
    fn processes_and_threads_share_one_schedule() {
        let profiles = [
            Profile::constant(1000.0).unwrap(),
            Profile::ramp(100.0, 3000.0, S, 2 * S).unwrap(),
            Profile::steps(&[500.0, 2000.0, 900.0], S, 3 * S).unwrap(),
        ];
        for profile in profiles {
            for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
                let upto = |place| {
                    Schedule::new(profile.clone(), arrivals, 7, place)
                        .take_while(|(number, _)| *number < 3000)
                        .collect::<Vec<_>>()
                };
                let alone = upto(Place::new(Part::WHOLE, 0, 1));
                assert_eq!(alone.len(), 3000);
                for threads in [vec![3], vec![1, 1], vec![2, 1, 4]] {
                    let of = threads.len() as u64;
                    let mut together: Vec<_> = (1..=of)
                        .zip(&threads)
                        .flat_map(|(number, threads)| {
                            (0..*threads).map(move |thread| {
                                Place::new(Part { number, of }, thread, *threads)
                            })
                        })
                        .flat_map(upto)
                        .collect();
                    together.sort_unstable();
                    assert_eq!(together, alone, "{threads:?}");
                }
            }
        }
    }

    #[test]
    fn poisson_has_the_rate_and_the_seed_decides() {
        let schedule = |seed, thread, threads| {
            let profile = Profile::constant(1000.0).unwrap();
            let place = Place::new(Part::WHOLE, thread, threads);
            Schedule::new(profile, Arrivals::Poisson, seed, place)
        };
        for thread in [0, 1] {
            let arrivals = schedule(7, thread, 2).take_while(|(_, at)| *at < 60 * S).count();
            assert!((29_000..31_000).contains(&arrivals), "{arrivals} of 30000");
        }
        let first = |seed| schedule(seed, 0, 1).take(1000).collect::<Vec<_>>();
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
        let gaps: Vec<_> = first(7).windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        // Of a mean of 1 ms: one of ten is below 0.105 ms, and one of ten above 2.3 ms.
        for (short, expected) in [(true, 100), (false, 100)] {
            let counted = |gap: &&Duration| match short {
                true => **gap < Duration::from_micros(105),
                false => **gap > Duration::from_micros(2303),
            };
            let found = gaps.iter().filter(counted).count();
            assert!((expected - 35..expected + 35).contains(&found), "{found}");
        }
    }
}
