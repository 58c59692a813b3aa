//! The maps of the crossover: that of the first screen, and those of other kinds of work and of CPU
//! time.

use super::Plot;
use super::field::Field;
use super::place::{Place, Words};
use crate::chart::heat::Heat;
use crate::grid::{Grid, NONE};
use crate::rows::Run;
use crate::unit;

/// The map of the first screen.
pub(crate) fn first(run: &Run, place: &Place) -> Vec<Plot> {
    Field::all(run).iter().take(1).filter_map(|field| plot(field, place, 0)).collect()
}

/// All others.
pub(crate) fn others(run: &Run, place: &Place) -> Vec<Plot> {
    let fields = Field::all(run);
    let rest = fields.iter().enumerate().skip(1);
    rest.filter_map(|(index, field)| plot(field, place, index)).collect()
}

fn plot(field: &Field, place: &Place, index: usize) -> Option<Plot> {
    let columns: Vec<String> = field.times.iter().map(|time| unit::time(*time)).collect();
    let rows: Vec<String> = field.sizes.iter().map(|size| unit::size(*size)).collect();
    let heat = Heat {
        columns: &columns,
        rows: &rows,
        cells: &field.cells,
        across: &format!("service time of a task, {}", ends(&columns)),
        up: &format!("payload, {}", ends(&rows)),
    };
    let id = place.id("map", index);
    let drawing = heat.draw(&Place::svg_id(&id))?;
    let figure = match field.metric.as_str() {
        "wall" => "time",
        "cpu" => "CPU time",
        other => other,
    };
    let kind = if field.kind.is_empty() { String::new() } else { format!("{}: ", field.kind) };
    let title = format!("{kind}{figure} in a process over that on a thread");
    let head = std::iter::once("payload".to_owned()).chain(columns.iter().cloned());
    let mut grid = Grid::new(title.clone(), head);
    for (name, cells) in rows.iter().zip(&field.cells) {
        let cells = cells.iter().map(|cell| cell.map_or_else(|| NONE.to_owned(), unit::ratio));
        grid.push(std::iter::once(name.clone()).chain(cells));
    }
    let words = Words {
        title,
        about: "At 1.00 neither wins, above it a thread does.".to_owned(),
        desc: in_words(field, &ends(&rows), &ends(&columns)),
    };
    Some(Plot::new(id, words, &drawing, grid))
}

fn ends(names: &[String]) -> String {
    let end = |name: Option<&String>| name.cloned().unwrap_or_default();
    format!("{} to {}", end(names.first()), end(names.last()))
}

fn in_words(field: &Field, sizes: &str, times: &str) -> String {
    let measured = field.measured().count();
    let cheaper = field.measured().filter(|cell| cell.ratio < 1.0).count();
    let row = |(index, size): (usize, &f64)| match field.from(index, 1.1) {
        Some(time) => format!(
            " With {} a process costs at most a tenth more from {} on.",
            unit::size(*size),
            unit::time(time)
        ),
        None => format!(" With {} it always costs more than a tenth more.", unit::size(*size)),
    };
    let each: String = field.sizes.iter().enumerate().map(row).collect();
    format!(
        "A field of {measured} ratios; in {cheaper} of them a process costs less than a thread. \
         Payloads from {sizes}, service times from {times}.{each}"
    )
}
