//! Words that are counted wherever an event has them, whether its line is written or not. Each
//! thread counts for itself: shards have threads of their own, and these events are theirs.

use std::cell::Cell;

/// A list of words that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Refusals,
    LoginFailures,
    Endings,
}

const LISTS: usize = 3;

/// More words than any of these lists has.
pub(super) const WORDS_MAX: usize = 32;

type Row = [Cell<u64>; WORDS_MAX];

thread_local! {
    static COUNTS: [Row; LISTS] = const { [const { [const { Cell::new(0) }; WORDS_MAX] }; LISTS] };
}

/// Counts the word of this place in its list.
pub(super) fn count(list: List, word: usize) {
    COUNTS.with(|counts| {
        let count = &counts[list as usize][word];
        count.set(count.get() + 1);
    });
}

/// How often the word of this place was counted on this thread.
pub(super) fn counted(list: List, word: usize) -> u64 {
    COUNTS.with(|counts| counts[list as usize][word].get())
}
