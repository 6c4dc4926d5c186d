//! The text of a page: families, samples and histograms, as both formats have them.

use std::fmt::{Display, Write};

use crate::metrics::{Spans, seconds};

/// Names and values of the labels of a sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

/// A page in the making.
pub(super) struct Families {
    /// OpenMetrics, not the older format.
    open: bool,
    text: String,
}

impl Families {
    pub(super) const fn new(open: bool) -> Self {
        Self { open, text: String::new() }
    }

    /// The page.
    pub(super) fn end(mut self) -> String {
        if self.open {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// In OpenMetrics a family has the name without the suffix that the kind gives its samples; in
    /// the older format the two are one, and `info` is a gauge.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        let (suffix, kind) = match (self.open, kind) {
            (false, "counter") => ("_total", kind),
            (false, "info") => ("_info", "gauge"),
            _ => ("", kind),
        };
        let prefix = prefix(name);
        let _ = writeln!(self.text, "# HELP {prefix}{name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {prefix}{name}{suffix} {kind}");
    }

    /// Values of labels are words of ours and names of hosts: nothing that needs escapes.
    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        let _ = write!(self.text, "{}{name}", prefix(name));
        for (index, (label, labelled)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{labelled}\"");
        }
        let behind = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{behind} {value}");
    }

    /// Buckets, sum and count.
    pub(super) fn histogram(&mut self, name: &str, labels: Labels<'_>, spans: &Spans) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in spans.up_to_bounds() {
            let mut bound = seconds(bound);
            // OpenMetrics would have numbers with a point.
            if self.open && !bound.contains('.') {
                bound.push_str(".0");
            }
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), count);
        }
        self.sample(&bucket, &[labels, &[("le", &"+Inf")]].concat(), spans.count());
        self.sample(&format!("{name}_sum"), labels, spans.seconds());
        self.sample(&format!("{name}_count"), labels, spans.count());
    }
}

/// What all programs have is called the same everywhere.
fn prefix(name: &str) -> &'static str {
    if name.starts_with("process_") { "" } else { "ringftpd_" }
}
