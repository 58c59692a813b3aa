//! This binary as the host of one configuration, in a process of its own: an engine that does what
//! it is told, a line at a time. The bench reads the memory of it and its workers from outside, in
//! the same way as that of Node (`benches/peers/memory.js` answers the same commands).
//!
//! | command | what is done before the answer |
//! |---|---|
//! | `hold MIB free\|keep` | every worker runs a task that holds so much memory: `held` |
//! | `release` | these have ended; with `keep` each leaves 1 KiB: `released` |
//! | `work COUNT` | every worker has run so many tasks at least: `worked LEAST MOST` |
//! | `renew` | no worker is larger than it may be: `renewed COUNT` |
//! | `workers` | `workers PID…`; none on threads |

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use amphi::{Engine, Placement, Task};
use amphi_benches::Memory;

use super::PATIENCE;
use super::jobs::{self, Hash, Hold};

/// Makes this binary a host: `--host PLACE WORKERS PRELOAD_MIB GROWTH_MIB`; not for use by hand.
pub(crate) const HOST: &str = "--host";

/// Is the host, if this process was started as one; `None`: it is the bench itself.
pub(crate) fn take_over() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) != Some(HOST) {
        return None;
    }
    match Host::start(&arguments[1..]).and_then(|mut host| host.serve()) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("memory bench, host {arguments:?}: {error}");
            Some(ExitCode::FAILURE)
        }
    }
}

struct Host {
    engine: Engine,
    workers: usize,
    /// What a worker may grow by before it is replaced.
    growth_kib: u64,
    held: Vec<Task<u32, amphi::Error>>,
    /// The size of each worker when all were first seen.
    sizes: BTreeMap<u32, u64>,
}

impl Host {
    fn start(arguments: &[String]) -> Result<Self, Box<dyn Error>> {
        let [place, workers, preload_mib, growth_mib] = arguments else {
            return Err("it takes four arguments".into());
        };
        let (place, workers): (Placement, usize) = (place.parse()?, workers.parse()?);
        let (preload_mib, growth_mib): (usize, u64) = (preload_mib.parse()?, growth_mib.parse()?);
        let engine = jobs::app().config(preload_mib << 20).engine().place(place).cores(workers);
        let engine = match place {
            Placement::Process => engine.workers(workers..=workers),
            _ => engine,
        };
        let engine = match growth_mib {
            0 => engine,
            mib => engine.recycle_after_growth(mib << 20),
        };
        let (held, sizes) = (Vec::new(), BTreeMap::new());
        Ok(Self { engine: engine.start()?, workers, growth_kib: growth_mib << 10, held, sizes })
    }

    fn serve(&mut self) -> Result<(), Box<dyn Error>> {
        for line in io::stdin().lines() {
            let line = line?;
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["hold", mib, kept] => self.hold(mib.parse()?, kept == "keep")?,
                ["release"] => self.release()?,
                ["work", count] => self.work(count.parse()?)?,
                ["renew"] => self.renew()?,
                ["workers"] => {
                    let pids: Vec<String> = self.pids().iter().map(ToString::to_string).collect();
                    println!("{}", [&["workers".to_owned()], &pids[..]].concat().join(" "));
                }
                _ => return Err(format!("no such command: {line:?}").into()),
            }
        }
        Ok(())
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids = self.engine.worker_pids();
        pids.sort_unstable();
        pids
    }

    /// Every worker holds one task, so that none runs two of them.
    fn hold(&mut self, mib: usize, keep: bool) -> Result<(), Box<dyn Error>> {
        for _ in 0..self.workers {
            let task = self.engine.try_submit(Hold { mib, keep });
            self.held.push(task.map_err(|rejected| rejected.reason.to_string())?);
        }
        let has_it =
            |task: &Task<_, _>| task.progress().is_some_and(|step| step.done == step.total);
        wait("all workers hold a task", || Ok(self.held.iter().all(has_it)))?;
        if self.sizes.is_empty() {
            for pid in self.pids() {
                self.sizes.insert(pid, Memory::of(pid)?.rss);
            }
        }
        println!("held");
        Ok(())
    }

    fn release(&mut self) -> Result<(), Box<dyn Error>> {
        self.held.iter().for_each(Task::cancel); // they see it and end with an outcome of their own
        let mut runners = BTreeSet::new();
        for task in self.held.drain(..) {
            runners.insert(task.join_timeout(PATIENCE).map_err(|_| "a task did not end")??);
        }
        if runners.len() != self.workers {
            return Err(format!("{} workers ran {} tasks", runners.len(), self.workers).into());
        }
        println!("released");
        Ok(())
    }

    fn work(&self, count: usize) -> Result<(), Box<dyn Error>> {
        let input = Hash::input();
        let answer = Hash::digest(&input);
        let mut done: BTreeMap<u32, usize> = BTreeMap::new();
        // Taken as they end, so that the queue never runs dry and every worker has something to do.
        let inputs = std::iter::repeat_with(|| ((), Hash { bytes: input.clone() }));
        for ((), outcome) in self.engine.stream(inputs).window(4 * self.workers).unordered() {
            let (runner, digest) = outcome?;
            if digest != answer {
                return Err("a task has answered with a wrong hash".into());
            }
            *done.entry(runner).or_default() += 1;
            if done.len() == self.workers && done.values().all(|&tasks| tasks >= count) {
                break;
            }
        }
        self.engine.drained_blocking();
        let (least, most) = (done.values().min(), done.values().max());
        println!("worked {} {}", least.unwrap_or(&0), most.unwrap_or(&0));
        Ok(())
    }

    /// Waits until the engine has replaced every worker that has grown too large.
    fn renew(&self) -> Result<(), Box<dyn Error>> {
        wait("workers that have grown are replaced", || {
            let pids = self.pids();
            // One that has ended has no memory, and is to be forgotten by the engine, too; the others
            // are small enough, and still workers.
            let is_well = |(pid, before): (&u32, &u64)| match Memory::of(*pid) {
                Err(_) => !pids.contains(pid),
                Ok(now) => now.rss <= before + self.growth_kib && pids.contains(pid),
            };
            Ok(pids.len() == self.workers && self.sizes.iter().all(is_well))
        })?;
        let stayed = self.pids().iter().filter(|pid| self.sizes.contains_key(pid)).count();
        println!("renewed {}", self.workers - stayed);
        Ok(())
    }
}

/// Looks again and again whether something is so, for [`PATIENCE`] at most.
fn wait(
    what: &str,
    mut is_so: impl FnMut() -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(format!("not so within {} s: {what}", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
