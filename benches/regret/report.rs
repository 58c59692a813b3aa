//! The tables of a run, and the ratio rows of its JSON file.

use amphi_benches::machine::headline;
use amphi_benches::stats::bootstrap_median;
use amphi_benches::table::{micros, rate, ratio};
use amphi_benches::{Row, Spread, Table, Tally};
use serde_json::{Map, Value};

use super::jobs::{Book, Class};
use super::mix::Recipe;
use super::workloads::Workload;
use super::{BENCH, COLD, Findings, PROCESS, STATIC, THREAD, WARM};

const SYSTEMS: [&str; 5] = [THREAD, PROCESS, WARM, COLD, STATIC];

/// Where the resampling of the intervals begins.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// Whom a system is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The better one of the two fixed modes, round by round.
    BetterFixed,
    /// One system.
    Of(&'static str),
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BetterFixed => "better fixed mode",
            Self::Of(name) => name,
        }
    }
}

/// A ratio over all rounds: its median, with the 95 % interval of that median.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) spread: Spread,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// The cost of `system` over that of `peer`, taken within each round that has both.
    pub(crate) fn of(tally: &Tally, case: &str, system: &str, peer: Peer) -> Option<Self> {
        let metric = if tally.rounds(system, case, "p99").is_empty() { "wall" } else { "p99" };
        let of = |system| tally.rounds(system, case, metric);
        let others: Vec<Option<f64>> = match peer {
            Peer::Of(name) => of(name).to_vec(),
            Peer::BetterFixed => {
                let pairs = of(THREAD).iter().zip(of(PROCESS));
                pairs
                    .map(|(thread, process)| Some(thread.as_ref()?.min(*process.as_ref()?)))
                    .collect()
            }
        };
        let pairs = of(system).iter().zip(&others);
        let ratios: Vec<f64> =
            pairs.filter_map(|(own, other)| Some(own.as_ref()? / other.as_ref()?)).collect();
        let spread = Spread::of(&ratios)?;
        let (low, high) = bootstrap_median(&ratios, SEED)?;
        Some(Self { spread, low, high })
    }

    pub(crate) fn cell(&self) -> String {
        format!("{} [{}, {}]", ratio(self.spread.median), ratio(self.low), ratio(self.high))
    }
}

/// The comparisons that are printed of each workload, where both sides were measured.
const COMPARISONS: [(&str, Peer); 4] = [
    (WARM, Peer::BetterFixed),
    (COLD, Peer::BetterFixed),
    (WARM, Peer::Of(THREAD)),
    (WARM, Peer::Of(STATIC)),
];

/// Prints every table on standard output.
pub(crate) fn print(findings: &Findings, book: &Book, machine: &Map<String, Value>) {
    let Findings { tally, workloads, .. } = findings;
    println!("\n{}", headline(BENCH, machine));
    recipes(findings, book);
    systems("Cost of a slice: ms; of bursty the p99 of a task in ms", tally, workloads, cost);
    systems("Rate: tasks/s", tally, workloads, |tally, name, workload| {
        let median = tally.spread(name, workload.name, "rate")?.median;
        Some(if median < 1e3 { format!("{median:.0}") } else { rate(median) })
    });
    systems("CPU time of all processes, µs a task", tally, workloads, |tally, name, workload| {
        tally.spread(name, workload.name, "cpu").map(|spread| micros(spread.median))
    });
    ratios(tally, workloads);
    losses(tally, workloads);
    println!("\nWhat each warm engine says at the end");
    for (name, lines) in &findings.decisions {
        println!("\n{name}");
        lines.iter().for_each(|line| println!("  {line}"));
    }
}

/// How the mixes are made, and where the best static placement puts their classes.
fn recipes(findings: &Findings, book: &Book) {
    let mut table = Table::new(
        ["Class", "one task, µs", "share of the mix", "best static"]
            .into_iter()
            .chain(findings.recipes.iter().map(|recipe| recipe.name)),
    );
    for class in Class::ALL {
        let percent = Recipe::percent(class);
        let place = findings.best.as_ref().filter(|_| percent > 0);
        let none = || "–".to_owned();
        let fixed = [
            class.name().to_owned(),
            micros(book.time(class).as_secs_f64() * 1e9),
            if percent > 0 { format!("{percent} %") } else { none() },
            place.map_or_else(none, |best| best.place(class).to_string()),
        ];
        let counts = findings.recipes.iter().map(|recipe| {
            let found = recipe.counts.iter().find(|(other, _)| *other == class);
            found.map_or_else(none, |(_, count)| count.to_string())
        });
        table.push(fixed.into_iter().chain(counts));
    }
    print!("\nThe classes, and the tasks of each in a slice of a mix\n\n{table}");
}

fn cost(tally: &Tally, name: &str, workload: &Workload) -> Option<String> {
    let ms = tally.spread(name, workload.name, workload.metric())?.median / 1e6;
    Some(if ms < 100.0 { format!("{ms:.2}") } else { format!("{ms:.0}") })
}

/// One table: a line for each workload, a column for each system; medians over rounds.
fn systems(
    title: &str,
    tally: &Tally,
    workloads: &[Workload],
    cell: impl Fn(&Tally, &str, &Workload) -> Option<String>,
) {
    let mut table = Table::new(["Workload", "tasks a slice"].into_iter().chain(SYSTEMS));
    for workload in workloads {
        let cells: Vec<_> = SYSTEMS.iter().map(|name| cell(tally, name, workload)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
            let first = [workload.name.to_owned(), workload.count.to_string()];
            table.push(first.into_iter().chain(cells));
        }
    }
    print!("\n{title}\n\n{table}");
}

fn ratios(tally: &Tally, workloads: &[Workload]) {
    let head = COMPARISONS.map(|(system, peer)| format!("{system} / {}", peer.name()));
    let mut table = Table::new(std::iter::once("Workload".to_owned()).chain(head));
    for workload in workloads {
        let cells = COMPARISONS.map(|(system, peer)| {
            let found = Ratio::of(tally, workload.name, system, peer);
            found.map_or_else(|| "–".to_owned(), |ratio| ratio.cell())
        });
        table.push(std::iter::once(workload.name.to_owned()).chain(cells));
    }
    print!(
        "\nCost against cost, less is better: median over rounds of the ratio within a round, \
         [95 % interval of the median]\n\n{table}"
    );
}

/// How many tasks had no answer in all rounds together: of `crash` those that aborted.
pub(crate) fn lost(tally: &Tally, case: &str, system: &str) -> f64 {
    tally.rounds(system, case, "lost").iter().flatten().sum()
}

fn losses(tally: &Tally, workloads: &[Workload]) {
    println!("\nTasks without an answer, all rounds together: only `crash` may have some");
    for workload in workloads {
        for name in SYSTEMS {
            let lost = lost(tally, workload.name, name);
            if lost > 0.0 {
                let tasks = workload.count * tally.rounds(name, workload.name, "lost").len();
                println!("  {}, {name}: {lost} of {tasks}", workload.name);
            }
        }
    }
}

/// Every comparison: metric `cost / PEER`, with the ends of its interval and of its rounds.
pub(crate) fn ratio_rows(findings: &Findings) -> Vec<Row> {
    let mut rows = Vec::new();
    for workload in &findings.workloads {
        for (system, peer) in COMPARISONS {
            let found = Ratio::of(&findings.tally, workload.name, system, peer);
            let Some(Ratio { spread, low, high }) = found else { continue };
            for (suffix, value, unit) in [
                ("", spread.median, "ratio"),
                (" low", low, "ratio"),
                (" high", high, "ratio"),
                (" min", spread.min, "ratio"),
                (" max", spread.max, "ratio"),
                (" pairs", spread.count as f64, "count"),
            ] {
                let metric = format!("cost / {}{suffix}", peer.name());
                rows.push(Row::new(BENCH, system, workload.name, &metric, value, unit));
            }
        }
    }
    rows
}
