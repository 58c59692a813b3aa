//! `offload`: everyday work on files, on threads or in forked processes.
//!
//! ```text
//! cargo run --release --example offload -- hash --recursive engine
//! ```
//! You should see one line for each file, as `sha256sum` prints it. Add `--place process` and the
//! lines are the same, computed in forked workers; `--explain` says which task went where.

mod hash;

use std::process::ExitCode;

use amphi::App;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

amphi::app!(app);

fn app() -> App {
    App::new().include(hash::jobs)
}

/// Everyday work on files, on threads or in forked processes
#[derive(Parser)]
#[command(name = "offload", version)]
enum Command {
    Hash(hash::Args),
}

fn main() -> ExitCode {
    let Command::Hash(args) = Command::parse();
    hash::run(app(), args).unwrap_or_else(|usage| {
        let mut command = Command::command();
        command.build();
        let hash = command.find_subcommand_mut("hash").expect("it is a subcommand");
        hash.error(ErrorKind::ArgumentConflict, usage).exit()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Command::command().debug_assert();
    }
}
