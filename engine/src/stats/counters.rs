//! The counters that stand in every task's way: relaxed additions, no lock, no allocation but the
//! first time.
//!
//! They are held several times over (*stripes*), and a thread always adds to the same stripe:
//! cores that add to one cache line cost each other many times what the addition does (measured,
//! `record` on two cores: 5 to 7 ns with a stripe each, 31 to 42 ns with one for both). Each
//! allocation that is added to is aligned so that it shares no line with another. Memory comes with
//! use: 2.5 KiB for each (stripe, job, place, stage) that was measured.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;

use super::histogram::{Histogram, Total};
use super::{Decided, JobStats, Outcome, PlaceStats, Stage, Stats};
use crate::policy::{Placement, Why};

/// More stripes than these would cost more memory than their time is worth: tasks that are so
/// short that their threads meet here are sampled.
const STRIPES_MAX: usize = 8;

/// The places, each at its [`index`](place_index). Tasks that end before they have a place count
/// at `Auto`.
const PLACES: [Placement; 3] = [Placement::Thread, Placement::Process, Placement::Auto];

const fn place_index(place: Placement) -> usize {
    match place {
        Placement::Thread => 0,
        Placement::Process => 1,
        Placement::Auto => 2,
    }
}

thread_local! {
    /// Which stripe this thread adds to, before the mask; `usize::MAX`: it has not added yet.
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The stripe of the next thread that adds: they take turns.
static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

fn stripe_of_thread() -> usize {
    match STRIPE.get() {
        usize::MAX => {
            let stripe = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES_MAX;
            STRIPE.set(stripe);
            stripe
        }
        stripe => stripe,
    }
}

/// A value that is made, away from its neighbours, when it is first added to.
type Late<T> = OnceLock<Box<CachePadded<T>>>;

/// What is counted of one job.
#[derive(Default)]
struct JobCounts {
    tasks: [[AtomicU64; Outcome::ALL.len()]; PLACES.len()],
    retried: AtomicU64,
    stages: [[Late<Histogram>; Stage::ALL.len()]; PLACES.len()],
}

struct Stripe {
    jobs: Box<[Late<JobCounts>]>,
    decided: [[AtomicU64; PLACES.len()]; Why::ALL.len()],
}

/// What happens too seldom to be striped.
#[derive(Default)]
struct Seldom {
    flips: AtomicU64,
    audits: AtomicU64,
    audit_mismatches: AtomicU64,
}

/// Everything an engine counts.
pub(crate) struct Counters {
    /// Of the jobs by their numbers; the last one is for tasks of none.
    names: Box<[&'static str]>,
    /// A power of two of them.
    stripes: Box<[CachePadded<Stripe>]>,
    seldom: CachePadded<Seldom>,
}

impl Counters {
    /// Counters for jobs of these names, numbered in this order. Any other number counts as
    /// `closure`.
    pub(crate) fn new(mut names: Vec<&'static str>) -> Self {
        // One name, one row: metrics must not have it twice.
        names.push(if names.contains(&"closure") { "(closure)" } else { "closure" });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Two for a core: callers add beside the pool's threads.
        let stripes = cores.saturating_mul(2).min(STRIPES_MAX).next_power_of_two();
        let stripe = |_| {
            let jobs = names.iter().map(|_| OnceLock::new()).collect();
            CachePadded::new(Stripe { jobs, decided: <_>::default() })
        };
        Self {
            stripes: (0..stripes).map(stripe).collect(),
            names: names.into(),
            seldom: CachePadded::default(),
        }
    }

    /// `tasks` of a job took `ns` each for one stage of their way.
    pub(crate) fn record(&self, job: u32, place: Placement, stage: Stage, ns: u64, tasks: u64) {
        let histogram = &self.job(job).stages[place_index(place)][stage as usize];
        histogram.get_or_init(|| late(Histogram::new())).add(ns, tasks);
    }

    /// So many tasks were given a place.
    pub(crate) fn decided(&self, why: Why, place: Placement, tasks: u64) {
        self.stripe().decided[why as usize][place_index(place)].fetch_add(tasks, Ordering::Relaxed);
    }

    /// So many tasks of a job ended; `Auto`: before they had a place.
    pub(crate) fn outcome(&self, job: u32, place: Placement, outcome: Outcome, tasks: u64) {
        self.job(job).tasks[place_index(place)][outcome as usize]
            .fetch_add(tasks, Ordering::Relaxed);
    }

    /// A task of a job is run again.
    pub(crate) fn retried(&self, job: u32) {
        self.job(job).retried.fetch_add(1, Ordering::Relaxed);
    }

    /// A class of tasks has changed its place.
    pub(crate) fn flipped(&self) {
        self.seldom.flips.fetch_add(1, Ordering::Relaxed);
    }

    /// A task ran in both places; `mismatch`: its outcomes differed.
    pub(crate) fn audit(&self, mismatch: bool) {
        self.seldom.audits.fetch_add(1, Ordering::Relaxed);
        if mismatch {
            self.seldom.audit_mismatches.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stripe(&self) -> &Stripe {
        // `Counters::new` makes a power of two of them.
        &self.stripes[stripe_of_thread() & (self.stripes.len() - 1)]
    }

    fn job(&self, job: u32) -> &JobCounts {
        let jobs = &self.stripe().jobs;
        let closures = jobs.len() - 1;
        let job = usize::try_from(job).map_or(closures, |job| job.min(closures));
        jobs[job].get_or_init(|| late(JobCounts::default()))
    }

    /// All of it added up. What is not counted here (`cores`, `workers`, `queued`, `running`,
    /// `accepted`) is 0, for the engine to fill in.
    pub(crate) fn snapshot(&self) -> Stats {
        let decisions = self.decisions();
        let sum = |of: &dyn Fn(&&Decided) -> bool| {
            decisions.iter().filter(of).map(|decided| decided.tasks).sum::<u64>()
        };
        let (all, probes) = (sum(&|_| true), sum(&|decided| decided.why == Why::Probe));
        Stats {
            jobs: (0..self.names.len()).map(|job| self.job_stats(job)).collect(),
            probe_share: if all == 0 { 0.0 } else { probes as f64 / all as f64 },
            decisions,
            flips: self.seldom.flips.load(Ordering::Relaxed),
            audits: self.seldom.audits.load(Ordering::Relaxed),
            audit_mismatches: self.seldom.audit_mismatches.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    fn decisions(&self) -> Vec<Decided> {
        let mut decisions = Vec::new();
        for why in Why::ALL {
            for placement in PLACES {
                let (row, column) = (why as usize, place_index(placement));
                let of = |stripe: &CachePadded<Stripe>| load(&stripe.decided[row][column]);
                let tasks = self.stripes.iter().map(of).sum();
                if tasks > 0 {
                    decisions.push(Decided { why, placement, tasks });
                }
            }
        }
        decisions
    }

    fn job_stats(&self, job: usize) -> JobStats {
        let counts: Vec<&JobCounts> =
            self.stripes.iter().filter_map(|stripe| Some(&***stripe.jobs[job].get()?)).collect();
        let places = PLACES.map(|placement| place_stats(&counts, placement));
        let seen = |place: &PlaceStats| !place.tasks.is_empty() || !place.stages.is_empty();
        JobStats {
            name: self.names[job],
            retried: counts.iter().map(|counts| load(&counts.retried)).sum(),
            places: places.into_iter().filter(seen).collect(),
        }
    }
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters").field("names", &self.names).finish_non_exhaustive()
    }
}

/// One job in one place, added up over the stripes.
fn place_stats(counts: &[&JobCounts], placement: Placement) -> PlaceStats {
    let place = place_index(placement);
    let tasks = Outcome::ALL.into_iter().filter_map(|outcome| {
        let of = |counts: &&JobCounts| load(&counts.tasks[place][outcome as usize]);
        let tasks = counts.iter().map(of).sum();
        (tasks > 0).then_some((outcome, tasks))
    });
    let stages = Stage::ALL.into_iter().filter_map(|stage| {
        let mut total = Total::new();
        for counts in counts {
            if let Some(histogram) = counts.stages[place][stage as usize].get() {
                total.add(histogram);
            }
        }
        Some((stage, total.distribution()?))
    });
    PlaceStats { placement, tasks: tasks.collect(), stages: stages.collect() }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Out of the way of what usually happens.
#[cold]
fn late<T>(value: T) -> Box<CachePadded<T>> {
    Box::new(CachePadded::new(value))
}
