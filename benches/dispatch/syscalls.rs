//! System calls a task, of all processes: perf counts those of this binary as one system with one
//! case, once with few tasks and once with more. The difference is what the tasks cost.
//!
//! Where the kernel refuses perf its counter, strace counts. A call takes many times as long then:
//! who looks and yields for what comes soon does so more often.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use amphi_benches::{Tally, deadline, json};

use crate::case::{Case, Plan};
use crate::pools::{System, roles};
use crate::{drive, systems};

pub(crate) const ROLE: &str = "counted";

/// The longest that counted tasks take: whoever answers no more is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is counted: everybody awake, everybody asleep before each task, and many in flight.
const CASES: [Case; 3] = [Case::HotWord, Case::Parked, Case::Pipelined];

/// Counts for every system, and notes `syscalls` of one round.
///
/// # Errors
/// A text that says why nothing was counted.
pub(crate) fn count(
    systems: &[Box<dyn System>],
    plan: &Plan,
    tally: &mut Tally,
) -> Result<(), String> {
    let counter = Counter::find()?;
    let cases: Vec<Case> = CASES.into_iter().filter(|case| plan.cases.contains(case)).collect();
    for system in systems {
        let name = system.name();
        if plan.quick && !name.starts_with("amphi") {
            continue; // the peers take long
        }
        for case in cases.iter().copied().filter(|case| case.fits(system.as_ref())) {
            let (few, more) = tasks(case, plan.quick);
            let calls = |tasks| counter.count(name, case, tasks);
            let (first, second) = (calls(few)?, calls(more)?);
            let each = (second as f64 - first as f64) / (more - few) as f64;
            tally.add(0, (name, case.name(), "syscalls"), each.max(0.0), "calls/task");
        }
    }
    Ok(())
}

fn tasks(case: Case, quick: bool) -> (usize, usize) {
    match (case, quick) {
        (Case::Parked, _) => (20, 60),
        (_, true) => (500, 5_500),
        (_, false) => (1_000, 21_000),
    }
}

/// Who counts.
#[derive(Debug, Clone, Copy)]
enum Counter {
    Perf,
    Strace,
}

impl Counter {
    /// One that can count the calls of a program that does nothing.
    fn find() -> Result<Self, String> {
        let mut whys = Vec::new();
        for counter in [Self::Perf, Self::Strace] {
            let nothing = |command: &mut Command| {
                command.arg("true");
            };
            match counter.run(nothing) {
                Ok(_) => return Ok(counter),
                Err(why) => whys.push(why),
            }
        }
        Err(format!("{}; install perf (Debian: linux-perf) or strace", whys.join("; ")))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Strace => "strace",
        }
    }

    /// The calls of a process that runs so many tasks, and of all that it starts.
    fn count(self, system: &str, case: Case, tasks: usize) -> Result<u64, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let counted = self.run(|command| {
            command.arg(program);
            roles::assign(command, ROLE, &format!("{system}\t{}\t{tasks}", case.name()));
        });
        counted.map_err(|why| format!("{system}, {}: {why}", case.name()))
    }

    fn run(self, program: impl FnOnce(&mut Command)) -> Result<u64, String> {
        let file = Summary::new()?;
        let told = |what: &str| format!("{}: {what}", self.name());
        let mut command = Command::new(self.name());
        command.args(match self {
            Self::Perf => &["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-o"][..],
            Self::Strace => &["-f", "-qq", "-c", "-o"],
        });
        command.arg(&file.0);
        program(&mut command);
        let output =
            command.stdin(Stdio::null()).output().map_err(|error| told(&error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(told(said.trim().lines().last().unwrap_or("it failed and said nothing")));
        }
        let text = fs::read_to_string(&file.0).map_err(|error| told(&error.to_string()))?;
        self.total(&text).ok_or_else(|| told("its summary has no total"))
    }

    /// The first column of perf's only line; the fourth of strace's line `total`.
    fn total(self, summary: &str) -> Option<u64> {
        match self {
            Self::Perf => {
                let line = summary.lines().find(|line| line.contains("sys_enter"))?;
                line.split(',').next()?.parse().ok()
            }
            Self::Strace => {
                let line = summary.lines().rfind(|line| line.trim_end().ends_with(" total"))?;
                line.split_whitespace().nth(3)?.parse().ok()
            }
        }
    }
}

/// A file of ours, removed when it has been read.
struct Summary(PathBuf);

impl Summary {
    fn new() -> Result<Self, String> {
        let folder = json::target_dir().join("amphi-bench");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder.join(format!("syscalls-{}", std::process::id()))))
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// This binary as the one that is counted.
pub(crate) fn serve(argument: String) {
    let words: Vec<&str> = argument.split('\t').collect();
    let [system, case, tasks] = words[..] else {
        panic!("{argument:?} is no system, case, number")
    };
    let case = Case::ALL.into_iter().find(|known| known.name() == case).expect("a case");
    let tasks = tasks.parse().expect("a number of tasks");
    let mut system = systems::start_one(system).expect("it has started in the bench");
    let what = format!("{}, {}", system.name(), case.name());
    deadline::within(PATIENCE, &what, || drive::run(system.as_mut(), case, tasks));
}
