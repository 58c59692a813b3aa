//! Borrowing closures on the pool's threads: [`Engine::scope`].

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::Engine;
use crate::error::TaskError;
use crate::sys::borrow::{Lender, with_lender};
use crate::task::Task;

/// Spawns closures that borrow from outside the scope. Made by [`Engine::scope`].
pub struct Scope<'scope, 'env> {
    engine: &'scope Engine,
    lender: &'scope Lender<'env>,
}

/// The handle of one closure of a [`Scope`].
pub struct ScopedTask<T> {
    task: Task<(), Infallible>,
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
        with_lender(|lender| body(&Scope { engine: self, lender }))
    }
}

impl<'env> Scope<'_, 'env> {
    /// Runs `closure` on a thread of the pool. Where the queue is full, the handle says
    /// [`TaskError::Rejected`].
    pub fn spawn<T: Send + 'env>(
        &self,
        closure: impl FnOnce() -> T + Send + 'env,
    ) -> ScopedTask<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let lent = self.lender.lend(Box::new(move || {
            let value = closure();
            *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
        }));
        ScopedTask { task: self.engine.spawn(move |_cx| lent.run()), result }
    }
}

impl<T> ScopedTask<T> {
    /// **Blocks** until the closure has ended and returns what it made.
    ///
    /// # Errors
    /// `Panicked` where the closure panicked, `Rejected` where the queue was full.
    pub fn join(self) -> Result<T, TaskError<Infallible>> {
        self.task.join()?;
        let mut result = self.result.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        result.take().ok_or(TaskError::Cancelled)
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
