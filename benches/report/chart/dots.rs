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
const EDGE: f64 = 8.0;

impl Dots<'_> {
    /// `None` without a figure that a logarithmic axis could show.
    pub(crate) fn draw(&self) -> Option<Drawing> {
        let has_cpu = self.dots.iter().any(|dot| dot.cpu.is_some());
        let right = Scale::log(self.cpus.iter().copied(), 248.0, WIDTH - EDGE);
        let right = right.filter(|_| has_cpu);
        let end = if right.is_some() { 226.0 } else { WIDTH - EDGE };
        let left = Scale::log(self.latencies.iter().copied(), EDGE, end)?;
        let bottom = self.dots.len() as f64 * ROW + 4.0;
        let axis = |scale: Scale, what: &str| {
            let (unit, factor) = axis_unit(Dimension::Time, &scale);
            (scale.in_units_of(factor), format!("{what}, {unit} (log)"), factor)
        };
        let (left, left_title, left_factor) = axis(left, self.what);
        let right = right.map(|scale| axis(scale, "CPU a task"));
        let written = |figure: f64, factor: f64| crate::unit::short(figure / factor);
        let body = html! {
            (axis_below(&left, 0.0, bottom, &left_title))
            @if let Some((right, title, _)) = &right { (axis_below(right, 0.0, bottom, title)) }
            @for (index, dot) in self.dots.iter().enumerate() {
                @let top = index as f64 * ROW;
                @let figures = match dot.p99 {
                    Some(p99) => {
                        format!("{} – {}", written(dot.p50, left_factor), written(p99, left_factor))
                    }
                    None => written(dot.p50, left_factor),
                };
                (row_label(dot, &figures, end, top))
                g class=(dot.family.class()) { (range(dot, &left, top + 22.0)) }
                @if let (Some((right, _, factor)), Some(cpu)) = (&right, dot.cpu) {
                    (text("figure", "end", WIDTH - 2.0, top + 12.0, &written(cpu, *factor)))
                    g class=(dot.family.class()) {
                        (dot.family.mark(right.at(cpu), top + 22.0, false))
                    }
                }
            }
        };
        Some(Drawing { body, width: WIDTH, height: bottom + AXIS })
    }
}

/// The name to the left, its figures to the right, above the line of the plot.
fn row_label(dot: &Dot, figures: &str, end: f64, top: f64) -> Markup {
    let room = end - width(figures, TICK) - 8.0;
    let class =
        if matches!(dot.family, Family::Peer | Family::Floor) { "label" } else { "label own" };
    html! {
        (text(class, "start", 0.0, top + 12.0, &fit(&dot.name, room, LABEL)))
        (text("figure", "end", end, top + 12.0, figures))
    }
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
