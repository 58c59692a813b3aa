//! What waits for a worker: one queue for each priority, taken from in turns.

use std::collections::VecDeque;

use super::pool::Shared;
use crate::task::{Priority, Turn};

/// See the module. The entry that is next is chosen when it is looked at and stays so until it is
/// taken.
pub(super) struct Queue {
    levels: [VecDeque<Shared>; Priority::COUNT],
    turn: Turn,
    next: Option<usize>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { levels: Default::default(), turn: Turn::NEW, next: None }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.levels.iter().map(VecDeque::len).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.levels.iter().all(VecDeque::is_empty)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shared> {
        self.levels.iter().flatten()
    }

    pub(super) fn push_back(&mut self, task: Shared) {
        self.levels[task.core().controls.priority.level()].push_back(task);
    }

    /// It is the next one.
    pub(super) fn push_front(&mut self, task: Shared) {
        let level = task.core().controls.priority.level();
        self.levels[level].push_front(task);
        self.next = Some(level);
    }

    pub(super) fn front(&mut self) -> Option<&Shared> {
        let level = match self.next.filter(|&level| !self.levels[level].is_empty()) {
            Some(level) => level,
            None => {
                let levels = &self.levels;
                self.turn.next().into_iter().find(|&level| !levels[level].is_empty())?
            }
        };
        self.next = Some(level);
        self.levels[level].front()
    }

    pub(super) fn pop_front(&mut self) -> Option<Shared> {
        self.front()?;
        let level = self.next.take()?;
        self.levels[level].pop_front()
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Shared) -> bool) {
        self.levels.iter_mut().for_each(|level| level.retain(&mut keep));
    }

    pub(super) fn take_all(&mut self) -> Vec<Shared> {
        self.levels.iter_mut().flat_map(std::mem::take).collect()
    }
}
