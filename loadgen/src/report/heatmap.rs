//! Latency over time as a map of shades: each column is a stretch of time, each row a band of
//! latency, and the shade says which share of that stretch's operations took so long. The steps of
//! the shades are fixed, so that two maps compare.

use super::plot::{Cells, Layer};
use super::scale::LATENCY_LOW_NS;
use crate::measure::{IntervalRow, LatencyHistogram, decode_histogram};

/// Bands in a power of ten.
const BANDS_PER_DECADE: f64 = 10.0;

/// Columns at most; more intervals are joined.
const COLUMNS_MAX: usize = 120;

/// The lower edge of each shade, as a share of a column's operations, with its class and name.
const SHADES: [(f64, &str, &str); 6] = [
    (0.0, "h1", "to 0.1 %"),
    (0.001, "h2", "to 1 %"),
    (0.01, "h3", "to 5 %"),
    (0.05, "h4", "to 20 %"),
    (0.2, "h5", "to 50 %"),
    (0.5, "h6", "more of the operations"),
];

/// The cells of `rows` up to `high` nanoseconds, a layer for each shade that there is. `None`:
/// nothing ended in any of them.
pub(crate) fn layers(rows: &[&IntervalRow], high: f64) -> Option<Vec<Layer>> {
    let bands = bands(high);
    let mut cells: [Vec<[f64; 4]>; SHADES.len()] = Default::default();
    for column in rows.chunks(rows.len().div_ceil(COLUMNS_MAX).max(1)) {
        let (Some(first), Some(last)) = (column.first(), column.last()) else { continue };
        let (from, to) = (first.start_s, last.start_s + last.seconds);
        let counts = counts(column, bands);
        let all: u64 = counts.iter().sum();
        // Bands of one shade that touch are one rectangle.
        let mut open: Option<(usize, usize)> = None;
        for (band, count) in counts.iter().copied().chain([0]).enumerate() {
            let shade = (count > 0).then(|| shade_of(count as f64 / all as f64));
            if let Some((begun, of)) = open.filter(|(_, of)| Some(*of) != shade) {
                cells[of].push([from, to, edge(begun), edge(band)]);
                open = None;
            }
            open = open.or(shade.map(|shade| (band, shade)));
        }
    }
    cells.iter().any(|cells| !cells.is_empty()).then(|| {
        let named = SHADES.into_iter().zip(cells);
        let layer = |((_, class, name), cells): ((f64, &'static str, &str), Vec<[f64; 4]>)| {
            Layer::Cells(Cells { name: name.to_owned(), class, cells })
        };
        named.map(layer).collect()
    })
}

/// How many bands there are up to `high` nanoseconds.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
#[expect(clippy::cast_sign_loss, reason = "an axis ends above where it begins")]
fn bands(high: f64) -> usize {
    ((high / LATENCY_LOW_NS).log10() * BANDS_PER_DECADE).round().max(1.0) as usize
}

/// The lower edge of a band, nanoseconds.
fn edge(band: usize) -> f64 {
    LATENCY_LOW_NS * 10_f64.powf(band as f64 / BANDS_PER_DECADE)
}

fn shade_of(share: f64) -> usize {
    SHADES.iter().rposition(|(from, _, _)| share >= *from).unwrap_or(0)
}

/// Operations of a column by band; what is beyond the outer ones is in them.
fn counts(column: &[&IntervalRow], bands: usize) -> Vec<u64> {
    let mut sum: Option<LatencyHistogram> = None;
    for histogram in column.iter().filter_map(|row| decode_histogram(&row.histogram)) {
        match &mut sum {
            Some(sum) => sum.merge(&histogram),
            None => sum = Some(histogram),
        }
    }
    let mut counts = vec![0; bands];
    for value in sum.iter().flat_map(|sum| sum.inner().iter_recorded()) {
        let band = ((value.value_iterated_to() as f64 / LATENCY_LOW_NS).log10() * BANDS_PER_DECADE)
            .floor()
            .max(0.0);
        #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
        #[expect(clippy::cast_sign_loss, reason = "not below 0")]
        let band = (band as usize).min(bands - 1);
        counts[band] += value.count_at_value();
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{SHADES, bands, edge, shade_of};

    #[test]
    fn shades_are_of_fixed_shares() {
        let classes = |share: f64| SHADES[shade_of(share)].1;
        for (share, class) in
            [(0.0001, "h1"), (0.001, "h2"), (0.049, "h3"), (0.05, "h4"), (0.3, "h5"), (1.0, "h6")]
        {
            assert_eq!(classes(share), class, "{share}");
        }
    }

    #[test]
    fn bands_meet_the_ends_of_the_axis() {
        assert_eq!(bands(1e7), 30);
        assert!((edge(30) - 1e7).abs() < 1.0 && (edge(0) - 1e4).abs() < 1e-6);
    }
}
