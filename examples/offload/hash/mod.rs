//! `offload hash`: the checksums of files, in the words of `sha256sum`, `sha512sum` and `b3sum`.
//!
//! The way of an input: `source` (with `walk`) looks at it, `pipeline` puts it into a task with its
//! neighbours or splits it (`large`, `subtree`), `submit` hands that to the engine, `job` hashes it
//! on a thread or in a worker, and here or in `check` its outcome becomes a `line` on the `screen`.

mod check;
mod digest;
mod job;
mod json;
mod large;
mod line;
mod parse;
mod pipeline;
mod quote;
mod screen;
mod source;
mod submit;
mod subtree;
mod walk;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use amphi::{App, Placement};
use clap::builder::{OsStringValueParser, TypedValueParser};

use self::check::{Check, Say};
use self::digest::Algorithm;
use self::json::Record;
use self::line::{reason, write_sum};
use self::pipeline::Pipeline;
use self::quote::quoted;
use self::screen::{Screen, Stop};
use self::source::from_arguments;
use self::submit::{Options, Outcome, Submit};
use self::walk::Exclude;

/// Print or check the checksums of files.
///
/// The lines are those of sha256sum and sha512sum (coreutils 9.1) or of b3sum (1.8), in input
/// order. With no PATH, or where PATH is -, standard input is read (always by this process).
///
/// Exit status: 0 all is well, 1 some input could not be read or did not match, 2 wrong usage,
/// 130 interrupted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to hash
    #[arg(short, long, value_enum, default_value_t = Algorithm::Sha256)]
    algorithm: Algorithm,

    /// Where to hash: on threads of this process, in forked processes, or as the engine decides
    #[arg(long, value_enum, default_value_t = Place::Auto)]
    place: Place,

    /// The most cores to keep busy [default: all that this process may use]
    #[arg(long, value_name = "N")]
    cores: Option<NonZeroUsize>,

    /// Hash the files below directories, in byte order of their paths. Symbolic links below a PATH
    /// are not followed; pipes, sockets and devices below it are skipped and named
    #[arg(short, long, conflicts_with = "check")]
    recursive: bool,

    /// Leave out what GLOB matches: a name at any depth or, if it has a slash, a path below PATH;
    /// with a slash at its end, directories only. May be given several times
    #[arg(long, value_name = "GLOB", conflicts_with = "check")]
    exclude: Vec<String>,

    /// Read checksums from FILE (every PATH is such a list, none means standard input) and check
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    check: Option<Option<PathBuf>>,

    /// With --check: do not print OK for each good file
    #[arg(long, requires = "check", overrides_with = "status")]
    quiet: bool,

    /// With --check: print nothing, the exit status tells
    #[arg(long, requires = "check", overrides_with = "quiet")]
    status: bool,

    /// With --check: pass over files that do not exist
    #[arg(long, requires = "check")]
    ignore_missing: bool,

    /// End lines with NUL, not newline, and do not escape names
    #[arg(short, long, conflicts_with_all = ["check", "json"])]
    zero: bool,

    /// Give up a file (or a piece of a large one) after S seconds. It is hashed in a process, which
    /// is killed then; standard input has no such limit
    #[arg(long, value_name = "S", value_parser = seconds)]
    kill_after: Option<Duration>,

    /// Print one JSON object a file; a name that is not UTF-8 is given in hexadecimal as path_hex
    #[arg(long)]
    json: bool,

    /// Say on standard error where each task ran and why, and at the end what was decided for each
    /// class of tasks, with its figures
    #[arg(long)]
    explain: bool,

    /// The files; - is standard input
    #[arg(value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    Auto,
    Thread,
    Process,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give a number of seconds".to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err("give a number of seconds above zero".to_string()),
    }
}

/// The jobs of this command.
pub(crate) fn jobs(app: App) -> App {
    app.job::<job::HashFiles>().job::<job::HashRange>()
}

/// Runs the command. `Err`: wrong usage, in words.
pub(crate) fn run(app: App, mut args: Args) -> Result<ExitCode, String> {
    if args.place == Place::Thread && args.kill_after.is_some() {
        return Err(
            "--kill-after needs a process, which can be killed; a thread cannot: leave out \
                    --place thread or --kill-after"
                .to_string(),
        );
    }
    let exclude = Exclude::new(&args.exclude).map_err(|error| format!("--exclude: {error}"))?;
    let lists = args.check.take().map(|list| lists(list, &mut args.paths));
    let screen = match Screen::new(!args.status, || total_bytes(&args, lists.is_some())) {
        Ok(screen) => screen,
        Err(stop) => return Ok(failed(&format!("standard output: {stop:?}"))),
    };
    screen.exit_on_interrupt();
    let cores = args.cores.or_else(|| std::thread::available_parallelism().ok());
    let options = args.options(cores.map_or(1, NonZeroUsize::get));
    let mut builder = app.engine().queue(2 * options.tasks_max);
    if let Some(cores) = args.cores {
        builder = builder.cores(cores.get());
    }
    let engine = match builder.start() {
        Ok(engine) => engine,
        Err(error) => return Ok(failed(&error.to_string())),
    };
    let submit = Submit { engine: &engine, options, screen: &screen };
    let ended = match lists {
        Some(lists) => Check { submit, say: args.say() }.lists(&lists),
        None => sums(submit, &args, &exclude),
    };
    if args.explain {
        for class in engine.explain_all() {
            screen.complain(&class.to_string());
        }
    }
    Ok(screen.close(ended))
}

fn failed(text: &str) -> ExitCode {
    eprintln!("offload: {text}");
    ExitCode::FAILURE
}

/// The lists to check: the value of `--check=FILE`, then every path; standard input if there is
/// neither.
fn lists(value: Option<PathBuf>, paths: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let mut lists: Vec<PathBuf> = value.into_iter().chain(paths.drain(..)).collect();
    if lists.is_empty() {
        lists.push("-".into());
    }
    lists
}

/// What the progress bar counts to: known without a walk if only files were named.
fn total_bytes(args: &Args, check: bool) -> Option<u64> {
    if check || args.recursive {
        return None;
    }
    let bytes = |path: &PathBuf| {
        std::fs::metadata(path).ok().filter(|found| found.is_file()).map(|found| found.len())
    };
    let total: u64 = args.paths.iter().map(|path| bytes(path).unwrap_or(0)).sum();
    (total > 0).then_some(total)
}

impl Args {
    fn options(&self, cores: usize) -> Options {
        Options {
            algorithm: self.algorithm,
            place: match self.place {
                Place::Auto => None,
                Place::Thread => Some(Placement::Thread),
                Place::Process => Some(Placement::Process),
            },
            kill_after: self.kill_after,
            explain: self.explain,
            tasks_max: cores.saturating_mul(4).clamp(8, 1024),
        }
    }

    fn say(&self) -> Say {
        Say {
            quiet: self.quiet,
            status: self.status,
            ignore_missing: self.ignore_missing,
            json: self.json,
        }
    }
}

/// Prints the checksum of every input; true when all could be read.
fn sums(submit: Submit<'_>, args: &Args, exclude: &Exclude) -> Result<bool, Stop> {
    let screen = submit.screen;
    let mut good = true;
    let inputs = from_arguments(&args.paths, args.algorithm, args.recursive, exclude);
    Pipeline::new(submit, inputs).run(|path, outcome| {
        let name = path.as_os_str();
        let complain = |text: &str| screen.complain(&[&quoted(name), text.as_bytes()].concat());
        let why = match outcome {
            Outcome::Hashed(hashed) if args.json => {
                let record = Record::new(args.algorithm, name, Ok(&hashed));
                return screen.print(|out| record.write(out));
            }
            Outcome::Hashed(hashed) => {
                return screen
                    .print(|out| write_sum(out, args.algorithm, &hashed.digest, name, args.zero));
            }
            Outcome::Passed => {
                complain(": not a regular file, skipped");
                return Ok(());
            }
            Outcome::Unreadable(errno) => reason(errno),
            Outcome::GaveUp(text) => text,
        };
        good = false;
        complain(&format!(": {why}"));
        if args.json {
            let record = Record::new(args.algorithm, name, Err(&why));
            screen.print(|out| record.write(out))?;
        }
        Ok(())
    })?;
    Ok(good)
}
