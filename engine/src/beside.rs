//! What travels beside the bytes of a task: memory that they name by its number, and open files
//! that they name by their place in a list.
//!
//! `Serialize` and `Deserialize` know nothing of tasks, so the lists stand with the thread: whoever
//! encodes says that it collects, whoever decodes what is known.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};

use amphi_protocol::FILES_MAX;

use crate::blob::Shared;
use crate::fd::Fd;

/// More regions than this in one input or output travel as bytes: each may need a descriptor.
const REGIONS_MAX: usize = 32;

/// What one input or output names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beside {
    pub(crate) regions: Vec<Arc<Shared>>,
    pub(crate) files: Vec<Fd>,
}

impl Beside {
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.is_empty() && self.files.is_empty()
    }
}

/// An encoding under way.
struct Collection {
    /// Regions are named; else they are bytes.
    names_regions: bool,
    found: Beside,
}

/// In a worker, what the input of the task that it runs may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// It is not decoded now.
    No,
    Decoding,
    /// The same, and it has named a file.
    HasFiles,
}

thread_local! {
    /// What the encoding under way has met; `None`: nobody collects.
    static COLLECTED: RefCell<Option<Collection>> = const { RefCell::new(None) };
    static KNOWN: RefCell<Option<Beside>> = const { RefCell::new(None) };
    /// What a job's output holds, until its runner takes it.
    static LEFT: RefCell<Beside> = const { RefCell::new(NOTHING) };
    /// In a worker: what the input of the running task named.
    static NAMED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static INPUT: Cell<Input> = const { Cell::new(Input::No) };
    /// In a worker: the files of the input that is decoded, once it has named one; `None` within:
    /// they are not to be had.
    static TAKEN: RefCell<Option<Vec<Fd>>> = const { RefCell::new(None) };
    /// Why the coding under way failed: a serialiser's error is without its text.
    static WHY: Cell<&'static str> = const { Cell::new("") };
}

const NOTHING: Beside = Beside { regions: Vec::new(), files: Vec::new() };

const MEMORY_MISSING: &str = "the memory of a blob in it could not be had or mapped: see to more \
                              descriptors or memory for the workers, then submit it again";
const FILE_MISSING: &str = "an open file in it did not come: see to more descriptors for the host \
                            and its workers, then submit it again";
const OUTSIDE: &str =
    "an open file travels only in the input and the output of a job: put it there";
const TOO_MANY: &str = "it has more open files than the 32 that one input or output can hold: split \
                        it into several tasks";
const OF_FORKSERVER: &str = "a file in it was opened by preload, and workers do not have that one: \
                             open it in the host or in the job";

/// Where a worker finds what its host sent ahead of the input that it decodes.
pub(crate) trait Source: Send + Sync {
    /// The region of this number. May wait.
    fn region(&self, id: u64) -> Option<Arc<Shared>>;
    /// All files of the running task, once. May wait.
    fn files(&self) -> Option<Vec<Fd>>;
}

static SOURCE: OnceLock<Box<dyn Source>> = OnceLock::new();

/// In a worker, once: where inputs find what they name.
pub(crate) fn serve_from(source: Box<dyn Source>) {
    let _ = SOURCE.set(source);
}

/// Encodes a value whose regions and files travel beside it.
pub(crate) fn collecting<R>(encode: impl FnOnce() -> R) -> (R, Beside) {
    collecting_with(true, encode)
}

/// The same for the input of a task: where a worker submits it, its memory travels as bytes.
pub(crate) fn collecting_input<R>(encode: impl FnOnce() -> R) -> (R, Beside) {
    collecting_with(SOURCE.get().is_none(), encode)
}

fn collecting_with<R>(names_regions: bool, encode: impl FnOnce() -> R) -> (R, Beside) {
    struct Outer(Option<Collection>);
    impl Drop for Outer {
        fn drop(&mut self) {
            COLLECTED.set(self.0.take());
        }
    }
    WHY.set("");
    let own = Collection { names_regions, found: NOTHING };
    let _outer = Outer(COLLECTED.replace(Some(own)));
    let result = encode();
    let found = COLLECTED.take().map(|collection| collection.found);
    (result, found.unwrap_or_default())
}

/// Encodes a value that may name nothing.
pub(crate) fn alone<R>(encode: impl FnOnce() -> R) -> R {
    WHY.set("");
    encode()
}

/// Decodes a value that names these.
pub(crate) fn knowing<R>(known: Beside, decode: impl FnOnce() -> R) -> R {
    struct Outer(Option<Beside>);
    impl Drop for Outer {
        fn drop(&mut self) {
            drop(KNOWN.replace(self.0.take()));
        }
    }
    WHY.set("");
    if known.is_empty() {
        return decode();
    }
    let _outer = Outer(KNOWN.replace(Some(known)));
    decode()
}

/// What the output that was just encoded holds.
pub(crate) fn leave(left: Beside) {
    if !left.is_empty() {
        LEFT.set(left);
    }
}

/// Takes it, after a job has run.
pub(crate) fn take_left() -> Beside {
    LEFT.take()
}

/// Decodes the input of the task that this thread is about to run. Files that it did not name are
/// closed at the end, and the others are the input's alone.
#[inline]
pub(crate) fn decoding_input<R>(decode: impl FnOnce() -> R) -> R {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            if INPUT.replace(Input::No) == Input::HasFiles {
                drop(TAKEN.take());
            }
        }
    }
    NAMED.with_borrow_mut(Vec::clear);
    WHY.set("");
    INPUT.set(Input::Decoding);
    let _end = End;
    decode()
}

/// In a worker: the input of the running task named it, so that the host has it as long as the task.
pub(crate) fn was_named(id: u64) -> bool {
    NAMED.with_borrow(|named| named.contains(&id))
}

/// The encoding under way names the region. False: it has to hold the bytes.
pub(crate) fn attach(shared: &Arc<Shared>) -> bool {
    COLLECTED.with_borrow_mut(|collected| {
        let Some(Collection { names_regions: true, found }) = collected else { return false };
        let regions = &mut found.regions;
        if regions.iter().any(|other| Arc::ptr_eq(other, shared)) {
            return true;
        }
        let can = shared.is_of_host() || shared.parts().is_some();
        let can = can && regions.len() < REGIONS_MAX;
        if can {
            regions.push(Arc::clone(shared));
        }
        can
    })
}

/// The region that the encoding names.
pub(crate) fn resolve(id: u64) -> Option<Arc<Shared>> {
    let known = KNOWN.with_borrow(|known| {
        let mut regions = known.iter().flat_map(|known| &known.regions);
        regions.find(|shared| shared.id() == id).map(Arc::clone)
    });
    let found = known.or_else(|| {
        let found = SOURCE.get()?.region(id);
        if INPUT.get() != Input::No && found.is_some() {
            NAMED.with_borrow_mut(|named| named.push(id));
        }
        found
    });
    if found.is_none() {
        WHY.set(MEMORY_MISSING);
    }
    found
}

/// The place of a file in the list of the encoding under way.
///
/// # Errors
/// It cannot travel; the text says why.
pub(crate) fn attach_file(file: &Fd) -> Result<u32, &'static str> {
    let attached = COLLECTED.with_borrow_mut(|collected| {
        let Some(Collection { found: Beside { files, .. }, .. }) = collected else {
            return Err(OUTSIDE);
        };
        if !file.is_of_this_process() {
            return Err(OF_FORKSERVER);
        }
        let place = files.iter().position(|other| other.is_same(file)).unwrap_or(files.len());
        if place == files.len() {
            if place == FILES_MAX {
                return Err(TOO_MANY);
            }
            files.push(file.clone());
        }
        Ok(u32::try_from(place).expect("few files"))
    });
    attached.inspect_err(|why| WHY.set(why))
}

/// The file at this place of what the decoding under way knows.
///
/// # Errors
/// It is not to be had; the text says why.
pub(crate) fn resolve_file(place: u32) -> Result<Fd, &'static str> {
    let of = |files: &Vec<Fd>| files.get(place as usize).cloned();
    let found = match KNOWN.with_borrow(|known| known.as_ref().map(|known| of(&known.files))) {
        Some(known) => known,
        None if INPUT.get() == Input::No => None,
        None => {
            if INPUT.replace(Input::HasFiles) == Input::Decoding {
                let taken = SOURCE.get().and_then(|source| source.files());
                TAKEN.set(taken);
            }
            TAKEN.with_borrow(|taken| taken.as_ref().and_then(of))
        }
    };
    found.ok_or_else(|| {
        WHY.set(FILE_MISSING);
        FILE_MISSING
    })
}

/// A value that holds an open file is coded by another serialiser than the engine's.
pub(crate) fn outside() -> &'static str {
    WHY.set(OUTSIDE);
    OUTSIDE
}

/// What to add to an error of coding: empty, or why it was and what to do.
pub(crate) fn take_why() -> String {
    match WHY.replace("") {
        "" => String::new(),
        why => format!("; {why}"),
    }
}
