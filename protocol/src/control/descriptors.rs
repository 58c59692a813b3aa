//! How many descriptors come with each message: its receiver takes it with these and no others.

use super::{Carried, ChildOutcome, FILES_MAX, FromWorker, ToWorker};
use crate::error::Violation;

impl Carried {
    const fn descriptors(&self) -> usize {
        match self {
            Self::Here(_) => 0,
            Self::Memfd { .. } => 1,
        }
    }
}

/// The number of files in a message, if it may have so many.
fn files(claimed: u8) -> Result<usize, Violation> {
    let files = usize::from(claimed);
    let violation = Violation::new("a message has at most 32 open files", u64::from(claimed));
    if files <= FILES_MAX { Ok(files) } else { Err(violation) }
}

impl ToWorker {
    /// How many descriptors come with it.
    ///
    /// # Errors
    /// More than any may have.
    pub fn descriptors(&self) -> Result<usize, Violation> {
        match self {
            Self::Lane { .. } | Self::LaneResponse | Self::Payload { .. } | Self::Blob { .. } => {
                Ok(1)
            }
            Self::Forget { .. } => Ok(0),
            Self::Files { files: claimed, .. } => files(*claimed),
            Self::ChildDone { outcome, files: claimed, .. } => match outcome {
                ChildOutcome::Reply { output, .. } => Ok(output.descriptors() + files(*claimed)?),
                ChildOutcome::Failure(_) => files(*claimed),
            },
        }
    }
}

impl FromWorker {
    /// How many descriptors come with it.
    ///
    /// # Errors
    /// More than any may have.
    pub fn descriptors(&self) -> Result<usize, Violation> {
        match self {
            Self::Payload { .. } | Self::Blob { .. } => Ok(1),
            Self::Files { files: claimed, .. } => files(*claimed),
            Self::Submit { input, files: claimed, .. } => {
                Ok(input.descriptors() + files(*claimed)?)
            }
            Self::Ready { .. }
            | Self::Failed { .. }
            | Self::Returns { .. }
            | Self::Forgot { .. }
            | Self::Stop { .. }
            | Self::Waits(_)
            | Self::Grown { .. } => Ok(0),
        }
    }
}
