//! Times by their order of magnitude: a histogram that any thread adds to, and what is read of it.
//!
//! Buckets are log-linear: each power of two is cut into eight equal parts, so that a bucket is at
//! most 1/8 as wide as the times in it are long. Below 16 ns a bucket is 1 ns wide. Times from
//! 2^40 ns (1100 s) on share the last bucket.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Each power of two is cut into `1 << CUTS_LOG2` buckets.
const CUTS_LOG2: u32 = 3;
const CUTS: usize = 1 << CUTS_LOG2;

/// Times below two to this many ns have buckets of their own.
const TOP_LOG2: u32 = 40;

/// All buckets, and the last one for what is longer.
const BUCKETS: usize = (TOP_LOG2 - CUTS_LOG2 + 1) as usize * CUTS + 1;

/// No time counts for more in the sum, which would overflow: three days.
const NS_MAX: u64 = 1 << 48;

/// The bucket of a time.
fn bucket_of(ns: u64) -> usize {
    if ns < CUTS as u64 {
        return ns as usize;
    }
    let log2 = ns.ilog2();
    if log2 >= TOP_LOG2 {
        return BUCKETS - 1;
    }
    let shift = log2 - CUTS_LOG2;
    // The bits below the highest one say which part it is; `ns >> shift` is 8 to 15.
    shift as usize * CUTS + (ns >> shift) as usize
}

/// The shortest time of a bucket and its width, in ns. The last bucket has no width.
fn span_of(bucket: usize) -> (u64, u64) {
    match bucket {
        0..CUTS => (bucket as u64, 1),
        _ if bucket >= BUCKETS - 1 => (1 << TOP_LOG2, 0),
        _ => {
            let shift = bucket / CUTS - 1;
            (((CUTS + bucket % CUTS) as u64) << shift, 1 << shift)
        }
    }
}

/// The middle of a bucket, in ns: what its tasks are taken to have needed.
fn middle_of(bucket: usize) -> u64 {
    let (from, width) = span_of(bucket);
    from + width / 2
}

/// What threads add to. There is no count of its own: the buckets are the count, and adding stays
/// at two atomic additions.
pub(super) struct Histogram {
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            sum_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    /// Adds `tasks` that took `ns` each.
    pub(super) fn add(&self, ns: u64, tasks: u64) {
        let ns = ns.min(NS_MAX);
        self.buckets[bucket_of(ns)].fetch_add(tasks, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns.saturating_mul(tasks), Ordering::Relaxed);
        // Looked at first: a new maximum is rare, and a look costs a fraction of an exchange.
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.fetch_max(ns, Ordering::Relaxed);
        }
    }
}

/// Several histograms added up.
pub(super) struct Total {
    sum_ns: u64,
    max_ns: u64,
    buckets: Vec<u64>,
}

impl Total {
    pub(super) fn new() -> Self {
        Self { sum_ns: 0, max_ns: 0, buckets: vec![0; BUCKETS] }
    }

    pub(super) fn add(&mut self, histogram: &Histogram) {
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.load(Ordering::Relaxed));
        self.max_ns = self.max_ns.max(histogram.max_ns.load(Ordering::Relaxed));
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
    }

    /// What is read of it; `None` where nothing was added.
    pub(super) fn distribution(mut self) -> Option<Distribution> {
        let used = self.buckets.iter().rposition(|tasks| *tasks > 0)? + 1;
        self.buckets.truncate(used);
        let count = self.buckets.iter().sum();
        let mut read = Distribution {
            count,
            sum_ns: self.sum_ns,
            mean_ns: self.sum_ns as f64 / count as f64,
            // A task may be in its bucket before it is the maximum.
            max_ns: self.max_ns.max(span_of(used - 1).0),
            buckets: Buckets(self.buckets.into()),
            ..Distribution::default()
        };
        read.p50_ns = read.quantile_ns(0.5);
        read.p90_ns = read.quantile_ns(0.9);
        read.p99_ns = read.quantile_ns(0.99);
        Some(read)
    }
}

/// How long something took, over many tasks. Times are in ns; quantiles are right to 7 %, the
/// other figures exactly.
///
/// ```no_run
/// # fn example(run: &amphi::Distribution) {
/// println!("mean {:.0} ns, p99.9 {} ns", run.mean_ns, run.quantile_ns(0.999));
/// # }
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Distribution {
    /// How many tasks it is of.
    pub count: u64,
    /// What they took together.
    pub sum_ns: u64,
    /// What one took on the average.
    pub mean_ns: f64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// Nine of ten took no longer.
    pub p90_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// What the longest took.
    pub max_ns: u64,
    #[serde(skip)]
    buckets: Buckets,
}

impl Distribution {
    /// A share `q` (0 to 1) of the tasks took no longer than this, in ns, right to 7 %.
    ///
    /// ```no_run
    /// # fn example(run: &amphi::Distribution) {
    /// assert!(run.quantile_ns(0.25) <= run.quantile_ns(0.75));
    /// # }
    /// ```
    pub fn quantile_ns(&self, q: f64) -> u64 {
        // A share that is no number counts as 0.
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let reached = |tasks: &u64| {
            seen += tasks;
            seen >= rank
        };
        let bucket = self.buckets.0.iter().position(reached);
        match bucket {
            Some(bucket) if bucket < BUCKETS - 1 => middle_of(bucket).min(self.max_ns),
            _ => self.max_ns,
        }
    }

    /// Tasks up to each of `bounds_ns`, which rise, that are above the bound before; at last those
    /// above them all. A bucket belongs where its middle does.
    #[cfg(feature = "metrics")]
    pub(super) fn fold(&self, bounds_ns: &[u64]) -> Vec<u64> {
        let mut folded = vec![0; bounds_ns.len() + 1];
        for (bucket, tasks) in self.buckets.0.iter().enumerate() {
            folded[bounds_ns.partition_point(|bound| *bound < middle_of(bucket))] += tasks;
        }
        folded
    }
}

/// Tasks by bucket, without the empty ones at the end.
#[derive(Clone, Default)]
struct Buckets(Arc<[u64]>);

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} buckets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut next = 0;
        for bucket in 0..BUCKETS - 1 {
            let (from, width) = span_of(bucket);
            assert_eq!(from, next);
            assert_eq!((bucket_of(from), bucket_of(from + width - 1)), (bucket, bucket));
            assert!(width == 1 || width * 8 <= from, "bucket {bucket} is too wide");
            next = from + width;
        }
        assert_eq!(next, 1 << TOP_LOG2);
        assert_eq!((bucket_of(next), bucket_of(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
    }
}
