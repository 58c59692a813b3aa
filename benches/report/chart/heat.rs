//! A field of ratios: one cell for each size and time, the number in it, the colour of who wins.

use maud::{Markup, html};

use super::{Drawing, Px, TICK, fit, text, width};
use crate::unit;

/// The plot: `cells[row][column]`, each `process / thread`.
#[derive(Debug)]
pub(crate) struct Heat<'a> {
    /// Names of the columns, from left to right.
    pub(crate) columns: &'a [String],
    /// Names of the rows, from the bottom up.
    pub(crate) rows: &'a [String],
    pub(crate) cells: &'a [Vec<Option<f64>>],
    pub(crate) across: &'a str,
    pub(crate) up: &'a str,
}

/// Where the colours change, as ratios; between the two in the middle nobody wins.
const STEPS: [f64; 6] = [0.67, 0.85, 0.97, 1.03, 1.2, 2.0];
/// The class of each colour: `p` where a process is cheaper, `t` where a thread is.
const CLASSES: [&str; 7] = ["p3", "p2", "p1", "even", "t1", "t2", "t3"];

const WIDTH: f64 = 380.0;
const CELL: f64 = 34.0;
/// Room for the title above the field.
const TOP: f64 = 17.0;

/// The class of a ratio.
pub(crate) fn class(ratio: f64) -> &'static str {
    let index = STEPS.iter().filter(|step| ratio >= **step).count();
    CLASSES[index]
}

impl Heat<'_> {
    /// `None` without a cell. `id` is that of the SVG, for its pattern.
    pub(crate) fn draw(&self, id: &str) -> Option<Drawing> {
        let any = self.cells.iter().flatten().any(Option::is_some);
        let names = self.rows.iter().map(|name| width(name, TICK)).fold(0.0, f64::max);
        let left = names.min(90.0) + 8.0;
        let wide = (WIDTH - left - 2.0) / self.columns.len().max(1) as f64;
        let bottom = TOP + self.rows.len() as f64 * CELL;
        // Cells narrower than a number of three digits show it smaller.
        let narrow = if wide < 32.0 { "cell small" } else { "cell" };
        let body = html! {
            defs {
                pattern id={ (id) "-hatch" } width="6" height="6" patternUnits="userSpaceOnUse"
                    patternTransform="rotate(45)" { line class="hatch" x1="0" x2="0" y1="0" y2="6" {} }
            }
            // Above its names and not beside them: it may be longer than the field is high.
            (text("axis-title", "start", 0.0, 10.0, self.up))
            @for (row, name) in self.rows.iter().enumerate() {
                @let y = bottom - (row + 1) as f64 * CELL;
                (text("tick", "end", left - 6.0, y + CELL / 2.0 + 3.5, &fit(name, 90.0, TICK)))
                @for column in 0..self.columns.len() {
                    @let ratio = self.cells.get(row).and_then(|cells| *cells.get(column)?);
                    (cell(ratio, (left + column as f64 * wide, y), wide, narrow, id))
                }
            }
            @for (column, name) in self.columns.iter().enumerate() {
                @let x = left + (column as f64 + 0.5) * wide;
                (text("tick", "middle", x, bottom + 13.0, &fit(name, wide, TICK)))
            }
            (text("axis-title", "end", WIDTH - 2.0, bottom + 29.0, self.across))
            (legend(left, bottom + 42.0, id))
        };
        any.then_some(Drawing { body, width: WIDTH, height: bottom + 78.0 })
    }
}

fn cell(
    ratio: Option<f64>,
    (x, y): (f64, f64),
    wide: f64,
    class_of_text: &str,
    id: &str,
) -> Markup {
    let (wide, high) = (wide - 2.0, CELL - 2.0);
    let middle = (x + wide / 2.0, y + high / 2.0 + 4.5);
    html! {
        @match ratio {
            Some(ratio) => {
                rect class=(class(ratio)) x=(Px(x)) y=(Px(y)) width=(Px(wide)) height=(Px(high))
                    rx="2" {}
                @if class(ratio).starts_with('p') { (hatched(x, y, wide, high, id)) }
                (text(class_of_text, "middle", middle.0, middle.1, &unit::ratio(ratio)))
            }
            None => (text("tick", "middle", middle.0, middle.1, "–")),
        }
    }
}

/// Lines over the cells that a process wins, for those who do not see the colours.
fn hatched(x: f64, y: f64, wide: f64, high: f64, id: &str) -> Markup {
    let fill = format!("url(#{id}-hatch)");
    html! {
        rect class="over" x=(Px(x)) y=(Px(y)) width=(Px(wide)) height=(Px(high)) rx="2"
            fill=(fill) {}
    }
}

/// The colours, with the ratios between which each lies.
fn legend(left: f64, top: f64, id: &str) -> Markup {
    let wide = (WIDTH - left - 2.0) / CLASSES.len() as f64;
    html! {
        @for (index, class) in CLASSES.iter().enumerate() {
            @let x = left + index as f64 * wide;
            rect class=(class) x=(Px(x)) y=(Px(top)) width=(Px(wide)) height="9" {}
            @if class.starts_with('p') { (hatched(x, top, wide, 9.0, id)) }
            @if let Some(step) = STEPS.get(index) {
                (text("tick", "middle", x + wide, top + 20.0, &step.to_string()))
            }
        }
        (text("tick", "start", left, top + 32.0, "process cheaper"))
        (text("tick", "end", WIDTH - 2.0, top + 32.0, "thread cheaper"))
    }
}
