//! [`Blob`]: bytes that processes share without a copy.
//!
//! Reading order: this file, `filling.rs` (how one is made), `shared.rs` (one region and who has
//! it), `registry.rs` (when its memory can be used again); `beside.rs` is how it travels with a task.

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::beside;

pub use self::filling::{BlobMut, Blocks};
pub(crate) use self::registry::{Holder, find, forgotten_by, is_held, received, sent};
pub(crate) use self::shared::Shared;

mod filling;
mod registry;
mod shared;
#[cfg(test)]
mod tests;

/// Bytes that the host and its workers share **without a copy**, for inputs and outputs of more than
/// about a megabyte, or that are sent more than once.
///
/// A blob can stand anywhere in a job's input or output. In every placement the job sees the same
/// bytes: on a thread as they are; in a worker as a read-only mapping of the host's memory, made once
/// and kept until the host has dropped its last handle. A worker's blob comes to the host as memory
/// that the worker can no longer write to.
///
/// Cloning and slicing are cheap and share the memory, which is given back with the last handle; the
/// host keeps some of it for the next blobs, so that their pages need not be made anew. Below 64 KiB a
/// blob lies in the heap and travels as bytes, and so does one where blobs have half of the process's
/// descriptors already.
///
/// What `preload` makes lies in the heap: workers share it as they share all that they were forked
/// with.
///
/// With any other serialiser than the engine's it is a byte string.
///
/// ```
/// use amphi::{Blob, BlobMut};
///
/// let mut filling = BlobMut::zeroed(1 << 20);
/// filling[0] = 7;
/// let blob: Blob = filling.freeze();
/// let head = blob.slice(..16);
/// assert_eq!((head.len(), head[0], blob.len()), (16, 7, 1 << 20));
/// ```
#[derive(Clone)]
pub struct Blob {
    memory: Memory,
    start: usize,
    len: usize,
}

#[derive(Clone)]
enum Memory {
    Heap(Bytes),
    Shared(Arc<Shared>),
}

impl Blob {
    /// One with a copy of `bytes`.
    ///
    /// ```
    /// assert_eq!(amphi::Blob::copy_of(b"abc"), *b"abc");
    /// ```
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut filling = BlobMut::with_capacity(bytes.len());
        filling.extend_from_slice(bytes);
        filling.freeze()
    }

    /// A part of it, which shares its memory.
    ///
    /// ```
    /// let blob = amphi::Blob::copy_of(b"abcdef");
    /// assert_eq!(blob.slice(2..4), *b"cd");
    /// ```
    ///
    /// # Panics
    /// If the range ends before it begins, or beyond the blob.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&to) => to,
            Bound::Unbounded => self.len,
        };
        assert!(from <= to && to <= self.len, "{from}..{to} is no part of {} bytes", self.len);
        Self { memory: self.memory.clone(), start: self.start + from, len: to - from }
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without a byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn of_heap(bytes: Bytes) -> Self {
        Self { start: 0, len: bytes.len(), memory: Memory::Heap(bytes) }
    }

    fn of_shared(shared: Arc<Shared>, start: usize, len: usize) -> Self {
        Self { memory: Memory::Shared(shared), start, len }
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all = match &self.memory {
            Memory::Heap(bytes) => bytes,
            Memory::Shared(shared) => shared.bytes(),
        };
        &all[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Blob {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Blob {}

impl Default for Blob {
    fn default() -> Self {
        Self::of_heap(Bytes::new())
    }
}

/// A copy, unless it is short.
impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.len() < filling::SHARED_FROM {
            Self::of_heap(Bytes::from(bytes))
        } else {
            Self::copy_of(&bytes)
        }
    }
}

/// No copy: the bytes are the blob's.
impl From<Blob> for Bytes {
    fn from(blob: Blob) -> Self {
        match &blob.memory {
            Memory::Heap(bytes) => bytes.slice(blob.start..blob.start + blob.len),
            Memory::Shared(_) => Self::from_owner(blob),
        }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob").field("len", &self.len).finish_non_exhaustive()
    }
}

/// What stands for a blob in a task's bytes.
#[derive(Serialize, Deserialize)]
enum Form {
    Bytes(Bytes),
    /// So much of the region of this number, which travels apart.
    Region {
        id: u64,
        start: u64,
        len: u64,
    },
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_bytes(self);
        }
        let form = match &self.memory {
            Memory::Shared(shared) if beside::attach(shared) => {
                Form::Region { id: shared.id(), start: self.start as u64, len: self.len as u64 }
            }
            _ => Form::Bytes(self.clone().into()),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Bytes::deserialize(deserializer).map(Self::of_heap);
        }
        let (id, start, len) = match Form::deserialize(deserializer)? {
            Form::Bytes(bytes) => return Ok(Self::of_heap(bytes)),
            Form::Region { id, start, len } => (id, start, len),
        };
        let Some(shared) = beside::resolve(id) else {
            return Err(D::Error::custom("the memory of a blob is missing"));
        };
        // The numbers may be a hostile worker's.
        let all = shared.bytes().len() as u64;
        if start > all || len > all - start {
            return Err(D::Error::custom("a blob lies within its memory"));
        }
        let part = |bytes: u64| usize::try_from(bytes).expect("it is within a mapping");
        Ok(Self::of_shared(shared, part(start), part(len)))
    }
}
