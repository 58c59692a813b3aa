//! From which work on a process costs hardly more than a thread, and where it costs less.

use super::{CLEARLY, Finding, Verdict, finding};
use crate::plots::field::{Cell, Field};
use crate::unit;

/// The sentences of the first screen's map.
pub(crate) fn plain(field: &Field, verdict: &mut Verdict) {
    let work = format!("{} work", field.kind);
    let work = work.trim_start();
    // Of a size whose shortest work is cheap already, nobody knows from when on.
    let later = Onset::all(field, field.times.first().copied().unwrap_or(0.0));
    let mut dear = Vec::new();
    if !later.is_empty() {
        dear.push(format!("for {work} shorter than {}", Onset::list(&later)));
    }
    if let Some(longest) = field.times.last() {
        let last = field.measured().filter(|cell| cell.time == *longest);
        let beyond = last.filter(|cell| cell.ratio > CLEARLY);
        let sizes: Vec<String> = beyond.map(|cell| unit::size(cell.size)).collect();
        if !sizes.is_empty() {
            dear.push(format!("even for {} with {}", unit::time(*longest), few(&sizes).join(", ")));
        }
    }
    if !dear.is_empty() {
        let text = format!("A process costs more than a tenth more {}.", dear.join("; and "));
        verdict.thread.push(finding("crossover", text));
    }
    let worst = field.measured().filter(|cell| cell.ratio > CLEARLY);
    if let Some(cell) = worst.max_by(|a, b| a.ratio.total_cmp(&b.ratio)) {
        let Cell { size, time, ratio } = cell;
        let (size, time, ratio) = (unit::size(size), unit::time(time), unit::digits(ratio));
        let text = format!("Most of all {ratio} times as much, with {size} and {time} of work.");
        verdict.thread.push(finding("crossover", text));
    }
    let all = Onset::all(field, 0.0);
    if !all.is_empty() {
        let from = Onset::list(&all);
        let text = format!("A process costs at most a tenth more for {work} from {from} on.");
        verdict.process.push(finding("crossover", text));
    }
    if let Some(Cell { size, time, ratio }) = best(field) {
        let (size, time, ratio) = (unit::size(size), unit::time(time), unit::ratio(ratio));
        let text = format!("It costs {ratio} of a thread at best, with {size} and {time} of work.");
        verdict.process.push(finding("crossover", text));
    }
}

/// Of another kind of work: whether a process pays.
pub(crate) fn other(field: &Field) -> Option<Finding> {
    let Cell { size, time, ratio } = best(field)?;
    let cheaper = field.measured().filter(|cell| cell.ratio < 1.0 / CLEARLY).count();
    let text = format!(
        "{} work: clearly cheaper in processes in {cheaper} of {} cells of its map, at best {} of \
         a thread ({}, {} of work).",
        field.kind,
        field.measured().count(),
        unit::ratio(ratio),
        unit::size(size),
        unit::time(time)
    );
    Some(finding("more", text))
}

/// Where a process is clearly cheaper, and most of all.
fn best(field: &Field) -> Option<Cell> {
    let cheaper = field.measured().filter(|cell| cell.ratio < 1.0 / CLEARLY);
    cheaper.min_by(|a, b| a.ratio.total_cmp(&b.ratio))
}

/// The work from which on a process hardly costs more, with the neighbouring sizes that share it.
#[derive(Debug, Clone, PartialEq)]
struct Onset {
    time: f64,
    sizes: Vec<f64>,
}

impl Onset {
    /// Those above `shortest`.
    fn all(field: &Field, shortest: f64) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let mut last = None;
        for (index, &size) in field.sizes.iter().enumerate() {
            let time = field.from(index, CLEARLY).filter(|time| *time > shortest);
            match (time, all.last_mut()) {
                (Some(_), Some(group)) if last == time => group.sizes.push(size),
                (Some(time), _) => all.push(Self { time, sizes: vec![size] }),
                (None, _) => {}
            }
            last = time;
        }
        all
    }

    fn list(all: &[Self]) -> String {
        let one = |of: &Self| {
            let sizes = match &of.sizes[..] {
                [first, .., last] => format!("{} to {}", unit::size(*first), unit::size(*last)),
                sizes => sizes.iter().map(|size| unit::size(*size)).collect(),
            };
            format!("{} with {sizes}", unit::time(of.time))
        };
        few(all).iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Three of a list say enough: its first, middle and last.
fn few<T: Clone>(all: &[T]) -> Vec<T> {
    match all {
        [first, .., last] if all.len() > 3 => {
            vec![first.clone(), all[all.len() / 2].clone(), last.clone()]
        }
        _ => all.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(cells: [[f64; 2]; 3]) -> Field {
        let cells = cells.map(|row| row.map(Some).to_vec()).to_vec();
        let (kind, metric) = ("plain".to_owned(), "wall".to_owned());
        Field { kind, metric, sizes: vec![64.0, 1024.0, 1_048_576.0], times: vec![1e3, 1e6], cells }
    }

    fn told(cells: [[f64; 2]; 3]) -> (Vec<String>, Vec<String>) {
        let mut verdict = Verdict::default();
        plain(&field(cells), &mut verdict);
        let texts = |all: Vec<Finding>| all.into_iter().map(|of| of.text).collect();
        (texts(verdict.thread), texts(verdict.process))
    }

    #[test]
    fn sizes_that_share_an_onset_are_said_together() {
        let (thread, process) = told([[2.0, 1.0], [3.0, 1.05], [40.0, 1.5]]);
        let dear = "A process costs more than a tenth more for plain work shorter than 1 ms with \
                    64 B to 1 KiB; and even for 1 ms with 1 MiB.";
        let most = "Most of all 40 times as much, with 1 MiB and 1 µs of work.";
        assert_eq!(thread, [dear, most]);
        let from = "A process costs at most a tenth more for plain work from 1 ms with 64 B to \
                    1 KiB on.";
        assert_eq!(process, [from]);
    }

    #[test]
    fn where_nothing_is_dear_nothing_is_said_against_processes() {
        let (thread, process) = told([[1.0, 1.0], [1.0, 1.0], [1.0, 0.5]]);
        assert!(thread.is_empty(), "{thread:?}");
        assert!(process[0].contains("from 1 µs with 64 B to 1 MiB on"), "{process:?}");
        assert!(process[1].starts_with("It costs 0.50 of a thread at best"), "{process:?}");
    }
}
