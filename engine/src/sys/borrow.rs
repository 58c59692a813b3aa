//! Lending borrowed closures to threads that outlive the borrow: the lifetime erasure behind
//! `Engine::scope`, safe because the lender does not return before every loan is over.
//!
//! The shape of `std::thread::scope`. A leaked loan (`mem::forget` of a [`Lent`]) makes the lender
//! wait for ever; the engine never leaks one: a task's body is dropped when it is settled.

use std::marker::PhantomData;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Called with the wait for open loans, which it must run; what else it does there is its own.
pub(crate) type Waiting<'a> = dyn Fn(&mut dyn FnMut()) + 'a;

/// Lends closures that borrow from `'env`. Made by [`with_lender`].
pub(crate) struct Lender<'scope, 'env> {
    loans: &'scope Arc<Loans>,
    /// Invariant in `'env`, as `std::thread::Scope` is.
    env: PhantomData<&'env mut &'env ()>,
}

/// One lent closure; running or dropping it ends the loan.
pub(crate) struct Lent {
    job: Option<Job<'static>>,
    loans: Arc<Loans>,
}

#[derive(Default)]
struct Loans {
    open: Mutex<usize>,
    closed: Condvar,
}

impl Loans {
    /// **Blocks** until every loan is over.
    fn wait(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while *open > 0 {
            open = self.closed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs `body`, then waits until every closure it lent has been run or dropped, also when `body`
/// unwinds.
pub(crate) fn with_lender<'env, R>(
    waiting: &Waiting<'_>,
    body: impl FnOnce(&Lender<'_, 'env>) -> R,
) -> R {
    struct WaitOnDrop<'a>(&'a Loans, &'a Waiting<'a>);
    impl Drop for WaitOnDrop<'_> {
        fn drop(&mut self) {
            // The second wait does not rely on the first having been run, nor on it not unwinding.
            struct Surely<'a>(&'a Loans);
            impl Drop for Surely<'_> {
                fn drop(&mut self) {
                    self.0.wait();
                }
            }
            let surely = Surely(self.0);
            (self.1)(&mut || surely.0.wait());
        }
    }
    let loans = Arc::new(Loans::default());
    let _wait = WaitOnDrop(&loans, waiting);
    body(&Lender { loans: &loans, env: PhantomData })
}

impl<'env> Lender<'_, 'env> {
    /// Lends `job`.
    pub(crate) fn lend(&self, job: Job<'env>) -> Lent {
        // SAFETY: the two types differ in a lifetime only, and the closure must not be used after
        // 'env — it is consumed or dropped by its `Lent`, whose drop counts the loan down after
        // that, and `with_lender` does not return (nor unwind) before the count is zero.
        let job = unsafe { mem::transmute::<Job<'env>, Job<'static>>(job) };
        *self.loans.open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Lent { job: Some(job), loans: Arc::clone(self.loans) }
    }
}

impl Lent {
    /// Runs the closure; the loan is over when it has returned or unwound.
    pub(crate) fn run(mut self) {
        if let Some(job) = self.job.take() {
            job();
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.job.take());
        let mut open = self.loans.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open -= 1;
        if *open == 0 {
            self.loans.closed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lender_waits_for_its_loans() {
        let mut numbers = vec![1, 2, 3];
        with_lender(&|wait| wait(), |lender| {
            let lent = lender.lend(Box::new(|| numbers.push(4)));
            std::thread::spawn(move || lent.run());
        });
        assert_eq!(numbers, [1, 2, 3, 4]);
    }

    #[test]
    fn a_dropped_loan_is_over() {
        let flag = String::from("kept");
        with_lender(&|wait| wait(), |lender| {
            drop(lender.lend(Box::new(|| assert_eq!(flag, "never run"))))
        });
        assert_eq!(flag, "kept");
    }
}
