//! `AMPHI_AUDIT=1`: each task that may run in either place runs in both, and what came of it is
//! compared as bytes.
//!
//! The task itself runs on a thread, from its encoded input, and its caller is given that outcome.
//! A *shadow* of it, a task of the engine's own with the same bytes, goes to a process. Whichever
//! ends last has the two outcomes compared.
//!
//! # Invariants
//! 1. Nobody waits for a shadow but the engine's end, and that for a bounded time.
//! 2. A shadow whose task has no outcome to compare (it was cancelled, it was tried again) is
//!    stopped. One that does not end is killed.
//! 3. What shadows keep in memory is bounded: beyond it tasks run once, as without an audit.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use self::compare::{Verdict, compare, is_own};
use super::Shared;
use crate::error::StartError;
use crate::job::RawWork;
use crate::policy::{Placement, Route, Why};
use crate::sys::clock;
use crate::task::{AnyTask, Cell, Controls, Core, Ended, Plan, Witness};

mod compare;
#[cfg(test)]
mod tests;

/// Shadows that have not ended, and bytes kept for them, at most.
const SHADOWS_MAX: usize = 4096;
const BYTES_MAX: u64 = 256 << 20;
/// A shadow that runs longer is killed and not compared.
const SHADOW_TIME: Duration = Duration::from_secs(300);
/// How long the engine's end waits for shadows of tasks that have ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of one job on standard error; its further mismatches are counted.
const LINES_MAX: u32 = 8;

const NEXT: &str = "The job depends on what a worker does not share with the host (statics, the \
     process id, open files, connections) or on what differs from run to run (time, random \
     numbers, the order of a HashMap). Make it a function of its input, or give it one place: \
     Spec::threads_only(), isolated() or place(..)";

/// What an engine knows of its audits.
#[derive(Default)]
pub(super) struct Audits {
    is_on: bool,
    state: Mutex<State>,
    fewer: Condvar,
}

#[derive(Default)]
struct State {
    /// Shadows that have not ended.
    shadows: usize,
    /// Bytes of their inputs, and of outcomes that wait for the other one.
    bytes: u64,
    /// Shadows whose task has ended.
    awaited: usize,
    is_closing: bool,
    not_compared: u64,
    passed_over: u64,
    /// Mismatches of each job.
    mismatches: HashMap<u32, u32>,
}

/// Whether `AMPHI_AUDIT` asks for audits.
pub(super) fn is_asked_for() -> Result<bool, StartError> {
    let Some(text) = std::env::var_os("AMPHI_AUDIT") else { return Ok(false) };
    match text.to_str() {
        Some("" | "0") => Ok(false),
        Some("1") => Ok(true),
        _ => Err(StartError::setting(format!(
            "AMPHI_AUDIT: {text:?} means nothing; use 1 to run each task in both places, 0 not to"
        ))),
    }
}

impl Audits {
    /// `asked` where there is a place to compare with, else a warning.
    pub(super) fn new(asked: bool, processes: bool) -> Self {
        if asked && !processes {
            say("AMPHI_AUDIT=1 does nothing here: this engine has no processes; start it with \
                 Placement::Auto, on Linux");
        }
        Self { is_on: asked && processes, ..Self::default() }
    }

    /// There is room for one more shadow.
    fn enter(&self, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let has_room = state.shadows < SHADOWS_MAX
            && (state.shadows == 0 || state.bytes.saturating_add(bytes) <= BYTES_MAX);
        if state.is_closing || !has_room {
            state.passed_over += 1;
            return false;
        }
        state.shadows += 1;
        state.bytes += bytes;
        true
    }

    fn leave(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.shadows -= 1;
        state.bytes -= bytes;
    }

    /// An outcome waits for the other one. True: the engine's end would wait for that.
    fn keep(&self, bytes: u64, by_task: bool) -> bool {
        let mut state = self.state.lock();
        state.bytes += bytes;
        let is_awaited = by_task && !state.is_closing;
        state.awaited += usize::from(is_awaited);
        is_awaited
    }

    fn let_go(&self, bytes: u64, was_awaited: bool) {
        let mut state = self.state.lock();
        state.bytes -= bytes;
        if was_awaited {
            state.awaited -= 1;
            self.fewer.notify_all();
        }
    }

    /// **Blocks** until no task that has ended waits to be compared, or for [`PATIENCE`].
    fn wait(&self) {
        let deadline = clock::now().saturating_add(PATIENCE);
        let mut state = self.state.lock();
        state.is_closing = true;
        while state.awaited > 0 {
            let left = deadline.saturating_sub(clock::now());
            if left.is_zero() {
                return;
            }
            self.fewer.wait_for(&mut state, left);
        }
    }
}

impl Shared {
    /// Queues an open task for a thread and its shadow for a process; false: it is not audited,
    /// and nothing was done.
    pub(super) fn audit(&self, task: &Arc<dyn AnyTask>, run: bool) -> bool {
        if !self.audits.is_on {
            return false;
        }
        let core = task.core();
        // What cannot be sent would never have been; what has crashed workers stays off threads.
        if core.is_private || self.scheduler.crashes_rule(core.job) || !self.can_process(task) {
            return false;
        }
        let mut bytes = Vec::new();
        task.with_encoded(&mut |encoded| bytes.extend_from_slice(encoded));
        let len = bytes.len() as u64;
        // A clock or its worker may have ended it before it was queued.
        if core.is_settled() || !self.audits.enter(len) {
            return false;
        }
        let audit = Arc::new(Audit {
            engine: Weak::clone(&self.me),
            name: core.name,
            input: len,
            sides: Mutex::default(),
            shadow: OnceLock::new(),
        });
        let shadow = Arc::new(Cell::<RawWork>::encoded(Core::new(shadow_of(core, len)), bytes));
        let shadow: Arc<dyn AnyTask> = shadow;
        let _ = audit.shadow.set(Arc::downgrade(&shadow));
        shadow.core().set_witness(Arc::clone(&audit) as _);
        core.set_witness(audit);
        core.bind_because(Placement::Thread, Why::Rule);
        self.scheduler.counters.decided(Why::Rule, Placement::Thread, 1);
        self.queue_for_thread(Arc::clone(task), run);
        self.accept(shadow, false);
        true
    }

    /// The engine ends: what has its outcome is compared before the workers go.
    pub(super) fn finish_audits(&self) {
        if !self.audits.is_on {
            return;
        }
        self.threads.while_waiting(&mut || self.audits.wait());
        let mut state = self.audits.state.lock();
        let not_compared = std::mem::take(&mut state.not_compared) + state.awaited as u64;
        let passed_over = std::mem::take(&mut state.passed_over);
        drop(state);
        if not_compared + passed_over > 0 {
            tracing::warn!(
                target: "amphi",
                "audit: {not_compared} tasks ran in both places and could not be compared, \
                 {passed_over} ran once, because too many were under way"
            );
        }
    }
}

/// The plan of a task's shadow: the same in a process, at its own pace.
fn shadow_of(core: &Core, bytes: u64) -> Plan {
    let rule = "it is the shadow of a task that is audited";
    Plan {
        job: core.job,
        name: core.name,
        route: Route { placement: Placement::Process, rule },
        class: core.class,
        bytes,
        controls: Controls { kill_after: Some(SHADOW_TIME), queue_timeout: None, ..core.controls },
        no_caller_run: true,
        blocking: false,
        is_private: true,
        needs_host_thread: false,
        key: core.key.clone(),
        held: core.held.clone(),
        retry: None,
    }
}

/// One task and its shadow.
struct Audit {
    engine: Weak<Shared>,
    name: &'static str,
    /// Bytes of the input.
    input: u64,
    sides: Mutex<Sides>,
    shadow: OnceLock<Weak<dyn AnyTask>>,
}

/// Who has ended, and has not been compared.
#[derive(Default)]
enum Sides {
    #[default]
    None,
    /// The task; true: the engine's end waits for the shadow.
    Task(Ended, bool),
    Shadow(Ended),
    /// There is nothing to compare any more.
    Over,
}

impl Witness for Audit {
    fn ended(&self, core: &Core, ended: Ended) {
        let Some(engine) = self.engine.upgrade() else { return };
        if core.is_private {
            self.shadow_ended(&engine, core, ended);
        } else {
            self.task_ended(&engine, core, ended);
        }
    }
}

impl Audit {
    fn task_ended(&self, engine: &Arc<Shared>, core: &Core, ended: Ended) {
        let audits = &engine.audits;
        let is_comparable = ended.reply.is_some() && core.runs_before() == 0 && is_own(&ended);
        let mut sides = self.sides.lock();
        match std::mem::replace(&mut *sides, Sides::Over) {
            Sides::None if is_comparable => {
                let is_awaited = audits.keep(ended.len(), true);
                *sides = Sides::Task(ended, is_awaited);
            }
            Sides::None => {
                drop(sides);
                audits.state.lock().not_compared += 1;
                if let Some(shadow) = self.shadow.get().and_then(Weak::upgrade) {
                    engine.stop_task(&shadow, true);
                }
            }
            Sides::Shadow(shadow) => {
                drop(sides);
                audits.let_go(shadow.len(), false);
                if is_comparable {
                    self.judge(engine, core.job, &ended, &shadow);
                } else {
                    audits.state.lock().not_compared += 1;
                }
            }
            Sides::Task(..) | Sides::Over => {}
        }
    }

    fn shadow_ended(&self, engine: &Arc<Shared>, core: &Core, ended: Ended) {
        let audits = &engine.audits;
        audits.leave(self.input);
        let mut sides = self.sides.lock();
        match std::mem::replace(&mut *sides, Sides::Over) {
            Sides::None => {
                audits.keep(ended.len(), false);
                *sides = Sides::Shadow(ended);
            }
            Sides::Task(task, was_awaited) => {
                drop(sides);
                self.judge(engine, core.job, &task, &ended);
                audits.let_go(task.len(), was_awaited);
            }
            Sides::Shadow(_) | Sides::Over => {}
        }
    }

    fn judge(&self, engine: &Shared, job: u32, task: &Ended, shadow: &Ended) {
        let verdict = compare(task, shadow);
        let counters = &engine.scheduler.counters;
        match verdict {
            Verdict::Equal => counters.audit(false),
            Verdict::NotCompared => engine.audits.state.lock().not_compared += 1,
            Verdict::Differ(at) => {
                counters.audit(true);
                self.tell(engine, job, task, shadow, at);
            }
        }
    }

    /// A mismatch: for programs, and on standard error for whoever runs this one.
    fn tell(&self, engine: &Shared, job: u32, task: &Ended, shadow: &Ended, at: Option<usize>) {
        let (name, input_bytes) = (self.name, self.input);
        let (thread, process) = (task.to_string(), shadow.to_string());
        tracing::error!(
            target: "amphi",
            job = name, input_bytes, thread, process, differs_at = at,
            "audit: one input, two outcomes"
        );
        let told = {
            let mut state = engine.audits.state.lock();
            let told = state.mismatches.entry(job).or_default();
            *told = told.saturating_add(1);
            *told
        };
        if told > LINES_MAX {
            return;
        }
        let at = at.map(|at| format!("; they differ from byte {at} on")).unwrap_or_default();
        let last = match told {
            LINES_MAX => " Further mismatches of this job are counted (Stats::audit_mismatches).",
            _ => "",
        };
        say(&format!(
            "audit: job `{name}`, input of {input_bytes} bytes: on a thread {thread}, in a process \
             {process}{at}. {NEXT}.{last}"
        ));
    }
}

/// A line for people, whoever listens; nobody is kept from anything by a standard error that is
/// gone.
fn say(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("amphi: {line}\n").as_bytes());
}

impl Ended {
    fn len(&self) -> u64 {
        self.reply.as_ref().map_or(0, |reply| reply.len() as u64)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reply {
            Some(reply) => write!(f, "{}, {} bytes", self.outcome, reply.len()),
            None => write!(f, "{}", self.outcome),
        }
    }
}
