//! What benches have measured, as the rest of the report sees it.
//!
//! A bench writes a median under the metric's name and its spread in rows beside it (`p50_q1`,
//! `p50 / PEER low`, `bound p50`). Here they are one [`Measure`].

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::unit::Unit;

pub(crate) use self::parse::parse;

mod parse;

/// What stands beside a median.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Q1,
    Q3,
    Low,
    High,
    Min,
    Max,
    Pairs,
    /// What the project set itself: the figure is this at most.
    AtMost,
    /// The same: at least.
    AtLeast,
}

/// One figure with its spread, all in the base of its unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measure {
    pub(crate) system: String,
    pub(crate) case: String,
    pub(crate) metric: String,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    parts: Vec<(Part, f64)>,
}

impl Measure {
    /// What stands beside the median.
    pub(crate) fn part(&self, part: Part) -> Option<f64> {
        self.parts.iter().find(|(other, _)| *other == part).map(|&(_, value)| value)
    }

    /// The figure as people read it.
    pub(crate) fn text(&self) -> String {
        self.unit.write(self.value)
    }

    /// The same figure, written without what stands behind its unit.
    pub(crate) fn without_suffix(&self) -> Self {
        let unit = Unit { suffix: String::new(), ..self.unit.clone() };
        Self { unit, ..self.clone() }
    }

    /// `low` and `high` of the spread, as people read them.
    pub(crate) fn between(&self, low: Part, high: Part) -> Option<String> {
        let (low, high) = (self.part(low)?, self.part(high)?);
        let (low, high) = (self.unit.write(low), self.unit.write(high));
        match (low.split_once(' '), high.split_once(' ')) {
            (Some((low, unit)), Some((_, same))) if unit == same => Some(format!("{low} – {high}")),
            _ => Some(format!("{low} – {high}")),
        }
    }
}

/// What one bench measured in one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    pub(crate) bench: String,
    pub(crate) machine: Map<String, Value>,
    pub(crate) measures: Vec<Measure>,
}

impl Run {
    pub(crate) fn find(&self, system: &str, case: &str, metric: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| {
            measure.metric == metric && measure.case == case && measure.system == system
        })
    }

    /// The systems that `keep` some figure, in the order of the file.
    pub(crate) fn systems(&self, keep: impl Fn(&Measure) -> bool) -> Vec<&str> {
        distinct(self.measures.iter().filter(|measure| keep(measure)).map(|m| m.system.as_str()))
    }

    /// The same of cases.
    pub(crate) fn cases(&self, keep: impl Fn(&Measure) -> bool) -> Vec<&str> {
        distinct(self.measures.iter().filter(|measure| keep(measure)).map(|m| m.case.as_str()))
    }
}

/// Each once, in the order in which they were first seen.
pub(crate) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// All runs that there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Data {
    pub(crate) runs: Vec<Run>,
}

impl Data {
    /// The run of a bench, if it has a figure.
    pub(crate) fn run(&self, bench: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.bench == bench && !run.measures.is_empty())
    }

    /// Every `.json` file of a directory.
    ///
    /// # Errors
    /// If there is none, one cannot be understood, or none has a figure.
    pub(crate) fn read_directory(directory: &Path) -> Result<Self, Fault> {
        let path = || directory.to_path_buf();
        let found = fs::metadata(directory).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Fault::Missing { path: path() },
            _ => Fault::Read { path: path(), source },
        })?;
        if !found.is_dir() {
            return Err(Fault::NoDirectory { path: path() });
        }
        let unreadable = |source| Fault::Read { path: path(), source };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.is_file() && file.extension().is_some_and(|end| end == "json") {
                files.push(file);
            }
        }
        if files.is_empty() {
            return Err(Fault::Empty { path: path() });
        }
        files.sort();
        let mut data = Self::default();
        for file in files {
            data.read_file(&file)?;
        }
        if data.runs.iter().all(|run| run.measures.is_empty()) {
            return Err(Fault::NoFigures { path: path() });
        }
        Ok(data)
    }

    /// One file, in addition.
    ///
    /// # Errors
    /// If it cannot be read or understood.
    pub(crate) fn read_file(&mut self, path: &Path) -> Result<(), Fault> {
        let text = fs::read_to_string(path)
            .map_err(|source| Fault::Read { path: path.to_path_buf(), source })?;
        let runs = parse(path, &text)?;
        if let Some(run) = runs.iter().find(|run| self.run(&run.bench).is_some()) {
            return Err(Fault::Twice { path: path.to_path_buf(), bench: run.bench.clone() });
        }
        self.runs.extend(runs);
        Ok(())
    }
}
