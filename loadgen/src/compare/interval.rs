//! Intervals of medians, as the module above describes them.

use super::{CONFIDENCE, ROUNDS_MIN};

/// Bounds of the median ratio (`sorted`, not empty), as the module describes.
pub(super) fn ratio_interval(sorted: &[f64]) -> (f64, f64) {
    let (low, high) = median_interval(sorted);
    let count = sorted.len() as f64;
    let Some((_, student)) = STUDENT.into_iter().find(|(rounds, _)| *rounds == sorted.len()) else {
        return (low, high);
    };
    if low <= 0.0 {
        return (low, high); // B has 0 in a round: there is no logarithm, and no doubt from 0 to 1
    }
    let mean = sorted.iter().map(|ratio| ratio.ln()).sum::<f64>() / count;
    let squares = sorted.iter().map(|ratio| (ratio.ln() - mean).powi(2)).sum::<f64>();
    let half_width = student * (squares / (count - 1.0) / count).sqrt();
    (low.min((mean - half_width).exp()), high.max((mean + half_width).exp()))
}

/// Student's two-sided 95 % factors by number of values, as far as the sign test is not used.
const STUDENT: [(usize, f64); 3] = [(3, 4.303), (4, 3.182), (5, 2.776)];

pub(super) fn rounds_confidence(rounds: usize) -> f64 {
    match rounds {
        0..ROUNDS_MIN => 0.0,
        ROUNDS_MIN..6 => CONFIDENCE,
        _ => median_interval_ranks(rounds).1,
    }
}

/// Bounds of the median of `sorted` (not empty) by the sign test, as the module describes.
pub(super) fn median_interval(sorted: &[f64]) -> (f64, f64) {
    let (rank, _) = median_interval_ranks(sorted.len());
    (sorted[rank - 1], sorted[sorted.len() - rank])
}

/// The rank k ≥ 1 of the module's description for `n` values, and the confidence it gives.
fn median_interval_ranks(n: usize) -> (usize, f64) {
    /// From here on the normal approximation is right to a rank, and ½ⁿ may underflow.
    const LARGE: usize = 500;
    if n >= LARGE {
        // Two standard deviations, √n/2 each, cover a little more than asked.
        return (n / 2 - n.isqrt() - 1, CONFIDENCE);
    }
    // P(Binomial(n, ½) < 1) = ½ⁿ; each further rank adds the next term.
    let mut term = 0.5_f64.powf(n as f64);
    let mut below = term;
    let mut best = (1, (1.0 - 2.0 * below).max(0.0)); // of no value or one: nothing is known
    for rank in 2..=n / 2 {
        term *= (n - rank + 2) as f64 / (rank - 1) as f64;
        below += term;
        let confidence = 1.0 - 2.0 * below;
        if confidence < CONFIDENCE {
            break;
        }
        best = (rank, confidence);
    }
    best
}

pub(super) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values; 0 of none.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::{median, median_interval, median_interval_ranks, sorted};

    #[track_caller]
    fn check_ranks(n: usize, rank: usize, confidence: f64) {
        let (found, reached) = median_interval_ranks(n);
        assert_eq!(found, rank, "n = {n}");
        assert!((reached - confidence).abs() < 5e-4, "n = {n}: {reached}");
    }

    /// Values of the sign test's table.
    #[test]
    fn ranks_are_those_of_the_sign_test() {
        check_ranks(1, 1, 0.0);
        check_ranks(3, 1, 0.75);
        check_ranks(5, 1, 0.9375);
        check_ranks(6, 1, 0.9688);
        check_ranks(8, 1, 0.9922);
        check_ranks(9, 2, 0.9609);
        check_ranks(10, 2, 0.9785);
        check_ranks(15, 4, 0.9648);
        check_ranks(20, 6, 0.9586);
    }

    #[test]
    fn many_seconds_neither_overflow_nor_vanish() {
        for n in [100, 1000, 4096] {
            let (rank, confidence) = median_interval_ranks(n);
            assert!(rank < n / 2 && confidence >= 0.95, "n = {n}: {rank} {confidence}");
            let half_width = n as f64 / 2.0 - rank as f64;
            let expected = 0.98 * (n as f64).sqrt();
            assert!((half_width - expected).abs() < 3.0, "n = {n}: {half_width} {expected}");
        }
    }

    #[test]
    fn medians() {
        assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
        let values = sorted(vec![3.0, 1.0, 2.0]);
        assert_eq!(median_interval(&values), (1.0, 3.0));
    }
}
