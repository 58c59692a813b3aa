//! What is asked of every system, and how long.

use std::time::Duration;

use amphi_benches::Options;

/// One thing that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// One `u64` there and back after the other.
    Sequential,
    /// As many `u64` as go, [`WINDOW`](crate::pools::WINDOW) in flight.
    Pipelined,
    /// A mebibyte there, a look at each of its pages, one word back.
    In,
    /// A mebibyte there and back.
    Back,
}

pub(crate) const PAYLOAD_BYTES: usize = 1 << 20;

impl Case {
    pub(crate) const ALL: [Self; 4] = [Self::Sequential, Self::Pipelined, Self::In, Self::Back];
    pub(crate) const PAYLOADS: [Self; 2] = [Self::In, Self::Back];

    /// The name in tables, filters and the JSON file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential u64",
            Self::Pipelined => "pipelined u64",
            Self::In => "1 MiB in",
            Self::Back => "1 MiB there and back",
        }
    }

    /// As scripts are asked for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Pipelined => "pipelined",
            Self::In => "in",
            Self::Back => "back",
        }
    }

    /// The time by which systems are compared.
    pub(crate) fn metric(self) -> &'static str {
        if self == Self::Pipelined { "wall" } else { "p50" }
    }
}

/// How long the slices are and how many rounds there are.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    /// Rounds: every ratio is a median over so many pairs.
    pub(crate) rounds: usize,
    pub(crate) cases: Vec<Case>,
    /// Untimed, before the first round: translators of the peers' languages want to see a case
    /// often before they make it fast.
    pub(crate) first: Duration,
    /// Untimed, before each slice.
    pub(crate) warm_up: Duration,
    pub(crate) slice: Duration,
}

impl Plan {
    pub(crate) fn of(options: &Options) -> Self {
        let quick = options.quick;
        let pick = |short: u64, long: u64| Duration::from_millis(if quick { short } else { long });
        Self {
            quick,
            rounds: options.rounds.unwrap_or(if quick { 4 } else { 12 }),
            cases: Case::ALL.into_iter().filter(|case| options.wants_case(case.name())).collect(),
            first: pick(50, 500),
            warm_up: pick(3, 20),
            slice: pick(30, 250),
        }
    }
}
