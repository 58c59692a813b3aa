//! The two jobs: hash some files whole, or one range of a large file. They open files themselves,
//! so that only names and digests cross to a worker.
//!
//! # Invariants
//! 1. A file that cannot be read is an item of the output, never the failure of its task: the
//!    other files of the batch are not touched.
//! 2. A range is hashed only of the very file that was looked at when it was split: the same
//!    device and inode, and still as long. Otherwise it says `Changed`.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use amphi::{Bytes, Ctx, Job};
use serde::{Deserialize, Serialize};

use super::digest::{Algorithm, BUFFER_BYTES, Hashed, hash_stream};
use super::subtree::{ChainingValue, Range};

/// How often a long file tells its progress.
const PROGRESS_EVERY_BYTES: u64 = 16 << 20;

/// What an unknown reading error counts as: EIO.
const EIO: i32 = 5;

thread_local! {
    /// One warm buffer a thread: fresh pages would cost as much as the copy into them.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// Hashes some files, one after another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HashFiles {
    algorithm: Algorithm,
    /// Every name followed by NUL, which no name contains.
    names: Bytes,
}

/// What became of one file: its digest or an error number.
pub(crate) type FileOutcome = Result<Hashed, i32>;

impl HashFiles {
    pub(crate) fn new<'a>(algorithm: Algorithm, paths: impl Iterator<Item = &'a Path>) -> Self {
        let mut names = Vec::new();
        for path in paths {
            names.extend_from_slice(path.as_os_str().as_bytes());
            names.push(0);
        }
        Self { algorithm, names: names.into() }
    }
}

impl Job for HashFiles {
    type Output = Vec<FileOutcome>;
    type Error = amphi::Error;

    fn name() -> &'static str {
        "hash"
    }

    fn run(self, cx: &Ctx) -> Result<Vec<FileOutcome>, amphi::Error> {
        let mut outcomes = Vec::new();
        for name in self.names.split_inclusive(|byte| *byte == 0) {
            let path = Path::new(OsStr::from_bytes(&name[..name.len() - 1]));
            match hash_file(self.algorithm, path, cx) {
                Ok(hashed) => outcomes.push(Ok(hashed)),
                Err(Halt::Io(error)) => outcomes.push(Err(errno(&error))),
                Err(Halt::Engine(error)) => return Err(error),
            }
        }
        Ok(outcomes)
    }
}

/// Why the hashing of a file ended early: the file, or the engine asked for it.
enum Halt {
    Io(io::Error),
    Engine(amphi::Error),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn hash_file(algorithm: Algorithm, path: &Path, cx: &Ctx) -> Result<Hashed, Halt> {
    let mut file = File::open(path)?;
    let mut told = 0;
    with_buffer(|buffer| {
        hash_stream(algorithm, &mut file, buffer, |bytes| {
            if bytes - told >= PROGRESS_EVERY_BYTES {
                told = bytes;
                cx.progress(bytes, bytes);
            }
            cx.check().map_err(|stop| Halt::Engine(stop.into()))
        })
    })
}

/// Which file a name meant: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Hashes one range of a large file for BLAKE3.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HashRange {
    pub(crate) name: Bytes,
    pub(crate) identity: Identity,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// What became of one range.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum RangeOutcome {
    Value(ChainingValue),
    /// Another file has the name now, or it is shorter than it was: hash it whole instead.
    Changed,
    Failed(i32),
}

impl Job for HashRange {
    type Output = RangeOutcome;
    type Error = amphi::Error;

    fn name() -> &'static str {
        "hash-range"
    }

    fn run(self, cx: &Ctx) -> Result<RangeOutcome, amphi::Error> {
        match self.hash(cx) {
            Ok(outcome) => Ok(outcome),
            Err(Halt::Io(error)) => Ok(RangeOutcome::Failed(errno(&error))),
            Err(Halt::Engine(error)) => Err(error),
        }
    }
}

impl HashRange {
    fn hash(&self, cx: &Ctx) -> Result<RangeOutcome, Halt> {
        let file = File::open(Path::new(OsStr::from_bytes(&self.name)))?;
        if Identity::of(&file.metadata()?) != self.identity {
            return Ok(RangeOutcome::Changed);
        }
        let mut range = Range::at(self.offset);
        let mut done = 0;
        with_buffer(|buffer| {
            while done < self.bytes {
                let wanted = usize::try_from(self.bytes - done)
                    .map_or(buffer.len(), |left| left.min(buffer.len()));
                match file.read_at(&mut buffer[..wanted], self.offset + done) {
                    Ok(0) => return Ok(RangeOutcome::Changed),
                    Ok(count) => {
                        range.update(&buffer[..count]);
                        done += count as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
                cx.check().map_err(|stop| Halt::Engine(stop.into()))?;
            }
            Ok(RangeOutcome::Value(range.finish()))
        })
    }
}

fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| work(buffer))
}

/// The number of an error, for the way between processes.
pub(crate) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}

/// The name under which a worker finds what `path` means in this process: `/dev/stdin`,
/// `/dev/fd/N` and `/proc/self/…` are the opener's own.
pub(crate) fn name_for_workers(path: &Path) -> PathBuf {
    let own = || PathBuf::from(format!("/proc/{}", std::process::id()));
    if let Ok(rest) = path.strip_prefix("/dev/fd") {
        return own().join("fd").join(rest);
    }
    if let Ok(rest) = path.strip_prefix("/proc/self") {
        return own().join(rest);
    }
    match path.to_str() {
        Some("/dev/stdin") => own().join("fd/0"),
        Some("/dev/stdout") => own().join("fd/1"),
        Some("/dev/stderr") => own().join("fd/2"),
        _ => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{HashFiles, name_for_workers};
    use crate::hash::digest::Algorithm;

    #[test]
    fn names_end_with_nul() {
        let job = HashFiles::new(Algorithm::Sha256, ["a", "", "b c"].map(Path::new).into_iter());
        assert_eq!(&job.names[..], b"a\0\0b c\0");
    }

    #[test]
    fn names_of_this_process_keep_their_meaning() {
        let own = format!("/proc/{}", std::process::id());
        for (path, name) in [
            ("/dev/fd/63", format!("{own}/fd/63")),
            ("/dev/stdin", format!("{own}/fd/0")),
            ("/proc/self/maps", format!("{own}/maps")),
            ("dev/fd/3", "dev/fd/3".to_string()),
            ("/dev/fdx", "/dev/fdx".to_string()),
        ] {
            assert_eq!(name_for_workers(Path::new(path)), PathBuf::from(name));
        }
    }
}
