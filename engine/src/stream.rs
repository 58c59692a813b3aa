//! Many jobs through a window: [`Engine::stream`] takes `(key, job)` and yields `(key, outcome)`,
//! in order or as they end.
//!
//! # Invariants
//! 1. Inputs that were taken and whose outcome was not yielded are never more than the window:
//!    tasks, and one input that found the queue full ([`Feed`] keeps it).
//! 2. A full queue is waited for: first by the stream's own tasks, whose end makes room, and in
//!    line with other submitters only where it has none. So an async stream that nobody polls
//!    holds up others at most while it has nothing under way.
//! 3. Before a job that waits here goes to sleep, it has started what only its own thread could: on
//!    one core nobody else would. For the same reason it does not wait for room in the queue.

use std::fmt;

use crate::engine::Engine;
use crate::job::Job;

pub use self::ordered::Ordered;
pub use self::unordered::Unordered;

use self::feed::Feed;

mod feed;
mod ordered;
mod ready;
mod unordered;

/// So many tasks for each core are under way unless told otherwise.
const WINDOW_PER_CORE: usize = 4;

impl Engine {
    /// Runs many jobs, a window of them at a time: `(key, job)` in, `(key, outcome)` out. The
    /// input may be endless, it is taken only as outcomes are.
    ///
    /// Nothing is submitted before the first outcome is asked for. A full queue is waited for; any
    /// other refusal is the outcome of its input, [`TaskError::Rejected`], and the stream goes on.
    /// Dropping the stream cancels what is under way.
    ///
    /// [`TaskError::Rejected`]: crate::TaskError::Rejected
    ///
    /// ```no_run
    /// # use amphi::{Engine, Job};
    /// # fn example<J: Job<Output = u64>>(engine: Engine, jobs: Vec<(String, J)>) {
    /// for (name, outcome) in engine.stream(jobs).window(256).ordered() {
    ///     match outcome {
    ///         Ok(size) => println!("{name}: {size}"),
    ///         Err(_) => println!("{name}: no size"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn stream<I, K, J>(&self, inputs: I) -> StreamBuilder<I::IntoIter>
    where
        I: IntoIterator<Item = (K, J)>,
        J: Job,
    {
        let window = self.cores().saturating_mul(WINDOW_PER_CORE);
        StreamBuilder { engine: self.clone(), inputs: inputs.into_iter(), window }
    }
}

/// Sets up a stream of tasks. Made by [`Engine::stream`].
///
/// ```no_run
/// # use amphi::{Engine, Job};
/// # fn example<J: Job>(engine: Engine, jobs: Vec<J>) {
/// let finished = engine.stream(jobs.into_iter().enumerate()).window(64).unordered();
/// println!("{} did not end well", finished.filter(|(_, outcome)| outcome.is_err()).count());
/// # }
/// ```
#[must_use = "a stream is made by ordered() or unordered()"]
pub struct StreamBuilder<I> {
    engine: Engine,
    inputs: I,
    window: usize,
}

impl<I> StreamBuilder<I> {
    /// How many inputs may be under way, or finished and not yet taken (four for each core of the
    /// engine unless set). 0 counts as 1. The engine's queue may allow fewer.
    pub fn window(mut self, tasks: usize) -> Self {
        self.window = tasks;
        self
    }

    /// Outcomes in the order of the inputs. One slow task holds up what follows it once the window
    /// is full.
    pub fn ordered<K, J>(self) -> Ordered<I, K, J>
    where
        I: Iterator<Item = (K, J)>,
        J: Job,
    {
        Ordered::new(Feed::new(self.engine, self.inputs, self.window))
    }

    /// Outcomes as the tasks end.
    pub fn unordered<K, J>(self) -> Unordered<I, K, J>
    where
        I: Iterator<Item = (K, J)>,
        J: Job,
    {
        Unordered::new(Feed::new(self.engine, self.inputs, self.window))
    }
}

impl<I> fmt::Debug for StreamBuilder<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBuilder").field("window", &self.window).finish_non_exhaustive()
    }
}
