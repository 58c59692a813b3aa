//! How a reply or a failure becomes a task's outcome.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use amphi_protocol::ReplyKind;

use crate::beside;
use crate::error::{Clock, Reason, TaskError};
use crate::job::{Work, panic_message};
use crate::stats::Outcome;

/// An outcome that is not the job's own: any [`TaskError`] but `Failed`.
pub(crate) type Failure = TaskError<Infallible>;

/// A failure as the outcome of a task with any error type.
pub(crate) fn widen<E>(failure: Failure) -> TaskError<E> {
    match failure {
        TaskError::Failed(never) => match never {},
        TaskError::Panicked { message } => TaskError::Panicked { message },
        TaskError::Crashed { signal, exit_code, oom, stderr_tail } => {
            TaskError::Crashed { signal, exit_code, oom, stderr_tail }
        }
        TaskError::TimedOut { clock, killed } => TaskError::TimedOut { clock, killed },
        TaskError::Cancelled => TaskError::Cancelled,
        TaskError::Poisoned { deaths } => TaskError::Poisoned { deaths },
        TaskError::Rejected(reason) => TaskError::Rejected(reason),
        TaskError::Codec { message } => TaskError::Codec { message },
        TaskError::Lost { message } => TaskError::Lost { message },
    }
}

/// Decodes a worker's reply, on the thread that takes the outcome. `Deserialize` is user code over
/// bytes that a worker wrote: a panic there is an outcome, too.
pub(crate) fn decode<W: Work>(
    kind: ReplyKind,
    bytes: Vec<u8>,
    name: &str,
) -> Result<W::Output, TaskError<W::Error>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let codec = |what: &str, error: postcard::Error| TaskError::Codec {
        message: format!("{what} of {name} could not be decoded: {error}{}", beside::take_why()),
    };
    let decoded = catch_unwind(AssertUnwindSafe(|| match kind {
        ReplyKind::Ok | ReplyKind::OkShared => {
            W::decode_output(bytes.into()).map_err(|error| codec("the output", error))
        }
        ReplyKind::Failed => Err(match W::decode_error(&bytes) {
            Ok(error) => TaskError::Failed(error),
            Err(error) => codec("the error", error),
        }),
        ReplyKind::Panicked => Err(TaskError::Panicked { message: text(&bytes) }),
        ReplyKind::CancelledSeen => Err(TaskError::Cancelled),
        ReplyKind::Codec => Err(TaskError::Codec { message: text(&bytes) }),
        ReplyKind::TooLarge => Err(TaskError::Rejected(too_large(&bytes))),
    }));
    match decoded {
        Ok(outcome) => outcome,
        Err(panic) => Err(TaskError::Codec {
            message: format!("decoding the reply of {name} panicked: {}", panic_message(panic)),
        }),
    }
}

/// The sizes that a `TooLarge` reply carries: the output's and the limit, as two little-endian
/// words.
fn too_large(bytes: &[u8]) -> Reason {
    let word = |index: usize| {
        bytes
            .get(index * 8..index * 8 + 8)
            .and_then(|word| word.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    Reason::TooLarge { bytes: word(0), max: word(1) }
}

impl Outcome {
    /// What a reply is counted as.
    pub(crate) const fn of_reply(kind: ReplyKind) -> Self {
        match kind {
            ReplyKind::Ok | ReplyKind::OkShared => Self::Ok,
            ReplyKind::Failed => Self::Failed,
            ReplyKind::Panicked => Self::Panicked,
            ReplyKind::CancelledSeen => Self::Cancelled,
            ReplyKind::Codec => Self::Codec,
            ReplyKind::TooLarge => Self::Rejected,
        }
    }
}

impl<E> TaskError<E> {
    /// An outcome that is not the job's own, without the job's type of error.
    pub(crate) fn narrow(self) -> Failure {
        match self {
            Self::Failed(_) => Failure::Codec { message: "an error of a type unknown here".into() },
            Self::Panicked { message } => Failure::Panicked { message },
            Self::Crashed { signal, exit_code, oom, stderr_tail } => {
                Failure::Crashed { signal, exit_code, oom, stderr_tail }
            }
            Self::TimedOut { clock, killed } => Failure::TimedOut { clock, killed },
            Self::Cancelled => Failure::Cancelled,
            Self::Poisoned { deaths } => Failure::Poisoned { deaths },
            Self::Rejected(reason) => Failure::Rejected(reason),
            Self::Codec { message } => Failure::Codec { message },
            Self::Lost { message } => Failure::Lost { message },
        }
    }

    /// What the error is counted as.
    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Failed(_) => Outcome::Failed,
            Self::Panicked { .. } => Outcome::Panicked,
            Self::Crashed { .. } => Outcome::Crashed,
            Self::TimedOut { .. } => Outcome::TimedOut,
            Self::Cancelled => Outcome::Cancelled,
            Self::Poisoned { .. } => Outcome::Poisoned,
            Self::Rejected(_) => Outcome::Rejected,
            Self::Codec { .. } => Outcome::Codec,
            Self::Lost { .. } => Outcome::Lost,
        }
    }
}

/// A failure on its way between two processes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Wire {
    Panicked(String),
    Crashed { signal: Option<i32>, exit_code: Option<i32>, oom: bool, stderr_tail: String },
    TimedOut { clock: u8, killed: bool },
    Cancelled,
    Poisoned(u32),
    QueueFull,
    ShuttingDown,
    TooLarge { bytes: u64, max: u64 },
    Refused(String),
    Codec(String),
    Lost(String),
}

/// A failure as bytes, for a worker whose task the host has run.
pub(crate) fn failure_to_bytes(failure: &Failure) -> Vec<u8> {
    let wire = match failure.clone() {
        TaskError::Failed(never) => match never {},
        TaskError::Panicked { message } => Wire::Panicked(message),
        TaskError::Crashed { signal, exit_code, oom, stderr_tail } => {
            Wire::Crashed { signal, exit_code, oom, stderr_tail }
        }
        TaskError::TimedOut { clock, killed } => Wire::TimedOut { clock: clock.number(), killed },
        TaskError::Cancelled => Wire::Cancelled,
        TaskError::Poisoned { deaths } => Wire::Poisoned(deaths),
        TaskError::Rejected(Reason::QueueFull) => Wire::QueueFull,
        TaskError::Rejected(Reason::ShuttingDown) => Wire::ShuttingDown,
        TaskError::Rejected(Reason::TooLarge { bytes, max }) => Wire::TooLarge { bytes, max },
        TaskError::Rejected(reason) => Wire::Refused(reason.to_string()),
        TaskError::Codec { message } => Wire::Codec(message),
        TaskError::Lost { message } => Wire::Lost(message),
    };
    postcard::to_allocvec(&wire).unwrap_or_default()
}

/// The failure that such bytes are.
pub(crate) fn failure_from_bytes(bytes: &[u8]) -> Failure {
    match postcard::from_bytes(bytes) {
        Ok(Wire::Panicked(message)) => TaskError::Panicked { message },
        Ok(Wire::Crashed { signal, exit_code, oom, stderr_tail }) => {
            TaskError::Crashed { signal, exit_code, oom, stderr_tail }
        }
        Ok(Wire::TimedOut { clock, killed }) => {
            let clock = Clock::from_number(clock).unwrap_or(Clock::KillAfter);
            TaskError::TimedOut { clock, killed }
        }
        Ok(Wire::Cancelled) => TaskError::Cancelled,
        Ok(Wire::Poisoned(deaths)) => TaskError::Poisoned { deaths },
        Ok(Wire::QueueFull) => TaskError::Rejected(Reason::QueueFull),
        Ok(Wire::ShuttingDown) => TaskError::Rejected(Reason::ShuttingDown),
        Ok(Wire::TooLarge { bytes, max }) => TaskError::Rejected(Reason::TooLarge { bytes, max }),
        Ok(Wire::Refused(text)) => TaskError::Rejected(Reason::NoWorkers(text)),
        Ok(Wire::Codec(message)) => TaskError::Codec { message },
        Ok(Wire::Lost(message)) => TaskError::Lost { message },
        Err(error) => TaskError::Lost { message: format!("the host's answer: {error}") },
    }
}
