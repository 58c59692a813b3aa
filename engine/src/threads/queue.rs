//! What a pool's threads take tasks from: one queue for each priority, and the tasks that have just
//! been handed their key.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::deque::{Injector, Steal};
use parking_lot::Mutex;

use super::Shared;
use crate::task::{Priority, Turn};

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn::NEW) };
}

/// See the module.
pub(super) struct Queue {
    levels: [Injector<Shared>; Priority::COUNT],
    /// Some task was not of the usual priority: levels are looked at in turns.
    has_levels: AtomicBool,
    /// Tasks that have been handed their key; the count is for whoever only looks.
    keyed: Mutex<VecDeque<Shared>>,
    keyed_count: AtomicUsize,
}

const NORMAL: usize = Priority::Normal.level();

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            levels: Default::default(),
            has_levels: AtomicBool::new(false),
            keyed: Mutex::default(),
            keyed_count: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub(super) fn push(&self, task: Shared) {
        if task.core().plan.is_private {
            return self.push_keyed(task);
        }
        let level = task.core().plan.controls.priority.level();
        if level != NORMAL && !self.has_levels.load(Ordering::Relaxed) {
            self.has_levels.store(true, Ordering::Relaxed);
        }
        self.levels[level].push(task);
    }

    /// A task that has its key goes first: others wait for it to give it on. So does one of the
    /// engine's own.
    pub(super) fn push_keyed(&self, task: Shared) {
        let mut keyed = self.keyed.lock();
        keyed.push_back(task);
        self.keyed_count.store(keyed.len(), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.levels[NORMAL].is_empty()
            && self.keyed_count.load(Ordering::Relaxed) == 0
            && (!self.has_levels.load(Ordering::Relaxed)
                || self.levels.iter().all(Injector::is_empty))
    }

    /// Entries, those included whose task was claimed by its handle.
    pub(super) fn len(&self) -> usize {
        self.levels.iter().map(Injector::len).sum()
    }

    /// The next entry.
    #[inline]
    pub(super) fn pop(&self) -> Option<Shared> {
        if self.keyed_count.load(Ordering::Relaxed) > 0
            && let Some(task) = self.pop_keyed()
        {
            return Some(task);
        }
        if !self.has_levels.load(Ordering::Relaxed) {
            return steal(&self.levels[NORMAL]);
        }
        let mut turn = TURN.get();
        let order = turn.next();
        TURN.set(turn);
        order.into_iter().find_map(|level| steal(&self.levels[level]))
    }

    fn pop_keyed(&self) -> Option<Shared> {
        let mut keyed = self.keyed.lock();
        let task = keyed.pop_front();
        self.keyed_count.store(keyed.len(), Ordering::Relaxed);
        task
    }

    /// Goes once round every level and asks of each entry whether it stays, in order.
    pub(super) fn sift(&self, mut keep: impl FnMut(Shared) -> Option<Shared>) {
        for level in &self.levels {
            for _ in 0..level.len() {
                match level.steal() {
                    Steal::Success(task) => {
                        if let Some(task) = keep(task) {
                            level.push(task);
                        }
                    }
                    Steal::Retry => {}
                    Steal::Empty => break,
                }
            }
        }
    }
}

#[inline]
fn steal(level: &Injector<Shared>) -> Option<Shared> {
    loop {
        match level.steal() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}
