//! Messages that no honest worker sends about blobs, from a job that has found its worker's socket:
//! the worker is killed and its task says so, or the message changes nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use amphi::{App, Blob, BlobMut, Ctx, Error, Job, Placement, Spec, TaskError};
use amphi_protocol::{FromWorker, encode};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, sendmsg};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::jobs::{Double, app};

const LEN: u64 = 64 << 10;

pub(crate) fn jobs(app: App) -> App {
    app.job::<Lie>()
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Memory that its maker can still write to.
    Writable,
    /// Longer than it is.
    Longer,
    NoDescriptor,
    /// For a task that does not run here.
    OfAnother,
    /// More than any reply names.
    TooMany,
    /// It never had it.
    ReturnsNothing,
    /// What it was never told to forget.
    Forgot,
}

#[derive(Serialize, Deserialize)]
struct Lie(What, Blob);

impl Job for Lie {
    type Output = u8;
    type Error = Error;

    /// So that its task is the first of its lane.
    fn spec() -> Spec {
        Spec::new().one_shot()
    }

    fn run(self, _cx: &Ctx) -> Result<u8, Error> {
        let socket = control_socket()?;
        let key = 1;
        let blob = |key, blob| FromWorker::Blob { key, blob, len: LEN };
        match self.0 {
            What::Writable => send(&socket, &blob(key, 1), Some(memfd(LEN, false)?.as_fd()))?,
            What::Longer => send(&socket, &blob(key, 1), Some(memfd(LEN / 2, true)?.as_fd()))?,
            What::NoDescriptor => send(&socket, &blob(key, 1), None)?,
            What::OfAnother => send(&socket, &blob(77, 1), Some(memfd(LEN, true)?.as_fd()))?,
            What::TooMany => {
                for number in 0..200 {
                    // It is killed on the way.
                    send(&socket, &blob(key, number), Some(memfd(LEN, true)?.as_fd()))?;
                }
            }
            What::ReturnsNothing => send(&socket, &FromWorker::Returns { key, blob: 12 }, None)?,
            What::Forgot => {
                (0..100).try_for_each(|blob| send(&socket, &FromWorker::Forgot { blob }, None))?;
                return Ok(self.1[0]);
            }
        }
        loop {
            std::thread::park();
        }
    }
}

/// The only socket of its kind in a worker.
fn control_socket() -> Result<OwnedFd, Error> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let copy_of = |number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok();
    let is_it = |fd: &OwnedFd| rustix::net::sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET);
    let found = (0..64).filter_map(copy_of).find(is_it);
    found
        .ok_or_else(|| Error::new(format!("no socket of worker {:?}", Pid::as_raw(Some(getpid())))))
}

fn send(socket: &OwnedFd, message: &FromWorker, fd: Option<BorrowedFd<'_>>) -> Result<(), Error> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.into_iter().collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let bytes = encode(message);
    sendmsg(socket, &[std::io::IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn memfd(bytes: u64, sealed: bool) -> Result<OwnedFd, Error> {
    let fd = memfd_create("lie", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, bytes)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW;
    fcntl_add_seals(&fd, if sealed { seals | SealFlags::WRITE } else { seals })?;
    Ok(fd)
}

#[test]
fn a_worker_that_lies_of_blobs_is_killed_and_told() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    let mut filling = BlobMut::zeroed(LEN as usize);
    filling[0] = 9;
    let blob = filling.freeze();
    for what in [
        What::Writable,
        What::Longer,
        What::NoDescriptor,
        What::OfAnother,
        What::TooMany,
        What::ReturnsNothing,
    ] {
        let error = engine.run(Lie(what, blob.clone())).unwrap_err();
        assert!(matches!(error, TaskError::Lost { .. }), "{what:?}: {error:?}");
        assert!(error.to_string().contains("protocol"), "{what:?}: {error}");
        assert_eq!(blob[0], 9, "{what:?}");
        assert_eq!(engine.run(Double(4)), Ok(8), "{what:?}: the others go on");
    }
    assert_eq!(engine.run(Lie(What::Forgot, blob.clone())), Ok(9), "it harms nobody but itself");
    assert_eq!(engine.run(Lie(What::Forgot, blob)), Ok(9));
}
