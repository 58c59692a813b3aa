//! The flags that every bench understands, read after `cargo bench … --`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, stderr};
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::json::{self, Row};

/// What was asked for on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Short slices and few rounds: under a minute for the whole bench.
    pub quick: bool,
    /// Print the JSON rows on standard output and no table.
    pub json_only: bool,
    /// Rounds instead of the bench's own number.
    pub rounds: Option<usize>,
    /// Only systems whose name contains one of these; empty: all.
    pub systems: Vec<String>,
    /// Only cases whose name contains one of these; empty: all.
    pub cases: Vec<String>,
}

impl Options {
    /// The flags in words, for `--help` and for wrong usage.
    pub const USAGE: &str = "\
  --quick          short slices, few rounds (under a minute)
  --json-only      print the JSON rows instead of the table
  --rounds N       measure N rounds
  --system TEXT    only systems whose name contains TEXT (may be repeated)
  --case TEXT      only cases whose name contains TEXT (may be repeated)";

    /// Reads the arguments that follow the program's name. `cargo bench` always gives one;
    /// without any, `cargo test --benches` is asking whether the bench still runs: one quick round.
    ///
    /// # Errors
    /// A text for people: what was wrong, then the usage. `--help` ends here too.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter().peekable();
        if arguments.peek().is_none() {
            return Ok(Self { quick: true, rounds: Some(1), ..options });
        }
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| wrong(&flag, "needs a value"));
            match flag.as_str() {
                "--bench" => {} // cargo adds it
                "--quick" => options.quick = true,
                "--json-only" => options.json_only = true,
                "--system" => options.systems.push(value()?),
                "--case" => options.cases.push(value()?),
                "--rounds" => match value()?.parse() {
                    Ok(rounds) if rounds > 0 => options.rounds = Some(rounds),
                    _ => return Err(wrong(&flag, "needs a number above zero")),
                },
                "--help" | "-h" => return Err(Self::USAGE.to_owned()),
                _ => return Err(wrong(&flag, "is not a flag of this bench")),
            }
        }
        Ok(options)
    }

    /// Whether a system of this name is to be measured.
    pub fn wants_system(&self, name: &str) -> bool {
        wants(&self.systems, name)
    }

    /// The end of a bench: writes its rows and the machine's into its file, and prints them, or the
    /// tables.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn publish(
        &self,
        bench: &str,
        mut rows: Vec<Row>,
        machine: &Map<String, Value>,
        print_tables: impl FnOnce(),
    ) -> io::Result<()> {
        rows.push(Row::machine(bench, machine.clone()));
        let written = json::write(bench, &rows)?;
        if self.json_only {
            print!("{}", json::text(&rows));
        } else {
            print_tables();
        }
        eprintln!("rows: {}", written.display());
        Ok(())
    }

    /// Whether a case of this name is to be measured.
    pub fn wants_case(&self, name: &str) -> bool {
        wants(&self.cases, name)
    }
}

/// Tells at a terminal which round of how many begins; [`end_of_rounds`] ends the line.
pub fn round_begins(round: usize, rounds: usize) {
    if stderr().is_terminal() {
        eprint!("\rround {} of {rounds} ", round + 1);
    }
}

/// See [`round_begins`].
pub fn end_of_rounds() {
    if stderr().is_terminal() {
        eprintln!();
    }
}

/// Variables by which an engine is told what a bench tells it itself: the figures of a run with one
/// of them would be those of something else.
const VARIABLES: [&str; 3] = ["AMPHI_PLACE", "AMPHI_CORES", "AMPHI_AUDIT"];

/// A bench's `main`: reads the flags and runs it. Wrong flags, and variables that would move the
/// tasks, end with 2, an error with 1.
pub fn main(bench: &str, run: impl FnOnce(&Options) -> Result<(), Box<dyn Error>>) -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    if let Some(name) = first_set(&VARIABLES) {
        eprintln!("{bench} bench: {name} is set and would change what is measured; unset it");
        return ExitCode::from(2);
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{bench} bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn first_set<'a>(variables: &[&'a str]) -> Option<&'a str> {
    variables.iter().copied().find(|name| std::env::var_os(name).is_some())
}

fn wants(filter: &[String], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|text| name.contains(text.as_str()))
}

fn wrong(flag: &str, what: &str) -> String {
    let mut text = format!("{flag} {what}; the flags are\n");
    let _ = write!(text, "{}", Options::USAGE);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read_and_cargos_own_is_ignored() {
        let options = parse("--quick --bench --rounds 7 --system rayon --system amphi").unwrap();
        assert!(options.quick && !options.json_only);
        assert_eq!(options.rounds, Some(7));
        assert!(options.wants_system("amphi processes") && !options.wants_system("tokio"));
        assert!(options.wants_case("anything"));
    }

    #[test]
    fn without_arguments_it_is_a_trial() {
        let options = parse("").unwrap();
        assert!(options.quick && options.rounds == Some(1));
        assert_eq!(parse("--bench").unwrap(), Options::default());
    }

    #[test]
    fn a_variable_that_is_set_is_named() {
        assert_eq!(first_set(&["AMPHI_NO_SUCH_VARIABLE"]), None);
        assert_eq!(first_set(&["AMPHI_NO_SUCH_VARIABLE", "PATH"]), Some("PATH"));
    }

    #[test]
    fn wrong_flags_say_what_is_wrong() {
        for line in ["--rounds", "--rounds 0", "--rounds x", "--fast"] {
            assert!(parse(line).unwrap_err().contains("--quick"), "{line}");
        }
    }
}
