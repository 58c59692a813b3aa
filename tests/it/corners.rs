//! Nobody waits for ever, and nothing runs where it must not: cores, keys and crashed jobs in corners
//! where a waiting job needs what only its own thread or worker could give.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use amphi::policy::{Class, Decision, Event, Why};
use amphi::{App, Ctx, Error, Job, Placement, Policy, Spec, TaskError};
use serde::{Deserialize, Serialize};

use crate::jobs::app as suite;

const SOON: Duration = Duration::from_secs(5);

pub(crate) fn jobs(app: App) -> App {
    app.job::<Shot>()
        .job::<Die>()
        .job::<FailOnce>()
        .job::<Parent>()
        .job::<Holds>()
        .job::<Quick>()
        .job::<Iso>()
        .job::<Inside>()
        .job::<Block>()
        .job::<Count>()
        .job::<Nest>()
}
fn app() -> App {
    suite()
}

macro_rules! job {
    ($name:ident, $spec:expr, |$me:ident, $cx:ident| $body:expr) => {
        #[derive(Serialize, Deserialize)]
        pub(crate) struct $name(pub(crate) u32);
        impl Job for $name {
            type Output = u32;
            type Error = Error;
            fn spec() -> Spec {
                $spec
            }
            fn run(self, $cx: &Ctx) -> Result<u32, Error> {
                let $me = self.0;
                let _ = $me;
                $body
            }
        }
    };
}

job!(Shot, Spec::new().isolated().one_shot(), |_n, _cx| loop {
    std::thread::park_timeout(Duration::from_secs(1))
});
job!(Die, Spec::new(), |_n, cx| if cx.placement() == Placement::Process {
    std::process::abort()
} else {
    Ok(77)
});
static TRIES: AtomicU32 = AtomicU32::new(0);
job!(FailOnce, Spec::new(), |n, _cx| if TRIES.fetch_add(1, Ordering::SeqCst) == 0 {
    panic!("first")
} else {
    Ok(n)
});
job!(Parent, Spec::new(), |n, cx| {
    let builder = cx.engine().task(FailOnce(n)).retries(2);
    let builder = if n == 1 {
        builder.backoff(Duration::from_millis(20), Duration::from_millis(20))
    } else {
        builder
    };
    Ok(builder.try_submit().unwrap().join().unwrap())
});
static HELD: AtomicBool = AtomicBool::new(false);
job!(Holds, Spec::new().blocking().not_thread_safe("corners"), |n, _cx| {
    HELD.store(true, Ordering::SeqCst);
    std::thread::park_timeout(Duration::from_millis(300));
    Ok(n)
});
job!(Quick, Spec::new().not_thread_safe("corners"), |n, _cx| Ok(n));
job!(Iso, Spec::new().isolated(), |n, _cx| Ok(n));
job!(Block, Spec::new().blocking(), |n, cx| match n {
    0 => Ok(cx.engine().try_submit(Iso(5)).unwrap().join().unwrap()),
    1 => Ok(cx.engine().try_submit(Block(2)).unwrap().join().unwrap()),
    _ => Ok(n),
});
static RUNS: AtomicU32 = AtomicU32::new(0);
job!(Count, Spec::new(), |_n, _cx| {
    RUNS.fetch_add(1, Ordering::SeqCst);
    Err(Error::new("no"))
});
job!(Inside, Spec::new().isolated(), |n, cx| match n {
    0 => Ok(cx
        .engine()
        .stream((0..3).map(|i| (i, Iso(i))))
        .unordered()
        .map(|(_, o)| o.unwrap())
        .sum()),
    3 =>
        Ok(cx.engine().stream((0..3).map(|i| (i, Iso(i)))).ordered().map(|(_, o)| o.unwrap()).sum()),
    1 => Ok(cx.engine().try_submit(Block(0)).unwrap().join().unwrap()),
    2 => {
        cx.install(|| {
            let _ = cx.engine();
        });
        let task = cx.engine().try_submit(Quick(3)).unwrap();
        Ok(task.join_timeout(Duration::from_secs(2)).map_or(999, |o| o.unwrap()))
    }
    4 => {
        let _ = cx.engine();
        let task = cx.engine().try_submit(Quick(3)).unwrap();
        Ok(task.join_timeout(Duration::from_secs(2)).map_or(999, |o| o.unwrap()))
    }
    _ => {
        // a local child, run by the pool thread, which waits for one up there
        let task = cx.engine().try_submit(Nest(0)).unwrap();
        Ok(task.join_timeout(Duration::from_secs(3)).map_or(999, |o| o.unwrap()))
    }
});
job!(Nest, Spec::new(), |_n, cx| Ok(cx.engine().try_submit(Iso(5)).unwrap().join().unwrap()));

#[test]
fn a_one_shot_worker_that_is_killed_gives_its_core_back() {
    let engine = app().engine().cores(1).start().unwrap();
    let out = engine.task(Shot(0)).kill_after(Duration::from_millis(100)).run();
    assert!(matches!(out, Err(TaskError::TimedOut { .. })), "{out:?}");
    std::thread::park_timeout(Duration::from_millis(300));
    let t = engine.spawn(|_| 1);
    assert!(t.join_timeout(SOON).is_ok(), "token lost");
}

#[test]
fn workers_that_die_while_busy_give_their_cores_back() {
    let engine = app().engine().cores(1).place(Placement::Process).start().unwrap();
    for _ in 0..30 {
        // Refused in the end, when no worker is started any more.
        let _ = engine.task(Die(0)).try_submit().map(|task| task.join_timeout(SOON).is_ok());
        let t = engine.spawn(|_| 1);
        let ok = t.join_timeout(SOON).is_ok();
        assert!(ok, "token lost");
    }
}

#[test]
fn a_job_may_join_a_task_that_is_tried_again() {
    for n in [0, 1] {
        TRIES.store(0, Ordering::SeqCst);
        let engine = app().engine().cores(1).place(Placement::Thread).start().unwrap();
        let t = engine.try_submit(Parent(n)).unwrap();
        let r = t.join_timeout(SOON);
        assert!(r.is_ok(), "{n} hangs");
    }
}

#[test]
fn a_job_may_join_a_task_that_rests_between_its_tries() {
    TRIES.store(0, Ordering::SeqCst);
    let engine = app().engine().cores(1).place(Placement::Thread).start().unwrap();
    assert!(engine.try_submit(Parent(1)).unwrap().join_timeout(SOON).is_ok(), "hangs");
}

#[test]
fn a_job_may_join_a_task_whose_key_is_held_elsewhere() {
    let engine = app().engine().cores(1).place(Placement::Thread).start().unwrap();
    let holds = engine.try_submit(Holds(1)).unwrap();
    while !HELD.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let t = engine.spawn(|cx| {
        let _ = cx;
        0
    });
    t.join().unwrap();
    let e = engine.clone();
    let t = engine.spawn(move |_| e.try_submit(Quick(4)).unwrap().join());
    holds.join().unwrap();
    assert!(t.join_timeout(SOON).is_ok(), "hangs");
}

fn inside(n: u32) {
    let engine = app().engine().cores(1).start().unwrap();
    let t = engine.try_submit(Inside(n)).unwrap();
    let r = t.join_timeout(SOON);
    assert!(r.as_ref().is_ok_and(|o| o.as_ref().is_ok_and(|n| *n != 999)), "hangs: {r:?}");
}
#[test]
fn a_worker_that_waits_for_an_unordered_stream_lends_its_core() {
    inside(0)
}
#[test]
fn a_worker_that_waits_for_an_ordered_stream_lends_its_core() {
    inside(3)
}
#[test]
fn a_worker_that_waits_behind_a_blocking_task_lends_its_core() {
    inside(1)
}
#[test]
fn a_worker_that_waits_behind_a_local_task_lends_its_core() {
    inside(5)
}
#[test]
fn a_workers_engine_may_be_asked_for_on_any_thread() {
    inside(2)
}
#[test]
fn a_workers_engine_runs_what_its_job_does_not_wait_for() {
    inside(4)
}

struct Always(Vec<Placement>);
impl Policy for Always {
    fn decide(&mut self, _c: Class, _n: Duration) -> Decision {
        let p = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] };
        Decision::new(p, Why::Fixed, 1)
    }
    fn observe(&mut self, _e: &Event, _n: Duration) -> bool {
        false
    }
}

#[test]
fn a_job_that_crashes_runs_in_no_host_whatever_becomes_of_its_workers() {
    let engine = app().engine().cores(2).policy(Always(vec![Placement::Process])).start().unwrap();
    let _ = engine.try_submit(Quick(0)).unwrap().join();
    std::thread::park_timeout(Duration::from_secs(4));
    for i in 0..30 {
        let Ok(t) = engine.try_submit(Die(0)) else { continue };
        let r = t.join_timeout(SOON).map_err(|_| "hangs");
        assert!(!matches!(r, Ok(Ok(77))), "ran in the host after {i} crashes");
    }
}

#[test]
fn the_retry_of_a_crash_does_not_run_in_the_host() {
    // decisions: Process for the try (glance, bind), Thread afterwards
    let n = Arc::new(AtomicU32::new(0));
    struct P(Arc<AtomicU32>);
    impl Policy for P {
        fn decide(&mut self, c: Class, _n: Duration) -> Decision {
            let _ = c;
            let k = self.0.fetch_add(1, Ordering::SeqCst);
            Decision::new(if k < 1 { Placement::Process } else { Placement::Thread }, Why::Fixed, 1)
        }
        fn observe(&mut self, _e: &Event, _n: Duration) -> bool {
            false
        }
    }
    let engine = app().engine().cores(2).policy(P(n)).start().unwrap();
    let t = engine.task(Die(0)).retries(1).try_submit().unwrap();
    let r = t.join_timeout(SOON).map_err(|_| "hangs");
    assert!(!matches!(r, Ok(Ok(77))), "the retry of a crash ran in the host");
}

#[test]
fn a_task_that_was_cancelled_between_two_tries_is_not_tried_again() {
    let engine = app().engine().cores(2).place(Placement::Thread).start().unwrap();
    let (in_tx, in_rx) = std::sync::mpsc::channel();
    let (out_tx, out_rx) = std::sync::mpsc::channel::<()>();
    let chan = std::sync::Mutex::new((in_tx, out_rx));
    let t = engine
        .task(Count(0))
        .retries(1)
        .retry_if(move |_e: &Error| {
            let c = chan.lock().unwrap();
            c.0.send(()).ok();
            c.1.recv_timeout(SOON).ok();
            true
        })
        .try_submit()
        .unwrap();
    in_rx.recv_timeout(SOON).unwrap();
    t.cancel();
    out_tx.send(()).unwrap();
    assert!(t.join_timeout(SOON).is_ok(), "hangs");
    assert_eq!(RUNS.load(Ordering::SeqCst), 1, "ran again although it was cancelled");
}

#[test]
fn blocking_jobs_may_join_blocking_jobs() {
    let engine =
        app().engine().cores(2).blocking_threads(1).place(Placement::Thread).start().unwrap();
    let t = engine.try_submit(Block(1)).unwrap();
    assert!(t.join_timeout(SOON).is_ok(), "hangs");
}

pub(crate) fn jobs2(app: App) -> App {
    app.job::<Hold2>().job::<Iso2>().job::<Fat>().job::<Stall>()
}
job!(Hold2, Spec::new().not_thread_safe("corners, held"), |n, cx| match n {
    0 => Ok(cx.engine().try_submit(Iso2(0)).unwrap().join().unwrap()),
    _ => Ok(n),
});
job!(Iso2, Spec::new().isolated(), |_n, cx| {
    match cx.engine().task(Hold2(4)).place(Placement::Thread).try_submit() {
        Ok(t) => Ok(t.join().unwrap_or(777)),
        Err(_) => Ok(888),
    }
});

#[test]
fn a_key_is_known_to_be_held_over_a_process_between() {
    let engine = app().engine().cores(2).start().unwrap();
    let t = engine.task(Hold2(0)).place(Placement::Thread).try_submit().unwrap();
    let r = t.join_timeout(SOON);
    assert!(r.is_ok(), "hangs");
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Fat(pub(crate) u32);
impl Job for Fat {
    type Output = Vec<u8>;
    type Error = Error;
    fn spec() -> Spec {
        Spec::new().isolated()
    }
    fn run(self, _cx: &Ctx) -> Result<Vec<u8>, Error> {
        if self.0 == 0 {
            return Err(Error::new("once more"));
        }
        Ok(vec![1; 12 << 10])
    }
}
job!(Stall, Spec::new().isolated(), |_n, cx| {
    let engine = cx.engine();
    let slow = engine
        .task(Fat(0))
        .retries(1)
        .retry_if(|_: &Error| {
            std::thread::park_timeout(Duration::from_secs(4));
            false
        })
        .try_submit()
        .unwrap();
    let many: Vec<_> = (1..1000).map(|i| engine.try_submit(Fat(i)).unwrap()).collect();
    let mut got = 0;
    for t in many {
        if t.join_timeout(Duration::from_secs(8)).is_ok_and(|o| o.is_ok()) {
            got += 1
        } else {
            break;
        }
    }
    let _ = slow.join();
    Ok(got)
});
