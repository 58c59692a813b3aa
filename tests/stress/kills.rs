//! Workers are killed at random while tasks stream through them.

use std::collections::{HashSet, VecDeque};

use amphi::{Engine, Placement, Task, TaskError};
use amphi_tests::eventually;
use rustix::process::{Pid, Signal, kill_process};

use crate::alone::{alone, descendants, descriptors, resident_kib};
use crate::{Double, app};

/// Numbers that look random; the seed replays them (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What a stream of tasks came to.
#[derive(Debug, Default)]
struct Counts {
    done: u64,
    crashed: u64,
    kills: u64,
    workers: HashSet<u32>,
}

/// Sends `tasks` tasks, 64 in flight, and kills a random worker after about every `every`th.
fn stream(engine: &Engine, tasks: u64, every: u64, random: &mut Random, counts: &mut Counts) {
    let mut in_flight: VecDeque<(u64, Task<u64, amphi::Error>)> = VecDeque::new();
    let mut next_kill = every / 2 + random.below(every);
    for n in 0..tasks {
        // 10 to 50 µs: most kills find a task running.
        let rounds = 10_000 + u32::try_from(random.below(40_000)).unwrap();
        in_flight.push_back((n, engine.try_submit(Double { number: n, rounds }).unwrap()));
        if n == next_kill {
            let pids = engine.worker_pids();
            counts.workers.extend(&pids);
            if !pids.is_empty() {
                let victim = pids[random.below(pids.len() as u64) as usize];
                let victim = Pid::from_raw(i32::try_from(victim).unwrap()).unwrap();
                // The engine has not replaced it yet, or it is the child of a forkserver that has
                // not reaped it: the number is no other's.
                counts.kills += u64::from(kill_process(victim, Signal::KILL).is_ok());
            }
            next_kill += every / 2 + random.below(every);
        }
        while in_flight.len() >= 64 {
            settle(in_flight.pop_front().unwrap(), counts);
        }
    }
    in_flight.into_iter().for_each(|task| settle(task, counts));
}

fn settle((n, task): (u64, Task<u64, amphi::Error>), counts: &mut Counts) {
    match task.join() {
        Ok(output) => {
            assert_eq!(output, 2 * n);
            counts.done += 1;
        }
        Err(TaskError::Crashed { signal: Some(9), .. }) => counts.crashed += 1,
        Err(error) => panic!("task {n}: {error}"),
    }
}

fn survive(name: &str, tasks: u64, kills: u64) {
    alone(name, || {
        let seed = std::env::var("AMPHI_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
        eprintln!("AMPHI_SEED={seed} replays the kills");
        let mut random = Random(seed);
        let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();

        // The first tenth fills caches and pools; from then on nothing may grow.
        let (mut warm, mut counts) = (Counts::default(), Counts::default());
        stream(&engine, tasks / 10, tasks / kills, &mut random, &mut warm);
        let at_rest = || {
            eventually("both workers to serve", || {
                let pids = engine.worker_pids();
                assert_eq!(engine.run(Double { number: 1, rounds: 0 }), Ok(2));
                pids.len() == 2 && engine.worker_pids() == pids
            });
            (descriptors(), resident_kib(), descendants().len())
        };
        let before = at_rest();
        while counts.done + counts.crashed < tasks || counts.kills < kills {
            stream(&engine, tasks / 10, tasks / kills, &mut random, &mut counts);
        }
        let after = at_rest();
        eprintln!(
            "{} done, {} crashed, {} kills; descriptors {} then {}, resident {} KiB then {} KiB",
            counts.done, counts.crashed, counts.kills, before.0, after.0, before.1, after.1
        );
        assert!(counts.crashed <= counts.kills, "only running tasks are lost");
        assert!(counts.crashed >= counts.kills / 10, "some kill hits a running task");
        // A worker may be between two lives at either look; a leak would be a hundred times that.
        assert!(after.0 <= before.0 + 8, "descriptors: {} then {}", before.0, after.0);
        assert!(after.1 <= before.1 + 4096, "resident KiB: {} then {}", before.1, after.1);
        assert!(after.2 <= before.2 + 1, "processes: {} then {}", before.2, after.2);
        drop(engine);
        eventually("every process to be gone", || descendants().is_empty());
    });
}

#[test]
fn two_hundred_kills_lose_no_task_and_leak_nothing() {
    survive("kills::two_hundred_kills_lose_no_task_and_leak_nothing", 100_000, 200);
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_kills_lose_no_task_and_leak_nothing() {
    survive("kills::ten_thousand_kills_lose_no_task_and_leak_nothing", 5_000_000, 10_000);
}
