//! `AMPHI_AUDIT=1`: each task that may run in either place runs in both, and what came of it is
//! compared as bytes.
//!
//! The task itself runs on a thread, from its encoded input, and its caller is given that outcome.
//! Then a *shadow* of it, a task of the engine's own with the same bytes, goes to a process, and
//! when it has ended, too, the outcomes are compared.
//!
//! # Invariants
//! 1. A task never waits for a shadow: neither for its own, which begins later, nor, but for the
//!    cores that one keeps busy, for another's. The engine's end does, for a bounded time.
//! 2. A task that has no outcome of its own (it was cancelled, or tried again) gets no shadow. A
//!    shadow that takes much longer than its task is killed.
//! 3. What audits keep in memory is bounded: beyond it tasks run once, as without them.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Weak};
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

/// Audits under way, and bytes kept for them, at most.
const AUDITS_MAX: usize = 4096;
const BYTES_MAX: u64 = 256 << 20;
/// A shadow that runs longer than this and [`SHADOW_TIMES`] the time of its task is killed.
const SHADOW_TIME: Duration = Duration::from_secs(10);
const SHADOW_TIMES: u32 = 10;
/// How long the engine's end waits for shadows.
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
    /// Tasks that are audited and have not been compared.
    audits: usize,
    /// Bytes of their inputs and of what they came to.
    bytes: u64,
    /// Shadows that have not ended.
    shadows: usize,
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

    /// There is room for one more.
    fn enter(&self, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let has_room = state.audits < AUDITS_MAX
            && (state.audits == 0 || state.bytes.saturating_add(bytes) <= BYTES_MAX);
        if state.is_closing || !has_room {
            state.passed_over += 1;
            return false;
        }
        state.audits += 1;
        state.bytes += bytes;
        true
    }

    /// One is over, of which so many bytes were kept.
    fn leave(&self, bytes: u64, is_compared: bool) {
        let mut state = self.state.lock();
        state.audits -= 1;
        state.bytes -= bytes;
        state.not_compared += u64::from(!is_compared);
    }

    /// A shadow begins, and so many bytes more are kept; false: the engine ends.
    fn begin(&self, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let begins = !state.is_closing;
        if begins {
            state.shadows += 1;
            state.bytes += bytes;
        }
        begins
    }

    fn shadow_is_over(&self) {
        self.state.lock().shadows -= 1;
        self.fewer.notify_all();
    }

    /// **Blocks** until no shadow runs, or for [`PATIENCE`]. None begins any more.
    fn wait(&self) {
        let deadline = clock::now().saturating_add(PATIENCE);
        let mut state = self.state.lock();
        state.is_closing = true;
        while state.shadows > 0 {
            let left = deadline.saturating_sub(clock::now());
            if left.is_zero() {
                return;
            }
            self.fewer.wait_for(&mut state, left);
        }
    }
}

impl Shared {
    /// Binds an open task to a thread and sees to it that its shadow follows; false: it is not
    /// audited, and nothing was done.
    pub(super) fn audit(&self, task: &Arc<dyn AnyTask>) -> bool {
        if !self.audits.is_on {
            return false;
        }
        let core = task.core();
        // What cannot be sent would never have been; what has crashed workers stays off threads.
        if core.plan.is_private
            || self.scheduler.keeps_off_threads(core.plan.job)
            || !self.can_process(task)
            // A shadow could not be given the same memory for sure.
            || core.names_more()
        {
            return false;
        }
        let mut input = Vec::new();
        task.with_encoded(&mut |encoded| input.extend_from_slice(encoded));
        let len = input.len() as u64;
        // A clock may have ended it before it was queued.
        if core.is_settled() || !self.audits.enter(len) {
            return false;
        }
        core.set_witness(Arc::new(Audit {
            engine: Weak::clone(&self.me),
            begun: clock::now(),
            len,
            stage: Mutex::new(Stage::Task(input)),
        }));
        core.bind_because(Placement::Thread, Why::Rule);
        self.scheduler.counters.decided(Why::Rule, Placement::Thread, 1);
        true
    }

    /// The engine ends: what has its outcome is compared before the workers go.
    pub(super) fn finish_audits(&self) {
        if !self.audits.is_on {
            return;
        }
        self.threads.while_waiting(&mut || self.audits.wait());
        let mut state = self.audits.state.lock();
        let not_compared = std::mem::take(&mut state.not_compared) + state.shadows as u64;
        let passed_over = std::mem::take(&mut state.passed_over);
        drop(state);
        if not_compared + passed_over > 0 {
            tracing::warn!(
                target: "amphi",
                "audit: {not_compared} tasks could not be compared, {passed_over} ran once because too \
                 many were under way"
            );
        }
    }
}

/// The plan of a task's shadow: the same in a process, with the clock of its own.
fn shadow_of(core: &Core, bytes: u64, limit: Duration) -> Plan {
    let rule = "it is the shadow of a task that is audited";
    let route = Route { placement: Placement::Process, rule };
    let controls = Controls {
        kill_after: Some(limit),
        queue_timeout: None,
        timeout: None,
        deadline: None,
        ..*core.plan.controls
    };
    Plan {
        bytes,
        controls: controls.into(),
        no_caller_run: true,
        is_private: true,
        key: core.plan.key.clone(),
        held: core.plan.held.clone(),
        ..Plan::new(core.plan.job, core.plan.name, route, core.plan.class)
    }
}

/// One task and its shadow.
struct Audit {
    engine: Weak<Shared>,
    /// When the task was accepted.
    begun: Duration,
    /// Bytes of the input.
    len: u64,
    stage: Mutex<Stage>,
}

enum Stage {
    /// The task has not ended: its input.
    Task(Vec<u8>),
    /// Its shadow has not: what the task came to.
    Shadow(Ended),
    Over,
}

impl Witness for Audit {
    fn ended(self: Arc<Self>, core: &Core, ended: Ended) {
        let Some(engine) = self.engine.upgrade() else { return };
        let stage = std::mem::replace(&mut *self.stage.lock(), Stage::Over);
        match stage {
            Stage::Task(input) => self.task_ended(&engine, core, ended, input),
            Stage::Shadow(task) => {
                self.shadow_ended(&engine, core, &task, &ended);
                engine.audits.shadow_is_over();
            }
            Stage::Over => {}
        }
    }
}

impl Audit {
    fn task_ended(self: Arc<Self>, engine: &Shared, core: &Core, ended: Ended, input: Vec<u8>) {
        let is_comparable = ended.reply.is_some()
            && is_own(&ended)
            && core.runs_before() == 0
            // Memory has another number each time.
            && !core.names_more()
            && !core.is_asked_to_stop();
        if !is_comparable || !engine.audits.begin(ended.len()) {
            return engine.audits.leave(self.len, false);
        }
        let took = clock::now().saturating_sub(self.begun);
        let limit = SHADOW_TIME.saturating_add(took.saturating_mul(SHADOW_TIMES));
        let plan = shadow_of(core, self.len, limit);
        let shadow = Arc::new(Cell::<RawWork>::encoded(Core::new(plan), input, Vec::new()));
        *self.stage.lock() = Stage::Shadow(ended);
        shadow.core().set_witness(self);
        engine.accept(shadow, false);
    }

    fn shadow_ended(&self, engine: &Shared, core: &Core, task: &Ended, shadow: &Ended) {
        let verdict = compare(task, shadow);
        let bytes = self.len + task.len();
        engine.audits.leave(bytes, verdict != Verdict::NotCompared);
        match verdict {
            Verdict::Equal => engine.scheduler.counters.audit(false),
            Verdict::NotCompared => {}
            Verdict::Differ(at) => {
                engine.scheduler.counters.audit(true);
                self.tell(engine, core, task, shadow, at);
            }
        }
    }

    /// A mismatch: for programs, and on standard error for whoever runs this one.
    fn tell(&self, engine: &Shared, core: &Core, task: &Ended, shadow: &Ended, at: Option<usize>) {
        let (name, input_bytes) = (core.plan.name, self.len);
        let (thread, process) = (task.to_string(), shadow.to_string());
        tracing::error!(
            target: "amphi",
            job = name, input_bytes, thread, process, differs_at = at,
            "audit: one input, two outcomes"
        );
        let told = {
            let mut state = engine.audits.state.lock();
            let told = state.mismatches.entry(core.plan.job).or_default();
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
