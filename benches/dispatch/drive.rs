//! One slice of one case for one system. The caller is always one thread; the closed loops are
//! those of `pools`.

use std::hint;
use std::io;
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use amphi_benches::Tally;
use amphi_benches::cpu::Meter;
use amphi_benches::faults::Faults;
use bytes::Bytes;

use crate::busy::Busy;
use crate::case::{Case, PAUSE, Plan};
use crate::pools::drive::{self, hot, nanos, payload, pipelined, timed_bytes, timed_word};
use crate::pools::{System, WINDOW, Wait};

/// A generator that waits for its next task stops sleeping so long before, since a sleeper is
/// late by a wake-up, and spins.
const NEAR: Duration = Duration::from_micros(80);

/// Measures one slice and notes its figures under `round`.
pub(crate) fn slice(
    system: &mut dyn System,
    case: Case,
    plan: &Plan,
    round: usize,
    tally: &mut Tally,
) -> io::Result<()> {
    let busy = if case.is_beside_busy() { Some(Busy::start()?) } else { None };
    warm_up(system, case, plan.warm_up);
    let faults = Faults::start();
    let meter = Meter::start_without(&busy.as_ref().map_or_else(Vec::new, Busy::pids));
    let start = Instant::now();
    let (tasks, samples) = match case {
        Case::HotWord | Case::HotBusy => sampled(hot(plan.hot, |n| timed_word(system, n))),
        Case::HotBytes(length) => {
            let payload = payload(length);
            sampled(hot(plan.hot, |_| timed_bytes(system, &payload)))
        }
        Case::Parked => sampled(parked(system, plan)),
        Case::Open(rate) => sampled(open(system, rate, plan.open_tasks(rate))),
        Case::InFlight(_) | Case::Pipelined | Case::PipelinedBusy => {
            (pipelined(system, case.in_flight(), plan.pipelined), Vec::new())
        }
    };
    let elapsed = start.elapsed();
    let spent = meter.stop();
    let faults = faults.stop();

    let name = system.name();
    let tasks = tasks as f64;
    if case.metric() == "rate" {
        tally.add(round, (name, case.name(), "rate"), tasks / elapsed.as_secs_f64(), "tasks/s");
    }
    tally.add_latencies(round, name, case.name(), samples);
    tally.add(round, (name, case.name(), "cpu"), spent.as_secs_f64() * 1e9 / tasks, "ns/task");
    tally.add(round, (name, case.name(), "faults"), faults as f64 / tasks, "faults/task");
    Ok(())
}

/// So many tasks of a case and nothing beside them: for whoever counts from outside.
pub(crate) fn run(system: &mut dyn System, case: Case, tasks: usize) {
    let window = system.window().min(WINDOW);
    for n in 0..tasks as u64 {
        match case {
            Case::Pipelined => {
                if n >= window as u64 {
                    assert!(system.harvest(Wait::Forever).is_some());
                }
                system.submit(n);
            }
            Case::Parked => {
                thread::sleep(PAUSE);
                timed_word(system, n);
            }
            _ => drop(timed_word(system, n)),
        }
    }
    let left = if case == Case::Pipelined { tasks.min(window) } else { 0 };
    (0..left).for_each(|_| assert!(system.harvest(Wait::Forever).is_some()));
}

fn sampled(samples: Vec<u64>) -> (usize, Vec<u64>) {
    (samples.len(), samples)
}

fn warm_up(system: &mut dyn System, case: Case, time: Duration) {
    let payload = if let Case::HotBytes(length) = case { payload(length) } else { Bytes::new() };
    drive::warm_up(time, |n| match case {
        Case::HotBytes(_) => drop(system.call_bytes(&payload)),
        Case::InFlight(_) | Case::Pipelined | Case::PipelinedBusy | Case::Open(_) => {
            system.submit(n);
            assert!(system.harvest(Wait::Forever).is_some());
        }
        Case::HotWord | Case::HotBusy | Case::Parked => drop(timed_word(system, n)),
    });
}

fn parked(system: &mut dyn System, plan: &Plan) -> Vec<u64> {
    (0..plan.parked_tasks)
        .map(|n| {
            thread::sleep(PAUSE);
            timed_word(system, n as u64)
        })
        .collect()
}

/// Lets this thread's timers end on time instead of 50 µs later, while it lives.
struct SharpTimers;

impl SharpTimers {
    fn set() -> Self {
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        Self
    }
}

impl Drop for SharpTimers {
    fn drop(&mut self) {
        let _ = rustix::thread::set_current_timer_slack(None); // the default again
    }
}

/// Sends `tasks` tasks at their times and takes answers in between. Each latency counts from when
/// the task was due, so a generator that is held up by the system shows it. The answers are taken
/// by the submitting thread: asleep where the next task is far, polling where it is near.
fn open(system: &mut dyn System, rate: u32, tasks: u32) -> Vec<u64> {
    let _sharp = SharpTimers::set();
    let window = system.window().min(WINDOW);
    let interval = Duration::from_secs(1) / rate;
    let start = Instant::now() + Duration::from_millis(1);
    let due = |n: u64| start + interval * u32::try_from(n).expect("an index of a task");
    let mut samples = Vec::with_capacity(tasks as usize);
    let mut sent = 0u64;
    while samples.len() < tasks as usize {
        let in_flight = usize::try_from(sent).unwrap_or(usize::MAX) - samples.len();
        let left = if sent < u64::from(tasks) {
            let left = due(sent).saturating_duration_since(Instant::now());
            if left.is_zero() && in_flight < window {
                system.submit(sent);
                sent += 1;
                continue;
            }
            Some(left)
        } else {
            None
        };
        let wait = match left {
            None => Wait::Forever,
            Some(left) if left.is_zero() => Wait::Forever, // the window is full
            Some(left) if left > NEAR => Wait::Until(Instant::now() + (left - NEAR)),
            Some(_) => Wait::Poll,
        };
        if in_flight > 0 {
            if let Some(answer) = system.harvest(wait) {
                samples.push(nanos(due(answer).elapsed()));
            }
            continue;
        }
        match wait {
            Wait::Until(time) => thread::sleep(time.saturating_duration_since(Instant::now())),
            Wait::Poll | Wait::Forever => hint::spin_loop(),
        }
    }
    samples
}
