//! More and more workers: what all of them have together, what one has, what one more adds.

use std::error::Error;

use amphi_benches::{Memory, Tally};

use super::TASKS;
use super::systems::{Census, System};

/// What `--case` calls this part.
pub(crate) const CASE: &str = "workers";

/// When the memory is read; nothing runs then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Each worker has run one task that does nothing.
    Started,
    /// Each worker has run [`TASKS`] at least.
    Worked,
}

impl Moment {
    pub(crate) const ALL: [Self; 2] = [Self::Started, Self::Worked];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Worked => "worked",
        }
    }

    /// The case of so many workers.
    pub(crate) fn case(self, workers: usize) -> String {
        format!("{workers} {CASE}, {}", self.name())
    }

    /// The case of the slopes.
    pub(crate) fn slope_case(self) -> String {
        format!("each further of the {CASE}, {}", self.name())
    }
}

/// A figure of [`Memory`]: of everybody together, of one worker (their mean), and of the worker
/// that has most.
pub(crate) struct Figure {
    pub(crate) all: &'static str,
    pub(crate) worker: &'static str,
    pub(crate) largest: &'static str,
    of: fn(&Memory) -> u64,
}

macro_rules! figure {
    ($field:ident) => {
        Figure {
            all: stringify!($field),
            worker: concat!("worker ", stringify!($field)),
            largest: concat!("largest worker ", stringify!($field)),
            of: |memory| memory.$field,
        }
    };
}

pub(crate) const RSS: Figure = figure!(rss);
pub(crate) const PSS: Figure = figure!(pss);
pub(crate) const USS: Figure = figure!(uss);
pub(crate) const PRIVATE_DIRTY: Figure = figure!(private_dirty);
pub(crate) const SHMEM: Figure = figure!(shmem);
pub(crate) const SHMEM_PSS: Figure = figure!(shmem_pss);
pub(crate) const PAGE_TABLES: Figure = figure!(page_tables);

pub(crate) const FIGURES: [Figure; 7] =
    [RSS, PSS, USS, PRIVATE_DIRTY, SHMEM, SHMEM_PSS, PAGE_TABLES];

/// One fresh host, at both moments.
pub(crate) fn measure(
    system: &System,
    workers: usize,
    round: usize,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let mut host = system.start(workers, 0)?;
    host.wake_all()?;
    note(system, &Moment::Started.case(workers), round, &host.census()?, tally);
    let tasks = host.tell(&format!("work {TASKS}"))?;
    let case = Moment::Worked.case(workers);
    note(system, &case, round, &host.census()?, tally);
    host.end()?;
    for (metric, count) in ["fewest tasks of a worker", "most tasks of a worker"].iter().zip(tasks)
    {
        tally.add(round, (system.name, &case, metric), count as f64, "tasks");
    }
    Ok(())
}

fn note(system: &System, case: &str, round: usize, census: &Census, tally: &mut Tally) {
    let workers = &census.workers;
    for Figure { all, worker, largest, of } in &FIGURES {
        let mut add = |metric, value| tally.add(round, (system.name, case, metric), value, "KiB");
        add(all, of(&census.all) as f64);
        let each = workers.iter().map(of);
        if let Some(most) = each.clone().max() {
            add(worker, each.sum::<u64>() as f64 / workers.len() as f64);
            add(largest, most as f64);
        }
    }
}

/// Of the round's figures of everybody: what one more worker adds (the slope of the straight line
/// through all counts, by least squares).
pub(crate) fn slopes(system: &System, counts: &[usize], round: usize, tally: &mut Tally) {
    for moment in Moment::ALL {
        for figure in &FIGURES {
            let point = |&workers: &usize| {
                let rounds = tally.rounds(system.name, &moment.case(workers), figure.all);
                Some((workers as f64, (*rounds.get(round)?)?))
            };
            let points: Vec<(f64, f64)> = counts.iter().filter_map(point).collect();
            if let Some(slope) = slope(&points) {
                let key = (system.name, &*moment.slope_case(), figure.all);
                tally.add(round, key, slope, "KiB/worker");
            }
        }
    }
}

/// `None` where all points lie above each other.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let common: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (spread > 0.0).then_some(common / spread)
}
