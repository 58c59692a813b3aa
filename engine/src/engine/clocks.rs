//! The clocks of tasks: `queue_timeout`, `timeout`, `deadline`, and the wait before another try.
//!
//! One thread, started by the first task that has a clock, sleeps until the next one runs out; it
//! makes no wake-ups while there is none. (`kill_after` is the supervisor's, which kills.)
//!
//! # Invariants
//! 1. An entry does not keep its task alive, unless it is the one that will queue it again.
//! 2. Entries of settled tasks are dropped as soon as they are the greater part: a clock that runs
//!    for a day costs nothing once its task is done.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::Clock;
use crate::sys::clock;
use crate::task::AnyTask;

type Task = Arc<dyn AnyTask>;

/// What happens when a clock runs out.
pub(super) enum Alarm {
    /// The task is too late.
    Expired(Weak<dyn AnyTask>, Clock),
    /// Its run with this number, from 0, is too long.
    Overrun(Weak<dyn AnyTask>, u32),
    /// It is tried again.
    Again(Task),
}

impl Alarm {
    /// It is for a task that has ended. Where this hold of the task might be the last, `keep` takes
    /// it, to be dropped without a lock: user code.
    fn is_void(&self, keep: &mut Vec<Task>) -> bool {
        let mut look = |task: &Weak<dyn AnyTask>, is_void: &dyn Fn(&Task) -> bool| {
            let Some(task) = task.upgrade() else { return true };
            let void = is_void(&task);
            keep.push(task);
            void
        };
        match self {
            Self::Expired(task, _) => look(task, &|task| task.core().is_settled()),
            Self::Overrun(task, run) => {
                look(task, &|task| task.core().is_settled() || task.core().runs_before() != *run)
            }
            Self::Again(task) => !task.core().is_waiting(),
        }
    }
}

/// Who acts on alarms. Called without any lock.
pub(super) trait OnAlarm: Send + Sync {
    fn on_alarm(&self, alarm: Alarm);
}

struct Entry {
    at: Duration,
    number: u64,
    alarm: Alarm,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Default)]
struct State {
    entries: BinaryHeap<Reverse<Entry>>,
    next: u64,
    /// Entries after the last sweep.
    swept: usize,
    is_running: bool,
    is_closed: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Clocks {
    state: Mutex<State>,
    changed: Condvar,
}

/// So many entries are kept without a look at them.
const ENTRIES_KEPT: usize = 64;

impl Clocks {
    /// Watches what a task asked for when it is accepted.
    pub(super) fn accepted(self: &Arc<Self>, user: &Weak<dyn OnAlarm>, task: &Task) {
        let controls = &task.core().plan.controls;
        let now = clock::now();
        let queue = controls.queue_timeout.map(|limit| (now.saturating_add(limit), Clock::Queue));
        let deadline = controls.deadline.map(|at| (at, Clock::Deadline));
        for (at, clock) in queue.into_iter().chain(deadline) {
            self.add(user, at, Alarm::Expired(Arc::downgrade(task), clock));
        }
    }

    /// The run with this number begins, of a task whose runs are limited.
    pub(super) fn started(self: &Arc<Self>, user: &Weak<dyn OnAlarm>, task: &Task, run: u32) {
        if let Some(limit) = task.core().plan.controls.timeout {
            let at = clock::now().saturating_add(limit);
            self.add(user, at, Alarm::Overrun(Arc::downgrade(task), run));
        }
    }

    /// The task is to be queued after `delay`.
    pub(super) fn again(self: &Arc<Self>, user: &Weak<dyn OnAlarm>, task: Task, delay: Duration) {
        self.add(user, clock::now().saturating_add(delay), Alarm::Again(task));
    }

    fn add(self: &Arc<Self>, user: &Weak<dyn OnAlarm>, at: Duration, alarm: Alarm) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        let mut kept_alive = Vec::new();
        let swept = if state.entries.len() > 2 * state.swept + ENTRIES_KEPT {
            let (void, kept) = std::mem::take(&mut state.entries)
                .into_vec()
                .into_iter()
                .partition::<Vec<_>, _>(|Reverse(entry)| entry.alarm.is_void(&mut kept_alive));
            state.entries = BinaryHeap::from(kept);
            state.swept = state.entries.len();
            void
        } else {
            Vec::new()
        };
        let number = state.next;
        state.next += 1;
        let is_next = state.entries.peek().is_none_or(|Reverse(first)| at < first.at);
        state.entries.push(Reverse(Entry { at, number, alarm }));
        if !state.is_running {
            state.is_running = self.start(user);
        } else if is_next {
            self.changed.notify_one();
        }
        drop(state);
        drop((swept, kept_alive)); // the last hold of a task, maybe: user code
    }

    /// False: the system gives no thread; the next clock tries again.
    fn start(self: &Arc<Self>, user: &Weak<dyn OnAlarm>) -> bool {
        let (clocks, user) = (Arc::clone(self), Weak::clone(user));
        let builder = std::thread::Builder::new().name("amphi-clock".to_owned());
        builder.spawn(move || clocks.run(&user)).is_ok()
    }

    fn run(&self, user: &Weak<dyn OnAlarm>) {
        let mut state = self.state.lock();
        while !state.is_closed {
            let now = clock::now();
            match state.entries.peek() {
                None => self.changed.wait(&mut state),
                Some(Reverse(first)) if first.at > now => {
                    let left = first.at - now;
                    self.changed.wait_for(&mut state, left);
                }
                Some(_) => {
                    let due = state.entries.pop().map(|Reverse(entry)| entry.alarm);
                    parking_lot::MutexGuard::unlocked(&mut state, || {
                        if let (Some(user), Some(alarm)) = (user.upgrade(), due) {
                            user.on_alarm(alarm);
                        }
                    });
                }
            }
        }
    }

    /// The engine has ended. What was to be tried again comes back.
    pub(super) fn close(&self) -> Vec<Task> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        self.changed.notify_all();
        let again = |Reverse(entry): Reverse<Entry>| match entry.alarm {
            Alarm::Again(task) => Some(task),
            Alarm::Expired(..) | Alarm::Overrun(..) => None,
        };
        entries.into_vec().into_iter().filter_map(again).collect()
    }
}
