//! `--check`: hashes what a list names and compares. Messages and exit status are those of
//! `sha256sum --check` (coreutils 9.1) or, for BLAKE3, of `b3sum --check` (1.8).

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::digest::{Algorithm, hex};
use super::json::Record;
use super::line::{reason, write_verdict};
use super::parse::{Expected, Line, Parser};
use super::pipeline::Pipeline;
use super::quote::quoted;
use super::screen::{Stop, stdin};
use super::source::{Input, Kind};
use super::submit::{Outcome, Submit};

/// ENOENT: what `--ignore-missing` is about.
const ENOENT: i32 = 2;

/// How much is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Say {
    pub(crate) quiet: bool,
    pub(crate) status: bool,
    pub(crate) ignore_missing: bool,
    pub(crate) json: bool,
}

/// What was seen of one list.
#[derive(Debug, Default)]
struct Counts {
    well_formed: u64,
    malformed: u64,
    matched: u64,
    mismatched: u64,
    unreadable: u64,
}

impl Counts {
    /// Nothing bad, and for coreutils at least one good file.
    fn is_good(&self, algorithm: Algorithm) -> bool {
        let none_bad = self.mismatched == 0 && self.unreadable == 0;
        match algorithm {
            Algorithm::Blake3 => none_bad && self.malformed == 0,
            Algorithm::Sha256 | Algorithm::Sha512 => none_bad && self.matched > 0,
        }
    }
}

/// Checks every list in turn; true when all is well.
pub(crate) struct Check<'a> {
    pub(crate) submit: Submit<'a>,
    pub(crate) say: Say,
}

impl Check<'_> {
    pub(crate) fn lists(&self, lists: &[PathBuf]) -> Result<bool, Stop> {
        let mut parser = Parser::new(self.submit.options.algorithm);
        let mut good = true;
        let mut bad_blake3 = 0;
        for list in lists {
            match self.list(list, &mut parser)? {
                Some(counts) => {
                    good &= counts.is_good(self.submit.options.algorithm);
                    bad_blake3 += counts.mismatched + counts.unreadable + counts.malformed;
                }
                None => good = false,
            }
        }
        // `b3sum` sums up once, and counts whatever went wrong.
        if self.submit.options.algorithm == Algorithm::Blake3 && bad_blake3 > 0 && !self.say.status
        {
            self.warn(
                bad_blake3,
                "computed checksum did NOT match",
                "computed checksums did NOT match",
            );
        }
        Ok(good)
    }

    /// `None`: the list could not be read to its end.
    fn list(&self, list: &Path, parser: &mut Parser) -> Result<Option<Counts>, Stop> {
        let is_stdin = list.as_os_str() == "-";
        let name =
            if is_stdin { quoted(OsStr::new("standard input")) } else { quoted(list.as_os_str()) };
        let file = match if is_stdin { stdin() } else { File::open(list) } {
            Ok(file) => file,
            Err(error) => {
                self.complain_of(&name, &text_of(&error));
                return Ok(None);
            }
        };
        let counts = RefCell::new(Counts::default());
        let broken = Cell::new(None);
        let lines = Lines {
            file: BufReader::new(file),
            parser,
            is_stdin,
            algorithm: self.submit.options.algorithm,
            broken: &broken,
        };
        Pipeline::new(self.submit, lines)
            .run(|line, outcome| self.tell(&mut counts.borrow_mut(), line, outcome))?;
        let counts = counts.into_inner();
        if let Some(error) = broken.take() {
            let text = match self.submit.options.algorithm {
                Algorithm::Blake3 => text_of(&error),
                _ => "read error".to_string(),
            };
            self.complain_of(&name, &text);
            return Ok(None);
        }
        if self.submit.options.algorithm != Algorithm::Blake3 {
            self.sum_up(&name, &counts);
        }
        Ok(Some(counts))
    }

    fn tell(&self, counts: &mut Counts, line: Listed, outcome: Outcome) -> Result<(), Stop> {
        let expected = match line {
            Listed::Expected(expected) => expected,
            Listed::Malformed(why) => {
                counts.malformed += 1;
                if self.submit.options.algorithm == Algorithm::Blake3 && !self.say.status {
                    self.submit.screen.complain(why);
                }
                return Ok(());
            }
        };
        counts.well_formed += 1;
        match outcome {
            Outcome::Hashed(hashed) if hex(&hashed.digest) == expected.digest => {
                counts.matched += 1;
                if self.say.quiet {
                    return Ok(());
                }
                self.print(&expected, "OK", Ok(&hashed), "ok")
            }
            Outcome::Hashed(hashed) => {
                counts.mismatched += 1;
                self.print(&expected, "FAILED", Ok(&hashed), "failed")
            }
            Outcome::Unreadable(ENOENT) if self.say.ignore_missing => {
                if self.say.json && !self.say.quiet {
                    return self.print(&expected, "", Err(&reason(ENOENT)), "missing");
                }
                Ok(())
            }
            Outcome::Unreadable(errno) => {
                let full = io::Error::from_raw_os_error(errno).to_string();
                self.unreadable(counts, &expected, &reason(errno), &full)
            }
            Outcome::GaveUp(text) => self.unreadable(counts, &expected, &text, &text),
            Outcome::Passed => Ok(()),
        }
    }

    /// Coreutils gives the reason on standard error, `b3sum` in the verdict.
    fn unreadable(
        &self,
        counts: &mut Counts,
        expected: &Expected,
        text: &str,
        full: &str,
    ) -> Result<(), Stop> {
        counts.unreadable += 1;
        if self.submit.options.algorithm == Algorithm::Blake3 {
            return self.print(expected, &format!("FAILED ({full})"), Err(text), "unreadable");
        }
        self.complain_of(&quoted(expected.path.as_os_str()), text);
        self.print(expected, "FAILED open or read", Err(text), "unreadable")
    }

    fn print(
        &self,
        expected: &Expected,
        verdict: &str,
        hashed: Result<&super::digest::Hashed, &str>,
        json_verdict: &'static str,
    ) -> Result<(), Stop> {
        if self.say.status {
            return Ok(());
        }
        let name = expected.path.as_os_str();
        self.submit.screen.print(|out| {
            if self.say.json {
                let record = Record::new(self.submit.options.algorithm, name, hashed);
                return record.with_verdict(json_verdict, &expected.digest).write(out);
            }
            match self.submit.options.algorithm {
                // Already escaped, as it stood in the list.
                Algorithm::Blake3 => write_verdict(out, &expected.shown, verdict),
                _ => write_verdict(out, name.as_bytes(), verdict),
            }
        })
    }

    fn sum_up(&self, list: &[u8], counts: &Counts) {
        if counts.well_formed == 0 {
            return self.complain_of(list, "no properly formatted checksum lines found");
        }
        if self.say.status {
            return;
        }
        self.warn(
            counts.malformed,
            "line is improperly formatted",
            "lines are improperly formatted",
        );
        self.warn(
            counts.unreadable,
            "listed file could not be read",
            "listed files could not be read",
        );
        self.warn(
            counts.mismatched,
            "computed checksum did NOT match",
            "computed checksums did NOT match",
        );
        if self.say.ignore_missing && counts.matched == 0 {
            self.complain_of(list, "no file was verified");
        }
    }

    fn warn(&self, count: u64, one: &str, many: &str) {
        if count > 0 {
            let what = if count == 1 { one } else { many };
            self.submit.screen.complain(&format!("WARNING: {count} {what}"));
        }
    }

    fn complain_of(&self, name: &[u8], text: &str) {
        self.submit.screen.complain(&[name, b": ", text.as_bytes()].concat());
    }
}

fn text_of(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), reason)
}

/// A line that has its turn in the output.
enum Listed {
    Expected(Expected),
    Malformed(&'static str),
}

/// The inputs that a list names.
struct Lines<'a> {
    file: BufReader<File>,
    parser: &'a mut Parser,
    is_stdin: bool,
    algorithm: Algorithm,
    /// Why reading ended early.
    broken: &'a Cell<Option<io::Error>>,
}

impl Iterator for Lines<'_> {
    type Item = Input<Listed>;

    fn next(&mut self) -> Option<Input<Listed>> {
        loop {
            let mut line = Vec::new();
            match self.file.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    self.broken.set(Some(error));
                    return None;
                }
            }
            let pass =
                |why| Input { key: Listed::Malformed(why), path: PathBuf::new(), kind: Kind::Pass };
            match self.parser.line(&line) {
                Line::Blank => {}
                Line::Malformed(why) => return Some(pass(why)),
                Line::Expected(expected) => {
                    let path = expected.path.clone();
                    let kind = match path.as_os_str() == OsStr::new("-") {
                        // The list itself comes from there.
                        true if self.is_stdin => {
                            return Some(pass("standard input holds the list itself"));
                        }
                        true => Kind::Stdin,
                        false => Kind::of(&path, self.algorithm),
                    };
                    return Some(Input { key: Listed::Expected(expected), path, kind });
                }
            }
        }
    }
}
