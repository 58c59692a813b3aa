//! What a running job sees of the engine: its cancel token, its progress, its process's state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::error::CancelRequested;
use crate::home::Home;
use crate::policy::Placement;
use crate::task::{Inherited, encode_message};

/// The way from a running job back to whoever waits for it. A thread's task answers itself; in a
/// worker the lane does.
pub(crate) trait Signals: Send + Sync {
    fn is_cancelled(&self) -> bool;
    fn progress(&self, done: u64, total: u64);
    /// A message, as [`encode_message`] makes it.
    fn emit(&self, message: Vec<u8>);
    /// What tasks take over that this one submits.
    fn inherited(&self) -> Inherited;
}

/// Handed to every running job. It may be shared with the threads of [`Ctx::install`].
pub struct Ctx {
    home: Arc<Home>,
    placement: Placement,
    /// `None` between two tasks.
    signals: Option<Arc<dyn Signals>>,
    saw_cancel: AtomicBool,
}

impl Ctx {
    pub(crate) fn new(home: Arc<Home>, placement: Placement) -> Self {
        Self { home, placement, signals: None, saw_cancel: AtomicBool::new(false) }
    }

    /// The same context for the thread's next task.
    pub(crate) fn begin(&mut self, signals: Arc<dyn Signals>) {
        self.signals = Some(signals);
        self.begin_again();
    }

    /// The same context, whose signals stand for the next task now.
    pub(crate) fn begin_again(&mut self) {
        *self.saw_cancel.get_mut() = false;
    }

    /// The task is over; nothing of it is kept.
    pub(crate) fn end(&mut self) {
        self.signals = None;
    }

    /// `Err` once the task was asked to stop: its handle was dropped or told to cancel, its
    /// `timeout` or `deadline` is over, or the engine ends. Call it in long loops and hand the error
    /// on: the outcome is then [`Cancelled`](crate::TaskError::Cancelled), or
    /// [`TimedOut`](crate::TaskError::TimedOut) where a clock asked. Costs one load.
    ///
    /// ```
    /// # fn example(cx: &amphi::Ctx, lines: Vec<String>) -> Result<usize, amphi::Error> {
    /// let mut words = 0;
    /// for line in lines {
    ///     cx.check()?;
    ///     words += line.split_whitespace().count();
    /// }
    /// Ok(words)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CancelRequested`], when cancellation was asked for.
    pub fn check(&self) -> Result<(), CancelRequested> {
        if self.is_cancelled() { Err(CancelRequested) } else { Ok(()) }
    }

    /// The same question as a `bool`.
    pub fn is_cancelled(&self) -> bool {
        let cancelled = self.signals.as_ref().is_some_and(|signals| signals.is_cancelled());
        if cancelled {
            self.saw_cancel.store(true, Ordering::Relaxed);
        }
        cancelled
    }

    /// Tells the holder of the task how far it is, in units of the job's own. The latest call
    /// counts; see [`Task::progress`](crate::Task::progress), which fetches the reports of a
    /// worker. Never blocks: while some hundreds are not fetched, a worker's further ones are lost.
    ///
    /// ```
    /// # fn work(_file: &str) {}
    /// # fn example(cx: &amphi::Ctx, files: &[String]) {
    /// for (done, file) in files.iter().enumerate() {
    ///     cx.progress(done as u64, files.len() as u64);
    ///     work(file);
    /// }
    /// # }
    /// ```
    pub fn progress(&self, done: u64, total: u64) {
        if let Some(signals) = &self.signals {
            signals.progress(done, total);
        }
    }

    /// Sends a value to whoever holds the task and reads its
    /// [`messages`](crate::Task::messages), while the job runs on. They arrive in their order;
    /// what was emitted can be read after the outcome, too, also where the job crashed.
    ///
    /// Never blocks for long: messages that nobody reads are kept within bounds (1024 of a task
    /// and 4 MiB, a single one up to 1 MiB), the others are dropped and
    /// [counted](crate::Messages::dropped). A worker that tells more than its host takes out is
    /// held up a little, a tenth of a second at most. The value is encoded in every placement; a
    /// top-level [`Bytes`](crate::Bytes) fast. A job that is tried again tells again.
    ///
    /// ```no_run
    /// # fn words(_file: &str) -> usize { 0 }
    /// # fn example(cx: &amphi::Ctx, files: Vec<String>) {
    /// for file in files {
    ///     let count = words(&file);
    ///     cx.emit(&(file, count)); // task.messages::<(String, usize)>()
    /// }
    /// # }
    /// ```
    pub fn emit<M: Serialize + 'static>(&self, message: &M) {
        if let Some(signals) = &self.signals {
            signals.emit(encode_message(message));
        }
    }

    /// What [`App::preload`](crate::App::preload) or
    /// [`App::worker_state`](crate::App::worker_state) makes of type `S`, once in each process, at
    /// its first use, which **blocks** until it is made (a preloaded value of a worker was made in
    /// the forkserver).
    ///
    /// ```
    /// # struct Model { weights: Vec<f64> }
    /// # fn example(cx: &amphi::Ctx, index: usize) -> Option<f64> {
    /// let model = cx.state::<Model>(); // the app has .preload(load_model)
    /// model.weights.get(index).copied()
    /// # }
    /// ```
    ///
    /// # Panics
    /// If nothing of type `S` is registered or making it failed; the task's outcome is then
    /// [`Panicked`](crate::TaskError::Panicked) with the reason, in both places.
    pub fn state<S: Send + Sync + 'static>(&self) -> &S {
        match self.home.state::<S>() {
            Ok(state) => state,
            Err(text) => panic!("{text}"),
        }
    }

    /// Runs `work` on this process's rayon pool and **blocks** until it has ended, so that parallel
    /// iterators in it use the cores that the engine was given: all of them in the host, one
    /// worker's share in a worker. A panic of `work` is one of the job.
    ///
    /// ```no_run
    /// # use rayon::prelude::*;
    /// # fn sum(cx: &amphi::Ctx, data: &[u64]) -> u64 {
    /// cx.install(|| data.par_iter().sum())
    /// # }
    /// ```
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self.home.rayon() {
            Some(pool) => pool.install(work),
            // No thread could be started: the same work, on this one.
            None => work(),
        }
    }

    /// Where this task runs: `Thread` or `Process`.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// What tasks take over that this one submits.
    pub(crate) fn inherited(&self) -> Inherited {
        self.signals.as_ref().map(|signals| signals.inherited()).unwrap_or_default()
    }

    pub(crate) fn saw_cancel(&self) -> bool {
        self.saw_cancel.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx").field("placement", &self.placement).finish_non_exhaustive()
    }
}
