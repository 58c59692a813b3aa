//! What the simulated machine is given: the workloads of the research, and an adversary.

use crate::random::Random;
use crate::world::Job;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    make: fn(&mut Random, usize, usize, usize) -> Job,
    parameter: usize,
}

const MIB: f64 = (1 << 20) as f64;

impl Workload {
    const fn new(name: &'static str, make: fn(&mut Random, usize, usize, usize) -> Job) -> Self {
        Self { name, make, parameter: 0 }
    }

    /// A trace of so many jobs.
    pub(crate) fn make(&self, jobs: usize, seed: u64) -> Vec<Job> {
        let mut random = Random::new(seed);
        (0..jobs).map(|index| (self.make)(&mut random, index, jobs, self.parameter)).collect()
    }
}

/// One job of one kind, of so many microseconds.
fn job(random: &mut Random, job: u32, micros: f64, contention: f64) -> Job {
    Job { job, bytes: 64.0, service: random.near(1000.0 * micros), contention }
}

pub(crate) const MIXED: Workload =
    Workload::new("mixed", |random, _, _, _| match random.below(10) {
        0..5 => job(random, 0, 5.0, 0.0),
        5..9 => job(random, 1, 500.0, 1.5),
        _ => Job { bytes: 8.0 * MIB, ..job(random, 2, 100.0, 0.0) },
    });

pub(crate) const BIMODAL: Workload = Workload::new("payload 1 KiB or 4 MiB", |random, _, _, _| {
    let bytes = if random.below(2) == 0 { 1024.0 } else { 4.0 * MIB };
    Job { bytes, ..job(random, 0, 800.0, 1.0) }
});

/// What a policy can learn, or need not.
pub(crate) const LEARNABLE: &[&Workload] = &[
    &Workload::new("tiny", |random, _, _, _| job(random, 0, 5.0, 0.0)),
    &Workload::new("allocation", |random, _, _, _| job(random, 0, 500.0, 1.5)),
    &MIXED,
    &Workload::new("regime flips twice", |random, index, jobs, _| {
        let contention = if (jobs / 3..2 * jobs / 3).contains(&index) { 2.0 } else { 0.0 };
        job(random, 0, 300.0, contention)
    }),
    &Workload::new("heavy tail, free", |random, _, _, _| Job {
        service: random.log_normal(300e3, 1.5),
        ..job(random, 0, 0.1, 0.05)
    }),
    &Workload::new("heavy tail, contended", |random, _, _, _| Job {
        service: random.log_normal(300e3, 1.5),
        ..job(random, 0, 0.1, 1.0)
    }),
    &BIMODAL,
    &Workload::new("indifferent", |random, _, _, _| job(random, 0, 300.0, 0.05)),
    &Workload::new("toggles every 300 jobs", |random, index, _, _| {
        job(random, 0, 300.0, if index / 300 % 2 == 0 { 0.0 } else { 2.0 })
    }),
    &Workload::new("copy-bound 1 MiB", |random, _, _, _| Job {
        bytes: MIB,
        ..job(random, 0, 100.0, 0.0)
    }),
];

pub(crate) const CLASSES: Workload =
    Workload::new("20 classes", |random, index, _, _| job(random, index as u32 % 20, 200.0, 0.5));

/// Each of 200 jobs comes ten times.
pub(crate) const CLASSES_SHORT: Workload =
    Workload::new("200 classes", |random, index, _, _| job(random, index as u32 % 200, 200.0, 0.5));

pub(crate) const FEW: Workload =
    Workload::new("few jobs in all", |random, _, _, _| job(random, 0, 500.0, 1.5));

/// After how many jobs the adversary makes the other place the better one.
pub(crate) const ADVERSARY_GAPS: [usize; 7] = [16, 32, 64, 128, 300, 1000, 3000];

/// The best place changes every `gap` jobs, and each place is clearly better in its time.
pub(crate) fn adversary(gap: usize) -> Workload {
    let make = |random: &mut Random, index: usize, _: usize, gap: usize| {
        let contention = if (index / gap).is_multiple_of(2) { 0.0 } else { 2.0 };
        Job { bytes: MIB / 4.0, ..job(random, 0, 300.0, contention) }
    };
    let names = ["adversary 16", "adversary 32", "adversary 64", "adversary 128"];
    let more = ["adversary 300", "adversary 1000", "adversary 3000"];
    let place = ADVERSARY_GAPS.iter().position(|other| *other == gap).expect("one of the gaps");
    let name = names.iter().chain(&more).nth(place).expect("as many names as gaps");
    Workload { name, make, parameter: gap }
}
