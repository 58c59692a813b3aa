//! [`Fd`]: an open file that travels with a task.
//!
//! In a task's bytes it is its place in a list of files that travel beside them (`beside.rs`): to a
//! worker and back over its socket, in one message for each task.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::beside;
use crate::home::Role;

const CLOSED: &str =
    "a file that preload opened is closed in workers: open it in the host or in the job";

/// An open file, for passing it to a job or back from it: a file, a pipe, a socket, a terminal.
///
/// It can stand anywhere in a job's input and output, and up to 32 of them in one. On a thread it is
/// moved as any value. To a worker and back travels a descriptor of the same open file: with its
/// position, its flags, its locks. It is close-on-exec there, and the job's own: the worker closes it
/// with the last clone, or at once if the task does not run. The host keeps its own until the task
/// has ended, and sends it again with every further try, so that a pipe's reader sees its end only
/// then; and a second try finds a file at the position where the first one left it.
///
/// Clones share one descriptor.
///
/// # Errors
/// On the way to a worker, and where it may be tried again, a task ends with
/// [`TaskError::Codec`](crate::TaskError::Codec) if its input or output
/// - has more than 32 open files;
/// - has one that `preload` opened: workers do not have those;
/// - has one that did not come, because the process that receives it has as many descriptors as it
///   may have ([`Limits::nofile`](crate::Limits::nofile) is a worker's limit).
///
/// The last one can be submitted again. Where the host cannot send a file it is
/// [`Reason::NoWorkers`](crate::Reason::NoWorkers), with the system's error.
///
/// With any other serialiser than the engine's, in a job's error and in messages
/// ([`Ctx::emit`](crate::Ctx::emit)) `Serialize` and `Deserialize` fail, and say so.
///
/// ```
/// use std::fs::File;
/// use std::io::Read;
///
/// use amphi::{Ctx, Error, Fd, Job};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct CountLines { text: Fd }
///
/// impl Job for CountLines {
///     type Output = usize;
///     type Error = Error;
///     fn run(self, _: &Ctx) -> Result<usize, Error> {
///         let mut text = String::new();
///         File::from(self.text.into_owned()?).read_to_string(&mut text)?;
///         Ok(text.lines().count())
///     }
/// }
///
/// # fn example(engine: &amphi::Engine) -> Result<(), Box<dyn std::error::Error>> {
/// let text = Fd::from(File::open("/etc/hosts")?);
/// println!("{} lines", engine.run(CountLines { text })?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Fd(Arc<Open>);

struct Open {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    /// Of the process that opened it.
    role: Role,
}

impl Open {
    /// A worker closes all descriptors that it was forked with: that number may be another's.
    fn is_of_this_process(&self) -> bool {
        self.role == Role::current()
    }

    fn fd(&self) -> &OwnedFd {
        self.fd.as_ref().expect("it is taken at the drop")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_of_this_process() {
            let _ = self.fd.take().map(IntoRawFd::into_raw_fd);
        }
    }
}

impl Fd {
    /// The descriptor, if this is the only clone.
    ///
    /// ```
    /// # use amphi::Fd;
    /// let fd = Fd::from(std::fs::File::open("/dev/null")?);
    /// let other = fd.clone();
    /// let fd = fd.try_into_owned().expect_err("there are two");
    /// drop(other);
    /// let null = std::fs::File::from(fd.try_into_owned().expect("it is the last"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// There are other clones: it comes back.
    pub fn try_into_owned(self) -> Result<OwnedFd, Self> {
        if !self.is_of_this_process() {
            return Err(self);
        }
        let mut open = Arc::try_unwrap(self.0).map_err(Self)?;
        Ok(open.fd.take().expect("it is taken at the drop"))
    }

    /// The descriptor; where there are other clones, one more of the same open file.
    ///
    /// # Errors
    /// There are other clones, and this process may have no more descriptors; or `preload` opened
    /// it, and this is a worker.
    pub fn into_owned(self) -> io::Result<OwnedFd> {
        self.try_into_owned().or_else(|shared| {
            if shared.is_of_this_process() {
                shared.0.fd().try_clone()
            } else {
                Err(io::Error::other(CLOSED))
            }
        })
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.0.is_of_this_process()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(Open { fd: Some(fd), role: Role::current() }))
    }
}

impl From<File> for Fd {
    fn from(file: File) -> Self {
        Self::from(OwnedFd::from(file))
    }
}

/// # Panics
/// In a worker, if `preload` opened it.
impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        assert!(self.is_of_this_process(), "{CLOSED}");
        self.0.fd().as_fd()
    }
}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fd").field(&self.0.fd().as_raw_fd()).finish()
    }
}

impl Serialize for Fd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Err(ser::Error::custom(beside::outside()));
        }
        let place = beside::attach_file(self).map_err(ser::Error::custom)?;
        serializer.serialize_u32(place)
    }
}

impl<'de> Deserialize<'de> for Fd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Err(de::Error::custom(beside::outside()));
        }
        let place = u32::deserialize(deserializer)?;
        beside::resolve_file(place).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
