//! Every error a user of the engine can meet. Each `Display` ends with what to do next.
//!
//! Four public shapes: [`StartError`] (an engine did not start), [`Rejected`] (a task was not
//! accepted; it gives the job back), [`TaskError`] (an accepted task did not end well; the same
//! enum in both places) and [`Error`] (the everyday error of a job, which crosses the process
//! border).

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::reject::{Reason, Rejected};
pub use self::start::StartError;

mod reject;
mod start;

/// The everyday error of a job: a message and the chain of its causes, as text.
///
/// It is made from any `std` error by `?`, travels between processes, and therefore does not
/// implement [`std::error::Error`] itself (as `anyhow::Error` does not); [`TaskError`] does.
///
/// ```
/// fn parse(text: String) -> Result<u32, amphi::Error> {
///     if text.is_empty() {
///         return Err(amphi::Error::new("an empty line; give a number"));
///     }
///     Ok(text.trim().parse()?)
/// }
/// assert_eq!(parse("x".into()).unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    message: String,
    causes: Vec<String>,
}

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), causes: Vec::new() }
    }

    /// The same error below a sentence that says what was being done.
    #[must_use]
    pub fn context(self, message: impl fmt::Display) -> Self {
        let mut causes = vec![self.message];
        causes.extend(self.causes);
        Self { message: message.to_string(), causes }
    }

    /// The causes below the message, nearest first.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        self.causes.iter().map(String::as_str)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            for cause in &self.causes {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self { message: error.to_string(), causes }
    }
}

/// What [`Ctx::check`](crate::Ctx::check) returns in a task that was asked to stop.
/// A job hands it on with `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task was asked to stop")]
pub struct CancelRequested;

/// Why a task has no output. The same enum in every placement; some variants cannot come from a
/// thread, and the variant says so.
///
/// ```no_run
/// # fn example<J: amphi::Job<Error = amphi::Error>>(engine: amphi::Engine, job: J) {
/// use amphi::TaskError;
///
/// match engine.run(job) {
///     Ok(_output) => println!("done"),
///     Err(TaskError::Failed(error)) => println!("the job says: {error:#}"),
///     Err(TaskError::Crashed { signal, .. }) => println!("its worker is gone: {signal:?}"),
///     Err(error) if error.is_retryable() => println!("submit it again: {error}"),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError<E> {
    /// The job ran and returned its own error.
    Failed(E),
    /// The job panicked; the thread or worker goes on.
    #[non_exhaustive]
    Panicked {
        /// The panic's message, where it was text.
        message: String,
    },
    /// The worker that ran the task ended: a signal, an exit, an abort. Never from a thread: there
    /// it would have ended the whole program.
    #[non_exhaustive]
    Crashed {
        /// The signal that ended the worker (11: segmentation fault, 9: killed, 6: abort).
        signal: Option<i32>,
        /// The exit code, where the job (or code it called) left by `exit`.
        exit_code: Option<i32>,
        /// True where memory ran out: the kernel's OOM killer, or a refused allocation.
        oom: bool,
        /// The last lines (up to 8 KiB) that the worker wrote to standard error.
        stderr_tail: String,
    },
    /// One of the task's clocks ran out.
    #[non_exhaustive]
    TimedOut {
        /// Which clock.
        clock: Clock,
        /// True where the task was running and its worker was killed for it; false where the task
        /// had not started, or the job saw that it should stop.
        killed: bool,
    },
    /// The task was cancelled: its handle was dropped or told to, or the engine was shut down.
    Cancelled,
    /// The task was running when two workers died, not by the engine's order, and is not tried
    /// again, however many `retries` it has.
    #[non_exhaustive]
    Poisoned {
        /// How many workers ended while they ran it.
        deaths: u32,
    },
    /// The task was not accepted, or could not be given a place any more.
    Rejected(Reason),
    /// The input or the output could not be turned into bytes or back, or its memory could not be
    /// had. Never from a thread: nothing is encoded there.
    #[non_exhaustive]
    Codec {
        /// What failed.
        message: String,
    },
    /// The task had started and its outcome is lost: the worker broke the protocol and was killed,
    /// its output could not be read, or it is gone and nobody can say how it ended, because the
    /// forkserver that would know died with it. Never from a thread.
    #[non_exhaustive]
    Lost {
        /// What is known.
        message: String,
    },
}

/// Names one of a task's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clock {
    /// `kill_after`: hard, the worker is killed.
    KillAfter,
    /// `queue_timeout`: the task has waited too long and was not started.
    Queue,
    /// `timeout`: the job was asked to stop, and did.
    Timeout,
    /// `deadline`: the task had not started, or was asked to stop, and did.
    Deadline,
}

impl Clock {
    const ALL: [Self; 4] = [Self::KillAfter, Self::Queue, Self::Timeout, Self::Deadline];

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The clock whose [`number`](Self::number) that is.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillAfter => "kill_after",
            Self::Queue => "queue_timeout",
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
        })
    }
}

impl<E> TaskError<E> {
    /// True where the same task may well succeed when it is submitted again: its worker crashed,
    /// was killed or lost, it panicked, or there was no room.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Panicked { .. } | Self::Crashed { .. } | Self::Lost { .. } => true,
            Self::TimedOut { killed, .. } => *killed,
            Self::Rejected(reason) => reason.is_retryable(),
            Self::Failed(_) | Self::Cancelled | Self::Poisoned { .. } | Self::Codec { .. } => false,
        }
    }

    /// The job's own error, where that is what happened.
    pub fn into_failed(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for TaskError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked { message } => {
                write!(f, "the job panicked: {message}; mend the job, the engine goes on")
            }
            Self::Crashed { signal, exit_code, oom, stderr_tail } => {
                f.write_str("the worker that ran the task ")?;
                match (signal, exit_code) {
                    (Some(signal), _) => write!(f, "was ended by {}", signal_name(*signal))?,
                    (None, Some(code)) => write!(f, "exited with code {code}")?,
                    (None, None) => f.write_str("ended")?,
                }
                if *oom {
                    f.write_str(" (out of memory)")?;
                }
                if let Some(line) = last_words(stderr_tail) {
                    write!(f, ", last words: {line}")?;
                }
                f.write_str("; other tasks were not touched, submit again if the input is sound")
            }
            Self::TimedOut { clock, killed } => {
                let end = match clock {
                    _ if *killed => "and its worker was killed",
                    Clock::Timeout | Clock::Deadline => "and did not go on",
                    _ => "before it started",
                };
                write!(f, "the task ran into {clock} {end}; allow more time or less work")
            }
            Self::Cancelled => {
                f.write_str("the task was cancelled; keep its handle, or detach it, to let it end")
            }
            Self::Poisoned { deaths } => write!(
                f,
                "{deaths} workers ended while they ran this task; look at its input before you \
                 submit it again"
            ),
            Self::Rejected(reason) => reason.fmt(f),
            Self::Codec { message } => write!(
                f,
                "{message}; make the type's Serialize and Deserialize agree (postcard is not \
                 self-describing)"
            ),
            Self::Lost { message } => {
                write!(
                    f,
                    "{message}; whether the task had effects is unknown, submit again if it may run twice"
                )
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for TaskError<E> {}

/// The last line that says something; std's remarks on backtraces do not.
pub(crate) fn last_words(text: &str) -> Option<&str> {
    let mut lines = text.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with("note: "))
}

/// The usual name of a signal that ends processes.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL (illegal instruction)",
        6 => "SIGABRT (abort)",
        7 => "SIGBUS (bus error)",
        8 => "SIGFPE (arithmetic error)",
        9 => "SIGKILL (killed)",
        11 => "SIGSEGV (segmentation fault)",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU (CPU limit)",
        25 => "SIGXFSZ (file size limit)",
        31 => "SIGSYS (forbidden system call)",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
