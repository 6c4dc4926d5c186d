//! The counters as a page, in one of three formats, and which of them a request asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::metrics_families::Families;
use crate::metrics::{self, Kind, Phase, Spans, seconds};
use crate::shard::Figures;
use crate::sys::process::ProcessFigures;

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The text format of Prometheus, version 0.0.4: what every scraper reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The messages of Prometheus: with native histograms.
    Protobuf,
}

impl Format {
    /// For the field Content-Type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }

    /// Type and subtype of the format, and its version or message.
    const fn name(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("text", "plain", "0.0.4"),
            Self::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
            Self::Protobuf => {
                ("application", "vnd.google.protobuf", "io.prometheus.client.MetricFamily")
            }
        }
    }

    /// What the values of the fields Accept ask for (RFC 9110 §12.5.1). Another one than text only
    /// when it is named and weighs no less, and messages before OpenMetrics; text is also the
    /// answer to those who accept none of them: people with a browser.
    pub(super) fn accepted<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Self {
        let [mut text, mut open, mut messages] = [Weight::default(); 3];
        for range in fields.flat_map(|field| field.split(|&octet| octet == b',')) {
            let Ok(range) = std::str::from_utf8(range) else { continue };
            text.hear(range, Self::Text);
            open.hear(range, Self::OpenMetrics);
            messages.hear(range, Self::Protobuf);
        }
        let wanted = |weight: Weight, than: &[Weight]| {
            let named = weight.precision >= SUBTYPE && weight.thousandths > 0;
            named && than.iter().all(|other| weight.thousandths >= other.thousandths)
        };
        match (wanted(messages, &[open, text]), wanted(open, &[text])) {
            (true, _) => Self::Protobuf,
            (false, true) => Self::OpenMetrics,
            (false, false) => Self::Text,
        }
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
                // Its messages are written in other ways, too.
                "proto" if format == Format::Protobuf => match value.trim().trim_matches('"') {
                    message if message == version => precision += 1,
                    _ => return,
                },
                "encoding" if format == Format::Protobuf => match value.trim().trim_matches('"') {
                    "delimited" => precision += 1,
                    _ => return,
                },
                "version" if format == Format::Protobuf => {}
                "version" if value.trim().trim_matches('"') != version => return,
                "version" => precision += 1,
                // Charset, escaping: what is in the page is the same in all of them.
                _ => {}
            }
        }
        // What is not said to be delimited may be anything.
        if format == Format::Protobuf && (SUBTYPE..SUBTYPE + 2).contains(&precision) {
            return;
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
    pub(super) process: ProcessFigures,
}

impl Page {
    pub(super) fn write(&self, format: Format) -> Vec<u8> {
        let mut text = match format {
            Format::Text => Families::text(false),
            Format::OpenMetrics => Families::text(true),
            Format::Protobuf => Families::messages(),
        };
        let help = "The running program.";
        text.family("build", "info", help);
        text.sample("build_info", &[("version", &env!("CARGO_PKG_VERSION"))], 1);

        let help = "Log lines lost, because writing them was too slow or failed.";
        text.family("log_lines_dropped", "counter", help);
        text.sample("log_lines_dropped_total", &[], self.lines_dropped);

        let help = "Reloads of the configuration; one that failed has changed nothing.";
        text.family("reloads", "counter", help);
        for (result, count) in ["succeeded", "failed"].into_iter().zip(self.reloads) {
            text.sample("reloads_total", &[("result", &result)], count);
        }
        self.write_certificates(&mut text);

        text.family("shard_up", "gauge", "Whether the shard answered.");
        for shard in 0..self.shards {
            let answered = self.figures.iter().any(|figures| figures.shard == shard);
            text.sample("shard_up", &[("shard", &shard)], u64::from(answered));
        }
        self.write_values(&mut text, |figures| &figures.counters);
        self.write_values(&mut text, |figures| &figures.gauges);
        self.write_sums(&mut text);
        self.write_phases(&mut text);
        self.write_turns(&mut text);
        write_process(&mut text, &self.process);
        text.end()
    }

    fn write_certificates(&self, text: &mut Families) {
        let ends = self.certificate_ends();
        let help = "When the certificate ends, in seconds since the Unix epoch, by the first name \
                    of [[tls.certificates]].";
        text.family("certificate_not_after", "gauge", help);
        for (certificate, end) in &ends {
            text.sample("certificate_not_after", &[("certificate", certificate)], end);
        }
        let help = "Days until the certificate ends; negative behind it.";
        text.family("certificate_days_left", "gauge", help);
        let now = i64::try_from(self.unix_time.as_secs()).unwrap_or(i64::MAX);
        for (certificate, end) in &ends {
            let left = i64::try_from(*end).unwrap_or(i64::MAX).saturating_sub(now);
            let days = left.div_euclid(DAY_SECONDS);
            text.sample("certificate_days_left", &[("certificate", certificate)], days);
        }
    }

    /// When each certificate ends: where shards differ, the earliest end.
    fn certificate_ends(&self) -> BTreeMap<&str, u64> {
        let mut ends = BTreeMap::new();
        for (name, end) in self.figures.iter().flat_map(|figures| &figures.certificates) {
            let earliest = ends.entry(name.as_str()).or_insert(*end);
            *earliest = *end.min(earliest);
        }
        ends
    }

    /// What each shard has for itself.
    fn write_values(
        &self,
        text: &mut Families,
        values: impl Fn(&Figures) -> &Vec<(&'static str, u64)>,
    ) {
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
                text.sample(&sample, &[("shard", &figures.shard)], kind.written(value));
            }
        }
    }

    /// What all shards have together.
    fn write_sums(&self, text: &mut Families) {
        let (mut replies, mut ports) = (BTreeMap::new(), BTreeMap::new());
        for figures in &self.figures {
            let codes = figures.replies.iter();
            codes.for_each(|(code, count)| *replies.entry(*code).or_default() += count);
            let states = figures.passive_ports.iter();
            states.for_each(|(state, count)| *ports.entry(*state).or_default() += count);
        }
        let replies: BTreeMap<u16, u64> = replies;
        let ports: BTreeMap<&str, u64> = ports;
        let help = "Replies on control connections; a code that was not given yet is not there.";
        text.family("replies", "counter", help);
        for (code, count) in replies {
            text.sample("replies_total", &[("code", &code)], count);
        }
        self.write_reasons(text);
        let help = "Passive ports: waiting for a data connection, parked for the next transfer of \
                    a session, and of a configured range those that rest and those that are free.";
        text.family("passive_ports", "gauge", help);
        for (state, count) in ports {
            text.sample("passive_ports", &[("state", &state)], count);
        }
    }

    /// What all shards have together, by reason; each of them is there from the beginning.
    fn write_reasons(&self, text: &mut Families) {
        let Some((first, others)) = self.figures.split_first() else { return };
        for (index, list) in first.reasons.iter().enumerate() {
            text.family(list.name, "counter", list.help);
            let sample = format!("{}_total", list.name);
            for (place, (reason, count)) in list.by_reason.iter().enumerate() {
                let there = |figures: &Figures| figures.reasons[index].by_reason[place].1;
                let count = count + others.iter().map(there).sum::<u64>();
                text.sample(&sample, &[("reason", reason)], count);
            }
        }
    }

    fn write_phases(&self, text: &mut Families) {
        let help = "How long the phases of sessions and transfers took, by the names that ringload \
                    gives them; those of transfers are of transfers that ended with 226.";
        text.family("phase_seconds", "histogram", help);
        for (index, phase) in Phase::ALL.iter().enumerate() {
            let mut all = Spans::default();
            let of_phase = self.figures.iter().filter_map(|figures| figures.latencies.get(index));
            of_phase.for_each(|spans| all.add(spans));
            let (phase, kind) = phase.labels();
            text.histogram("phase_seconds", &[("phase", &phase), ("kind", &kind)], &all);
        }
    }

    fn write_turns(&self, text: &mut Families) {
        let turns = |figures: &Figures| Some((figures.shard, figures.turns.clone()?));
        let told: Vec<_> = self.figures.iter().filter_map(turns).collect();
        if told.is_empty() {
            return;
        }
        let help = "How long a shard ran its tasks between two looks for input.";
        text.family("turn_seconds", "histogram", help);
        for (shard, (spans, _)) in &told {
            text.histogram("turn_seconds", &[("shard", shard)], spans);
        }
        let help = "The longest of them that ended within the last minute.";
        text.family("turn_longest_seconds", "gauge", help);
        for (shard, (_, longest)) in &told {
            text.sample("turn_longest_seconds", &[("shard", shard)], seconds(*longest));
        }
    }
}

/// Under the names that all programs use.
fn write_process(text: &mut Families, process: &ProcessFigures) {
    let centiseconds = |count: u64| format!("{}.{:02}", count / 100, count % 100);
    let number = |count: u64| count.to_string();
    let ProcessFigures { cpu_centiseconds, start_centiseconds, .. } = *process;
    let ProcessFigures { resident_bytes, virtual_bytes, threads, open_fds, max_fds, .. } = *process;
    let (cpu, start) = (cpu_centiseconds.map(centiseconds), start_centiseconds.map(centiseconds));
    let (resident, addresses) = (resident_bytes.map(number), virtual_bytes.map(number));
    let [threads, open, most] = [threads, open_fds, max_fds].map(|count| count.map(number));
    let rows = [
        ("process_cpu_seconds", "Processor time, user and system.", cpu),
        ("process_resident_memory_bytes", "Memory in use.", resident),
        ("process_virtual_memory_bytes", "Addresses in use.", addresses),
        ("process_threads", "Threads.", threads),
        ("process_start_time_seconds", "When it started, since the Unix epoch.", start),
        ("process_open_fds", "Descriptors in use.", open),
        ("process_max_fds", "The most descriptors it may have.", most),
    ];
    for (name, help, value) in rows {
        let Some(value) = value else { continue };
        let counts = name == "process_cpu_seconds";
        let (kind, suffix) = if counts { ("counter", "_total") } else { ("gauge", "") };
        text.family(name, kind, help);
        text.sample(&format!("{name}{suffix}"), &[], value);
    }
}

const DAY_SECONDS: i64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::events::Counts;
    use crate::metrics::{Counters, Gauges, Latencies, TurnLengths};

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
        // Prometheus 2.42 with native histograms.
        const MESSAGES: &str = "application/vnd.google.protobuf;\
                                proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let messages = Format::Protobuf;
        let rest = "application/openmetrics-text;version=1.0.0;q=0.8,\
                    application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;\
                    q=0.5,*/*;q=0.1";
        check(&[MESSAGES, rest], messages);
        check(&[&format!("{MESSAGES};q=0.3, {rest}")], open);
        check(&[&format!("{MESSAGES};q=0.3, text/plain;q=0.2")], messages);
        check(&[&format!("{MESSAGES};q=0")], text);
        check(&[&MESSAGES.replace("delimited", "text")], text);
        check(&[&MESSAGES.replace("MetricFamily", "Other")], text);
        check(&["application/vnd.google.protobuf"], text);
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

    fn figures(shard: u16, logins: u64, sessions: u64) -> Figures {
        Figures {
            shard: shard.into(),
            counters: vec![("logins", logins), ("handshakes_most", 4), ("uploads", 0)],
            gauges: vec![("sessions", sessions), ("helper_work_oldest_seconds", 1050)],
            certificates: vec![
                ("default".to_owned(), (12 + u64::from(shard)) * 86_400),
                ("ftp.example.org".to_owned(), 9 * 86_400),
            ],
            replies: vec![(220, logins), (226 + shard, 1)],
            reasons: vec![Counts {
                name: "refused",
                help: "Refused.",
                by_reason: vec![("shed", logins), ("not_ftp", 0)],
            }],
            passive_ports: vec![("waiting", sessions), ("free", 10)],
            latencies: {
                let latencies = Latencies::default();
                latencies.record(Phase::Greeting, Duration::from_millis(1 + u64::from(shard)));
                latencies.snapshot()
            },
            turns: (shard == 0).then(|| {
                let turns = TurnLengths::new(clock::now());
                turns.note(clock::now(), Duration::from_micros(120));
                (turns.snapshot(), turns.longest(clock::now()))
            }),
        }
    }

    fn page() -> Page {
        let figures = vec![figures(0, 3, 1), figures(2, 5, 0)];
        let unix_time = Duration::from_secs(10 * 86_400 + 1);
        let process = ProcessFigures { cpu_centiseconds: Some(1203), ..Default::default() };
        Page { shards: 3, figures, lines_dropped: 7, reloads: [5, 2], unix_time, process }
    }

    #[test]
    fn a_page_has_every_value_of_every_shard() {
        let page = page();
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
            "ringftpd_certificate_not_after{certificate=\"default\"} 1036800",
            "ringftpd_replies_total{code=\"220\"} 8",
            "ringftpd_replies_total{code=\"228\"} 1",
            "ringftpd_refused_total{reason=\"shed\"} 8",
            "ringftpd_refused_total{reason=\"not_ftp\"} 0",
            "ringftpd_passive_ports{state=\"free\"} 20",
            "# TYPE ringftpd_phase_seconds histogram",
            "ringftpd_phase_seconds_bucket{phase=\"greeting\",kind=\"any\",le=\"0.001\"} 1",
            "ringftpd_phase_seconds_bucket{phase=\"greeting\",kind=\"any\",le=\"0.005\"} 2",
            "ringftpd_phase_seconds_bucket{phase=\"greeting\",kind=\"any\",le=\"+Inf\"} 2",
            "ringftpd_phase_seconds_sum{phase=\"greeting\",kind=\"any\"} 0.004",
            "ringftpd_phase_seconds_count{phase=\"greeting\",kind=\"any\"} 2",
            "ringftpd_phase_seconds_count{phase=\"transfer\",kind=\"upload\"} 0",
            "ringftpd_turn_seconds_bucket{shard=\"0\",le=\"0.00025\"} 1",
            "ringftpd_turn_longest_seconds{shard=\"0\"} 0.00012",
            "process_cpu_seconds_total 12.03",
        ];
        for (format, own) in [
            (
                Format::OpenMetrics,
                [
                    "# HELP ringftpd_logins Successful log-ins.",
                    "# TYPE ringftpd_logins counter",
                    "# TYPE ringftpd_build info",
                    "# TYPE process_cpu_seconds counter",
                    "ringftpd_turn_seconds_bucket{shard=\"0\",le=\"10.0\"} 1",
                    "# EOF",
                ],
            ),
            (
                Format::Text,
                [
                    "# HELP ringftpd_logins_total Successful log-ins.",
                    "# TYPE ringftpd_logins_total counter",
                    "# TYPE ringftpd_build_info gauge",
                    "# TYPE process_cpu_seconds_total counter",
                    "ringftpd_turn_seconds_bucket{shard=\"0\",le=\"10\"} 1",
                    "# TYPE ringftpd_log_lines_dropped_total counter",
                ],
            ),
        ] {
            let text = String::from_utf8(page.write(format)).unwrap();
            for line in samples.iter().chain(&own) {
                assert!(text.lines().any(|found| found == *line), "no {line:?} in\n{text}");
            }
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
            assert!(!text.contains("turn_seconds_count{shard=\"2\"}"), "{text}");
        }
    }

    /// The README says from when to when each of them is.
    #[test]
    fn the_readme_has_each_phase() {
        let readme = include_str!("../../README.md");
        for (phase, kind) in Phase::ALL.iter().map(|phase| phase.labels()) {
            let begin = format!("| `{phase}` |");
            let mut rows = readme.lines().filter(|line| line.starts_with(&begin));
            assert!(rows.any(|row| row.contains(&format!("`{kind}`"))), "{phase} {kind}");
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
