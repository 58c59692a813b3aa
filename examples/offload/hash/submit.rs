//! The way to the engine, and waiting for what comes back; standard input, which goes no such way.
//!
//! Role: `pipeline` and `large` decide what is submitted when, and what is tried again.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use amphi::{Engine, Placement, Task, TaskError};

use super::digest::{Algorithm, BUFFER_BYTES, Hashed, hash_stream};
use super::job::{FileOutcome, HashFiles, HashRange, RangeOutcome, errno, name_for_workers};
use super::screen::{Screen, Stop, stdin};

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

pub(crate) type FilesTask = Task<Vec<FileOutcome>, amphi::Error>;
pub(crate) type RangeTask = Task<RangeOutcome, amphi::Error>;

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Submit<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) options: Options,
    pub(crate) screen: &'a Screen,
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
    pub(crate) fn files(&self, paths: &[PathBuf]) -> Result<FilesTask, String> {
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
            Ok(outcomes) => {
                outcomes.into_iter().next().expect("a task has an outcome for every file")
            }
            Err(failure) => failure.into(),
        })
    }

    pub(crate) fn outcomes(
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

    pub(crate) fn hash_stdin(&self) -> Result<Outcome, Stop> {
        self.screen.flush()?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let hashed = stdin().and_then(|mut stdin| {
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
