//! The typed part of a task: its input until it runs, its outcome until it is taken.

use std::panic::{AssertUnwindSafe, catch_unwind};

use amphi_protocol::ReplyKind;
use parking_lot::Mutex;

use super::{AnyTask, Core, TypedTask, Waiter};
use crate::ctx::{Ctx, Signals};
use crate::error::TaskError;
use crate::job::{Work, panic_message};
use crate::outcome::{self, Failure};

/// Room for most inputs without growing.
const INPUT_BYTES_USUAL: usize = 64;

/// One task, shared by its handle, the queue and whoever runs it.
pub(crate) struct Cell<W: Work> {
    core: Core,
    inner: Mutex<Inner<W>>,
}

struct Inner<W: Work> {
    body: Body<W>,
    waiter: Option<Waiter>,
}

enum Body<W: Work> {
    /// The input as it was given.
    Ready(W),
    /// The input as bytes: the task is bound for a process.
    Encoded(Vec<u8>),
    /// A thread is running it, or whoever dispatches it copies its input.
    Away,
    /// A worker's reply, not decoded yet: that happens on the caller's thread.
    Replied(ReplyKind, Vec<u8>),
    Settled(Result<W::Output, TaskError<W::Error>>),
    Taken,
}

impl<W: Work> Cell<W> {
    pub(crate) fn new(core: Core, work: W) -> Self {
        Self { core, inner: Mutex::new(Inner { body: Body::Ready(work), waiter: None }) }
    }

    fn settle(&self, body: Body<W>) {
        let mut inner = self.inner.lock();
        if matches!(inner.body, Body::Replied(..) | Body::Settled(_) | Body::Taken) {
            return;
        }
        let input = std::mem::replace(&mut inner.body, body);
        self.core.set_settled();
        let waiter = inner.waiter.take();
        drop(inner);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        // After the wake: an input's Drop is user code and may take its time, or panic.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(input)));
    }
}

impl<W: Work> Signals for Cell<W> {
    fn is_cancelled(&self) -> bool {
        self.core.is_asked_to_stop()
    }

    fn progress(&self, done: u64, total: u64) {
        self.core.set_progress(done, total);
    }
}

impl<W: Work> AnyTask for Cell<W> {
    fn core(&self) -> &Core {
        &self.core
    }

    fn run_here(&self, cx: &Ctx) {
        let body = {
            let mut inner = self.inner.lock();
            if !matches!(inner.body, Body::Ready(_) | Body::Encoded(_)) {
                return; // the engine gave up on the task (shutdown) before this thread got to it
            }
            std::mem::replace(&mut inner.body, Body::Away)
        };
        let settled = match body {
            Body::Ready(work) => match catch_unwind(AssertUnwindSafe(|| work.run(cx))) {
                Ok(Err(_)) if cx.saw_cancel() => Body::Settled(Err(TaskError::Cancelled)),
                Ok(result) => Body::Settled(result.map_err(TaskError::Failed)),
                Err(panic) => {
                    Body::Settled(Err(TaskError::Panicked { message: panic_message(panic) }))
                }
            },
            Body::Encoded(bytes) => {
                let entry = cx.home().table.entry(self.core.job).expect("encoded, so registered");
                let mut out = Vec::new();
                let kind = entry.run_encoded(&bytes, cx, &mut out);
                Body::Replied(kind, out)
            }
            _ => unreachable!("it was looked at above"),
        };
        self.settle(settled);
    }

    fn encode(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        let work = match &inner.body {
            Body::Ready(work) => work,
            Body::Encoded(bytes) => return Some(bytes.len() as u64),
            _ => return None,
        };
        let mut bytes = Vec::with_capacity(INPUT_BYTES_USUAL);
        // Serialize is user code: a panic there is an outcome, too.
        let failure = match catch_unwind(AssertUnwindSafe(|| work.encode(&mut bytes))) {
            Ok(Ok(())) => {
                let len = bytes.len() as u64;
                self.core.set_input_bytes(len);
                let input = std::mem::replace(&mut inner.body, Body::Encoded(bytes));
                drop(inner);
                let _ = catch_unwind(AssertUnwindSafe(|| drop(input)));
                return Some(len);
            }
            Ok(Err(error)) => Failure::Codec {
                message: format!("the input of {} could not be encoded: {error}", self.core.name),
            },
            Err(panic) => Failure::Panicked { message: panic_message(panic) },
        };
        drop(inner);
        self.settle_failure(failure);
        None
    }

    fn with_encoded(&self, show: &mut dyn FnMut(&[u8])) {
        match &self.inner.lock().body {
            Body::Encoded(bytes) => show(bytes),
            _ => show(&[]),
        }
    }

    fn take_encoded(&self) -> Vec<u8> {
        let mut inner = self.inner.lock();
        match std::mem::replace(&mut inner.body, Body::Away) {
            Body::Encoded(bytes) => bytes,
            other => {
                inner.body = other;
                Vec::new()
            }
        }
    }

    fn put_encoded(&self, bytes: Vec<u8>) {
        let mut inner = self.inner.lock();
        if matches!(inner.body, Body::Away) {
            inner.body = Body::Encoded(bytes);
        }
    }

    fn settle_reply(&self, kind: ReplyKind, bytes: Vec<u8>) {
        self.settle(Body::Replied(kind, bytes));
    }

    fn settle_failure(&self, failure: Failure) {
        self.settle(Body::Settled(Err(outcome::widen(failure))));
    }
}

impl<W: Work> TypedTask<W::Output, W::Error> for Cell<W> {
    fn take(&self) -> Option<Result<W::Output, TaskError<W::Error>>> {
        if !self.core.is_settled() {
            return None;
        }
        let body = std::mem::replace(&mut self.inner.lock().body, Body::Taken);
        match body {
            Body::Settled(result) => Some(result),
            Body::Replied(kind, bytes) => Some(outcome::decode::<W>(kind, bytes, self.core.name)),
            _ => None,
        }
    }

    fn wake_by(&self, waiter: Waiter) -> bool {
        let mut inner = self.inner.lock();
        if matches!(inner.body, Body::Replied(..) | Body::Settled(_) | Body::Taken) {
            return false;
        }
        let old = inner.waiter.replace(waiter);
        drop(inner);
        drop(old); // a waker's Drop is user code
        true
    }
}
