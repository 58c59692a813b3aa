//! Peers in other languages: scripts beside this file that run and time their slices themselves.
//! One line asks for a slice, one line of JSON answers; see `slices.mjs` and `process_pool.py`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use amphi_benches::runtime::{self, REQUIRE, Runtime, Script};
use amphi_benches::{Options, json};
use serde_json::Value;

use super::Slice;
use super::case::Case;

/// How long a script may take to start, and to answer beyond the length of its slice.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names the folder with `node_modules`.
const NODE_MODULES: &str = "AMPHI_NODE_MODULES";

/// A script that can be had.
struct Source {
    name: &'static str,
    runtime: Runtime,
    file: &'static str,
    argument: Argument,
}

/// What follows the number of workers.
enum Argument {
    None,
    Word(&'static str),
    /// The folder of this package, of this major version.
    Package(&'static str, u64),
}

pub(crate) const TRANSFER: &str = "Node worker_threads, transfer";
pub(crate) const PYTHON: &str = "Python ProcessPoolExecutor";

const ALL: [Source; 6] = [
    source("Node worker_threads", Runtime::Node, "worker_threads.mjs", Argument::None),
    source(TRANSFER, Runtime::Node, "worker_threads.mjs", Argument::Word("transfer")),
    source("Node piscina 5", Runtime::Node, "piscina.mjs", Argument::Package("piscina", 5)),
    source(
        "Node workerpool 10, processes",
        Runtime::Node,
        "workerpool.mjs",
        Argument::Package("workerpool", 10),
    ),
    source("Node child_process.fork", Runtime::Node, "child_process.mjs", Argument::None),
    source(PYTHON, Runtime::Python, "process_pool.py", Argument::None),
];

const fn source(
    name: &'static str,
    runtime: Runtime,
    file: &'static str,
    argument: Argument,
) -> Source {
    Source { name, runtime, file, argument }
}

/// A script that runs.
pub(crate) struct Scripted {
    pub(crate) name: &'static str,
    /// Versions, as it tells them itself.
    pub(crate) about: String,
    script: Script,
}

/// Starts the scripts that were asked for. Those that cannot be had come back as texts, in which
/// case `AMPHI_REQUIRE` decides whether that is an error.
pub(crate) fn start(
    options: &Options,
    cores: usize,
) -> Result<(Vec<Scripted>, Vec<String>), Box<dyn Error>> {
    let (mut scripts, mut left_out) = (Vec::new(), Vec::new());
    for source in ALL.iter().filter(|source| options.wants_system(source.name)) {
        let program = match runtime::find(source.runtime) {
            Ok(program) => program,
            Err(missing) => {
                left_out.push(format!("{}: {}", source.name, missing.skip()?));
                continue;
            }
        };
        let argument = match &source.argument {
            Argument::None => None,
            Argument::Word(word) => Some(PathBuf::from(word)),
            Argument::Package(package, major) => match installed(package, *major) {
                Ok(folder) => Some(folder),
                Err(why) if source.runtime.is_required() => {
                    return Err(format!("{}: {why} ({REQUIRE} asks for it)", source.name).into());
                }
                Err(why) => {
                    left_out.push(format!("{}: {why}", source.name));
                    continue;
                }
            },
        };
        scripts.push(Scripted::start(source, &program, argument, cores)?);
    }
    Ok((scripts, left_out))
}

/// The folder in which the package lies, or what to do so that it lies there: this bench loads
/// nothing from the network.
fn installed(package: &str, major: u64) -> Result<PathBuf, String> {
    let folder = match std::env::var_os(NODE_MODULES) {
        Some(folder) => PathBuf::from(folder),
        None => json::target_dir().join("amphi-bench/node"),
    };
    let modules =
        if folder.ends_with("node_modules") { folder } else { folder.join("node_modules") };
    let above = modules.parent().unwrap_or_else(|| Path::new("."));
    let install = format!("npm install --prefix {} piscina@5 workerpool@10", above.display());
    let manifest = fs::read_to_string(modules.join(package).join("package.json"))
        .map_err(|_| format!("{package} is not in {}; run: {install}", modules.display()))?;
    let manifest: Value = serde_json::from_str(&manifest).unwrap_or_default();
    let version = manifest["version"].as_str().unwrap_or("unknown");
    if version.split('.').next().and_then(|first| first.parse().ok()) != Some(major) {
        return Err(format!("{package} is there as {version}, not as {major}; run: {install}"));
    }
    fs::canonicalize(&modules).map_err(|error| format!("{}: {error}", modules.display()))
}

impl Scripted {
    fn start(
        source: &Source,
        program: &Path,
        argument: Option<PathBuf>,
        cores: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let workers = PathBuf::from(cores.to_string());
        let path = runtime::script(source.file);
        let mut script = Script::start(program, &path, std::iter::once(workers).chain(argument))?;
        let greeting = parse(source.name, &script.hear(PATIENCE)?)?;
        let about = greeting["about"].as_str().unwrap_or("of no known version").to_owned();
        Ok(Self { name: source.name, about, script })
    }

    /// One slice of so long, timed by the script.
    pub(crate) fn slice(&mut self, case: Case, time: Duration) -> Result<Slice, Box<dyn Error>> {
        let line = format!("{} {}", case.word(), time.as_millis());
        let answer = self.script.ask(&line, time + PATIENCE)?;
        let answer = parse(self.name, &answer)?;
        let figure = |key: &str| answer[key].as_f64();
        let lacks = || format!("{} answered {answer} to {line:?}", self.name);
        Ok(Slice {
            tasks: figure("tasks").filter(|tasks| *tasks > 0.0).ok_or_else(lacks)?,
            seconds: figure("seconds").ok_or_else(lacks)?,
            p50_ns: figure("p50_ns"),
            p99_ns: figure("p99_ns"),
        })
    }
}

fn parse(name: &str, line: &str) -> Result<Value, Box<dyn Error>> {
    let answer: Value =
        serde_json::from_str(line).map_err(|_| format!("{name} answered {line:?}"))?;
    match answer["error"].as_str() {
        Some(text) => Err(format!("{name} failed: {text}").into()),
        None => Ok(answer),
    }
}
