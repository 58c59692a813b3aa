//! **The one place that maps rows to plots.** [`SECTIONS`] says which bench fills which part of the
//! report and how its rows are drawn; a bench that is not named there is drawn by [`any`], and
//! every row of every bench stands in the tables at the end.

use std::collections::BTreeMap;

use maud::Markup;

use crate::chart::Family;
use crate::grid::Grid;
use crate::rows::{Data, Measure, Part, Run};
use crate::unit::Dimension;

use self::place::Place;

mod bars;
mod curves;
pub(crate) mod field;
mod maps;
mod memory;
mod place;
mod ratios;
mod tails;

/// A drawing with its words and with the table behind it.
#[derive(Debug)]
pub(crate) struct Plot {
    /// Unique in the page.
    pub(crate) id: String,
    pub(crate) title: String,
    /// One sentence under the title; may be empty.
    pub(crate) about: String,
    pub(crate) svg: Markup,
    pub(crate) grid: Grid,
}

/// A part of the report.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) id: &'static str,
    /// The title, and a word for it in the contents.
    pub(crate) title: &'static str,
    pub(crate) short: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) plots: Vec<Plot>,
    /// Why there is no plot, and how to get one.
    pub(crate) missing: Option<String>,
}

/// How the rows of a bench become plots.
type Draw = fn(&Run, &Place) -> Vec<Plot>;

/// A line of the table.
struct Line {
    id: &'static str,
    title: &'static str,
    short: &'static str,
    bench: &'static str,
    draw: Draw,
    lead: &'static str,
}

/// The first screen's map has a line of its own: it stands before everything else.
const MAP: Line = Line {
    id: "crossover",
    title: "Where a process costs no more than a thread",
    short: "Crossover",
    bench: "crossover",
    draw: maps::first,
    lead: "",
};

const SECTIONS: [Line; 11] = [
    Line {
        id: "more",
        title: "More of the crossover",
        short: "More",
        bench: "crossover",
        draw: maps::others,
        lead: "Other kinds of work, and what the cores spend. Work that is not thread-safe runs one \
               at a time in each process: on threads alone, in workers side by side.",
    },
    Line {
        id: "latency",
        title: "Latency, and CPU time beside it",
        short: "Latency",
        bench: "dispatch",
        draw: tails::latency,
        lead: "Handing over one tiny task and taking its answer back. A mark is the p50, the line \
               from it ends at the p99; to the right the CPU time of all processes for one task. \
               All plots of this part have the same axes.",
    },
    Line {
        id: "throughput",
        title: "Throughput",
        short: "Throughput",
        bench: "dispatch",
        draw: bars::rates,
        lead: "As many tiny tasks as go, many in flight, one thread that submits them.",
    },
    Line {
        id: "payload",
        title: "What bytes cost",
        short: "Bytes",
        bench: "payload",
        draw: curves::payload,
        lead: "The time of one call over the size of what it carries: threads pass a reference, \
               processes copy, and a blob is shared.",
    },
    Line {
        id: "memory",
        title: "Memory",
        short: "Memory",
        bench: "memory",
        draw: memory::plots,
        lead: "RSS counts a page in every process that maps it, PSS divides it among them, USS \
               counts only what a process has for itself and gives back when it ends. \
               `renewed`: after grown workers were replaced.",
    },
    Line {
        id: "respawn",
        title: "After a crash",
        short: "Crashes",
        bench: "respawn",
        draw: any,
        lead: "How long it takes until a worker that died is replaced and answers. A mark is the p50, \
               the line from it ends at the p99.",
    },
    Line {
        id: "peers",
        title: "Beside other libraries",
        short: "Peers",
        bench: "peers",
        draw: any,
        lead: "The same work by what a reader would otherwise use. A mark is the p50, the line from \
               it ends at the p99; to the right the CPU time of all processes for one task.",
    },
    Line {
        id: "regret",
        title: "What leaving the choice to the engine costs",
        short: "Auto",
        bench: "regret",
        draw: ratios::regret,
        lead: "The cost of Placement::Auto over that of a fixed mode, taken within each round: \
               one means as good, less is better. A line is the 95 % interval of the median, a \
               grey stroke what the project set itself.",
    },
    Line {
        id: "regret_mimalloc",
        title: "The same with mimalloc",
        short: "Auto, mimalloc",
        bench: "regret_mimalloc",
        draw: ratios::regret,
        lead: "The bench regret, built with another allocator.",
    },
    Line {
        id: "offload",
        title: "Whole commands",
        short: "Commands",
        bench: "offload",
        draw: any,
        lead: "`offload hash` beside the tools that people use, start included.",
    },
    Line {
        id: "overhead",
        title: "What the scheduler costs a task",
        short: "Scheduler",
        bench: "overhead",
        draw: any,
        lead: "Decisions, samples and statistics by themselves, without a task.",
    },
];

/// Systems that dispatch nothing or that have nothing around them.
const FLOORS: [&str; 4] = ["direct call", "bare lane", "futex", "floor"];

/// How systems begin that are this project's.
const OWN: [&str; 5] = ["amphi", "offload", "thread", "process", "auto"];

/// Whose a system is, by its name.
pub(crate) fn family(system: &str) -> Family {
    let name = system.to_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    if is(&FLOORS) {
        Family::Floor
    } else if !is(&OWN) {
        Family::Peer
    } else if name.contains("auto") {
        Family::Auto
    } else if name.contains("process") || name.contains("worker") {
        Family::Process
    } else if name.contains("thread") {
        Family::Thread
    } else {
        Family::Auto
    }
}

/// The map of the first screen.
pub(crate) fn map(data: &Data, absent: &BTreeMap<String, String>) -> Section {
    section(&MAP, data, absent)
}

/// All other parts, those of benches that this file does not know last.
pub(crate) fn sections(data: &Data, absent: &BTreeMap<String, String>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut told: Vec<&str> = vec![MAP.bench];
    for line in &SECTIONS {
        let section = section(line, data, absent);
        // That a bench is missing is said once.
        if section.missing.is_none() || !told.contains(&line.bench) {
            told.push(line.bench);
            sections.push(section);
        }
    }
    let known = |bench: &str| SECTIONS.iter().chain([&MAP]).any(|line| line.bench == bench);
    let others = data.runs.iter().filter(|run| !known(&run.bench) && !run.measures.is_empty());
    let plots: Vec<Plot> =
        others.enumerate().flat_map(|(index, run)| any(run, &Place::other(index))).collect();
    if !plots.is_empty() {
        let (title, short) = ("Other benches", "Others");
        let lead = "Benches that this report knows only by their rows.";
        sections.push(Section { id: "others", title, short, lead, plots, missing: None });
    }
    sections
}

fn section(line: &Line, data: &Data, absent: &BTreeMap<String, String>) -> Section {
    let run = data.run(line.bench);
    let plots = run.map_or_else(Vec::new, |run| (line.draw)(run, &Place::of(line.id)));
    let bench = line.bench;
    let measure = format!("`cargo bench -p amphi-benches --bench {bench} -- --quick`");
    let missing = match (run, plots.is_empty()) {
        (_, false) => None,
        (Some(_), true) => Some(format!(
            "The rows of the bench {bench} hold nothing that could be drawn here; they stand in \
             the tables at the end. {measure} measures all of it."
        )),
        (None, true) => Some(match absent.get(bench) {
            Some(why) => {
                format!("No figures: {why}. When that is mended, {measure} measures them.")
            }
            None => format!("No figures of the bench {bench}: {measure} measures them."),
        }),
    };
    let &Line { id, title, short, lead, .. } = line;
    Section { id, title, short, lead, plots, missing }
}

/// Plots by what the rows are: latencies with their tails, rates, sizes, and what is left of times.
pub(crate) fn any(run: &Run, place: &Place) -> Vec<Plot> {
    let mut plots = tails::with_tails(run, place, "time");
    plots.extend(bars::rates(run, place));
    plots.extend(bars::sizes(run, place));
    plots.extend(bars::times(run, place));
    plots
}

/// Every figure of a run with all that stands beside it.
pub(crate) fn every(run: &Run) -> Grid {
    let caption = format!("Every figure of the bench {}", run.bench);
    let head =
        ["system", "case", "metric", "figure", "quartiles", "95 % interval", "ends", "pairs"];
    let mut grid = Grid::new(caption, head.into_iter().chain(["bound"]));
    for measure in &run.measures {
        let none = || crate::grid::NONE.to_owned();
        let between = |low, high| measure.between(low, high).unwrap_or_else(none);
        let bound = |part, sign: &str| {
            let bound = measure.part(part)?;
            Some(format!("{sign} {}", measure.unit.write(bound)))
        };
        grid.push([
            measure.system.clone(),
            measure.case.clone(),
            measure.metric.clone(),
            measure.text(),
            between(Part::Q1, Part::Q3),
            between(Part::Low, Part::High),
            between(Part::Min, Part::Max),
            measure.part(Part::Pairs).map_or_else(none, crate::unit::short),
            bound(Part::AtMost, "≤").or_else(|| bound(Part::AtLeast, "≥")).unwrap_or_else(none),
        ]);
    }
    grid.without_empty_columns()
}

/// A figure by itself: neither a ratio to a peer, nor a difference, nor a bound.
fn is_plain(measure: &Measure, dimension: Dimension) -> bool {
    let is_compared =
        [" / ", " beyond ", " above "].iter().any(|word| measure.metric.contains(word));
    measure.unit.dimension == dimension && !is_compared
}
