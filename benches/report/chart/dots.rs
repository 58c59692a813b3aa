//! One line a system: from its p50 to its p99 on a logarithmic axis, and its CPU time beside it.

use maud::{Markup, html};

use super::scale::{Scale, axis_unit};
use super::{AXIS, Drawing, Family, LABEL, Px, TICK, WIDTH, axis_below, fit, text, width};
use crate::unit::Dimension;

/// A system of the plot, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) p50: f64,
    pub(crate) p99: Option<f64>,
    pub(crate) cpu: Option<f64>,
}

/// The plot. The ends of its axes come from all plots that are to be compared.
#[derive(Debug)]
pub(crate) struct Dots<'a> {
    pub(crate) dots: &'a [Dot],
    /// All latencies of the plots that stand beside this one.
    pub(crate) latencies: &'a [f64],
    /// All CPU times of those plots.
    pub(crate) cpus: &'a [f64],
    /// What the left axis measures: `latency`.
    pub(crate) what: &'a str,
}

const ROW: f64 = 32.0;
/// A line of text of its own.
const NAME: f64 = 13.0;
const EDGE: f64 = 8.0;

/// An axis with its title, and the factor of its unit.
struct Axis {
    scale: Scale,
    title: String,
    factor: f64,
}

impl Axis {
    fn new(scale: Scale, what: &str) -> Self {
        let (unit, factor) = axis_unit(Dimension::Time, &scale);
        Self { scale: scale.in_units_of(factor), title: format!("{what}, {unit} (log)"), factor }
    }

    fn write(&self, figure: f64) -> String {
        crate::unit::short(figure / self.factor)
    }
}

impl Dots<'_> {
    /// `None` without a figure that a logarithmic axis could show.
    pub(crate) fn draw(&self) -> Option<Drawing> {
        let has_cpu = self.dots.iter().any(|dot| dot.cpu.is_some());
        let right = Scale::log(self.cpus.iter().copied(), 248.0, WIDTH - EDGE);
        let right = right.filter(|_| has_cpu).map(|scale| Axis::new(scale, "CPU a task"));
        let end = if right.is_some() { 226.0 } else { WIDTH - EDGE };
        let left = Scale::log(self.latencies.iter().copied(), EDGE, end)?;
        let left = Axis::new(left, self.what);
        let (mut rows, mut bottom) = (Vec::new(), 0.0);
        for dot in self.dots {
            let (row, height) = row(dot, &left, right.as_ref(), bottom);
            rows.push(row);
            bottom += height;
        }
        let bottom = bottom + 4.0;
        let body = html! {
            (axis_below(&left.scale, 0.0, bottom, &left.title))
            @if let Some(right) = &right { (axis_below(&right.scale, 0.0, bottom, &right.title)) }
            @for row in &rows { (row) }
        };
        Some(Drawing { body, width: WIDTH, height: bottom + AXIS })
    }
}

/// The name to the left, its figures to the right, the line of the plot below them; a name that is
/// too long for that has a line to itself.
fn row(dot: &Dot, left: &Axis, right: Option<&Axis>, top: f64) -> (Markup, f64) {
    let figures = match dot.p99 {
        Some(p99) => format!("{} – {}", left.write(dot.p50), left.write(p99)),
        None => left.write(dot.p50),
    };
    let end = left.scale.to;
    let is_long = width(&dot.name, LABEL) > end - width(&figures, TICK) - 8.0;
    let line = if is_long { top + NAME } else { top };
    let class =
        if matches!(dot.family, Family::Peer | Family::Floor) { "label" } else { "label own" };
    let markup = html! {
        (text(class, "start", 0.0, top + 12.0, &fit(&dot.name, WIDTH, LABEL)))
        (text("figure", "end", end, line + 12.0, &figures))
        g class=(dot.family.class()) { (range(dot, &left.scale, line + 22.0)) }
        @if let (Some(right), Some(cpu)) = (right, dot.cpu) {
            (text("figure", "end", WIDTH - 2.0, line + 12.0, &right.write(cpu)))
            g class=(dot.family.class()) {
                (dot.family.mark(right.scale.at(cpu), line + 22.0, false))
            }
        }
    };
    (markup, line - top + ROW)
}

/// A line from p50 to p99, which ends in a stroke; a mark at p50.
fn range(dot: &Dot, scale: &Scale, y: f64) -> Markup {
    let from = scale.at(dot.p50);
    html! {
        @if let Some(p99) = dot.p99 {
            @let to = scale.at(p99);
            line class="range" x1=(Px(from)) x2=(Px(to)) y1=(Px(y)) y2=(Px(y)) {}
            line class="range" x1=(Px(to)) x2=(Px(to)) y1=(Px(y - 3.5)) y2=(Px(y + 3.5)) {}
        }
        (dot.family.mark(from, y, false))
    }
}
