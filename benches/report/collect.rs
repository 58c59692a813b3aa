//! Runs the benches, one after the other, and takes the rows that each has written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use amphi_benches::memory;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fault::Fault;
use crate::rows::Data;

/// **The benches of the report**, in the order in which they run, each with what it measures.
const BENCHES: [(&str, &str); 10] = [
    ("dispatch", "handing over a tiny task"),
    ("payload", "what bytes cost"),
    ("crossover", "from when on a process costs no more"),
    ("memory", "memory by mode and workers"),
    ("respawn", "after a crash"),
    ("peers", "other libraries"),
    ("regret", "automatic placement"),
    ("regret_mimalloc", "the same with another allocator"),
    ("offload", "whole commands"),
    ("overhead", "the scheduler by itself"),
];

const PACKAGE: &str = "amphi-benches";

/// To build a bench takes minutes, and to run it one: what is not done by then never will be.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What came of running the benches.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) data: Data,
    /// Of each bench without rows: why.
    pub(crate) absent: BTreeMap<String, String>,
    /// Whether some bench is there and yet gave no rows.
    pub(crate) failed: bool,
}

/// Runs every bench of the list that the package has. What each says goes to `LOG/BENCH.txt`.
///
/// # Errors
/// If cargo cannot be asked, or not one bench has written rows.
pub(crate) fn run(target: &Path, log: &Path) -> Result<Collected, Fault> {
    let present = targets()?;
    fs::create_dir_all(log).map_err(|source| Fault::Write { path: log.to_path_buf(), source })?;
    let mut found = Collected { data: Data::default(), absent: BTreeMap::new(), failed: false };
    let screen = Screen::new(BENCHES.len() as u64);
    for (bench, what) in BENCHES {
        screen.begin(bench, what);
        if !present.iter().any(|name| name == bench) {
            let why = format!("this package has no bench {bench}");
            screen.end(&format!("{bench}: left out, {why}"));
            found.absent.insert(bench.to_owned(), why);
            continue;
        }
        let start = Instant::now();
        match measure(bench, target, log, &mut found.data) {
            Ok(()) => screen.end(&format!("{bench}: {} s", start.elapsed().as_secs())),
            Err(why) => {
                screen.end(&format!("{bench}: {why}"));
                found.absent.insert(bench.to_owned(), why);
                found.failed = true;
            }
        }
    }
    let in_list = |name: &String| BENCHES.iter().any(|(bench, _)| bench == name);
    for bench in present.iter().filter(|name| !in_list(name)) {
        screen.tell(&format!("{bench}: not run, the list in benches/report/collect.rs lacks it"));
    }
    drop(screen);
    if found.data.runs.iter().all(|run| run.measures.is_empty()) {
        return Err(Fault::NoRun { log: log.to_path_buf() });
    }
    Ok(found)
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

/// The bench targets that the package has now.
fn targets() -> Result<Vec<String>, Fault> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output().map_err(|source| Fault::Cargo {
        command: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    let told = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        return Err(Fault::Metadata { told: told() });
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Fault::Metadata { told: error.to_string() })?;
    let none = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let package = metadata["packages"].as_array().unwrap_or(&none);
    let package = package.iter().find(|package| package["name"] == PACKAGE);
    let targets = package.map_or_else(Vec::new, |package| list(&package["targets"]));
    let is_bench = |target: &&Value| list(&target["kind"]).iter().any(|kind| kind == "bench");
    let name = |target: &Value| target["name"].as_str().map(str::to_owned);
    Ok(targets.iter().filter(is_bench).filter_map(name).collect())
}

/// Runs one bench and reads what it has written; rows of an earlier run are not taken for its.
fn measure(bench: &str, target: &Path, log: &Path, data: &mut Data) -> Result<(), String> {
    let told = log.join(format!("{bench}.txt"));
    let rows = target.join("amphi-bench").join(format!("{bench}.json"));
    let written = |path: &PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
    let before = written(&rows);
    let ended = (|| -> io::Result<_> {
        let out = File::create(&told)?;
        let mut command = cargo();
        command.args(["bench", "--package", PACKAGE, "--bench", bench, "--target-dir"]);
        command.arg(target).args(["--", "--quick"]).stdout(out.try_clone()?).stderr(out);
        end_of(command.spawn()?)
    })();
    let see = format!("see {}", told.display());
    match ended {
        Err(error) => return Err(format!("it could not be run ({error}): {see}")),
        Ok(status) if !status.success() => return Err(format!("it failed ({status}): {see}")),
        Ok(_) => {}
    }
    if written(&rows) == before {
        return Err(format!("it wrote no {}: {see}", rows.display()));
    }
    data.read_file(&rows).map_err(|fault| fault.to_string())
}

/// Waits for a bench; what has hung for so long is killed with all that it has started.
fn end_of(mut child: Child) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            for pid in memory::tree(child.id()) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
            child.wait()?;
            let text = format!("not done after {} minutes", PATIENCE.as_secs() / 60);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A bar at a terminal, a line a bench elsewhere; all of it on standard error, without colour.
struct Screen {
    bar: ProgressBar,
}

impl Screen {
    fn new(count: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {elapsed} {wide_msg}")
            .expect("the template is well formed");
        // Hidden where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
        let bar = bar.with_style(style);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar }
    }

    fn begin(&self, bench: &str, what: &str) {
        self.bar.set_message(format!("{bench}: {what}"));
    }

    fn end(&self, line: &str) {
        self.tell(line);
        self.bar.inc(1);
    }

    fn tell(&self, line: &str) {
        // Nobody is left to be told that standard error is closed.
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{line}")));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
