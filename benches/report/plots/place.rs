//! Where a plot stands, and the names that follow from it.

use maud::Markup;

use super::Plot;
use crate::chart::Drawing;
use crate::grid::Grid;

/// A part of the page: what its ids begin with.
#[derive(Debug)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn of(section: &str) -> Self {
        Self(section.to_owned())
    }

    /// The part for benches that nobody knows.
    pub(crate) fn other(index: usize) -> Self {
        Self(format!("others-{index}"))
    }

    /// An id for the `index`th plot of a kind: no name out of a row goes into it.
    pub(crate) fn id(&self, kind: &str, index: usize) -> String {
        format!("{}-{kind}-{index}", self.0)
    }

    /// The id of the SVG of a plot.
    pub(crate) fn svg_id(id: &str) -> String {
        format!("{id}-svg")
    }
}

/// What a plot says in words.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) title: String,
    pub(crate) about: String,
    /// What somebody who does not see the plot should know of it.
    pub(crate) desc: String,
}

impl Plot {
    pub(crate) fn new(id: String, words: Words, drawing: &Drawing, grid: Grid) -> Self {
        let svg: Markup = drawing.svg(&Place::svg_id(&id), &words.title, &words.desc);
        Self { id, title: words.title, about: words.about, svg, grid }
    }
}
