//! What one task asks for beside its job: priority, clocks, tries.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::keys::Held;

/// Which tasks go first where several wait. Of 21 that are taken from a full queue 16 are `High`,
/// 4 `Normal` and 1 `Low`, so that none waits for ever; a level that has no task leaves its share
/// to the others.
///
/// ```no_run
/// # fn example<J: amphi::Job>(engine: amphi::Engine, job: J) {
/// engine.task(job).priority(amphi::Priority::High).try_submit().unwrap().detach();
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// When nothing else waits, and now and then.
    Low,
    /// The usual one.
    #[default]
    Normal,
    /// Before the others.
    High,
}

impl Priority {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// High is 0.
    pub(crate) const fn level(self) -> usize {
        2 - self as usize
    }
}

/// Which level is next, by the weights 16 : 4 : 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn(u8);

impl Turn {
    /// At the beginning of a round.
    pub(crate) const NEW: Self = Self(0);

    /// The order in which levels are looked at for the next task.
    pub(crate) fn next(&mut self) -> [usize; Priority::COUNT] {
        self.0 = (self.0 + 1) % 21;
        match self.0 {
            20 => [2, 0, 1],
            4 | 9 | 14 | 19 => [1, 0, 2],
            _ => [0, 1, 2],
        }
    }
}

/// How long to wait before a task is tried once more: `first`, doubled for each further try, at
/// most `most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// None at all.
    pub(crate) const NONE: Self = Self { first: Duration::ZERO, most: Duration::ZERO };

    /// The wait before try number `attempt`, where the second one is 1. `seed` spreads tasks that
    /// failed together over the last quarter of it.
    pub(crate) fn delay(self, attempt: u32, seed: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32 << attempt.saturating_sub(1).min(30));
        let whole = doubled.min(self.most);
        whole
            - (whole / 4).mul_f64(
                (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1_u64 << 24) as f64,
            )
    }
}

/// See the module. Times are of the monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Controls {
    pub(crate) priority: Priority,
    pub(crate) kill_after: Option<Duration>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    /// Which chain of tasks it belongs to; 0: none that was named.
    pub(crate) trace: u128,
}

/// [`Controls`] as a core has them: apart from it, and for few tasks. Every line of a core travels
/// from processor to processor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Option<Box<Controls>>);

impl Asked {
    /// To be changed.
    pub(crate) fn change(&mut self) -> &mut Controls {
        self.0.get_or_insert_default()
    }

    /// What a task that asks for this asks for in truth, submitted from another one.
    #[inline]
    pub(crate) fn under(&self, parent: Option<&Inherited>) -> Self {
        let mut all = self.clone();
        if let Some(parent) = parent {
            all.inherit(parent);
        }
        all
    }

    fn inherit(&mut self, parent: &Inherited) {
        let earlier = self.deadline.into_iter().chain(parent.deadline).min();
        let trace = if self.trace == 0 { parent.trace } else { self.trace };
        if (earlier, trace) != (self.deadline, self.trace) {
            let all = self.change();
            (all.deadline, all.trace) = (earlier, trace);
        }
    }
}

impl From<Controls> for Asked {
    fn from(controls: Controls) -> Self {
        Self(Some(Box::new(controls)))
    }
}

impl Deref for Asked {
    type Target = Controls;

    #[inline]
    fn deref(&self) -> &Controls {
        self.0.as_deref().unwrap_or(const { &Controls::USUAL })
    }
}

/// What a task takes over from the one that it is submitted from.
#[derive(Clone, Default)]
pub(crate) struct Inherited {
    pub(crate) deadline: Option<Duration>,
    pub(crate) trace: u128,
    pub(crate) held: Option<Arc<Held>>,
}

impl Controls {
    /// Those of a task that asks for nothing.
    const USUAL: Self = Self {
        priority: Priority::Normal,
        kill_after: None,
        queue_timeout: None,
        timeout: None,
        deadline: None,
        trace: 0,
    };

    /// A clock starts when the task does.
    pub(crate) const fn is_timed(&self) -> bool {
        self.kill_after.is_some() || self.timeout.is_some()
    }

    /// Some clock has to be watched.
    pub(crate) const fn has_clocks(&self) -> bool {
        self.queue_timeout.is_some() || self.timeout.is_some() || self.deadline.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_take_turns_by_their_weights() {
        let mut turn = Turn::NEW;
        let mut first = [0; 3];
        for _ in 0..2100 {
            first[turn.next()[0]] += 1;
        }
        assert_eq!(first, [1600, 400, 100]);
        assert_eq!(Priority::High.level(), 0);
        assert_eq!(Priority::Low.level(), 2);
    }

    #[test]
    fn waits_double_up_to_their_bound_and_are_spread() {
        let backoff = Backoff { first: Duration::from_millis(8), most: Duration::from_millis(20) };
        for (attempt, whole) in [(1, 8.0), (2, 16.0), (3, 20.0), (200, 20.0)] {
            for seed in 0..50 {
                let ms = backoff.delay(attempt, seed).as_secs_f64() * 1e3;
                assert!(ms <= whole && ms >= 0.75 * whole, "{ms} of {whole}");
            }
        }
        assert_eq!(Backoff::NONE.delay(7, 3), Duration::ZERO);
        let absurd = Backoff { first: Duration::MAX, most: Duration::MAX };
        assert!(absurd.delay(9, 1) > Duration::from_secs(1));
    }
}
