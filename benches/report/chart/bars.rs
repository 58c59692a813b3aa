//! Bars from zero: a group a system or a case, in it a bar for each figure.

use maud::{Markup, html};

use super::scale::{Scale, axis_unit};
use super::{AXIS, Drawing, Family, LABEL, Px, TICK, WIDTH, axis_below, fit, text, width};
use crate::unit::Dimension;

/// One bar; its length is in the base of the dimension.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// Which figure of the group it is; groups with a single bar do not show it.
    pub(crate) label: String,
    pub(crate) length: f64,
    /// The figure as people read it.
    pub(crate) written: String,
}

/// Bars of one name.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) bars: Vec<Bar>,
}

/// The plot.
#[derive(Debug)]
pub(crate) struct Bars<'a> {
    pub(crate) groups: &'a [Group],
    /// Every label that a bar may have: its place is its pattern.
    pub(crate) labels: &'a [String],
    pub(crate) dimension: Dimension,
    /// What the axis measures: `tasks`, `memory`.
    pub(crate) what: &'a str,
}

const NAME: f64 = 16.0;
const BAR: f64 = 10.0;
const GAP: f64 = 6.0;
const EDGE: f64 = 4.0;
/// Floors are cut where they are so many times as long as the longest other bar.
const CUT_FROM: f64 = 1.5;

impl Bars<'_> {
    /// `id` is that of the SVG, for its patterns. `None` without a figure above zero.
    pub(crate) fn draw(&self, id: &str) -> Option<Drawing> {
        let single = self.labels.len() <= 1;
        let all = || self.groups.iter().flat_map(|group| &group.bars);
        let widest = |size: f64, of: &dyn Fn(&Bar) -> &str| {
            all().map(|bar| width(of(bar), size)).fold(0.0, f64::max)
        };
        let from = if single { EDGE } else { (widest(TICK, &|bar| &bar.label) + 8.0).min(120.0) };
        let to = WIDTH - if single { EDGE + 8.0 } else { widest(TICK, &|bar| &bar.written) + 8.0 };
        let scale = Scale::linear([self.reach()], from, to.max(from + 60.0))?;
        let (unit, factor) = axis_unit(self.dimension, &scale);
        let scale = scale.in_units_of(factor);
        let (mut rows, mut top) = (Vec::new(), 0.0);
        for group in self.groups {
            let (markup, height) = self.group(group, &scale, top, id);
            rows.push(markup);
            top += height;
        }
        let title = format!("{}, {unit}", self.what);
        let body = html! {
            (patterns(id))
            (axis_below(&scale, 0.0, top, &title))
            @for row in &rows { (row) }
        };
        Some(Drawing { body, width: WIDTH, height: top + AXIS })
    }

    /// The length that the axis shows: a floor, which has nothing around it, may be cut.
    fn reach(&self) -> f64 {
        let longest = |floors: bool| {
            let groups = self.groups.iter().filter(|of| floors || of.family != Family::Floor);
            groups.flat_map(|group| &group.bars).map(|bar| bar.length).fold(0.0, f64::max)
        };
        let (all, others) = (longest(true), longest(false));
        if others > 0.0 && all > others * CUT_FROM { others * 1.1 } else { all }
    }

    /// Whether some bar goes on beyond the axis.
    pub(crate) fn is_cut(&self) -> bool {
        let reach = self.reach();
        self.groups.iter().flat_map(|group| &group.bars).any(|bar| bar.length > reach)
    }

    fn group(&self, group: &Group, scale: &Scale, top: f64, id: &str) -> (Markup, f64) {
        let single = self.labels.len() <= 1;
        let own = !matches!(group.family, Family::Peer | Family::Floor);
        let class = if own { "label own" } else { "label" };
        let figure = group.bars.first().filter(|_| single).map_or("", |bar| &bar.written);
        let room = WIDTH - width(figure, TICK) - 10.0;
        let markup = html! {
            (text(class, "start", 0.0, top + 12.0, &fit(&group.name, room, LABEL)))
            @if single { (text("figure", "end", WIDTH, top + 12.0, figure)) }
            @for (index, bar) in group.bars.iter().enumerate() {
                @let y = top + NAME + index as f64 * (BAR + 2.0);
                @let end = scale.at(bar.length);
                @let pattern = self.labels.iter().position(|label| *label == bar.label);
                @if !single {
                    @let label = fit(&bar.label, scale.from - 6.0, TICK);
                    (text("tick", "end", scale.from - 5.0, y + 9.0, &label))
                    (text("figure", "start", end + 4.0, y + 9.0, &bar.written))
                }
                g class=(group.family.class()) {
                    (rect("bar", scale.from, y, end - scale.from, None))
                    @if let Some(pattern @ 1..) = pattern {
                        @let fill = format!("url(#{id}-p{})", 1 + (pattern - 1) % PATTERNS);
                        (rect("over", scale.from, y, end - scale.from, Some(&fill)))
                    }
                    @if bar.length > scale.high() { (gap(end, y)) }
                }
            }
        };
        (markup, NAME + group.bars.len() as f64 * (BAR + 2.0) + GAP)
    }
}

fn rect(class: &str, x: f64, y: f64, length: f64, fill: Option<&str>) -> Markup {
    let length = length.max(1.0);
    html! {
        rect class=(class) x=(Px(x)) y=(Px(y)) width=(Px(length)) height=(Px(BAR)) fill=[fill] {}
    }
}

/// A gap before the end of a bar that goes on.
fn gap(end: f64, y: f64) -> Markup {
    let (low, high) = (y + BAR + 1.0, y - 1.0);
    html! {
        @for x in [end - 18.0, end - 11.0] {
            line class="cut" x1=(Px(x)) x2=(Px(x + 5.0)) y1=(Px(low)) y2=(Px(high)) {}
        }
    }
}

const PATTERNS: usize = 3;

/// What lies over the second, third and fourth bar of a group, in the colour of the ground: so
/// that bars differ where colours do not.
fn patterns(id: &str) -> Markup {
    html! {
        defs {
            pattern id={ (id) "-p1" } width="5" height="5" patternUnits="userSpaceOnUse"
                patternTransform="rotate(45)" { line class="cut" x1="0" x2="0" y1="0" y2="5" {} }
            pattern id={ (id) "-p2" } width="5" height="5" patternUnits="userSpaceOnUse" {
                circle class="hole" cx="2.5" cy="2.5" r="1.4" {}
            }
            pattern id={ (id) "-p3" } width="6" height="6" patternUnits="userSpaceOnUse" {
                line class="cut" x1="3" x2="3" y1="0" y2="6" {}
            }
        }
    }
}
