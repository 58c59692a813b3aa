//! Tiny tasks that share a slot of a lane: each keeps its own outcome, messages and end, whatever
//! becomes of its neighbours. That they share one is what `benches/` shows; what holds here holds
//! however they travel.

use std::time::{Duration, Instant};

use amphi::{App, Bytes, Ctx, Engine, Error, Job, Placement, Task, TaskError};
use amphi_tests::eventually;
use serde::{Deserialize, Serialize};

use crate::jobs::app;

const SOON: Duration = Duration::from_secs(20);
/// More than the slots of a lane hold one by one.
const MANY: usize = 300;

/// One job, so that all of them may share a slot.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
enum Tiny {
    Number(u64),
    /// So many bytes.
    Long(usize),
    Fails,
    Panics,
    Aborts,
    /// Tells its number twice.
    Tells(u64),
    /// Until it is cancelled.
    Stays,
    /// Until it is killed.
    Hangs,
}

impl Job for Tiny {
    type Output = Bytes;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<Bytes, Error> {
        match self {
            Self::Number(number) => return Ok(number.to_string().into()),
            Self::Long(len) => return Ok(vec![7; len].into()),
            Self::Fails => return Err(Error::new("it fails")),
            Self::Panics => panic!("it panics"),
            Self::Aborts => std::process::abort(),
            Self::Tells(number) => {
                cx.progress(number, number + 1);
                cx.emit(&number);
                return Ok(number.to_string().into());
            }
            Self::Stays | Self::Hangs => cx.progress(1, 2),
        }
        loop {
            if self == Self::Stays {
                cx.check()?;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

pub(crate) fn jobs(app: App) -> App {
    app.job::<Tiny>()
}

type Handle = Task<Bytes, Error>;

/// One worker, for which the job is known to be tiny.
fn engine() -> Engine {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    known_to_be_tiny(&engine);
    engine
}

fn known_to_be_tiny(engine: &Engine) {
    for number in 0..300 {
        assert_eq!(engine.run(Tiny::Number(number)).unwrap(), number.to_string());
    }
}

/// Numbers, but for what `special` says.
fn submit(engine: &Engine, special: impl Fn(usize) -> Option<Tiny>) -> Vec<(Tiny, Handle)> {
    let tiny = |index| special(index).unwrap_or(Tiny::Number(index as u64));
    (0..MANY).map(|index| (tiny(index), engine.try_submit(tiny(index)).unwrap())).collect()
}

fn outcome(task: Handle) -> Result<Bytes, TaskError<Error>> {
    task.join_timeout(SOON).expect("an outcome in time")
}

#[test]
fn each_task_has_its_own_outcome() {
    let engine = engine();
    for _ in 0..5 {
        let tasks = submit(&engine, |index| match index % 50 {
            7 => Some(Tiny::Fails),
            19 => Some(Tiny::Panics),
            // Beyond what is left of any room, once too long even for a slot.
            31 => Some(Tiny::Long(150)),
            43 => Some(Tiny::Long(5000 * index)),
            _ => None,
        });
        for (tiny, task) in tasks {
            match (tiny, outcome(task)) {
                (Tiny::Number(number), told) => assert_eq!(told.unwrap(), number.to_string()),
                (Tiny::Long(len), told) => assert!(told.unwrap() == vec![7; len]),
                (Tiny::Fails, told) => assert!(matches!(told, Err(TaskError::Failed(_)))),
                (_, told) => assert!(matches!(told, Err(TaskError::Panicked { .. })), "{told:?}"),
            }
        }
    }
}

#[test]
fn a_crash_takes_no_neighbour_along() {
    let engine = engine();
    for _ in 0..3 {
        let tasks = submit(&engine, |index| (index % 100 == 60).then_some(Tiny::Aborts));
        for (tiny, task) in tasks {
            match (tiny, outcome(task)) {
                (Tiny::Number(number), told) => assert_eq!(told.unwrap(), number.to_string()),
                (_, told) => {
                    assert!(matches!(told, Err(TaskError::Crashed { .. })), "{told:?}");
                }
            }
        }
        known_to_be_tiny(&engine);
    }
}

#[test]
fn what_was_answered_before_a_task_that_stays_is_told_while_it_does() {
    let engine = engine();
    for stays in [0, 1, 20, 100, 299] {
        let mut tasks = submit(&engine, |index| (index == stays).then_some(Tiny::Stays));
        let behind = tasks.split_off(stays + 1);
        let (_, long) = tasks.pop().expect("the one that stays");
        for (index, (_, task)) in tasks.into_iter().enumerate() {
            assert_eq!(outcome(task).unwrap(), index.to_string());
        }
        eventually("it to run", || long.progress().is_some());
        assert!(!long.is_finished());
        long.cancel();
        assert_eq!(outcome(long), Err(TaskError::Cancelled));
        for (index, (_, task)) in behind.into_iter().enumerate() {
            assert_eq!(outcome(task).unwrap(), (stays + 1 + index).to_string());
        }
        known_to_be_tiny(&engine);
    }
}

#[test]
fn a_second_worker_takes_what_lies_behind_a_task_that_stays() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    known_to_be_tiny(&engine);
    let tasks = submit(&engine, |index| (index == 150).then_some(Tiny::Stays));
    let mut long = None;
    for (index, (tiny, task)) in tasks.into_iter().enumerate() {
        if tiny == Tiny::Stays {
            long = Some(task);
        } else {
            assert_eq!(outcome(task).unwrap(), index.to_string());
        }
    }
    let long = long.expect("one stays");
    assert!(!long.is_finished());
    long.cancel();
    assert_eq!(outcome(long), Err(TaskError::Cancelled));
}

#[test]
fn a_kill_hits_only_its_own_task() {
    let engine = engine();
    for hangs in [0, 30, 200] {
        let tasks = submit(&engine, |index| (index == hangs).then_some(Tiny::Hangs));
        eventually("it to run", || tasks[hangs].1.progress().is_some());
        assert!(tasks[hangs].1.kill());
        for (index, (tiny, task)) in tasks.into_iter().enumerate() {
            match tiny {
                Tiny::Hangs => assert_eq!(outcome(task), Err(TaskError::Cancelled)),
                _ => assert_eq!(outcome(task).unwrap(), index.to_string()),
            }
        }
        known_to_be_tiny(&engine);
    }
}

#[test]
fn a_task_is_cancelled_or_answered_and_its_neighbours_are_answered() {
    let engine = engine();
    let mut cancelled = 0;
    let begun = Instant::now();
    while cancelled < 20 && begun.elapsed() < SOON {
        let tasks = submit(&engine, |_| None);
        tasks.iter().rev().step_by(7).for_each(|(_, task)| task.cancel());
        for (index, (_, task)) in tasks.into_iter().enumerate() {
            match outcome(task) {
                Err(TaskError::Cancelled) if (MANY - 1 - index).is_multiple_of(7) => cancelled += 1,
                told => assert_eq!(told.unwrap(), index.to_string()),
            }
        }
    }
    assert!(cancelled > 0, "none of them was taken back");
}

#[test]
fn progress_and_messages_reach_their_own_task() {
    let engine = engine();
    let tasks = submit(&engine, |index| (index % 3 > 0).then_some(Tiny::Tells(index as u64)));
    for (index, (tiny, task)) in tasks.into_iter().enumerate() {
        let messages = task.messages::<u64>();
        let Tiny::Tells(number) = tiny else {
            assert_eq!(outcome(task).unwrap(), index.to_string());
            continue;
        };
        eventually("it to be done", || task.is_finished());
        let progress = task.progress().expect("it told");
        assert_eq!((progress.done, progress.total), (number, number + 1));
        assert_eq!(outcome(task).unwrap(), number.to_string());
        let told: Vec<u64> = messages.map(Result::unwrap).collect();
        assert_eq!(told, [number]);
    }
}
