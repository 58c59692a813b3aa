//! `report`: what the benches measured, as one page that loads nothing and as Markdown.
//!
//! ```text
//! cargo run --release -p amphi-benches --bin report                  # runs all benches, briefly
//! cargo run --release -p amphi-benches --bin report -- --from DIR    # reads rows of earlier runs
//! ```
//! Follow the rows: [`collect`] runs benches, [`rows`] reads what they write, [`plots`] maps it to
//! plots, [`findings`] to sentences, [`page`] and [`markdown`] write both down.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::collect::Collected;
use crate::fault::Fault;
use crate::page::Report;
use crate::rows::Data;

mod chart;
mod collect;
mod fault;
mod findings;
mod grid;
mod machine;
mod markdown;
mod page;
mod plots;
mod rows;
mod unit;

/// Runs the benches, or reads rows of earlier runs, and writes index.html and report.md.
///
/// The path of the page goes to standard output, everything else to standard error.
/// Exit codes: 0 all done, 1 something failed (a report may be there all the same), 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "report")]
struct Args {
    /// Read the rows (BENCH.json) in this directory and run no bench
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Write into this directory [default: amphi-report in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("report: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: the report is written, but some bench failed.
fn run(args: &Args) -> Result<bool, Fault> {
    let target = target_dir();
    let out = args.out.clone().unwrap_or_else(|| target.join("amphi-report"));
    let collected = match &args.from {
        Some(directory) => {
            let data = Data::read_directory(directory)?;
            Collected { data, absent: Default::default(), failed: false }
        }
        None => collect::run(&target, &out.join("log"))?,
    };
    let report = Report::of(&collected.data, &collected.absent);
    let page = write(&out, "index.html", &report.html())?;
    write(&out, "report.md", &report.markdown())?;
    match writeln!(io::stdout(), "{}", page.display()) {
        // Whoever read standard output is gone: the report is written all the same.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fault::Write { path: "standard output".into(), source: error })
        }
        _ => Ok(!collected.failed),
    }
}

/// Writes a file of the report, whole or not at all.
fn write(out: &Path, name: &str, text: &str) -> Result<PathBuf, Fault> {
    let path = out.join(name);
    let beside = out.join(format!("{name}.new"));
    let written = fs::create_dir_all(out)
        .and_then(|()| fs::write(&beside, text))
        .and_then(|()| fs::rename(&beside, &path));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(Fault::Write { path, source }),
    }
}

/// Cargo puts this program into `TARGET/PROFILE`.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(2).map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
