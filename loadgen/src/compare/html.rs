//! Pages of several runs: finished ones overlaid, and the rounds of two targets. They have the
//! axes of a single run's page ([`scale`](crate::report::scale)), so that all of them compare.

use maud::{Markup, html};

use super::{Cell, Comparison, Difference, Named, Versus, VersusRow};
use crate::measure::{LatencyHistogram, Phase, RunResult};
use crate::report::format;
use crate::report::page::{self, figure, table};
use crate::report::percentiles::{self, Curve};
use crate::report::phase_bars;
use crate::report::plot::{Layer, Line, Look, Plot};
use crate::report::scale::Axis;
use crate::report::{Course, highest_latency, highest_of};

/// The rows of a comparison that are drawn by round.
const RATE: &str = "operations/s";
const P99: &str = "whole operation p99";

impl Comparison {
    /// The page of these runs, which are those compared.
    #[must_use]
    pub fn html(&self, runs: &[Named]) -> String {
        let highest = runs.iter().map(|run| highest_latency(&run.result)).fold(0.0, f64::max);
        let curve = |(number, run): (usize, &Named)| {
            let histogram = run.result.phase(Phase::Operation)?.corrected.decode()?;
            Some(Curve { name: run.name.clone(), look: Look::new(number), histogram })
        };
        let curves: Vec<Curve> = runs.iter().enumerate().filter_map(curve).collect();
        let objective = runs.first().and_then(|run| run.result.objective.as_ref());
        let latencies: Vec<_> = runs
            .iter()
            .filter_map(|run| {
                Some((run.name.clone(), &run.result.phase(Phase::Operation)?.corrected))
            })
            .collect();
        let bars: Vec<phase_bars::Bar<'_>> =
            runs.iter().map(|run| (run.name.as_str(), vec![&run.result])).collect();
        let body = html! {
            (first_of_all(&self.unlike, &self.warnings))
            (percentiles::curves(&curves, highest, objective, ""))
            (percentiles::rows("Percentiles", &latencies))
            (over_time(runs, highest))
            (phase_bars::section(&bars))
            (self.table())
            (about(runs.iter().map(|run| (run.name.clone(), &run.result))))
        };
        let workload = runs.first().map_or("", |run| run.result.workload.name.as_str());
        page::page(&format!("{workload}: {} runs compared", runs.len()), &body)
    }

    fn table(&self) -> Markup {
        let mut header = vec!["metric"];
        for (index, name) in self.names.iter().enumerate() {
            header.push(name);
            if index > 0 {
                header.push("to the first");
            }
        }
        let rows = self.rows.iter().map(|row| {
            let mut cells = vec![row.metric.clone()];
            for (index, cell) in row.cells.iter().enumerate() {
                cells.push(cell.map_or_else(|| "–".to_owned(), |cell| row.unit.format(cell.value)));
                if index > 0 {
                    cells.push(cell.as_ref().map_or_else(String::new, beside_the_first));
                }
            }
            cells
        });
        html! {
            (table("Figures", &header, rows))
            p class="muted" {
                "Single runs cannot show how runs differ from each other: closer than 5 %, or than \
                 the interval of a run’s own samples, is within noise. "
                code { "ringload versus" } " runs rounds in turn."
            }
        }
    }
}

impl Versus {
    /// The page of these rounds.
    #[must_use]
    pub fn html(&self) -> String {
        let sides = [(&self.name_a, &self.results_a), (&self.name_b, &self.results_b)];
        let runs = || sides.iter().flat_map(|(_, runs)| runs.iter());
        let highest = runs().map(highest_latency).fold(0.0, f64::max);
        let workload = self.results_a.first().map_or("", |run| run.workload.name.as_str());
        let bars: Vec<phase_bars::Bar<'_>> =
            sides.iter().map(|(name, runs)| (name.as_str(), runs.iter().collect())).collect();
        let named = sides.iter().flat_map(|(name, runs)| {
            (1..).zip(runs.iter()).map(move |(round, run)| (format!("{name}, round {round}"), run))
        });
        let body = html! {
            p { "A is " strong { (self.name_a) } ", B is " strong { (self.name_b) } ": "
                (self.rounds) " rounds in turn." }
            (first_of_all(&self.unlike, &self.warnings))
            (self.ratios())
            (percentiles::curves(&self.curves(), highest, None, "Thick: all rounds of a side \
                together. Thin: each round."))
            (self.rounds(RATE, Axis::amount("operations a second", self.highest(RATE), "/s")))
            (self.rounds(P99, Axis::latency(highest)))
            (phase_bars::section(&bars))
            (self.table())
            (about(named))
        };
        page::page(&format!("{workload}: A against B"), &body)
    }

    /// How far each metric is from equal.
    fn ratios(&self) -> Markup {
        let known: Vec<(&VersusRow, [f64; 3])> = self
            .rows
            .iter()
            .filter_map(|row| Some((row, [row.ratio_low?, row.ratio?, row.ratio_high?])))
            .filter(|(_, ratios)| ratios.iter().all(|ratio| *ratio > 0.0))
            .collect();
        if known.is_empty() {
            return html! {};
        }
        // An interval of few rounds can be wide: what lies beyond ×10 is cut there.
        let all =
            || known.iter().flat_map(|(_, ratios)| *ratios).map(|ratio| ratio.clamp(0.1, 10.0));
        let axis = Axis::ratio(all().fold(1.0, f64::min), all().fold(1.0, f64::max));
        let at = |ratio: f64| axis.position(ratio) * 1000.0;
        html! {
            section {
                h2 { "B beside A" }
                figure {
                    div class="bars" {
                        @for (row, [low, middle, high]) in &known {
                            span { (row.metric) }
                            svg class="ratio" viewBox="0 0 1000 100" preserveAspectRatio="none"
                                role="img" aria-label=(format!(
                                    "{}: {} ({low:.3} to {high:.3}), {}",
                                    row.metric, format::ratio(*middle), row.verdict.text()
                                )) {
                                path class="axis" d="M500 0V100" {}
                                path class=(look(row.verdict).line())
                                    d=(format!("M{:.1} 50H{:.1}", at(*low), at(*high))) {}
                                (look(row.verdict).marks(&format!("M{:.1} 50h0", at(*middle))))
                                title { (format::ratio(*middle)) ": " (row.verdict.text()) }
                            }
                        }
                        span {}
                        div class="scale" aria-hidden="true" {
                            @for tick in &axis.ticks {
                                span style=(axis.left(tick.value)) { (tick.label) }
                            }
                        }
                    }
                    figcaption {
                        "Ratio B ÷ A with its interval; the line in the middle is equal. Round: B \
                         is better; square on dashes: worse; square and grey: within noise."
                    }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        let header = ["metric", "A", "B", "ratio", "interval", "and so B is"];
        let rows = self.rows.iter().map(|row| {
            vec![
                row.metric.clone(),
                row.unit.format(row.median_a),
                row.unit.format(row.median_b),
                row.ratio.map_or("–".to_owned(), format::ratio),
                match (row.ratio_low, row.ratio_high) {
                    (Some(low), Some(high)) => format!("{low:.3} … {high:.3}"),
                    _ => "–".to_owned(),
                },
                row.verdict.text().to_owned(),
            ]
        });
        html! {
            (table("Medians of the rounds", &header, rows))
            p class="muted" {
                "Ratio: median of B ÷ A by round, with its " (format::share(self.confidence))
                " interval. Of twenty metrics of equal servers, one is expected to differ."
            }
        }
    }

    fn curves(&self) -> Vec<Curve> {
        let mut curves = Vec::new();
        for (number, (name, runs)) in
            [("A", &self.results_a), ("B", &self.results_b)].into_iter().enumerate()
        {
            let mut sum = LatencyHistogram::new();
            let operations = runs.iter().filter_map(|run| run.phase(Phase::Operation));
            for histogram in operations.filter_map(|latency| latency.corrected.decode()) {
                sum.merge(&histogram);
                let look = Look::faint(number);
                curves.push(Curve { name: String::new(), look, histogram });
            }
            if sum.count() > 0 {
                let look = Look::new(number);
                curves.push(Curve { name: name.to_owned(), look, histogram: sum });
            }
        }
        curves
    }

    fn row(&self, metric: &str) -> Option<&VersusRow> {
        self.rows.iter().find(|row| row.metric == metric)
    }

    fn highest(&self, metric: &str) -> f64 {
        let row = self.row(metric);
        row.iter().flat_map(|row| row.a.iter().chain(&row.b)).copied().fold(0.0, f64::max)
    }

    /// A metric in each round.
    fn rounds(&self, metric: &str, y: Axis) -> Markup {
        let Some(row) = self.row(metric) else { return html! {} };
        let line = |number: usize, name: &str, values: &[f64]| {
            let points = (1..).zip(values).map(|(round, value)| (f64::from(round), Some(*value)));
            Layer::Line(Line {
                name: name.to_owned(),
                look: Look::new(number),
                points: points.collect(),
            })
        };
        let plot = Plot {
            description: format!("{metric} in each round"),
            x: Axis::numbers("round", self.rounds),
            y,
            layers: vec![line(0, "A", &row.a), line(1, "B", &row.b)],
            shades: Vec::new(),
            limits: Vec::new(),
            hover: Vec::new(),
        };
        figure(&format!("{metric} by round"), "", &plot)
    }
}

/// Ratio and verdict of a cell.
fn beside_the_first(cell: &Cell) -> String {
    let ratio = cell.ratio.map_or("–".to_owned(), format::ratio);
    let verdict = cell.verdict.map_or("", Difference::text);
    format!("{ratio} {verdict}").trim_end().to_owned()
}

/// Colour and dashes of a verdict.
const fn look(verdict: Difference) -> Look {
    match verdict {
        Difference::Better => Look::new(0),
        Difference::Worse => Look::new(1),
        Difference::Noise | Difference::Differs | Difference::TooFew => Look::new(5),
    }
}

/// What makes the sides do different work, and what makes figures doubtful.
fn first_of_all(unlike: &[String], warnings: &[String]) -> Markup {
    html! {
        (page::warning(
            "Not the same work. The connections differ, and so does what they cost:",
            unlike,
        ))
        (page::warning("Beware:", warnings))
    }
}

/// Rate and latency of all runs over time, laid over each other.
fn over_time(runs: &[Named], highest: f64) -> Markup {
    let courses: Vec<(&str, Course<'_>)> = runs
        .iter()
        .filter_map(|run| Some((run.name.as_str(), Course::new(&run.result)?)))
        .collect();
    let end = courses.iter().map(|(_, course)| course.end()).fold(0.0, f64::max);
    if courses.is_empty() {
        return html! {};
    }
    let lines = |value: &dyn Fn(&crate::measure::IntervalRow) -> Option<f64>| -> Vec<Line> {
        let line = |(number, (name, course)): (usize, &(&str, Course<'_>))| {
            course.line(name, Look::new(number), value)
        };
        courses.iter().enumerate().map(line).collect()
    };
    let plot = |description: &str, y: Axis, lines: Vec<Line>| Plot {
        description: description.to_owned(),
        x: Axis::time(end),
        y,
        layers: lines.into_iter().map(Layer::Line).collect(),
        shades: Vec::new(),
        limits: Vec::new(),
        hover: Vec::new(),
    };
    let rates = lines(&|row| Some(crate::measure::ratio(row.operations as f64, row.seconds)));
    let rate_axis = Axis::amount("operations a second", highest_of(&rates), "/s");
    let ended = |row: &crate::measure::IntervalRow, value: u64| {
        (row.operations > 0).then_some(value as f64)
    };
    let p50 = lines(&|row| ended(row, row.p50_ns));
    let p99 = lines(&|row| ended(row, row.p99_ns));
    let latency = || Axis::latency(highest);
    let note = "With the warm-up.";
    html! {
        (figure("Reached rate", note, &plot("Operations a second over time", rate_axis, rates)))
        (figure("p50 over time", note, &plot("Median latency over time", latency(), p50)))
        (figure("p99 over time", note, &plot("99th percentile over time", latency(), p99)))
    }
}

/// Which runs these were.
fn about<'a>(runs: impl Iterator<Item = (String, &'a RunResult)>) -> Markup {
    let rows = runs.map(|(name, run)| {
        let tls = run.tls.first().map_or_else(String::new, |row| {
            format!("{} {} {}, {}", row.version, row.suite, row.group, row.certificate)
        });
        vec![
            name,
            format!("{}:{}", run.target.host, run.target.port),
            run.target.greeting.clone(),
            tls,
            format::unix_time(run.timing.started_unix_ms),
            run.command_line.join(" "),
        ]
    });
    let header = ["run", "target", "greeting", "TLS", "begun", "command"];
    table("The runs", &header, rows)
}
