//! From inputs to outcomes: tasks are submitted ahead, outcomes come back in input order, and what
//! is in flight at any time is bounded.
//!
//! # Invariants
//! 1. At most `tasks_max` tasks are unfinished or not yet told; a batch holds at most
//!    [`BATCH_FILES_MAX`] files, so memory does not grow with the number of files.
//! 2. Every input is told exactly once, in order.
//! 3. When a worker dies or is killed under a batch, its files are tried one by one, so that
//!    exactly the bad one is reported. A file that was alone is tried twice, except when its time
//!    ran out.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::path::PathBuf;

use super::large::Large;
use super::screen::Stop;
use super::source::{Input, Kind};
use super::submit::{FilesTask, Outcome, Submit};

/// The most files of one task, …
const BATCH_FILES_MAX: usize = 64;
/// … and their bytes, about a millisecond of SHA-256.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// Inputs that are told together, and the work on them.
enum Group<K> {
    Stdin(K),
    Files(Files<K>),
    Large(Box<Large<K>>),
}

/// Files that share a task, and inputs between them that need none.
struct Files<K> {
    /// `None`: the next of the task's outcomes.
    entries: Vec<(K, Option<Outcome>)>,
    paths: Vec<PathBuf>,
    task: Option<Result<FilesTask, String>>,
}

/// See the module.
pub(crate) struct Pipeline<'a, K, I: Iterator<Item = Input<K>>> {
    submit: Submit<'a>,
    inputs: Peekable<I>,
    window: VecDeque<Group<K>>,
    /// Tasks in the window.
    tasks: usize,
}

impl<'a, K, I: Iterator<Item = Input<K>>> Pipeline<'a, K, I> {
    pub(crate) fn new(submit: Submit<'a>, inputs: I) -> Self {
        Self { submit, inputs: inputs.peekable(), window: VecDeque::new(), tasks: 0 }
    }

    /// Hashes everything and tells each outcome.
    pub(crate) fn run(
        mut self,
        mut tell: impl FnMut(K, Outcome) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        loop {
            self.fill();
            match self.window.pop_front() {
                None => return Ok(()),
                Some(Group::Stdin(key)) => {
                    let outcome = self.submit.hash_stdin()?;
                    tell(key, outcome)?;
                }
                Some(Group::Files(files)) => self.finish_files(files, &mut tell)?,
                Some(Group::Large(mut large)) => {
                    let before = large.tasks();
                    let outcome = large.advance(&self.submit)?;
                    self.tasks -= before - large.tasks();
                    match outcome {
                        Some(outcome) => tell(large.key, outcome)?,
                        None => self.window.push_front(Group::Large(large)),
                    }
                }
            }
        }
    }

    /// Submits until the window is full. The window is never left empty while inputs remain.
    fn fill(&mut self) {
        while self.tasks < self.submit.options.tasks_max || self.window.is_empty() {
            if let Some(Group::Large(large)) = self.window.back_mut()
                && large.submit_next(&self.submit)
            {
                self.tasks += 1;
                continue;
            }
            let Some(Input { kind, .. }) = self.inputs.peek() else { return };
            let group = if kind.shares() { self.batch() } else { self.alone() };
            self.window.push_back(group);
            // Groups without a task are bounded too.
            if self.window.len() >= 2 * self.submit.options.tasks_max {
                return;
            }
        }
    }

    /// The next input, which shares its task with no other.
    fn alone(&mut self) -> Group<K> {
        let Input { key, path, kind } = self.inputs.next().expect("the caller has seen it");
        match kind {
            Kind::Stdin => Group::Stdin(key),
            Kind::Large { identity, bytes } => {
                Group::Large(Box::new(Large::new(key, path, identity, bytes)))
            }
            _ => self.group(vec![(key, None)], vec![path]),
        }
    }

    /// The next inputs that fit into one task.
    fn batch(&mut self) -> Group<K> {
        let (mut entries, mut paths) = (Vec::new(), Vec::new());
        let mut batch_bytes = 0;
        while entries.len() < BATCH_FILES_MAX && batch_bytes < BATCH_BYTES_MAX {
            let Some(Input { key, path, kind }) = self.inputs.next_if(|input| input.kind.shares())
            else {
                break;
            };
            entries.push(match kind {
                Kind::Unreadable(errno) => (key, Some(Outcome::Unreadable(errno))),
                Kind::Pass => (key, Some(Outcome::Passed)),
                kind => {
                    batch_bytes += kind.bytes();
                    paths.push(path);
                    (key, None)
                }
            });
        }
        self.group(entries, paths)
    }

    fn group(&mut self, entries: Vec<(K, Option<Outcome>)>, paths: Vec<PathBuf>) -> Group<K> {
        let task = (!paths.is_empty()).then(|| self.submit.files(&paths));
        self.tasks += usize::from(task.is_some());
        Group::Files(Files { entries, paths, task })
    }

    fn finish_files(
        &mut self,
        files: Files<K>,
        tell: &mut impl FnMut(K, Outcome) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let Files { entries, paths, task } = files;
        let mut outcomes = Vec::new();
        if let Some(task) = task {
            self.tasks -= 1;
            outcomes = match self.submit.outcomes(task, &paths)? {
                Ok(outcomes) => outcomes,
                Err(failure) if paths.len() == 1 && !failure.again => vec![failure.into()],
                // Retried lazily below, each file when it is its turn to be told.
                Err(_) => Vec::new(),
            };
        }
        let mut outcomes = outcomes.into_iter();
        let mut paths = paths.iter();
        for (key, known) in entries {
            let outcome = match known {
                Some(outcome) => outcome,
                None => {
                    let path = paths.next().expect("every unknown outcome has its path");
                    match outcomes.next() {
                        Some(outcome) => outcome,
                        None => self.submit.one_file(path)?,
                    }
                }
            };
            if let Outcome::Hashed(hashed) = &outcome {
                self.submit.screen.add_done(hashed.bytes);
            }
            tell(key, outcome)?;
        }
        Ok(())
    }
}
