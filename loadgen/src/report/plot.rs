//! One plot as markup: a drawing that is stretched to the room it has, and around it labels that
//! are text of the page and therefore keep their size on any screen. Colours are classes of the
//! page's style, so that one drawing serves the light and the dark scheme; lines differ in their
//! dashes and in the shape of their points too.

use std::fmt::Write as _;

use maud::{Markup, Render, html};

use super::scale::Axis;

/// The drawing's size in its own units, both ways.
const SIZE: f64 = 1000.0;

/// More points than this would touch each other: some are left out of a line's marks.
const MARKS_MAX: usize = 60;

/// One plot.
pub(crate) struct Plot {
    /// What it shows, for who does not see it.
    pub(crate) description: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) layers: Vec<Layer>,
    /// Stretches of x that are not measured, with their labels.
    pub(crate) shades: Vec<(f64, f64, &'static str)>,
    /// What was asked for.
    pub(crate) limits: Vec<Limit>,
    /// Stretches of x with the text that the pointer shows there.
    pub(crate) hover: Vec<(f64, f64, String)>,
}

/// What is drawn.
pub(crate) enum Layer {
    Line(Line),
    /// Between a lower and an upper edge.
    Area(Area),
    /// Rectangles of one colour.
    Cells(Cells),
}

/// A line with a mark at each point. A point without a value breaks it.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) look: Look,
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// The surface between two lines.
pub(crate) struct Area {
    pub(crate) name: String,
    pub(crate) look: Look,
    /// x, lower, upper.
    pub(crate) points: Vec<(f64, f64, f64)>,
}

/// Rectangles: x from and to, y from and to.
pub(crate) struct Cells {
    pub(crate) name: String,
    /// `h1` … `h6` of the page's style.
    pub(crate) class: &'static str,
    pub(crate) cells: Vec<[f64; 4]>,
}

/// How a series looks: colour, dashes and marks, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    number: usize,
    /// Thin and without marks: one of many of a kind.
    is_faint: bool,
    /// Marks that no line joins.
    is_apart: bool,
}

/// A line at a height, up to some x: the corner that a curve has to stay below.
pub(crate) struct Limit {
    pub(crate) y: f64,
    pub(crate) until: Option<f64>,
    pub(crate) label: String,
}

impl Look {
    /// Colours of the page's style.
    const COLOURS: usize = 6;

    pub(crate) const fn new(number: usize) -> Self {
        Self { number, is_faint: false, is_apart: false }
    }

    pub(crate) const fn faint(number: usize) -> Self {
        Self { number, is_faint: true, is_apart: false }
    }

    pub(crate) const fn apart(number: usize) -> Self {
        Self { number, is_faint: false, is_apart: true }
    }

    /// Classes of its line.
    pub(crate) fn line(self) -> String {
        let faint = if self.is_faint { " faint" } else { "" };
        format!("line c{} d{}{faint}", self.number % Self::COLOURS + 1, self.number % 5)
    }

    /// Classes of its surface.
    pub(crate) fn surface(self) -> String {
        format!("f{}", self.number % Self::COLOURS + 1)
    }

    /// Its marks at the places of `path`: round or square, full or hollow.
    pub(crate) fn marks(self, path: &str) -> Markup {
        let shape = if self.number.is_multiple_of(2) { "round" } else { "square" };
        let class = format!("mark {shape} c{}", self.number % Self::COLOURS + 1);
        html! {
            @if !self.is_faint && !path.is_empty() {
                path class=(class) d=(path) {}
                @if self.number % 4 > 1 { path class={ "hollow " (shape) } d=(path) {} }
            }
        }
    }

    /// A sample for the legend.
    pub(crate) fn sample(self, is_surface: bool) -> Markup {
        html! {
            svg class="sample" viewBox="0 0 28 12" aria-hidden="true" {
                @if is_surface { rect class=(self.surface()) x="2" y="0" width="24" height="12" {} }
                @else {
                    @if !self.is_apart { path class=(self.line()) d="M1 6h26" {} }
                    (self.marks("M14 6h0"))
                }
            }
        }
    }
}

impl Layer {
    fn name(&self) -> &str {
        match self {
            Self::Line(line) => &line.name,
            Self::Area(area) => &area.name,
            Self::Cells(cells) => &cells.name,
        }
    }

    fn sample(&self) -> Markup {
        match self {
            Self::Line(line) => line.look.sample(false),
            Self::Area(area) => area.look.sample(true),
            Self::Cells(cells) => html! {
                svg class="sample" viewBox="0 0 28 12" aria-hidden="true" {
                    rect class=(cells.class) x="2" y="0" width="24" height="12" {}
                }
            },
        }
    }
}

impl Render for Plot {
    fn render(&self) -> Markup {
        let named: Vec<&Layer> =
            self.layers.iter().filter(|layer| !layer.name().is_empty()).collect();
        html! {
            // One line needs no legend: the heading names it.
            @if named.len() > 1 {
                div class="legend" {
                    @for layer in named { span { (layer.sample()) (layer.name()) } }
                }
            }
            div class="plot" {
                div class="y-title" { (self.y.title) }
                div class="y" aria-hidden="true" {
                    @for tick in &self.y.ticks {
                        span class=[tick.is_minor.then_some("minor")] style=(self.top(tick.value)) {
                            (tick.label)
                        }
                    }
                }
                div class="area" { (self.drawing()) (self.notes()) }
                div class="x" aria-hidden="true" {
                    @for tick in &self.x.ticks {
                        span class=[tick.is_minor.then_some("minor")]
                            style=(self.x.left(tick.value)) {
                            (tick.label)
                        }
                    }
                }
                div class="x-title" { (self.x.title) }
            }
        }
    }
}

impl Plot {
    fn drawing(&self) -> Markup {
        html! {
            svg viewBox={ "0 0 " (SIZE) " " (SIZE) } preserveAspectRatio="none" role="img"
                aria-label=(self.description) {
                @for (from, to, _) in &self.shades {
                    (rectangle("shade", self.x_at(*from), self.x_at(*to)))
                }
                @for tick in &self.y.ticks {
                    path class="grid" d=(format!("M0 {:.1}H{SIZE}", self.y_at(tick.value))) {}
                }
                @for tick in &self.x.ticks {
                    path class="grid" d=(format!("M{:.1} 0V{SIZE}", self.x_at(tick.value))) {}
                }
                @for layer in &self.layers { (self.layer(layer)) }
                @for limit in &self.limits { path class="limit" d=(self.corner(limit)) {} }
                path class="axis" d=(format!("M0 0V{SIZE}H{SIZE}")) {}
                @for (from, to, text) in &self.hover {
                    @let (left, right) = (self.x_at(*from), self.x_at(*to));
                    rect class="hover" x=(place(left)) y="0" width=(place((right - left).max(0.5)))
                        height=(SIZE) { title { (text) } }
                }
            }
        }
    }

    /// Words on the drawing.
    fn notes(&self) -> Markup {
        html! {
            @for (from, to, label) in &self.shades {
                // From the nearer edge inwards, for it may be longer than its stretch.
                @let (left, right) = (self.x.position(*from), self.x.position(*to));
                @let place = if left + right < 1.0 {
                    format!("left:{}", percent(left))
                } else {
                    format!("right:{}", percent(1.0 - right))
                };
                span class="note" style=(place) { (label) }
            }
            @for limit in &self.limits {
                // Beside the corner, which is to the left.
                @let side = if limit.until.is_some() { "limit-label left" } else { "limit-label" };
                span class=(side) style=(self.top(limit.y)) { (limit.label) }
            }
        }
    }

    fn layer(&self, layer: &Layer) -> Markup {
        match layer {
            Layer::Line(line) => html! {
                @if !line.look.is_apart { path class=(line.look.line()) d=(self.path(line)) {} }
                (line.look.marks(&self.marks(line)))
            },
            Layer::Area(area) => html! {
                path class={ "surface " (area.look.surface()) } d=(self.surface(area)) {}
            },
            Layer::Cells(cells) => {
                let mut path = String::new();
                for [left, right, low, high] in &cells.cells {
                    let (left, right) = (self.x_at(*left), self.x_at(*right));
                    let (bottom, top) = (self.y_at(*low), self.y_at(*high));
                    put(
                        &mut path,
                        format_args!("M{left:.1} {top:.1}H{right:.1}V{bottom:.1}H{left:.1}z"),
                    );
                }
                html! { path class=(cells.class) d=(path) {} }
            }
        }
    }

    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        let mut drawing = false;
        for (x, y) in &line.points {
            if let Some(y) = y {
                let step = if drawing { 'L' } else { 'M' };
                put(&mut path, format_args!("{step}{:.1} {:.1}", self.x_at(*x), self.y_at(*y)));
            }
            drawing = y.is_some();
        }
        path
    }

    fn marks(&self, line: &Line) -> String {
        let mut points: Vec<(f64, f64)> =
            line.points.iter().filter_map(|(x, y)| Some((*x, (*y)?))).collect();
        // Marks in one place are one: steps of a search are of the same rate again.
        points.dedup();
        let every = points.len().div_ceil(MARKS_MAX).max(1);
        let mut path = String::new();
        for (x, y) in points.into_iter().step_by(every) {
            // Of no length, with ends that show.
            put(&mut path, format_args!("M{:.1} {:.1}h0", self.x_at(x), self.y_at(y)));
        }
        path
    }

    fn surface(&self, area: &Area) -> String {
        let mut path = String::new();
        let upper = area.points.iter().map(|(x, _, upper)| (*x, *upper));
        let lower = area.points.iter().rev().map(|(x, lower, _)| (*x, *lower));
        for (x, y) in upper.chain(lower) {
            let step = if path.is_empty() { 'M' } else { 'L' };
            put(&mut path, format_args!("{step}{:.1} {:.1}", self.x_at(x), self.y_at(y)));
        }
        if !path.is_empty() {
            path.push('z');
        }
        path
    }

    fn corner(&self, limit: &Limit) -> String {
        let y = self.y_at(limit.y);
        match limit.until {
            Some(x) => format!("M0 {y:.1}H{:.1}V{SIZE}", self.x_at(x)),
            None => format!("M0 {y:.1}H{SIZE}"),
        }
    }

    fn x_at(&self, value: f64) -> f64 {
        self.x.position(value) * SIZE
    }

    fn y_at(&self, value: f64) -> f64 {
        (1.0 - self.y.position(value)) * SIZE
    }

    fn top(&self, value: f64) -> String {
        format!("top:{}", percent(1.0 - self.y.position(value)))
    }
}

/// Over the whole height.
fn rectangle(class: &str, left: f64, right: f64) -> Markup {
    html! {
        rect class=(class) x=(place(left)) y="0" width=(place(right - left)) height=(SIZE) {}
    }
}

fn place(value: f64) -> String {
    format!("{value:.1}")
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Writing to a `String` cannot fail.
fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}
