//! The typed part of a task: its input until it runs, its outcome until it is taken.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use amphi_protocol::ReplyKind;
use parking_lot::Mutex;

use self::body::Body;
use super::mail::Mailbox;
use super::retry::DEATHS_MAX;
use super::{AnyTask, Core, Inherited, Settled, TypedTask, Waiter};
use crate::beside::{Beside, collecting_input, knowing, take_left, take_why};
use crate::blob;
use crate::ctx::{Ctx, Signals};
use crate::error::TaskError;
use crate::fd::Fd;
use crate::job::{Encoded, Work, panic_message};
use crate::keys::Held;
use crate::outcome::{self, Failure};
use crate::sys::clock;

mod body;

/// Room for most inputs without growing.
const INPUT_BYTES_USUAL: usize = 64;

/// The encoding of inputs from this length on is measured.
const TIMED_BYTES: u64 = 1 << 10;

/// Which of a job's own errors are worth another try.
pub(crate) type RetryIf<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

/// One task, shared by its handle, the queue and whoever runs it.
pub(crate) struct Cell<W: Work> {
    core: Core,
    retry_if: Option<RetryIf<W::Error>>,
    inner: Mutex<Inner<W>>,
}

struct Inner<W: Work> {
    body: Body<W>,
    waiter: Option<Waiter>,
    /// What the bytes of `body` name.
    regions: Vec<Arc<blob::Shared>>,
    /// Few tasks have any.
    files: Option<Box<Files>>,
}

/// The open files that the encoded input names, kept for one more try; and the output's.
#[derive(Default)]
struct Files {
    input: Vec<Fd>,
    output: Vec<Fd>,
}

impl<W: Work> Inner<W> {
    const fn new(body: Body<W>) -> Self {
        Self { body, waiter: None, regions: Vec::new(), files: None }
    }

    /// What the task needs no more, now that it has ended: the bytes of a reply may name its memory
    /// and the output's files.
    fn let_go(&mut self, is_reply: bool) -> (Vec<Arc<blob::Shared>>, Option<Box<Files>>) {
        if !is_reply {
            return (std::mem::take(&mut self.regions), self.files.take());
        }
        let output = self.files.as_mut().map(|files| std::mem::take(&mut files.output));
        let output = output.filter(|output| !output.is_empty());
        let kept = output.map(|output| Box::new(Files { input: Vec::new(), output }));
        (Vec::new(), std::mem::replace(&mut self.files, kept))
    }
}

impl<W: Work> Cell<W> {
    pub(crate) fn new(core: Core, work: W, retry_if: Option<RetryIf<W::Error>>) -> Self {
        Self { core, retry_if, inner: Mutex::new(Inner::new(Body::Ready(work))) }
    }

    /// A task of which only the encoded input is there.
    pub(crate) fn encoded(core: Core, bytes: Vec<u8>, files: Vec<Fd>) -> Self {
        core.set_input_bytes(bytes.len() as u64);
        let mut inner = Inner::new(Body::Encoded(bytes.into()));
        if !files.is_empty() {
            core.set_names_more();
            inner.files = Some(Box::new(Files { input: files, output: Vec::new() }));
        }
        Self { core, retry_if: None, inner: Mutex::new(inner) }
    }

    /// The open files that the output names, until it is taken.
    pub(crate) fn output_files(&self) -> Vec<Fd> {
        self.inner.lock().files.as_ref().map(|files| files.output.clone()).unwrap_or_default()
    }

    fn settle(&self, outcome: Body<W>) -> Settled {
        let Some(outcome) = self.try_again(self.by_clock(outcome)) else { return Settled::Again };
        let kind = outcome.kind();
        let told = self.core.witness().map(|witness| (witness, outcome.ended()));
        let mut inner = self.inner.lock();
        if matches!(inner.body, Body::Replied(..) | Body::Settled(_) | Body::Taken) {
            return Settled::Before;
        }
        let beside = inner.let_go(matches!(outcome, Body::Replied(..)));
        let input = std::mem::replace(&mut inner.body, outcome);
        let waiter = inner.waiter.take();
        self.core.measure.settled(waiter.is_some());
        self.core.set_settled();
        // Under the lock, under which receivers ask for it: none misses the end.
        let mailbox = self.core.mailbox_if_any();
        drop(inner);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        if let Some(mailbox) = mailbox {
            mailbox.close().wake();
        }
        if let Some((witness, ended)) = told {
            Arc::clone(witness).ended(&self.core, ended);
        }
        // After the wake: an input's Drop is user code and may take its time, or panic.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((input, beside))));
        Settled::Now(kind)
    }

    /// A task that was stopped because a clock ran out says so.
    fn by_clock(&self, outcome: Body<W>) -> Body<W> {
        match (&outcome, self.core.expired()) {
            (
                Body::Replied(ReplyKind::CancelledSeen, _)
                | Body::Settled(Err(TaskError::Cancelled)),
                Some(clock),
            ) => Body::Settled(Err(TaskError::TimedOut { clock, killed: false })),
            _ => outcome,
        }
    }

    /// `None`: the task is tried once more instead.
    fn try_again(&self, outcome: Body<W>) -> Option<Body<W>> {
        let Some(retry) = &self.core.plan.retry else { return Some(outcome) };
        if let Body::Settled(Err(TaskError::Crashed { .. })) = &outcome {
            let deaths = retry.died();
            if deaths >= DEATHS_MAX {
                return Some(Body::Settled(Err(TaskError::Poisoned { deaths })));
            }
        }
        if self.core.is_asked_to_stop() || !self.is_worth_a_try(&outcome) {
            return Some(outcome);
        }
        // Its input must still be there.
        if !matches!(self.inner.lock().body, Body::Encoded(_)) {
            return Some(outcome);
        }
        let Some((task, port, delay)) = retry.take() else { return Some(outcome) };
        port.again(task, delay);
        None
    }

    fn is_worth_a_try(&self, outcome: &Body<W>) -> bool {
        let by_its_error = |error: &W::Error| {
            let asked = |accept: &RetryIf<W::Error>| {
                catch_unwind(AssertUnwindSafe(|| accept(error))).unwrap_or(false)
            };
            self.retry_if.as_ref().is_some_and(asked)
        };
        match outcome {
            Body::Settled(Err(TaskError::Failed(error))) => by_its_error(error),
            Body::Settled(Err(error)) => {
                error.is_retryable() && !matches!(error, TaskError::Rejected(_))
            }
            Body::Replied(ReplyKind::Panicked, _) => true,
            Body::Replied(ReplyKind::Failed, bytes) if self.retry_if.is_some() => {
                let decoded = catch_unwind(AssertUnwindSafe(|| W::decode_error(bytes)));
                matches!(decoded, Ok(Ok(error)) if by_its_error(&error))
            }
            _ => false,
        }
    }
}

impl<W: Work> Signals for Cell<W> {
    fn is_cancelled(&self) -> bool {
        self.core.is_asked_to_stop()
    }

    fn progress(&self, done: u64, total: u64) {
        self.core.set_progress(done, total);
    }

    fn emit(&self, message: Vec<u8>) {
        self.core.mailbox().put(message).wake();
    }

    fn inherited(&self) -> Inherited {
        let core = &self.core;
        let held = core.plan.key.clone().map(|gate| Held::new(gate, core.plan.held.clone()));
        Inherited {
            deadline: core.plan.controls.deadline,
            trace: core.plan.controls.trace,
            held: held.or_else(|| core.plan.held.clone()),
        }
    }
}

impl<W: Work> AnyTask for Cell<W> {
    fn core(&self) -> &Core {
        &self.core
    }

    fn run_here(&self, cx: &Ctx) -> (Settled, bool) {
        let body = {
            let mut inner = self.inner.lock();
            if !matches!(inner.body, Body::Ready(_) | Body::Encoded(_)) {
                // The engine gave up on the task (shutdown) before this thread got to it.
                return (Settled::Before, true);
            }
            std::mem::replace(&mut inner.body, Body::Away)
        };
        match body {
            Body::Ready(work) => {
                let ran = catch_unwind(AssertUnwindSafe(|| work.run(cx)));
                let settled = self.settle(Body::Settled(match ran {
                    Ok(Err(_)) if cx.saw_cancel() => Err(TaskError::Cancelled),
                    Ok(result) => result.map_err(TaskError::Failed),
                    Err(panic) => Err(TaskError::Panicked { message: panic_message(panic) }),
                }));
                (settled, false)
            }
            Body::Encoded(bytes) => {
                let entry =
                    cx.home().table.entry(self.core.plan.job).expect("encoded, so registered");
                let mut out = Encoded::new();
                let known = Beside { regions: self.regions(), files: self.files() };
                let kind =
                    knowing(known, || entry.run_encoded(Cow::Borrowed(&bytes), cx, &mut out));
                let Beside { regions, files } = take_left();
                regions.into_iter().for_each(|region| self.add_region(region));
                self.return_files(files);
                self.put_encoded(bytes); // for one more try
                (self.settle(Body::Replied(kind, out.into_vec())), true)
            }
            _ => unreachable!("it was looked at above"),
        }
    }

    fn encode(&self) -> Result<u64, Failure> {
        let mut inner = self.inner.lock();
        let work = match &inner.body {
            Body::Ready(work) => work,
            Body::Encoded(bytes) => return Ok(bytes.len() as u64),
            _ => return Err(Failure::Cancelled), // it is settled already
        };
        let mut bytes = Encoded::with_capacity(INPUT_BYTES_USUAL);
        // What is long, or not known to be short, is worth two looks at the clock.
        let begun = (self.core.input_bytes() >= TIMED_BYTES).then(clock::now);
        // Serialize is user code: a panic there is an outcome, too.
        let encode = || catch_unwind(AssertUnwindSafe(|| work.encode(&mut bytes)));
        let (encoded, beside) = collecting_input(encode);
        match encoded {
            Ok(Ok(())) => {
                if !beside.is_empty() {
                    self.core.set_names_more();
                    let files = Files { input: beside.files, output: Vec::new() };
                    inner.files = (!files.input.is_empty()).then(|| Box::new(files));
                    inner.regions = beside.regions;
                }
                let len = bytes.len() as u64;
                self.core.set_input_bytes(len);
                if let Some(begun) = begun {
                    self.core.set_encode_ns(clock::ns_since(begun));
                }
                let input = std::mem::replace(&mut inner.body, Body::Encoded(bytes));
                drop(inner);
                let _ = catch_unwind(AssertUnwindSafe(|| drop(input)));
                Ok(len)
            }
            Ok(Err(error)) => Err(Failure::Codec {
                message: format!(
                    "the input of {} could not be encoded: {error}{}",
                    self.core.plan.name,
                    take_why()
                ),
            }),
            Err(panic) => Err(Failure::Panicked { message: panic_message(panic) }),
        }
    }

    fn with_encoded(&self, show: &mut dyn FnMut(&[u8])) {
        match &self.inner.lock().body {
            Body::Encoded(bytes) => show(bytes),
            _ => show(&[]),
        }
    }

    fn take_encoded(&self) -> Encoded {
        let mut inner = self.inner.lock();
        match std::mem::replace(&mut inner.body, Body::Away) {
            Body::Encoded(bytes) => bytes,
            other => {
                inner.body = other;
                Encoded::new()
            }
        }
    }

    fn put_encoded(&self, bytes: Encoded) {
        let mut inner = self.inner.lock();
        if matches!(inner.body, Body::Away) {
            inner.body = Body::Encoded(bytes);
        }
    }

    fn regions(&self) -> Vec<Arc<blob::Shared>> {
        self.inner.lock().regions.clone()
    }

    fn add_region(&self, region: Arc<blob::Shared>) {
        self.core.set_names_more();
        self.inner.lock().regions.push(region);
    }

    fn files(&self) -> Vec<Fd> {
        self.inner.lock().files.as_ref().map(|files| files.input.clone()).unwrap_or_default()
    }

    fn return_files(&self, files: Vec<Fd>) {
        if !files.is_empty() {
            self.core.set_names_more();
            self.inner.lock().files.get_or_insert_default().output = files;
        }
    }

    fn settle_reply(&self, kind: ReplyKind, bytes: Vec<u8>) -> Settled {
        self.settle(Body::Replied(kind, bytes))
    }

    fn settle_failure(&self, failure: Failure) -> Settled {
        self.settle(Body::Settled(Err(outcome::widen(failure))))
    }
}

impl<W: Work> TypedTask<W::Output, W::Error> for Cell<W> {
    fn take(&self) -> Option<Result<W::Output, TaskError<W::Error>>> {
        if !self.core.is_settled() {
            return None;
        }
        let (body, known) = {
            let mut inner = self.inner.lock();
            let regions = std::mem::take(&mut inner.regions);
            let files = inner.files.take().map(|files| files.output).unwrap_or_default();
            (std::mem::replace(&mut inner.body, Body::Taken), Beside { regions, files })
        };
        match body {
            Body::Settled(result) => Some(result),
            Body::Replied(kind, bytes) => {
                let begun = self.core.measure.weight().map(|_| clock::now());
                let name = self.core.plan.name;
                let outcome = knowing(known, || outcome::decode::<W>(kind, bytes, name));
                if let Some(begun) = begun {
                    self.core.measure.set_decode_ns(clock::ns_since(begun).max(1));
                }
                Some(outcome)
            }
            _ => None,
        }
    }

    fn mailbox(&self) -> Arc<Mailbox> {
        let _settles = self.inner.lock(); // see `settle`
        Arc::clone(self.core.mailbox())
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
