//! Messages that no honest worker sends about blobs and open files, from a job that has found its worker's socket:
//! the worker is killed and its task says so, or the message changes nothing.

use std::io::{PipeReader, Read, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use amphi::{App, Blob, BlobMut, Ctx, Error, Fd, Job, Placement, Spec, TaskError};
use amphi_protocol::{Ask, Carried, FromWorker, encode};
use amphi_tests::eventually;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, sendmsg};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jobs::{Double, app};

const LEN: u64 = 64 << 10;

pub(crate) fn jobs(app: App) -> App {
    app.job::<Lie>().job::<LieOfFiles>().job::<Forge>()
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
    send_bytes(socket, &encode(message), fd.as_slice())
}

fn send_bytes(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(socket, &[std::io::IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
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

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
enum OfFiles {
    /// For a task that does not run here.
    OfAnother,
    Twice,
    FewerThanSaid,
    MoreThanSaid,
    /// More than one message has.
    MoreThanAny,
    /// So many that the kernel cuts them.
    Cut,
    /// With a message that has none.
    Unsaid,
    /// With no message.
    Alone,
    /// With bytes that are none.
    Noise,
    /// Beside a task that it submits.
    Submitted,
    /// No lie: it dies before its reply.
    InFlight,
}

/// Sends the end of a pipe where it does not belong.
#[derive(Serialize, Deserialize)]
struct LieOfFiles(OfFiles, Fd);

impl Job for LieOfFiles {
    type Output = ();
    type Error = Error;

    /// So that its task is the first of its lane.
    fn spec() -> Spec {
        Spec::new().one_shot()
    }

    fn run(self, _cx: &Ctx) -> Result<(), Error> {
        let socket = control_socket()?;
        let send = |message: &FromWorker, fds: usize| {
            send_bytes(&socket, &encode(message), &vec![self.1.as_fd(); fds])
        };
        let files = |key, files| FromWorker::Files { key, files };
        match self.0 {
            OfFiles::OfAnother => send(&files(77, 1), 1)?,
            OfFiles::Twice => (0..2).try_for_each(|_| send(&files(1, 1), 1))?,
            OfFiles::FewerThanSaid => send(&files(1, 3), 1)?,
            OfFiles::MoreThanSaid => send(&files(1, 1), 3)?,
            OfFiles::MoreThanAny => send(&files(1, 33), 33)?,
            OfFiles::Cut => send(&files(1, 100), 100)?,
            OfFiles::Unsaid => send(&FromWorker::Waits(false), 1)?,
            OfFiles::Alone => send_bytes(&socket, &[], &[self.1.as_fd()])?,
            OfFiles::Noise => send_bytes(&socket, &[0xff; 40], &[self.1.as_fd(); 2])?,
            OfFiles::Submitted => {
                let (ask, input) = (Ask::default(), Carried::Here(vec![1]));
                send(&FromWorker::Submit { child: 1, job: 0, ask, input, files: 33 }, 33)?;
            }
            OfFiles::InFlight => {
                send(&files(1, 32), 32)?;
                std::process::abort();
            }
        }
        loop {
            std::thread::park();
        }
    }
}

fn is_at_its_end(reader: &mut PipeReader) -> bool {
    matches!(reader.read(&mut [0; 1]), Ok(0))
}

#[test]
fn a_worker_that_lies_of_open_files_is_killed_and_leaves_none() {
    let engine = app().engine().place(Placement::Process).cores(2).start().unwrap();
    for what in [
        OfFiles::OfAnother,
        OfFiles::Twice,
        OfFiles::FewerThanSaid,
        OfFiles::MoreThanSaid,
        OfFiles::MoreThanAny,
        OfFiles::Cut,
        OfFiles::Unsaid,
        OfFiles::Alone,
        OfFiles::Noise,
        OfFiles::Submitted,
        OfFiles::InFlight,
    ] {
        let (mut reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let error = engine.run(LieOfFiles(what, OwnedFd::from(writer).into())).unwrap_err();
        if what == OfFiles::InFlight {
            assert!(matches!(error, TaskError::Crashed { .. }), "{error:?}");
        } else {
            assert!(matches!(error, TaskError::Lost { .. }), "{what:?}: {error:?}");
            assert!(error.to_string().contains("protocol"), "{what:?}: {error}");
        }
        eventually(&format!("{what:?}: the host to close it"), || is_at_its_end(&mut reader));
        assert_eq!(engine.run(Double(4)), Ok(8), "{what:?}: the others go on");
    }
}

/// Says that it is an open file, of which there is none.
#[derive(Debug)]
struct Forged;

impl Serialize for Forged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(7)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fd::deserialize(deserializer).map(|_| Self)
    }
}

#[derive(Serialize, Deserialize)]
struct Forge;

impl Job for Forge {
    type Output = Forged;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Forged, Error> {
        Ok(Forged)
    }
}

#[test]
fn a_reply_that_names_a_file_that_was_not_sent_cannot_be_decoded() {
    let engine = app().engine().place(Placement::Process).cores(1).start().unwrap();
    for _ in 0..3 {
        let error = engine.run(Forge).unwrap_err();
        assert!(matches!(error, TaskError::Codec { .. }), "{error:?}");
        assert!(error.to_string().contains("did not come"), "{error}");
        assert_eq!(engine.run(Double(4)), Ok(8), "its worker goes on");
    }
}
