//! What one run has measured: for each (system, case, metric) one figure a round, and for
//! latencies the pooled samples, from which tails are taken.

use std::collections::HashMap;

use crate::json::Row;
use crate::stats::{self, Spread};

/// The name of a figure.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    system: String,
    case: String,
    metric: &'static str,
}

#[derive(Debug, Default)]
struct Series {
    unit: &'static str,
    rounds: Vec<Option<f64>>,
}

/// The figures of one run, in the order in which they were first seen.
#[derive(Debug, Default)]
pub struct Tally {
    series: HashMap<Key, Series>,
    samples: HashMap<(String, String), Vec<u64>>,
    order: Vec<Key>,
}

impl Tally {
    /// A run without figures.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one figure of one round.
    pub fn add(
        &mut self,
        round: usize,
        (system, case, metric): (&str, &str, &'static str),
        value: f64,
        unit: &'static str,
    ) {
        let key = Key { system: system.to_owned(), case: case.to_owned(), metric };
        if !self.series.contains_key(&key) {
            self.order.push(key.clone());
        }
        let series = self.series.entry(key).or_default();
        series.unit = unit;
        if series.rounds.len() <= round {
            series.rounds.resize(round + 1, None);
        }
        series.rounds[round] = Some(value);
    }

    /// Notes the latencies of one slice, in nanoseconds: `p50` and `round_p99` for the round, and the
    /// pool for the tail.
    pub fn add_latencies(&mut self, round: usize, system: &str, case: &str, mut samples: Vec<u64>) {
        let Some(p50) = stats::nearest(&mut samples, 0.5) else { return };
        self.add(round, (system, case, "p50"), p50 as f64, "ns");
        let p99 = stats::nearest(&mut samples, 0.99).unwrap_or(p50);
        self.add(round, (system, case, "round_p99"), p99 as f64, "ns");
        self.samples.entry((system.to_owned(), case.to_owned())).or_default().append(&mut samples);
    }

    /// One figure a round, `None` where a round has none; empty if it was never measured.
    pub fn rounds(&self, system: &str, case: &str, metric: &'static str) -> &[Option<f64>] {
        let key = Key { system: system.to_owned(), case: case.to_owned(), metric };
        self.series.get(&key).map_or(&[], |series| &series.rounds)
    }

    /// The spread of a metric over the rounds.
    pub fn spread(&self, system: &str, case: &str, metric: &'static str) -> Option<Spread> {
        let figures: Vec<f64> =
            self.rounds(system, case, metric).iter().copied().flatten().collect();
        Spread::of(&figures)
    }

    /// The spread of the ratio of two systems, paired round by round.
    pub fn ratio(
        &self,
        a: (&str, &str, &'static str),
        b: (&str, &str, &'static str),
    ) -> Option<Spread> {
        Spread::of_ratios(self.rounds(a.0, a.1, a.2), self.rounds(b.0, b.1, b.2))
    }

    /// A tail of all samples of the run, in nanoseconds.
    pub fn tail(&self, system: &str, case: &str, q: f64) -> Option<u64> {
        let mut samples = self.samples.get(&(system.to_owned(), case.to_owned()))?.clone();
        stats::nearest(&mut samples, q)
    }

    /// How many latencies a case has in all.
    pub fn sample_count(&self, system: &str, case: &str) -> usize {
        self.samples.get(&(system.to_owned(), case.to_owned())).map_or(0, Vec::len)
    }

    /// Every figure as rows of the JSON file: the median over rounds under the metric's name, its
    /// quartiles beside it, and for latencies the pooled p99 and the number of samples.
    pub fn rows(&self, bench: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for Key { system, case, metric } in &self.order {
            let Some(spread) = self.spread(system, case, metric) else { continue };
            let unit =
                self.series[&Key { system: system.clone(), case: case.clone(), metric }].unit;
            let mut push = |metric: String, value: f64, unit: &str| {
                rows.push(Row::new(bench, system, case, &metric, value, unit));
            };
            push((*metric).to_owned(), spread.median, unit);
            push(format!("{metric}_q1"), spread.q1, unit);
            push(format!("{metric}_q3"), spread.q3, unit);
            if *metric != "p50" {
                continue;
            }
            if let Some(p99) = self.tail(system, case, 0.99) {
                push("p99".to_owned(), p99 as f64, unit);
                push("samples".to_owned(), self.sample_count(system, case) as f64, "count");
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_back_by_round_and_tails_from_the_pool() {
        let mut tally = Tally::new();
        tally.add_latencies(0, "a", "hot", vec![1, 2, 3]);
        tally.add_latencies(2, "a", "hot", vec![10, 20, 30]);
        tally.add_latencies(0, "b", "hot", vec![1]);
        assert_eq!(tally.rounds("a", "hot", "p50"), [Some(2.0), None, Some(20.0)]);
        assert_eq!(tally.tail("a", "hot", 0.99), Some(30));
        let ratio = tally.ratio(("a", "hot", "p50"), ("b", "hot", "p50")).unwrap();
        assert_eq!((ratio.median, ratio.count), (2.0, 1));
        assert_eq!(tally.rounds("c", "hot", "p50"), []);
        assert_eq!(tally.rows("t").len(), 16);
    }
}
