//! Which place wins a cell.

use std::fmt;

use amphi_benches::{Spread, Tally};

use super::drive::{PROCESS, THREAD};
use super::grid::Cell;

/// Two places whose times differ by less are alike.
const MARGIN: f64 = 0.03;

/// Who had a cell done first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Winner {
    Thread,
    Process,
    /// The middle half of the rounds reaches into the margin.
    Alike,
}

impl Winner {
    /// By the quartiles of the ratio process / thread.
    pub(crate) fn of(ratio: &Spread) -> Self {
        if ratio.q3 < 1.0 - MARGIN {
            Self::Process
        } else if ratio.q1 > 1.0 + MARGIN {
            Self::Thread
        } else {
            Self::Alike
        }
    }
}

impl fmt::Display for Winner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => THREAD,
            Self::Process => PROCESS,
            Self::Alike => "alike",
        })
    }
}

/// The figure of a process over that of a thread, round by round.
pub(crate) fn compare(tally: &Tally, cell: Cell, metric: &'static str) -> Option<Spread> {
    let case = cell.name();
    tally.ratio((PROCESS, &case, metric), (THREAD, &case, metric))
}
