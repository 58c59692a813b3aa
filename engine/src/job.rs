//! What a job is: a type ([`Job`]) or a plain function, its needs ([`Spec`]), and the table of all
//! jobs that every process of a program agrees on.
//!
//! Tasks cross to a worker as *index in the table + bytes*, never as code pointers; host and
//! forkserver compare [`Table::hash`] before the first task.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use amphi_protocol::ReplyKind;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ctx::Ctx;
use crate::policy::Placement;

/// A kind of work: serialisable data and a function over it.
///
/// **Contract.** A job may run in the host or in a worker, and must not depend on what these do
/// not share: statics, the current directory, the environment and umask (a worker has them as they
/// were when the engine started), open connections, standard input. What a process should build
/// once goes to [`App::worker_state`](crate::App::worker_state). A job that must not run twice at
/// the same time in one process, or may crash, says so in [`Job::spec`].
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
    /// on the job thread of a worker.
    ///
    /// # Errors
    /// The job's own; the caller sees them as [`TaskError::Failed`](crate::TaskError::Failed).
    fn run(self, cx: &Ctx) -> Result<Self::Output, Self::Error>;
}

/// What a job needs of its place. Needs are hard: an option of a task that contradicts them is
/// refused when the task is submitted, never weakened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spec {
    pub(crate) isolated: bool,
    pub(crate) threads_only: bool,
    pub(crate) no_caller_run: bool,
    pub(crate) place: Option<Placement>,
}

impl Spec {
    /// No needs: the engine chooses.
    pub const fn new() -> Self {
        Self { isolated: false, threads_only: false, no_caller_run: false, place: None }
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

    /// Where the job goes unless a task, `AMPHI_PLACE` or a need says otherwise.
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
    /// Appends the encoded input. Closures never get here: no policy may send them.
    fn encode(&self, into: &mut Vec<u8>) -> Result<(), postcard::Error>;
    fn decode_output(bytes: Vec<u8>) -> Result<Self::Output, postcard::Error>;
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

    fn encode(&self, into: &mut Vec<u8>) -> Result<(), postcard::Error> {
        encode(&self.0, into)
    }

    fn decode_output(bytes: Vec<u8>) -> Result<J::Output, postcard::Error> {
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

    fn encode(&self, into: &mut Vec<u8>) -> Result<(), postcard::Error> {
        encode(&self.input, into)
    }

    fn decode_output(bytes: Vec<u8>) -> Result<O, postcard::Error> {
        decode_owned(bytes)
    }

    fn decode_error(bytes: &[u8]) -> Result<E, postcard::Error> {
        decode(bytes)
    }
}

/// What an encoded task came to: the reply's kind, its bytes in `out`.
type RunEncoded = dyn Fn(&[u8], &Ctx, &mut Vec<u8>) -> ReplyKind + Send + Sync;

/// One registered job.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) spec: Spec,
    run_encoded: Box<RunEncoded>,
    /// Smoothed service time in a worker, in ns; 0: not known yet.
    service_ns: AtomicU64,
    /// The largest recent output in bytes, for the block granted with a request.
    output_bytes: AtomicU64,
}

impl Entry {
    fn new(name: &'static str, spec: Spec, run_encoded: Box<RunEncoded>) -> Self {
        Self {
            name,
            spec,
            run_encoded,
            service_ns: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
        }
    }

    /// Decodes, runs and encodes: what a worker does, and a thread does with a task that was
    /// taken back. Panics become replies.
    pub(crate) fn run_encoded(&self, input: &[u8], cx: &Ctx, out: &mut Vec<u8>) -> ReplyKind {
        match catch_unwind(AssertUnwindSafe(|| (self.run_encoded)(input, cx, out))) {
            Ok(kind) => kind,
            Err(panic) => {
                out.clear();
                out.extend_from_slice(panic_message(panic).as_bytes());
                ReplyKind::Panicked
            }
        }
    }

    /// The predicted service time in a worker, or `None` before the first sample.
    pub(crate) fn service_ns(&self) -> Option<u64> {
        match self.service_ns.load(Ordering::Relaxed) {
            0 => None,
            ns => Some(ns),
        }
    }

    /// Notes one finished task. Racing updates may lose a sample; the estimate survives it.
    pub(crate) fn observe(&self, run_ns: u64, output_bytes: u64) {
        let run_ns = run_ns.max(1);
        let old = self.service_ns.load(Ordering::Relaxed);
        // Rises at once, falls slowly: a prediction that is too short makes others wait.
        let new = if run_ns > old { run_ns } else { old - (old - run_ns) / 8 };
        if new != old {
            self.service_ns.store(new, Ordering::Relaxed);
        }
        let old = self.output_bytes.load(Ordering::Relaxed);
        let new = if output_bytes > old { output_bytes } else { old - (old - output_bytes) / 8 };
        if new != old {
            self.output_bytes.store(new, Ordering::Relaxed);
        }
    }

    /// Bytes to grant for the next output.
    pub(crate) fn output_bytes(&self) -> u64 {
        self.output_bytes.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// All jobs of a program, in the order of registration.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    by_type: HashMap<TypeId, u32>,
}

impl Table {
    /// Registers a job type; false where its name is taken.
    pub(crate) fn add_job<J: Job>(&mut self) -> bool {
        let run = |input: &[u8], cx: &Ctx, out: &mut Vec<u8>| match decode::<J>(input) {
            Ok(job) => reply(job.run(cx), cx, out),
            Err(error) => codec_reply("the job's input", J::name(), error, out),
        };
        self.add(TypeId::of::<J>(), J::name(), J::spec(), Box::new(run))
    }

    /// Registers a plain function; false where its name is taken.
    pub(crate) fn add_function<F, I, O, E>(&mut self, name: &'static str, function: F) -> bool
    where
        F: Fn(I) -> Result<O, E> + Copy + Send + Sync + 'static,
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        E: Serialize + 'static,
    {
        const { assert!(size_of::<F>() == 0, "register the function itself, not a pointer to it") };
        let run = move |input: &[u8], cx: &Ctx, out: &mut Vec<u8>| match decode::<I>(input) {
            Ok(input) => reply(function(input), cx, out),
            Err(error) => codec_reply("the function's input", name, error, out),
        };
        self.add(TypeId::of::<F>(), name, Spec::new(), Box::new(run))
    }

    fn add(&mut self, key: TypeId, name: &'static str, spec: Spec, run: Box<RunEncoded>) -> bool {
        if self.by_type.contains_key(&key) || self.entries.iter().any(|entry| entry.name == name) {
            return false;
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 jobs");
        self.by_type.insert(key, index);
        self.entries.push(Entry::new(name, spec, run));
        true
    }

    /// The index of a job type or function type.
    pub(crate) fn index_of<K: 'static>(&self) -> Option<u32> {
        self.by_type.get(&TypeId::of::<K>()).copied()
    }

    pub(crate) fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    /// What host and forkserver compare: the names in order (FNV-1a).
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for entry in &self.entries {
            for byte in entry.name.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }
}

/// The text of a panic's payload. The payload is dropped here, and may panic in turn.
pub(crate) fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let text = if let Some(text) = panic.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    };
    // A payload whose Drop panics must not take the thread with it.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    text
}

/// Encodes what a job returned.
fn reply<O: Serialize + 'static, E: Serialize + 'static>(
    result: Result<O, E>,
    cx: &Ctx,
    out: &mut Vec<u8>,
) -> ReplyKind {
    let (kind, encoded) = match &result {
        Ok(output) => (ReplyKind::Ok, encode(output, out)),
        Err(_) if cx.saw_cancel() => return ReplyKind::CancelledSeen,
        Err(error) => (ReplyKind::Failed, encode(error, out)),
    };
    match encoded {
        Ok(()) => kind,
        Err(error) => codec_reply("what the job returned", "", error, out),
    }
}

fn codec_reply(what: &str, name: &str, error: postcard::Error, out: &mut Vec<u8>) -> ReplyKind {
    out.clear();
    let space = if name.is_empty() { "" } else { " of " };
    out.extend_from_slice(format!("{what}{space}{name} could not be coded: {error}").as_bytes());
    ReplyKind::Codec
}

/// Appends a value's encoding. A top-level [`Bytes`] is its own encoding.
pub(crate) fn encode<T: Serialize + 'static>(
    value: &T,
    into: &mut Vec<u8>,
) -> Result<(), postcard::Error> {
    if let Some(bytes) = (value as &dyn Any).downcast_ref::<Bytes>() {
        into.extend_from_slice(bytes);
        return Ok(());
    }
    postcard::serialize_with_flavor(value, Appending(into))
}

/// The value that `bytes` encode, all of them.
pub(crate) fn decode<T: DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, postcard::Error> {
    let mut value = None::<T>;
    if let Some(slot) = (&mut value as &mut dyn Any).downcast_mut::<Option<Bytes>>() {
        *slot = Some(Bytes::copy_from_slice(bytes));
    } else {
        value = Some(decode_postcard(bytes)?);
    }
    Ok(value.expect("both arms fill it"))
}

/// The same from bytes of one's own: a top-level [`Bytes`] takes the buffer over.
pub(crate) fn decode_owned<T: DeserializeOwned + 'static>(
    bytes: Vec<u8>,
) -> Result<T, postcard::Error> {
    let mut value = None::<T>;
    if let Some(slot) = (&mut value as &mut dyn Any).downcast_mut::<Option<Bytes>>() {
        *slot = Some(Bytes::from(bytes));
    } else {
        value = Some(decode_postcard(&bytes)?);
    }
    Ok(value.expect("both arms fill it"))
}

fn decode_postcard<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// postcard's output into a buffer that is reused.
struct Appending<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
