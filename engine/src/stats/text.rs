//! [`Stats`] as a table for people.

use std::collections::BTreeSet;
use std::fmt;

use super::{Distribution, JobStats, Outcome, PlaceStats, Stats};
use crate::policy::{Ns, Placement};

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "cores {}, workers {}; tasks accepted {}, queued {}, running {}",
            self.cores, self.workers, self.accepted, self.queued, self.running
        )?;
        self.tasks().write(f)?;
        self.stages().write(f)?;
        self.decisions().write(f)?;
        if !self.decisions.is_empty() {
            writeln!(f, "probes {:.2} %, flips {}", 100.0 * self.probe_share, self.flips)?;
        }
        if self.audits > 0 {
            let (audits, differ) = (self.audits, self.audit_mismatches);
            writeln!(f, "audits {audits}, mismatches {differ}")?;
        }
        Ok(())
    }
}

impl Stats {
    fn places(&self) -> impl Iterator<Item = (&JobStats, &PlaceStats)> {
        self.jobs.iter().flat_map(|job| job.places.iter().map(move |place| (job, place)))
    }

    /// How many tasks came to what. Outcomes that never happened have no column.
    fn tasks(&self) -> Table {
        let outcomes: BTreeSet<Outcome> =
            self.places().flat_map(|(_, place)| place.tasks.keys().copied()).collect();
        let retried = self.jobs.iter().any(|job| job.retried > 0);
        let mut head = vec!["job".to_owned(), "place".to_owned()];
        head.extend(outcomes.iter().map(Outcome::to_string));
        head.extend(retried.then(|| "retried".to_owned()));
        let mut table = Table { left: 2, rows: vec![head] };
        for (job, place) in self.places().filter(|(_, place)| !place.tasks.is_empty()) {
            let mut row = vec![job.name.to_owned(), place_name(place.placement)];
            row.extend(outcomes.iter().map(|outcome| number(place.tasks(*outcome))));
            // It is the job's figure, not the place's: the first row has it.
            let first = std::ptr::eq(place, &raw const job.places[0]);
            row.extend(retried.then(|| number(if first { job.retried } else { 0 })));
            table.rows.push(row);
        }
        table
    }

    /// How long things took.
    fn stages(&self) -> Table {
        let head = ["job", "place", "stage", "tasks", "mean", "p50", "p90", "p99", "max"];
        let mut table = Table { left: 3, rows: vec![head.map(str::to_owned).to_vec()] };
        for (job, place) in self.places() {
            for (stage, times) in &place.stages {
                let Distribution { count, mean_ns, p50_ns, p90_ns, p99_ns, max_ns, .. } = times;
                let mut row = vec![job.name.to_owned(), place_name(place.placement)];
                row.extend([stage.to_string(), count.to_string(), Ns(*mean_ns).to_string()]);
                row.extend([p50_ns, p90_ns, p99_ns, max_ns].map(|ns| Ns(*ns as f64).to_string()));
                table.rows.push(row);
            }
        }
        table
    }

    /// Why tasks went where they went.
    fn decisions(&self) -> Table {
        let mut table = Table { left: 2, rows: Vec::new() };
        table.rows.push(["decided", "place", "tasks"].map(str::to_owned).to_vec());
        for decided in &self.decisions {
            let names = [decided.why.to_string(), place_name(decided.placement)];
            table.rows.push([&names[..], &[decided.tasks.to_string()]].concat());
        }
        table
    }
}

fn place_name(place: Placement) -> String {
    match place {
        Placement::Auto => "none".to_owned(),
        place => place.to_string(),
    }
}

/// Nothing is easier to overlook than a nought.
fn number(tasks: u64) -> String {
    if tasks == 0 { "-".to_owned() } else { tasks.to_string() }
}

/// Rows of equal length, the first of them the head; `left` columns of names, then figures.
struct Table {
    left: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Writes it below an empty line, if it has more than a head.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [head, _, ..] = &self.rows[..] else { return Ok(()) };
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        f.write_str("\n")?;
        for row in &self.rows {
            for (column, (text, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "{text:<width$}")?,
                    column if column < self.left => write!(f, "  {text:<width$}")?,
                    _ => write!(f, "  {text:>width$}")?,
                }
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}
