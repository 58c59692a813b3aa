//! Tasks that jobs submit which need another place than the job's own: from a worker they go up to
//! the host, and come back with every kind of outcome.

use std::time::Duration;

use amphi::{App, Bytes, Ctx, Engine, Error, Job, Placement, Spec, TaskError};
use amphi_tests::eventually;
use serde::{Deserialize, Serialize};

use crate::jobs::{Double, Echo, Misbehave, UntilCancelled, app};

pub(crate) fn jobs(app: App) -> App {
    app.job::<Descend>().job::<Guarded>().job::<AtHome>().job::<Ask>()
}

/// Never on a thread of the host; each level is submitted by the one above it.
#[derive(Serialize, Deserialize)]
struct Descend(u32);

impl Job for Descend {
    type Output = Vec<u32>;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, cx: &Ctx) -> Result<Vec<u32>, Error> {
        let mut pids = vec![std::process::id()];
        if self.0 > 0 {
            pids.extend(cx.engine().run(Self(self.0 - 1)).map_err(|e| Error::new(e.to_string()))?);
        }
        Ok(pids)
    }
}

/// Misbehaves where nobody else is hurt.
#[derive(Serialize, Deserialize)]
struct Guarded(Misbehave);

impl Job for Guarded {
    type Output = u32;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, cx: &Ctx) -> Result<u32, Error> {
        self.0.run(cx)
    }
}

/// Needs the host's own process.
#[derive(Serialize, Deserialize)]
struct AtHome;

impl Job for AtHome {
    type Output = u32;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().threads_only()
    }

    fn run(self, _cx: &Ctx) -> Result<u32, Error> {
        Ok(std::process::id())
    }
}

/// What a parent in a worker asks of its children; it tells what it was answered.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
enum Ask {
    Crash,
    Kill,
    Fail,
    Home,
    Large(usize),
    Wide(u64),
    Deadline,
    Cancel,
    /// Leaves its child behind, which runs until it is cancelled.
    Forget,
}

impl Job for Ask {
    type Output = String;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<String, Error> {
        let engine = cx.engine();
        Ok(match self {
            Self::Crash => told(&engine.run(Guarded(Misbehave::Abort))),
            Self::Kill => {
                let limit = Duration::from_millis(50);
                told(&engine.task(Misbehave::Hang).kill_after(limit).run())
            }
            Self::Fail => told(&engine.run(Guarded(Misbehave::Fail))),
            Self::Home => told(&engine.run(AtHome)),
            Self::Large(bytes) => {
                let echo = Echo { bytes: Bytes::from(vec![3; bytes]), output_len: bytes };
                let outcome = engine.task(echo).place(Placement::Thread).run();
                told(&outcome.map(|bytes| (bytes.len(), bytes.iter().all(|byte| *byte == 3))))
            }
            Self::Wide(count) => {
                let tasks: Vec<_> =
                    (0..count).map(|x| engine.task(Double(x)).place(Placement::Thread)).collect();
                let tasks: Vec<_> =
                    tasks.into_iter().map(|task| task.try_submit().expect("room")).collect();
                let outputs = tasks.into_iter().map(|task| task.join());
                told(&outputs.sum::<Result<u64, _>>())
            }
            Self::Deadline => {
                let task = engine.task(UntilCancelled).place(Placement::Thread);
                told(&task.run())
            }
            Self::Cancel => {
                let task = engine.task(UntilCancelled).place(Placement::Thread).try_submit();
                let task = task.expect("room");
                task.cancel();
                told(&task.join())
            }
            Self::Forget => {
                let limit = Duration::from_secs(3600);
                let child = engine.task(UntilCancelled).kill_after(limit).try_submit();
                child.expect("room").detach();
                std::thread::park_timeout(Duration::from_millis(20));
                std::process::abort()
            }
        })
    }
}

fn told<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: &Result<T, TaskError<E>>) -> String {
    format!("{outcome:?}")
}

fn processes(cores: usize) -> Engine {
    app().engine().place(Placement::Process).cores(cores).start().unwrap()
}

#[test]
fn what_needs_a_process_of_its_own_gets_one_however_deep() {
    for cores in [1, 2] {
        let engine = processes(cores);
        let mut pids = engine.run(Descend(50)).unwrap();
        assert_eq!(pids.len(), 51);
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 51, "each level waits in a worker of its own");
        assert!(!pids.contains(&std::process::id()));
        assert_eq!(engine.run(Double(4)), Ok(8), "and the engine goes on");
    }
}

#[test]
fn deeper_than_workers_may_wait_is_an_error_and_no_hang() {
    let engine = processes(1);
    let error = engine.run(Descend(400)).unwrap_err();
    assert!(error.to_string().contains("deeper"), "{error}");
    eventually("the engine goes on", || engine.run(Double(4)) == Ok(8));
}

#[test]
fn a_child_of_a_worker_ends_as_any_task_does() {
    for cores in [1, 2] {
        let engine = processes(cores);
        let ask = |what: Ask| engine.run(what).unwrap();
        assert!(ask(Ask::Crash).starts_with("Err(Crashed { signal: Some(6)"), "{cores}");
        assert!(ask(Ask::Kill).starts_with("Err(TimedOut { clock: KillAfter, killed: true"));
        assert_eq!(ask(Ask::Fail), "Err(Failed(on purpose))");
        assert_eq!(ask(Ask::Home), format!("Ok({})", std::process::id()));
        assert_eq!(ask(Ask::Cancel), "Err(Cancelled)");
        for bytes in [0, 1000, 100_000, 3 << 20] {
            assert_eq!(ask(Ask::Large(bytes)), format!("Ok(({bytes}, true))"));
        }
        assert_eq!(ask(Ask::Wide(1000)), format!("Ok({})", 999 * 1000));
    }
}

#[test]
fn a_child_has_its_parents_deadline() {
    let engine = processes(1);
    let at = std::time::Instant::now() + Duration::from_millis(150);
    // The parent does not look at its own, and tells what became of its child.
    let outcome = engine.task(Ask::Deadline).deadline(at).run();
    assert_eq!(outcome.unwrap(), "Err(TimedOut { clock: Deadline, killed: false })");
}

#[test]
fn children_of_a_dead_worker_are_cancelled() {
    let engine = processes(2);
    assert!(matches!(engine.run(Ask::Forget), Err(TaskError::Crashed { .. })));
    eventually("its child is cancelled", || {
        let stats = engine.stats();
        stats.running == 0 && stats.queued == 0
    });
    assert_eq!(engine.run(Double(4)), Ok(8));
}
