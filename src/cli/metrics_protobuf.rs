//! The page in the form of Prometheus that has native histograms: messages `MetricFamily` of
//! `io.prometheus.client`, each behind its length (proto3; the numbers of the fields are those of
//! its `metrics.proto`).

use crate::metrics::Spans;

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Messages {
    done: Vec<u8>,
    /// The family in the making; empty at the beginning.
    family: Vec<u8>,
    kind: Kind,
}

/// What a family is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Counter,
    Gauge,
    Histogram,
}

/// Names and values of labels, as text.
pub(super) type Labels<'a> = &'a [(&'a str, String)];

impl Messages {
    /// The page.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.end_family();
        self.done
    }

    /// Begins a family: "counter", "histogram", or else a gauge.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.end_family();
        let (kind, number) = match kind {
            "counter" => (Kind::Counter, 0),
            "histogram" => (Kind::Histogram, 4),
            _ => (Kind::Gauge, 1),
        };
        self.kind = kind;
        octets(&mut self.family, 1, name.as_bytes());
        octets(&mut self.family, 2, help.as_bytes());
        whole(&mut self.family, 3, number);
    }

    fn end_family(&mut self) {
        if !self.family.is_empty() {
            varint(&mut self.done, self.family.len() as u64);
            self.done.append(&mut self.family);
        }
    }

    /// A value of the family.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: f64) {
        let field = if self.kind == Kind::Counter { 3 } else { 2 };
        let mut of_kind = Vec::new();
        real(&mut of_kind, 1, value);
        self.metric(labels, field, &of_kind);
    }

    /// A histogram of the family, native and by classic buckets.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, spans: &Spans) {
        let mut histogram = Vec::new();
        whole(&mut histogram, 1, spans.count());
        real(&mut histogram, 2, number(&spans.seconds()));
        let mut bucket = Vec::new();
        let classic = spans.up_to_bounds().map(|(bound, count)| (bound.as_secs_f64(), count));
        for (bound, count) in classic.chain([(f64::INFINITY, spans.count())]) {
            bucket.clear();
            whole(&mut bucket, 1, count);
            real(&mut bucket, 2, bound);
            octets(&mut histogram, 3, &bucket);
        }
        whole(&mut histogram, 5, zigzag(Spans::SCHEMA));
        real(&mut histogram, 6, Spans::ZERO_SECONDS);
        whole(&mut histogram, 7, spans.zeros());
        let (mut expected, mut before) = (0, 0);
        let (mut runs, mut deltas) = (Vec::<(i64, u64)>::new(), Vec::new());
        for (index, count) in spans.native() {
            match runs.last_mut() {
                Some((_, length)) if index == expected => *length += 1,
                // The first offset is an index, the others count the empty buckets between.
                _ => runs.push((index - expected, 1)),
            }
            expected = index + 1;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            deltas.push(zigzag(count - before));
            before = count;
        }
        for (offset, length) in runs {
            bucket.clear();
            whole(&mut bucket, 1, zigzag(offset));
            whole(&mut bucket, 2, length);
            octets(&mut histogram, 12, &bucket);
        }
        deltas.into_iter().for_each(|delta| whole(&mut histogram, 13, delta));
        self.metric(labels, 7, &histogram);
    }

    fn metric(&mut self, labels: Labels<'_>, field: u64, of_kind: &[u8]) {
        let (mut metric, mut pair) = (Vec::new(), Vec::new());
        for (label, value) in labels {
            pair.clear();
            octets(&mut pair, 1, label.as_bytes());
            octets(&mut pair, 2, value.as_bytes());
            octets(&mut metric, 1, &pair);
        }
        octets(&mut metric, field, of_kind);
        octets(&mut self.family, 4, &metric);
    }
}

/// A value of the page, which is always a number.
pub(super) fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push((value & 0x7f) as u8);
}

/// Small numbers of either sign as small ones.
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn whole(to: &mut Vec<u8>, field: u64, value: u64) {
    varint(to, field << 3);
    varint(to, value);
}

fn real(to: &mut Vec<u8>, field: u64, value: f64) {
    varint(to, field << 3 | 1);
    to.extend_from_slice(&value.to_le_bytes());
}

fn octets(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(to, field << 3 | 2);
    varint(to, value.len() as u64);
    to.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn numbers() {
        let mut to = Vec::new();
        varint(&mut to, 300);
        assert_eq!(to, [0xac, 0x02]);
        assert_eq!([0, -1, 1, -2].map(zigzag), [0, 1, 2, 3]);
    }

    #[test]
    fn a_counter() {
        let mut page = Messages::default();
        page.family("a", "counter", "h");
        page.sample(&[("l", "v".to_owned())], 1.0);
        let mut expected = vec![29];
        expected.extend_from_slice(b"\x0a\x01a\x12\x01h\x18\x00\x22\x13");
        expected.extend_from_slice(b"\x0a\x06\x0a\x01l\x12\x01v\x1a\x09\x09");
        expected.extend_from_slice(&1.0_f64.to_le_bytes());
        assert_eq!(page.end(), expected);
    }

    /// 1 s is the upper bound of bucket 0, and 2 s that of bucket 8.
    #[test]
    fn a_native_histogram() {
        let histogram = Histogram::default();
        for seconds in [0, 1, 1, 2] {
            histogram.record(Duration::from_secs(seconds));
        }
        let mut page = Messages::default();
        page.family("a", "histogram", "h");
        page.histogram(&[], &histogram.snapshot());
        let page = page.end();
        // Schema 3, one in the zero bucket, two spans, and counts as differences.
        let zero = Spans::ZERO_SECONDS.to_le_bytes();
        let native = [b"\x28\x06\x31", &zero[..], b"\x38\x01"].concat();
        let spans = b"\x62\x04\x08\x00\x10\x01\x62\x04\x08\x0e\x10\x01\x68\x04\x68\x01";
        let expected = [&native[..], spans].concat();
        assert!(page.ends_with(&expected), "{page:x?}");
    }
}
