//! What an engine knows of its policy: the decisions that were given and not used up, and the
//! policy behind them. Threads and lanes ask it at the moment when a core is free for a task.
//!
//! # Invariants
//! 1. A decision is for a number of tasks, and no task uses it that was not counted off. A thread
//!    counts off several at once; what it does not use it forgets.
//! 2. The policy is asked by one thread at a time; one that panics or gives no sound answer is
//!    replaced by [`Adaptive`] before anybody sees its answer.
//! 3. Without a free decision nobody waits longer than one call of `decide`.
//!
//! # Ordering
//! The words are Relaxed: a decision is its own word and guards nothing. A task that counts itself
//! off a decision that is void a moment later has used the older one. The count of changes is told
//! by Release and read by Acquire, so that nothing of an older word is kept under the new count.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use self::crashes::Crashes;
use self::drain::Drain;
pub(crate) use self::ends::Ends;
pub(crate) use self::foreign::assert_outside;
pub use self::probe::Overhead;
use crate::policy::{Adaptive, Class, Decision, Estimate, Event, Placement, Policy, Ran, Why};
use crate::stats::{Counters, Stage};
use crate::sys::clock;
use crate::task::{Core, Settled};

mod crashes;
mod drain;
mod ends;
mod foreign;
mod looks;
mod probe;

/// Tasks shorter than this are not measured each.
const SHORT_NS: u64 = 20_000;
/// But one in so many.
const SAMPLE: u32 = 16;

/// A thread counts off so many tasks of a class at once, so that threads do not fight for its word
/// (measured, 2 µs tasks on two threads and their submitter: 160 ns a task beside a fixed place).
const TAKEN: u64 = 16;

thread_local! {
    static TICKS: Cell<u32> = const { Cell::new(0) };
    /// What this thread has counted off and not used.
    static STASH: Cell<Stash> = const { Cell::new(Stash::NONE) };
}

/// Tasks of one class that were counted off its decision.
#[derive(Clone, Copy)]
struct Stash {
    /// Whose it is, and what that knew: another one, or another decision, is no use.
    scheduler: u64,
    class: Class,
    changes: u32,
    word: u64,
    left: u64,
}

impl Stash {
    const NONE: Self =
        Self { scheduler: 0, class: Class { job: 0, size: 0 }, changes: 0, word: 0, left: 0 };
}

/// See the module.
pub(crate) struct Scheduler {
    /// No other scheduler of this process has it, nor had.
    number: u64,
    policy: Mutex<Box<dyn Policy>>,
    jobs: Vec<OnceLock<Box<[Cached; Class::SIZES]>>>,
    crashes: Vec<Crashes>,
    /// A look at what dispatch costs is due.
    look_is_due: AtomicBool,
    /// When the next one is, in ns of the clock; `u64::MAX`: under way, or none.
    next_look_ns: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) drain: Drain,
}

/// The decision that a class has left. The word: `tasks << 32 | probes << 8 | why << 2 | place`.
#[derive(Default)]
struct Cached {
    word: AtomicU64,
    /// How often the word was made void.
    changes: AtomicU32,
    /// A recent service time in ns, for how often to measure.
    service_ns: AtomicU64,
    /// Some task of the class was open.
    was_asked: AtomicBool,
}

const PROCESS: u64 = 2;

fn pack(decision: &Decision) -> u64 {
    let place = if decision.placement == Placement::Process { PROCESS } else { 1 };
    let probes = u64::from(decision.probes.min(0xff_ffff));
    u64::from(decision.tasks) << 32 | probes << 8 | (decision.why as u64) << 2 | place
}

fn place_of(word: u64) -> Placement {
    if word & 3 == PROCESS { Placement::Process } else { Placement::Thread }
}

fn why_of(word: u64) -> Why {
    Why::from_number((word >> 2) as u8 & 0x3f)
}

fn other(place: Placement) -> Placement {
    if place == Placement::Process { Placement::Thread } else { Placement::Process }
}

impl Cached {
    fn make_void(&self) {
        self.word.store(0, Ordering::Relaxed);
        // Release pairs with the Acquire in `use_up`.
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Scheduler {
    pub(crate) fn new(policy: Box<dyn Policy>, names: Vec<&'static str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            policy: Mutex::new(policy),
            jobs: names.iter().map(|_| OnceLock::new()).collect(),
            crashes: names.iter().map(|_| Crashes::default()).collect(),
            look_is_due: AtomicBool::new(true),
            next_look_ns: AtomicU64::new(u64::MAX),
            counters: Counters::new(names),
            drain: Drain::default(),
        }
    }

    fn cached(&self, class: Class) -> Option<&Cached> {
        let sizes = self.jobs.get(class.job as usize)?;
        let sizes = sizes.get_or_init(|| Box::new(std::array::from_fn(|_| Cached::default())));
        sizes.get(usize::from(class.size))
    }

    /// Where tasks of the class go now, probes aside: for the choice of a queue. Uses nothing up.
    #[inline]
    pub(crate) fn glance(&self, class: Class) -> Placement {
        let Some(cached) = self.cached(class) else { return Placement::Thread };
        match cached.word.load(Ordering::Relaxed) {
            0 => place_of(self.ask(class, cached)),
            word => place_of(word),
        }
    }

    /// The place of one open task, for which a core is free. An urgent one is never a probe.
    #[inline]
    pub(crate) fn bind(&self, core: &Core) -> Placement {
        let (class, urgent) = (core.plan.class, core.is_urgent());
        let (placement, why) = match self.keeps_off_threads(class.job) {
            true => (Placement::Process, Why::Crashes),
            false => self.use_up(class, urgent),
        };
        core.bind_because(placement, why);
        self.counters.decided(why, placement, 1);
        placement
    }

    fn use_up(&self, class: Class, urgent: bool) -> (Placement, Why) {
        let Some(cached) = self.cached(class) else { return (Placement::Thread, Why::Start) };
        // Acquire pairs with the Release in `make_void`: with the new count the old word is gone, so
        // that nothing of it is kept as if it were new.
        let changes = cached.changes.load(Ordering::Acquire);
        let scheduler = self.number;
        let stash = STASH.get();
        let is_of_it = (stash.scheduler, stash.class, stash.changes) == (scheduler, class, changes);
        if is_of_it && stash.left > 0 {
            STASH.set(Stash { left: stash.left - 1, ..stash });
            return (place_of(stash.word), why_of(stash.word));
        }
        let mut word = cached.word.load(Ordering::Relaxed);
        loop {
            if word >> 32 == 0 {
                word = self.ask(class, cached);
            }
            let (tasks, probes) = (word >> 32, word >> 8 & 0xff_ffff);
            let is_probe = probes > 0 && !urgent;
            // Of few tasks none is taken ahead: then they would be in another order.
            let taken = if probes == 0 { (tasks / 4).clamp(1, TAKEN) } else { 1 };
            let used = taken << 32 | u64::from(is_probe) << 8;
            // The last urgent task leaves no probe behind.
            let next = if tasks == taken { 0 } else { word - used };
            let relaxed = Ordering::Relaxed;
            match cached.word.compare_exchange_weak(word, next, relaxed, relaxed) {
                Ok(_) if is_probe => return (other(place_of(word)), Why::Probe),
                Ok(_) => {
                    STASH.set(Stash { scheduler, class, changes, word, left: taken - 1 });
                    return (place_of(word), why_of(word));
                }
                Err(now) => word = now,
            }
        }
    }

    /// Asks the policy. What it answers is stored, and returned for this very moment.
    #[cold]
    fn ask(&self, class: Class, cached: &Cached) -> u64 {
        let decision = self.with_policy(|policy, now| policy.decide(class, now));
        let decision = decision.filter(Decision::is_sound).unwrap_or_else(|| {
            self.replace("it gave no sound decision");
            self.with_policy(|policy, now| policy.decide(class, now))
                .filter(Decision::is_sound)
                .unwrap_or(Decision::new(Placement::Thread, Why::Start, 1))
        });
        self.look_if_it_is_time();
        let word = pack(&decision);
        cached.was_asked.store(true, Ordering::Relaxed);
        cached.word.store(word, Ordering::Relaxed);
        word
    }

    fn with_policy<R>(&self, call: impl Fn(&mut Box<dyn Policy>, Duration) -> R) -> Option<R> {
        assert_outside();
        let now = clock::now();
        let mut policy = self.policy.lock();
        match foreign::run(|| call(&mut policy, now)) {
            Ok(answer) => Some(answer),
            Err(panic) => {
                drop(policy);
                self.replace(&format!("it panicked: {}", crate::job::panic_message(panic)));
                None
            }
        }
    }

    fn replace(&self, why: &str) {
        let old = std::mem::replace(&mut *self.policy.lock(), Box::new(Adaptive::new()));
        // That one wants costs.
        self.look_is_due.store(true, Ordering::Relaxed);
        let _ = foreign::run(|| drop(old));
        let warn = || tracing::warn!(target: "amphi", "the policy is replaced by Adaptive: {why}");
        let _ = foreign::run(warn);
    }

    /// Tasks of the class are known to take long beside waking a thread.
    pub(crate) fn is_known_long(&self, class: Class) -> bool {
        self.cached(class)
            .is_some_and(|cached| cached.service_ns.load(Ordering::Relaxed) > SHORT_NS)
    }

    /// Whether to measure this task; one that is measured stands for so many.
    #[inline]
    pub(crate) fn samples(&self, class: Class) -> Option<u64> {
        if let Some(cached) = self.cached(class) {
            let service = cached.service_ns.load(Ordering::Relaxed);
            if service == 0 || service > SHORT_NS {
                return Some(1);
            }
        }
        TICKS.with(|ticks| {
            let tick = ticks.get().wrapping_add(1);
            ticks.set(tick);
            (tick % SAMPLE == 0).then_some(u64::from(SAMPLE))
        })
    }

    /// A measured task leaves the queue for its place.
    pub(crate) fn waited(&self, core: &Core, place: Placement, now: Duration) {
        let Some(tasks) = core.measure.weight() else { return };
        let (waited, encode) = (core.measure.until(now), core.encode_ns());
        core.measure.mark(now);
        let queued = waited.saturating_sub(encode);
        self.counters.record(core.plan.job, place, Stage::Queue, queued, tasks);
        if encode > 0 {
            self.counters.record(core.plan.job, place, Stage::Encode, encode, tasks);
        }
    }

    /// A measured task's reply is back from its worker, where it ran for so long.
    pub(crate) fn travelled(&self, core: &Core, run_ns: u64) {
        let Some(tasks) = core.measure.weight() else { return };
        let ns = core.measure.until(clock::now()).saturating_sub(run_ns);
        self.counters.record(core.plan.job, Placement::Process, Stage::Transport, ns, tasks);
    }

    /// A measured task's outcome was taken by its handle.
    pub(crate) fn took(&self, core: &Core) {
        let Some(tasks) = core.measure.weight() else { return };
        let (place, decode) = (core.placement().unwrap_or_default(), core.measure.decode_ns());
        if decode > 0 {
            self.counters.record(core.plan.job, place, Stage::Decode, decode, tasks);
        }
        if core.measure.was_awaited() {
            let ns = core.measure.until(clock::now()).saturating_sub(decode);
            self.counters.record(core.plan.job, place, Stage::Wake, ns, tasks);
        }
    }

    /// A measured task has run. `stands_for` says how much of the machine it kept from others,
    /// beside its own core.
    pub(crate) fn ran(&self, core: &Core, place: Placement, ns: u64, sample: Sample) {
        if core.plan.is_private {
            return;
        }
        self.counters.record(core.plan.job, place, Stage::Run, ns, sample.tasks);
        if let Some(cached) = self.cached(core.plan.class) {
            cached.service_ns.store(ns.max(1), Ordering::Relaxed);
            if !core.is_auto() || sample.is_odd {
                return;
            }
            let ran = Ran {
                class: core.plan.class,
                placement: place,
                service_ns: ns as f64 * sample.stands_for,
                bytes_in: core.input_bytes() as f64,
                bytes_out: sample.bytes_out as f64,
                tasks: sample.tasks as f64,
                over_ns: sample.over_ns,
            };
            let event = Event::Ran(ran);
            if self.with_policy(|policy, now| policy.observe(&event, now)) == Some(true) {
                self.counters.flipped();
                cached.make_void();
            }
        }
    }

    /// Somebody tried to settle a task.
    #[inline]
    pub(crate) fn settled(&self, core: &Core, settled: Settled) {
        let mut ends = Ends::default();
        ends.add(self, core, settled);
        ends.tell(self);
    }

    /// The job has ended a worker.
    pub(crate) fn crashed(&self, job: u32) {
        if let Some(crashes) = self.crashes.get(job as usize) {
            crashes.note(clock::now());
        }
    }

    /// The job has ended workers lately.
    #[inline]
    pub(crate) fn keeps_off_threads(&self, job: u32) -> bool {
        self.crashes.get(job as usize).is_some_and(|crashes| crashes.forbid_threads(clock::now))
    }

    /// What the policy knows of a class.
    pub(crate) fn estimate(&self, class: Class) -> Option<Estimate> {
        self.with_policy(|policy, _| policy.estimate(class)).flatten()
    }

    /// The classes of a job that were decided before, and where their tasks go now.
    pub(crate) fn classes(&self, job: u32) -> Vec<(Class, Placement, Why)> {
        let Some(sizes) = self.jobs.get(job as usize).and_then(OnceLock::get) else {
            return Vec::new();
        };
        let seen = sizes.iter().enumerate();
        let seen = seen.filter(|(_, cached)| cached.was_asked.load(Ordering::Relaxed));
        seen.map(|(size, cached)| {
            let class = Class { job, size: size as u8 };
            let word = match cached.word.load(Ordering::Relaxed) {
                0 => self.ask(class, cached),
                word => word,
            };
            (class, place_of(word), why_of(word))
        })
        .collect()
    }
}

/// How a task was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// How many tasks it stands for.
    pub(crate) tasks: u64,
    /// Cores that it kept busy or idle, its own included.
    pub(crate) stands_for: f64,
    pub(crate) bytes_out: u64,
    /// What dispatch has cost it, in ns, if that was measured.
    pub(crate) over_ns: Option<f64>,
    /// It ran in an unusual way (from its encoded form): no sample for the policy.
    pub(crate) is_odd: bool,
}
