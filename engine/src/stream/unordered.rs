//! Outcomes as the tasks end: each task rings when it does, and no call looks through the window.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use futures_core::Stream;

use super::feed::{Feed, TaskOf};
use super::ready::{Ready, bell};
use crate::error::TaskError;
use crate::job::Job;
use crate::task::Waiter;

/// The outcomes of a stream of jobs as they end, as an `Iterator`, whose `next` **blocks**, and as
/// a `Stream` for any async runtime. Made by
/// [`StreamBuilder::unordered`](crate::StreamBuilder::unordered).
///
/// Dropping it cancels what is under way. A job may iterate over one: it keeps no core busy while
/// it waits. It is used from async code by [`next_async`](Self::next_async), or by the adaptors of
/// a `StreamExt`; where that trait is in scope `results.next()` is ambiguous, because `Iterator`
/// has one, too.
///
/// ```no_run
/// # use amphi::{Engine, Job};
/// # async fn example<J: Job>(engine: Engine, jobs: Vec<(u32, J)>) {
/// let mut results = engine.stream(jobs).unordered();
/// while let Some((number, outcome)) = results.next_async().await {
///     println!("{number} {}", outcome.is_ok());
/// }
/// # }
/// ```
#[must_use = "a stream submits nothing before its first outcome is asked for"]
pub struct Unordered<I, K, J: Job> {
    feed: Feed<I, K, J>,
    slots: Vec<Slot<K, J>>,
    free: Vec<usize>,
    ready: Arc<Ready>,
    /// Slots whose task has ended: what was last taken from `ready`.
    ended: VecDeque<usize>,
    /// Slots and turns in the order of submission: whose task may not have been started. Entries
    /// of ended tasks may stand here, as many again and 16 at most.
    unstarted: VecDeque<(usize, u64)>,
}

/// Holds one task after the other.
struct Slot<K, J: Job> {
    entry: Option<(K, TaskOf<J>)>,
    /// Counts them.
    turn: u64,
    bell: Waker,
}

// No field is ever pinned in place.
impl<I, K, J: Job> Unpin for Unordered<I, K, J> {}

impl<I, K, J: Job> Unordered<I, K, J> {
    fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<I, K, J> Unordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
    pub(super) fn new(feed: Feed<I, K, J>) -> Self {
        Self {
            feed,
            slots: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            ended: VecDeque::new(),
            unstarted: VecDeque::new(),
        }
    }

    /// The next outcome, or `None` when all were yielded. Never blocks, but takes inputs and
    /// submits on the calling thread. Cancel safe.
    ///
    /// # Panics
    /// If the input iterator does.
    pub async fn next_async(&mut self) -> Option<(K, Result<J::Output, TaskError<J::Error>>)> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn fill(&mut self) {
        while let Some((key, task)) = self.feed.next(self.under_way()) {
            self.insert(key, task);
        }
    }

    fn insert(&mut self, key: K, task: TaskOf<J>) {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len();
            self.slots.push(Slot { entry: None, turn: 0, bell: bell(&self.ready, index) });
            index
        });
        let slot = &mut self.slots[index];
        slot.turn += 1;
        if task.wake_by(Waiter::Waker(slot.bell.clone())) {
            self.unstarted.push_back((index, slot.turn));
        } else {
            self.ended.push_back(index);
        }
        slot.entry = Some((key, task));
        // One task that runs for ever must not keep the entries of all that ended behind it.
        if self.unstarted.len() > 2 * self.slots.len() + 16 {
            let slots = &self.slots;
            self.unstarted.retain(|(index, turn)| slots[*index].turn == *turn);
        }
    }

    /// The next task that has ended.
    fn pop(&mut self) -> Option<<Self as Iterator>::Item> {
        if self.ended.is_empty() {
            self.ready.take(&mut self.ended);
        }
        let index = self.ended.pop_front()?;
        let (key, task) = self.slots[index].entry.take()?;
        self.free.push(index);
        Some((key, task.join())) // its outcome is there
    }

    /// The caller will block: looks at the oldest task for a while. A job runs one that nobody has
    /// started, being perhaps the only thread that could; any other caller would only delay what
    /// ends meanwhile.
    ///
    /// A task that is found running is looked at once and left alone; one that nobody has started
    /// stays at the head until somebody has.
    fn help(&mut self) {
        let may_run = self.feed.engine().is_in_job();
        let mut has_looked = false;
        while let Some((index, turn)) = self.unstarted.front() {
            let slot = &self.slots[*index];
            let entry = slot.entry.as_ref().filter(|_| slot.turn == *turn);
            if let Some((_, task)) = entry.filter(|(_, task)| !task.is_finished()) {
                if !has_looked || (may_run && task.is_waiting()) {
                    task.help(may_run);
                    has_looked = true;
                }
                if task.is_finished() || task.is_waiting() {
                    return;
                }
            }
            self.unstarted.pop_front();
        }
    }
}

impl<I, K, J> Iterator for Unordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
    type Item = (K, Result<J::Output, TaskError<J::Error>>);

    /// **Blocks** until one of the tasks under way has ended. Inside a job it may run one of them
    /// on the calling thread.
    ///
    /// # Panics
    /// If the input iterator does. It is not asked again then; what is under way can still be
    /// taken.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.fill();
            if let Some(item) = self.pop() {
                return Some(item);
            }
            if self.under_way() == 0 {
                let (key, task) = self.feed.next_blocking()?;
                self.insert(key, task);
                continue;
            }
            self.help();
            if self.ready.wake_by(Waiter::Thread(thread::current())) {
                self.feed.engine().while_waiting(&mut thread::park);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.feed.size_hint(self.under_way())
    }
}

impl<I, K, J> FusedIterator for Unordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
}

impl<I, K, J> Stream for Unordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
    type Item = (K, Result<J::Output, TaskError<J::Error>>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.fill();
            if let Some(item) = self.pop() {
                return Poll::Ready(Some(item));
            }
            if self.under_way() == 0 {
                if !ready!(self.feed.poll_room(cx)) {
                    return Poll::Ready(None);
                }
            } else if self.ready.wake_by(Waiter::Waker(cx.waker().clone())) {
                return Poll::Pending;
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.feed.size_hint(self.under_way())
    }
}

impl<I, K, J: Job> fmt::Debug for Unordered<I, K, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unordered").field("tasks", &self.under_way()).finish_non_exhaustive()
    }
}
