//! What a job is: a type ([`Job`]) or a plain function, its needs ([`Spec`]), and the typed content
//! of one task ([`Work`]).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ctx::Ctx;
use crate::limits::Limits;
use crate::policy::Placement;

pub(crate) use self::codec::{decode, decode_owned, encode, encode_whole};
pub(crate) use self::encoded::Encoded;
pub(crate) use self::raw::RawWork;
pub(crate) use self::table::{Entry, Table, panic_message};

mod codec;
mod encoded;
mod raw;
mod size;
mod table;

/// A kind of work: serialisable data and a function over it.
///
/// **Contract.** A job may run in the host or in a worker, and must not depend on what these do
/// not share: statics, open files and connections, standard input. Nor on changes to the
/// environment, the current directory and the umask: every worker has them as they were when the
/// engine started, also one that replaces another later. What a process should build once goes to
/// [`App::worker_state`](crate::App::worker_state). A job that must not run twice at the same time
/// in one process, or may crash, says so in [`Job::spec`].
///
/// A job may submit tasks ([`Ctx::engine`](crate::Ctx::engine)) and [`join`](crate::Task::join)
/// them, in either place: it keeps no core busy while it waits. A job in a worker can start no
/// engine of its own ([`StartError::is_not_in_host`](crate::StartError::is_not_in_host)).
///
/// In [`Placement::Auto`] the engine looks at the input's `Serialize` to learn about how long it
/// is, also where the task then runs on a thread.
///
/// `Vec<u8>` fields are encoded element by element; use [`Bytes`](crate::Bytes) for byte payloads,
/// which is forty times as fast.
///
/// ```
/// use amphi::{Ctx, Error, Job};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct CountPrimes { below: u64 }
///
/// impl Job for CountPrimes {
///     type Output = u64;
///     type Error = Error;
///     fn run(self, cx: &Ctx) -> Result<u64, Error> {
///         let mut count = 0;
///         for n in 2..self.below {
///             cx.check()?;
///             count += u64::from((2..n).take_while(|d| d * d <= n).all(|d| n % d != 0));
///         }
///         Ok(count)
///     }
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + Sized + 'static {
    /// What the job makes.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The job's own error; it crosses the process border. [`Error`](crate::Error) serves where
    /// the caller only reports it.
    type Error: Serialize + DeserializeOwned + Send + 'static;

    /// The name in reports. Two jobs of an `App` must not share one.
    fn name() -> &'static str {
        std::any::type_name::<Self>()
    }

    /// What the job needs of the place it runs in.
    fn spec() -> Spec {
        Spec::new()
    }

    /// Does the work. Runs on a thread of the host, on the caller of `run` or `join` itself, or
    /// on the job thread of a worker. A panic is the outcome
    /// [`Panicked`](crate::TaskError::Panicked).
    ///
    /// # Errors
    /// The job's own; the caller sees them as [`TaskError::Failed`](crate::TaskError::Failed).
    fn run(self, cx: &Ctx) -> Result<Self::Output, Self::Error>;
}

/// What a job needs of its place. Needs are hard: an option of a task that contradicts them is
/// refused when the task is submitted, never weakened. Plain functions and closures have none.
///
/// ```
/// use amphi::{Ctx, Error, Job, Spec};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Decode(String);
/// impl Job for Decode {
///     type Output = usize;
///     type Error = Error;
///     fn spec() -> Spec {
///         Spec::new().isolated()
///     }
/// #   fn run(self, _: &Ctx) -> Result<usize, Error> { Ok(self.0.len()) }
///     // fn run(self, cx: &Ctx) …
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spec {
    pub(crate) isolated: bool,
    pub(crate) threads_only: bool,
    pub(crate) no_caller_run: bool,
    pub(crate) place: Option<Placement>,
    pub(crate) one_shot: bool,
    pub(crate) blocking: bool,
    pub(crate) key: Option<&'static str>,
    pub(crate) limits: Option<Limits>,
}

impl Spec {
    /// No needs: the engine chooses.
    pub const fn new() -> Self {
        Self {
            isolated: false,
            threads_only: false,
            no_caller_run: false,
            place: None,
            one_shot: false,
            blocking: false,
            key: None,
            limits: None,
        }
    }

    /// Never on a thread of the host: the job may crash, leak, or call code that is not
    /// thread-safe. This is isolation from crashes, not a security boundary: a worker runs with
    /// the host's rights.
    #[must_use]
    pub const fn isolated(mut self) -> Self {
        self.isolated = true;
        self
    }

    /// Never in a worker: the job needs the host's statics or connections.
    #[must_use]
    pub const fn threads_only(mut self) -> Self {
        self.threads_only = true;
        self
    }

    /// Never on the thread that waits for the task, for jobs that need a thread of their own
    /// (large stacks, thread-local state).
    #[must_use]
    pub const fn no_caller_run(mut self) -> Self {
        self.no_caller_run = true;
        self
    }

    /// The job calls code that must not run twice at a time in one process: a C library with
    /// globals, for which `key` stands. Of all tasks with this key at most one runs at a time in
    /// each process: one after another on the host's threads, side by side in workers. A task that
    /// waits for its key keeps no core busy. In [`Placement::Auto`] the engine finds out whether
    /// workers are worth it.
    ///
    /// The lock is the engine's own: it knows nothing of calls that a program makes beside it.
    #[must_use]
    pub const fn not_thread_safe(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    /// Each task gets a worker that has run nothing before, which is ended afterwards: for code
    /// that leaves traces (changed globals, leaks, a changed directory). Needs a process.
    #[must_use]
    pub const fn one_shot(mut self) -> Self {
        self.one_shot = true;
        self
    }

    /// The job mostly waits (for a disk, a network, a child program): it keeps no core busy, and
    /// runs beside those that do, on threads of their own, at most
    /// [`blocking_threads`](crate::EngineBuilder::blocking_threads) at a time. It never goes to a
    /// process unless a need or the task says so.
    #[must_use]
    pub const fn blocking(mut self) -> Self {
        self.blocking = true;
        self
    }

    /// Resource limits of the worker that runs the job; what they leave open is as the engine's say.
    /// Needs a process.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Where the job goes unless a task, `AMPHI_PLACE` or a need says otherwise; `Auto` says
    /// nothing. See [`Placement`].
    #[must_use]
    pub const fn place(mut self, placement: Placement) -> Self {
        self.place = Some(placement);
        self
    }
}

/// The typed content of one task, whichever way it was described: a [`Job`], a registered
/// function with its input, or a closure.
pub(crate) trait Work: Send + 'static {
    type Output: Send + 'static;
    type Error: Send + 'static;

    fn run(self, cx: &Ctx) -> Result<Self::Output, Self::Error>;
    /// About how many bytes the encoded input has.
    fn size(&self) -> u64;
    /// Puts the encoded input there. Closures never get here: no policy may send them.
    fn encode(&self, into: &mut Encoded) -> Result<(), postcard::Error>;
    fn decode_output(bytes: Encoded) -> Result<Self::Output, postcard::Error>;
    fn decode_error(bytes: &[u8]) -> Result<Self::Error, postcard::Error>;
}

/// A [`Job`] as [`Work`].
pub(crate) struct JobWork<J>(pub(crate) J);

impl<J: Job> Work for JobWork<J> {
    type Output = J::Output;
    type Error = J::Error;

    fn run(self, cx: &Ctx) -> Result<J::Output, J::Error> {
        self.0.run(cx)
    }

    fn size(&self) -> u64 {
        size::estimate(&self.0)
    }

    fn encode(&self, into: &mut Encoded) -> Result<(), postcard::Error> {
        encode_whole(&self.0, into)
    }

    fn decode_output(bytes: Encoded) -> Result<J::Output, postcard::Error> {
        decode_owned(bytes)
    }

    fn decode_error(bytes: &[u8]) -> Result<J::Error, postcard::Error> {
        decode(bytes)
    }
}

/// A registered function and its input as [`Work`].
pub(crate) struct CallWork<F, I> {
    pub(crate) function: F,
    pub(crate) input: I,
}

impl<F, I, O, E> Work for CallWork<F, I>
where
    F: Fn(I) -> Result<O, E> + Send + 'static,
    I: Serialize + Send + 'static,
    O: DeserializeOwned + Send + 'static,
    E: DeserializeOwned + Send + 'static,
{
    type Output = O;
    type Error = E;

    fn run(self, _cx: &Ctx) -> Result<O, E> {
        (self.function)(self.input)
    }

    fn size(&self) -> u64 {
        size::estimate(&self.input)
    }

    fn encode(&self, into: &mut Encoded) -> Result<(), postcard::Error> {
        encode_whole(&self.input, into)
    }

    fn decode_output(bytes: Encoded) -> Result<O, postcard::Error> {
        decode_owned(bytes)
    }

    fn decode_error(bytes: &[u8]) -> Result<E, postcard::Error> {
        decode(bytes)
    }
}
