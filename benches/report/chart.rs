//! What all plots share: the frame with title and description, text that fits, marks and axes.
//!
//! Written by hand and not by `plotters`, whose output puts colours into attributes and knows
//! neither patterns nor titles: here a colour is a class, so that the page's style decides it for
//! light, dark and paper. Every plot is about as wide as a phone; the page scales it.

use std::fmt;

use maud::{Markup, Render, html};

use self::scale::Scale;

pub(crate) mod bars;
pub(crate) mod dots;
pub(crate) mod heat;
pub(crate) mod intervals;
pub(crate) mod lines;
pub(crate) mod scale;

/// The width of a plot, in its own units: CSS pixels on a phone.
pub(crate) const WIDTH: f64 = 340.0;
/// The size of labels, as in the style sheet.
pub(crate) const LABEL: f64 = 11.0;
/// The size of ticks and titles of axes, as in the style sheet.
pub(crate) const TICK: f64 = 10.0;
/// Letters are as wide as this at most, on average, as a share of their size.
const LETTER: f64 = 0.62;
/// Room below a plot for ticks and the title of the axis.
pub(crate) const AXIS: f64 = 32.0;

/// A drawing with its height.
#[derive(Debug)]
pub(crate) struct Drawing {
    pub(crate) body: Markup,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Drawing {
    /// The whole SVG element. `id` is unique in the page; screen readers read title and desc.
    pub(crate) fn svg(&self, id: &str, title: &str, desc: &str) -> Markup {
        let (width, height) = (Px(self.width), Px(self.height));
        html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) }
                role="img" aria-labelledby={ (id) "-title " (id) "-desc" }
            {
                title id={ (id) "-title" } { (title) }
                desc id={ (id) "-desc" } { (desc) }
                (self.body)
            }
        }
    }
}

/// Who a mark belongs to: its colour and its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Thread,
    Process,
    Auto,
    Peer,
    Floor,
}

impl Family {
    /// The class that gives the colour.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Process => "process",
            Self::Auto => "auto",
            Self::Peer => "peer",
            Self::Floor => "floor",
        }
    }

    /// The mark as a letter, for legends in text.
    pub(crate) fn glyph(self) -> &'static str {
        match self {
            Self::Thread => "●",
            Self::Process => "■",
            Self::Auto => "◆",
            Self::Peer => "▲",
            Self::Floor => "▼",
        }
    }

    /// The mark, around a point. A hollow one tells a second system of the family.
    pub(crate) fn mark(self, x: f64, y: f64, hollow: bool) -> Markup {
        let class = if hollow { "mark hollow" } else { "mark" };
        let r = 4.0;
        let path = |points: &[(f64, f64)]| {
            let corners: Vec<String> = points
                .iter()
                .map(|(dx, dy)| format!("{},{}", Px(x + dx * r), Px(y + dy * r)))
                .collect();
            html! { polygon class=(class) points=(corners.join(" ")) {} }
        };
        match self {
            Self::Thread => html! { circle class=(class) cx=(Px(x)) cy=(Px(y)) r=(Px(r)) {} },
            Self::Process => path(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            Self::Auto => path(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
            Self::Peer => path(&[(0.0, -1.1), (1.1, 0.9), (-1.1, 0.9)]),
            Self::Floor => path(&[(0.0, 1.1), (1.1, -0.9), (-1.1, -0.9)]),
        }
    }
}

/// A coordinate: to a tenth, and never what is no number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Px(pub(crate) f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = if self.0.is_finite() { (self.0 * 10.0).round() / 10.0 } else { 0.0 };
        write!(f, "{}", tenths + 0.0) // no negative zero
    }
}

impl Render for Px {
    fn render_to(&self, buffer: &mut String) {
        use fmt::Write as _;
        let _ = write!(buffer, "{self}");
    }
}

/// Text, anchored at `start`, `middle` or `end`.
pub(crate) fn text(class: &str, anchor: &str, x: f64, y: f64, content: &str) -> Markup {
    html! { text class=(class) text-anchor=(anchor) x=(Px(x)) y=(Px(y)) { (content) } }
}

/// How wide a text of this size is, at most.
pub(crate) fn width(content: &str, size: f64) -> f64 {
    content.chars().count() as f64 * LETTER * size
}

/// The text, shortened to so much room.
pub(crate) fn fit(content: &str, room: f64, size: f64) -> String {
    let letters = (room / (LETTER * size)).floor().max(1.0) as usize;
    if content.chars().count() <= letters {
        return content.to_owned();
    }
    let kept: String = content.chars().take(letters.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Grid lines from `top` to `bottom`, ticks and the title below them.
pub(crate) fn axis_below(scale: &Scale, top: f64, bottom: f64, title: &str) -> Markup {
    let middle = f64::midpoint(scale.from, scale.to);
    html! {
        @for (x, label) in scale.ticks() {
            line class="grid" x1=(Px(x)) x2=(Px(x)) y1=(Px(top)) y2=(Px(bottom)) {}
            @let (anchor, x) = kept_inside(x, width(&label, TICK));
            (text("tick", anchor, x, bottom + 13.0, &label))
        }
        line class="axis" x1=(Px(scale.from)) x2=(Px(scale.to)) y1=(Px(bottom)) y2=(Px(bottom)) {}
        (text("axis-title", "middle", middle, bottom + 27.0, title))
    }
}

/// Where a text around `x` is to be anchored so that it does not leave the plot.
fn kept_inside(x: f64, width: f64) -> (&'static str, f64) {
    if x < width / 2.0 {
        ("start", 0.0)
    } else if x + width / 2.0 > WIDTH {
        ("end", WIDTH)
    } else {
        ("middle", x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        let texts = [1.25, -0.01, f64::NAN, f64::INFINITY, 12.0].map(|x| Px(x).to_string());
        assert_eq!(texts, ["1.3", "0", "0", "0", "12"]);
    }

    #[test]
    fn long_names_are_shortened_between_letters() {
        assert_eq!(fit("amphi", 100.0, LABEL), "amphi");
        let short = fit(&"ä".repeat(100), 100.0, LABEL);
        assert!(short.ends_with('…') && width(&short, LABEL) <= 100.0, "{short}");
        assert_eq!(fit("abc", 0.0, LABEL), "…");
    }
}
