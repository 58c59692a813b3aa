//! What is measured, and how long: the cases, and the plan of a run.

use std::time::Duration;

use amphi_benches::Options;

use crate::pools::{System, WINDOW};

/// The pause before each task of the parked case, not timed.
pub(crate) const PAUSE: Duration = Duration::from_micros(2_500);

/// One thing that is asked of every system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// One `u64` after the other, no pause: latency with everybody awake.
    HotWord,
    /// One byte payload after the other, there and back.
    HotBytes(usize),
    /// One `u64` after a pause in which everybody fell asleep.
    Parked,
    /// As many `u64` as go, so many in flight, one submitting thread.
    InFlight(usize),
    /// The same with [`WINDOW`] in flight.
    Pipelined,
    /// [`HotWord`](Self::HotWord) while others compute on every core.
    HotBusy,
    /// [`Pipelined`](Self::Pipelined) likewise.
    PipelinedBusy,
    /// So many `u64` a second, sent by the clock and not by the answers.
    Open(u32),
}

impl Case {
    /// All cases, in the order of the report.
    pub(crate) const ALL: [Self; 14] = [
        Self::HotWord,
        Self::HotBytes(1 << 10),
        Self::HotBytes(64 << 10),
        Self::HotBytes(1 << 20),
        Self::Parked,
        Self::InFlight(4),
        Self::InFlight(16),
        Self::InFlight(64),
        Self::Pipelined,
        Self::HotBusy,
        Self::PipelinedBusy,
        Self::Open(100),
        Self::Open(1_000),
        Self::Open(10_000),
    ];

    /// The name in tables, filters and the JSON file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HotWord => "hot u64",
            Self::HotBytes(0..=1024) => "hot 1 KiB",
            Self::HotBytes(..=65_536) => "hot 64 KiB",
            Self::HotBytes(_) => "hot 1 MiB",
            Self::Parked => "parked u64",
            Self::InFlight(0..=4) => "4 in flight",
            Self::InFlight(..=16) => "16 in flight",
            Self::InFlight(_) => "64 in flight",
            Self::Pipelined => "pipelined u64",
            Self::HotBusy => "hot u64, no core idle",
            Self::PipelinedBusy => "pipelined u64, no core idle",
            Self::Open(0..=100) => "open 100/s",
            Self::Open(..=1_000) => "open 1000/s",
            Self::Open(_) => "open 10000/s",
        }
    }

    /// Whether it can be asked of this system.
    pub(crate) fn fits(self, system: &dyn System) -> bool {
        match self {
            Self::HotWord | Self::HotBusy | Self::Parked => true,
            Self::HotBytes(_) => system.takes_bytes(),
            Self::InFlight(_) | Self::Pipelined | Self::PipelinedBusy | Self::Open(_) => {
                system.window() > 1
            }
        }
    }

    /// The figure by which systems are compared in this case; smaller is better but for `rate`.
    pub(crate) fn metric(self) -> &'static str {
        match self {
            Self::InFlight(_) | Self::Pipelined | Self::PipelinedBusy => "rate",
            _ => "p50",
        }
    }

    /// Tasks in flight where there are several.
    pub(crate) fn in_flight(self) -> usize {
        if let Self::InFlight(tasks) = self { tasks } else { WINDOW }
    }

    /// Whether others are to compute on every core meanwhile.
    pub(crate) fn is_beside_busy(self) -> bool {
        matches!(self, Self::HotBusy | Self::PipelinedBusy)
    }
}

/// How long the slices are and how many rounds there are.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Short slices.
    pub(crate) quick: bool,
    /// Rounds: every ratio is a median over so many pairs.
    pub(crate) rounds: usize,
    /// The cases that were asked for.
    pub(crate) cases: Vec<Case>,
    /// Untimed calls before the first sample of a slice.
    pub(crate) warm_up: Duration,
    /// One slice of a hot case.
    pub(crate) hot: Duration,
    /// One slice of the pipelined case.
    pub(crate) pipelined: Duration,
    /// Tasks in one slice of the parked case.
    pub(crate) parked_tasks: usize,
}

impl Plan {
    /// The plan for what was asked.
    pub(crate) fn of(options: &Options) -> Self {
        let cases = Case::ALL.into_iter().filter(|case| options.wants_case(case.name())).collect();
        let quick = options.quick;
        let pick = |short: u64, long: u64| Duration::from_millis(if quick { short } else { long });
        Self {
            quick,
            rounds: options.rounds.unwrap_or(if quick { 6 } else { 12 }),
            cases,
            warm_up: pick(3, 10),
            hot: pick(15, 100),
            pipelined: pick(30, 200),
            parked_tasks: if quick { 16 } else { 50 },
        }
    }

    /// Tasks in one slice of an open loop: enough for a median, and for a tail over all rounds.
    pub(crate) fn open_tasks(&self, rate: u32) -> u32 {
        match (rate, self.quick) {
            (..=100, true) => 20,
            (..=100, false) => 100,
            (..=1_000, true) => 100,
            (..=1_000, false) => 500,
            (_, true) => 600,
            (_, false) => 5_000,
        }
    }
}
