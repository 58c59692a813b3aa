//! What every process of a program agrees on: [`App`], and how a binary names its own.

use std::any::{TypeId, type_name};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::EngineBuilder;
use crate::error::{Error, StartError};
use crate::home::{Config, EachProcess, Home, Setup, State};
use crate::job::{self, Job, Table};

/// The jobs, states and set-up functions of a program. A plain `fn app() -> App`, named once in
/// the binary by [`amphi::app!`](crate::app!), builds it in each process anew.
///
/// ```no_run
/// amphi::app!(app);
///
/// fn app() -> amphi::App {
///     amphi::App::new().function("double", double)
/// }
///
/// fn double(x: u64) -> Result<u64, amphi::Error> {
///     Ok(2 * x)
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let engine = app().engine().start()?;
///     assert_eq!(engine.call(double, 21).join()?, 42);
///     Ok(())
/// }
/// ```
#[derive(Default)]
pub struct App {
    table: Table,
    config: Option<Config>,
    states: Vec<State>,
    each_process: Vec<EachProcess>,
    problem: Option<String>,
}

impl App {
    /// An app without jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a job type. Where it or its [name](Job::name) is registered already, `start`
    /// fails.
    ///
    /// ```
    /// # fn example<Thumbnail: amphi::Job, Checksum: amphi::Job>() -> amphi::App {
    /// amphi::App::new().job::<Thumbnail>().job::<Checksum>()
    /// # }
    /// ```
    #[must_use]
    pub fn job<J: Job>(mut self) -> Self {
        if !self.table.add_job::<J>() {
            self.note(format!(
                "the job {} is registered twice, or its name is taken; give each job a name of \
                 its own",
                J::name()
            ));
        }
        self
    }

    /// Registers a plain function as a job. It is called through the function itself:
    /// `engine.call(checksum, path)`; the name is for reports. Where either is registered already,
    /// `start` fails.
    ///
    /// A function has no needs of its place, and is given no [`Ctx`](crate::Ctx); what has or
    /// wants one is a [`Job`]. A function pointer (`fn(I) -> ..`) does not compile, nor does a
    /// closure that captures something: they mean nothing in another process.
    ///
    /// ```
    /// fn double(x: u64) -> Result<u64, amphi::Error> {
    ///     Ok(2 * x)
    /// }
    /// let app = amphi::App::new().function("double", double);
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn function<F, I, O, E>(mut self, name: &'static str, function: F) -> Self
    where
        F: Fn(I) -> Result<O, E> + Copy + Send + Sync + 'static,
        I: Serialize + DeserializeOwned + Send + 'static,
        O: Serialize + DeserializeOwned + Send + 'static,
        E: Serialize + DeserializeOwned + Send + 'static,
    {
        if !self.table.add_function(name, function) {
            self.note(format!(
                "the function {name} is registered twice, or its name is taken; give each \
                 function a name of its own"
            ));
        }
        self
    }

    /// Gives a typed configuration to every process: see [`Setup::config`]. Set it where the
    /// engine is started, after arguments were read. The last call counts; where the value cannot
    /// be encoded, `start` fails.
    ///
    /// ```no_run
    /// # fn app() -> amphi::App { amphi::App::new() }
    /// # fn example() -> Result<amphi::Engine, amphi::StartError> {
    /// let verbose = std::env::args().any(|argument| argument == "--verbose");
    /// app().config(verbose).engine().start()
    /// # }
    /// ```
    #[must_use]
    pub fn config<C: Serialize + DeserializeOwned + 'static>(mut self, value: C) -> Self {
        let mut bytes = Vec::new();
        match job::encode(&value, &mut bytes) {
            Ok(()) => self.config = Some(Config { type_name: type_name::<C>().to_owned(), bytes }),
            Err(error) => self.note(format!("the configuration could not be encoded: {error}")),
        }
        self
    }

    /// Makes a value once in the forkserver, before any worker exists, so that all workers share
    /// its pages. Jobs read it by [`Ctx::state`](crate::Ctx::state). The host makes its own at the
    /// first job on a thread that asks.
    ///
    /// The `start` of an engine with processes waits for it, and fails where it fails, panics,
    /// takes longer than [`start_timeout`](EngineBuilder::start_timeout) or leaves a thread behind:
    /// workers are forked from the process it runs in. A second state of the same type is refused
    /// by `start`, too. Where a forkserver has died, its replacement makes the value again.
    ///
    /// Its memory is gathered into large pages where the kernel has them (Linux 6.1 or later), so that
    /// a large value does not make the start and the end of a worker slow.
    ///
    /// Load data, do not keep files open: a worker closes every descriptor that a preload opened,
    /// and keeps only standard streams and what the engine lists. The environment, the working
    /// directory and the umask are those of the moment when the engine started, for the
    /// forkserver, its workers and all that replace them.
    ///
    /// ```
    /// struct Model { weights: Vec<u8> }
    ///
    /// fn load_model(_: &amphi::Setup) -> Result<Model, amphi::Error> {
    ///     Ok(Model { weights: std::fs::read("model.bin")? })
    /// }
    /// let app = amphi::App::new().preload(load_model);
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn preload<M: Send + Sync + 'static>(
        self,
        make: impl Fn(&Setup) -> Result<M, Error> + Send + Sync + 'static,
    ) -> Self {
        self.state(State::new::<M>(true, make))
    }

    /// Makes a value once in each process, when a job first asks for it by
    /// [`Ctx::state`](crate::Ctx::state): caches, connections. Where `make` fails, the task's
    /// outcome is [`Panicked`](crate::TaskError::Panicked), and so is that of each later one that
    /// asks in that process. A second state of the same type is refused by `start`.
    ///
    /// ```
    /// #[derive(Default)]
    /// struct Cache(std::sync::Mutex<std::collections::HashMap<String, u64>>);
    ///
    /// let app = amphi::App::new().worker_state(|_setup| Ok(Cache::default()));
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn worker_state<S: Send + Sync + 'static>(
        self,
        make: impl Fn(&Setup) -> Result<S, Error> + Send + Sync + 'static,
    ) -> Self {
        self.state(State::new::<S>(false, make))
    }

    /// Runs in the host when the engine starts, and in every worker before its first task:
    /// logging, panic hooks. Where it fails in the host, `start` fails; in a worker, the worker
    /// counts as one that could not be started. Several functions run in the order in which they
    /// were added.
    ///
    /// A worker whose functions set no `tracing` subscriber logs to the host's: each of its events,
    /// up to the level that the host heard when the worker was started, is told there once more,
    /// with the target `amphi::worker` and the fields `worker` (its pid), `job`, `spans`
    /// (`outer{id=7}:inner`), `target` and `location`. It never holds a job up: events that the
    /// host does not take in time are dropped, and a warning tells how many.
    ///
    /// ```no_run
    /// fn set_up(setup: &amphi::Setup) -> Result<(), amphi::Error> {
    ///     if setup.role() == amphi::Role::Host {
    ///         // tracing_subscriber::fmt().init(): hears of the workers' events, too
    ///     }
    ///     Ok(())
    /// }
    /// # drop(amphi::App::new().each_process(set_up));
    /// ```
    ///
    /// ```
    /// fn set_up(setup: &amphi::Setup) -> Result<(), amphi::Error> {
    ///     let role = setup.role();
    ///     std::panic::set_hook(Box::new(move |panic| eprintln!("{role:?}: {panic}")));
    ///     Ok(())
    /// }
    /// let app = amphi::App::new().each_process(set_up);
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn each_process(
        mut self,
        function: impl Fn(&Setup) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        self.each_process.push(Box::new(function));
        self
    }

    /// Adds what a library brings: `fn jobs(app: App) -> App`.
    ///
    /// ```
    /// # fn checksum(text: String) -> Result<u64, amphi::Error> { Ok(text.len() as u64) }
    /// // in the library
    /// fn jobs(app: amphi::App) -> amphi::App {
    ///     app.function("checksum", checksum)
    /// }
    /// // in the program
    /// let app = amphi::App::new().include(jobs);
    /// # drop(app);
    /// ```
    #[must_use]
    pub fn include(self, jobs: impl FnOnce(Self) -> Self) -> Self {
        jobs(self)
    }

    /// An engine over these jobs, to be set up and started. What is wrong with the app is told by
    /// [`start`](EngineBuilder::start).
    pub fn engine(self) -> EngineBuilder {
        let home = match registered() {
            Some(_) => self.into_home(),
            None => Err(StartError::no_app()),
        };
        EngineBuilder::new(home)
    }

    fn state(mut self, state: State) -> Self {
        let TypeKey(key, name) = TypeKey(state.type_id, state.type_name);
        if self.states.iter().any(|other| other.type_id == key) {
            self.note(format!("the state {name} is registered twice; keep one of the two"));
        } else {
            self.states.push(state);
        }
        self
    }

    fn note(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    fn into_home(self) -> Result<Arc<Home>, StartError> {
        match self.problem {
            Some(problem) => Err(StartError::app(problem)),
            None => {
                Ok(Arc::new(Home::new(self.table, self.config, self.states, self.each_process)))
            }
        }
    }

    /// The same app with the configuration that the host sent.
    #[cfg(target_os = "linux")]
    fn with_config(mut self, config: Option<Config>) -> Self {
        self.config = config;
        self
    }
}

struct TypeKey(TypeId, &'static str);

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("table", &self.table).finish_non_exhaustive()
    }
}

static ENTRY: OnceLock<fn() -> App> = OnceLock::new();

/// The function that `amphi::app!` named, if the binary has one.
fn registered() -> Option<fn() -> App> {
    ENTRY.get().copied()
}

/// What `amphi::app!` calls before `main`: notes the app, and in a marked child never returns.
pub fn enter(app: fn() -> App) {
    let _ = ENTRY.set(app);
    #[cfg(target_os = "linux")]
    if std::env::var_os(crate::processes::MARKER).is_some() {
        crate::processes::forkserver::main(|config| app().with_config(config).into_home());
    }
}
