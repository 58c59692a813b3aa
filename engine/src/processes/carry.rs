//! Bytes beside a control message: in it where they are few, else in a sealed memfd.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use amphi_protocol::{CARRIED_BYTES_MAX, Carried};

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

/// The bytes, at most `max` of them.
pub(super) fn unpack(carried: Carried, fd: Option<OwnedFd>, max: u64) -> io::Result<Vec<u8>> {
    match (carried, fd) {
        (Carried::Here(bytes), None) => Ok(bytes),
        (Carried::Memfd { len }, Some(fd)) if len <= max => read_sealed(fd.as_fd(), len),
        (Carried::Memfd { len }, Some(_)) => {
            Err(io::Error::other(format!("{len} bytes are above the limit of {max}")))
        }
        _ => Err(io::Error::other("bytes and descriptor do not belong together")),
    }
}
