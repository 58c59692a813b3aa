//! What the scheduler costs a task: a decision that is made anew, one that is used up, one sample
//! observed, and what is counted. By criterion: `cargo bench -p amphi-benches --bench overhead`.
//! Its bounds: 150 ns for a decision made anew, 15 ns each for one amortised and for statistics.

use std::hint::black_box;
use std::time::Duration;

use amphi::__private::Overhead;
use amphi::policy::{Adaptive, Class, Costs, Event, Placement, Policy, Ran};
use amphi_benches::{Row, Table, json, machine};
use criterion::Criterion;

fn ran(class: Class, placement: Placement) -> Event {
    let (service_ns, bytes_in, bytes_out, tasks) = (90e3, 64.0, 0.0, 1.0);
    Event::Ran(Ran { class, placement, service_ns, bytes_in, bytes_out, tasks, over_ns: None })
}

/// A policy that knows a hundred classes in both places.
fn learned() -> Adaptive {
    let mut policy = Adaptive::new();
    let costs = Costs { thread_ns: 200.0, process_ns: 600.0, byte_ns: 0.1, large_byte_ns: 0.1 };
    policy.observe(&Event::Calibrated(costs), Duration::ZERO);
    for job in 0..100 {
        for sample in 0..40 {
            let place = if sample % 5 == 0 { Placement::Process } else { Placement::Thread };
            policy.observe(&ran(Class::of(job, 64), place), Duration::ZERO);
        }
    }
    policy
}

fn scheduler(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    let mut policy = learned();
    let mut job = 0;
    let mut next = move || {
        job = (job + 1) % 100;
        Class::of(job, 64)
    };
    group.bench_function("a decision, made anew", |bench| {
        bench.iter(|| black_box(policy.decide(next(), Duration::ZERO)));
    });
    let mut policy = learned();
    group.bench_function("a sample, observed", |bench| {
        let event = ran(Class::of(7, 64), Placement::Thread);
        bench.iter(|| black_box(policy.observe(black_box(&event), Duration::ZERO)));
    });
    let overhead = Overhead::new();
    group
        .bench_function("a decision, amortised", |bench| bench.iter(|| black_box(overhead.bind())));
    overhead.make_short();
    group.bench_function("statistics, amortised", |bench| bench.iter(|| overhead.count()));
    group.finish();
}

/// Each case and what it may cost a task at most, in ns.
const CASES: [(&str, Option<f64>); 4] = [
    ("a decision, made anew", Some(150.0)),
    ("a sample, observed", None),
    ("a decision, amortised", Some(15.0)),
    ("statistics, amortised", Some(15.0)),
];

/// What criterion measured of a case: its median in ns.
fn median(case: &str) -> Option<f64> {
    let file = json::target_dir().join("criterion/scheduler").join(case).join("new/estimates.json");
    let estimates: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn report() {
    let mut table = Table::new(["case", "median ns", "at most", ""]);
    let mut rows = vec![Row::machine("overhead", machine::describe())];
    for (case, bound) in CASES {
        let Some(ns) = median(case) else { continue };
        let holds = bound.map_or("", |bound| if ns <= bound { "holds" } else { "FAILS" });
        let bound = bound.map_or_else(String::new, |bound| bound.to_string());
        table.push([case.to_owned(), format!("{ns:.1}"), bound, holds.to_owned()]);
        rows.push(Row::new("overhead", "amphi", case, "median", ns, "ns"));
    }
    println!("{table}");
    match json::write("overhead", &rows) {
        Ok(path) => println!("rows: {}", path.display()),
        Err(error) => eprintln!("the rows could not be written: {error}"),
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    scheduler(&mut criterion);
    criterion.final_summary();
    report();
}
