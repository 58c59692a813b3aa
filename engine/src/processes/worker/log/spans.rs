//! The spans of this process: a slab behind one lock, and which of them each thread has entered.
//!
//! # Invariants
//! 1. A span is kept while a handle of it or a child lives. Its number is never used again, so
//!    that a stale one finds nothing.
//! 2. User code (a field's `Debug`) never runs under the lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::Metadata;

/// A longer text of one span's fields is cut.
pub(super) const FIELDS_BYTES_MAX: usize = 256;

/// Deeper chains of spans are told without their outer ones.
const DEPTH_MAX: usize = 32;

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
#[derive(Default)]
pub(super) struct Spans {
    slab: Mutex<Slab>,
}

#[derive(Default)]
struct Slab {
    last: u64,
    spans: HashMap<u64, Span>,
}

struct Span {
    metadata: &'static Metadata<'static>,
    fields: String,
    parent: Option<u64>,
    handles: usize,
}

/// The innermost span that this thread is in.
pub(super) fn current() -> Option<u64> {
    ENTERED.try_with(|entered| entered.borrow().last().copied()).ok().flatten()
}

pub(super) fn enter(span: u64) {
    let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(span));
}

pub(super) fn exit(span: u64) {
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        if let Some(index) = entered.iter().rposition(|other| *other == span) {
            entered.remove(index);
        }
    });
}

impl Spans {
    fn lock(&self) -> MutexGuard<'_, Slab> {
        self.slab.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new span's number.
    pub(super) fn add(
        &self,
        metadata: &'static Metadata<'static>,
        fields: String,
        parent: Option<u64>,
    ) -> u64 {
        let mut slab = self.lock();
        slab.last += 1;
        let number = slab.last;
        let parent = parent.filter(|parent| slab.hold(*parent));
        slab.spans.insert(number, Span { metadata, fields, parent, handles: 1 });
        number
    }

    /// Further fields of a span.
    pub(super) fn record(&self, span: u64, fields: &str) {
        if let Some(span) = self.lock().spans.get_mut(&span)
            && span.fields.len() + fields.len() < FIELDS_BYTES_MAX
        {
            if !span.fields.is_empty() {
                span.fields.push(' ');
            }
            span.fields.push_str(fields);
        }
    }

    /// One more handle of a span.
    pub(super) fn hold(&self, span: u64) {
        self.lock().hold(span);
    }

    /// One less; true: it was the last.
    pub(super) fn release(&self, span: u64) -> bool {
        let mut slab = self.lock();
        let closed = slab.release(span);
        let mut parent = closed.as_ref().and_then(|span| span.parent);
        while let Some(span) = parent.and_then(|parent| slab.release(parent)) {
            parent = span.parent;
        }
        closed.is_some()
    }

    pub(super) fn metadata(&self, span: u64) -> Option<&'static Metadata<'static>> {
        self.lock().spans.get(&span).map(|span| span.metadata)
    }

    /// A span and those around it, outermost first: `outer{id=7}:inner`.
    pub(super) fn text(&self, innermost: Option<u64>) -> String {
        let slab = self.lock();
        let get = |number: Option<u64>| number.and_then(|number| slab.spans.get(&number));
        let mut chain = Vec::new();
        let mut next = get(innermost);
        while let Some(span) = next.filter(|_| chain.len() < DEPTH_MAX) {
            chain.push(span);
            next = get(span.parent);
        }
        let mut text = String::new();
        for span in chain.into_iter().rev() {
            if !text.is_empty() {
                text.push(':');
            }
            text.push_str(span.metadata.name());
            if !span.fields.is_empty() {
                text.extend(["{", &span.fields, "}"]);
            }
        }
        text
    }
}

impl Slab {
    fn hold(&mut self, span: u64) -> bool {
        let span = self.spans.get_mut(&span);
        span.map(|span| span.handles += 1).is_some()
    }

    /// The span itself, if it was the last handle.
    fn release(&mut self, number: u64) -> Option<Span> {
        let span = self.spans.get_mut(&number)?;
        span.handles -= 1;
        if span.handles == 0 { self.spans.remove(&number) } else { None }
    }
}
