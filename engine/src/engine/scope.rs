//! Borrowing closures on the pool's threads: [`Engine::scope`].

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Engine;
use crate::error::TaskError;
use crate::sys::borrow::{Lender, with_lender};
use crate::task::{AnyTask, Task};

/// Spawns closures that borrow from outside the scope. Made by [`Engine::scope`].
pub struct Scope<'scope, 'env> {
    engine: &'scope Engine,
    lender: &'scope Lender<'scope, 'env>,
    spawned: &'scope Mutex<Vec<Arc<dyn AnyTask>>>,
}

/// The handle of one closure of a [`Scope`]. Dropping it does not cancel: the scope waits for
/// every closure, joined or not.
pub struct ScopedTask<T> {
    task: Option<Task<(), Infallible>>,
    result: Arc<Mutex<Option<T>>>,
}

impl Engine {
    /// Runs `body`, which may spawn closures that borrow from its surroundings, and **blocks**
    /// until all of them have ended. Threads only: borrowed data cannot leave its process.
    ///
    /// ```no_run
    /// # fn example(engine: amphi::Engine) {
    /// let data = vec![1_u64, 2, 3, 4];
    /// let (left, right) = data.split_at(2);
    /// let sum = engine.scope(|s| {
    ///     let left = s.spawn(|| left.iter().sum::<u64>());
    ///     let right = s.spawn(|| right.iter().sum::<u64>());
    ///     left.join().unwrap() + right.join().unwrap()
    /// });
    /// assert_eq!(sum, 10);
    /// # }
    /// ```
    pub fn scope<'env, R>(&self, body: impl FnOnce(&Scope<'_, 'env>) -> R) -> R {
        let spawned = Mutex::new(Vec::new());
        // Called when `body` has returned or unwound: this thread runs what has not started, then
        // waits for the rest.
        let wait = |wait: &mut dyn FnMut()| {
            let tasks: Vec<Arc<dyn AnyTask>> = std::mem::take(&mut *spawned.lock());
            for task in tasks.into_iter().filter(|task| !task.core().is_settled()) {
                self.shared.threads.help(task.core(), &|| Arc::clone(&task), true);
            }
            self.shared.threads.while_waiting(wait);
        };
        with_lender(&wait, |lender| body(&Scope { engine: self, lender, spawned: &spawned }))
    }
}

impl<'env> Scope<'_, 'env> {
    /// Runs `closure` on a thread of the pool. Where the queue is full, it is **not run**, which the
    /// handle alone tells, by [`TaskError::Rejected`]: join it.
    pub fn spawn<T: Send + 'env>(
        &self,
        closure: impl FnOnce() -> T + Send + 'env,
    ) -> ScopedTask<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let lent = self.lender.lend(Box::new(move || {
            let value = closure();
            *slot.lock() = Some(value);
        }));
        let task = self.engine.spawn(move |_cx| lent.run());
        let mut spawned = self.spawned.lock();
        if spawned.len() >= 64 && spawned.len().is_power_of_two() {
            spawned.retain(|task| !task.core().is_settled());
        }
        spawned.push(task.shared());
        drop(spawned);
        ScopedTask { task: Some(task), result }
    }
}

impl<T> ScopedTask<T> {
    /// **Blocks** until the closure has ended and returns what it made.
    ///
    /// # Errors
    /// `Panicked` where the closure panicked, `Rejected` where the queue was full, `Cancelled`
    /// where the engine was shut down before it started.
    pub fn join(mut self) -> Result<T, TaskError<Infallible>> {
        if let Some(task) = self.task.take() {
            task.join()?;
        }
        self.result.lock().take().ok_or(TaskError::Cancelled)
    }
}

impl<T> Drop for ScopedTask<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ScopedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTask").field("task", &self.task).finish_non_exhaustive()
    }
}
