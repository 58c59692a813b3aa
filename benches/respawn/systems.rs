//! What every system is to the run, and which ones this machine has.

use std::error::Error;

use amphi_benches::Options;
use amphi_benches::runtime::Runtime;

use super::Case;
use super::engine::{self, Amphi};
use super::peers::{self, Exec, Scripted};

/// The kills of one slice.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    /// From each kill until the new worker has answered.
    pub(crate) times_ns: Vec<u64>,
    /// Tasks that had to be sent once more, since the dying worker was quicker than its signal or
    /// took them along; `None` where nobody counts them.
    pub(crate) asked_again: Option<u64>,
}

/// Somebody with one worker.
pub(crate) trait System {
    fn name(&self) -> &'static str;

    fn runs(&self, case: Case) -> bool {
        case == Case::Idle
    }

    /// Kills the worker `count` times, each time after the last replacement has answered.
    fn kill(&mut self, case: Case, count: usize) -> Result<Kills, Box<dyn Error>>;
}

/// All systems of a run.
pub(crate) struct Systems {
    pub(crate) present: Vec<Box<dyn System>>,
    /// Those that need what is not installed, and why.
    pub(crate) absent: Vec<(&'static str, String)>,
}

/// Starts every system that was asked for.
pub(crate) fn start(options: &Options) -> Result<Systems, Box<dyn Error>> {
    let mut present: Vec<Box<dyn System>> = Vec::new();
    let mut absent = Vec::new();
    for (name, preload_bytes) in [(engine::PLAIN, 0), (engine::PRELOAD, engine::PRELOAD_BYTES)] {
        if options.wants_system(name) {
            present.push(Box::new(Amphi::start(name, preload_bytes)?));
        }
    }
    if options.wants_system(peers::EXEC) {
        present.push(Box::new(Exec::start()?));
    }
    for (name, runtime, script) in
        [(peers::PYTHON, Runtime::Python, "respawn.py"), (peers::NODE, Runtime::Node, "respawn.js")]
    {
        if !options.wants_system(name) {
            continue;
        }
        match Scripted::start(name, runtime, script)? {
            Ok(system) => present.push(Box::new(system)),
            Err(reason) => absent.push((name, reason)),
        }
    }
    Ok(Systems { present, absent })
}
