//! The restart budget: how soon a seat gets its next worker. Pure; time is an argument.
//!
//! Only a worker that died before it was READY, or before it finished one task, says that starting
//! another may not help. Any other death is replaced at once, and a kill that the engine ordered
//! never counts.

use std::time::Duration;

/// Counted deaths within [`WINDOW`] that trip the pool.
pub const DEATHS_MAX: usize = 5;
/// The window of counted deaths, and how long a tripped pool stays tripped.
pub const WINDOW: Duration = Duration::from_secs(10);
const DELAY_FIRST: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// How a worker's life ended, for the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It never took a task.
    BeforeReady,
    /// It never finished one.
    BeforeFirstTask,
    /// It had finished at least one.
    AfterWork,
    /// The engine killed it.
    Ordered,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start the next one at once.
    Replace,
    /// Start the next one after this.
    After(Duration),
    /// Start none before this moment; until then tasks that need a process are refused.
    Tripped {
        /// The moment of the next try.
        until: Duration,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub struct Budget {
    counted: Vec<Duration>,
    tripped_until: Option<Duration>,
}

impl Budget {
    /// A budget that nothing was spent of.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a death at `now` and says what to do.
    pub fn died(&mut self, how: Death, now: Duration) -> Verdict {
        if matches!(how, Death::AfterWork | Death::Ordered) {
            return Verdict::Replace;
        }
        // A try after the pool was tripped that fails trips it again at once.
        let half_open = self.tripped_until.take().is_some();
        self.counted.retain(|death| now.saturating_sub(*death) < WINDOW);
        self.counted.push(now);
        if half_open || self.counted.len() >= DEATHS_MAX {
            let until = now + WINDOW;
            self.tripped_until = Some(until);
            return Verdict::Tripped { until };
        }
        let doublings = u32::try_from(self.counted.len() - 1).unwrap_or(u32::MAX);
        Verdict::After((DELAY_FIRST * 2_u32.saturating_pow(doublings)).min(DELAY_MAX))
    }

    /// A worker finished its first task: starting works.
    pub fn succeeded(&mut self) {
        self.counted.clear();
        self.tripped_until = None;
    }

    /// True while tasks that need a process are refused.
    pub fn is_tripped(&self, now: Duration) -> bool {
        self.tripped_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn deaths_after_work_and_ordered_kills_are_replaced_at_once() {
        let mut budget = Budget::new();
        for at in 0..100 {
            assert_eq!(budget.died(Death::AfterWork, ms(at)), Verdict::Replace);
            assert_eq!(budget.died(Death::Ordered, ms(at)), Verdict::Replace);
        }
    }

    #[test]
    fn early_deaths_wait_longer_and_longer_and_trip() {
        let mut budget = Budget::new();
        for delay in [50, 100, 200, 400] {
            assert_eq!(budget.died(Death::BeforeReady, ms(0)), Verdict::After(ms(delay)));
        }
        let verdict = budget.died(Death::BeforeFirstTask, ms(1));
        assert_eq!(verdict, Verdict::Tripped { until: ms(10_001) });
        assert!(budget.is_tripped(ms(10_000)));
        assert!(!budget.is_tripped(ms(10_001)));
        // Half open: the next failure trips at once, a success forgets everything.
        let verdict = budget.died(Death::BeforeReady, ms(30_000));
        assert_eq!(verdict, Verdict::Tripped { until: ms(40_000) });
        budget.succeeded();
        assert_eq!(budget.died(Death::BeforeReady, ms(30_001)), Verdict::After(ms(50)));
    }

    #[test]
    fn old_deaths_are_forgotten() {
        let mut budget = Budget::new();
        for second in 0..20 {
            let verdict = budget.died(Death::BeforeReady, ms(second * 3_000));
            assert!(matches!(verdict, Verdict::After(_)), "at {second}: {verdict:?}");
        }
    }
}
