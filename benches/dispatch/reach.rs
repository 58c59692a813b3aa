//! The figures that the project set itself as reach, each beside its bound: computed from this
//! run, or said to be missing.

use amphi_benches::table::{micros, ratio};
use amphi_benches::{Bound, Row, Spread, Table, Tally};

use crate::BENCH;
use crate::case::Case;
use crate::pools::{
    AMPHI_PROCESSES, AMPHI_THREADS, bare_injector, ipc_echo, procspawn_pool, rayon_spawn,
    tokio_blocking,
};
use crate::systems::{AMPHI_RUN, bare_lane};

/// One figure of the list: absolute, in the unit of its metric, without a peer, else a ratio.
#[derive(Debug, Clone, Copy)]
struct Claim {
    subject: &'static str,
    case: Case,
    metric: &'static str,
    peer: Option<&'static str>,
    bound: Bound,
}

/// A claim on the figure by which systems are compared in this case.
const fn claim(
    subject: &'static str,
    case: Case,
    peer: Option<&'static str>,
    bound: Bound,
) -> Claim {
    let metric = if matches!(case, Case::Pipelined) { "rate" } else { "p50" };
    Claim { subject, case, metric, peer, bound }
}

const fn of(metric: &'static str, claim: Claim) -> Claim {
    Claim { metric, ..claim }
}

const OPEN: Case = Case::Open(1_000);
const BARE: Option<&str> = Some(bare_lane::SPIN);
const RAYON: Option<&str> = Some(rayon_spawn::NAME);

const CLAIMS: [Claim; 22] = [
    claim(AMPHI_PROCESSES, Case::HotWord, None, Bound::AtMost(1_000.0)),
    claim(AMPHI_PROCESSES, Case::HotWord, BARE, Bound::AtMost(8.0)),
    claim(AMPHI_PROCESSES, Case::HotWord, Some(tokio_blocking::NAME), Bound::AtMost(1.0)),
    of("syscalls", claim(AMPHI_PROCESSES, Case::HotWord, None, Bound::AtMost(0.01))),
    of("faults", claim(AMPHI_PROCESSES, Case::HotWord, None, Bound::AtMost(0.01))),
    claim(AMPHI_PROCESSES, Case::Parked, BARE, Bound::AtMost(1.5)),
    claim(AMPHI_PROCESSES, Case::Parked, Some(bare_lane::PARK), Bound::AtMost(1.3)),
    claim(AMPHI_PROCESSES, Case::Parked, RAYON, Bound::None),
    claim(AMPHI_PROCESSES, Case::Parked, Some(tokio_blocking::NAME), Bound::None),
    claim(AMPHI_PROCESSES, Case::Parked, Some(procspawn_pool::NAME), Bound::None),
    claim(AMPHI_PROCESSES, Case::Parked, Some(ipc_echo::NAME), Bound::None),
    claim(AMPHI_PROCESSES, Case::Pipelined, RAYON, Bound::AtLeast(1.0)),
    of("faults", claim(AMPHI_PROCESSES, Case::Pipelined, None, Bound::AtMost(0.01))),
    of("round_p99", claim(AMPHI_PROCESSES, OPEN, Some(AMPHI_THREADS), Bound::AtMost(1.5))),
    of("cpu", claim(AMPHI_PROCESSES, OPEN, Some(AMPHI_THREADS), Bound::AtMost(1.5))),
    claim(AMPHI_RUN, Case::HotWord, None, Bound::AtMost(300.0)),
    claim(AMPHI_THREADS, Case::HotWord, None, Bound::AtMost(1_000.0)),
    of("syscalls", claim(AMPHI_THREADS, Case::HotWord, None, Bound::AtMost(0.01))),
    claim(AMPHI_THREADS, Case::Parked, RAYON, Bound::AtMost(1.0)),
    claim(AMPHI_THREADS, Case::Pipelined, RAYON, Bound::AtLeast(1.0)),
    claim(AMPHI_THREADS, Case::Pipelined, Some(bare_injector::NAME), Bound::None),
    claim(AMPHI_THREADS, Case::Pipelined, Some(tokio_blocking::NAME), Bound::None),
];

impl Claim {
    fn measured(&self, tally: &Tally) -> Option<Spread> {
        let figure = |system| (system, self.case.name(), self.metric);
        match self.peer {
            Some(peer) => tally.ratio(figure(self.subject), figure(peer)),
            None => tally.spread(self.subject, self.case.name(), self.metric),
        }
    }

    fn text(&self, value: f64) -> String {
        match (self.peer, self.metric) {
            (None, "p50") => format!("{} µs", micros(value)),
            (None, _) => format!("{value:.3}"),
            (Some(_), _) => ratio(value),
        }
    }

    fn metric(&self) -> String {
        match self.peer {
            Some(peer) => format!("{} / {peer}", self.metric),
            None => self.metric.to_owned(),
        }
    }
}

/// Prints the list.
pub(crate) fn print(tally: &Tally) {
    let head = ["Reach", "median", "quartiles", "min … max", "bound", ""];
    let mut table = Table::new(head);
    let mut missing = 0;
    for claim in CLAIMS {
        let what = format!("{}, {}: {}", claim.subject, claim.case.name(), claim.metric());
        let Some(spread) = claim.measured(tally) else {
            missing += 1;
            continue;
        };
        table.push([
            what,
            claim.text(spread.median),
            format!("{} – {}", claim.text(spread.q1), claim.text(spread.q3)),
            format!("{} … {}", claim.text(spread.min), claim.text(spread.max)),
            claim.bound.text(|value| claim.text(value)),
            claim.bound.verdict(spread.median).to_owned(),
        ]);
    }
    if !table.is_empty() {
        print!("\nReach: medians over rounds; a ratio is taken within each round\n\n{table}");
    }
    if missing > 0 {
        println!("\nReach: {missing} of {} figures were not measured in this run", CLAIMS.len());
    }
}

/// The bounds of what was measured, one row each: metric `bound METRIC`, unit `at most …` or
/// `at least …`.
pub(crate) fn rows(tally: &Tally) -> Vec<Row> {
    let mut rows = Vec::new();
    for claim in CLAIMS.iter().filter(|claim| claim.measured(tally).is_some()) {
        let Some((value, way)) = claim.bound.row() else { continue };
        let unit = match (claim.peer, claim.metric) {
            (Some(_), _) => "ratio",
            (None, "p50") => "ns",
            (None, _) => "a task",
        };
        let unit = format!("{way}, {unit}");
        let metric = format!("bound {}", claim.metric());
        rows.push(Row::new(BENCH, claim.subject, claim.case.name(), &metric, value, &unit));
    }
    rows
}
