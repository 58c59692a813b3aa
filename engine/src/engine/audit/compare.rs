//! Whether a task and its shadow came to the same. Pure.

use crate::stats::Outcome;
use crate::task::Ended;

/// The outcome is one of the job, not of what happened to the task.
pub(super) fn is_own(ended: &Ended) -> bool {
    matches!(ended.outcome, Outcome::Ok | Outcome::Failed | Outcome::Panicked | Outcome::Codec)
}

/// What a comparison shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Equal,
    NotCompared,
    /// From which byte on, where both are of one kind.
    Differ(Option<usize>),
}

/// Compares what a task came to on a thread with what its shadow did. The texts of panics and of
/// coding errors may differ. A shadow that was stopped with the engine, or lost, says nothing of its
/// job; one that ended its worker, or did not end, does, where the job had an output on a thread.
pub(super) fn compare(task: &Ended, shadow: &Ended) -> Verdict {
    match shadow.outcome {
        Outcome::Crashed | Outcome::Poisoned | Outcome::TimedOut if task.outcome == Outcome::Ok => {
            Verdict::Differ(None)
        }
        // A reply: its output was too large for a lane.
        Outcome::Rejected if shadow.reply.is_some() => Verdict::Differ(None),
        _ if !is_own(shadow) => Verdict::NotCompared,
        outcome if outcome != task.outcome => Verdict::Differ(None),
        Outcome::Panicked | Outcome::Codec => Verdict::Equal,
        _ => {
            let task = task.reply.as_deref().unwrap_or_default();
            let shadow = shadow.reply.as_deref().unwrap_or_default();
            if task == shadow {
                return Verdict::Equal;
            }
            let at = task.iter().zip(shadow).position(|(one, other)| one != other);
            Verdict::Differ(Some(at.unwrap_or_else(|| task.len().min(shadow.len()))))
        }
    }
}
