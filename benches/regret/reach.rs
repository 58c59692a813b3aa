//! The figures that the project set itself as reach, each beside its bound: computed from this
//! run, or said to be missing.

use amphi_benches::table::ratio;
use amphi_benches::{Row, Table, Tally};

use super::report::{Peer, Ratio, lost};
use super::{BENCH, STATIC, THREAD, WARM, mix};

/// What the warm engine may cost in a workload, as a ratio.
#[derive(Debug, Clone, Copy)]
struct Claim {
    case: &'static str,
    peer: Peer,
    /// The median is this at most.
    median: f64,
    /// The lower end of its interval is this at most.
    low: Option<f64>,
}

/// On one class there is nothing to win but by choosing right: a tenth for learning and probes.
const fn single(case: &'static str) -> Claim {
    Claim { case, peer: Peer::BetterFixed, median: 1.10, low: Some(1.05) }
}

const CLAIMS: [Claim; 10] = [
    single("tiny"),
    single("hash"),
    single("churn"),
    single("payload"),
    single("faults"),
    single("not_thread_safe"),
    single("bursty"),
    Claim { case: "not_thread_safe", peer: Peer::Of(THREAD), median: 0.6, low: None },
    Claim { case: mix::ALL, peer: Peer::BetterFixed, median: 0.95, low: None },
    Claim { case: mix::ALL, peer: Peer::Of(STATIC), median: 1.10, low: None },
];

impl Claim {
    fn measured(&self, tally: &Tally) -> Option<Ratio> {
        Ratio::of(tally, self.case, WARM, self.peer)
    }

    /// Tasks that were lost were quick, too: they do not count in its favour.
    fn holds(&self, found: &Ratio, tally: &Tally) -> bool {
        let is_low = found.spread.median <= self.median;
        is_low && self.low.is_none_or(|low| found.low <= low) && lost(tally, self.case, WARM) == 0.0
    }

    fn bound(&self) -> String {
        match self.low {
            Some(low) => format!("≤ {}, from ≤ {}", ratio(self.median), ratio(low)),
            None => format!("≤ {}", ratio(self.median)),
        }
    }
}

/// Prints the list.
pub(crate) fn print(tally: &Tally) {
    let mut table = Table::new(["Reach", "median [95 %]", "min … max", "rounds", "bound", ""]);
    for claim in &CLAIMS {
        let what = format!("{}: {WARM} / {}", claim.case, claim.peer.name());
        let Some(found) = claim.measured(tally) else {
            table.push([what, "not measured".to_owned()]);
            continue;
        };
        table.push([
            what,
            found.cell(),
            format!("{} … {}", ratio(found.spread.min), ratio(found.spread.max)),
            found.spread.count.to_string(),
            claim.bound(),
            if claim.holds(&found, tally) { "holds" } else { "FAILS" }.to_owned(),
        ]);
    }
    print!("\nReach: the second bound is one of the interval's lower end\n\n{table}");
}

/// The bounds of what was measured, one row each: metric `bound cost / PEER`.
pub(crate) fn rows(tally: &Tally) -> Vec<Row> {
    let measured = CLAIMS.iter().filter(|claim| claim.measured(tally).is_some());
    measured
        .map(|claim| {
            let metric = format!("bound cost / {}", claim.peer.name());
            Row::new(BENCH, WARM, claim.case, &metric, claim.median, "at most, ratio")
        })
        .collect()
}
