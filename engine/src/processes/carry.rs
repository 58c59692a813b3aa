//! Bytes beside a control message: in it where they are few, else in a sealed memfd. Behind that the
//! open files that the bytes name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use amphi_protocol::{CARRIED_BYTES_MAX, Carried};

use crate::fd::Fd;
use crate::job::Encoded;
use crate::sys::memory::{read_sealed, sealed_memfd};

/// How `bytes` are carried, and the descriptor that goes along.
pub(super) fn pack(bytes: Encoded) -> io::Result<(Carried, Option<OwnedFd>)> {
    if bytes.len() <= CARRIED_BYTES_MAX {
        return Ok((Carried::Here(bytes.into_vec()), None));
    }
    let fd = sealed_memfd("amphi-child", &bytes)?;
    Ok((Carried::Memfd { len: bytes.len() as u64 }, Some(fd)))
}

/// The descriptors of a message, in their order, and how many files are among them.
pub(super) fn descriptors<'a>(
    memfd: Option<&'a OwnedFd>,
    files: &'a [Fd],
) -> (Vec<BorrowedFd<'a>>, u8) {
    let fds = memfd.into_iter().map(AsFd::as_fd).chain(files.iter().map(AsFd::as_fd)).collect();
    (fds, u8::try_from(files.len()).expect("at most 32"))
}

/// It is the descriptors that were not sent, and not the receiver that does not read or is dead.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, WouldBlock};
    !matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | WouldBlock)
}

/// The bytes, at most `max` of them, and the files that they name. `None`: the descriptors came, and
/// this process has no room for them.
pub(super) fn unpack(
    carried: Carried,
    fds: Option<Vec<OwnedFd>>,
    max: u64,
) -> io::Result<(Vec<u8>, Vec<Fd>)> {
    let mut fds = fds
        .ok_or_else(|| {
            io::Error::other("there is no room for its open files; have fewer under way")
        })?
        .into_iter();
    let bytes = match carried {
        Carried::Here(bytes) => bytes,
        Carried::Memfd { len } if len > max => {
            return Err(io::Error::other(format!("{len} bytes are above the limit of {max}")));
        }
        Carried::Memfd { len } => {
            let missing = || io::Error::other("the memory of its bytes is missing");
            read_sealed(fds.next().ok_or_else(missing)?.as_fd(), len)?
        }
    };
    Ok((bytes, fds.map(Fd::from).collect()))
}
