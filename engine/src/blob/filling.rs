//! How a blob is made: written once, then frozen.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::shared::Shared;
use super::{Blob, registry};
use crate::sys::region::Filling;

/// From this length on a blob has memory of its own that can be shared: below it, a copy costs less
/// than a descriptor, a mapping and a page fault.
pub(super) const SHARED_FROM: usize = 64 << 10;

/// The first length of one that is read until its end.
const READ_FIRST: usize = 256 << 10;

/// A [`Blob`] that is being filled: a growing buffer like `Vec<u8>`, through `&mut [u8]` or [`Write`].
///
/// ```
/// use std::io::Write;
///
/// let mut filling = amphi::BlobMut::with_capacity(1 << 20);
/// write!(filling, "{} bytes at most without another allocation", 1 << 20)?;
/// let blob = filling.freeze();
/// assert!(blob.starts_with(b"1048576 bytes"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct BlobMut {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<u8>),
    Region(Filling),
}

impl BlobMut {
    /// Empty, with room for at least so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let memory = match (bytes >= SHARED_FROM).then(|| registry::filling(bytes)) {
            Some(Ok(filling)) => Memory::Region(filling),
            // No descriptor to be had: it travels as bytes, then.
            _ => Memory::Heap(Vec::with_capacity(bytes)),
        };
        Self { memory, len: 0 }
    }

    /// So many zero bytes.
    pub fn zeroed(bytes: usize) -> Self {
        let mut filling = Self::with_capacity(bytes);
        filling.resize(bytes);
        filling
    }

    /// Everything that is left in a file, a pipe or a socket, read without a copy between.
    ///
    /// ```no_run
    /// let file = std::fs::File::open("/var/log/syslog")?;
    /// let blob = amphi::BlobMut::read_from(file)?.freeze();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of reading.
    pub fn read_from(file: impl Into<File>) -> io::Result<Self> {
        let mut file = file.into();
        let known = file.metadata().ok().filter(|data| data.is_file()).map_or(0, |data| data.len());
        // One more, so that the end is found without growing.
        let first = usize::try_from(known).unwrap_or(0).saturating_add(1).max(READ_FIRST);
        let mut filling = Self::with_capacity(first);
        while filling.read_some(&mut file, usize::MAX)? > 0 {}
        Ok(filling)
    }

    /// Reads once, at most so many bytes; 0: that was the end.
    fn read_some(&mut self, from: &mut impl Read, most: usize) -> io::Result<usize> {
        if self.len == self.capacity() {
            self.reserve(self.len.max(READ_FIRST));
        }
        let len = self.len;
        let room = self.all_mut();
        let end = room.len().min(len.saturating_add(most));
        loop {
            match from.read(&mut room[len..end]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.len += count;
                    return Ok(count);
                }
            }
        }
    }

    /// How many bytes it has room for.
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Heap(bytes) => bytes.capacity(),
            Memory::Region(filling) => filling.bytes().len(),
        }
    }

    /// All that there is room for, initialised.
    fn all_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Heap(bytes) => {
                bytes.resize(bytes.capacity(), 0);
                bytes
            }
            Memory::Region(filling) => filling.bytes_mut(),
        }
    }

    /// Makes room for so many bytes more.
    pub fn reserve(&mut self, more: usize) {
        let wanted = self.len.checked_add(more).expect("it fits the address space");
        if wanted <= self.capacity() {
            return;
        }
        let mut larger = Self::with_capacity(wanted.max(2 * self.capacity()));
        larger.all_mut()[..self.len].copy_from_slice(self);
        larger.len = self.len;
        *self = larger;
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let from = self.len;
        self.all_mut()[from..from + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Cuts it to so many bytes, or adds zero bytes up to so many.
    pub fn resize(&mut self, bytes: usize) {
        if bytes > self.len {
            self.reserve(bytes - self.len);
            let from = self.len;
            // An earlier blob may have left something.
            self.all_mut()[from..bytes].fill(0);
        }
        self.len = bytes;
    }

    /// From now on it is only read, and can be shared.
    pub fn freeze(self) -> Blob {
        match self.memory {
            Memory::Heap(mut bytes) => {
                bytes.truncate(self.len);
                Blob::of_heap(Bytes::from(bytes))
            }
            Memory::Region(filling) => {
                Blob::of_shared(Shared::made_here(filling.freeze()), 0, self.len)
            }
        }
    }
}

impl Deref for BlobMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(bytes) => &bytes[..self.len],
            Memory::Region(filling) => &filling.bytes()[..self.len],
        }
    }
}

impl DerefMut for BlobMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.all_mut()[..len]
    }
}

impl Write for BlobMut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Extend<u8> for BlobMut {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        let mut bytes = bytes.into_iter();
        loop {
            self.reserve(bytes.size_hint().0.max(1));
            let from = self.len;
            let room = &mut self.all_mut()[from..];
            let size = room.len();
            // In this order: no byte is taken that has no room.
            let count = room.iter_mut().zip(&mut bytes).map(|(place, byte)| *place = byte).count();
            self.len += count;
            if count < size {
                return;
            }
        }
    }
}

/// The blocks of an input that is larger than the memory: blobs of one length, the last one shorter.
/// With [`Engine::stream`](crate::Engine::stream) and a window, a bounded number of them exists at a
/// time.
///
/// ```no_run
/// # fn example(engine: amphi::Engine) -> std::io::Result<()> {
/// # use amphi::{Blob, Blocks, Ctx, Error, Job};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Sum(Blob);
/// # impl Job for Sum { type Output = u64; type Error = Error;
/// #   fn run(self, _: &Ctx) -> Result<u64, Error> { Ok(self.0.iter().map(|b| u64::from(*b)).sum()) } }
/// let mut failed = None;
/// let blocks = Blocks::of(std::fs::File::open("large")?, 4 << 20)
///     .map_while(|block| block.map_err(|error| failed = Some(error)).ok());
/// for (number, sum) in engine.stream(blocks.map(Sum).enumerate()).window(8).ordered() {
///     println!("{number}: {sum:?}");
/// }
/// failed.map_or(Ok(()), Err)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Blocks<R> {
    from: Option<R>,
    bytes: usize,
}

impl<R: Read> Blocks<R> {
    /// Reads `from` in blocks of so many bytes.
    ///
    /// # Panics
    /// If `bytes` is 0.
    pub fn of(from: R, bytes: usize) -> Self {
        assert!(bytes > 0, "a block has a byte at least");
        Self { from: Some(from), bytes }
    }

    fn read(&mut self) -> io::Result<Blob> {
        let mut block = BlobMut::with_capacity(self.bytes);
        while let Some(from) = self.from.as_mut().filter(|_| block.len < self.bytes) {
            if block.read_some(from, self.bytes - block.len)? == 0 {
                self.from = None;
            }
        }
        Ok(block.freeze())
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Blob>;

    /// The next block; after an error there is no more.
    fn next(&mut self) -> Option<io::Result<Blob>> {
        self.from.as_ref()?;
        match self.read() {
            Ok(block) if block.is_empty() => None,
            Ok(block) => Some(Ok(block)),
            Err(error) => {
                self.from = None;
                Some(Err(error))
            }
        }
    }
}
