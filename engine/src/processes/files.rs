//! Open files between the host and one worker, each time in one message: what an input names is sent
//! ahead of it, what an output names came ahead of it.
//!
//! # Who owns a descriptor
//! 1. The host's own are the task's ([`AnyTask::files`](crate::task::AnyTask::files)) until it is
//!    settled: a further try sends them again.
//! 2. What a worker sent is the link's until the reply that names it is taken, and then the task's.
//!    It goes with the link: a worker that dies before its reply leaves nothing.

use std::os::fd::{AsFd, OwnedFd};

use amphi_protocol::{FILES_MAX, ReplyKind, SLOTS, ToWorker, encode};

use super::link::Link;
use super::pool::Shared;
use super::send::{Sent, unsent};
use crate::fd::Fd;
use crate::job::Entry;

/// Descriptors of replies that one worker may have on their way, as many as fill its slots. Jobs
/// that return files are not batched, once that is known of them.
const ON_THEIR_WAY_MAX: usize = SLOTS * FILES_MAX;

impl Link {
    /// Sends the files that the input of a task names, as the last thing before the task is
    /// published: they belong to the sequence that is about to be.
    pub(super) fn announce_files(&mut self, task: &Shared) -> Result<(), Sent> {
        let files = task.files();
        if files.is_empty() {
            return Ok(());
        }
        let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let count = u8::try_from(fds.len()).expect("at most 32");
        let message = encode(&ToWorker::Files { seq: self.host.next_seq(), files: count });
        let sent = self.socket.send(&message, &fds);
        sent.map_err(|error| unsent(self, task.core().input_bytes(), &error))
    }

    /// The worker sends the files that the reply of one of its tasks will name. `None`: they came,
    /// and this process has no room for them; the output cannot be decoded then.
    pub(super) fn take_files(&mut self, key: u64, fds: Option<Vec<OwnedFd>>) {
        if self.files.contains_key(&key) {
            return self.break_off("it sent the files of one reply twice".to_owned());
        }
        let held: usize = self.files.values().map(Vec::len).sum();
        let fds = fds.filter(|fds| held + fds.len() <= ON_THEIR_WAY_MAX);
        let files = fds.into_iter().flatten().map(Fd::from).collect();
        self.files.insert(key, files);
    }

    /// The reply of a task was taken: it has its files now, or they are closed.
    pub(super) fn hand_over_files(
        &mut self,
        key: u64,
        kind: ReplyKind,
        task: &Shared,
        entry: Option<&Entry>,
    ) {
        if self.files.is_empty() {
            return;
        }
        let Some(files) = self.files.remove(&key) else { return };
        if kind == ReplyKind::OkShared {
            entry.into_iter().for_each(Entry::note_files);
            task.return_files(files);
        }
    }
}
