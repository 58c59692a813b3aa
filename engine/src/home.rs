//! What one process of a program knows: the job table, the configuration, its states, its rayon
//! pool. The host has one for each engine, the forkserver makes one, workers inherit it.

use std::any::{Any, TypeId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::budget::Budget;
use crate::error::Error;
use crate::job::{self, Table, panic_message};
use crate::task::ProcessSide;

/// Which process of the program this is: see [`Setup::role`].
///
/// ```
/// fn set_up(setup: &amphi::Setup) -> Result<(), amphi::Error> {
///     if setup.role() == amphi::Role::Worker {
///         eprintln!("worker {} begins", std::process::id());
///     }
///     Ok(())
/// }
/// let app = amphi::App::new().each_process(set_up);
/// # drop(app);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The one that owns the engine.
    Host,
    /// The one that workers are forked from.
    Forkserver,
    /// One that runs tasks.
    Worker,
}

static ROLE: AtomicU8 = AtomicU8::new(0);

impl Role {
    /// The role of the process that asks.
    pub(crate) fn current() -> Self {
        match ROLE.load(Ordering::Relaxed) {
            0 => Self::Host,
            1 => Self::Forkserver,
            _ => Self::Worker,
        }
    }

    pub(crate) fn assume(self) {
        let number = match self {
            Self::Host => 0,
            Self::Forkserver => 1,
            Self::Worker => 2,
        };
        ROLE.store(number, Ordering::Relaxed);
    }
}

/// What `preload`, `worker_state` and `each_process` functions are given.
///
/// ```
/// fn load(setup: &amphi::Setup) -> Result<Vec<u8>, amphi::Error> {
///     let path: String = setup.config()?;
///     Ok(std::fs::read(path)?)
/// }
/// let app = amphi::App::new().config("model.bin".to_string()).preload(load);
/// # drop(app);
/// ```
#[derive(Debug)]
pub struct Setup {
    config: Option<Config>,
}

/// A configuration on its way: its type's name and its encoding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Config {
    pub(crate) type_name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Setup {
    /// The value that the host gave to [`App::config`](crate::App::config).
    ///
    /// # Errors
    /// Where none was given, or one of another type, or its encoding cannot be decoded.
    pub fn config<C: DeserializeOwned + 'static>(&self) -> Result<C, Error> {
        let wanted = std::any::type_name::<C>();
        let Some(config) = &self.config else {
            return Err(Error::new(format!(
                "no configuration was given; add .config({wanted}) where the engine is started"
            )));
        };
        if config.type_name != wanted {
            return Err(Error::new(format!(
                "the configuration is a {}, not a {wanted}; ask for the type that was given",
                config.type_name
            )));
        }
        Ok(job::decode(&config.bytes)?)
    }

    /// The process that asks: `Host` or `Worker` in `worker_state` and `each_process`, `Forkserver`
    /// or (for jobs on threads) `Host` in `preload`.
    pub fn role(&self) -> Role {
        Role::current()
    }
}

type Value = Box<dyn Any + Send + Sync>;
type Make = dyn Fn(&Setup) -> Result<Value, Error> + Send + Sync;
type Made = Result<Value, String>;

/// One registered state: how it is made, and the value once it is.
pub(crate) struct State {
    pub(crate) type_id: TypeId,
    pub(crate) type_name: &'static str,
    pub(crate) preload: bool,
    make: Box<Make>,
    value: OnceLock<Made>,
}

impl State {
    pub(crate) fn new<S: Send + Sync + 'static>(
        preload: bool,
        make: impl Fn(&Setup) -> Result<S, Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            type_id: TypeId::of::<S>(),
            type_name: std::any::type_name::<S>(),
            preload,
            make: Box::new(move |setup| Ok(Box::new(make(setup)?))),
            value: OnceLock::new(),
        }
    }

    fn get(&self, setup: &Setup) -> &Made {
        self.value.get_or_init(|| {
            (self.make)(setup)
                .map_err(|error| format!("making the state {} failed: {error:#}", self.type_name))
        })
    }
}

pub(crate) type EachProcess = Box<dyn Fn(&Setup) -> Result<(), Error> + Send + Sync>;

/// See the module.
pub(crate) struct Home {
    pub(crate) table: Table,
    setup: Setup,
    /// In the order of registration.
    states: Vec<State>,
    each_process: Vec<EachProcess>,
    rayon_threads: OnceLock<usize>,
    rayon: OnceLock<Option<rayon::ThreadPool>>,
    /// What jobs of this process submit tasks to: the engine's own business.
    pub(crate) engine: OnceLock<Box<dyn Any + Send + Sync>>,
    /// The one core of a worker whose jobs submit tasks; the running job has it.
    pub(crate) budget: OnceLock<Arc<Budget>>,
    /// A worker's way up to the host.
    pub(crate) host: OnceLock<Arc<dyn ProcessSide>>,
}

/// The name of [`echo`].
pub(crate) const ECHO: &str = "amphi::echo";

/// The job that costs nothing but its way: what dispatch costs is measured with it. The last of
/// every table.
pub(crate) fn echo(bytes: Bytes) -> Result<Bytes, Error> {
    Ok(bytes)
}

impl Home {
    pub(crate) fn new(
        mut table: Table,
        config: Option<Config>,
        states: Vec<State>,
        each_process: Vec<EachProcess>,
    ) -> Self {
        table.add_function(ECHO, echo);
        Self {
            table,
            setup: Setup { config },
            states,
            each_process,
            rayon_threads: OnceLock::new(),
            rayon: OnceLock::new(),
            engine: OnceLock::new(),
            budget: OnceLock::new(),
            host: OnceLock::new(),
        }
    }

    pub(crate) fn config(&self) -> Option<&Config> {
        self.setup.config.as_ref()
    }

    pub(crate) fn has_preload(&self) -> bool {
        self.states.iter().any(|state| state.preload)
    }

    /// Makes every preloaded state, in the forkserver.
    pub(crate) fn preload(&self) -> Result<(), String> {
        for state in self.states.iter().filter(|state| state.preload) {
            if let Err(text) = state.get(&self.setup) {
                return Err(text.clone());
            }
        }
        Ok(())
    }

    /// Runs the functions given to `each_process`, in their order.
    pub(crate) fn run_each_process(&self) -> Result<(), String> {
        for function in &self.each_process {
            match catch_unwind(AssertUnwindSafe(|| function(&self.setup))) {
                Ok(done) => done.map_err(|error| format!("each_process failed: {error:#}"))?,
                Err(panic) => {
                    return Err(format!("each_process panicked: {}", panic_message(panic)));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn state<S: Send + Sync + 'static>(&self) -> Result<&S, String> {
        let wanted = TypeId::of::<S>();
        let Some(state) = self.states.iter().find(|state| state.type_id == wanted) else {
            return Err(format!(
                "no state of type {} is registered; add .worker_state(..) or .preload(..) to the \
                 App",
                std::any::type_name::<S>()
            ));
        };
        match state.get(&self.setup) {
            Ok(value) => Ok(value.downcast_ref().expect("the key is the type")),
            Err(text) => Err(text.clone()),
        }
    }

    /// How many threads the rayon pool gets when a job first asks for it.
    pub(crate) fn set_rayon_threads(&self, count: usize) {
        let _ = self.rayon_threads.set(count);
    }

    pub(crate) fn rayon(&self) -> Option<&rayon::ThreadPool> {
        self.rayon
            .get_or_init(|| {
                rayon::ThreadPoolBuilder::new()
                    .num_threads(self.rayon_threads.get().copied().unwrap_or(1))
                    .thread_name(|index| format!("amphi-rayon-{index}"))
                    .build()
                    .ok()
            })
            .as_ref()
    }
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Home").field("table", &self.table).finish_non_exhaustive()
    }
}
