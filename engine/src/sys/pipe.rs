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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reading_end_never_blocks() {
        let (reader, writer) = pipe().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read_some(&reader, &mut buffer), None, "nothing yet");
        rustix::io::write(&writer, b"text").unwrap();
        assert_eq!(read_some(&reader, &mut buffer), Some(4));
        assert_eq!(&buffer[..4], b"text");
        drop(writer);
        assert_eq!(read_some(&reader, &mut buffer), Some(0), "the end");
    }

    #[test]
    fn a_worker_gets_an_end_that_blocks() {
        let (_reader, writer) = pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    }
}
