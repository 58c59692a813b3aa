//! Curves of time over size, both logarithmic.

use maud::{Markup, html};

use super::scale::{Scale, axis_unit};
use super::{AXIS, Drawing, Family, LABEL, Px, TICK, WIDTH, fit, text, width};
use crate::unit::{self, Dimension};

/// One curve: points in bytes and nanoseconds, in ascending order of size.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) family: Family,
    /// Which curve of its family it is: each has its own shade, dash and mark.
    pub(crate) nth: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// The classes of its colour.
    fn class(&self) -> String {
        format!("{} n{}", self.family.class(), self.nth % SHADES)
    }

    fn mark(&self, x: f64, y: f64) -> Markup {
        let shapes = [
            self.family,
            self.family,
            Family::Auto,
            Family::Peer,
            Family::Floor,
            Family::Auto,
            Family::Peer,
            Family::Floor,
        ];
        shapes[self.nth % shapes.len()].mark(x, y, matches!(self.nth % 8, 1 | 5..))
    }
}

/// The plot.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    pub(crate) curves: &'a [Curve],
    /// What the axes measure, without units.
    pub(crate) across: &'a str,
    pub(crate) up: &'a str,
}

/// Shades of a family's colour, and dashes, in the style sheet.
const SHADES: usize = 6;
const DASHES: usize = 4;
const LEFT: f64 = 50.0;
const HIGH: f64 = 250.0;
const LEGEND_ROW: f64 = 17.0;
/// Powers of two between ticks of sizes: 64 B, 1 KiB, 16 KiB, …
const SIZE_STEP: i32 = 4;

impl Lines<'_> {
    /// `None` without two sizes or without a time above zero.
    pub(crate) fn draw(&self) -> Option<Drawing> {
        let points = || self.curves.iter().flat_map(|curve| curve.points.iter().copied());
        let legend = self.curves.len().div_ceil(self.columns()) as f64 * LEGEND_ROW + 8.0;
        let bottom = legend + HIGH;
        let across = Scale::log(points().map(|point| point.0), LEFT, WIDTH - 8.0)?;
        let up = Scale::log(points().map(|point| point.1), bottom, legend)?;
        let (unit, factor) = axis_unit(Dimension::Time, &up);
        let up = up.in_units_of(factor);
        let middle = f64::midpoint(legend, bottom);
        let title = format!("{}, {unit} (log)", self.up);
        let body = html! {
            (self.legend())
            @for (x, label) in size_ticks(points().map(|point| point.0), &across) {
                line class="grid" x1=(Px(x)) x2=(Px(x)) y1=(Px(legend)) y2=(Px(bottom)) {}
                (text("tick", "middle", x, bottom + 13.0, &label))
            }
            @for (y, label) in up.ticks_upright() {
                line class="grid" x1=(Px(LEFT)) x2=(Px(across.to)) y1=(Px(y)) y2=(Px(y)) {}
                (text("tick", "end", LEFT - 5.0, y + 3.5, &label))
            }
            line class="axis" x1=(Px(LEFT)) x2=(Px(across.to)) y1=(Px(bottom)) y2=(Px(bottom)) {}
            line class="axis" x1=(Px(LEFT)) x2=(Px(LEFT)) y1=(Px(legend)) y2=(Px(bottom)) {}
            @let axis = format!("{}, bytes (log)", self.across);
            (text("axis-title", "middle", f64::midpoint(LEFT, across.to), bottom + 27.0, &axis))
            @let turned = format!("translate(9 {}) rotate(-90)", Px(middle));
            g transform=(turned) { (text("axis-title", "middle", 0.0, 0.0, &title)) }
            @for curve in self.curves {
                g class=(curve.class()) {
                    @let places: Vec<(f64, f64)> =
                        curve.points.iter().map(|(x, y)| (across.at(*x), up.at(*y))).collect();
                    @let corners: Vec<String> =
                        places.iter().map(|(x, y)| format!("{},{}", Px(*x), Px(*y))).collect();
                    polyline class={ "curve dash" (curve.nth % DASHES) } points=(corners.join(" ")) {}
                    @for (x, y) in &places { (curve.mark(*x, *y)) }
                }
            }
        };
        Some(Drawing { body, width: WIDTH, height: bottom + AXIS })
    }

    /// Names that stand beside each other in the legend.
    fn columns(&self) -> usize {
        let half = WIDTH / 2.0 - 32.0;
        let fits = self.curves.iter().all(|curve| width(&curve.name, LABEL) <= half);
        if fits { 2 } else { 1 }
    }

    /// The names, each with its line.
    fn legend(&self) -> Markup {
        let columns = self.columns();
        let wide = WIDTH / columns as f64;
        html! {
            @for (index, curve) in self.curves.iter().enumerate() {
                @let x = (index % columns) as f64 * wide;
                @let y = (index / columns) as f64 * LEGEND_ROW + 8.0;
                g class=(curve.class()) {
                    line class={ "curve dash" (curve.nth % DASHES) }
                        x1=(Px(x)) x2=(Px(x + 24.0)) y1=(Px(y)) y2=(Px(y)) {}
                    (curve.mark(x + 12.0, y))
                }
                (text("label", "start", x + 29.0, y + 4.0, &fit(&curve.name, wide - 32.0, LABEL)))
            }
        }
    }
}

/// Round sizes of computers within the ends: powers of sixteen bytes, thinned until they fit.
fn size_ticks(sizes: impl Iterator<Item = f64>, scale: &Scale) -> Vec<(f64, String)> {
    let (low, high) = sizes
        .filter(|size| size.is_finite() && *size > 0.0)
        .fold((f64::MAX, 0.0_f64), |(low, high), size| (low.min(size), high.max(size)));
    let (first, last) = (low.log2().ceil() as i32, high.log2().floor() as i32);
    let place = |step: i32| -> Vec<(f64, String)> {
        let powers = (first..=last).filter(|power| (power - first).rem_euclid(step) == 0);
        let sizes = powers.map(|power| 2f64.powi(power));
        sizes.map(|size| (scale.at(size), unit::size(size))).collect()
    };
    let fits = |ticks: &[(f64, String)]| {
        ticks.windows(2).all(|pair| pair[1].0 - pair[0].0 >= width("128 MiB", TICK))
    };
    let steps = (1..=8).map(|times| times * SIZE_STEP);
    steps.map(place).find(|ticks| fits(ticks)).unwrap_or_default()
}
