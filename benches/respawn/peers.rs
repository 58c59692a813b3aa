//! What stands beside amphi: this very binary executed again by hand, and what Python and Node
//! bring along.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use amphi_benches::deadline;
use amphi_benches::runtime::{self, Runtime, Script};

use super::systems::{Kills, System};
use super::{Case, PATIENCE, PAUSE};

pub(crate) const EXEC: &str = "exec respawn by hand";
pub(crate) const PYTHON: &str = "Python ProcessPoolExecutor, fork";
pub(crate) const NODE: &str = "Node child_process.fork";

/// Makes this binary the child of [`Exec`]; not for use by hand.
const ANSWER: &str = "--answer";

/// Answers each line with its pid, to the end of standard input, if this process was started for
/// that; false: it is the bench itself.
pub(crate) fn take_over() -> bool {
    if std::env::args().nth(1).as_deref() != Some(ANSWER) {
        return false;
    }
    let pid = std::process::id();
    // An end of either pipe is the end of the bench.
    let _ = io::stdin().lines().try_for_each(|line| {
        line?;
        let mut out = io::stdout();
        writeln!(out, "{pid}")?;
        out.flush()
    });
    true
}

/// This binary again, with two pipes: the least that a program would write for itself. Nobody
/// supervises anything, and nothing is shared.
pub(crate) struct Exec {
    worker: Worker,
}

struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// A child that has answered once.
    fn start() -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ANSWER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no pipe to the child")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no pipe from the child")?);
        let mut worker = Self { child, stdin, stdout };
        worker.stdin.write_all(b"\n")?;
        let mut answer = String::new();
        worker.stdout.read_line(&mut answer)?; // an end without an answer fails below
        if answer.trim().parse() != Ok(worker.child.id()) {
            return Err(format!("the child answered {answer:?}").into());
        }
        Ok(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Exec {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self { worker: deadline::within(PATIENCE, EXEC, Worker::start)? })
    }
}

impl System for Exec {
    fn name(&self) -> &'static str {
        EXEC
    }

    fn kill(&mut self, _: Case, count: usize) -> Result<Kills, Box<dyn Error>> {
        // A line that never comes is waited for without a limit of its own, which would take time.
        deadline::within(PATIENCE, EXEC, || {
            let mut times_ns = Vec::with_capacity(count);
            for _ in 0..count {
                std::thread::sleep(PAUSE);
                let begun = Instant::now();
                self.worker.child.kill()?;
                self.worker.child.wait()?;
                self.worker = Worker::start()?;
                times_ns.push(u64::try_from(begun.elapsed().as_nanos())?);
            }
            Ok(Kills { times_ns, asked_again: None })
        })
    }
}

/// A script of ours that kills and times within its own runtime: no line between two processes is
/// in its figures.
pub(crate) struct Scripted {
    name: &'static str,
    script: Script,
}

impl Scripted {
    /// The inner `Err` says why the table goes without it.
    pub(crate) fn start(
        name: &'static str,
        runtime: Runtime,
        script: &str,
    ) -> Result<Result<Self, String>, Box<dyn Error>> {
        let program = match runtime::find(runtime) {
            Ok(program) => program,
            Err(missing) => return Ok(Err(missing.skip()?)),
        };
        let mut script = Script::start(&program, &runtime::script(script), [""; 0])?;
        let greeting = script.hear(PATIENCE)?;
        if greeting != "ready" {
            return Err(format!("{name} began with {greeting:?}").into());
        }
        Ok(Ok(Self { name, script }))
    }
}

impl System for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kill(&mut self, _: Case, count: usize) -> Result<Kills, Box<dyn Error>> {
        let line = self.script.ask(&count.to_string(), 2 * PATIENCE)?;
        let times = line.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let times_ns = times.map_err(|_| format!("it answered {line:?}"))?;
        Ok(Kills { times_ns, asked_again: None })
    }
}
