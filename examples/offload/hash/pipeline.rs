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
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use amphi::{Engine, Placement, Task, TaskError};

use super::digest::{Algorithm, Hashed, hash_stream};
use super::job::{FileOutcome, HashFiles, HashRange, RangeOutcome, errno, name_for_workers};
use super::large::Large;
use super::screen::{Screen, Stop};
use super::source::{Input, Kind};

/// The most files of one task, …
const BATCH_FILES_MAX: usize = 64;
/// … and their bytes, about a millisecond of SHA-256.
const BATCH_BYTES_MAX: u64 = 1 << 20;

/// What became of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Hashed(Hashed),
    /// The system refused; its error number.
    Unreadable(i32),
    /// No digest for another reason: given up, crashed, refused.
    GaveUp(String),
    /// The input was [`Kind::Pass`].
    Passed,
}

impl From<FileOutcome> for Outcome {
    fn from(outcome: FileOutcome) -> Self {
        match outcome {
            Ok(hashed) => Self::Hashed(hashed),
            Err(errno) => Self::Unreadable(errno),
        }
    }
}

/// How tasks are submitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) algorithm: Algorithm,
    /// `None`: as the engine decides.
    pub(crate) place: Option<Placement>,
    pub(crate) kill_after: Option<Duration>,
    pub(crate) explain: bool,
    pub(crate) tasks_max: usize,
}

type FilesTask = Task<Vec<FileOutcome>, amphi::Error>;
pub(crate) type RangeTask = Task<RangeOutcome, amphi::Error>;

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
    pub(crate) fn new(engine: &'a Engine, options: Options, screen: &'a Screen, inputs: I) -> Self {
        Self {
            submit: Submit { engine, options, screen },
            inputs: inputs.peekable(),
            window: VecDeque::new(),
            tasks: 0,
        }
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
            let Some(Input { key, path, kind }) = self.inputs.next_if(|input| input.kind.shares()) else {
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

/// The way to the engine, and waiting for what comes back.
pub(crate) struct Submit<'a> {
    engine: &'a Engine,
    options: Options,
    screen: &'a Screen,
}

/// Why a task has no output.
pub(crate) struct Failure {
    text: String,
    /// A second try makes sense.
    pub(crate) again: bool,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::GaveUp(failure.text)
    }
}

impl Submit<'_> {
    fn files(&self, paths: &[PathBuf]) -> Result<FilesTask, String> {
        let names: Vec<PathBuf> = paths.iter().map(|path| name_for_workers(path)).collect();
        self.submit(HashFiles::new(self.options.algorithm, names.iter().map(PathBuf::as_path)))
    }

    pub(crate) fn range(&self, range: HashRange) -> Result<RangeTask, String> {
        self.submit(range)
    }

    /// The name of a large file for its ranges.
    pub(crate) fn name_of(path: &Path) -> amphi::Bytes {
        name_for_workers(path).into_os_string().into_vec().into()
    }

    fn submit<J: amphi::Job>(&self, job: J) -> Result<Task<J::Output, J::Error>, String> {
        let mut task = self.engine.task(job);
        if let Some(place) = self.options.place {
            task = task.place(place);
        }
        if let Some(limit) = self.options.kill_after {
            task = task.kill_after(limit);
        }
        task.submit_blocking().map_err(|rejected| rejected.to_string())
    }

    /// One file by itself, not tried again.
    pub(crate) fn one_file(&self, path: &Path) -> Result<Outcome, Stop> {
        let paths = [path.to_path_buf()];
        Ok(match self.outcomes(self.files(&paths), &paths)? {
            Ok(outcomes) => outcomes.into_iter().next().expect("a task has an outcome for every file"),
            Err(failure) => failure.into(),
        })
    }

    fn outcomes(
        &self,
        task: Result<FilesTask, String>,
        paths: &[PathBuf],
    ) -> Result<Result<Vec<Outcome>, Failure>, Stop> {
        let told = self.wait(task, || match paths {
            [path] => path.display().to_string(),
            [path, rest @ ..] => format!("{} and {} more", path.display(), rest.len()),
            [] => String::new(),
        })?;
        Ok(told.and_then(|outcomes| {
            if outcomes.len() != paths.len() {
                return Err(Failure { text: "the task lost files".to_string(), again: true });
            }
            Ok(outcomes.into_iter().map(Outcome::from).collect())
        }))
    }

    /// A range of so many bytes is merged.
    pub(crate) fn done(&self, bytes: u64) {
        self.screen.add_done(bytes);
    }

    /// Waits for a task. What was printed so far is not held back by the wait.
    pub(crate) fn wait<T: 'static>(
        &self,
        task: Result<Task<T, amphi::Error>, String>,
        name: impl Fn() -> String,
    ) -> Result<Result<T, Failure>, Stop> {
        let mut task = match task {
            Ok(task) => task,
            Err(text) => return Ok(Err(Failure { text, again: false })),
        };
        if self.options.explain {
            // The reason is final when the place is bound.
            while task.placement().is_none() && !task.is_finished() {
                std::thread::sleep(Duration::from_micros(100));
            }
            self.screen.complain(&format!("{}: {}", name(), task.explain()));
        }
        if !task.is_finished() {
            self.screen.flush()?;
        }
        let outcome = loop {
            let Some(every) = self.screen.redraw_every() else { break task.join() };
            match task.join_timeout(every) {
                Ok(outcome) => break outcome,
                Err(unfinished) => {
                    task = unfinished;
                    self.screen.show_running(task.progress().map_or(0, |progress| progress.done));
                }
            }
        };
        self.screen.show_running(0);
        Ok(outcome.map_err(|error| self.failure(&error)))
    }

    fn failure(&self, error: &TaskError<amphi::Error>) -> Failure {
        match (error, self.options.kill_after) {
            (TaskError::TimedOut { .. }, Some(limit)) => {
                Failure { text: format!("given up after {} s", limit.as_secs_f64()), again: false }
            }
            _ => Failure { text: error.to_string(), again: error.is_retryable() },
        }
    }

    fn hash_stdin(&self) -> Result<Outcome, Stop> {
        self.screen.flush()?;
        let mut buffer = vec![0; super::digest::BUFFER_BYTES];
        let hashed = super::screen::stdin().and_then(|mut stdin| {
            hash_stream(self.options.algorithm, &mut stdin, &mut buffer, |bytes| {
                self.screen.show_running(bytes);
                Ok(())
            })
        });
        Ok(match hashed {
            Ok(hashed) => {
                self.screen.add_done(hashed.bytes);
                Outcome::Hashed(hashed)
            }
            Err(error) => Outcome::Unreadable(errno(&error)),
        })
    }
}
