//! What the figures say about threads and processes, in sentences that are computed from them.
//!
//! A sentence whose figures are missing is left out; none is made up.

use crate::plots::field::{Cell, Field};
use crate::rows::{Data, Measure, Run};
use crate::unit::{self, Dimension};

/// A sentence, and the part of the report that shows its figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) text: String,
    pub(crate) section: &'static str,
}

/// What the first screen says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    /// When a thread is right.
    pub(crate) thread: Vec<Finding>,
    /// When a process is right.
    pub(crate) process: Vec<Finding>,
    /// What the way to either costs.
    pub(crate) cost: Vec<Finding>,
}

/// True of both whatever is measured.
pub(crate) const NEED: &str = "Whatever the figures: a process where code may crash, hang or leak, \
                               where it must be killed or limited, or where it must not run twice \
                               at a time in one process. No thread can give that.";

/// From this ratio on one of both is called cheaper: below it lies the noise of quiet runs.
const CLEARLY: f64 = 1.10;

const THREADS: &str = "amphi threads";
const PROCESSES: &str = "amphi processes";

/// All sentences for which there are figures.
pub(crate) fn of(data: &Data) -> Verdict {
    let mut verdict = Verdict::default();
    if let Some(field) = data.run("crossover").and_then(Field::of) {
        crossover(&field, &mut verdict);
    }
    if let Some(run) = data.run("regret") {
        workloads(run, &mut verdict);
        verdict.cost.extend(automatic(run));
    }
    if let Some(run) = data.run("dispatch") {
        let dispatched = dispatch(run);
        verdict.cost.splice(0..0, dispatched);
    }
    verdict.cost.extend(data.run("memory").and_then(memory));
    verdict.cost.extend(data.run("respawn").and_then(respawn));
    verdict
}

fn finding(section: &'static str, text: String) -> Finding {
    Finding { text, section }
}

/// From which service time on a process hardly costs more, and where it costs less.
fn crossover(field: &Field, verdict: &mut Verdict) {
    let sizes = || field.sizes.iter().enumerate();
    let known: Vec<(f64, f64)> =
        sizes().filter_map(|(index, size)| Some((*size, field.from(index, CLEARLY)?))).collect();
    let never: Vec<String> = sizes()
        .filter(|(index, _)| field.from(*index, CLEARLY).is_none())
        .map(|(_, size)| unit::size(*size))
        .collect();
    let written = |points: &[(f64, f64)]| -> String {
        let one =
            |(size, time): &(f64, f64)| format!("{} with {}", unit::time(*time), unit::size(*size));
        few(points).iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let shortest = field.times.first().copied().unwrap_or(0.0);
    let longest = field.times.last().map_or_else(String::new, |time| unit::time(*time));
    // Of a size whose shortest work is cheap already, nobody knows from when on.
    let later: Vec<(f64, f64)> = known.iter().copied().filter(|of| of.1 > shortest).collect();
    let mut dear = Vec::new();
    if !later.is_empty() {
        dear.push(format!("for work shorter than {}", written(&later)));
    }
    if !never.is_empty() {
        dear.push(format!("for all work up to {longest} with {}", few(&never).join(", ")));
    }
    if !dear.is_empty() {
        let text = format!("A process costs more than a tenth more {}.", dear.join("; and "));
        verdict.thread.push(finding("crossover", text));
    }
    let by_ratio = |a: &Cell, b: &Cell| a.ratio.total_cmp(&b.ratio);
    let worst = field.measured().filter(|cell| cell.ratio > CLEARLY).max_by(by_ratio);
    if let Some(Cell { size, time, ratio }) = worst {
        let (size, time, ratio) = (unit::size(size), unit::time(time), unit::digits(ratio));
        let text = format!("Most of all {ratio} times as much, with {size} and {time} of work.");
        verdict.thread.push(finding("crossover", text));
    }
    if !known.is_empty() {
        let text =
            format!("A process costs at most a tenth more for work from {} on.", written(&known));
        verdict.process.push(finding("crossover", text));
    }
    let best = field.measured().filter(|cell| cell.ratio < 1.0 / CLEARLY).min_by(by_ratio);
    if let Some(Cell { size, time, ratio }) = best {
        let (size, time, ratio) = (unit::size(size), unit::time(time), unit::ratio(ratio));
        let text = format!("It costs {ratio} of a thread at best, with {size} and {time} of work.");
        verdict.process.push(finding("crossover", text));
    }
}

/// Three of a list say enough: its first, middle and last.
fn few<T: Clone>(all: &[T]) -> Vec<T> {
    match all {
        [first, .., last] if all.len() > 3 => {
            vec![first.clone(), all[all.len() / 2].clone(), last.clone()]
        }
        _ => all.to_vec(),
    }
}

/// Workloads that one of the two fixed modes does clearly cheaper.
fn workloads(run: &Run, verdict: &mut Verdict) {
    let (mut on_threads, mut in_processes) = (Vec::new(), Vec::new());
    for case in run.cases(|_| true) {
        let cost = |system| {
            let found = run.find(system, case, "wall").or_else(|| run.find(system, case, "p99"));
            found.map(|measure| measure.value)
        };
        let (Some(thread), Some(process)) = (cost("thread"), cost("process")) else { continue };
        let ratio = process / thread;
        if ratio > CLEARLY {
            on_threads.push((ratio, format!("{case} {}×", unit::digits(ratio))));
        } else if ratio < 1.0 / CLEARLY {
            in_processes.push((1.0 / ratio, format!("{case} {}", unit::ratio(ratio))));
        }
    }
    let listed = |mut found: Vec<(f64, String)>| {
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let names: Vec<String> = found.into_iter().take(4).map(|(_, name)| name).collect();
        (!names.is_empty()).then(|| names.join("; "))
    };
    if let Some(names) = listed(on_threads) {
        let text = format!("Workloads that cost more in processes than on threads: {names}.");
        verdict.thread.push(finding("regret", text));
    }
    if let Some(names) = listed(in_processes) {
        let text =
            format!("Workloads that cost less in processes (as a share of threads): {names}.");
        verdict.process.push(finding("regret", text));
    }
}

/// What it costs to leave the choice to the engine.
fn automatic(run: &Run) -> Option<Finding> {
    let mut ratios: Vec<(f64, &str)> = run
        .measures
        .iter()
        .filter(|m| m.metric == "cost / better fixed mode" && m.system.contains("warm"))
        .map(|measure| (measure.value, measure.case.as_str()))
        .collect();
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (low, high) = (ratios.first()?, ratios.last()?);
    let text = format!(
        "If you leave it to the engine (the default): {} ({}) to {} ({}) of what the better fixed \
         mode costs, over {} workloads.",
        unit::ratio(low.0),
        low.1,
        unit::ratio(high.0),
        high.1,
        ratios.len()
    );
    Some(finding("regret", text))
}

/// What handing over costs, awake, asleep and with bytes.
fn dispatch(run: &Run) -> Vec<Finding> {
    let pair = |case: &str| {
        let p50 = |system| run.find(system, case, "p50").map(Measure::text);
        Some((p50(THREADS)?, p50(PROCESSES)?))
    };
    let mut findings = Vec::new();
    if let Some((thread, process)) = pair("hot u64") {
        let asleep = pair("parked u64").map_or_else(String::new, |(thread, process)| {
            format!("; {thread} and {process} when everybody sleeps")
        });
        let text = format!(
            "A tiny task and its answer take {thread} on a thread and {process} in a process while \
             all are awake{asleep}."
        );
        findings.push(finding("latency", text));
    }
    if let Some((thread, process)) = pair("hot 1 MiB") {
        let text = format!(
            "A mebibyte there and back takes {process} in a process, which copies it; a thread \
             passes a reference: {thread}."
        );
        findings.push(finding("latency", text));
    }
    findings
}

/// What a worker has for itself.
fn memory(run: &Run) -> Option<Finding> {
    let own = run.measures.iter().filter(|measure| {
        let name = measure.metric.to_lowercase();
        name.contains("uss") && measure.unit.dimension == Dimension::Bytes && measure.value > 0.0
    });
    let of_processes: Vec<&Measure> = own.filter(|m| m.system.contains("process")).collect();
    let by_value = |a: &&&Measure, b: &&&Measure| a.value.total_cmp(&b.value);
    let low = of_processes.iter().min_by(by_value)?;
    let high = of_processes.iter().max_by(by_value)?;
    let text = format!(
        "Memory that processes have for themselves (USS): {} ({}, {}) to {} ({}, {}).",
        low.text(),
        low.system,
        low.case,
        high.text(),
        high.system,
        high.case
    );
    Some(finding("memory", text))
}

/// How soon there is an answer after a crash.
fn respawn(run: &Run) -> Option<Finding> {
    let timed = run.measures.iter().filter(|measure| {
        measure.unit.dimension == Dimension::Time && measure.value > 0.0 && measure.metric == "p50"
    });
    let of_ours: Vec<&Measure> = timed.filter(|m| m.system.contains("amphi")).collect();
    let first = of_ours.first()?;
    let text = format!("After a crash ({}, {}): {}.", first.system, first.case, first.text());
    Some(finding("respawn", text))
}
