//! One large file in the pipeline: its ranges are tasks like any other, submitted as the window
//! has room and merged in order.

use std::collections::VecDeque;
use std::path::PathBuf;

use amphi::Bytes;

use super::digest::Hashed;
use super::job::{HashRange, Identity, RangeOutcome};
use super::screen::Stop;
use super::submit::{Outcome, RangeTask, Submit};
use super::subtree::{Merge, ranges};

/// See the module.
pub(crate) struct Large<K> {
    pub(crate) key: K,
    path: PathBuf,
    name: Bytes,
    identity: Identity,
    bytes: u64,
    ranges: Box<dyn Iterator<Item = (u64, u64)>>,
    submitted: VecDeque<(HashRange, Result<RangeTask, String>)>,
    merge: Merge,
}

impl<K> Large<K> {
    pub(crate) fn new(key: K, path: PathBuf, identity: Identity, bytes: u64) -> Self {
        Self {
            key,
            name: Submit::name_of(&path),
            path,
            identity,
            bytes,
            ranges: Box::new(ranges(bytes)),
            submitted: VecDeque::new(),
            merge: Merge::default(),
        }
    }

    /// Tasks submitted and not yet merged.
    pub(crate) fn tasks(&self) -> usize {
        self.submitted.len()
    }

    /// Submits the next range; false when there is none.
    pub(crate) fn submit_next(&mut self, submit: &Submit<'_>) -> bool {
        let Some((offset, bytes)) = self.ranges.next() else { return false };
        let range = HashRange { name: self.name.clone(), identity: self.identity, offset, bytes };
        let task = submit.range(range.clone());
        self.submitted.push_back((range, task));
        true
    }

    /// Waits for the oldest range; the file's outcome when that was the last one, or a bad one.
    pub(crate) fn advance(&mut self, submit: &Submit<'_>) -> Result<Option<Outcome>, Stop> {
        let Some((range, task)) = self.submitted.pop_front() else {
            // Every range is merged: `submit_next` runs before each `advance`.
            let digest = std::mem::take(&mut self.merge).finish().to_vec();
            return Ok(Some(Outcome::Hashed(Hashed { digest, bytes: self.bytes })));
        };
        let name = || format!("{} from byte {}", self.path.display(), range.offset);
        let told = match submit.wait(task, name)? {
            Err(failure) if failure.again => submit.wait(submit.range(range.clone()), name)?,
            told => told,
        };
        let bad = match told {
            Ok(RangeOutcome::Value(value)) => {
                self.merge.push(value);
                submit.done(range.bytes);
                return Ok(None);
            }
            Ok(RangeOutcome::Failed(errno)) => Outcome::Unreadable(errno),
            Ok(RangeOutcome::Changed) => {
                self.submitted.clear();
                submit.one_file(&self.path)?
            }
            Err(failure) => failure.into(),
        };
        self.submitted.clear();
        Ok(Some(bad))
    }
}
