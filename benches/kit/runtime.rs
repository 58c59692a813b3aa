//! Peers that are programs of other languages: whether their runtime is here, and a child that
//! talks line by line.
//!
//! A peer's script lives in `benches/peers`. It reads commands from standard input, one a line,
//! answers each with one line, times itself what is to be timed, and ends at the end of its input.
//! So a bench that is killed leaves nothing, and nothing here waits without a deadline.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// Names the runtimes that must be here: `AMPHI_REQUIRE=node,python`.
pub const REQUIRE: &str = "AMPHI_REQUIRE";

/// How long a runtime may take to say which one it is. The first start reads it from the disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether `AMPHI_REQUIRE` lists a program.
pub fn is_required(name: &str) -> bool {
    env::var(REQUIRE).is_ok_and(|list| lists(&list, name))
}

/// A language that peers are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Node.js.
    Node,
    /// CPython 3.
    Python,
}

impl Runtime {
    /// As `AMPHI_REQUIRE` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
        }
    }

    /// Whether `AMPHI_REQUIRE` lists it.
    pub fn is_required(self) -> bool {
        is_required(self.name())
    }

    /// The program that is looked for, and what makes it tell its own file and its version.
    const fn question(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::Node => ("node", ["-p", "process.execPath + '\\t' + process.version"]),
            Self::Python => (
                "python3",
                ["-c", "import sys; print(sys.executable + '\\t' + sys.version.split()[0])"],
            ),
        }
    }
}

/// Why the systems of a runtime are not in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    runtime: Runtime,
    reason: String,
    required: bool,
}

impl Missing {
    /// The text for the table; `Err` with the runtime's absence where `AMPHI_REQUIRE` lists it.
    ///
    /// # Errors
    /// Itself: end the bench with it.
    pub fn skip(self) -> Result<String, Self> {
        if self.required { Err(self) } else { Ok(self.to_string()) }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runtime, reason, required } = self;
        let name = runtime.name();
        match required {
            true => write!(f, "{name} is required by {REQUIRE}, but {reason}; install it"),
            false => write!(f, "{name} is left out: {reason}"),
        }
    }
}

impl std::error::Error for Missing {}

/// The runtime's own program file, behind links and wrapper scripts: it was started once and said
/// so.
///
/// # Errors
/// [`Missing`], where it is not installed or does not run: see [`Missing::skip`].
pub fn find(name: Runtime) -> Result<PathBuf, Missing> {
    ask(name).map(|(path, _)| path)
}

/// Which version of a runtime [`find`] finds, for the machine row: `node v20.20.2`.
pub fn version(name: Runtime) -> Option<String> {
    ask(name).ok().map(|(_, version)| format!("{} {version}", name.name()))
}

fn ask(runtime: Runtime) -> Result<(PathBuf, String), Missing> {
    let required = runtime.is_required();
    let missing = |reason| Missing { runtime, reason, required };
    let (program, question) = runtime.question();
    let mut command = Command::new(program);
    command.args(question);
    let answer = Script::spawn(command, program).and_then(|mut script| script.hear(PATIENCE));
    let answer = answer.map_err(|error| missing(error.to_string()))?;
    match answer.split_once('\t') {
        Some((path, version)) => Ok((PathBuf::from(path), version.to_owned())),
        None => Err(missing(format!("{program} answered {answer:?} when asked for its version"))),
    }
}

fn lists(list: &str, name: &str) -> bool {
    list.split(',').any(|one| one.trim() == name)
}

/// A script of `benches/peers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// A child that answers lines with lines. It leads a process group of its own, and dropping it
/// kills the whole group.
#[derive(Debug)]
pub struct Script {
    label: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<io::Result<String>>,
}

impl Script {
    /// Starts the script at `path`, with arguments, in a runtime that [`find`] has found.
    ///
    /// # Errors
    /// If it cannot be started; the text names the script.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        path: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> io::Result<Self> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.arg(path).args(arguments);
        Self::spawn(command, &name)
    }

    /// Starts any command as such a child; `label` names it in errors. Its standard error is
    /// ours.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(mut command: Command, label: &str) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{label} cannot be started: {error}"))
        })?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, lines) = channel();
        // It ends when nobody has the other end of the pipe any more, or nobody listens.
        thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line)));
        Ok(Self { label: label.to_owned(), child, stdin, lines })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends one line. Short ones: a script that does not read is noticed by [`hear`](Self::hear).
    ///
    /// # Errors
    /// If it reads no more.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let label = &self.label;
        let told = self.stdin.as_mut().map(|stdin| stdin.write_all(format!("{line}\n").as_bytes()));
        told.expect("it is open until the end").map_err(|error| {
            io::Error::new(error.kind(), format!("{label} does not take {line:?}: {error}"))
        })
    }

    /// Its next line, without the end of line; waits for `patience` at most.
    ///
    /// # Errors
    /// `TimedOut` where none came in time, `UnexpectedEof` where it has ended; the text names it.
    pub fn hear(&mut self, patience: Duration) -> io::Result<String> {
        let label = &self.label;
        match self.lines.recv_timeout(patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("{label} said nothing for {} s", patience.as_secs_f64());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let end = match self.ended()? {
                    Some(end) => format!("{label} has ended: {end:?}"),
                    None => format!("{label} closed its standard output"),
                };
                let text = format!("{end}; what it wrote to standard error says why");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            }
        }
    }

    /// Closes its standard input and waits until it has ended by itself: then what it started has
    /// ended, too, and its processor time counts among ours.
    ///
    /// # Errors
    /// `TimedOut` where it lives on after `patience` (it is killed then), or if it failed.
    pub fn end(mut self, patience: Duration) -> io::Result<()> {
        drop(self.stdin.take());
        let deadline = Instant::now() + patience;
        let end = loop {
            match self.ended()? {
                Some(end) => break end,
                None if Instant::now() > deadline => {
                    let text = format!("{} does not end with its input", self.label);
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                None => thread::sleep(Duration::from_micros(500)),
            }
        };
        match end {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(io::Error::other(format!("{} ended badly: {other:?}", self.label))),
        }
    }

    /// How it has ended, if it has; it is not reaped.
    fn ended(&self) -> io::Result<Option<WaitStatus>> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.process()), flags)? {
            WaitStatus::StillAlive => Ok(None),
            end => Ok(Some(end)),
        }
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends a line and hears the answer.
    ///
    /// # Errors
    /// As [`say`](Self::say) and [`hear`](Self::hear).
    pub fn ask(&mut self, line: &str, patience: Duration) -> io::Result<String> {
        self.say(line)?;
        self.hear(patience)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Nobody has reaped it so far, so the group's number is still its own.
        let _ = killpg(self.process(), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Script {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        Script::spawn(command, "shell").unwrap()
    }

    #[test]
    fn lines_are_answered_by_lines() {
        let mut script = shell("while read line; do echo \"<$line>\"; done");
        assert_eq!(script.ask("a b", PATIENCE).unwrap(), "<a b>");
        assert_eq!(script.ask("", PATIENCE).unwrap(), "<>");
    }

    #[test]
    fn silence_and_ends_are_errors_that_name_the_script() {
        let mut silent = shell("read line");
        let error = silent.hear(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().starts_with("shell said nothing"), "{error}");
        let mut ended = shell("exit 3");
        let error = ended.hear(PATIENCE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().starts_with("shell "), "{error}");
        shell("read line || exit 0").end(PATIENCE).unwrap();
        let error = shell("read line || exit 4").end(PATIENCE).unwrap_err();
        assert!(error.to_string().contains('4'), "{error}");
        let error = shell("exec sleep 1000").end(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        let missing = Script::spawn(Command::new("amphi-no-such-program"), "peer").unwrap_err();
        assert!(missing.to_string().starts_with("peer cannot be started"), "{missing}");
    }

    #[test]
    fn dropping_one_ends_its_children() {
        let mut script = shell("sleep 1000 & echo $!; read line");
        let child: i32 = script.hear(PATIENCE).unwrap().parse().unwrap();
        assert!(script.pid() > 0);
        drop(script);
        let deadline = Instant::now() + PATIENCE;
        let ended = |pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            status.map_or(true, |text| text.contains("State:\tZ"))
        };
        while !ended(child) {
            assert!(Instant::now() < deadline, "the child of a dropped script lives on");
            thread::yield_now();
        }
    }

    #[test]
    fn what_is_missing_says_whether_that_is_an_error() {
        assert!(lists("b3sum, node", "node") && !lists("b3sum,node", "python"));
        assert!(!lists("", "node"));
        let missing = |required| Missing {
            runtime: Runtime::Python,
            reason: "it is not there".to_owned(),
            required,
        };
        assert_eq!(missing(false).skip().unwrap(), "python is left out: it is not there");
        let error = missing(true).skip().unwrap_err().to_string();
        assert!(error.contains(REQUIRE) && error.contains("it is not there"), "{error}");
    }

    #[test]
    fn a_runtime_that_is_found_runs() {
        for runtime in [Runtime::Node, Runtime::Python] {
            match find(runtime) {
                Ok(path) => {
                    assert!(path.is_file(), "{}", path.display());
                    assert!(version(runtime).unwrap().starts_with(runtime.name()));
                }
                Err(missing) => println!("{}", missing.skip().unwrap()),
            }
        }
    }
}
