//! A pair of connected SEQPACKET sockets that carry messages and descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg,
    sendmsg, socketpair,
};
use rustix::time::Timespec;

pub(crate) use amphi_protocol::DESCRIPTORS_MAX;
use amphi_protocol::MESSAGE_BYTES_MAX;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What a receiver finds.
#[derive(Debug)]
pub(crate) enum Received {
    Message {
        bytes: Vec<u8>,
        fds: Vec<OwnedFd>,
    },
    /// A message without its descriptors, because this process may have no more; those that it could
    /// have are closed.
    Short {
        bytes: Vec<u8>,
    },
    Empty,
    Closed,
}

impl Channel {
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (left, right) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(left), Self(right)))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends without blocking; a full socket is `WouldBlock`.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match sendmsg(&self.0, &[IoSlice::new(bytes)], &mut ancillary, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The same, waiting up to `patience` for room.
    pub(crate) fn send_patiently(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> io::Result<()> {
        match self.send(bytes, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let patience = Timespec {
                    tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: i64::from(patience.subsec_nanos()),
                };
                let mut room = [PollFd::new(&self.0, PollFlags::OUT)];
                let _ = poll(&mut room, Some(&patience));
                self.send(bytes, fds)
            }
            sent => sent,
        }
    }

    /// Receives without blocking. More than `max_fds` descriptors are an error, and all that came are
    /// closed.
    pub(crate) fn try_recv(&self, max_fds: usize) -> io::Result<Received> {
        self.recv_with(max_fds, RecvFlags::DONTWAIT)
    }

    /// Receives, waiting for a message. For the forkserver and workers, which live by it.
    pub(crate) fn recv(&self, max_fds: usize) -> io::Result<Received> {
        self.recv_with(max_fds, RecvFlags::empty())
    }

    fn recv_with(&self, max_fds: usize, flags: RecvFlags) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut reset = false;
        let (mut bytes, message) = loop {
            match self.recv_whole(&mut ancillary, flags) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Empty),
                // The peer died with messages of ours unread. The kernel says so once, before
                // what the peer itself had still sent; that is its last word, so look again.
                Err(Errno::CONNRESET) if !reset => reset = true,
                Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Received::Closed),
                Err(error) => return Err(error.into()),
            }
        };
        let mut fds = Vec::new();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = part {
                fds.extend(received);
            }
        }
        // There was room for more than came: the kernel found no free number for the next one.
        let lacks = message.flags.contains(ReturnFlags::CTRUNC) && fds.len() < DESCRIPTORS_MAX;
        let was_cut = message.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC);
        if (was_cut && !lacks) || fds.len() > max_fds || message.flags.contains(ReturnFlags::TRUNC)
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
        }
        bytes.truncate(message.bytes);
        if lacks {
            return Ok(Received::Short { bytes });
        }
        if message.bytes == 0 && fds.is_empty() {
            return Ok(Received::Closed);
        }
        Ok(Received::Message { bytes, fds })
    }

    /// The next message in as much memory as it is long, up to the limit: a worker has received
    /// two when it is READY, and what they were received into is its own from then on.
    fn recv_whole(
        &self,
        ancillary: &mut RecvAncillaryBuffer<'_>,
        flags: RecvFlags,
    ) -> rustix::io::Result<(Vec<u8>, RecvMsg)> {
        // Nobody else reads from this end: the message that was looked at is the one that comes.
        let (_, length) = recv(&self.0, &mut [0; 0], flags | RecvFlags::PEEK | RecvFlags::TRUNC)?;
        let mut bytes = vec![0; length.min(MESSAGE_BYTES_MAX)];
        let buffer = &mut [IoSliceMut::new(&mut bytes)];
        let message = recvmsg(&self.0, buffer, ancillary, flags | RecvFlags::CMSG_CLOEXEC)?;
        Ok((bytes, message))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
#[path = "tests/socket.rs"]
mod tests;
