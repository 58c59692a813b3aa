//! Why tasks run where they do, for people.

use std::fmt;

use super::{Engine, Shared};
use crate::job::Job;
use crate::policy::{Class, Estimate, Placement, Why};
use crate::task::Core;

/// Where the tasks of one class go now, and why: see [`Engine::explain`].
///
/// Its `Display` is one line: `checksum/64 KiB → process (cost): thread 1.31 ms + 200 ns, process
/// 920 µs + 14.0 µs; 412/96 samples`. That is the job with the longest input of the class, the place
/// and why; for each place the typical service time, and what dispatch and bytes cost beside it; the
/// samples of threads and of processes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The job's name.
    pub job: &'static str,
    /// The class: about how long its inputs are.
    pub class: Class,
    /// Where its tasks go, probes aside.
    pub placement: Placement,
    /// Why.
    pub why: Why,
    /// What that is based on; `None` where the policy keeps no account.
    pub estimate: Option<Estimate>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} → {} ({})", self.job, Size(self.class), self.placement, self.why)?;
        match &self.estimate {
            Some(estimate) => write!(f, ": {estimate}"),
            None => Ok(()),
        }
    }
}

/// The longest input of a class, for people.
struct Size(Class);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.bytes_to().saturating_add(1);
        let (value, unit) = match bytes.ilog2() {
            0..10 => (bytes, "B"),
            10..20 => (bytes >> 10, "KiB"),
            20..30 => (bytes >> 20, "MiB"),
            30..40 => (bytes >> 30, "GiB"),
            _ => (bytes >> 40, "TiB"),
        };
        write!(f, "{value} {unit}")
    }
}

impl Engine {
    /// Where the tasks of job `J` go now and why, class by class, shortest inputs first. Empty
    /// before the first task that may go either way, and where the engine's or the job's
    /// [`place`](crate::Spec::place) leaves nothing open. While the job stays in processes after a
    /// crash, that is the reason of each.
    ///
    /// ```no_run
    /// # fn example<J: amphi::Job>(engine: amphi::Engine) {
    /// for class in engine.explain::<J>() {
    ///     println!("{class}");
    /// }
    /// # }
    /// ```
    pub fn explain<J: Job>(&self) -> Vec<Explanation> {
        self.shared.home.table.index_of::<J>().map_or_else(Vec::new, |job| self.shared.classes(job))
    }

    /// The same for every job and function of the app that has had tasks which may go either way, in
    /// the order of registration.
    ///
    /// ```no_run
    /// # fn example(engine: amphi::Engine) {
    /// engine.explain_all().iter().for_each(|class| eprintln!("{class}"));
    /// # }
    /// ```
    pub fn explain_all(&self) -> Vec<Explanation> {
        let jobs = 0..u32::try_from(self.shared.home.table.len()).unwrap_or(u32::MAX);
        jobs.flat_map(|job| self.shared.classes(job)).collect()
    }
}

impl Shared {
    fn classes(&self, job: u32) -> Vec<Explanation> {
        let Some(name) = self.home.table.entry(job).map(|entry| entry.name) else {
            return Vec::new();
        };
        let classes = self.scheduler.classes(job).into_iter();
        classes
            .map(|(class, placement, why)| {
                if self.scheduler.keeps_off_threads(job) {
                    let (placement, why) = (Placement::Process, Why::Crashes);
                    return Explanation { job: name, class, placement, why, estimate: None };
                }
                let estimate = self.scheduler.estimate(class);
                Explanation { job: name, class, placement, why, estimate }
            })
            .collect()
    }

    /// One task's line.
    pub(super) fn explain_task(&self, core: &Core) -> String {
        let (name, why) = (core.plan.name, core.why());
        if !core.is_auto() {
            let (placement, rule) = (core.plan.route.placement, core.plan.route.rule);
            let waiting = if core.placement().is_none() { " (waiting)" } else { "" };
            return format!("{name} → {placement}{waiting}: {rule}");
        }
        let Some(placement) = core.placement() else {
            return format!("{name}/{} → thread or process (waiting)", Size(core.plan.class));
        };
        let estimate = match why {
            Why::Cost | Why::Start | Why::Probe => self.scheduler.estimate(core.plan.class),
            _ => None,
        };
        Explanation { job: name, class: core.plan.class, placement, why, estimate }.to_string()
    }
}
