//! The way in: takes an input when the window has room and makes it a task.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::Engine;
use crate::job::Job;
use crate::task::Task;

pub(super) type TaskOf<J> = Task<<J as Job>::Output, <J as Job>::Error>;

/// See the module.
pub(super) struct Feed<I, K, J> {
    engine: Engine,
    inputs: I,
    /// There are no more inputs, or asking for one panicked.
    is_over: bool,
    /// The input that found the queue full.
    held: Option<(K, J)>,
    /// A place in the line of those who wait for room.
    room: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    window: usize,
}

impl<I, K, J> Feed<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
    pub(super) fn new(engine: Engine, inputs: I, window: usize) -> Self {
        Self { engine, inputs, is_over: false, held: None, room: None, window: window.max(1) }
    }

    /// The next input's task, if the window has room beside `taken` tasks, there is an input, and
    /// the queue is not full.
    pub(super) fn next(&mut self, taken: usize) -> Option<(K, TaskOf<J>)> {
        if taken >= self.window {
            return None;
        }
        let (key, job) = match self.held.take() {
            Some(held) => held,
            None => self.advance()?,
        };
        match self.engine.submit_or_keep(job) {
            Ok(task) => Some((key, task)),
            Err(job) => {
                self.held = Some((key, job));
                None
            }
        }
    }

    /// An iterator that has ended or panicked is not asked again.
    fn advance(&mut self) -> Option<(K, J)> {
        if self.is_over {
            return None;
        }
        self.is_over = true;
        let input = self.inputs.next();
        self.is_over = input.is_none();
        input
    }

    /// The task of the input that found the queue full, if there is one; **blocks** until there is
    /// room. For a stream that has no task under way.
    pub(super) fn next_blocking(&mut self) -> Option<(K, TaskOf<J>)> {
        let (key, job) = self.held.take()?;
        self.room = None;
        Some((key, self.engine.submit_when_room(job)))
    }

    /// The same for async callers: ready when [`next`](Self::next) may go on; false: there is
    /// nothing that waits for room.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.held.is_none() {
            return Poll::Ready(false);
        }
        let engine = &self.engine;
        let room = self.room.get_or_insert_with(|| Box::pin(engine.clone().wait_for_room()));
        std::task::ready!(room.as_mut().poll(cx));
        self.room = None;
        Poll::Ready(true)
    }

    /// See [`Iterator::size_hint`], with `taken` tasks to come.
    pub(super) fn size_hint(&self, taken: usize) -> (usize, Option<usize>) {
        let taken = taken + usize::from(self.held.is_some());
        let (least, most) = if self.is_over { (0, Some(0)) } else { self.inputs.size_hint() };
        (least.saturating_add(taken), most.and_then(|most| most.checked_add(taken)))
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }
}
