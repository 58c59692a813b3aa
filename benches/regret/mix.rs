//! The mixes, by shares of core time that were fixed before anybody tuned anything, and the best
//! placement that a person could have written down for each class.

use amphi::Placement;
use amphi_benches::Tally;

use super::jobs::{Book, Class};
use super::workloads::Workload;
use super::{PROCESS, THREAD};

/// What each class has of the core time of the whole mix, in percent.
const SHARES: [(Class, u32); 5] = [
    (Class::NotThreadSafe, 35),
    (Class::Hash, 25),
    (Class::Churn, 20),
    (Class::Tiny, 10),
    (Class::Payload, 10),
];

/// Core time of the mix in one slice of a full run, in seconds.
const CORE_SECONDS: f64 = 3.0;

/// Where the order of the tasks begins.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) const ALL: &str = "mix";
pub(crate) const THREAD_SAFE: &str = "mix, thread-safe";

/// How many tasks of which class make a mix here.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) counts: Vec<(Class, usize)>,
}

impl Recipe {
    /// The mix, and the same tasks without those that are not thread-safe.
    pub(crate) fn all(book: &Book, divide: usize) -> [Self; 2] {
        let core_seconds = CORE_SECONDS / divide as f64;
        let counts = SHARES.map(|(class, percent)| {
            let share = core_seconds * f64::from(percent) / 100.0;
            let tasks = share / book.time(class).as_secs_f64();
            (class, (tasks.round() as usize).max(1))
        });
        let thread_safe = counts.into_iter().filter(|&(class, _)| class != Class::NotThreadSafe);
        [
            Self { name: ALL, counts: counts.to_vec() },
            Self { name: THREAD_SAFE, counts: thread_safe.collect() },
        ]
    }

    /// The tasks in their order, which is the same in every slice.
    pub(crate) fn workload(&self) -> Workload {
        let each = |&(class, count)| std::iter::repeat_n(class, count);
        let mut classes: Vec<Class> = self.counts.iter().flat_map(each).collect();
        shuffle(&mut classes);
        Workload::mix(self.name, classes)
    }

    /// The share of `class` by plan, in percent of the whole mix.
    pub(crate) fn percent(class: Class) -> u32 {
        SHARES.iter().find(|(other, _)| *other == class).map_or(0, |&(_, percent)| percent)
    }
}

/// Fisher and Yates, by xorshift (Marsaglia 2003).
fn shuffle(classes: &mut [Class]) {
    let mut state = SEED;
    for last in (1..classes.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let other = usize::try_from(state % (last as u64 + 1)).unwrap_or(last);
        classes.swap(last, other);
    }
}

/// For each class of the mix the fixed place that was cheaper in its single workload.
#[derive(Debug, Clone)]
pub(crate) struct Static(Vec<(Class, Placement)>);

impl Static {
    /// From the medians of this run; `None` where a class was not measured in both places.
    pub(crate) fn of(tally: &Tally) -> Option<Self> {
        let median = |system, class: Class| {
            tally.spread(system, class.name(), "wall").map(|spread| spread.median)
        };
        let places = SHARES.iter().map(|&(class, _)| {
            if class == Class::NotThreadSafe {
                return Some((class, Placement::Process)); // the only place where it is parallel
            }
            let is_cheaper = median(PROCESS, class)? < median(THREAD, class)?;
            Some((class, if is_cheaper { Placement::Process } else { Placement::Thread }))
        });
        places.collect::<Option<Vec<_>>>().map(Self)
    }

    pub(crate) fn place(&self, class: Class) -> Placement {
        let found = self.0.iter().find(|(other, _)| *other == class);
        found.map_or(Placement::Auto, |&(_, placement)| placement)
    }
}
