//! The policy in virtual time: what `Adaptive` would cost against the better fixed place, over
//! workloads that are easy, hard, or made against it. The same code decides as in the engine.
//!
//! ```text
//! cargo test -p amphi-tests --test sim -- --nocapture the_table        # the table, small
//! cargo test --release -p amphi-tests --test sim -- --include-ignored  # 20 seeds, all lengths
//! ```
//! A failed gate names workload, length, seed and regret; `AMPHI_SEED=n` runs that seed alone.

#[path = "sim/properties.rs"]
mod properties;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/workloads.rs"]
mod workloads;
#[path = "sim/world.rs"]
mod world;

use workloads::{ADVERSARY_GAPS, Workload};
use world::{Machine, Mode, RESEARCH, THIS_KIND, run};

/// Seeds of the gate and of the long run.
const SEEDS: u64 = 5;
const SEEDS_LONG: u64 = 20;

/// What one workload came to: regret against the better fixed place, for each seed.
struct Regret {
    workload: &'static str,
    jobs: usize,
    /// Makespans of the first seed, in ms: threads, processes, automatic.
    first_ms: [f64; 3],
    /// Sorted, each with its seed.
    all: Vec<(f64, u64)>,
}

impl Regret {
    fn of(machine: &Machine, workload: &Workload, jobs: usize, seeds: u64) -> Self {
        let seeds = match std::env::var("AMPHI_SEED") {
            Ok(seed) => vec![seed.parse().expect("AMPHI_SEED is a number")],
            Err(_) => (1..=seeds).collect(),
        };
        let mut first_ms = [0.0; 3];
        let mut all: Vec<(f64, u64)> = Vec::new();
        for seed in seeds {
            let trace = workload.make(jobs, seed);
            let modes = [Mode::Thread, Mode::Process, Mode::Auto];
            let [thread, process, auto] = modes.map(|mode| run(machine, &trace, mode).makespan);
            if all.is_empty() {
                first_ms = [thread / 1e6, process / 1e6, auto / 1e6];
            }
            let best = thread.min(process);
            all.push(((auto - best) / best, seed));
        }
        all.sort_by(|left, right| left.0.total_cmp(&right.0));
        Self { workload: workload.name, jobs, first_ms, all }
    }

    fn median(&self) -> f64 {
        self.all[self.all.len() / 2].0
    }

    fn assert_at_most(&self, bound: f64) {
        let (worst, seed) = self.all[self.all.len() - 1];
        assert!(
            self.median() <= bound,
            "{} with {} jobs: regret {:.2} %, at most {:.0} % (worst {:.2} % with AMPHI_SEED={seed})",
            self.workload,
            self.jobs,
            100.0 * self.median(),
            100.0 * bound,
            100.0 * worst,
        );
    }

    fn print(&self) {
        let [thread, process, auto] = self.first_ms;
        let worst = self.all[self.all.len() - 1].0;
        println!(
            "{:26} {:6} {thread:9.1} {process:9.1} {auto:9.1} {:8.1} {:8.1}",
            self.workload,
            self.jobs,
            100.0 * self.median(),
            100.0 * worst,
        );
    }
}

fn print_head(title: &str) {
    println!("\n{title}");
    println!(
        "{:26} {:>6} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "workload", "jobs", "thread ms", "proc. ms", "auto ms", "regret %", "worst %"
    );
}

fn gate(machine: &Machine, seeds: u64) {
    for workload in workloads::LEARNABLE {
        for (jobs, bound) in [(2000, 0.06), (20_000, 0.04)] {
            Regret::of(machine, workload, jobs, seeds).assert_at_most(bound);
        }
    }
    // A hundred jobs of each class: what is learnt of the first twenty still shows at 2000.
    Regret::of(machine, &workloads::CLASSES, 20_000, seeds).assert_at_most(0.04);
}

#[test]
fn regret_is_small_on_every_workload() {
    gate(&RESEARCH, SEEDS);
}

#[test]
fn regret_is_small_with_the_costs_of_a_real_machine() {
    gate(&THIS_KIND, SEEDS);
}

/// Whatever place is better changes with time, as fast as hurts most.
#[test]
fn an_adversary_does_not_win() {
    for machine in [&RESEARCH, &THIS_KIND] {
        for gap in ADVERSARY_GAPS {
            let workload = workloads::adversary(gap);
            Regret::of(machine, &workload, 8000, SEEDS).assert_at_most(0.04);
        }
    }
}

/// Where one place is right for some tasks and the other for the rest, neither fixed place is as
/// good.
#[test]
fn mixed_work_gains_what_no_fixed_place_can() {
    for workload in [&workloads::MIXED, &workloads::BIMODAL] {
        for jobs in [2000, 20_000] {
            Regret::of(&RESEARCH, workload, jobs, SEEDS).assert_at_most(-0.20);
        }
    }
}

/// What is not known yet costs a number of jobs, not a rate.
#[test]
fn a_cold_start_costs_at_most_twenty_jobs_a_class() {
    for (workload, jobs, classes) in
        [(&workloads::FEW, 40, 1), (&workloads::CLASSES_SHORT, 2000, 200)]
    {
        for seed in 1..=SEEDS {
            let trace = workload.make(jobs, seed);
            let [thread, process, auto] =
                [Mode::Thread, Mode::Process, Mode::Auto].map(|mode| run(&RESEARCH, &trace, mode));
            // Core time, because that is what a job that went to the wrong place has cost.
            let difference = (thread.busy - process.busy).abs() / jobs as f64;
            let lost = auto.busy - thread.busy.min(process.busy);
            let bound = 20.0 * f64::from(classes) * difference;
            assert!(lost <= bound, "{}, seed {seed}: {lost} ns of {bound}", workload.name);
        }
    }
}

#[test]
fn the_table_of_regret() {
    for (title, machine) in [("as in the research", &RESEARCH), ("two cores", &THIS_KIND)] {
        print_head(title);
        for workload in workloads::LEARNABLE {
            Regret::of(machine, workload, 2000, 3).print();
        }
        Regret::of(machine, &workloads::CLASSES, 20_000, 3).print();
        for workload in [&workloads::CLASSES_SHORT, &workloads::FEW] {
            let jobs = if workload.name == workloads::FEW.name { 40 } else { 2000 };
            Regret::of(machine, workload, jobs, 3).print();
        }
        for gap in ADVERSARY_GAPS {
            Regret::of(machine, &workloads::adversary(gap), 8000, 3).print();
        }
    }
}

/// Everything, with many seeds.
#[test]
#[ignore = "a minute in a release build"]
fn regret_is_small_with_many_seeds() {
    for machine in [&RESEARCH, &THIS_KIND] {
        gate(machine, SEEDS_LONG);
        for workload in workloads::LEARNABLE {
            Regret::of(machine, workload, 20_000, SEEDS_LONG).print();
        }
        for gap in ADVERSARY_GAPS {
            let workload = workloads::adversary(gap);
            Regret::of(machine, &workload, 8000, SEEDS_LONG).assert_at_most(0.04);
        }
    }
}
