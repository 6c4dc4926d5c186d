//! The parts' CPU time beside each other. Each part took its samples at moments of its own, so what
//! it had used at those of another lies between two of them.

use crate::measure::CpuRow;

/// CPU time of all generators, and of the server as the first part saw it that measured it.
pub(super) fn beside_each_other(parts: &[&[CpuRow]]) -> Vec<CpuRow> {
    let end = |rows: &[CpuRow]| rows.last().map_or(0.0, |row| row.start_s + row.seconds);
    // The longest part's moments.
    let longest = parts.iter().copied().max_by(|a, b| end(a).total_cmp(&end(b)));
    let watches = |rows: &&[CpuRow]| rows.iter().any(|row| row.server_s.is_some());
    let server = parts.iter().copied().find(watches);
    let between = |rows: &[CpuRow], of: fn(&CpuRow) -> Option<f64>, from: f64, to: f64| {
        let inside = |row: &CpuRow| {
            let length = (to.min(row.start_s + row.seconds) - from.max(row.start_s)).max(0.0);
            let share = if row.seconds > 0.0 { length / row.seconds } else { 0.0 };
            (share > 0.0).then(|| of(row).map(|used| used * share))
        };
        // Nothing where some of it is not known.
        rows.iter().filter_map(inside).sum::<Option<f64>>()
    };
    let sum = |row: &CpuRow| {
        let (from, to) = (row.start_s, row.start_s + row.seconds);
        CpuRow {
            client_s: parts
                .iter()
                .filter_map(|rows| between(rows, |row| Some(row.client_s), from, to))
                .sum(),
            server_s: server.and_then(|rows| between(rows, |row| row.server_s, from, to)),
            ..*row
        }
    };
    longest.unwrap_or_default().iter().map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::{CpuRow, beside_each_other};

    fn row(start_s: f64, seconds: f64, client_s: f64, server_s: Option<f64>) -> CpuRow {
        CpuRow { start_s, seconds, client_s, server_s }
    }

    #[test]
    fn samples_of_other_moments_are_shared_out() {
        let first = [row(0.0, 1.0, 0.4, None), row(1.0, 1.0, 0.6, None)];
        let second = [
            row(0.5, 1.0, 0.2, Some(1.0)),
            row(1.5, 1.0, 0.8, Some(0.5)),
            row(2.5, 1.0, 0.1, None),
        ];
        let merged = beside_each_other(&[&first, &second]);
        let clients: Vec<f64> = merged.iter().map(|row| row.client_s).collect();
        for (found, wanted) in clients.iter().zip([0.4 * 0.5 + 0.6 * 0.5 + 0.2, 0.6 * 0.5 + 0.8]) {
            assert!((found - wanted).abs() < 1e-9, "{clients:?}");
        }
        let server: Vec<Option<f64>> = merged.iter().map(|row| row.server_s).collect();
        assert_eq!(server, [Some(1.0), Some(0.5), None]);
        // Where one has samples only, they stay as they are.
        assert_eq!(beside_each_other(&[&second]), second);
        assert_eq!(beside_each_other(&[&[], &[]]), []);
    }
}
