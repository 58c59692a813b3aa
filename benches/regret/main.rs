//! `regret`: what `Placement::Auto` costs against the better of the two fixed modes, on workloads
//! that were fixed before anybody tuned anything, and what it gains where tasks differ.
//!
//! `cargo bench -p amphi-benches --bench regret [-- --quick]`
//!
//! Workload by workload, each system gets one slice of the same tasks a round. The engines of a
//! workload are started for it, so `auto, warm` is new at its first round and keeps what it has
//! learned; `auto, cold` is a new engine every round. See `benches/README.md`.

use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use amphi::{Engine, Placement};
use amphi_benches::Tally;
use amphi_benches::cpu::Meter;
use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};
use serde_json::{Map, Value, json};

use self::jobs::{Book, Class};
use self::mix::{Recipe, Static};
use self::workloads::{Slice, Workload};

mod jobs;
mod mix;
mod reach;
mod report;
mod workloads;

amphi::app!(jobs::app);

/// `regret` or `regret_mimalloc`: the same source is built twice.
const BENCH: &str = env!("CARGO_CRATE_NAME");

const THREAD: &str = "thread";
const PROCESS: &str = "process";
const WARM: &str = "auto, warm";
const COLD: &str = "auto, cold";
const STATIC: &str = "best static";

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Plan {
    quick: bool,
    rounds: usize,
    /// A slice has so many times fewer tasks than one of a full run.
    divide: usize,
}

impl Plan {
    fn of(options: &Options) -> Self {
        let trial = options.quick && options.rounds == Some(1);
        let divide = match options.quick {
            _ if trial => 40,
            true => 10,
            false => 1,
        };
        let rounds = options.rounds.unwrap_or(if options.quick { 4 } else { 12 });
        Self { quick: options.quick, rounds, divide }
    }
}

/// What a run has found out.
struct Findings {
    tally: Tally,
    workloads: Vec<Workload>,
    recipes: Vec<Recipe>,
    best: Option<Static>,
    /// What the warm engine of each workload says about its decisions at the end.
    decisions: Vec<(&'static str, Vec<String>)>,
}

/// One column of a workload.
struct System {
    name: &'static str,
    /// `None`: each slice has an engine of its own.
    engine: Option<Engine>,
    /// Where each class goes; `None`: where the engine sends it.
    places: Option<Static>,
}

pub(crate) fn main() -> ExitCode {
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(options);
    let mut machine = machine::describe();
    let book = Book::calibrate();
    let neighbours = Neighbours::watch();
    let mut findings = Findings {
        tally: Tally::new(),
        workloads: Vec::new(),
        recipes: Vec::new(),
        best: None,
        decisions: Vec::new(),
    };
    for workload in Workload::singles(plan.divide) {
        if options.wants_case(workload.name) {
            measure(workload, &book, plan, options, &mut findings)?;
        }
    }
    findings.best = Static::of(&findings.tally);
    for recipe in Recipe::all(&book, plan.divide) {
        if options.wants_case(recipe.name) {
            measure(recipe.workload(), &book, plan, options, &mut findings)?;
            findings.recipes.push(recipe);
        }
    }
    note_run(&mut machine, &findings, &book, plan, &neighbours);

    let mut rows = findings.tally.rows(BENCH);
    rows.extend(report::ratio_rows(&findings));
    rows.extend(reach::rows(&findings.tally));
    options.publish(BENCH, rows, &machine, || {
        report::print(&findings, &book, &machine);
        reach::print(&findings.tally);
    })?;
    Ok(())
}

/// All rounds of one workload.
fn measure(
    workload: Workload,
    book: &Book,
    plan: Plan,
    options: &Options,
    findings: &mut Findings,
) -> Result<(), Box<dyn Error>> {
    let systems = systems(&workload, options, findings.best.as_ref())?;
    let terminal = stderr().is_terminal();
    for round in 0..plan.rounds {
        if terminal {
            eprint!("\r\x1b[K{}: round {} of {} ", workload.name, round + 1, plan.rounds);
        }
        for turn in 0..systems.len() {
            let system = &systems[order(round, turn, systems.len())];
            slice(system, &workload, book, round, &mut findings.tally)?;
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
    }
    let warm = systems.iter().find(|system| system.name == WARM);
    if let Some(engine) = warm.and_then(|system| system.engine.as_ref()) {
        findings.decisions.push((workload.name, explain(engine)));
    }
    findings.workloads.push(workload);
    Ok(())
}

/// Whose turn it is: forth, then back, then the same one system further: every system comes as
/// often before as after each other one, and as often first.
fn order(round: usize, turn: usize, count: usize) -> usize {
    let turn = if round.is_multiple_of(2) { turn } else { count - 1 - turn };
    (turn + round / 2) % count
}

/// The systems of a workload, started. All live to its end, but only one at a time has tasks.
fn systems(
    workload: &Workload,
    options: &Options,
    best: Option<&Static>,
) -> Result<Vec<System>, Box<dyn Error>> {
    let mut systems = Vec::new();
    for (name, placement) in [
        (THREAD, Some(Placement::Thread)),
        (PROCESS, Some(Placement::Process)),
        (WARM, Some(Placement::Auto)),
        (COLD, None),
    ] {
        if options.wants_system(name) {
            let engine = placement.map(start).transpose()?;
            systems.push(System { name, engine, places: None });
        }
    }
    if workload.is_mix() && options.wants_system(STATIC) {
        match best {
            Some(best) => systems.push(System {
                name: STATIC,
                // Every task says where it goes; the engine only has to have both places.
                engine: Some(start(Placement::Process)?),
                places: Some(best.clone()),
            }),
            None => eprintln!(
                "{}: without all its single workloads in this run, nobody knows the best static \
                 placement",
                workload.name
            ),
        }
    }
    Ok(systems)
}

fn start(placement: Placement) -> Result<Engine, Box<dyn Error>> {
    Ok(jobs::app().engine().place(placement).start()?)
}

/// One slice: untimed tasks first, except where the start is what is measured.
fn slice(
    system: &System,
    workload: &Workload,
    book: &Book,
    round: usize,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let new;
    let engine = match &system.engine {
        Some(engine) => engine,
        None => {
            new = start(Placement::Auto)?;
            &new
        }
    };
    let place = |class: Class| system.places.as_ref().map_or(Placement::Auto, |of| of.place(class));
    let learns_from_the_start = system.name == COLD || system.name == WARM && round == 0;
    if !learns_from_the_start {
        workloads::warm_up(engine, workload, book, &place);
    }
    let meter = Meter::start();
    let Slice { wall, lost, mut latencies } = workloads::slice(engine, workload, book, &place);
    let spent = meter.stop();

    let tasks = workload.count as f64;
    let mut add = |metric, value, unit| {
        tally.add(round, (system.name, workload.name, metric), value, unit);
    };
    add("cpu", spent.as_secs_f64() * 1e9 / tasks, "ns/task");
    match amphi_benches::stats::nearest(&mut latencies, 0.99) {
        Some(p99) => add("p99", p99 as f64, "ns"),
        None => {
            add("wall", wall.as_secs_f64() * 1e9, "ns");
            add("rate", tasks / wall.as_secs_f64(), "tasks/s");
        }
    }
    add("lost", lost as f64, "tasks");
    Ok(())
}

/// The decisions of an engine that learns, one line a class of tasks.
fn explain(engine: &Engine) -> Vec<String> {
    engine.explain_all().iter().map(ToString::to_string).collect()
}

/// What the machine row says about this run.
fn note_run(
    machine: &mut Map<String, Value>,
    findings: &Findings,
    book: &Book,
    plan: Plan,
    neighbours: &Neighbours,
) {
    machine::note_run(machine, neighbours, plan.quick, plan.rounds);
    for workload in &findings.workloads {
        machine.insert(format!("tasks_a_slice {}", workload.name), json!(workload.count));
    }
    for class in Class::ALL {
        let time = book.time(class).as_secs_f64() * 1e9;
        machine.insert(format!("task_ns {}", class.name()), json!(time.round()));
    }
    for recipe in &findings.recipes {
        for &(class, count) in &recipe.counts {
            machine.insert(format!("{} {}", recipe.name, class.name()), json!(count));
        }
    }
}
