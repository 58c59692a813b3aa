//! Where tasks run: what their needs leave open (`route.rs`, hard rules), and what is decided for
//! the rest by measured cost ([`Policy`]).
//!
//! Everything here is a function of what it is told: no clock, no lock, no random number. The same
//! code decides in the engine and in the simulator (`tests/sim`).
//!
//! Reading order: this file, `route.rs`, `adaptive.rs`, `class.rs`.

use std::fmt;
use std::time::Duration;

pub use self::adaptive::{Adaptive, Tuning};
pub use self::fixed::{AlwaysProcess, AlwaysThread};
pub use self::route::Placement;
pub(crate) use self::route::{Request, Route, route};

mod adaptive;
mod class;
mod fixed;
mod route;

/// Decides where tasks run that may go either way, and learns from what they cost.
///
/// It is given to [`EngineBuilder::policy`](crate::EngineBuilder::policy); [`Adaptive`] is what an
/// engine uses unless told otherwise. What must not be decided by cost (isolation, `kill_after`,
/// closures, a job's crashes) never gets here. A policy is asked for many tasks of a class at once
/// and from any thread, one call at a time; it must be quick, must not block and must not call its
/// engine, which panics in it. One that panics, or gives a decision for no task, is replaced by
/// `Adaptive`, which a warning tells.
///
/// ```
/// use std::time::Duration;
/// use amphi::policy::{Class, Decision, Event, Placement, Policy, Why};
///
/// /// Inputs of 64 KiB and more on threads, shorter ones in processes.
/// struct BySize;
///
/// impl Policy for BySize {
///     fn decide(&mut self, class: Class, _now: Duration) -> Decision {
///         let large = class.bytes_to() > 64 << 10;
///         let place = if large { Placement::Thread } else { Placement::Process };
///         Decision::new(place, Why::Fixed, 1000)
///     }
///     fn observe(&mut self, _event: &Event, _now: Duration) -> bool {
///         false
///     }
///     fn wants_costs(&self) -> bool {
///         false
///     }
/// }
/// ```
pub trait Policy: Send + 'static {
    /// The place of the class's next tasks, [`Decision::tasks`] of them. `now` is a monotonic
    /// clock.
    fn decide(&mut self, class: Class, now: Duration) -> Decision;

    /// Something happened. True: decisions that were given for the event's class are void, ask
    /// again; it is counted as a change of place ([`Stats::flips`](crate::Stats::flips)). After
    /// [`Event::Calibrated`] all decisions are void, whatever the answer.
    fn observe(&mut self, event: &Event, now: Duration) -> bool;

    /// Whether it is to be told what handing a task over costs ([`Event::Calibrated`]), which a few
    /// milliseconds of a core's time are spent on. Asked at the first task that may go either way.
    fn wants_costs(&self) -> bool {
        true
    }

    /// What is known of a class, for [`Engine::explain`](crate::Engine::explain); `None` where the
    /// policy keeps no account.
    fn estimate(&self, class: Class) -> Option<Estimate> {
        let _ = class;
        None
    }
}

/// Tasks that are decided alike: those of one job whose inputs are about as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Which job: its number in the order of registration.
    pub job: u32,
    /// Which of the [`SIZES`](Class::SIZES): each is four times the one before.
    pub size: u8,
}

impl Class {
    /// How many size classes there are.
    pub const SIZES: usize = 32;

    /// The class of a task of `job` whose encoded input has (about) `bytes`.
    ///
    /// ```
    /// use amphi::policy::Class;
    /// let class = Class::of(0, 100_000);
    /// assert_eq!((class.bytes_from(), class.bytes_to()), (65_535, 262_143));
    /// ```
    pub const fn of(job: u32, bytes: u64) -> Self {
        let log2 = 64 - bytes.saturating_add(1).leading_zeros() - 1;
        // At most 63 / 2.
        Self { job, size: (log2 / 2) as u8 }
    }

    /// The shortest input of the class, in bytes.
    pub const fn bytes_from(self) -> u64 {
        if self.size >= 32 { u64::MAX } else { (1 << (2 * self.size)) - 1 }
    }

    /// The first length beyond the class, in bytes.
    pub const fn bytes_to(self) -> u64 {
        if self.size >= 31 { u64::MAX } else { (1 << (2 * (self.size + 1))) - 1 }
    }
}

/// What a policy answers: where the next tasks of a class go, and why.
///
/// ```
/// use amphi::policy::{Decision, Placement, Why};
///
/// // Of the next hundred tasks four go to a worker, to learn what it costs.
/// let decision = Decision { probes: 4, ..Decision::new(Placement::Thread, Why::Cost, 100) };
/// assert_eq!(decision.estimate, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Where they go. `Auto` is no answer.
    pub placement: Placement,
    /// Why.
    pub why: Why,
    /// So many of them, the first ones, go to the other place, to learn what it costs. A task that
    /// is urgent (of high priority, or with a deadline) is never among them.
    pub probes: u32,
    /// For how many tasks this holds, probes included; then the policy is asked again. 0 is no
    /// answer.
    pub tasks: u32,
    /// What it is based on.
    pub estimate: Option<Estimate>,
}

impl Decision {
    /// A decision without probes, based on no figures.
    pub const fn new(placement: Placement, why: Why, tasks: u32) -> Self {
        Self { placement, why, probes: 0, tasks, estimate: None }
    }

    /// It names a place, and tasks that it is for.
    pub(crate) const fn is_sound(&self) -> bool {
        !matches!(self.placement, Placement::Auto) && self.tasks > 0 && self.probes <= self.tasks
    }
}

/// Why a task runs where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// A need of the job, an option of the task or a setting: see [`Placement`].
    Rule,
    /// Measured cost.
    Cost,
    /// Not both places are known yet: the place where tasks start.
    Start,
    /// To learn what the other place costs.
    Probe,
    /// The policy looks at nothing.
    Fixed,
    /// The job has ended workers lately.
    Crashes,
    /// No worker can be had, or the input does not fit through a lane.
    NoProcess,
}

impl Why {
    /// Each at the place of its `as u8`.
    pub(crate) const ALL: [Self; 7] = [
        Self::Rule,
        Self::Cost,
        Self::Start,
        Self::Probe,
        Self::Fixed,
        Self::Crashes,
        Self::NoProcess,
    ];

    /// The reason whose `as u8` is `number`.
    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Rule)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rule => "rule",
            Self::Cost => "cost",
            Self::Start => "start",
            Self::Probe => "probe",
            Self::Fixed => "fixed",
            Self::Crashes => "crashes",
            Self::NoProcess => "no process",
        })
    }
}

/// What a policy is told.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// What handing a task over costs on this machine, measured with empty jobs.
    Calibrated(Costs),
    /// A task ended by itself.
    Ran(Ran),
}

/// What handing a task over costs, beside the job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// On a thread, in ns.
    pub thread_ns: f64,
    /// Through a worker, in ns.
    pub process_ns: f64,
    /// For each byte of input and output that goes through a worker, in ns.
    pub byte_ns: f64,
    /// The same for what is too long for shared memory that is there already ([`LARGE_BYTES`](Self::LARGE_BYTES)):
    /// fresh pages are made for it.
    pub large_byte_ns: f64,
}

impl Costs {
    /// What is assumed before the first calibration.
    pub const ASSUMED: Self =
        Self { thread_ns: 500.0, process_ns: 2000.0, byte_ns: 0.5, large_byte_ns: 2.0 };

    /// From this length on an input or output is large.
    pub const LARGE_BYTES: f64 = 1_048_577.0;

    /// What so many bytes in one direction cost, in ns.
    pub(crate) fn bytes_ns(&self, bytes: f64) -> f64 {
        // Never cheaper than by the other way: more bytes cost more.
        let each = if bytes < Self::LARGE_BYTES {
            self.byte_ns
        } else {
            self.large_byte_ns.max(self.byte_ns)
        };
        each * bytes
    }

    /// The same with figures that make sense: finite and not negative.
    pub(crate) fn sane(self) -> Self {
        let sane = |ns: f64| if ns.is_finite() { ns.clamp(0.0, 1e12) } else { 0.0 };
        Self {
            thread_ns: sane(self.thread_ns),
            process_ns: sane(self.process_ns),
            byte_ns: sane(self.byte_ns),
            large_byte_ns: sane(self.large_byte_ns),
        }
    }
}

/// What a task came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ran {
    /// Its class.
    pub class: Class,
    /// Where it ran.
    pub placement: Placement,
    /// How long it kept a core busy, in ns: the job, and the coding of its input and output where
    /// it ran in a worker. A task whose key kept other cores idle stands for them, too.
    pub service_ns: f64,
    /// Bytes of its encoded input, or about so many.
    pub bytes_in: f64,
    /// Bytes of its encoded output; 0 where it ran on a thread.
    pub bytes_out: f64,
    /// How many tasks it stands for: short ones are not measured each.
    pub tasks: f64,
    /// How long it kept its core beside that, in ns: woken, carried, waited for. `None`: not
    /// measured. Single figures may be below zero, their mean is not.
    pub over_ns: Option<f64>,
}

/// What is known of a class. Its `Display` is what stands behind the colon in an
/// [`Explanation`](crate::Explanation).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// The typical service time on a thread, in ns; `None` before the first sample that counts.
    pub thread_ns: Option<f64>,
    /// The same in a worker.
    pub process_ns: Option<f64>,
    /// What dispatch costs on a thread, in ns.
    pub thread_over_ns: f64,
    /// What dispatch and bytes cost through a worker, in ns.
    pub process_over_ns: f64,
    /// Samples of either place.
    pub samples: (u64, u64),
    /// How often the class has changed its place.
    pub flips: u32,
    /// The share of the class's core time that probes have cost more than it.
    pub probe_share: f64,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |f: &mut fmt::Formatter<'_>, name, ns: Option<f64>, over| match ns {
            Some(ns) => write!(f, "{name} {} + {}", Ns(ns), Ns(over)),
            None => write!(f, "{name} unknown + {}", Ns(over)),
        };
        place(f, "thread", self.thread_ns, self.thread_over_ns)?;
        f.write_str(", ")?;
        place(f, "process", self.process_ns, self.process_over_ns)?;
        write!(f, "; {}/{} samples", self.samples.0, self.samples.1)?;
        if self.flips > 0 {
            write!(f, ", {} flips", self.flips)?;
        }
        Ok(())
    }
}

/// A time for people: three digits and a unit.
pub(crate) struct Ns(pub(crate) f64);

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            ns if ns < 1e3 => (ns, "ns"),
            ns if ns < 1e6 => (ns / 1e3, "µs"),
            ns if ns < 1e9 => (ns / 1e6, "ms"),
            ns => (ns / 1e9, "s"),
        };
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.digits$} {unit}")
    }
}
