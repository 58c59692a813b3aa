//! What can go wrong, each with what to do next.

use std::io;
use std::path::PathBuf;

/// Why there is no report, or not the whole one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{} does not exist: {MEASURE}", path.display())]
    Missing { path: PathBuf },
    #[error("{} is no directory: give the one that holds it", path.display())]
    NoDirectory { path: PathBuf },
    #[error("{} holds no .json file: {MEASURE}", path.display())]
    Empty { path: PathBuf },
    #[error(
        "{} holds rows of the bench {bench}, and so does another file there: move one of them away",
        path.display()
    )]
    Twice { path: PathBuf, bench: String },
    #[error("the rows in {} hold not one figure: {MEASURE}", path.display())]
    NoFigures { path: PathBuf },
    #[error("{} cannot be read ({source}): mend its permissions, or move it away", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} is not the JSON that a bench writes ({source}): run that bench again, or move the \
         file away", path.display()
    )]
    Json { path: PathBuf, source: serde_json::Error },
    #[error(
        "{}: the JSON is {found} and not an array of rows: run that bench again, or move the file \
         away", path.display()
    )]
    NoArray { path: PathBuf, found: &'static str },
    #[error(
        "{}, row {row}: {what}: a row is {{\"bench\", \"system\", \"case\", \"metric\", \
         \"value\", \"unit\"}}; run that bench again, or move the file away", path.display()
    )]
    Row { path: PathBuf, row: usize, what: String },
    #[error("{} cannot be written ({source}): name another directory with --out", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{command} cannot be started ({source}): install cargo, or read rows by --from DIR")]
    Cargo { command: String, source: io::Error },
    #[error("`cargo metadata` failed: {told}: mend that, or read rows by --from DIR")]
    Metadata { told: String },
    #[error("not one bench has written rows: {} has what they said", log.display())]
    NoRun { log: PathBuf },
}

/// How to get rows.
const MEASURE: &str = "measure with `cargo bench -p amphi-benches --bench dispatch -- --quick` and \
                       give the directory that its last line names, or leave --from away";
