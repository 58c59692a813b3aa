//! Ratios with their intervals around one, a line a workload.

use maud::{Markup, html};

use super::scale::Scale;
use super::{AXIS, Drawing, Family, LABEL, Px, TICK, WIDTH, axis_below, fit, text, width};
use crate::unit;

/// One ratio with the ends of its interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    pub(crate) ratio: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// What the project set itself: at most this.
    pub(crate) bound: Option<f64>,
}

/// A workload, with one interval for each series of the plot that has it.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) intervals: Vec<Option<Interval>>,
}

/// The plot.
#[derive(Debug)]
pub(crate) struct Intervals<'a> {
    pub(crate) workloads: &'a [Workload],
    /// Names of the series, in the order of the intervals.
    pub(crate) series: &'a [String],
    /// What the axis measures: `auto / better fixed mode`.
    pub(crate) what: &'a str,
}

const EDGE: f64 = 8.0;
const NAME: f64 = 16.0;
const TRACK: f64 = 11.0;
const GAP: f64 = 5.0;
const LEGEND_ROW: f64 = 17.0;

impl Intervals<'_> {
    /// `None` without a ratio.
    pub(crate) fn draw(&self) -> Option<Drawing> {
        let all = || self.workloads.iter().flat_map(|workload| workload.intervals.iter().flatten());
        all().next()?;
        let ends = all().flat_map(|of| [Some(of.ratio), of.low, of.high, of.bound]).flatten();
        let scale = Scale::log(ends.chain([1.0]), EDGE, WIDTH - EDGE)?;
        let legend = self.series.len().div_ceil(2) as f64 * LEGEND_ROW + 4.0;
        let row = NAME + self.series.len() as f64 * TRACK + GAP;
        let bottom = legend + self.workloads.len() as f64 * row;
        let title = format!("{}, ratio (log)", self.what);
        let body = html! {
            (self.legend())
            (axis_below(&scale, legend, bottom, &title))
            line class="par" x1=(Px(scale.at(1.0))) x2=(Px(scale.at(1.0)))
                y1=(Px(legend)) y2=(Px(bottom)) {}
            @for (index, workload) in self.workloads.iter().enumerate() {
                (row_of(workload, &scale, legend + index as f64 * row))
            }
        };
        Some(Drawing { body, width: WIDTH, height: bottom + AXIS })
    }

    fn legend(&self) -> Markup {
        let half = WIDTH / 2.0;
        html! {
            @for (index, name) in self.series.iter().enumerate() {
                @let (x, y) = ((index % 2) as f64 * half, (index / 2) as f64 * LEGEND_ROW + 8.0);
                g class="auto" { (Family::Auto.mark(x + 6.0, y, index > 0)) }
                (text("label", "start", x + 16.0, y + 4.0, &fit(name, half - 20.0, LABEL)))
            }
        }
    }
}

fn row_of(workload: &Workload, scale: &Scale, top: f64) -> Markup {
    let ratios: Vec<String> =
        workload.intervals.iter().flatten().map(|of| unit::ratio(of.ratio)).collect();
    let figures = fit(&ratios.join(" · "), WIDTH * 0.6, TICK);
    let room = WIDTH - width(&figures, TICK) - 10.0;
    html! {
        (text("label own", "start", 0.0, top + 12.0, &fit(&workload.name, room, LABEL)))
        (text("figure", "end", WIDTH, top + 12.0, &figures))
        @for (index, interval) in workload.intervals.iter().enumerate() {
            @if let Some(interval) = interval {
                (track(interval, scale, top + NAME + 4.0 + index as f64 * TRACK, index > 0))
            }
        }
    }
}

fn track(interval: &Interval, scale: &Scale, y: f64, hollow: bool) -> Markup {
    let ends = interval.low.zip(interval.high);
    html! {
        @if let Some(bound) = interval.bound {
            @let x = scale.at(bound);
            line class="bound" x1=(Px(x)) x2=(Px(x)) y1=(Px(y - 5.0)) y2=(Px(y + 5.0)) {}
        }
        g class="auto" {
            @if let Some((low, high)) = ends {
                @let (low, high) = (scale.at(low), scale.at(high));
                line class="range" x1=(Px(low)) x2=(Px(high)) y1=(Px(y)) y2=(Px(y)) {}
                @for x in [low, high] {
                    line class="range" x1=(Px(x)) x2=(Px(x)) y1=(Px(y - 3.0)) y2=(Px(y + 3.0)) {}
                }
            }
            (Family::Auto.mark(scale.at(interval.ratio), y, hollow))
        }
    }
}
