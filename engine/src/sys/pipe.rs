//! A worker's standard error on its way to the host's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::Timespec;

/// A pipe: the reading end does not block, the writing end does (it becomes a worker's fd 2).
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((reader, writer))
}

/// Reads what is there; `None`: nothing now, `Some(0)`: the end.
pub(crate) fn read_some(fd: impl AsFd, into: &mut [u8]) -> Option<usize> {
    loop {
        match rustix::io::read(&fd, &mut *into) {
            Ok(count) => return Some(count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return None,
            Err(_) => return Some(0),
        }
    }
}

/// Writes to this process's standard error what it takes without blocking; the rest is dropped.
pub(crate) fn forward_to_stderr(mut bytes: &[u8]) {
    // What a pipe takes whole whenever it is writable.
    const ATOMIC: usize = 4096;
    let stderr = rustix::stdio::stderr();
    while !bytes.is_empty() {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        if !matches!(poll(&mut ready, Some(&now)), Ok(1)) {
            return;
        }
        match rustix::io::write(stderr, &bytes[..bytes.len().min(ATOMIC)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
