//! Who does what of a run: the processes that share it and the threads of each. What has a number
//! is dealt out in turn, so that all of them together do what one process with one thread would do.

/// Most processes that share a run.
const PARTS_MAX: u64 = 10_000;

/// One of the processes that share a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

impl Part {
    /// The one process that does the whole run.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// Reads `2/5`.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = || {
            let (number, of) = text.split_once('/')?;
            let part = Self { number: number.parse().ok()?, of: of.parse().ok()? };
            let known = part.of <= PARTS_MAX && (1..=part.of).contains(&part.number);
            known.then_some(part)
        };
        read().ok_or_else(|| {
            format!(
                "\"{text}\" is no part of a run; the second of five is 2/5 (at most {PARTS_MAX})"
            )
        })
    }

    /// How many of `total` numbered things are its own.
    #[must_use]
    pub const fn share(self, total: u64) -> u64 {
        share(total, self.number - 1, self.of)
    }
}

/// One thread's place among all threads of all processes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    part: Part,
    thread: u64,
    threads: u64,
}

impl Place {
    /// Thread `thread` of the `threads` that this process has; the others may have more or fewer.
    #[must_use]
    pub const fn new(part: Part, thread: u64, threads: u64) -> Self {
        Self { part, thread, threads }
    }

    /// The number within the whole run of what is number `local` here.
    #[must_use]
    pub const fn number(self, local: u64) -> u64 {
        let of_process = local * self.threads + self.thread;
        of_process * self.part.of + self.part.number - 1
    }

    /// How many of the `total` numbered things of the whole run are done here.
    #[must_use]
    pub const fn share(self, total: u64) -> u64 {
        share(self.part.share(total), self.thread, self.threads)
    }
}

/// How many of `total` things have a number that leaves `index` when it is divided by `of`.
const fn share(total: u64, index: u64, of: u64) -> u64 {
    total / of + if index < total % of { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{Part, Place};

    #[test]
    fn parts() {
        assert_eq!(Part::parse("2/5"), Ok(Part { number: 2, of: 5 }));
        assert_eq!(Part::parse("1/1"), Ok(Part::WHOLE));
        for text in ["", "2", "0/5", "6/5", "1/0", "-1/2", "1/2/3", "1/10001", "a/b"] {
            assert!(Part::parse(text).unwrap_err().contains("2/5"), "{text}");
        }
    }

    /// Whatever number of threads each process has.
    #[test]
    fn every_number_is_done_once() {
        for (total, threads) in [(0, vec![1]), (10, vec![3]), (2, vec![3, 1]), (97, vec![1, 4, 2])]
        {
            let of = threads.len() as u64;
            let mut numbers: Vec<u64> = (1..=of)
                .zip(&threads)
                .flat_map(|(number, threads)| {
                    let part = Part { number, of };
                    (0..*threads).map(move |thread| Place::new(part, thread, *threads))
                })
                .flat_map(|place| (0..place.share(total)).map(move |local| place.number(local)))
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..total).collect::<Vec<_>>(), "{threads:?}");
        }
    }
}
