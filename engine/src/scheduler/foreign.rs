//! Code of others that the engine runs while it holds its locks: a policy, and whoever listens to
//! what the engine says of it.
//!
//! It must not call the engine, which would wait for itself. Whatever takes one of those locks asks
//! [`assert_outside`] first: the call panics in the code of others, and there it ends.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of others, which must not call the engine. `Err`: it panicked.
pub(super) fn run<R>(code: impl FnOnce() -> R) -> thread::Result<R> {
    struct Outside;
    impl Drop for Outside {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }
    INSIDE.set(true);
    let _outside = Outside;
    catch_unwind(AssertUnwindSafe(code))
}

/// # Panics
/// In code of others, which must not call the engine.
#[inline]
pub(crate) fn assert_outside() {
    assert!(
        !INSIDE.get(),
        "a policy, or whoever is told that it is replaced, must not call its engine, which waits for \
         it; decide from what the policy was told by observe"
    );
}
