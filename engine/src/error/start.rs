//! Why an engine did not start.

use std::{fmt, io};

/// An engine did not start. Opaque, with predicates; its `Display` says what to change.
///
/// ```no_run
/// # fn example(app: amphi::App) {
/// match app.engine().start() {
///     Ok(engine) => println!("{} cores", engine.cores()),
///     Err(error) if error.is_setting() => eprintln!("mend the settings: {error}"),
///     Err(error) => eprintln!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct StartError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    NoApp,
    NotInHost(&'static str),
    Setting(String),
    App(String),
    Preload(String),
    Forkserver { doing: &'static str, source: io::Error },
}

impl StartError {
    pub(crate) fn no_app() -> Self {
        Self { kind: Kind::NoApp }
    }

    pub(crate) fn not_in_host(role: &'static str) -> Self {
        Self { kind: Kind::NotInHost(role) }
    }

    pub(crate) fn setting(text: impl Into<String>) -> Self {
        Self { kind: Kind::Setting(text.into()) }
    }

    pub(crate) fn app(text: impl Into<String>) -> Self {
        Self { kind: Kind::App(text.into()) }
    }

    pub(crate) fn preload(text: impl Into<String>) -> Self {
        Self { kind: Kind::Preload(text.into()) }
    }

    pub(crate) fn forkserver(doing: &'static str, source: io::Error) -> Self {
        Self { kind: Kind::Forkserver { doing, source } }
    }

    /// The binary has no `amphi::app!`.
    pub fn is_no_app(&self) -> bool {
        matches!(self.kind, Kind::NoApp)
    }

    /// The engine was started inside a worker or the forkserver.
    pub fn is_not_in_host(&self) -> bool {
        matches!(self.kind, Kind::NotInHost(_))
    }

    /// `preload` failed, panicked, took longer than `start_timeout`, or left a thread behind; or
    /// the process it was to run in could not be started.
    pub fn is_preload(&self) -> bool {
        matches!(self.kind, Kind::Preload(_))
    }

    /// A setting of the builder or of the environment (`AMPHI_PLACE`, `AMPHI_CORES`) makes no
    /// sense.
    pub fn is_setting(&self) -> bool {
        matches!(self.kind, Kind::Setting(_))
    }

    /// The `App` contradicts itself, its configuration cannot be encoded, `each_process` failed in
    /// the host, or (found by `start` where there is a `preload`) its jobs differ from those of the
    /// one that `amphi::app!` names.
    pub fn is_app(&self) -> bool {
        matches!(self.kind, Kind::App(_))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::NoApp => f.write_str(
                "this binary has no amphi::app!; add `amphi::app!(app);` beside `fn app() -> \
                 amphi::App { .. }` in the crate of the binary (main.rs, or the test file)",
            ),
            Kind::NotInHost(role) => write!(
                f,
                "an engine cannot be started inside {role}; start it in the host and submit \
                 from there"
            ),
            Kind::Setting(text) | Kind::App(text) => f.write_str(text),
            Kind::Preload(text) => write!(
                f,
                "{text}; a preload must succeed and leave no thread behind, because workers are \
                 forked from the process it ran in"
            ),
            Kind::Forkserver { doing, .. } => {
                write!(f, "{doing} failed; check the limits on processes and descriptors")
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Forkserver { source, .. } => Some(source),
            _ => None,
        }
    }
}
