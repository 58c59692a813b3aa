//! A handle as one of many that are waited for together, by a stream.

use std::time::Duration;

use super::{Core, Task, Waiter};

impl<T: 'static, E: 'static> Task<T, E> {
    fn core(&self) -> &Core {
        self.cell.core()
    }

    /// Registers who is woken by the outcome, in place of whoever was; false: it is there already.
    pub(crate) fn wake_by(&self, waiter: Waiter) -> bool {
        self.cell.wake_by(waiter)
    }

    /// Nobody has started it.
    pub(crate) fn is_waiting(&self) -> bool {
        self.core().is_waiting()
    }

    /// The caller will block until this task or another one has ended: look at this one for a
    /// short while, as [`join`](Self::join) does before it sleeps, or run it here if it `may_run`.
    pub(crate) fn help(&self, may_run: bool) {
        // Whoever waits no longer than until some moment runs nothing here.
        let deadline = (!may_run).then_some(Duration::MAX);
        self.port.help(self.core(), &|| self.shared(), deadline);
    }
}
