//! [`Stats`] as OpenMetrics text, which Prometheus reads.
//!
//! The snapshot is the collector: nothing is registered, and nothing is counted twice.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Distribution, PlaceStats, Stats, word};

/// Upper bounds of the published buckets, in ns: 1 µs to 100 s in steps of 1, 2, 5. Round, so that
/// an objective (`le="0.1"`) can be asked for; a task next to a bound may be on its other side, by
/// half the width of a bucket (6 %).
const BOUNDS_NS: [u64; 25] = {
    let mut bounds = [0; 25];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = [1, 2, 5][index % 3] * 1000 * 10_u64.pow(index as u32 / 3);
        index += 1;
    }
    bounds
};

impl Stats {
    /// The snapshot as OpenMetrics text, for an endpoint that Prometheus scrapes: answer with the
    /// content type `application/openmetrics-text; version=1.0.0; charset=utf-8`. Times are in
    /// seconds. Cargo feature `metrics`.
    ///
    /// | metric | labels |
    /// |---|---|
    /// | `amphi_task_stage_seconds` (histogram) | `job`, `place`, `stage` |
    /// | `amphi_tasks_total` | `job`, `place`, `outcome` |
    /// | `amphi_retries_total` | `job` |
    /// | `amphi_decisions_total` | `reason`, `place` |
    /// | `amphi_flips_total`, `amphi_audits_total`, `amphi_audit_mismatches_total`, `amphi_accepted_total` | |
    /// | `amphi_queued`, `amphi_running`, `amphi_workers`, `amphi_cores` (gauges) | |
    ///
    /// `place` is `thread`, `process`, or `auto` for tasks that ended before they had one.
    ///
    /// ```no_run
    /// # fn example(stats: amphi::Stats) -> std::io::Result<()> {
    /// std::fs::write("amphi.prom", stats.prometheus())
    /// # }
    /// ```
    pub fn prometheus(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(self.clone())));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a string does not fail");
        text
    }
}

/// Keeps the foreign trait out of the public type.
#[derive(Debug)]
struct Scrape(Stats);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.0;
        encode_stages(stats, &mut encoder)?;
        encode_tasks(stats, &mut encoder)?;
        encode_decisions(stats, &mut encoder)?;
        let counters = [
            ("amphi_flips", "Classes of tasks that changed their place.", stats.flips),
            ("amphi_audits", "Tasks that ran in both places.", stats.audits),
            ("amphi_audit_mismatches", "Audits that differed.", stats.audit_mismatches),
            ("amphi_accepted", "Tasks that were accepted.", stats.accepted),
        ];
        for (name, help, value) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        let gauges = [
            ("amphi_queued", "Tasks that wait for a place.", stats.queued),
            ("amphi_running", "Tasks that run.", stats.running),
            ("amphi_workers", "Workers that exist.", stats.workers),
            ("amphi_cores", "Cores kept busy at most.", stats.cores),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}

/// What was counted of one job in one place, with the values of those two labels.
fn places(stats: &Stats) -> impl Iterator<Item = (&str, String, &PlaceStats)> {
    stats
        .jobs
        .iter()
        .flat_map(|job| job.places.iter().map(|place| (job.name, word(place.placement), place)))
}

fn encode_stages(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "What the parts of a task's way took.";
    let (name, unit) = ("amphi_task_stage", Unit::Seconds);
    let mut metric = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
    for (job, place, counted) in places(stats) {
        for (stage, times) in &counted.stages {
            let stage = word(stage);
            let labels = [("job", job), ("place", &place), ("stage", &stage)];
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                seconds(times.sum_ns),
                times.count,
                &buckets(times),
                None,
            )?;
        }
    }
    Ok(())
}

/// Upper bounds in seconds, each with the tasks between it and the bound before; the encoder adds
/// them up.
fn buckets(times: &Distribution) -> Vec<(f64, u64)> {
    let bounds = BOUNDS_NS.into_iter().map(seconds).chain([f64::INFINITY]);
    bounds.zip(times.fold(&BOUNDS_NS)).collect()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn encode_tasks(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Tasks by what they came to.";
    let mut metric = encoder.encode_descriptor("amphi_tasks", help, None, MetricType::Counter)?;
    for (job, place, counted) in places(stats) {
        for (outcome, tasks) in &counted.tasks {
            let outcome = word(outcome);
            let labels = [("job", job), ("place", &place), ("outcome", &outcome)];
            ConstCounter::new(*tasks).encode(metric.encode_family(&labels)?)?;
        }
    }
    let help = "Tasks that were run again.";
    let mut metric = encoder.encode_descriptor("amphi_retries", help, None, MetricType::Counter)?;
    for job in &stats.jobs {
        ConstCounter::new(job.retried).encode(metric.encode_family(&[("job", job.name)])?)?;
    }
    Ok(())
}

fn encode_decisions(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Tasks by why they went where they went.";
    let mut metric =
        encoder.encode_descriptor("amphi_decisions", help, None, MetricType::Counter)?;
    for decided in &stats.decisions {
        let (reason, place) = (word(decided.why), word(decided.placement));
        let labels = [("reason", reason.as_str()), ("place", place.as_str())];
        ConstCounter::new(decided.tasks).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
