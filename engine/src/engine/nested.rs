//! Tasks that jobs submit: [`Ctx::engine`].

use std::sync::{Arc, Weak};

use super::Engine;
use super::shared::Shared;
use super::shutdown::Last;
use crate::budget::Budget;
use crate::ctx::Ctx;
use crate::home::Home;

impl Ctx {
    /// The engine that the task runs under, to submit further tasks to. They inherit the task's
    /// [`deadline`](crate::TaskBuilder::deadline) and [`trace`](crate::TaskBuilder::trace).
    ///
    /// A job that [`join`](crate::Task::join)s its tasks keeps no core busy meanwhile, and runs
    /// those that have not started itself, if they may run where it is: so tasks may nest as deep
    /// as the stack allows, on one core, too. On a thread that is the host's engine. In a worker
    /// it is the worker's own: its tasks run in that worker, and those that need another process
    /// ([`isolated`](crate::Spec::isolated), `kill_after`, …) go by way of the host.
    ///
    /// The handle does not keep the engine going: after its end submissions are
    /// [`ShuttingDown`](crate::Reason::ShuttingDown).
    ///
    /// ```no_run
    /// # fn half(numbers: Vec<u64>) -> Result<u64, amphi::Error> { Ok(numbers.iter().sum()) }
    /// # fn example(cx: &amphi::Ctx, mut numbers: Vec<u64>) -> Result<u64, amphi::Error> {
    /// let right = numbers.split_off(numbers.len() / 2);
    /// let engine = cx.engine();
    /// let (left, right) = (engine.call(half, numbers), engine.call(half, right));
    /// Ok(left.join()? + right.join()?)
    /// # }
    /// ```
    pub fn engine(&self) -> Engine {
        let engine = Engine::passing(Shared::of(self.home()));
        Engine { inherited: Some(Arc::new(self.inherited())), ..engine }
    }

    /// The [`trace`](crate::TaskBuilder::trace) of the task; 0 where none was given.
    pub fn trace(&self) -> u128 {
        self.inherited().trace
    }
}

impl Engine {
    /// A handle that does not keep the engine going.
    pub(super) fn passing(shared: Arc<Shared>) -> Self {
        Self { shared, inherited: None, _last: Arc::new(Last::none()) }
    }
}

/// How a job finds its engine.
enum Seed {
    /// The host's, which the program keeps.
    Host(Weak<Shared>),
    /// The worker's own, made when a job first asks for it.
    Worker(Arc<Shared>),
}

impl Shared {
    /// Lets the jobs of this process find the engine.
    pub(super) fn plant(&self) {
        let _ = self.home.engine.set(Box::new(Seed::Host(self.me.clone())));
    }

    fn of(home: &Arc<Home>) -> Arc<Self> {
        let seed = home.engine.get_or_init(|| {
            // The running job has its core: whoever of its threads asks.
            let budget = Arc::clone(home.budget.get_or_init(|| Arc::new(Budget::new(1))));
            let host = home.host.get().map(Arc::clone);
            Box::new(Seed::Worker(Self::in_worker(home, budget, host)))
        });
        match seed.downcast_ref::<Seed>() {
            Some(Seed::Worker(shared)) => Arc::clone(shared),
            Some(Seed::Host(shared)) => shared.upgrade().unwrap_or_else(|| Self::ended(home)),
            None => Self::ended(home),
        }
    }
}
