//! What an engine counts ([`Counters`]), and what people and programs
//! read of it ([`Stats`]).
//!
//! Counting stands in every task's way and costs a few nanoseconds; reading is rare and adds up.
//! A snapshot is taken while others count: its figures may be some tasks apart from each other,
//! but no count ever falls.
//!
//! Reading order: this file, `histogram.rs`, `counters.rs`; `text.rs` and `prometheus.rs` write it
//! out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::policy::{Placement, Why};

pub(crate) use self::counters::Counters;
pub use self::histogram::Distribution;

mod counters;
mod histogram;
#[cfg(feature = "metrics")]
mod prometheus;
#[cfg(test)]
mod tests;
mod text;

/// What an engine has counted since it started, at one moment.
///
/// Print it for people (`{}` is an aligned table), serialise it for programs, or hand it to
/// Prometheus with `Stats::prometheus` (cargo feature `metrics`).
///
/// ```no_run
/// # fn example(stats: amphi::Stats) {
/// use amphi::{Outcome, Placement, Stage};
///
/// println!("{stats}");
/// let thumbnails = stats.job("thumbnail").expect("it is registered");
/// if let Some(place) = thumbnails.place(Placement::Process) {
///     println!("{} crashed", place.tasks(Outcome::Crashed));
///     if let Some(run) = place.stage(Stage::Run) {
///         println!("half of them took less than {} ns", run.p50_ns);
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Cores that the engine keeps busy at most.
    pub cores: u64,
    /// Workers that exist now.
    pub workers: u64,
    /// Tasks that wait for a place now.
    pub queued: u64,
    /// Tasks that run now.
    pub running: u64,
    /// Tasks that were accepted.
    pub accepted: u64,
    /// Each registered job in the order of registration; then the closures together, as `closure`.
    pub jobs: Vec<JobStats>,
    /// Why tasks that might go either way went where they went; only what has happened. Tasks whose
    /// place was given by a need or a wish are not among them.
    pub decisions: Vec<Decided>,
    /// The share of those tasks that went to a place to learn what it costs; 0 to 1.
    pub probe_share: f64,
    /// How often a class of tasks has changed its place.
    pub flips: u64,
    /// Tasks that ran in both places to compare their outcomes (`AMPHI_AUDIT=1`).
    pub audits: u64,
    /// Those of them whose outcomes differed.
    pub audit_mismatches: u64,
}

impl Stats {
    /// What was counted of the job of this name; closures are `closure`.
    ///
    /// ```no_run
    /// # fn example(stats: amphi::Stats) {
    /// let retried = stats.job("thumbnail").map_or(0, |job| job.retried);
    /// # drop(retried) }
    /// ```
    pub fn job(&self, name: &str) -> Option<&JobStats> {
        self.jobs.iter().find(|job| job.name == name)
    }
}

/// What was counted of one job, or of all closures; see [`Stats`] for an example.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct JobStats {
    /// The name it is registered under.
    pub name: &'static str,
    /// How often one of its tasks was run again.
    pub retried: u64,
    /// What was counted in each place; only places where something was.
    pub places: Vec<PlaceStats>,
}

impl JobStats {
    /// What was counted in one place; of tasks that ended before they had one, for
    /// [`Placement::Auto`].
    pub fn place(&self, placement: Placement) -> Option<&PlaceStats> {
        self.places.iter().find(|place| place.placement == placement)
    }
}

/// What was counted of one job in one place; see [`Stats`] for an example.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct PlaceStats {
    /// The place; `Auto`: these tasks ended before they had one.
    #[serde(serialize_with = "as_word")]
    pub placement: Placement,
    /// How many tasks came to what; only what has happened.
    pub tasks: BTreeMap<Outcome, u64>,
    /// How long the parts of a task's way took; only what was measured. Short tasks are not
    /// measured each: one measurement stands for several.
    pub stages: BTreeMap<Stage, Distribution>,
}

impl PlaceStats {
    /// How many tasks came to `outcome`.
    pub fn tasks(&self, outcome: Outcome) -> u64 {
        self.tasks.get(&outcome).copied().unwrap_or(0)
    }

    /// How long `stage` took, where it was measured.
    pub fn stage(&self, stage: Stage) -> Option<&Distribution> {
        self.stages.get(&stage)
    }
}

/// How many tasks went to one place for one reason; see [`Stats::decisions`](field@Stats::decisions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decided {
    /// The reason.
    #[serde(serialize_with = "as_word")]
    pub why: Why,
    /// The place.
    #[serde(serialize_with = "as_word")]
    pub placement: Placement,
    /// The tasks.
    pub tasks: u64,
}

/// A part of a task's way whose time is measured, in the order of that way.
///
/// ```
/// assert_eq!(amphi::Stage::Transport.to_string(), "transport");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// It waits for a place.
    Queue,
    /// Its input is turned into bytes. Not on a thread.
    Encode,
    /// Its bytes are on their way to the worker and back, waking included. Not on a thread.
    Transport,
    /// The job runs; in a worker, its bytes are decoded and encoded there, too.
    Run,
    /// Its output is made from bytes. Not on a thread.
    Decode,
    /// From its outcome until whoever waits for it goes on.
    Wake,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Queue, Self::Encode, Self::Transport, Self::Run, Self::Decode, Self::Wake];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queue => "queue",
            Self::Encode => "encode",
            Self::Transport => "transport",
            Self::Run => "run",
            Self::Decode => "decode",
            Self::Wake => "wake",
        })
    }
}

/// What a task came to: [`TaskError`](crate::TaskError) without what it carries, and `Ok`.
///
/// ```
/// assert_eq!(amphi::Outcome::TimedOut.to_string(), "timed out");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The job returned an output.
    Ok,
    /// The job returned its own error.
    Failed,
    /// The job panicked.
    Panicked,
    /// Its worker ended.
    Crashed,
    /// One of its clocks ran out.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// It was running at several deaths of a worker.
    Poisoned,
    /// It was not accepted, or had no place any more.
    Rejected,
    /// Its input or output could not be coded.
    Codec,
    /// It had started, and nobody can say what it came to.
    Lost,
}

impl Outcome {
    const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failed,
        Self::Panicked,
        Self::Crashed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Poisoned,
        Self::Rejected,
        Self::Codec,
        Self::Lost,
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Poisoned => "poisoned",
            Self::Rejected => "rejected",
            Self::Codec => "codec",
            Self::Lost => "lost",
        })
    }
}

/// A name as programs want it, in one piece.
fn word(name: impl fmt::Display) -> String {
    name.to_string().replace(' ', "_")
}

/// Serialises a vocabulary of other modules by its names.
fn as_word<T: fmt::Display, S: Serializer>(name: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&word(name))
}
