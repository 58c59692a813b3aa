//! What the figures say about threads and processes, in sentences that are computed from them.
//!
//! A sentence whose figures are missing is left out; none is made up.

use crate::plots::field::Field;
use crate::rows::{Data, Measure, Run};
use crate::unit::{self, Dimension};

mod crossover;

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
                               where it must be killed or limited, or where code that runs one at \
                               a time in each process shall use every core. No thread can give \
                               that.";

/// From this ratio on one of both is called cheaper: below it lies the noise of quiet runs.
const CLEARLY: f64 = 1.10;

const THREADS: &str = "amphi threads";
const PROCESSES: &str = "amphi processes";

/// All sentences for which there are figures.
pub(crate) fn of(data: &Data) -> Verdict {
    let mut verdict = Verdict::default();
    let fields = data.run("crossover").map(Field::all).unwrap_or_default();
    let mut walls = fields.iter().filter(|field| !field.is_cpu());
    if let Some(field) = walls.next() {
        crossover::plain(field, &mut verdict);
    }
    verdict.process.extend(walls.filter_map(crossover::other));
    if let Some(run) = data.run("regret") {
        workloads(run, &mut verdict);
        verdict.cost.extend(automatic(run));
    }
    if let Some(run) = data.run("dispatch") {
        let dispatched = dispatch(run);
        verdict.cost.splice(0..0, dispatched);
    }
    if let Some(run) = data.run("memory") {
        verdict.process.extend(given_back(run));
        verdict.cost.extend(memory(run));
    }
    verdict.cost.extend(data.run("respawn").and_then(respawn));
    verdict
}

fn finding(section: &'static str, text: String) -> Finding {
    Finding { text, section }
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

/// What one more worker costs, beside one more thread.
fn memory(run: &Run) -> Option<Finding> {
    let further = run.cases(|measure| measure.metric == "uss");
    let case = further.into_iter().rfind(|case| case.starts_with("each further"))?;
    let uss = |system| run.find(system, case, "uss").map(|found| unit::size(found.value));
    let process = uss(PROCESSES)?;
    let beside = uss(THREADS).map_or_else(String::new, |thread| format!(", a thread {thread}"));
    let text = format!("Each further worker has {process} for itself (USS){beside}.");
    Some(finding("memory", text))
}

/// What stays after a burst of which each task has kept a little.
fn given_back(run: &Run) -> Option<Finding> {
    let case = run.cases(|measure| measure.metric == "pss renewed").into_iter().next_back()?;
    let size = |system, metric| run.find(system, case, metric).map(|m| unit::size(m.value));
    let (held, after) = (size(PROCESSES, "pss held")?, size(PROCESSES, "pss renewed")?);
    let kept = size(THREADS, "pss at once")?;
    let text = format!(
        "Memory that must come back ({case}): of {held} workers keep {after} once they are \
         replaced; with threads {kept} stay."
    );
    Some(finding("memory", text))
}

/// How soon there is an answer after a crash.
fn respawn(run: &Run) -> Option<Finding> {
    let timed = run.measures.iter().filter(|measure| {
        measure.unit.dimension == Dimension::Time && measure.value > 0.0 && measure.metric == "p50"
    });
    let ours = timed.into_iter().find(|measure| measure.system.starts_with("amphi"))?;
    let text = format!(
        "After a worker is killed, its successor answers in {} ({}).",
        ours.text(),
        ours.case
    );
    Some(finding("respawn", text))
}
