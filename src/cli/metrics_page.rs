//! The counters as a page, in one of two formats, and which of them a request asks for.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::time::Duration;

use crate::metrics::{self, Kind};
use crate::shard::Figures;

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The text format of Prometheus, version 0.0.4: what every scraper reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// For the field Content-Type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Type, subtype and version of the format.
    const fn name(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain", "0.0.4"),
            Self::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
        }
    }

    /// What the values of the fields Accept ask for (RFC 9110 §12.5.1). OpenMetrics only when it is
    /// named and weighs no less than text, which is also the answer to those who accept neither:
    /// people with a browser.
    pub(super) fn accepted<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut text, mut open) = (Weight::default(), Weight::default());
        for range in fields.flat_map(|field| field.split(|&octet| octet == b',')) {
            let Ok(range) = std::str::from_utf8(range) else { continue };
            text.hear(range, Self::Text);
            open.hear(range, Self::OpenMetrics);
        }
        let named = open.precision >= SUBTYPE && open.thousandths > 0;
        if named && open.thousandths >= text.thousandths { Self::OpenMetrics } else { Self::Text }
    }
}

/// What a client gives for a format: the word of the most precise range that it belongs to.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    /// 0 when no range was heard that it belongs to.
    precision: u8,
    /// 0 (not acceptable) to 1000.
    thousandths: u16,
}

/// Precision of a range that names type and subtype; one more with the version.
const SUBTYPE: u8 = 3;

impl Weight {
    fn hear(&mut self, range: &str, format: Format) {
        let (kind, subtype, version) = format.name();
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut precision = match name.split_once('/') {
            Some(("*", "*")) => 1,
            Some((found, "*")) if found == kind => 2,
            Some((found, sub)) if found == kind && sub == subtype => SUBTYPE,
            _ => return,
        };
        let mut thousandths = 1000;
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.trim_end().to_ascii_lowercase().as_str() {
                "q" => match weight(value.trim_start()) {
                    Some(weight) => thousandths = weight,
                    None => return,
                },
                "version" if value.trim().trim_matches('"') != version => return,
                "version" => precision += 1,
                // Charset, escaping: what is in the page is the same in all of them.
                _ => {}
            }
        }
        if precision > self.precision {
            *self = Self { precision, thousandths };
        }
    }
}

/// `qvalue` in thousandths (RFC 9110 §12.4.2).
fn weight(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match (whole, part) {
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// All figures of one scrape.
#[derive(Debug)]
pub(super) struct Page {
    /// How many there are; those without figures did not answer.
    pub(super) shards: usize,
    pub(super) figures: Vec<Figures>,
    pub(super) lines_dropped: usize,
    /// Reloads that succeeded, and that failed.
    pub(super) reloads: [u64; 2],
    /// When it is, since the Unix epoch.
    pub(super) unix_time: Duration,
}

impl Page {
    pub(super) fn write(&self, format: Format) -> String {
        let mut text = Families { format, text: String::new() };
        let help = "The running program.";
        text.family("build", "info", help);
        text.sample("build_info", "version", env!("CARGO_PKG_VERSION"), 1);

        let help = "Log lines lost, because writing them was too slow or failed.";
        text.family("log_lines_dropped", "counter", help);
        text.line("log_lines_dropped_total", self.lines_dropped);

        let help = "Reloads of the configuration; one that failed has changed nothing.";
        text.family("reloads", "counter", help);
        for (result, count) in ["succeeded", "failed"].into_iter().zip(self.reloads) {
            text.sample("reloads_total", "result", result, count);
        }

        let help = "Days until the certificate ends, by the first name of [[tls.certificates]]; \
                    negative behind it.";
        text.family("certificate_days_left", "gauge", help);
        for (certificate, days) in self.certificate_days() {
            text.sample("certificate_days_left", "certificate", certificate, days);
        }

        text.family("shard_up", "gauge", "Whether the shard answered.");
        for shard in 0..self.shards {
            let answered = self.figures.iter().any(|figures| figures.shard == shard);
            text.sample("shard_up", "shard", shard, u64::from(answered));
        }
        for values in
            [(|f| &f.counters) as fn(&Figures) -> &Vec<(&'static str, u64)>, |f| &f.gauges]
        {
            // Every shard tells the same names in the same order.
            let names = self.figures.first().map(|first| values(first).as_slice());
            for (index, (name, _)) in names.unwrap_or_default().iter().enumerate() {
                let Some((kind, help)) = metrics::describe(name) else { continue };
                let (prometheus, suffix) = match kind {
                    Kind::Counter => ("counter", "_total"),
                    Kind::Gauge | Kind::Span => ("gauge", ""),
                };
                text.family(name, prometheus, help);
                let sample = format!("{name}{suffix}");
                for figures in &self.figures {
                    let value = values(figures).get(index).map_or(0, |(_, value)| *value);
                    text.sample(&sample, "shard", figures.shard, kind.written(value));
                }
            }
        }
        if format == Format::OpenMetrics {
            text.text.push_str("# EOF\n");
        }
        text.text
    }

    /// Days until each certificate ends: where shards differ, the earliest end.
    fn certificate_days(&self) -> BTreeMap<&str, i64> {
        let mut days = BTreeMap::new();
        let now = i64::try_from(self.unix_time.as_secs()).unwrap_or(i64::MAX);
        for (name, end) in self.figures.iter().flat_map(|figures| &figures.certificates) {
            let left = i64::try_from(*end).unwrap_or(i64::MAX).saturating_sub(now);
            let left = left.div_euclid(DAY_SECONDS);
            let earliest = days.entry(name.as_str()).or_insert(left);
            *earliest = left.min(*earliest);
        }
        days
    }
}

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A page in the making.
struct Families {
    format: Format,
    text: String,
}

impl Families {
    /// In OpenMetrics a family has the name without the suffix that the kind gives its samples; in
    /// the older format the two are one, and `info` is a gauge.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let (suffix, kind) = match (self.format, kind) {
            (Format::Text, "counter") => ("_total", kind),
            (Format::Text, "info") => ("_info", "gauge"),
            _ => ("", kind),
        };
        let _ = writeln!(self.text, "# HELP ringftpd_{name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE ringftpd_{name}{suffix} {kind}");
    }

    fn sample(&mut self, name: &str, label: &str, labelled: impl Display, value: impl Display) {
        let _ = writeln!(self.text, "ringftpd_{name}{{{label}=\"{labelled}\"}} {value}");
    }

    fn line(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.text, "ringftpd_{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Counters, Gauges};

    #[test]
    fn what_is_asked_for() {
        const OPEN: &str = "application/openmetrics-text";
        #[track_caller]
        fn check(fields: &[&str], expected: Format) {
            let fields = fields.iter().map(|field| field.as_bytes());
            assert_eq!(Format::accepted(fields), expected);
        }
        let (text, open) = (Format::Text, Format::OpenMetrics);
        check(&[], text);
        check(&[""], text);
        check(&["*/*"], text);
        check(&["text/html,application/xhtml+xml,*/*;q=0.8"], text);
        check(&["text/plain"], text);
        check(&["image/png"], text);
        check(&[OPEN], open);
        check(&["Application/OpenMetrics-Text; Version=1.0.0"], open);
        check(&["application/openmetrics-text; version=\"1.0.0\""], open);
        check(&["application/*"], text);
        check(&["application/openmetrics-text;version=0.0.1"], text);
        check(&["application/openmetrics-text;version=2.0.0,text/plain;q=0.1"], text);
        // Prometheus 2.42, and 3 with its parameter for names.
        check(
            &["application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
               version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
            open,
        );
        check(
            &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
               text/plain;version=0.0.4;q=0.5,*/*;q=0.4"],
            open,
        );
        check(&[OPEN, "text/plain"], open);
        check(&["text/plain, application/openmetrics-text;q=0.9"], text);
        check(&["text/plain;q=0.5", "application/openmetrics-text;q=0.501"], open);
        check(&["application/openmetrics-text; q=0"], text);
        check(&["application/openmetrics-text;q=0.000, */*"], text);
        check(&["application/openmetrics-text;q=x, text/plain;q=0.1"], text);
        check(&["*/*;q=1, application/openmetrics-text;q=0.2"], text);
        check(&["text/plain;q=0, application/openmetrics-text;q=0.001"], open);
    }

    #[test]
    fn weights() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.123", Some(123)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("2", None),
            ("0.1234", None),
            ("-1", None),
            ("", None),
            (".5", None),
            ("0.+5", None),
        ] {
            assert_eq!(weight(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_page_has_every_value_of_every_shard() {
        let figures = |shard, logins, sessions| Figures {
            shard,
            counters: vec![("logins", logins), ("handshakes_most", 4), ("uploads", 0)],
            gauges: vec![
                ("sessions", sessions),
                ("certificate_not_after", (12 + shard as u64) * 86_400),
                ("helper_work_oldest_seconds", 1050),
            ],
            certificates: vec![
                ("default".to_owned(), (12 + shard as u64) * 86_400),
                ("ftp.example.org".to_owned(), 9 * 86_400),
            ],
        };
        let figures = vec![figures(0, 3, 1), figures(2, 5, 0)];
        let unix_time = Duration::from_secs(10 * 86_400 + 1);
        let page = Page { shards: 3, figures, lines_dropped: 7, reloads: [5, 2], unix_time };
        let samples = [
            "# TYPE ringftpd_helper_work_oldest_seconds gauge",
            "ringftpd_helper_work_oldest_seconds{shard=\"2\"} 1.050",
            "ringftpd_logins_total{shard=\"0\"} 3",
            "ringftpd_logins_total{shard=\"2\"} 5",
            "# TYPE ringftpd_handshakes_most gauge",
            "ringftpd_handshakes_most{shard=\"2\"} 4",
            "ringftpd_uploads_total{shard=\"2\"} 0",
            "# TYPE ringftpd_sessions gauge",
            "ringftpd_sessions{shard=\"0\"} 1",
            "ringftpd_shard_up{shard=\"0\"} 1",
            "ringftpd_shard_up{shard=\"1\"} 0",
            "ringftpd_log_lines_dropped_total 7",
            "ringftpd_reloads_total{result=\"succeeded\"} 5",
            "ringftpd_reloads_total{result=\"failed\"} 2",
            "# TYPE ringftpd_certificate_days_left gauge",
            "ringftpd_certificate_days_left{certificate=\"default\"} 1",
            "ringftpd_certificate_days_left{certificate=\"ftp.example.org\"} -2",
        ];
        for (format, own) in [
            (
                Format::OpenMetrics,
                [
                    "# HELP ringftpd_logins Successful log-ins.",
                    "# TYPE ringftpd_logins counter",
                    "# TYPE ringftpd_build info",
                    "# EOF",
                ],
            ),
            (
                Format::Text,
                [
                    "# HELP ringftpd_logins_total Successful log-ins.",
                    "# TYPE ringftpd_logins_total counter",
                    "# TYPE ringftpd_build_info gauge",
                    "# TYPE ringftpd_log_lines_dropped_total counter",
                ],
            ),
        ] {
            let text = page.write(format);
            for line in samples.iter().chain(&own) {
                assert!(text.lines().any(|found| found == *line), "no {line:?} in\n{text}");
            }
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
        }
    }

    /// Both formats would have these escaped, each in its own way.
    #[test]
    fn no_help_needs_escapes() {
        for (name, _) in Counters::default().snapshot().iter().chain(&Gauges::default().snapshot())
        {
            let (_, help) = metrics::describe(name).unwrap();
            assert!(!help.contains(['"', '\\', '\n']), "{name}: {help}");
        }
    }
}
