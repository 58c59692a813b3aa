//! Blobs between the host and one worker: what inputs name is sent ahead of them, once for each
//! worker; what outputs name came ahead of them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use amphi_protocol::ReplyKind::{self, Codec, OkShared, TooLarge};
use amphi_protocol::{ToWorker, encode};

use super::link::Link;
use super::pool::Shared;
use super::send::{Sent, unsent};
use crate::blob::{self, Holder};
use crate::sys::socket::Channel;

/// Regions of one task, input and output; no honest worker sends more.
const REGIONS_MAX: usize = 128;

/// The worker as one that holds blobs, until its link goes.
pub(super) struct Holding(Arc<Holder>);

impl Holding {
    pub(super) fn new(channel: &Arc<Channel>) -> Self {
        Self(Holder::new(Arc::clone(channel)))
    }

    /// Sends what the worker does not have. `Err`: not all of it could be sent.
    pub(super) fn announce(&self, regions: &[Arc<blob::Shared>]) -> std::io::Result<()> {
        for region in regions.iter().filter(|region| !blob::is_held(region, &self.0)) {
            let Some((fd, len)) = region.parts() else { continue }; // then it was sent as bytes
            let message = encode(&ToWorker::Blob { blob: region.id(), len });
            self.0.send(&message, fd.as_fd())?;
            blob::sent(region, &self.0);
        }
        Ok(())
    }

    /// The worker has unmapped a region.
    pub(super) fn forgot(&self, id: u64) {
        blob::forgotten_by(&self.0, id);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.gone();
    }
}

impl Link {
    /// Sends what the task's input names, ahead of it.
    pub(super) fn announce_blobs(&mut self, task: &Shared) -> Result<(), Sent> {
        let announced = self.holding.announce(&task.regions());
        announced.map_err(|error| unsent(self, task.core().input_bytes(), &error))
    }

    /// Some of these replies may name memory or files that were sent ahead of them. Before their tasks are told:
    /// what comes for others is not expected.
    pub(super) fn look_for_more(&mut self, mut kinds: impl Iterator<Item = ReplyKind>) {
        // One that is refused may have been spoken of before that was known.
        let says_more = |kind| matches!(kind, OkShared | Codec | TooLarge);
        if kinds.any(says_more) {
            let _ = self.read_socket();
        }
    }

    /// The reply of one of its tasks will name memory that it was sent before, and still has.
    pub(super) fn take_back_blob(&mut self, key: u64, id: u64) {
        let Some(task) = self.task_of(key).map(Arc::clone) else { return };
        match blob::find(id, &self.holding.0) {
            Some(region) if task.regions().len() < REGIONS_MAX => task.add_region(region),
            _ => self.break_off("it returned a blob that it does not have".to_owned()),
        }
    }

    /// The worker sends memory that the reply of one of its tasks will name.
    pub(super) fn take_blob(&mut self, key: u64, id: u64, fd: OwnedFd, len: u64) {
        let Some(task) = self.task_of(key).map(Arc::clone) else { return };
        if task.regions().len() >= REGIONS_MAX {
            return self.break_off("it sent more blobs than a reply has".to_owned());
        }
        match blob::received(&self.holding.0, id, fd, len) {
            Ok(region) => task.add_region(region),
            Err(error) => self.break_off(format!("a blob that it sent: {error}")),
        }
    }
}
