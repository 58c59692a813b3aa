//! Directories, walked in a fixed order: that of `find DIR -type f | LC_ALL=C sort`.
//!
//! Role: `source` asks for one step at a time; nothing is read ahead but the names of the
//! directories on the way down. Not here: which files are too large or too strange to share a task.
//!
//! # Invariants
//! 1. Symbolic links below the root are not followed, neither to files nor to directories, as with
//!    `grep -r`: no loop, and no file twice. The root itself may be one: the user named it.
//! 2. Only regular files are yielded. Pipes, sockets and devices are named as skipped; links are
//!    passed over in silence.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// What the walk came to next.
#[derive(Debug)]
pub(crate) enum Step {
    File(PathBuf, Metadata),
    /// Not a regular file.
    Skipped(PathBuf),
    Problem(PathBuf, io::Error),
}

/// See the module.
pub(crate) struct Walk<'a> {
    exclude: &'a Exclude,
    root: PathBuf,
    /// Names still to come, one list for each directory on the way down, last one first.
    open: Vec<Vec<Name>>,
    problem: Option<(PathBuf, io::Error)>,
}

/// One directory entry, its path below the root.
struct Name {
    below: PathBuf,
    directory: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(root: &Path, exclude: &'a Exclude) -> Self {
        let mut walk = Self { exclude, root: root.to_path_buf(), open: Vec::new(), problem: None };
        walk.enter(Path::new(""));
        walk
    }

    fn path(&self, below: &Path) -> PathBuf {
        if below.as_os_str().is_empty() { self.root.clone() } else { self.root.join(below) }
    }

    /// Puts a directory's names on the way; the names read before an error are kept.
    fn enter(&mut self, below: &Path) {
        let path = self.path(below);
        let mut names = Vec::new();
        let mut read = || -> io::Result<()> {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                let below = below.join(entry.file_name());
                if !kind.is_symlink() && !self.exclude.matches(&below, kind.is_dir()) {
                    names.push(Name { below, directory: kind.is_dir() });
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            self.problem = Some((path, error));
        }
        names.sort_by_cached_key(|name| std::cmp::Reverse(sort_key(name)));
        self.open.push(names);
    }
}

/// Whole paths in byte order: a directory sorts by its name with the slash that follows it.
fn sort_key(name: &Name) -> Vec<u8> {
    let mut key =
        name.below.file_name().map(OsStr::to_os_string).map_or_else(Vec::new, OsString::into_vec);
    if name.directory {
        key.push(b'/');
    }
    key
}

impl Iterator for Walk<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some((path, error)) = self.problem.take() {
                return Some(Step::Problem(path, error));
            }
            let Some(name) = self.open.last_mut()?.pop() else {
                self.open.pop();
                continue;
            };
            if name.directory {
                self.enter(&name.below);
                continue;
            }
            let path = self.path(&name.below);
            return Some(match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() => Step::File(path, metadata),
                Ok(_) => Step::Skipped(path),
                Err(error) => Step::Problem(path, error),
            });
        }
    }
}

/// The `--exclude` globs. One without a slash is matched with every name, one with a slash with the
/// whole path below the walk's root (`*` stops at a slash, `**` does not); one that ends in a slash
/// is for directories only. An excluded directory is not entered.
#[derive(Debug, Default)]
pub(crate) struct Exclude {
    names: GlobSet,
    paths: GlobSet,
    directory_names: GlobSet,
    directory_paths: GlobSet,
}

impl Exclude {
    /// # Errors
    /// A glob that cannot be understood.
    pub(crate) fn new(globs: &[String]) -> Result<Self, globset::Error> {
        let mut sets = [const { Vec::new() }; 4];
        for glob in globs {
            let (text, directory) = match glob.strip_suffix('/') {
                Some(text) => (text, true),
                None => (glob.as_str(), false),
            };
            let path = text.contains('/');
            let text = text.strip_prefix("./").or_else(|| text.strip_prefix('/')).unwrap_or(text);
            let glob =
                GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build()?;
            sets[usize::from(path) + 2 * usize::from(directory)].push(glob);
        }
        let mut sets = sets.into_iter().map(|globs| {
            let mut builder = GlobSetBuilder::new();
            for glob in globs {
                builder.add(glob);
            }
            builder.build()
        });
        let mut next = || sets.next().expect("there are four sets");
        Ok(Self {
            names: next()?,
            paths: next()?,
            directory_names: next()?,
            directory_paths: next()?,
        })
    }

    /// Is this path, relative to the walk's root or as the user gave it, left out?
    pub(crate) fn matches(&self, path: &Path, directory: bool) -> bool {
        let name = path.file_name().unwrap_or_else(|| OsStr::from_bytes(b""));
        self.names.is_match(name)
            || self.paths.is_match(path)
            || directory
                && (self.directory_names.is_match(name) || self.directory_paths.is_match(path))
    }
}

#[cfg(test)]
mod tests;
