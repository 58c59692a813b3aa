//! The restart budget: how soon a seat gets its next worker. Pure; time is an argument.
//!
//! Role: one budget per pool, asked at every death. Only a worker that died before it was READY,
//! or before it finished one task (for a service: served for a second), says that starting another
//! may not help. Any other death is replaced at once, and a kill that the engine ordered never
//! counts.
//!
//! # Invariants
//! 1. Between two counted deaths without a success the delay doubles, from 50 ms to 5 s.
//! 2. [`DEATHS_MAX`] of them within [`WINDOW`], [`STREAK_MAX`] without a success, or one that was
//!    [too slow](Death::TooSlow) trip the pool for that window; deaths of workers that
//!    were starting then do not prolong it. Afterwards one more trips it again at once (half
//!    open), and a success forgets everything.

use std::time::Duration;

/// Counted deaths within `WINDOW` that trip the pool.
const DEATHS_MAX: usize = 5;
/// As many without one success trip it however long they took: nobody waits for ever.
const STREAK_MAX: u32 = 10;
/// The window of counted deaths, and how long a tripped pool stays tripped.
const WINDOW: Duration = Duration::from_secs(10);
const DELAY_FIRST: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// How a worker's life ended, for the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It never took a task.
    BeforeReady,
    /// It was not READY in time, and was killed: a long time was spent on it.
    TooSlow,
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
    /// When the counted deaths of the window were; at most [`DEATHS_MAX`].
    counted: Vec<Duration>,
    /// Counted deaths since the last success.
    streak: u32,
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
        if let Some(until) = self.tripped_until.filter(|until| now < *until) {
            return Verdict::Tripped { until };
        }
        let half_open = self.tripped_until.is_some();
        self.counted.retain(|death| now.saturating_sub(*death) < WINDOW);
        self.counted.push(now);
        self.streak = self.streak.saturating_add(1);
        let many = self.counted.len() >= DEATHS_MAX || self.streak >= STREAK_MAX;
        if half_open || many || how == Death::TooSlow {
            let until = now + WINDOW;
            self.counted.clear();
            self.tripped_until = Some(until);
            return Verdict::Tripped { until };
        }
        let doubled = 2_u32.saturating_pow(self.streak.saturating_sub(1));
        let delay = DELAY_FIRST.saturating_mul(doubled).min(DELAY_MAX);
        Verdict::After(delay)
    }

    /// A worker finished its first task: starting works.
    pub fn succeeded(&mut self) {
        self.counted.clear();
        self.streak = 0;
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
        let tripped = Verdict::Tripped { until: ms(10_001) };
        assert_eq!(budget.died(Death::BeforeFirstTask, ms(1)), tripped);
        assert!(budget.is_tripped(ms(10_000)));
        assert!(!budget.is_tripped(ms(10_001)));
        assert_eq!(budget.died(Death::BeforeReady, ms(9_000)), tripped, "not prolonged");
        // Half open: the next failure trips at once, a success forgets everything.
        let verdict = budget.died(Death::BeforeReady, ms(30_000));
        assert_eq!(verdict, Verdict::Tripped { until: ms(40_000) });
        budget.succeeded();
        assert!(!budget.is_tripped(ms(30_000)));
        assert_eq!(budget.died(Death::BeforeReady, ms(30_001)), Verdict::After(ms(50)));
    }

    #[test]
    fn slow_failures_wait_up_to_the_longest_delay_and_trip_in_the_end() {
        let mut budget = Budget::new();
        for (count, delay) in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000].iter().enumerate() {
            let verdict = budget.died(Death::BeforeReady, ms(count as u64 * 4_000));
            assert_eq!(verdict, Verdict::After(ms(*delay)), "the {count}th");
        }
        let verdict = budget.died(Death::BeforeReady, ms(36_000));
        assert_eq!(verdict, Verdict::Tripped { until: ms(46_000) });
    }

    #[test]
    fn a_start_that_took_too_long_trips_at_once() {
        let mut budget = Budget::new();
        let verdict = budget.died(Death::TooSlow, ms(10_000));
        assert_eq!(verdict, Verdict::Tripped { until: ms(20_000) });
    }
}
