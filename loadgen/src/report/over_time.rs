//! The plots over time, of one run.

use maud::{Markup, html};

use super::format;
use super::heatmap;
use super::page::figure;
use super::percentiles::latency_conditions;
use super::plot::{Area, Layer, Limit, Line, Look, Plot};
use super::scale::Axis;
use crate::measure::{CpuRow, ErrorClass, IntervalRow, Phase, RunResult, ratio};

/// Intervals beyond this have no hover texts: the page would be mostly those.
const HOVER_INTERVALS_MAX: usize = 600;

/// Label of the stretch after the measured part.
const ENDING: &str = "ending";

/// Ticks of payload are round in MiB.
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// One run's course.
pub(crate) struct Course<'a> {
    pub(crate) result: &'a RunResult,
    rows: Vec<&'a IntervalRow>,
    end: f64,
}

type Hover<'a> = &'a dyn Fn(&IntervalRow) -> String;

impl<'a> Course<'a> {
    /// `None`: it has none.
    pub(crate) fn new(result: &'a RunResult) -> Option<Self> {
        // A last interval cut to less than half would show a rate by chance.
        let full = result.intervals.iter().map(|row| row.seconds).fold(0.0, f64::max);
        let rows: Vec<&IntervalRow> =
            result.intervals.iter().filter(|row| row.seconds >= full / 2.0).collect();
        let end = rows.last().map(|last| last.start_s + last.seconds)?;
        Some(Self { result, rows, end })
    }

    /// When it ends, since its start.
    pub(crate) const fn end(&self) -> f64 {
        self.end
    }

    /// A line of a value of each interval.
    pub(crate) fn line(
        &self,
        name: &str,
        look: Look,
        value: impl Fn(&IntervalRow) -> Option<f64>,
    ) -> Line {
        let points =
            self.rows.iter().map(|row| (row.start_s + row.seconds / 2.0, value(row))).collect();
        Line { name: name.to_owned(), look, points }
    }

    fn plot(&self, description: &str, y: Axis, layers: Vec<Layer>, hover: Hover<'_>) -> Plot {
        Plot {
            description: description.to_owned(),
            x: Axis::time(self.end),
            y,
            layers,
            shades: self.unmeasured(),
            limits: Vec::new(),
            hover: self.hover(hover),
        }
    }

    /// The warm-up, and the time in which nothing was sent any more and what was sent ended.
    fn unmeasured(&self) -> Vec<(f64, f64, &'static str)> {
        let timing = &self.result.timing;
        let measured_end = timing.warmup_s + timing.measured_s;
        [(0.0, timing.warmup_s, "warm-up"), (measured_end, self.end, ENDING)]
            .into_iter()
            // An interval is the shortest stretch that a plot over time can show.
            .filter(|(from, to, _)| to - from >= timing.interval_s.max(0.1))
            .collect()
    }

    fn hover(&self, text: Hover<'_>) -> Vec<(f64, f64, String)> {
        if self.rows.len() > HOVER_INTERVALS_MAX {
            return Vec::new();
        }
        let of = |row: &&IntervalRow| {
            let end = row.start_s + row.seconds;
            let digits = usize::from(row.seconds < 1.0);
            let of = format!("{:.digits$} s to {end:.digits$} s: {}", row.start_s, text(row));
            (row.start_s, end, of)
        };
        self.rows.iter().map(of).collect()
    }

    /// All of them, latencies up to `highest` nanoseconds.
    pub(crate) fn sections(&self, highest: f64) -> Markup {
        html! {
            (self.rates())
            (self.payload())
            (self.heatmap(highest))
            (self.latency(highest))
            (self.phases())
            (self.cpu())
            (self.errors())
        }
    }

    fn rates(&self) -> Markup {
        let is_open = self.result.workload.loop_kind == "open";
        let mut lines = vec![self.line("reached", Look::new(0), |row| Some(reached(row)))];
        if is_open && self.rows.iter().any(|row| row.due > 0) {
            // When nothing is due any more, nothing is offered.
            let end = self.result.timing.warmup_s + self.result.timing.measured_s;
            let due = |row: &IntervalRow| (row.start_s < end - 1e-6).then(|| offered(row));
            lines.insert(0, self.line("offered", Look::new(1), due));
        }
        let conditions = self.result.objective.iter().flat_map(|asked| &asked.conditions);
        let limits: Vec<Limit> = conditions
            .filter(|asked| asked.metric == "rate")
            .map(|asked| Limit { y: asked.limit, until: None, label: asked.text.clone() })
            .collect();
        let asked = limits.iter().map(|limit| limit.y).fold(0.0, f64::max);
        let y = Axis::amount("operations a second", highest_of(&lines).max(asked), "/s");
        let hover = |row: &IntervalRow| {
            let [reached, offered] = [reached(row), offered(row)].map(format::count);
            let offered = if is_open { format!(" of {offered}/s offered") } else { String::new() };
            format!("{reached}/s{offered}, {} open", format::count(row.connections as f64))
        };
        let totals = &self.result.totals;
        let described = format!(
            "Operations a second over time: {} a second reached of {} offered on the whole",
            format::count(totals.operations_per_s),
            format::count(totals.offered_per_s)
        );
        let layers = lines.into_iter().map(Layer::Line).collect();
        let plot = Plot { limits, ..self.plot(&described, y, layers, &hover) };
        let ends_late = plot.shades.iter().any(|(_, _, label)| *label == ENDING);
        let note = if ends_late {
            "Ending: nothing was begun any more, what was under way ended. It is no throughput."
        } else {
            ""
        };
        figure("Offered and reached rate", note, &plot)
    }

    fn payload(&self) -> Markup {
        let totals = &self.result.totals;
        if totals.bytes_up + totals.bytes_down == 0 {
            return html! {};
        }
        let up = |row: &IntervalRow| ratio(row.bytes_up as f64, row.seconds);
        let down = |row: &IntervalRow| ratio(row.bytes_down as f64, row.seconds);
        let mut lines = Vec::new();
        if totals.bytes_down > 0 {
            lines.push(self.line("received", Look::new(0), |row| Some(down(row) / MEBIBYTE)));
        }
        if totals.bytes_up > 0 {
            lines.push(self.line("sent", Look::new(1), |row| Some(up(row) / MEBIBYTE)));
        }
        let y = Axis::amount("MiB a second", highest_of(&lines), "");
        let hover = |row: &IntervalRow| {
            format!("{}/s received, {}/s sent", format::bytes(down(row)), format::bytes(up(row)))
        };
        let layers = lines.into_iter().map(Layer::Line).collect();
        figure("Payload", "", &self.plot("Payload a second over time", y, layers, &hover))
    }

    fn heatmap(&self, highest: f64) -> Markup {
        let y = Axis::latency(highest);
        let Some(layers) = heatmap::layers(&self.rows, y.high()) else { return html! {} };
        let described = "Latency over time: how many operations took how long in each stretch";
        let plot = Plot {
            limits: self.limits(),
            ..self.plot(described, y, layers, &|row| latencies(row))
        };
        let note = "The darker (in the dark scheme: the brighter), the more of the operations that \
                    ended in a stretch took so long: corrected latency, ten bands in a power of \
                    ten.";
        figure("Latency heatmap", note, &plot)
    }

    fn latency(&self, highest: f64) -> Markup {
        let value = |row: &IntervalRow, value: u64| (row.operations > 0).then_some(value as f64);
        let lines = vec![
            self.line("max", Look::new(5), |row| value(row, row.max_ns)),
            self.line("p99", Look::new(1), |row| value(row, row.p99_ns)),
            self.line("p50", Look::new(0), |row| value(row, row.p50_ns)),
        ];
        if highest_of(&lines) <= 0.0 {
            return html! {};
        }
        let layers = lines.into_iter().map(Layer::Line).collect();
        let y = Axis::latency(highest);
        let plot = Plot {
            limits: self.limits(),
            ..self.plot(
                "Median, 99th percentile and longest latency over time",
                y,
                layers,
                &|row| latencies(row),
            )
        };
        let note = "Corrected latency of the operations that ended in each interval.";
        figure("Latency over time", note, &plot)
    }

    /// What the objective says of the whole operation's latency.
    fn limits(&self) -> Vec<Limit> {
        latency_conditions(self.result.objective.as_ref())
            .map(|(_, y, label)| Limit { y, until: None, label })
            .collect()
    }

    fn phases(&self) -> Markup {
        let layers = self.phase_layers();
        if layers.is_empty() {
            return html! {};
        }
        let tops = layers.iter().flat_map(|area| area.points.iter().map(|(_, _, upper)| *upper));
        let highest = tops.fold(0.0, f64::max);
        let y = Axis::spent("in the mean", highest);
        let hover = |row: &IntervalRow| {
            let told: Vec<String> = Phase::ALL
                .iter()
                .filter_map(|phase| Some((phase, mean_ns(row, *phase)?)))
                .filter(|(_, mean)| *mean > 0.0)
                .map(|(phase, mean)| format!("{} {}", phase.title(), format::duration_ns(mean)))
                .collect();
            told.join(", ")
        };
        // The legend begins with what lies on top.
        let layers = layers.into_iter().rev().map(Layer::Area).collect();
        let plot =
            self.plot("Mean time of each phase of an operation over time", y, layers, &hover);
        let note = "The mean operation of each interval, phase upon phase, in the order of the \
                    legend from above.";
        figure("Phases", note, &plot)
    }

    /// From below; the smallest together, for lack of colours.
    fn phase_layers(&self) -> Vec<Area> {
        /// Phases with a colour of their own.
        const PHASES_MAX: usize = 5;
        let parts = &Phase::ALL[..Phase::COUNT - 1];
        let sum = |phase: Phase| -> u64 {
            self.rows.iter().filter_map(|row| row.phase_ns.get(&phase)).sum()
        };
        let mut largest: Vec<Phase> =
            parts.iter().copied().filter(|phase| sum(*phase) > 0).collect();
        largest.sort_by_key(|phase| std::cmp::Reverse(sum(*phase)));
        let others: Vec<Phase> = largest.split_off(largest.len().min(PHASES_MAX));
        largest.sort();
        let mut groups: Vec<(String, Vec<Phase>)> =
            largest.into_iter().map(|phase| (phase.title().to_owned(), vec![phase])).collect();
        if !others.is_empty() {
            groups.push(("all others".to_owned(), others));
        }
        let ended: Vec<&&IntervalRow> = self.rows.iter().filter(|row| row.operations > 0).collect();
        let mut floor = vec![0.0; ended.len()];
        let area = |(number, (name, phases)): (usize, (String, Vec<Phase>))| {
            let points = ended.iter().zip(&mut floor).map(|(row, floor)| {
                let mean = |phase: &Phase| mean_ns(row, *phase).unwrap_or(0.0);
                let lower = *floor;
                *floor += phases.iter().map(mean).sum::<f64>();
                (row.start_s + row.seconds / 2.0, lower, *floor)
            });
            Area { name, look: Look::new(number), points: points.collect() }
        };
        groups.into_iter().enumerate().map(area).collect()
    }

    fn cpu(&self) -> Markup {
        let rows = &self.result.cpu;
        let line = |name: &str, number, of: fn(&CpuRow) -> Option<f64>| Line {
            name: name.to_owned(),
            look: Look::new(number),
            points: rows
                .iter()
                // What is left behind the last sample.
                .filter(|row| row.seconds > 0.2)
                .map(|row| {
                    (row.start_s + row.seconds / 2.0, of(row).map(|used| ratio(used, row.seconds)))
                })
                .collect(),
        };
        let mut lines = vec![line("client", 0, |row| Some(row.client_s))];
        if rows.iter().any(|row| row.server_s.is_some()) {
            lines.push(line("server", 1, |row| row.server_s));
        }
        if rows.is_empty() {
            return html! {};
        }
        let y = Axis::cores(highest_of(&lines));
        let described = "CPU of client and server over time, in cores";
        let plot = Plot {
            hover: Vec::new(),
            ..self.plot(described, y, lines.into_iter().map(Layer::Line).collect(), &|_| {
                String::new()
            })
        };
        let note = if self.result.server.is_some() {
            ""
        } else {
            "The server's is shown with --server-pid or --server-cgroup."
        };
        figure("CPU of client and server", note, &plot)
    }

    fn errors(&self) -> Markup {
        let has =
            |class: &ErrorClass| self.rows.iter().any(|row| row.errors.contains_key(class.name()));
        let lines: Vec<Line> = ErrorClass::ALL
            .into_iter()
            .filter(has)
            .enumerate()
            .map(|(number, class)| {
                let count = |row: &IntervalRow| *row.errors.get(class.name()).unwrap_or(&0);
                self.line(class.name(), Look::new(number), |row| {
                    Some(ratio(count(row) as f64, row.seconds))
                })
            })
            .collect();
        if lines.is_empty() {
            return html! { section { h2 { "Errors over time" } p { "None." } } };
        }
        let hover = |row: &IntervalRow| {
            let counts: Vec<String> =
                row.errors.iter().map(|(class, count)| format!("{count} {class}")).collect();
            if counts.is_empty() { "no errors".to_owned() } else { counts.join(", ") }
        };
        let y = Axis::amount("errors a second", highest_of(&lines), "/s");
        let layers = lines.into_iter().map(Layer::Line).collect();
        figure("Errors over time", "By class.", &self.plot("Errors over time", y, layers, &hover))
    }
}

fn reached(row: &IntervalRow) -> f64 {
    ratio(row.operations as f64, row.seconds)
}

fn offered(row: &IntervalRow) -> f64 {
    ratio(row.due as f64, row.seconds)
}

fn latencies(row: &IntervalRow) -> String {
    let [p50, p99, max] =
        [row.p50_ns, row.p99_ns, row.max_ns].map(|value| format::duration_ns(value as f64));
    format!("p50 {p50}, p99 {p99}, max {max}")
}

/// Of an operation of the interval; `None` where none ended.
fn mean_ns(row: &IntervalRow, phase: Phase) -> Option<f64> {
    let sum = *row.phase_ns.get(&phase).unwrap_or(&0);
    (row.operations > 0).then(|| sum as f64 / row.operations as f64)
}

/// The highest value of some lines.
pub(crate) fn highest_of(lines: &[Line]) -> f64 {
    let values = lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, value)| *value));
    values.fold(0.0, f64::max)
}
