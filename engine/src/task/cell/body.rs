//! What there is of a task: its input, its reply or its outcome.

use amphi_protocol::ReplyKind;

use crate::error::TaskError;
use crate::job::{Encoded, Work};
use crate::stats::Outcome;
use crate::task::Ended;

pub(super) enum Body<W: Work> {
    /// The input as it was given.
    Ready(W),
    /// The input as bytes: the task is bound for a process, or may be tried more than once.
    Encoded(Encoded),
    /// A thread is running it, or whoever dispatches it copies its input.
    Away,
    /// A worker's reply, not decoded yet: that happens on the caller's thread.
    Replied(ReplyKind, Vec<u8>),
    Settled(Result<W::Output, TaskError<W::Error>>),
    Taken,
}

impl<W: Work> Body<W> {
    /// What the task came to, if this is an outcome.
    pub(super) fn kind(&self) -> Outcome {
        match self {
            Self::Replied(kind, _) => Outcome::of_reply(*kind),
            Self::Settled(Ok(_)) => Outcome::Ok,
            Self::Settled(Err(error)) => error.outcome(),
            Self::Ready(_) | Self::Encoded(_) | Self::Away | Self::Taken => Outcome::Lost,
        }
    }

    /// The same for a witness.
    pub(super) fn ended(&self) -> Ended {
        let reply = match self {
            Self::Replied(_, bytes) => Some(bytes.clone()),
            _ => None,
        };
        Ended { outcome: self.kind(), reply }
    }
}
