//! Quotients of counts and times.

/// `numerator / denominator`, and 0 for nothing by nothing: a share of no events.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator > 0.0 { numerator / denominator } else { 0.0 }
}

/// CPU seconds by 10⁹ bytes; `None` where nothing moved.
pub(crate) fn per_gb(cpu_s: f64, bytes: u64) -> Option<f64> {
    (bytes > 0).then(|| cpu_s / (bytes as f64 / 1e9))
}
