//! The tables of a run.

use amphi_benches::machine::{headline, versions};
use amphi_benches::{Table, Tally};
use serde_json::{Map, Value};

use super::burst::{self, Burst};
use super::scale::{self, Figure, Moment};
use super::systems::{Systems, has_processes};
use super::{BENCH, Plan, RUNTIMES, TASKS};

/// Prints every table on standard output.
pub(crate) fn print(tally: &Tally, systems: &Systems, plan: &Plan, machine: &Map<String, Value>) {
    println!("\n{}; {}", headline(BENCH, machine), versions(machine, &RUNTIMES));
    println!("All figures are medians over rounds; `started` and `worked` are idle moments:");
    println!("after one empty task, and after {TASKS} tasks of hashing 64 KiB, of each worker.");
    let names: Vec<&str> = systems.present.iter().map(|system| system.name).collect();
    everybody(tally, &names, plan);
    workers(tally, &names, plan);
    slopes(tally, &names);
    bursts(tally, &names, plan);
    for (name, reason) in &systems.absent {
        println!("\n{name}: NOT MEASURED, {reason}");
    }
}

/// Host, forkserver and workers together.
fn everybody(tally: &Tally, names: &[&str], plan: &Plan) {
    let columns = [
        ("RSS", scale::RSS),
        ("PSS", scale::PSS),
        ("USS", scale::USS),
        ("private dirty", scale::PRIVATE_DIRTY),
        ("shared memory (PSS)", scale::SHMEM_PSS),
        ("page tables", scale::PAGE_TABLES),
    ];
    let head = ["Everybody, worked: MiB", "workers"];
    let mut table = Table::new(head.into_iter().chain(columns.iter().map(|(title, _)| *title)));
    for name in names {
        for &count in &plan.counts {
            let case = Moment::Worked.case(count);
            let cell = |figure: &Figure| Some(mib(median(tally, name, &case, figure.all)?));
            let cells: Vec<_> = columns.iter().map(|(_, figure)| cell(figure)).collect();
            push(&mut table, [(*name).to_owned(), count.to_string()], cells);
        }
    }
    show("Host, forkserver and workers together. RSS counts shared pages again and again", &table);
}

/// One worker: the mean over those of a host.
fn workers(tally: &Tally, names: &[&str], plan: &Plan) {
    let columns = [
        ("RSS", scale::RSS.worker),
        ("PSS", scale::PSS.worker),
        ("USS", scale::USS.worker),
        ("largest USS", scale::USS.largest),
        ("private dirty", scale::PRIVATE_DIRTY.worker),
        ("shared memory", scale::SHMEM.worker),
        ("page tables", scale::PAGE_TABLES.worker),
    ];
    let head = ["One worker: KiB", "of", ""];
    let mut table = Table::new(head.into_iter().chain(columns.iter().map(|(title, _)| *title)));
    for name in names.iter().filter(|name| has_processes(name)) {
        for moment in Moment::ALL {
            for &count in &plan.counts {
                let case = moment.case(count);
                let cell = |metric| Some(kib(median(tally, name, &case, metric)?));
                let cells: Vec<_> = columns.iter().map(|(_, metric)| cell(*metric)).collect();
                let first = [name.to_string(), count.to_string(), moment.name().to_owned()];
                push(&mut table, first, cells);
            }
        }
    }
    show("One worker that is a process", &table);
}

/// What each further worker adds to everybody's memory.
fn slopes(tally: &Tally, names: &[&str]) {
    let columns = [
        ("PSS", scale::PSS),
        ("USS", scale::USS),
        ("shared memory (PSS)", scale::SHMEM_PSS),
        ("page tables", scale::PAGE_TABLES),
    ];
    let titles = columns.iter().map(|(title, _)| *title);
    let mut table = Table::new(["Each further worker adds: KiB", ""].into_iter().chain(titles));
    for name in names {
        for moment in Moment::ALL {
            let case = moment.slope_case();
            let cell = |figure: &Figure| {
                let spread = tally.spread(name, &case, figure.all)?;
                let ends = format!("{} – {}", kib(spread.q1), kib(spread.q3));
                Some(format!("{} ({ends})", kib(spread.median)))
            };
            let cells: Vec<_> = columns.iter().map(|(_, figure)| cell(figure)).collect();
            push(&mut table, [(*name).to_owned(), moment.name().to_owned()], cells);
        }
    }
    show("The slope over all counts, with its quartiles over rounds", &table);
}

fn bursts(tally: &Tally, names: &[&str], plan: &Plan) {
    let columns = [burst::BEFORE, burst::HELD, burst::AT_ONCE, burst::RENEWED];
    let head = ["After a burst: PSS of everybody, MiB", ""].into_iter();
    let titles = ["before", "held", "at once", "renewed"];
    let rest = ["back at once", "back renewed", "replaced"];
    let mut table = Table::new(head.chain(titles).chain(rest));
    for name in names {
        for burst in Burst::ALL {
            let of = |metric| median(tally, name, burst.name(), metric);
            // Adding zero makes a plain one of a negative zero.
            let percent = |metric| Some(format!("{:.0} %", (100.0 * of(metric)?).round() + 0.0));
            let mut cells: Vec<_> = columns.iter().map(|metric| of(metric).map(mib)).collect();
            cells.push(percent(burst::BACK_AT_ONCE));
            cells.push(percent(burst::BACK_RENEWED));
            cells.push(of(burst::REPLACED).map(|workers| format!("{workers:.0}")));
            push(&mut table, [(*name).to_owned(), burst.name().to_owned()], cells);
        }
    }
    let title = format!(
        "{} workers or threads, each with {} MiB in pieces of 16 KiB; amphi replaces a worker that \
         has grown by {} MiB, of Node all are ended and started anew",
        plan.burst_workers,
        burst::MIB,
        burst::GROWTH_MIB,
    );
    show(&title, &table);
}

fn median(tally: &Tally, name: &str, case: &str, metric: &'static str) -> Option<f64> {
    tally.spread(name, case, metric).map(|spread| spread.median)
}

/// A row, if any of it was measured.
fn push<const N: usize>(table: &mut Table, first: [String; N], cells: Vec<Option<String>>) {
    if cells.iter().any(Option::is_some) {
        let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned()));
        table.push(first.into_iter().chain(cells));
    }
}

fn show(title: &str, table: &Table) {
    if !table.is_empty() {
        print!("\n{title}\n\n{table}");
    }
}

fn mib(kib: f64) -> String {
    format!("{:.1}", kib / 1024.0)
}

pub(crate) fn kib(kib: f64) -> String {
    format!("{kib:.0}")
}
