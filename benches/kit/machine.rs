//! Where and from what the figures were taken, and whether the machine was quiet meanwhile.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Map, Value, json};

use crate::cpu::used_so_far;
use crate::runtime::{self, Runtime};

/// The fields of the machine row: cores, kernel, processor, commit, load, cost of a clock read.
///
/// Hypervisors and neighbours are not seen; compare figures of one run only.
pub fn describe() -> Map<String, Value> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Map::from_iter([
        ("cores".to_owned(), json!(cores)),
        ("kernel".to_owned(), json!(first_line("/proc/sys/kernel/osrelease"))),
        ("cpu".to_owned(), json!(processor())),
        ("commit".to_owned(), json!(commit())),
        ("load".to_owned(), json!(first_line("/proc/loadavg"))),
        ("clock_read_ns".to_owned(), json!(clock_read_ns())),
    ])
}

/// Cores that others may keep busy before the figures stop being about this bench.
pub const NOISE: f64 = 0.1;

/// The field of the machine row that says what [`Neighbours`] saw.
pub const BUSY: &str = "busy_cores_of_others";

/// Notes in the machine row what is known at the end of the rounds.
pub fn note_run(
    machine: &mut Map<String, Value>,
    neighbours: &Neighbours,
    quick: bool,
    rounds: usize,
) {
    machine.insert(BUSY.to_owned(), json!(neighbours.busy_cores()));
    machine.insert("quick".to_owned(), json!(quick));
    machine.insert("rounds".to_owned(), json!(rounds));
}

/// Notes in the machine row which versions of runtimes are here: null for one that is not.
pub fn note_versions(machine: &mut Map<String, Value>, runtimes: &[Runtime]) {
    for runtime in runtimes {
        machine.insert(runtime.name().to_owned(), json!(runtime::version(*runtime)));
    }
}

/// What [`note_versions`] has noted, in words: `node v20.20.2, no python`.
pub fn versions(machine: &Map<String, Value>, runtimes: &[Runtime]) -> String {
    let one = |runtime: &Runtime| match machine.get(runtime.name()) {
        Some(Value::String(version)) => version.clone(),
        _ => format!("no {}", runtime.name()),
    };
    runtimes.iter().map(one).collect::<Vec<String>>().join(", ")
}

/// The run in one line, from the fields of its machine row: those of [`describe`] and of
/// [`note_run`].
pub fn headline(bench: &str, machine: &Map<String, Value>) -> String {
    let field = |key: &str| match machine.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    };
    let is_quick = machine.get("quick") == Some(&Value::Bool(true));
    let others = machine.get(BUSY).and_then(Value::as_f64);
    format!(
        "{bench}: {} cores of {}, kernel {}, commit {}; {} {}{}; two clock reads take {} ns; \
         others kept {} cores busy meanwhile{}",
        field("cores"),
        field("cpu"),
        field("kernel"),
        field("commit"),
        field("rounds"),
        if machine.get("rounds") == Some(&json!(1)) { "round" } else { "rounds" },
        if is_quick { " (--quick)" } else { "" },
        field("clock_read_ns"),
        others.map_or_else(|| "?".to_owned(), |cores| format!("{cores:.2}")),
        if others.is_some_and(|cores| cores > NOISE) { ": THIS RUN IS NOISE" } else { "" },
    )
}

/// Looks at how busy others keep this machine. A run beside a compiler measures the compiler.
#[derive(Debug)]
pub struct Neighbours {
    start: Instant,
    busy: Option<f64>,
    own: Duration,
}

impl Neighbours {
    /// Starts looking.
    pub fn watch() -> Self {
        Self { start: Instant::now(), busy: busy_seconds(), own: used_so_far() }
    }

    /// Cores that were busy since the start with anything but this process tree: other programs,
    /// the kernel's own threads, time stolen by the hypervisor. `None` where `/proc` does not say.
    pub fn busy_cores(&self) -> Option<f64> {
        let busy = busy_seconds()? - self.busy?;
        let others = busy - used_so_far().saturating_sub(self.own).as_secs_f64();
        Some((others / self.start.elapsed().as_secs_f64()).max(0.0))
    }
}

/// Busy seconds of all cores since boot: user, nice, system, interrupts, stolen.
fn busy_seconds() -> Option<f64> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    let line = first_line("/proc/stat");
    let fields: Vec<f64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&index| fields.get(index)).sum();
    Some(busy / ticks_per_second as f64)
}

/// What two reads of the clock add to every latency that is taken with them, in nanoseconds: the
/// shortest figure that a latency can have.
pub fn clock_read_ns() -> u64 {
    let mut samples: Vec<u64> = (0..10_001)
        .map(|_| {
            let start = Instant::now();
            u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    crate::stats::nearest(&mut samples, 0.5).unwrap_or(0)
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

/// The commit that is checked out where the bench is started, marked if files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(busy: Value, quick: bool) -> Map<String, Value> {
        let fields = [
            ("cores", json!(2)),
            ("commit", json!("0123456789ab")),
            (BUSY, busy),
            ("quick", json!(quick)),
            ("rounds", json!(12)),
            ("node", json!("node v20.1.2")),
            ("python", Value::Null),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn the_headline_says_what_the_row_says() {
        let quiet = headline("probe", &row(json!(0.02), false));
        assert!(
            quiet.starts_with("probe: 2 cores of ?, kernel ?, commit 0123456789ab; 12 rounds;")
        );
        assert!(quiet.ends_with("others kept 0.02 cores busy meanwhile"), "{quiet}");
        let noisy = headline("probe", &row(json!(NOISE * 2.0), true));
        assert!(noisy.contains("12 rounds (--quick);"), "{noisy}");
        assert!(noisy.ends_with("0.20 cores busy meanwhile: THIS RUN IS NOISE"), "{noisy}");
        let unknown = headline("probe", &row(Value::Null, false));
        assert!(unknown.ends_with("others kept ? cores busy meanwhile"), "{unknown}");
    }

    #[test]
    fn runtimes_that_are_not_here_are_said() {
        let runtimes = [Runtime::Node, Runtime::Python];
        assert_eq!(versions(&row(Value::Null, true), &runtimes), "node v20.1.2, no python");
    }
}
