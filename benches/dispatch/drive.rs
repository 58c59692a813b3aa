//! The drivers: one slice of one case for one system. The caller is always one thread.
//!
//! Every answer is checked, outside the timed part. A latency holds two clock reads more than the
//! dispatch itself; the system `direct call` shows how much that is.

use std::hint;
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use amphi_benches::Tally;
use amphi_benches::cpu::Meter;
use bytes::Bytes;

use crate::case::{Case, Plan, WINDOW};
use crate::systems::{System, Wait};

/// No slice takes more samples than this.
const SAMPLES_MAX: usize = 20_000;
/// No hot slice takes fewer, whatever the clock says.
const SAMPLES_MIN: usize = 8;
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
) {
    warm_up(system, case, plan.warm_up);
    let meter = Meter::start();
    let start = Instant::now();
    let (tasks, samples) = match case {
        Case::HotWord => sampled(hot(plan.hot, |n| timed_word(system, n))),
        Case::HotBytes(length) => {
            let payload = payload(length);
            sampled(hot(plan.hot, |_| timed_bytes(system, &payload)))
        }
        Case::Parked => sampled(parked(system, plan)),
        Case::Open(rate) => sampled(open(system, rate, plan.open_tasks(rate))),
        Case::Pipelined => (pipelined(system, plan.pipelined), Vec::new()),
    };
    let elapsed = start.elapsed();
    let spent = meter.stop();

    let name = system.name();
    let tasks = tasks as f64;
    if case == Case::Pipelined {
        tally.add(round, (name, case.name(), "rate"), tasks / elapsed.as_secs_f64(), "tasks/s");
    }
    tally.add_latencies(round, name, case.name(), samples);
    tally.add(round, (name, case.name(), "cpu"), spent.as_secs_f64() * 1e9 / tasks, "ns/task");
}

fn sampled(samples: Vec<u64>) -> (usize, Vec<u64>) {
    (samples.len(), samples)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that are not all alike, so that a wrong piece is seen.
fn payload(length: usize) -> Bytes {
    (0..length).map(|index| (index % 251).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}

fn warm_up(system: &mut dyn System, case: Case, time: Duration) {
    let until = Instant::now() + time;
    let payload = if let Case::HotBytes(length) = case { payload(length) } else { Bytes::new() };
    for n in 0.. {
        if n > 2 && Instant::now() > until {
            return;
        }
        match case {
            Case::HotBytes(_) => drop(system.call_bytes(&payload)),
            Case::Pipelined | Case::Open(_) => {
                system.submit(n);
                assert!(system.harvest(Wait::Forever).is_some());
            }
            Case::HotWord | Case::Parked => drop(timed_word(system, n)),
        }
    }
}

fn timed_word(system: &mut dyn System, x: u64) -> u64 {
    let start = Instant::now();
    let answer = system.call(x);
    let time = start.elapsed();
    assert_eq!(answer, x, "{} answered something else", system.name());
    nanos(time)
}

fn timed_bytes(system: &mut dyn System, payload: &Bytes) -> u64 {
    let start = Instant::now();
    let answer = system.call_bytes(payload);
    let time = start.elapsed();
    assert!(answer == payload, "{} answered something else", system.name());
    nanos(time)
}

fn hot(time: Duration, mut one: impl FnMut(u64) -> u64) -> Vec<u64> {
    let mut samples = Vec::with_capacity(SAMPLES_MAX);
    let until = Instant::now() + time;
    for n in 0.. {
        let enough = samples.len() >= SAMPLES_MIN && Instant::now() > until;
        if enough || samples.len() == SAMPLES_MAX {
            break;
        }
        samples.push(one(n));
    }
    samples
}

fn parked(system: &mut dyn System, plan: &Plan) -> Vec<u64> {
    (0..plan.parked_tasks)
        .map(|n| {
            thread::sleep(plan.pause);
            timed_word(system, n as u64)
        })
        .collect()
}

/// Keeps the window full for so long, then takes the rest; returns how many tasks that were.
fn pipelined(system: &mut dyn System, time: Duration) -> usize {
    let until = Instant::now() + time;
    let window = system.window().min(WINDOW);
    let (mut sent, mut done, mut balance, mut open) = (0u64, 0u64, 0u64, true);
    while open || done < sent {
        while open && sent - done < window as u64 {
            system.submit(sent);
            balance = balance.wrapping_add(sent);
            sent += 1;
        }
        let answer = system.harvest(Wait::Forever).expect("a task is in flight");
        balance = balance.wrapping_sub(answer);
        done += 1;
        if done.is_multiple_of(32) && Instant::now() > until {
            open = false;
        }
    }
    assert_eq!(balance, 0, "{} answered something else", system.name());
    usize::try_from(done).unwrap_or(usize::MAX)
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
