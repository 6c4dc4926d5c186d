//! What is on a page: families, samples and histograms, as each format has them.

use std::fmt::{Display, Write};

use super::metrics_protobuf::{Messages, number};
use crate::metrics::{Spans, seconds};

/// Names and values of the labels of a sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

/// A page in the making.
pub(super) struct Families {
    /// OpenMetrics, not the older format.
    open: bool,
    text: String,
    /// Neither of the text formats.
    messages: Option<Messages>,
}

impl Families {
    /// A page of text: OpenMetrics, or the older format.
    pub(super) const fn text(open: bool) -> Self {
        Self { open, text: String::new(), messages: None }
    }

    /// A page of messages.
    pub(super) fn messages() -> Self {
        Self { open: false, text: String::new(), messages: Some(Messages::default()) }
    }

    /// The page.
    pub(super) fn end(mut self) -> Vec<u8> {
        if let Some(messages) = self.messages {
            return messages.end();
        }
        if self.open {
            self.text.push_str("# EOF\n");
        }
        self.text.into_bytes()
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
        if let Some(messages) = &mut self.messages {
            return messages.family(&format!("{prefix}{name}{suffix}"), kind, help);
        }
        let _ = writeln!(self.text, "# HELP {prefix}{name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {prefix}{name}{suffix} {kind}");
    }

    /// Values of labels are words of ours and names of hosts: nothing that needs escapes.
    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        if let Some(messages) = &mut self.messages {
            return messages.sample(&shown(labels), number(&value.to_string()));
        }
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
        if let Some(messages) = &mut self.messages {
            return messages.histogram(&shown(labels), spans);
        }
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

fn shown(labels: Labels<'_>) -> Vec<(&str, String)> {
    labels.iter().map(|(label, value)| (*label, value.to_string())).collect()
}

/// What all programs have is called the same everywhere.
fn prefix(name: &str) -> &'static str {
    if name.starts_with("process_") { "" } else { "ringftpd_" }
}
