//! `peers`: amphi beside what a reader would otherwise use, in Rust, in Node and in Python: one
//! tiny job alone and in a stream, and a mebibyte there and back.
//!
//! `cargo bench -p amphi-benches --bench peers [-- --quick]`
//!
//! Interleaved: round by round, case by case, each system gets one slice, and the order turns by
//! one system a round. Peers in other languages are scripts that time themselves, so no pipe
//! between them and this program is in their figures. See `benches/README.md`.

use std::error::Error;
use std::process::ExitCode;

use amphi_benches::Tally;
use amphi_benches::cpu::Meter;
use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};
use serde_json::json;

use self::case::{Case, Plan};
use self::systems::{Peer, Slice};

mod case;
mod looks;
#[path = "../pools/mod.rs"]
#[expect(dead_code, reason = "limited waits are for the open loop of dispatch")]
mod pools;
mod reach;
mod report;
mod scripts;
mod systems;
mod vectors;

amphi::app!(looks::app);

const BENCH: &str = "peers";

fn main() -> ExitCode {
    procspawn::init();
    if pools::roles::take_over(&[(pools::ipc_echo::ROLE, pools::ipc_echo::serve)]) {
        return ExitCode::SUCCESS;
    }
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let plan = Plan::of(options);
    let mut machine = machine::describe();
    let (mut peers, left_out) = systems::start(options)?;
    let neighbours = Neighbours::watch();
    let tally = measure(&mut peers, &plan)?;
    machine::note_run(&mut machine, &neighbours, plan.quick, plan.rounds);
    for peer in &peers {
        if let Some(about) = peer.about() {
            machine.insert(format!("version {}", peer.name()), json!(about));
        }
    }
    machine.insert("left_out".to_owned(), json!(left_out));
    let names: Vec<&'static str> = peers.iter().map(Peer::name).collect();
    drop(peers);

    let mut rows = tally.rows(BENCH);
    rows.extend(report::ratio_rows(&tally, &names));
    rows.extend(reach::rows(&tally));
    options.publish(BENCH, rows, &machine, || {
        report::print(&tally, &names, &left_out, &machine);
        reach::print(&tally);
    })?;
    Ok(())
}

/// All rounds.
fn measure(peers: &mut [Peer], plan: &Plan) -> Result<Tally, Box<dyn Error>> {
    let mut tally = Tally::new();
    let count = peers.len();
    for peer in &mut *peers {
        for &case in &plan.cases {
            if peer.runs(case) {
                peer.warm_up(case, plan.first)?;
            }
        }
    }
    for round in 0..plan.rounds {
        options::round_begins(round, plan.rounds);
        for &case in &plan.cases {
            for turn in 0..count {
                let peer = &mut peers[(turn + round) % count];
                if peer.runs(case) {
                    peer.warm_up(case, plan.warm_up)?;
                    let meter = Meter::start();
                    let slice = peer.slice(case, plan)?;
                    let cpu = meter.stop().as_secs_f64();
                    note(&mut tally, round, peer.name(), case, slice, cpu);
                }
            }
        }
    }
    options::end_of_rounds();
    Ok(tally)
}

fn note(tally: &mut Tally, round: usize, name: &str, case: Case, slice: Slice, cpu: f64) {
    let Slice { tasks, seconds, p50_ns, p99_ns } = slice;
    let mut add = |metric, value, unit| tally.add(round, (name, case.name(), metric), value, unit);
    if case == Case::Pipelined {
        add("rate", tasks / seconds, "tasks/s");
        add("wall", seconds * 1e9 / tasks, "ns/task");
    }
    for (metric, value) in [("p50", p50_ns), ("p99", p99_ns)] {
        if let Some(value) = value {
            add(metric, value, "ns");
        }
    }
    add("cpu", cpu * 1e9 / tasks, "ns/task");
}
