//! The policy of an engine that was given none: one account for each class, and the place that has
//! proved cheaper.

use std::collections::HashMap;
use std::time::Duration;

use super::class::Account;
use super::{Class, Costs, Decision, Estimate, Event, Policy};

/// Compares what a class of tasks costs on a thread and in a worker, from samples of both, and
/// goes where it is cheaper.
///
/// For each class: `dispatch + bytes · ns/byte + service`. Dispatch and bytes are measured once
/// with empty jobs; service is compared as a ratio of log means less one standard error, because
/// service times have heavy tails. The place changes when the other one is cheaper by the margin
/// three samples in a row. Short cohorts of tasks go to the other place at growing gaps, within a
/// budget of the class's own core time.
///
/// The shape is that of StarPU's performance models and of the periodic probes of vectorwise's
/// micro-adaptivity; its constants were chosen by simulation (`tests/sim`).
///
/// ```no_run
/// # fn example(app: amphi::App) -> Result<amphi::Engine, amphi::StartError> {
/// use amphi::policy::{Adaptive, Tuning};
///
/// let mut tuning = Tuning::default();
/// tuning.probe_share = 0.001; // looks at the other place less often
/// app.engine().policy(Adaptive::with(tuning)).start()
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Adaptive {
    tuning: Tuning,
    costs: Option<Costs>,
    accounts: HashMap<Class, Account>,
    /// Counts decisions, to know which class was long not asked for.
    turn: u64,
}

/// The constants of [`Adaptive`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// Samples of a place before it is compared; the first one of all is dropped besides.
    pub samples_min: u64,
    /// How much cheaper the other place has to be: 0.03 is three percent.
    pub margin: f64,
    /// Comparisons in a row that have to say so.
    pub streak: u32,
    /// Tasks of one probe.
    pub cohort: u32,
    /// Tasks between two probes, first and at most; the gap doubles.
    pub gap: (u32, u32),
    /// The share of a class's core time that probes may cost.
    pub probe_share: f64,
    /// What probes of a class may cost beside that, in ns.
    pub probe_ns: f64,
    /// Classes that are kept account of, one at least; beyond it those long not seen are forgotten.
    pub classes_max: usize,
    /// Tasks that one decision is for, at most.
    pub tasks: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            samples_min: 4,
            margin: 0.03,
            streak: 3,
            cohort: 4,
            gap: (4, 256),
            probe_share: 0.01,
            probe_ns: 1e6,
            classes_max: 4096,
            tasks: 64,
        }
    }
}

impl Adaptive {
    /// With the constants that the engine uses.
    pub fn new() -> Self {
        Self::default()
    }

    /// With other constants, for experiments.
    pub fn with(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// Classes that are kept account of now.
    pub fn classes(&self) -> usize {
        self.accounts.len()
    }

    fn account(&mut self, class: Class) -> &mut Account {
        self.turn += 1;
        if self.accounts.len() >= self.tuning.classes_max.max(1)
            && !self.accounts.contains_key(&class)
        {
            self.forget_some();
        }
        let (tuning, turn) = (&self.tuning, self.turn);
        let account = self.accounts.entry(class).or_insert_with(|| Account::new(tuning));
        account.seen = turn;
        account
    }

    /// The quarter that was not seen for the longest time. Rare: it is paid for by as many new
    /// classes.
    fn forget_some(&mut self) {
        let mut seen: Vec<u64> = self.accounts.values().map(|account| account.seen).collect();
        let quarter = seen.len() / 4;
        let (_, &mut limit, _) = seen.select_nth_unstable(quarter);
        self.accounts.retain(|_, account| account.seen > limit);
    }

    fn costs(&self) -> Costs {
        self.costs.unwrap_or(Costs::ASSUMED)
    }
}

impl Policy for Adaptive {
    fn decide(&mut self, class: Class, _now: Duration) -> Decision {
        let (costs, tuning) = (self.costs(), self.tuning);
        // Nothing is known of what processes cost: nobody is sent there to find out.
        let may_probe = self.costs.is_some();
        self.account(class).decide(&costs, &tuning, may_probe)
    }

    fn observe(&mut self, event: &Event, _now: Duration) -> bool {
        match event {
            Event::Calibrated(costs) => {
                self.costs = Some(costs.sane());
                true
            }
            Event::Ran(ran) => {
                let (costs, tuning) = (self.costs(), self.tuning);
                self.account(ran.class).observe(ran, &costs, &tuning)
            }
        }
    }

    fn estimate(&self, class: Class) -> Option<Estimate> {
        self.accounts.get(&class).map(|account| account.estimate(&self.costs()))
    }
}
