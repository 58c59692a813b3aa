//! Outcomes in the order of the inputs: only the oldest task is ever waited for.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::feed::{Feed, TaskOf};
use crate::error::TaskError;
use crate::job::Job;

/// The outcomes of a stream of jobs in the order of the inputs, as an `Iterator`, whose `next`
/// **blocks**, and as a `Stream` for any async runtime. Made by
/// [`StreamBuilder::ordered`](crate::StreamBuilder::ordered).
///
/// Dropping it cancels what is under way. A job may iterate over one: it keeps no core busy while
/// it waits. It is used from async code by [`next_async`](Self::next_async), or by the adaptors of
/// a `StreamExt`; where that trait is in scope `results.next()` is ambiguous, because `Iterator`
/// has one, too.
///
/// ```no_run
/// # use amphi::{Engine, Job};
/// # async fn example<J: Job>(engine: Engine, jobs: Vec<(u32, J)>) {
/// let mut results = engine.stream(jobs).ordered();
/// while let Some((number, outcome)) = results.next_async().await {
///     println!("{number} {}", outcome.is_ok());
/// }
/// # }
/// ```
#[must_use = "a stream submits nothing before its first outcome is asked for"]
pub struct Ordered<I, K, J: Job> {
    feed: Feed<I, K, J>,
    tasks: VecDeque<(K, TaskOf<J>)>,
}

// No field is ever pinned in place.
impl<I, K, J: Job> Unpin for Ordered<I, K, J> {}

impl<I, K, J> Ordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
    pub(super) fn new(feed: Feed<I, K, J>) -> Self {
        Self { feed, tasks: VecDeque::new() }
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
        while let Some(entry) = self.feed.next(self.tasks.len()) {
            self.tasks.push_back(entry);
        }
    }
}

impl<I, K, J> Iterator for Ordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
    type Item = (K, Result<J::Output, TaskError<J::Error>>);

    /// **Blocks** until the oldest task under way has ended, and may run it on the calling thread,
    /// as [`Task::join`](crate::Task::join) does.
    ///
    /// # Panics
    /// If the input iterator does. It is not asked again then; what is under way can still be
    /// taken.
    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        let oldest = self.tasks.pop_front().or_else(|| self.feed.next_blocking());
        oldest.map(|(key, task)| (key, task.join()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.feed.size_hint(self.tasks.len())
    }
}

impl<I, K, J> FusedIterator for Ordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
}

impl<I, K, J> Stream for Ordered<I, K, J>
where
    I: Iterator<Item = (K, J)>,
    J: Job,
{
    type Item = (K, Result<J::Output, TaskError<J::Error>>);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.fill();
            if let Some((_, oldest)) = self.tasks.front_mut() {
                let outcome = ready!(Pin::new(oldest).poll(cx));
                return Poll::Ready(self.tasks.pop_front().map(|(key, _)| (key, outcome)));
            }
            if !ready!(self.feed.poll_room(cx)) {
                return Poll::Ready(None);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.feed.size_hint(self.tasks.len())
    }
}

impl<I, K, J: Job> fmt::Debug for Ordered<I, K, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}
