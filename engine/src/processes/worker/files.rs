//! Open files that inputs name, in a worker: received by its control thread, taken by its job thread.
//!
//! # Nothing is left behind
//! 1. A task that decodes its input takes its files, all at once. Those that the input does not name
//!    are closed at the end of the decoding (`beside.rs`).
//! 2. Those of a task that was taken back, or whose input was not decoded so far, are closed before
//!    the job thread looks for its next task, and before it sleeps.
//! 3. Those that arrive later than that are closed by the control thread.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use amphi_protocol::{FromWorker, encode};

use crate::fd::Fd;
use crate::processes::carry::descriptors;
use crate::sys::socket::Channel;

/// Files are sent before the task that names them: what does not come is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files on their way from the control thread to the job thread.
#[derive(Default)]
pub(super) struct Files {
    arrived: Mutex<Arrived>,
    changed: Condvar,
    /// How many tasks have some here: a hint, so that tasks without files take no lock.
    waiting: AtomicUsize,
    /// The sequence that the job thread runs. It alone writes and reads it.
    running: AtomicU64,
}

#[derive(Default)]
struct Arrived {
    /// `None`: they came, and this process had no room for them.
    files: HashMap<u64, Option<Vec<Fd>>>,
    /// What is older was run or taken back: nobody will ask for it.
    oldest: u64,
}

impl Files {
    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The control thread received the files of `seq`.
    pub(super) fn arrived(&self, seq: u64, fds: Option<Vec<OwnedFd>>) {
        let files = fds.map(|fds| fds.into_iter().map(Fd::from).collect());
        let mut arrived = self.lock();
        if seq >= arrived.oldest {
            let before = arrived.files.insert(seq, files);
            self.waiting.store(arrived.files.len(), Ordering::Relaxed);
            drop(arrived);
            drop(before); // without the lock
            self.changed.notify_all();
        }
    }

    /// The job thread runs `seq` from now on.
    pub(super) fn begin(&self, seq: u64) {
        self.running.store(seq, Ordering::Relaxed);
    }

    /// **Blocks** until the files of the running task are there.
    pub(super) fn take(&self) -> Option<Vec<Fd>> {
        let seq = self.running.load(Ordering::Relaxed);
        let is_missing = |arrived: &mut Arrived| !arrived.files.contains_key(&seq);
        let (mut arrived, _) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, is_missing)
            .unwrap_or_else(PoisonError::into_inner);
        let files = arrived.files.remove(&seq);
        self.waiting.store(arrived.files.len(), Ordering::Relaxed);
        files.flatten()
    }

    /// Every task before `seq` was run or taken back; their files, if any are here, are closed.
    pub(super) fn tidy_before(&self, seq: u64) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.forget_before(seq);
        }
    }

    /// The same, and what arrives later is closed then.
    pub(super) fn forget_before(&self, seq: u64) {
        let mut arrived = self.lock();
        arrived.oldest = seq;
        let old = arrived.files.extract_if(|task, _| *task < seq).collect::<Vec<_>>();
        self.waiting.store(arrived.files.len(), Ordering::Relaxed);
        drop(arrived);
        drop(old); // without the lock
    }
}

/// Sends the files that the reply of task `key` names. True: the host has to look for them. `Err`: why
/// it could not be done, and what to do.
pub(super) fn send(socket: &Channel, key: u64, files: &[Fd]) -> Result<bool, String> {
    if files.is_empty() {
        return Ok(false);
    }
    let (fds, count) = descriptors(None, files);
    let message = encode(&FromWorker::Files { key, files: count });
    let sent = socket.send_patiently(&message, &fds, PATIENCE).map(|()| true);
    sent.map_err(|error| {
        format!(
            "the open files of the output could not be sent: {error}; see to more descriptors for \
             the workers, then submit it again"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};

    use super::*;

    /// The write end of a pipe arrives for `seq`.
    fn arrive(files: &Files, seq: u64) -> PipeReader {
        let (reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        files.arrived(seq, Some(vec![writer.into()]));
        reader
    }

    fn is_closed(mut reader: &PipeReader) -> bool {
        matches!(reader.read(&mut [0; 1]), Ok(0))
    }

    #[test]
    fn a_task_takes_its_own_files_and_those_before_it_are_closed() {
        let files = Files::default();
        let [first, second, third] = [1, 2, 3].map(|seq| arrive(&files, seq));
        files.begin(2);
        let taken = files.take().expect("they are here");
        assert_eq!(taken.len(), 1);
        files.tidy_before(3);
        assert!(is_closed(&first) && !is_closed(&second) && !is_closed(&third));
        drop(taken);
        assert!(is_closed(&second));
        files.forget_before(4);
        assert!(is_closed(&third));
    }

    #[test]
    fn what_arrives_after_its_task_was_passed_is_closed_at_once() {
        let files = Files::default();
        files.forget_before(7);
        assert!(is_closed(&arrive(&files, 6)));
        assert!(!is_closed(&arrive(&files, 7)));
    }

    #[test]
    fn files_without_room_are_missing_at_once() {
        let files = Files::default();
        files.arrived(1, None);
        files.begin(1);
        assert!(files.take().is_none());
    }

    #[test]
    fn the_later_files_of_a_sequence_stand() {
        let files = Files::default();
        let (first, second) = (arrive(&files, 1), arrive(&files, 1));
        assert!(is_closed(&first) && !is_closed(&second));
    }
}
