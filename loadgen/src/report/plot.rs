//! Line plots as SVG: axes, ticks, series, a shaded stretch, hover texts. Colours are CSS classes
//! of the page that shows them, so that one drawing serves the light and the dark scheme.

use std::fmt::{self, Write as _};

use super::markup::escape;

/// The drawing's size, in its own units; the page scales it to the width it has.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
/// Room for the tick labels and the axis titles.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

/// One plot.
pub(super) struct Plot {
    /// Description for screen readers.
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// Stretches of x that are not measured, with their labels.
    pub(super) shades: Vec<(f64, f64, &'static str)>,
    /// Stretches of x with the text that the pointer shows there.
    pub(super) hover: Vec<(f64, f64, String)>,
}

/// One line. A point without a value breaks it.
pub(super) struct Series {
    pub(super) name: String,
    /// `c1` … `c6` of the page's style.
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// One axis.
pub(super) struct Axis {
    title: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis from 0 to `high` or the tick above it, labelled by `format`.
    pub(super) fn linear(title: &str, high: f64, format: impl Fn(f64) -> String) -> Self {
        /// Spaces between ticks wanted at most.
        const SPACES_MAX: f64 = 6.0;
        let high = if high > 0.0 { high } else { 1.0 };
        let rough = high / SPACES_MAX;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * power);
        let count = (high / step).ceil();
        let ticks = std::iter::successors(Some(0.0), |index| Some(index + 1.0))
            .take_while(|index| *index <= count)
            .map(|index| (index * step, format(index * step)))
            .collect();
        Self { title: title.to_owned(), low: 0.0, high: count * step, logarithmic: false, ticks }
    }

    /// The same, ending where the data does: for time.
    pub(super) fn time(title: &str, high: f64) -> Self {
        let mut axis = Self::linear(title, high, |value| format!("{value}"));
        if high > 0.0 {
            axis.high = high;
            axis.ticks.retain(|(value, _)| *value <= high);
        }
        axis
    }

    /// A logarithmic axis over `low ..= high` (both above 0), with ticks at 1, 2 and 5 of each
    /// power of ten, or at the powers alone where those would crowd.
    pub(super) fn logarithmic(
        title: &str,
        low: f64,
        high: f64,
        format: impl Fn(f64) -> String,
    ) -> Self {
        /// Decades up to which 2 and 5 are labelled too.
        const DENSE_DECADES_MAX: f64 = 2.5;
        let decades = (high / low).log10();
        let factors: &[f64] = if decades <= DENSE_DECADES_MAX { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let candidates: Vec<f64> = std::iter::successors(Some(low.log10().floor()), |exponent| {
            (*exponent <= high.log10().ceil()).then_some(exponent + 1.0)
        })
        .flat_map(|exponent| factors.iter().map(move |factor| factor * 10_f64.powf(exponent)))
        .collect();
        // The axis begins at the tick at or below the data and ends at the one at or above it.
        let below = candidates.iter().copied().filter(|tick| *tick <= low);
        let start = below.reduce(f64::max).unwrap_or(low);
        let end = candidates.iter().copied().find(|tick| *tick >= high).unwrap_or(high);
        let ticks = candidates
            .into_iter()
            .filter(|tick| (start..=end).contains(tick))
            .map(|tick| (tick, format(tick)))
            .collect();
        Self { title: title.to_owned(), low: start, high: end, logarithmic: true, ticks }
    }

    /// An axis of percentiles by their distance from 100 %: each nine takes the same room. Its
    /// values are [`nines`](Self::nines); it shows at least 90 % and up to `high` nines.
    pub(super) fn nines(title: &str, high: f64) -> Self {
        let high = high.max(1.0);
        let mut ticks = vec![(0.0, "0 %".to_owned()), (0.5_f64.log10().abs(), "50 %".to_owned())];
        let mut nines = 1.0;
        while nines <= high {
            let label = match nines {
                1.0 => "90 %".to_owned(),
                2.0 => "99 %".to_owned(),
                _ => format!("{:.*} %", decimals(nines), 100.0 - 10_f64.powf(2.0 - nines)),
            };
            ticks.push((nines, label));
            nines += 1.0;
        }
        Self { title: title.to_owned(), low: 0.0, high, logarithmic: false, ticks }
    }

    /// Where `value` lies on the axis, 0 to 1.
    fn position(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        // Equal bounds leave one place for all.
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 }
    }
}

impl Plot {
    /// The plot as an `svg` element.
    pub(super) fn svg(&self) -> String {
        let mut out = String::new();
        match self.write(&mut out) {
            Ok(()) => out,
            Err(fmt::Error) => unreachable!("writing to a String cannot fail"),
        }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
            escape(&self.description)
        )?;
        self.write_shades(out)?;
        self.write_axes(out)?;
        for series in &self.series {
            writeln!(out, r#"<path class="line {}" d="{}"/>"#, series.class, self.path(series))?;
        }
        self.write_legend(out)?;
        for (from, to, text) in &self.hover {
            let (left, right) = (self.x_at(*from), self.x_at(*to));
            writeln!(
                out,
                r#"<rect class="hover" x="{left:.1}" y="{TOP}" width="{:.1}" height="{}"><title>{}</title></rect>"#,
                (right - left).max(0.5),
                HEIGHT - TOP - BOTTOM,
                escape(text)
            )?;
        }
        out.push_str("</svg>\n");
        Ok(())
    }

    fn write_shades(&self, out: &mut String) -> fmt::Result {
        /// Room that a label needs.
        const LABEL_WIDTH: f64 = 60.0;
        let height = HEIGHT - TOP - BOTTOM;
        for (from, to, label) in &self.shades {
            let (left, right) = (self.x_at(*from), self.x_at(*to));
            let width = right - left;
            writeln!(
                out,
                r#"<rect class="shade" x="{left:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#
            )?;
            if width >= LABEL_WIDTH {
                let middle = f64::midpoint(left, right);
                let y = TOP + 16.0;
                writeln!(
                    out,
                    r#"<text class="tick" x="{middle:.1}" y="{y}" text-anchor="middle">{label}</text>"#
                )?;
            }
        }
        Ok(())
    }

    fn write_axes(&self, out: &mut String) -> fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, label) in &self.y.ticks {
            let y = self.y_at(*value);
            writeln!(out, r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#)?;
            writeln!(
                out,
                r#"<text class="tick" x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                y + 4.0,
                escape(label)
            )?;
        }
        writeln!(out, r#"<path class="axis" d="M{LEFT} {bottom}H{right}"/>"#)?;
        for (value, label) in &self.x.ticks {
            let x = self.x_at(*value);
            // A label at the very edge is set inwards, so that it is not clipped.
            let anchor = if x > right - 20.0 { "end" } else { "middle" };
            let shift = if anchor == "end" { RIGHT - 2.0 } else { 0.0 };
            writeln!(out, r#"<path class="axis" d="M{x:.1} {bottom}v4"/>"#)?;
            writeln!(
                out,
                r#"<text class="tick" x="{:.1}" y="{}" text-anchor="{anchor}">{}</text>"#,
                x + shift,
                bottom + 18.0,
                escape(label)
            )?;
        }
        writeln!(
            out,
            r#"<text class="axis-title" x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escape(&self.x.title)
        )?;
        writeln!(out, r#"<text class="axis-title" x="0" y="12">{}</text>"#, escape(&self.y.title))
    }

    /// One line needs no legend: the heading names it.
    fn write_legend(&self, out: &mut String) -> fmt::Result {
        /// Widths of a character of the legend's text and of its sample with the gaps.
        const CHARACTER: f64 = 6.6;
        const SAMPLE: f64 = 40.0;
        if self.series.len() < 2 {
            return Ok(());
        }
        // After the axis title, so that a narrow screen shows it without scrolling.
        let mut x = LEFT + 24.0;
        for series in &self.series {
            writeln!(out, r#"<path class="line {}" d="M{x:.1} 8h20"/>"#, series.class)?;
            writeln!(
                out,
                r#"<text class="legend" x="{:.1}" y="12">{}</text>"#,
                x + 26.0,
                escape(&series.name)
            )?;
            x += SAMPLE + CHARACTER * series.name.chars().count() as f64;
        }
        Ok(())
    }

    fn path(&self, series: &Series) -> String {
        let mut path = String::new();
        let mut drawing = false;
        for (x, y) in &series.points {
            let Some(y) = y else {
                drawing = false;
                continue;
            };
            let (x, y) = (self.x_at(*x), self.y_at(*y));
            // A lone point is a dot: a line of no length with round ends.
            let step =
                if drawing { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h0") };
            path.push_str(&step);
            drawing = true;
        }
        path
    }

    fn x_at(&self, value: f64) -> f64 {
        LEFT + self.x.position(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_at(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.position(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Decimals of the percentile with this many nines: 99.9 has one.
fn decimals(nines: f64) -> usize {
    std::iter::successors(Some(3.0), |step| Some(step + 1.0))
        .take_while(|step| *step <= nines)
        .count()
}

#[cfg(test)]
mod tests {
    use super::Axis;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_cover_the_data() {
        for (high, last, count) in
            [(7.0, 8.0, 5), (100.0, 100.0, 6), (0.0, 1.0, 6), (13.0, 15.0, 4)]
        {
            let axis = Axis::linear("", high, |value| format!("{value}"));
            assert!((axis.high - last).abs() < 1e-9, "{high}: {:?}", labels(&axis));
            assert_eq!(axis.ticks.len(), count, "{high}: {:?}", labels(&axis));
        }
    }

    #[test]
    fn logarithmic_ticks_enclose_the_data() {
        let axis = Axis::logarithmic("", 130.0, 4200.0, |value| format!("{value:.0}"));
        assert_eq!(labels(&axis), ["100", "200", "500", "1000", "2000", "5000"]);
        let axis = Axis::logarithmic("", 3.0, 2_000_000.0, |value| format!("{value:.0}"));
        assert_eq!(labels(&axis).first(), Some(&"1"));
        assert_eq!(labels(&axis).last(), Some(&"10000000"));
        let axis = Axis::logarithmic("", 5.0, 5.0, |value| format!("{value:.0}"));
        assert!(axis.position(5.0).is_finite());
    }

    #[test]
    fn each_nine_has_its_percentile() {
        let axis = Axis::nines("", 5.2);
        assert_eq!(labels(&axis), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }
}
