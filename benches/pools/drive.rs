//! Closed loops: one slice of one system, driven by one thread that sends the next task when an
//! answer has come.
//!
//! Every answer is checked, outside the timed part. A latency holds two clock reads more than the
//! dispatch itself; the system `direct call` shows how much that is.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{System, Wait};

/// No slice takes more samples than this.
const SAMPLES_MAX: usize = 20_000;
/// No hot slice takes fewer, whatever the clock says.
const SAMPLES_MIN: usize = 8;

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that are not all alike, so that a wrong piece is seen.
pub(crate) fn payload(length: usize) -> Bytes {
    (0..length).map(|index| (index % 251).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}

/// Untimed tasks for so long, three at least.
pub(crate) fn warm_up(time: Duration, mut one: impl FnMut(u64)) {
    let until = Instant::now() + time;
    for n in 0.. {
        if n > 2 && Instant::now() > until {
            return;
        }
        one(n);
    }
}

pub(crate) fn timed_word(system: &mut (impl System + ?Sized), x: u64) -> u64 {
    let start = Instant::now();
    let answer = system.call(x);
    let time = start.elapsed();
    assert_eq!(answer, x, "{} answered something else", system.name());
    nanos(time)
}

pub(crate) fn timed_bytes(system: &mut (impl System + ?Sized), payload: &Bytes) -> u64 {
    let start = Instant::now();
    let answer = system.call_bytes(payload);
    let time = start.elapsed();
    assert!(answer == payload, "{} answered something else", system.name());
    nanos(time)
}

/// One latency after the other, for so long.
pub(crate) fn hot(time: Duration, mut one: impl FnMut(u64) -> u64) -> Vec<u64> {
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

/// Keeps the window full for so long, then takes the rest; returns how many tasks that were.
pub(crate) fn pipelined(
    system: &mut (impl System + ?Sized),
    window: usize,
    time: Duration,
) -> usize {
    let until = Instant::now() + time;
    let window = system.window().min(window);
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
