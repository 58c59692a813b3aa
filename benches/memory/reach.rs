//! The figures that the project set itself as reach, each beside its bound: computed from this
//! run, or said to be missing.

use amphi_benches::{Row, Spread, Table, Tally};

use super::report::kib;
use super::scale::{Moment, SHMEM, USS};
use super::systems::{PRELOADED, PROCESSES};
use super::{BENCH, Plan};

/// One figure of an idle worker, and what it may be, in KiB.
struct Claim {
    moment: Moment,
    what: What,
    bound: f64,
}

#[derive(Clone, Copy)]
enum What {
    Uss,
    SharedMemory,
    /// What a preload of 64 MiB adds to the USS.
    Preload,
}

fn claims() -> impl Iterator<Item = Claim> {
    let of = |(what, bound)| Moment::ALL.map(|moment| Claim { moment, what, bound });
    let kinds = [(What::Uss, 512.0), (What::SharedMemory, 512.0), (What::Preload, 1024.0)];
    kinds.into_iter().flat_map(of)
}

impl Claim {
    fn name(&self) -> String {
        let what = match self.what {
            What::Uss => "USS of a worker",
            What::SharedMemory => "shared memory of a worker",
            What::Preload => "64 MiB preloaded add to the USS of a worker",
        };
        format!("{what}, {}", self.moment.name())
    }

    fn metric(&self) -> &'static str {
        match self.what {
            What::Uss | What::Preload => USS.worker,
            What::SharedMemory => SHMEM.worker,
        }
    }

    /// The number of workers with which it is worst, and its spread over the rounds.
    fn measured(&self, tally: &Tally, plan: &Plan) -> Option<(usize, Spread)> {
        let of = |&count: &usize| {
            let case = self.moment.case(count);
            let rounds = |system| tally.rounds(system, &case, self.metric());
            let figures: Vec<f64> = match self.what {
                What::Preload => {
                    let pairs = rounds(PRELOADED).iter().zip(rounds(PROCESSES));
                    pairs.filter_map(|(with, without)| Some((*with)? - (*without)?)).collect()
                }
                _ => rounds(PROCESSES).iter().copied().flatten().collect(),
            };
            Some((count, Spread::of(&figures)?))
        };
        let found = plan.counts.iter().filter_map(of);
        found.max_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))
    }
}

/// Prints the list.
pub(crate) fn print(tally: &Tally, plan: &Plan) {
    let mut table = Table::new(["Reach", "KiB", "min … max", "workers", "bound", ""]);
    for claim in claims() {
        let Some((count, spread)) = claim.measured(tally, plan) else {
            table.push([claim.name(), "not measured".to_owned()]);
            continue;
        };
        table.push([
            claim.name(),
            kib(spread.median),
            format!("{} … {}", kib(spread.min), kib(spread.max)),
            count.to_string(),
            format!("≤ {}", kib(claim.bound)),
            if spread.median <= claim.bound { "holds" } else { "FAILS" }.to_owned(),
        ]);
    }
    print!(
        "\nReach: {PROCESSES}, with that number of workers where a worker has most; the mean of a \
         host's workers, the median over rounds\n\n{table}"
    );
}

/// The bounds of what was measured, one row each.
pub(crate) fn rows(tally: &Tally, plan: &Plan) -> Vec<Row> {
    let measured = claims().filter_map(|claim| {
        let (count, _) = claim.measured(tally, plan)?;
        Some((claim, count))
    });
    measured
        .map(|(claim, count)| {
            let system = if matches!(claim.what, What::Preload) { PRELOADED } else { PROCESSES };
            let metric = match claim.what {
                What::Preload => format!("bound {} above {PROCESSES}", claim.metric()),
                _ => format!("bound {}", claim.metric()),
            };
            let case = claim.moment.case(count);
            Row::new(BENCH, system, &case, &metric, claim.bound, "at most, KiB")
        })
        .collect()
}
