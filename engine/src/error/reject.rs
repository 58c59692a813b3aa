//! A task that was not accepted: why, and the job back.

use std::fmt;

/// Why a task was not accepted.
///
/// ```no_run
/// # fn example<J: amphi::Job>(engine: amphi::Engine, job: J) -> Option<J> {
/// let rejected = engine.spawn_detached(job).err()?;
/// if rejected.reason.is_retryable() {
///     return Some(rejected.job); // for another try, later
/// }
/// eprintln!("{}", rejected.reason); // it says what to change
/// # None }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// As many tasks wait as `EngineBuilder::queue` allows.
    QueueFull,
    /// The engine is shutting down or has been shut down.
    ShuttingDown,
    /// The job's type or function is not in the `App`.
    NotRegistered(&'static str),
    /// The options and needs of the task exclude every place; the text says which two.
    Contradiction(&'static str),
    /// The encoded input or output is larger than `EngineBuilder::payload_bytes_max`. Always an
    /// outcome, [`TaskError::Rejected`](crate::TaskError::Rejected): the job is not given back.
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// Processes are not available here (another system than Linux, or a threads-only engine).
    Unsupported(&'static str),
    /// No worker can be started; the text says what the last attempt met.
    NoWorkers(String),
    /// The system gave the engine not one thread, or the engine has ended.
    NoThreads,
}

impl Reason {
    /// True where the same submission may be accepted later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::QueueFull | Self::NoWorkers(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => f.write_str(
                "the queue is full; wait with submit(..).await or submit_blocking, or start the \
                 engine with a larger queue(..)",
            ),
            Self::ShuttingDown => {
                f.write_str("the engine is shutting down; start another one for new tasks")
            }
            Self::NotRegistered(name) => write!(
                f,
                "{name} is not registered; add .job::<..>() or .function(..) to the App that \
                 amphi::app! names"
            ),
            Self::Contradiction(text) => f.write_str(text),
            Self::TooLarge { bytes, max } => write!(
                f,
                "a payload of {bytes} bytes is above the limit of {max}; raise \
                 payload_bytes_max(..) or send less"
            ),
            Self::Unsupported(text) => f.write_str(text),
            Self::NoThreads => f.write_str(
                "the engine has no thread; raise the limit on processes and threads (ulimit -u) \
                 and start another engine",
            ),
            Self::NoWorkers(text) => {
                write!(f, "no worker can be started: {text}; mend that, or use Placement::Thread")
            }
        }
    }
}

/// A submission that was not accepted: the job comes back unchanged, with the reason.
///
/// ```no_run
/// # use amphi::{Engine, Job, Reason, Rejected, Task};
/// # fn example<J: Job>(engine: Engine, job: J) -> Result<(), Rejected<J>> {
/// let accepted = match engine.try_submit(job) {
///     Err(Rejected { job, reason: Reason::QueueFull }) => engine.submit_blocking(job),
///     other => other,
/// };
/// accepted.map(Task::detach)
/// # }
/// ```
pub struct Rejected<J> {
    /// The job, as it was given.
    pub job: J,
    /// Why it was not accepted.
    pub reason: Reason,
}

impl<J> fmt::Debug for Rejected<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<J> fmt::Display for Rejected<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<J> std::error::Error for Rejected<J> {}
