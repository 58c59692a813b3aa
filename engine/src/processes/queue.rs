//! What waits for a worker: one queue for each priority, taken from in turns.

use std::collections::VecDeque;

use super::pool::Shared;
use crate::task::{Priority, Turn};

/// Both queues: tasks that any worker of the pool may run, and those that need one of their own
/// kind, behind which the others do not wait.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) usual: Queue,
    pub(super) special: Queue,
}

impl Queues {
    pub(super) fn of(&mut self, need: Need) -> &mut Queue {
        if need.is_special() { &mut self.special } else { &mut self.usual }
    }

    pub(super) fn len(&self) -> usize {
        self.usual.len() + self.special.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.usual.is_empty() && self.special.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Shared> {
        self.usual.iter().chain(self.special.iter())
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Shared) -> bool) {
        self.usual.retain(&keep);
        self.special.retain(&keep);
    }

    pub(super) fn take_all(&mut self) -> Vec<Shared> {
        let mut all = self.usual.take_all();
        all.extend(self.special.take_all());
        all
    }
}

/// What a job needs of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Need {
    /// Which limits it was started with: the engine's are 0.
    pub(super) kind: u16,
    /// It has run nothing before, and runs nothing afterwards.
    pub(super) one_shot: bool,
}

impl Need {
    pub(super) const fn is_special(self) -> bool {
        self.kind != 0 || self.one_shot
    }
}

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
        self.levels[task.core().plan.controls.priority.level()].push_back(task);
    }

    /// It is the next one.
    pub(super) fn push_front(&mut self, task: Shared) {
        let level = task.core().plan.controls.priority.level();
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
