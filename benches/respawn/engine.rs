//! Amphi: an engine with one worker, whose pid a task tells.

use std::error::Error;
use std::time::{Duration, Instant};

use amphi::{App, Ctx, Engine, Job, Placement, Setup, TaskError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::systems::{Kills, System};
use super::{Case, PATIENCE, PAUSE};

pub(crate) const PLAIN: &str = "amphi, 1 worker";
pub(crate) const PRELOAD: &str = "amphi, 1 worker, 64 MiB preloaded";

pub(crate) const PRELOAD_BYTES: usize = 64 << 20;

/// What every process of this bench agrees on.
pub(crate) fn app() -> App {
    App::new().function("who", who).job::<Hold>().preload(load)
}

/// What the forkserver has loaded before it forks.
struct Model(Vec<u8>);

/// As many bytes as the host has asked for, every page touched: a fork copies its page tables.
fn load(setup: &Setup) -> Result<Model, amphi::Error> {
    Ok(Model(vec![1; setup.config()?]))
}

/// The pid of the process that runs it.
fn who((): ()) -> Result<u32, amphi::Error> {
    Ok(std::process::id())
}

/// Keeps one worker busy until it is killed. Any other process tells its pid, and how long the
/// model is that it has.
#[derive(Serialize, Deserialize)]
struct Hold {
    victim: u32,
}

impl Job for Hold {
    type Output = (u32, usize);
    type Error = amphi::Error;

    fn run(self, cx: &Ctx) -> Result<(u32, usize), amphi::Error> {
        let begun = Instant::now();
        cx.progress(1, 1);
        while self.victim == std::process::id() {
            std::hint::spin_loop();
            if begun.elapsed() > PATIENCE {
                return Err(amphi::Error::new("nobody has killed this worker"));
            }
        }
        Ok((std::process::id(), cx.state::<Model>().0.len()))
    }
}

/// See the module.
pub(crate) struct Amphi {
    name: &'static str,
    engine: Engine,
    preload_bytes: usize,
}

impl Amphi {
    /// An engine whose worker has run one task.
    pub(crate) fn start(name: &'static str, preload_bytes: usize) -> Result<Self, Box<dyn Error>> {
        let engine = app().config(preload_bytes).engine();
        let engine = engine.place(Placement::Process).cores(1).workers(1..=1).start()?;
        let system = Self { name, engine, preload_bytes };
        system.ask()?;
        Ok(system)
    }

    /// The pid of the present worker.
    fn ask(&self) -> Result<u32, Box<dyn Error>> {
        match self.engine.call(who, ()).join_timeout(PATIENCE) {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err("the worker did not answer".into()),
        }
    }

    /// Nothing is in flight; the next task is sent at once, and again if it met the dying worker.
    fn kill_idle(&self, again: &mut u64) -> Result<Duration, Box<dyn Error>> {
        let old = self.ask()?;
        std::thread::sleep(PAUSE);
        let begun = Instant::now();
        end(old)?;
        loop {
            match self.engine.call(who, ()).join_timeout(PATIENCE) {
                Ok(Ok(new)) if new != old => return Ok(begun.elapsed()),
                Ok(Ok(_) | Err(TaskError::Crashed { .. } | TaskError::Lost { .. })) => *again += 1,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err("no replacement has answered".into()),
            }
        }
    }

    /// One task runs and may run again, another one waits behind it.
    fn kill_busy(&self) -> Result<Duration, Box<dyn Error>> {
        let old = self.ask()?;
        let held = self.engine.task(Hold { victim: old }).retries(1).try_submit();
        let held = held.map_err(|rejected| rejected.reason.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        while held.progress().is_none() {
            if Instant::now() > deadline {
                return Err("the task that is to be killed has not begun".into());
            }
            std::thread::yield_now();
        }
        let neighbour = self.engine.call(who, ());
        let begun = Instant::now();
        end(old)?;
        let neighbour = neighbour.join_timeout(PATIENCE);
        let held = held.join_timeout(PATIENCE);
        let time = begun.elapsed();
        // Both had to come through: one was tried again, the other one had not started.
        let neighbour = neighbour.map_err(|_| "the task in flight was not answered")??;
        let (held, bytes) = held.map_err(|_| "the task that ran was not answered")??;
        if [neighbour, held].contains(&old) || bytes != self.preload_bytes {
            return Err("the answers are not those of a replacement".into());
        }
        Ok(time)
    }
}

impl System for Amphi {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self, _: Case) -> bool {
        true
    }

    fn kill(&mut self, case: Case, count: usize) -> Result<Kills, Box<dyn Error>> {
        let (mut times_ns, mut again) = (Vec::with_capacity(count), 0);
        for _ in 0..count {
            let time = match case {
                Case::Idle => self.kill_idle(&mut again)?,
                Case::Busy => self.kill_busy()?,
            };
            times_ns.push(u64::try_from(time.as_nanos())?);
        }
        Ok(Kills { times_ns, asked_again: (case == Case::Idle).then_some(again) })
    }
}

fn end(pid: u32) -> Result<(), Box<dyn Error>> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?)
}
