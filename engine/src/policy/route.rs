//! Where a task may run: the hard rules, and the wishes in their order.
//!
//! A task's *route* is what its needs leave open, settled when it is submitted so that a
//! contradiction is refused there. The *placement* is bound when a core is free for it.

use std::str::FromStr;

use crate::error::Reason;
use crate::job::Spec;

/// Where one task runs.
///
/// Needs come first. [`Spec::isolated`], [`Spec::one_shot`], [`Spec::limits`] and
/// [`kill_after`](crate::TaskBuilder::kill_after) need a process, closures and
/// [`Spec::threads_only`] a thread. Where needs contradict each other, or the task's own
/// `place(..)` contradicts one, the task is refused ([`Contradiction`](Reason::Contradiction)), and
/// any weaker wish is passed over. A task without needs goes where the first of these says:
///
/// 1. the task, by [`TaskBuilder::place`](crate::TaskBuilder::place);
/// 2. the environment variable `AMPHI_PLACE`, which is `auto`, `thread` or `process`, is read when
///    an engine starts, and fails that start where it is anything else;
/// 3. the job, by [`Spec::place`];
/// 4. the engine, by [`EngineBuilder::place`](crate::EngineBuilder::place).
///
/// `Auto` says nothing: it leaves the answer to the next, and after the last the engine's
/// [`Policy`](crate::Policy) decides by measured cost, when a core is free for the task. A task
/// whose answer is `Process`, in an engine without processes, is refused
/// ([`Unsupported`](Reason::Unsupported)), be it a need or a wish.
///
/// After a worker has crashed under a job, tasks of that job that are open so stay away from the
/// host's threads for ten minutes; each further crash within that time doubles it, up to a day.
/// Who says `Thread` in one of the four ways has it nevertheless.
///
/// ```
/// use amphi::Placement;
///
/// assert_eq!("process".parse::<Placement>(), Ok(Placement::Process)); // as in AMPHI_PLACE
/// assert_eq!(Placement::Thread.to_string(), "thread");
/// assert_eq!(Placement::default(), Placement::Auto);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Placement {
    /// The engine decides, as told above.
    #[default]
    Auto,
    /// On a thread of the host.
    Thread,
    /// In a worker process.
    Process,
}

impl FromStr for Placement {
    type Err = String;

    /// `auto`, `thread` or `process`, in lower case.
    ///
    /// # Errors
    /// A text that names the three, for anything else.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "thread" => Ok(Self::Thread),
            "process" => Ok(Self::Process),
            other => Err(format!("{other:?} is no placement; use auto, thread or process")),
        }
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Thread => "thread",
            Self::Process => "process",
        })
    }
}

/// What may decide a task's place, strongest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The task's own `place(..)`.
    pub(crate) task: Option<Placement>,
    /// The job's needs and preference.
    pub(crate) spec: &'a Spec,
    /// `AMPHI_PLACE`.
    pub(crate) environment: Option<Placement>,
    /// The engine's default.
    pub(crate) engine: Placement,
    /// The task has a hard clock.
    pub(crate) kill_after: bool,
    /// The task is a closure: it cannot leave the process.
    pub(crate) closure: bool,
    /// A task that it is submitted from holds its key.
    pub(crate) waits_for_own_key: bool,
    /// This engine is a worker's: what cannot run here goes up to the host.
    pub(crate) in_worker: bool,
    /// This engine can have workers.
    pub(crate) processes: bool,
}

/// What a task's needs leave open, with the rule that decided, for
/// [`Task::explain`](crate::Task::explain).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) placement: Placement,
    pub(crate) rule: &'static str,
}

/// The hard rules.
///
/// # Errors
/// `Contradiction` where the needs exclude each other, `Unsupported` where a process is needed and
/// there can be none.
#[inline]
pub(crate) fn route(request: Request<'_>) -> Result<Route, Reason> {
    let (needs_process, needs_thread) = (request.needs_process(), request.needs_thread());
    let asked = request.task.filter(|placement| *placement != Placement::Auto);
    if let Some(text) = contradiction(&request, needs_process, needs_thread, asked) {
        return Err(Reason::Contradiction(text));
    }
    let route = match (needs_process, needs_thread, asked) {
        (Some(rule), _, _) => Route { placement: Placement::Process, rule },
        (None, rule, asked) if request.in_worker => in_worker(&request, rule, asked),
        (None, Some(rule), _) => Route { placement: Placement::Thread, rule },
        (None, None, Some(placement)) => Route { placement, rule: "the task asked for it" },
        (None, None, None) if request.spec.blocking => {
            Route { placement: Placement::Thread, rule: "the job is blocking()" }
        }
        (None, None, None) if request.waits_for_own_key && request.processes => Route {
            placement: Placement::Process,
            rule: "the job that submits it holds its key on a thread",
        },
        (None, None, None) => preferred(&request),
    };
    if request.waits_for_own_key && route.placement != Placement::Process {
        return Err(Reason::Contradiction(
            "the job that submits the task holds the key that it has to wait for; place it in a \
             process, or call the function without the engine",
        ));
    }
    if route.placement == Placement::Process && !request.processes {
        return Err(Reason::Unsupported(
            "the task needs a process and this engine has none; start it with Placement::Auto or \
             Process, on Linux",
        ));
    }
    Ok(route)
}

impl Request<'_> {
    fn needs_process(&self) -> Option<&'static str> {
        match self.spec {
            spec if spec.isolated => Some("the job is isolated()"),
            spec if spec.one_shot => Some("the job is one_shot(): it needs a worker of its own"),
            spec if spec.limits.is_some() => {
                Some("the job has limits(..), which a worker is started with")
            }
            _ if self.kill_after => Some("kill_after needs a process that can be killed"),
            _ => None,
        }
    }

    fn needs_thread(&self) -> Option<&'static str> {
        if self.closure {
            Some("a closure cannot leave its process")
        } else if self.spec.threads_only {
            Some("the job is threads_only()")
        } else {
            None
        }
    }
}

/// What excludes every place, and what to do about it.
#[inline]
fn contradiction(
    request: &Request<'_>,
    needs_process: Option<&'static str>,
    needs_thread: Option<&'static str>,
    asked: Option<Placement>,
) -> Option<&'static str> {
    let spec = request.spec;
    let by_clock = !(spec.isolated || spec.one_shot || spec.limits.is_some());
    match (needs_process, needs_thread, asked) {
        (Some(_), Some(_), _) if by_clock => Some(
            "kill_after was asked of a job that may run on threads only, and a thread cannot be \
             killed; drop threads_only() or use a cooperative limit",
        ),
        (Some(_), Some(_), _) => Some(
            "the job needs a process (isolated(), one_shot() or limits(..)) and is \
             threads_only(); keep one of the two",
        ),
        (Some(_), None, Some(Placement::Thread)) if by_clock => Some(
            "kill_after was asked with Placement::Thread, and a thread cannot be killed; use \
             Placement::Process or Auto",
        ),
        (Some(_), None, Some(Placement::Thread)) => Some(
            "Placement::Thread was asked of a job that needs a process (isolated(), one_shot() \
             or limits(..)); use Process or Auto",
        ),
        (None, Some(_), Some(Placement::Process)) => Some(
            "Placement::Process was asked of a job that may run on threads only; use Thread or \
             Auto",
        ),
        _ => None,
    }
}

/// In a worker `Process` is the way up: to another worker, or to the host's threads. What needs
/// neither stays.
fn in_worker(
    request: &Request<'_>,
    needs_thread: Option<&'static str>,
    asked: Option<Placement>,
) -> Route {
    match (needs_thread, asked) {
        (Some(rule), _) if !request.closure => Route { placement: Placement::Process, rule },
        (None, Some(Placement::Thread)) => {
            Route { placement: Placement::Process, rule: "the task asked for a thread of the host" }
        }
        _ => Route { placement: Placement::Thread, rule: "it is in a worker already" },
    }
}

fn preferred(request: &Request<'_>) -> Route {
    let asked = |placement: Option<Placement>| placement.filter(|p| *p != Placement::Auto);
    if let Some(placement) = asked(request.environment) {
        return Route { placement, rule: "AMPHI_PLACE" };
    }
    if let Some(placement) = asked(request.spec.place) {
        return Route { placement, rule: "the job prefers it" };
    }
    match request.engine {
        Placement::Auto if !request.processes => {
            Route { placement: Placement::Thread, rule: "this engine has no processes" }
        }
        Placement::Auto => Route { placement: Placement::Auto, rule: "by measured cost" },
        placement => Route { placement, rule: "the engine's default" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Request<'_> = Request {
        task: None,
        spec: &Spec::new(),
        environment: None,
        engine: Placement::Auto,
        kill_after: false,
        closure: false,
        waits_for_own_key: false,
        in_worker: false,
        processes: true,
    };

    #[test]
    fn needs_beat_every_wish() {
        let isolated = Request {
            spec: &Spec::new().isolated(),
            engine: Placement::Thread,
            environment: Some(Placement::Thread),
            ..OPEN
        };
        assert_eq!(route(isolated).unwrap().placement, Placement::Process);
        let closure = Request { closure: true, engine: Placement::Process, ..OPEN };
        assert_eq!(route(closure).unwrap().placement, Placement::Thread);
    }

    #[test]
    fn a_wish_against_a_need_is_refused() {
        for contradiction in [
            Request { spec: &Spec::new().isolated(), task: Some(Placement::Thread), ..OPEN },
            Request { spec: &Spec::new().threads_only(), task: Some(Placement::Process), ..OPEN },
            Request { spec: &Spec::new().threads_only().isolated(), ..OPEN },
            Request { spec: &Spec::new().threads_only(), kill_after: true, ..OPEN },
            Request { task: Some(Placement::Thread), kill_after: true, ..OPEN },
        ] {
            assert!(matches!(route(contradiction), Err(Reason::Contradiction(_))));
        }
    }

    #[test]
    fn wishes_have_an_order() {
        let all = Request {
            task: Some(Placement::Process),
            environment: Some(Placement::Thread),
            spec: &Spec::new().place(Placement::Process),
            engine: Placement::Process,
            ..OPEN
        };
        assert_eq!(route(all).unwrap().rule, "the task asked for it");
        assert_eq!(route(Request { task: None, ..all }).unwrap().rule, "AMPHI_PLACE");
        let job = Request { task: None, environment: None, ..all };
        assert_eq!(route(job).unwrap().rule, "the job prefers it");
        assert_eq!(
            route(Request { spec: &Spec::new(), ..job }).unwrap().rule,
            "the engine's default"
        );
        assert_eq!(route(OPEN).unwrap().placement, Placement::Auto);
    }

    #[test]
    fn without_processes_a_need_for_one_is_unsupported() {
        let request = Request { kill_after: true, processes: false, ..OPEN };
        assert!(matches!(route(request), Err(Reason::Unsupported(_))));
    }
}
