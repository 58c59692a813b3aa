//! The account of one class: what it has cost in either place, and when to look at the other one.
//!
//! # Invariants
//! 1. Every number in it is finite, whatever it is told: samples are clamped first.
//! 2. Probes cost at most `probe_share` of the class's core time, `probe_ns`, and one cohort more
//!    than the class would have cost without.
//! 3. More bytes never make a process look cheaper: they appear in its cost alone, with a factor
//!    that is not negative.

use super::adaptive::Tuning;
use super::{Costs, Decision, Estimate, Placement, Ran, Why};

/// A sample that is this many times the typical one, or such a fraction of it, surprises, unless
/// the class varies as much.
const SURPRISE: f64 = 4.0;
/// The weight of the newest sample, at least, of a class that varies little: about so many samples
/// are remembered.
const WINDOW: f64 = 32.0;
/// From this variance of the logarithm on (a deviation of half the typical time) more is
/// remembered: in proportion to it, at most so much more.
const VARIANCE_USUAL: f64 = 0.25;
const WINDOW_FACTOR_MAX: f64 = 16.0;
/// So many of the last 32 samples surprise: this is another class than it was.
const SURPRISES_MAX: u32 = 16;

/// Samples of dispatch that are trusted more than the machine's costs.
const OVERS_MIN: u64 = 4;
/// About so many samples of dispatch are remembered. One is what several tasks shared of the time
/// between two harvests, and says little by itself (measured: 5 µs on average, a deviation of 35).
const OVERS_WINDOW: f64 = 256.0;
/// So many tasks after a change of place meet lanes that are cold: the cores still go from threads
/// to lanes (measured, 110 µs tasks on two cores: 50 µs each for the first 16, 30 up to the 64th, 11
/// after the 256th).
const COLD: u32 = 64;
/// About so many probes, and what dispatch once cost is forgotten.
const OVER_FORGOTTEN: f64 = 64.0;
/// A sample of dispatch counts for so many times the service time at most.
const OVER_MAX: f64 = 4.0;

/// Log service times of one place.
#[derive(Debug, Clone, Copy, Default)]
struct Series {
    /// Samples that count.
    count: u64,
    /// Samples in all; the first is not like the others (cold caches, fresh pages) and dropped.
    seen: u64,
    /// Mean of the logarithms, exponentially smoothed.
    mean: f64,
    /// Mean of the squared deviations from it, likewise.
    variance: f64,
}

impl Series {
    fn add(&mut self, ln: f64) {
        self.seen += 1;
        if self.seen == 1 {
            return;
        }
        self.count += 1;
        let weight = 1.0 / self.window().min(self.count as f64);
        let deviation = ln - self.mean;
        self.mean += weight * deviation;
        self.variance = (1.0 - weight) * (self.variance + weight * deviation * deviation);
    }

    /// About how many samples the mean remembers.
    fn window(&self) -> f64 {
        WINDOW * (self.variance / VARIANCE_USUAL).clamp(1.0, WINDOW_FACTOR_MAX)
    }

    /// The squared standard error of the mean.
    fn error(&self) -> f64 {
        self.variance / (self.count as f64).clamp(1.0, 2.0 * self.window())
    }

    /// A typical service time in ns.
    fn typical(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.mean + (self.variance / 2.0).min(1.0)).exp())
    }
}

/// What dispatch through a worker has cost, in ns.
#[derive(Debug, Clone, Copy, Default)]
struct Overs {
    count: u64,
    mean: f64,
    variance: f64,
}

impl Overs {
    fn add(&mut self, ns: f64) {
        self.count += 1;
        let weight = 1.0 / OVERS_WINDOW.min(self.count as f64);
        let deviation = ns - self.mean;
        self.mean += weight * deviation;
        self.variance = (1.0 - weight) * (self.variance + weight * deviation * deviation);
    }

    /// The standard error of the mean.
    fn error(&self) -> f64 {
        (self.variance / (self.count as f64).clamp(1.0, 2.0 * OVERS_WINDOW)).sqrt()
    }
}

/// A mean of the latest values; the first one counts whole.
fn smooth(mean: &mut f64, value: f64, before: u64) {
    *mean += (value - *mean) / (before + 1).min(16) as f64;
}

/// See the module.
#[derive(Debug)]
pub(super) struct Account {
    thread: Series,
    process: Series,
    /// Where tasks go.
    place: Placement,
    /// Comparisons in a row that spoke for the other place.
    streak: u32,
    /// Tasks until the next probe, and the gap after it.
    until_probe: u32,
    gap: u32,
    /// What dispatch through a worker has cost.
    overs: Overs,
    since_flip: u32,
    /// Smoothed bytes in and out of a task.
    bytes_in: f64,
    bytes_out: f64,
    /// What the class's tasks have cost, and what probes have cost more than that, in ns.
    core_ns: f64,
    spent_ns: f64,
    /// Which of the last 32 samples surprised, newest lowest.
    surprises: u32,
    since_flush: u32,
    flips: u32,
    /// When it was last asked for.
    pub(super) seen: u64,
}

impl Account {
    pub(super) fn new(tuning: &Tuning) -> Self {
        Self {
            thread: Series::default(),
            process: Series::default(),
            place: Placement::Thread,
            streak: 0,
            // The first sample here is dropped, too.
            until_probe: tuning.gap.0 + 1,
            gap: tuning.gap.0,
            overs: Overs::default(),
            since_flip: 0,
            bytes_in: 0.0,
            bytes_out: 0.0,
            core_ns: 0.0,
            spent_ns: 0.0,
            surprises: 0,
            since_flush: 0,
            flips: 0,
            seen: 0,
        }
    }

    /// Where the next tasks go.
    pub(super) fn decide(&mut self, costs: &Costs, tuning: &Tuning, may_probe: bool) -> Decision {
        let mut probes = 0;
        if self.until_probe == 0 {
            if may_probe && self.is_worth_a_probe(costs, tuning) {
                // The first sample of a place is dropped: the first cohort is one longer.
                let there =
                    if self.place == Placement::Process { &self.thread } else { &self.process };
                probes = tuning.cohort + u32::from(there.seen == 0);
                self.gap = (2 * self.gap).clamp(tuning.gap.0, tuning.gap.1);
                self.until_probe = self.gap;
            } else {
                self.until_probe = tuning.gap.0.max(self.gap.min(tuning.tasks));
            }
        }
        let stay = self.until_probe.min(tuning.tasks).max(1);
        self.until_probe = self.until_probe.saturating_sub(stay);
        let known = self.thread.count.min(self.process.count) >= tuning.samples_min;
        Decision {
            placement: self.place,
            why: if known { Why::Cost } else { Why::Start },
            probes,
            tasks: probes + stay,
            estimate: Some(self.estimate(costs)),
        }
    }

    /// What dispatch through a worker costs: as measured of this class, else by the machine's
    /// costs. Never less than with empty jobs and no bytes.
    fn process_over(&self, costs: &Costs) -> f64 {
        if self.overs.count >= OVERS_MIN {
            return self.overs.mean.max(costs.process_ns);
        }
        self.least_over(costs)
    }

    /// What it costs at least.
    fn least_over(&self, costs: &Costs) -> f64 {
        costs.process_ns + costs.bytes_ns(self.bytes_in) + costs.bytes_ns(self.bytes_out)
    }

    /// What a task of the place where they go costs typically.
    fn typical(&self) -> Option<f64> {
        match self.place {
            Placement::Process => self.process.typical(),
            _ => self.thread.typical(),
        }
    }

    /// A probe must teach something and be affordable. Tasks that are tiny beside the way to a
    /// worker never look there.
    fn is_worth_a_probe(&self, costs: &Costs, tuning: &Tuning) -> bool {
        let Some(here) = self.typical() else { return false };
        let extra = if self.place == Placement::Process {
            0.25 * here
        } else {
            // What dispatch once cost, on a machine that had other work, is no reason not to look.
            let over = (self.least_over(costs) - costs.thread_ns).max(0.0);
            if over > 0.5 * here {
                return false;
            }
            match self.process.typical() {
                Some(there) if self.process.count >= tuning.samples_min => {
                    (over + there - here).max(0.0)
                }
                _ => over,
            }
        };
        let budget = tuning.probe_share * self.core_ns + tuning.probe_ns;
        self.spent_ns + f64::from(tuning.cohort) * extra <= budget
    }

    /// Notes a sample and compares; true: tasks go to the other place from now on.
    pub(super) fn observe(&mut self, ran: &Ran, costs: &Costs, tuning: &Tuning) -> bool {
        let clamp = |value: f64, least: f64| {
            if value.is_finite() { value.clamp(least, 1e18) } else { least }
        };
        let (service, tasks) = (clamp(ran.service_ns, 1.0), clamp(ran.tasks, 1.0).min(1e9));
        let on_thread = ran.placement != Placement::Process;
        smooth(&mut self.bytes_in, clamp(ran.bytes_in, 0.0), self.thread.seen + self.process.seen);
        if !on_thread {
            smooth(&mut self.bytes_out, clamp(ran.bytes_out, 0.0), self.process.seen);
            self.note_over(ran.over_ns, service, costs);
        }
        let over = if on_thread { costs.thread_ns } else { self.process_over(costs) };
        self.core_ns = (self.core_ns + (service + over) * tasks).min(1e18);
        let is_probe = on_thread != (self.place == Placement::Thread);
        if is_probe && let Some(here) = self.typical() {
            let here_over = if on_thread { self.process_over(costs) } else { costs.thread_ns };
            // What was cheaper pays for what was not: service times have heavy tails.
            let extra = service + over - here - here_over;
            self.spent_ns = (self.spent_ns + extra * tasks).clamp(0.0, 1e18);
        }
        self.note(on_thread, service.ln());
        self.compare(costs, tuning)
    }

    /// What dispatch costs is learnt while tasks go to workers: those of a probe meet a lane that
    /// is cold. It is remembered when they no longer do, and slowly forgotten.
    fn note_over(&mut self, over_ns: Option<f64>, service: f64, costs: &Costs) {
        if self.place != Placement::Process {
            self.overs.mean += (self.least_over(costs) - self.overs.mean) / OVER_FORGOTTEN;
            return;
        }
        let Some(over) = over_ns.filter(|over| over.is_finite()) else { return };
        self.since_flip = self.since_flip.saturating_add(1);
        if self.since_flip > COLD {
            // One preemption must not hide hundreds of others.
            let bound = OVER_MAX * service.max(costs.process_ns);
            self.overs.add(over.clamp(-bound, bound));
        }
    }

    /// A class whose samples are no longer like what is known of it begins anew.
    fn note(&mut self, on_thread: bool, ln: f64) {
        let series = if on_thread { &mut self.thread } else { &mut self.process };
        // A class of widely different tasks is used to deviations.
        let usual = SURPRISE.ln().max(2.0 * series.variance.sqrt());
        let surprising = series.count >= 4 && (ln - series.mean).abs() > usual;
        series.add(ln);
        self.surprises = self.surprises << 1 | u32::from(surprising);
        self.since_flush = self.since_flush.saturating_add(1);
        if self.since_flush >= 32 && self.surprises.count_ones() > SURPRISES_MAX {
            (self.thread, self.process) = (Series::default(), Series::default());
            (self.surprises, self.since_flush, self.streak) = (0, 0, 0);
            (self.until_probe, self.gap) = (0, 0);
        }
    }

    /// Whether the other place is cheaper, although everything within one standard error is
    /// granted to this one.
    fn compare(&mut self, costs: &Costs, tuning: &Tuning) -> bool {
        let known = self.thread.count.min(self.process.count) >= tuning.samples_min;
        let Some(service) = self.thread.typical().filter(|_| known) else { return false };
        let ratio = self.process.mean - self.thread.mean;
        let error = (self.thread.error() + self.process.error()).sqrt();
        let thread = costs.thread_ns + service;
        let over = self.process_over(costs);
        let keep = 1.0 - tuning.margin;
        let is_cheaper = match self.place {
            Placement::Process => {
                let least = (over - self.overs.error()).max(costs.process_ns);
                thread < keep * (least + service * (ratio - error).exp())
            }
            _ => over + service * (ratio + error).exp() < keep * thread,
        };
        self.streak = if is_cheaper { self.streak + 1 } else { 0 };
        if self.streak < tuning.streak {
            return false;
        }
        self.place = match self.place {
            Placement::Process => Placement::Thread,
            _ => Placement::Process,
        };
        self.flips = self.flips.saturating_add(1);
        self.since_flip = 0;
        (self.streak, self.until_probe, self.gap) = (0, tuning.gap.0, tuning.gap.0);
        true
    }

    pub(super) fn estimate(&self, costs: &Costs) -> Estimate {
        Estimate {
            thread_ns: self.thread.typical(),
            process_ns: self.process.typical(),
            thread_over_ns: costs.thread_ns,
            process_over_ns: self.process_over(costs),
            samples: (self.thread.seen, self.process.seen),
            flips: self.flips,
            probe_share: if self.core_ns > 0.0 { self.spent_ns / self.core_ns } else { 0.0 },
        }
    }
}
