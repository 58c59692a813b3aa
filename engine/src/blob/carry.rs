//! How blobs travel with a task: its bytes name regions, which are listed beside them.
//!
//! `Serialize` and `Deserialize` know nothing of tasks, so the list stands with the thread: whoever
//! encodes says that it collects, whoever decodes what is known.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};

use super::shared::Shared;

/// More regions than this in one input or output travel as bytes: each may need a descriptor.
const REGIONS_MAX: usize = 32;

thread_local! {
    /// What the encoding under way has met; `None`: nobody collects.
    static COLLECTED: RefCell<Option<Vec<Arc<Shared>>>> = const { RefCell::new(None) };
    static KNOWN: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
    /// What a job's output holds, until its runner takes it.
    static LEFT: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
    /// In a worker: what the input of the running task named.
    static NAMED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    /// It is that input that is decoded.
    static IS_INPUT: Cell<bool> = const { Cell::new(false) };
    /// The decoding under way named memory that is not to be had: a serialiser's error is without
    /// its text.
    static IS_MISSING: Cell<bool> = const { Cell::new(false) };
}

type Source = Box<dyn Fn(u64) -> Option<Arc<Shared>> + Send + Sync>;

/// A worker's: what its host sends. It may wait.
static SOURCE: OnceLock<Source> = OnceLock::new();

/// In a worker, once: where the regions of inputs come from.
pub(crate) fn serve_from(source: Source) {
    let _ = SOURCE.set(source);
}

/// Encodes a value whose regions travel beside it.
pub(crate) fn collecting<R>(encode: impl FnOnce() -> R) -> (R, Vec<Arc<Shared>>) {
    struct Collection(Option<Vec<Arc<Shared>>>);
    impl Drop for Collection {
        fn drop(&mut self) {
            COLLECTED.set(self.0.take());
        }
    }
    let _outer = Collection(COLLECTED.replace(Some(Vec::new())));
    let result = encode();
    (result, COLLECTED.take().unwrap_or_default())
}

/// The same for the input of a task: one that a worker submits travels as bytes.
pub(crate) fn collecting_input<R>(encode: impl FnOnce() -> R) -> (R, Vec<Arc<Shared>>) {
    if SOURCE.get().is_some() { (encode(), Vec::new()) } else { collecting(encode) }
}

/// Decodes a value whose regions are these.
pub(crate) fn knowing<R>(known: &[Arc<Shared>], decode: impl FnOnce() -> R) -> R {
    struct Known(Vec<Arc<Shared>>);
    impl Drop for Known {
        fn drop(&mut self) {
            KNOWN.set(std::mem::take(&mut self.0));
        }
    }
    if known.is_empty() {
        return decode();
    }
    let _outer = Known(KNOWN.replace(known.to_vec()));
    decode()
}

/// What the output that was just encoded holds.
pub(crate) fn leave(regions: Vec<Arc<Shared>>) {
    if !regions.is_empty() {
        LEFT.set(regions);
    }
}

/// Takes it, after a job has run.
pub(crate) fn take_left() -> Vec<Arc<Shared>> {
    LEFT.take()
}

/// Decodes the input of the task that this thread is about to run.
#[inline]
pub(crate) fn decoding_input<R>(decode: impl FnOnce() -> R) -> R {
    NAMED.with_borrow_mut(Vec::clear);
    // Where user code panics the task does not run, and nothing else is decoded before the next one.
    IS_INPUT.set(true);
    let input = decode();
    IS_INPUT.set(false);
    input
}

/// In a worker: the input of the running task named it, so that the host has it as long as the task.
pub(crate) fn was_named(id: u64) -> bool {
    NAMED.with_borrow(|named| named.contains(&id))
}

/// The encoding under way names the region. False: it has to hold the bytes.
pub(super) fn attach(shared: &Arc<Shared>) -> bool {
    COLLECTED.with_borrow_mut(|collected| {
        let Some(collected) = collected else { return false };
        if collected.iter().any(|other| Arc::ptr_eq(other, shared)) {
            return true;
        }
        let can = shared.is_of_host() || shared.parts().is_some();
        let can = can && collected.len() < REGIONS_MAX;
        if can {
            collected.push(Arc::clone(shared));
        }
        can
    })
}

/// The region that the encoding names.
pub(super) fn resolve(id: u64) -> Option<Arc<Shared>> {
    let known =
        KNOWN.with_borrow(|known| known.iter().find(|shared| shared.id() == id).map(Arc::clone));
    let found = known.or_else(|| {
        let found = SOURCE.get()?(id);
        if IS_INPUT.get() && found.is_some() {
            NAMED.with_borrow_mut(|named| named.push(id));
        }
        found
    });
    if found.is_none() {
        IS_MISSING.set(true);
    }
    found
}

/// What to add to an error of decoding: empty, or that memory was missing and what to do.
pub(crate) fn take_missing() -> &'static str {
    if IS_MISSING.replace(false) {
        "; the memory of a blob in it could not be had or mapped: see to more descriptors or memory \
         for the workers, then submit it again"
    } else {
        ""
    }
}
