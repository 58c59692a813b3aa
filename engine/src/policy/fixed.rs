//! Policies that look at nothing.

use std::time::Duration;

use super::{Class, Decision, Event, Placement, Policy, Why};

/// Asked once in a long while.
const TASKS: u32 = 1 << 20;

/// Everything that may go either way runs on a thread. Unlike `place(Placement::Thread)` it leaves
/// needs their processes, and keeps jobs that crashed away from the host.
///
/// ```no_run
/// # fn example(app: amphi::App) -> Result<amphi::Engine, amphi::StartError> {
/// app.engine().policy(amphi::policy::AlwaysThread).start()
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysThread;

/// Everything that may go either way runs in a process, where there can be one: otherwise on a
/// thread. (`place(Placement::Process)` would refuse it.)
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysProcess;

impl Policy for AlwaysThread {
    fn decide(&mut self, _class: Class, _now: Duration) -> Decision {
        Decision::new(Placement::Thread, Why::Fixed, TASKS)
    }

    fn observe(&mut self, _event: &Event, _now: Duration) -> bool {
        false
    }

    fn wants_costs(&self) -> bool {
        false
    }
}

impl Policy for AlwaysProcess {
    fn decide(&mut self, _class: Class, _now: Duration) -> Decision {
        Decision::new(Placement::Process, Why::Fixed, TASKS)
    }

    fn observe(&mut self, _event: &Event, _now: Duration) -> bool {
        false
    }

    fn wants_costs(&self) -> bool {
        false
    }
}
