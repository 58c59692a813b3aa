//! The configurations: how a host of each is started, what it is told, and how its memory is read.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use amphi_benches::memory::tree;
use amphi_benches::runtime::{self, Runtime};
use amphi_benches::{Memory, Options, Script};

use super::PATIENCE;
use super::host::HOST;

pub(crate) const THREADS: &str = "amphi threads";
pub(crate) const PROCESSES: &str = "amphi processes";
pub(crate) const PRELOADED: &str = "amphi processes, 64 MiB preloaded";
pub(crate) const NODE_CLUSTER: &str = "Node cluster";
pub(crate) const NODE_THREADS: &str = "Node worker_threads";

pub(crate) const PRELOAD_MIB: usize = 64;

/// Whose memory is read.
pub(crate) struct System {
    pub(crate) name: &'static str,
    how: How,
}

enum How {
    Amphi { place: &'static str, preload_mib: usize },
    Node { program: PathBuf, kind: &'static str },
}

/// All systems of a run.
pub(crate) struct Systems {
    pub(crate) present: Vec<System>,
    /// Those that need what is not installed, and why.
    pub(crate) absent: Vec<(&'static str, String)>,
}

impl Systems {
    /// Those that were asked for and that this machine has.
    pub(crate) fn found(options: &Options) -> Result<Self, Box<dyn Error>> {
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        for (name, place, preload_mib) in
            [(THREADS, "thread", 0), (PROCESSES, "process", 0), (PRELOADED, "process", PRELOAD_MIB)]
        {
            present.push(System { name, how: How::Amphi { place, preload_mib } });
        }
        present.retain(|system| options.wants_system(system.name));
        let node = [(NODE_CLUSTER, "cluster"), (NODE_THREADS, "threads")];
        for (name, kind) in node.into_iter().filter(|(name, _)| options.wants_system(name)) {
            match runtime::find(Runtime::Node) {
                Ok(program) => present.push(System { name, how: How::Node { program, kind } }),
                Err(missing) => absent.push((name, missing.skip()?)),
            }
        }
        Ok(Self { present, absent })
    }
}

impl System {
    /// Whether its workers are processes, which have figures of their own.
    pub(crate) fn has_processes(&self) -> bool {
        has_processes(self.name)
    }

    /// Whether its workers can be replaced by new ones.
    pub(crate) fn can_renew(&self) -> bool {
        self.name != THREADS
    }

    /// Starts a host of so many workers. Amphi replaces those that have grown by more than
    /// `growth_mib` after a task; 0: never.
    pub(crate) fn start(&self, workers: usize, growth_mib: usize) -> Result<Host, Box<dyn Error>> {
        let script = match &self.how {
            How::Amphi { place, preload_mib } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args([HOST, place]);
                command.args([workers, *preload_mib, growth_mib].map(|number| number.to_string()));
                Script::spawn(command, self.name)?
            }
            How::Node { program, kind } => {
                let arguments = [(*kind).to_owned(), workers.to_string()];
                Script::start(program, &runtime::script("memory.js"), arguments)?
            }
        };
        let workers = if self.has_processes() { workers } else { 0 };
        Ok(Host { script, workers })
    }
}

/// As [`System::has_processes`].
pub(crate) fn has_processes(name: &str) -> bool {
    [PROCESSES, PRELOADED, NODE_CLUSTER].contains(&name)
}

/// A host that was started, and does what it is told.
pub(crate) struct Host {
    script: Script,
    /// Workers that are processes.
    workers: usize,
}

/// The memory of a host and of all that it started.
#[derive(Debug, Clone)]
pub(crate) struct Census {
    /// All of it together.
    pub(crate) all: Memory,
    /// Each worker; none where workers are threads.
    pub(crate) workers: Vec<Memory>,
}

impl Host {
    /// Has a command of `memory/host.rs` done; what follows the answer's first word.
    pub(crate) fn tell(&mut self, command: &str) -> Result<Vec<u64>, Box<dyn Error>> {
        let expected = match command.split(' ').next() {
            Some("hold") => "held",
            Some("release") => "released",
            Some("work") => "worked",
            Some("renew") => "renewed",
            _ => "workers",
        };
        let answer = self.script.ask(command, PATIENCE)?;
        let mut words = answer.split(' ');
        let numbers = if words.next() == Some(expected) {
            words.map(str::parse).collect::<Result<_, _>>().ok()
        } else {
            None
        };
        numbers.ok_or_else(|| format!("it was told {command:?} and answered {answer:?}").into())
    }

    /// Ends it and all that it has started.
    pub(crate) fn end(self) -> Result<(), Box<dyn Error>> {
        Ok(self.script.end(PATIENCE)?)
    }

    /// Every worker runs a task and ends it.
    pub(crate) fn wake_all(&mut self) -> Result<(), Box<dyn Error>> {
        self.tell("hold 0 free")?;
        self.tell("release")?;
        Ok(())
    }

    /// Reads the memory of all.
    pub(crate) fn census(&mut self) -> Result<Census, Box<dyn Error>> {
        let pids = self.tell("workers")?;
        if pids.len() != self.workers {
            return Err(format!("it has {} workers, not {}", pids.len(), self.workers).into());
        }
        let mut census = Census { all: Memory::default(), workers: Vec::new() };
        for pid in tree(self.script.pid()) {
            // What has ended has no memory; a worker that has ended is missed below.
            let Ok(memory) = Memory::of(pid) else { continue };
            census.all = census.all + memory;
            if pids.contains(&u64::from(pid)) {
                census.workers.push(memory);
            }
        }
        if census.workers.len() != self.workers {
            return Err("the memory of some of its workers cannot be read".into());
        }
        Ok(census)
    }
}
