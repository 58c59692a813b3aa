//! The grid in words: under which conditions who wins.

use amphi_benches::Tally;
use amphi_benches::table::ratio;

use super::grid::{Cell, Kind, LENGTHS, Plan, SERVICES};
use super::winner::{Winner, compare};

/// The places of the services in which somebody wins, of each length that was measured.
type Rows = Vec<(usize, Vec<usize>)>;

/// One sentence for each winner of a kind of work.
pub(crate) fn sentences(tally: &Tally, plan: &Plan, kind: Kind) -> Vec<String> {
    let found: Vec<(Cell, f64, Winner)> = plan
        .cells
        .iter()
        .filter(|cell| cell.kind == kind)
        .filter_map(|&cell| {
            let ratio = compare(tally, cell, "wall")?;
            Some((cell, ratio.median, Winner::of(&ratio)))
        })
        .collect();
    let mut services: Vec<usize> = found.iter().map(|(cell, ..)| cell.service).collect();
    services.sort_unstable();
    services.dedup();
    let sentence = |winner, subject: &str| {
        let of: Vec<_> = found.iter().filter(|(.., who)| *who == winner).collect();
        if of.is_empty() {
            return format!("{subject} in no cell.");
        }
        let cells: Vec<Cell> = of.iter().map(|(cell, ..)| *cell).collect();
        let ratios = of.iter().map(|(_, ratio, _)| *ratio);
        let least = ratio(ratios.clone().fold(f64::INFINITY, f64::min));
        let most = ratio(ratios.fold(0.0, f64::max));
        let ends = if least == most { least } else { format!("{least} to {most}") };
        format!(
            "{subject} in {} of {} cells (process / thread {ends}): {}.",
            cells.len(),
            found.len(),
            conditions(&rows(&cells), &services)
        )
    };
    vec![
        sentence(Winner::Process, "A process wins"),
        sentence(Winner::Alike, "They are alike"),
        sentence(Winner::Thread, "A thread wins"),
    ]
}

fn rows(cells: &[Cell]) -> Rows {
    let mut rows = Rows::new();
    for cell in cells {
        match rows.iter_mut().find(|(length, _)| *length == cell.length) {
            Some((_, services)) => services.push(cell.service),
            None => rows.push((cell.length, vec![cell.service])),
        }
    }
    rows
}

/// Lengths with the same services are told together.
fn conditions(rows: &Rows, all: &[usize]) -> String {
    let mut groups: Vec<(Vec<usize>, &Vec<usize>)> = Vec::new();
    for (length, services) in rows {
        match groups.iter_mut().find(|(_, same)| *same == services) {
            Some((lengths, _)) => lengths.push(*length),
            None => groups.push((vec![*length], services)),
        }
    }
    let group = |(lengths, services): &(Vec<usize>, &Vec<usize>)| {
        let lengths: Vec<&str> = lengths.iter().map(|&length| LENGTHS[length].0).collect();
        format!("with {} {}", lengths.join(", "), span(services, all))
    };
    groups.iter().map(group).collect::<Vec<String>>().join("; ")
}

/// Which of all the services these are.
fn span(services: &[usize], all: &[usize]) -> String {
    let name = |service: usize| SERVICES[service].0;
    match services {
        _ if services == all => "at any length of work".to_owned(),
        [.., last] if all.starts_with(services) => format!("up to {} of work", name(*last)),
        [first, ..] if all.ends_with(services) => format!("from {} of work on", name(*first)),
        _ => {
            let names: Vec<&str> = services.iter().map(|&service| name(service)).collect();
            format!("at {} of work", names.join(", "))
        }
    }
}
