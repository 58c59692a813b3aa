//! The table of all jobs that every process of a program agrees on, and how a worker runs one.
//!
//! Tasks cross to a worker as *index in the table + bytes*, never as code pointers; host and
//! forkserver compare [`Table::hash`] before the first task.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use amphi_protocol::ReplyKind;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{decode_input, encode_whole};
use super::{Encoded, Job, Spec};
use crate::beside;
use crate::ctx::Ctx;
use crate::keys::Gate;

/// What an encoded task came to: the reply's kind, its bytes in `out`, and what they name left for
/// [`beside::take_left`].
type RunEncoded = dyn Fn(Cow<'_, [u8]>, &Ctx, &mut Encoded) -> ReplyKind + Send + Sync;

/// One registered job.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) spec: Spec,
    /// The gate of its key, if it is not thread-safe.
    pub(crate) key: Option<Arc<Gate>>,
    run_encoded: Box<RunEncoded>,
    /// Smoothed service time in a worker, in ns; 0: not known yet.
    service_ns: AtomicU64,
    /// The largest recent output in bytes, for the block granted with a request.
    output_bytes: AtomicU64,
    /// Some output had open files.
    returns_files: AtomicBool,
}

impl Entry {
    fn new(name: &'static str, spec: Spec, run_encoded: Box<RunEncoded>) -> Self {
        Self {
            name,
            spec,
            key: spec.key.map(Gate::of),
            run_encoded,
            service_ns: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            returns_files: AtomicBool::new(false),
        }
    }

    /// Decodes, runs and encodes: what a worker does, and a thread does with a task that was
    /// taken back. Panics become replies.
    pub(crate) fn run_encoded(
        &self,
        input: Cow<'_, [u8]>,
        cx: &Ctx,
        out: &mut Encoded,
    ) -> ReplyKind {
        match catch_unwind(AssertUnwindSafe(|| (self.run_encoded)(input, cx, out))) {
            Ok(kind) => kind,
            Err(panic) => {
                out.clear();
                out.own().extend_from_slice(panic_message(panic).as_bytes());
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

    /// An output had open files.
    pub(crate) fn note_files(&self) {
        self.returns_files.store(true, Ordering::Relaxed);
    }

    /// Its tasks have a slot each: their descriptors are bounded by slots.
    pub(crate) fn returns_files(&self) -> bool {
        self.returns_files.load(Ordering::Relaxed)
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
    by_type: HashMap<TypeId, u32, BuildHasherDefault<AsItIs>>,
}

/// A [`TypeId`] is a hash already; it is not hashed once more on the way of every task.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(32) ^ u64::from_ne_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.rotate_left(32) ^ word;
    }
}

impl Table {
    /// Registers a job type; false where its name is taken.
    pub(crate) fn add_job<J: Job>(&mut self) -> bool {
        let run =
            |input: Cow<'_, [u8]>, cx: &Ctx, out: &mut Encoded| match beside::decoding_input(|| {
                decode_input::<J>(input)
            }) {
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
        let run =
            move |input: Cow<'_, [u8]>, cx: &Ctx, out: &mut Encoded| match beside::decoding_input(
                || decode_input::<I>(input),
            ) {
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

    /// The gates of all keys, each at least once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<Gate>> {
        self.entries.iter().filter_map(|entry| entry.key.as_ref())
    }

    /// What all jobs need, in order.
    pub(crate) fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.entries.iter().map(|entry| &entry.spec)
    }

    /// The names of all jobs, in order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.entries.iter().map(|entry| entry.name).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
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
    out: &mut Encoded,
) -> ReplyKind {
    let (kind, encoded) = match &result {
        Ok(output) => {
            let (encoded, left) = beside::collecting(|| encode_whole(output, out));
            beside::leave(left);
            (ReplyKind::Ok, encoded)
        }
        Err(_) if cx.saw_cancel() => return ReplyKind::CancelledSeen,
        Err(error) => (ReplyKind::Failed, beside::alone(|| encode_whole(error, out))),
    };
    match encoded {
        Ok(()) => kind,
        Err(error) => codec_reply("what the job returned", "", error, out),
    }
}

fn codec_reply(what: &str, name: &str, error: postcard::Error, out: &mut Encoded) -> ReplyKind {
    out.clear();
    let space = if name.is_empty() { "" } else { " of " };
    let why = beside::take_why();
    let text = format!("{what}{space}{name} could not be coded: {error}{why}");
    out.own().extend_from_slice(text.as_bytes());
    ReplyKind::Codec
}
