//! What there is to hash: every input in order, looked at once, so that the pipeline knows what
//! may share a task.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::digest::Algorithm;
use super::job::{Identity, errno};
use super::subtree::SPLIT_FROM_BYTES;
use super::walk::{Exclude, Step, Walk};

/// A file from this size on has a task of its own.
pub(crate) const ALONE_FROM_BYTES: u64 = 1 << 20;

/// EISDIR: what reading a directory says, known here without opening it.
const EISDIR: i32 = 21;

/// One input. `key` is what the caller wants back with the outcome.
#[derive(Debug)]
pub(crate) struct Input<K> {
    pub(crate) key: K,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

/// How an input is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The host's standard input, which no worker has.
    Stdin,
    /// May share a task.
    Small { bytes: u64 },
    /// Has a task of its own: large, or a pipe or device that may hang.
    Alone,
    /// Split into ranges.
    Large { identity: Identity, bytes: u64 },
    /// There is nothing to read; the system's error number.
    Unreadable(i32),
    /// Nothing to do: the key only wants its turn.
    Pass,
}

impl Kind {
    /// May it stand in one task with its neighbours?
    pub(crate) fn shares(self) -> bool {
        matches!(self, Self::Small { .. } | Self::Unreadable(_) | Self::Pass)
    }

    /// As far as is known.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Small { bytes } | Self::Large { bytes, .. } => bytes,
            Self::Stdin | Self::Alone | Self::Unreadable(_) | Self::Pass => 0,
        }
    }

    /// Looks at a file.
    pub(crate) fn of(path: &Path, algorithm: Algorithm) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => Self::of_metadata(&metadata, algorithm),
            Err(error) => Self::Unreadable(errno(&error)),
        }
    }

    fn of_metadata(metadata: &Metadata, algorithm: Algorithm) -> Self {
        let bytes = metadata.len();
        if metadata.is_dir() {
            Self::Unreadable(EISDIR)
        } else if !metadata.is_file() {
            Self::Alone
        } else if algorithm == Algorithm::Blake3 && bytes >= SPLIT_FROM_BYTES {
            Self::Large { identity: Identity::of(metadata), bytes }
        } else if bytes >= ALONE_FROM_BYTES {
            Self::Alone
        } else {
            Self::Small { bytes }
        }
    }
}

/// The inputs that the command line names, in its order.
pub(crate) fn from_arguments<'a>(
    paths: &'a [PathBuf],
    algorithm: Algorithm,
    recursive: bool,
    exclude: &'a Exclude,
) -> Box<dyn Iterator<Item = Input<PathBuf>> + 'a> {
    if paths.is_empty() {
        let stdin = PathBuf::from("-");
        return Box::new(std::iter::once(Input {
            key: stdin.clone(),
            path: stdin,
            kind: Kind::Stdin,
        }));
    }
    Box::new(paths.iter().flat_map(move |path| from_argument(path, algorithm, recursive, exclude)))
}

fn from_argument<'a>(
    path: &'a Path,
    algorithm: Algorithm,
    recursive: bool,
    exclude: &'a Exclude,
) -> Box<dyn Iterator<Item = Input<PathBuf>> + 'a> {
    let input =
        |path: &Path, kind| Input { key: path.to_path_buf(), path: path.to_path_buf(), kind };
    if path.as_os_str() == "-" {
        return Box::new(std::iter::once(input(path, Kind::Stdin)));
    }
    let kind = Kind::of(path, algorithm);
    let directory = kind == Kind::Unreadable(EISDIR);
    if exclude.matches(path, directory) {
        return Box::new(std::iter::empty());
    }
    if !(recursive && directory) {
        return Box::new(std::iter::once(input(path, kind)));
    }
    Box::new(Walk::new(path, exclude).map(move |step| match step {
        Step::File(path, metadata) => {
            let kind = Kind::of_metadata(&metadata, algorithm);
            Input { key: path.clone(), path, kind }
        }
        Step::Skipped(path) => input(&path, Kind::Pass),
        Step::Problem(path, error) => input(&path, Kind::Unreadable(errno(&error))),
    }))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Kind, from_arguments};
    use crate::hash::digest::Algorithm;
    use crate::hash::walk::Exclude;

    fn kinds(paths: &[&str], globs: &[&str]) -> Vec<(PathBuf, Kind)> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_string()).collect();
        let exclude = Exclude::new(&globs).unwrap();
        from_arguments(&paths, Algorithm::Blake3, false, &exclude)
            .map(|input| (input.key, input.kind))
            .collect()
    }

    #[test]
    fn every_argument_has_its_kind() {
        assert_eq!(kinds(&[], &[]), [(PathBuf::from("-"), Kind::Stdin)]);
        assert_eq!(
            kinds(&["/dev/null", "-", "/", "/no/such", "/x.skip"], &["*.skip"]),
            [
                (PathBuf::from("/dev/null"), Kind::Alone),
                (PathBuf::from("-"), Kind::Stdin),
                (PathBuf::from("/"), Kind::Unreadable(21)),
                (PathBuf::from("/no/such"), Kind::Unreadable(2)),
            ]
        );
        assert_eq!(
            Kind::of(Path::new("/proc/version"), Algorithm::Sha256),
            Kind::Small { bytes: 0 }
        );
    }
}
