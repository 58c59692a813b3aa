//! Tasks that jobs submit by the engine they run under.

use std::sync::mpsc;
use std::time::Duration;

use amphi::{Engine, Placement, Reason, TaskError};

use crate::chores::{EVERYWHERE, Family, ISOLATED, Isolates, Needs, Traces};
use crate::jobs::{Double, Misbehave, app};

const SOON: Duration = Duration::from_secs(10);

/// Runs `check` under every placement, on one core and on two.
fn each(check: impl Fn(&str, &Engine)) {
    for placement in EVERYWHERE {
        for cores in [1, 2] {
            let engine = app().engine().place(placement).cores(cores).start().unwrap();
            check(&format!("{placement}, {cores} cores"), &engine);
        }
    }
}

fn leaves(engine: &Engine, width: u32, depth: u32, panics: bool) -> u32 {
    let root = engine.try_submit(Family { width, depth, panics }).unwrap();
    root.join_timeout(SOON).expect("no deadlock").unwrap()
}

#[test]
fn a_job_may_have_a_thousand_children() {
    each(|what, engine| {
        assert_eq!(leaves(engine, 1000, 1, false), 1000, "{what}");
        // By a caller that runs the root itself, if it may.
        let root = Family { width: 1000, depth: 1, panics: false };
        assert_eq!(engine.run(root), Ok(1000), "{what}");
    });
}

#[test]
fn jobs_may_be_fifty_generations_deep() {
    each(|what, engine| {
        assert_eq!(leaves(engine, 1, 50, false), 1, "{what}");
        assert_eq!(engine.run(Family { width: 1, depth: 50, panics: false }), Ok(1), "{what}");
        // Eight at once.
        let root = |_| engine.try_submit(Family { width: 1, depth: 50, panics: false }).unwrap();
        let roots: Vec<_> = (0..8).map(root).collect();
        for root in roots {
            assert_eq!(root.join_timeout(SOON).expect("no deadlock"), Ok(1), "{what}");
        }
    });
}

#[test]
fn jobs_may_be_a_tree() {
    each(|what, engine| {
        assert_eq!(leaves(engine, 2, 8, false), 256, "{what}");
        assert_eq!(leaves(engine, 10, 3, false), 1000, "{what}");
    });
}

#[test]
fn a_childs_panic_is_an_outcome_for_its_parent() {
    each(|what, engine| {
        assert_eq!(leaves(engine, 3, 2, true), 0, "{what}");
        assert_eq!(engine.run(Double(1)), Ok(2), "{what}: the engine goes on");
    });
}

#[test]
fn nested_tasks_inherit_the_trace() {
    const TRACE: u128 = u128::MAX - 7;
    let engine = app().engine().place(Placement::Thread).cores(1).start().unwrap();
    let traces = |depth, last| engine.task(Traces { depth, last });
    assert_eq!(traces(2, 0).run(), Ok(vec![0, 0, 0]));
    assert_eq!(traces(2, 0).trace(TRACE).run(), Ok(vec![TRACE; 3]));
    // A task's own counts, whether it is the greater number or not.
    assert_eq!(traces(2, 5).trace(TRACE).run(), Ok(vec![TRACE, TRACE, 5]));
    assert_eq!(traces(2, TRACE).trace(5).run(), Ok(vec![5, 5, TRACE]));
}

#[test]
fn nested_tasks_in_a_worker_inherit_the_trace() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    let outcome = engine.task(Traces { depth: 2, last: 0 }).trace(7).run();
    assert_eq!(outcome, Ok(vec![7, 7, 7]));
}

#[test]
fn a_child_on_a_thread_may_need_a_process() {
    for placement in [Placement::Thread, Placement::Auto] {
        let engine = app().engine().cores(1).start().unwrap();
        let inner = move |cx: &amphi::Ctx| {
            let engine = cx.engine();
            let isolated = engine.run(Needs::<ISOLATED>);
            let killed = engine.task(Misbehave::Hang).kill_after(Duration::from_millis(50)).run();
            let crashed = engine.task(Misbehave::Abort).place(Placement::Process).run();
            let thread = engine.task(Double(1)).place(placement).run();
            (isolated, killed, crashed, thread)
        };
        let outer = engine.spawn(inner).join_timeout(SOON).expect("no deadlock");
        let (isolated, killed, crashed, thread) = outer.unwrap();
        assert_eq!((isolated, thread), (Ok(true), Ok(2)));
        assert!(matches!(killed, Err(TaskError::TimedOut { killed: true, .. })), "{killed:?}");
        assert!(matches!(crashed, Err(TaskError::Crashed { .. })), "{crashed:?}");
    }
}

#[test]
fn a_child_in_a_worker_may_need_another_process() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    let outer = engine.try_submit(Isolates).unwrap();
    assert_eq!(outer.join_timeout(SOON).expect("no deadlock"), Ok(Ok(true)));
}

#[test]
fn a_job_that_outlasts_its_engine_is_told() {
    for grace_ms in [0, 100] {
        let engine = app().engine().place(Placement::Thread).cores(1).start().unwrap();
        let (ended, end) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let outer = engine.spawn(move |cx| {
            let before = cx.engine();
            begin.send(()).unwrap();
            end.recv_timeout(SOON).unwrap();
            for engine in [before, cx.engine()] {
                let by_submit = engine.try_submit(Double(1)).map(drop).map_err(|it| it.reason);
                let by_spawn = engine.spawn(|_| 1).join();
                tell.send((by_submit, by_spawn, engine.run(Double(1)))).unwrap();
            }
        });
        begun.recv_timeout(SOON).unwrap();
        engine.shutdown(Duration::from_millis(grace_ms));
        assert_eq!(outer.join(), Err(TaskError::Cancelled));
        ended.send(()).unwrap();
        for _ in 0..2 {
            let (by_submit, by_spawn, by_run) = told.recv_timeout(SOON).unwrap();
            assert_eq!(by_submit, Err(Reason::ShuttingDown));
            assert_eq!(by_spawn, Err(TaskError::Rejected(Reason::ShuttingDown)));
            assert!(matches!(by_run, Err(TaskError::Rejected(Reason::ShuttingDown))));
        }
    }
}

/// The same where nothing but the job's own handle is left of the engine.
#[test]
fn a_jobs_handle_does_not_keep_its_engine_going() {
    let engine = app().engine().place(Placement::Thread).cores(1).start().unwrap();
    let inner = engine.spawn(|cx| cx.engine()).join().unwrap();
    assert_eq!(inner.run(Double(1)), Ok(2), "it is the same engine");
    drop(engine);
    let rejected = inner.try_submit(Double(1)).unwrap_err();
    assert_eq!((rejected.reason, rejected.job.0), (Reason::ShuttingDown, 1));
}

/// Its children wait behind others in the one queue.
#[test]
fn a_parent_gets_its_children_past_a_full_queue() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        let others: Vec<_> = (0..2000).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        let tree = engine.try_submit(Family { width: 2, depth: 5, panics: false }).unwrap();
        let more: Vec<_> = (0..2000).map(|n| engine.try_submit(Double(n)).unwrap()).collect();
        assert_eq!(tree.join_timeout(SOON).expect("no deadlock"), Ok(32), "{placement}");
        for (n, other) in (0..2000).chain(0..2000).zip(others.into_iter().chain(more)) {
            assert_eq!(other.join(), Ok(2 * n), "{placement}");
        }
    }
}
