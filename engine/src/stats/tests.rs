//! Counting, reading and writing out, without an engine.

use std::sync::Arc;

use super::*;

/// Numbers without a pattern (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

const RUN: Stage = Stage::Run;
const THREAD: Placement = Placement::Thread;

/// What is read of the only job's runs on threads.
fn runs(counters: &Counters) -> Distribution {
    counters.snapshot().jobs[0].place(THREAD).unwrap().stage(RUN).unwrap().clone()
}

/// Off by no more than 13 %, or 1 ns.
#[track_caller]
fn assert_near(read: u64, exact: u64) {
    assert!(read.abs_diff(exact) as f64 <= (0.13 * exact as f64).max(1.0), "{read} for {exact}");
}

#[test]
fn quantiles_are_near_the_exact_ones() {
    // From evenly spread to spread over nine powers of ten.
    for (seed, bits) in [(1, 10), (2, 20), (3, 30), (4, 37)] {
        let mut random = Random(seed);
        let mut times: Vec<u64> = (0..20_000)
            .map(|number| {
                let bits = if number % 2 == 0 { bits } else { random.next() % (bits + 1) };
                random.next() % (1 << bits)
            })
            .collect();
        let counters = Counters::new(vec!["job"]);
        times.iter().for_each(|ns| counters.record(0, THREAD, RUN, *ns, 1));
        times.sort_unstable();
        let read = runs(&counters);
        for percent in [1, 25, 50, 90, 99, 100] {
            let exact = times[(times.len() * percent / 100).max(1) - 1];
            assert_near(read.quantile_ns(percent as f64 / 100.0), exact);
        }
        assert_eq!((read.p50_ns, read.p99_ns), (read.quantile_ns(0.5), read.quantile_ns(0.99)));
        assert_eq!(read.count, 20_000);
        assert_eq!(read.sum_ns, times.iter().sum::<u64>());
        assert_eq!(read.max_ns, times[times.len() - 1]);
        assert!((read.mean_ns - read.sum_ns as f64 / 20_000.0).abs() < 1e-6);
    }
}

#[test]
fn one_measurement_stands_for_many_tasks() {
    let counters = Counters::new(vec!["job"]);
    counters.record(0, THREAD, RUN, 100, 99);
    counters.record(0, THREAD, RUN, 1_000_000, 1);
    counters.record(0, THREAD, RUN, 5, 0);
    let read = runs(&counters);
    assert_eq!((read.count, read.sum_ns, read.max_ns), (100, 1_009_900, 1_000_000));
    assert_near(read.p99_ns, 100);
    assert_eq!(read.quantile_ns(1.0), 1_000_000);
    assert_eq!(read.quantile_ns(f64::NAN), read.quantile_ns(0.0));
    assert_eq!(read.quantile_ns(7.0), read.quantile_ns(1.0));
    assert_eq!(Distribution::default().quantile_ns(0.5), 0);
}

#[test]
fn no_count_is_lost_between_threads() {
    const ROUNDS: u64 = 20_000;
    let counters = Arc::new(Counters::new(vec!["job"]));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let counters = &counters;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    counters.record(0, THREAD, RUN, 1000 * thread + round % 7, 2);
                    counters.outcome(0, THREAD, Outcome::Ok, 1);
                    counters.decided(Why::Cost, Placement::Process, 3);
                    counters.retried(0);
                    counters.flipped();
                    counters.audit(round % 2 == 0);
                }
            });
        }
    });
    let stats = counters.snapshot();
    let job = stats.job("job").unwrap();
    assert_eq!(job.retried, 4 * ROUNDS);
    assert_eq!(job.place(THREAD).unwrap().tasks(Outcome::Ok), 4 * ROUNDS);
    assert_eq!(runs(&counters).count, 8 * ROUNDS);
    let sum: u64 = (0..4).flat_map(|t| (0..ROUNDS).map(move |r| 2 * (1000 * t + r % 7))).sum();
    assert_eq!(runs(&counters).sum_ns, sum);
    let process = Placement::Process;
    let decided = Decided { why: Why::Cost, placement: process, tasks: 12 * ROUNDS };
    assert_eq!(stats.decisions, [decided]);
    assert_eq!(stats.flips, 4 * ROUNDS);
    assert_eq!((stats.audits, stats.audit_mismatches), (4 * ROUNDS, 2 * ROUNDS));
}

#[test]
fn a_number_of_no_job_is_a_closure() {
    let counters = Counters::new(vec!["a", "b"]);
    for job in [2, 3, u32::MAX] {
        counters.outcome(job, THREAD, Outcome::Panicked, 1);
        counters.record(job, THREAD, RUN, 10, 1);
    }
    let stats = counters.snapshot();
    let names: Vec<&str> = stats.jobs.iter().map(|job| job.name).collect();
    assert_eq!(names, ["a", "b", "closure"]);
    assert!(stats.jobs[0].places.is_empty() && stats.jobs[1].places.is_empty());
    let place = stats.job("closure").unwrap().place(THREAD).unwrap();
    assert_eq!((place.tasks(Outcome::Panicked), place.tasks(Outcome::Ok)), (3, 0));
    assert_eq!(place.stage(RUN).unwrap().count, 3);
    assert!(place.stage(Stage::Queue).is_none());

    let taken = Counters::new(vec!["closure"]).snapshot();
    assert_eq!((taken.jobs[0].name, taken.jobs[1].name), ("closure", "(closure)"));
}

#[test]
fn what_is_too_long_saturates() {
    let counters = Counters::new(vec!["job"]);
    counters.record(0, THREAD, RUN, 2_000_000_000_000, 1);
    let read = runs(&counters);
    assert_eq!(
        (read.p50_ns, read.max_ns, read.sum_ns),
        (2 * 10_u64.pow(12), read.p50_ns, read.p50_ns)
    );
    counters.record(0, THREAD, RUN, u64::MAX, 2);
    let read = runs(&counters);
    assert_eq!((read.count, read.max_ns), (3, 1 << 48));
    assert_eq!(read.sum_ns, 2_000_000_000_000 + (2 << 48));
}

#[test]
fn every_name_has_its_own_counter() {
    let counters = Counters::new(Vec::new());
    for (tasks, outcome) in (1..).zip(Outcome::ALL) {
        counters.outcome(0, Placement::Auto, outcome, tasks);
    }
    for (tasks, stage) in (1..).zip(Stage::ALL) {
        counters.record(0, Placement::Auto, stage, 1, tasks);
    }
    let stats = counters.snapshot();
    let place = stats.jobs[0].place(Placement::Auto).unwrap();
    assert!(Outcome::ALL.into_iter().map(|outcome| place.tasks(outcome)).eq(1..=10));
    assert!(Stage::ALL.into_iter().map(|stage| place.stages[&stage].count).eq(1..=6));
}

/// Two jobs, one of them with a name that needs care.
fn example() -> Stats {
    let counters = Counters::new(vec!["checksum", "a \"b\\c\"\nd"]);
    for ns in [500, 1500, 90_000_000] {
        counters.record(0, THREAD, RUN, ns, 10);
    }
    counters.record(0, Placement::Process, Stage::Transport, 40_000, 1);
    counters.outcome(0, THREAD, Outcome::Ok, 29);
    counters.outcome(0, THREAD, Outcome::TimedOut, 1);
    counters.outcome(1, Placement::Auto, Outcome::Rejected, 7);
    counters.decided(Why::NoProcess, THREAD, 98);
    counters.decided(Why::Probe, Placement::Process, 2);
    counters.retried(0);
    counters.audit(true);
    Stats { cores: 2, workers: 1, queued: 3, running: 4, accepted: 37, ..counters.snapshot() }
}

#[test]
fn people_get_an_aligned_table() {
    let mut stats = example();
    stats.jobs[1].name = "other";
    assert_eq!(
        stats.to_string(),
        "\
cores 2, workers 1; tasks accepted 37, queued 3, running 4

job       place   ok  timed out  rejected  retried
checksum  thread  29          1         -        1
other     none     -          -         7        -

job       place    stage      tasks     mean      p50      p90      p99      max
checksum  thread   run           30  30.0 ms  1.47 µs  88.1 ms  88.1 ms  90.0 ms
checksum  process  transport      1  40.0 µs  38.9 µs  38.9 µs  38.9 µs  40.0 µs

decided     place    tasks
probe       process      2
no process  thread      98
probes 2.00 %, flips 0
audits 1, mismatches 1
"
    );
    assert_eq!(
        Counters::new(vec!["job"]).snapshot().to_string(),
        "cores 0, workers 0; tasks accepted 0, queued 0, running 0\n"
    );
}

/// Splits `name{labels} value` at the end of the labels, minding quotes.
#[cfg(feature = "metrics")]
fn sample(line: &str) -> (&str, Vec<(String, String)>, f64) {
    let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
    let mut labels = Vec::new();
    let mut rest = rest.strip_prefix('{').unwrap_or(rest);
    while !rest.starts_with(' ') {
        let (label, quoted) = rest.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match letters.next().unwrap().1 {
                    'n' => '\n',
                    letter @ ('"' | '\\') => letter,
                    letter => panic!("\\{letter} in {line}"),
                }),
                (_, letter) => value.push(letter),
            }
        };
        labels.push((label.to_owned(), value));
        rest = quoted[end + 1..].trim_start_matches([',', '}']);
    }
    (name, labels, rest[1..].parse().unwrap())
}

#[cfg(feature = "metrics")]
#[test]
fn prometheus_can_read_it() {
    let text = example().prometheus();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    let samples: Vec<_> = lines.map(sample).collect();
    let read = |name: &str, wanted: &[(&str, &str)]| {
        let found = samples.iter().find(|(found, labels, _)| {
            *found == name
                && labels.iter().map(|(k, v)| (&k[..], &v[..])).eq(wanted.iter().copied())
        });
        found.unwrap_or_else(|| panic!("{name} {wanted:?} in {text}")).2
    };
    let job = [("job", "checksum"), ("place", "thread")];
    let run = [job[0], job[1], ("stage", "run")];
    let up_to = |le| read("amphi_task_stage_seconds_bucket", &[("le", le), run[0], run[1], run[2]]);
    let bounds = ["0.000001", "0.000002", "0.000005", "0.05", "0.1", "100.0", "+Inf"];
    assert_eq!(bounds.map(up_to), [10.0, 20.0, 20.0, 20.0, 30.0, 30.0, 30.0]);
    assert_eq!(read("amphi_task_stage_seconds_count", &run), 30.0);
    assert!((read("amphi_task_stage_seconds_sum", &run) - 0.900_02).abs() < 1e-12);
    let outcome = |name| [job[0], job[1], ("outcome", name)];
    assert_eq!(read("amphi_tasks_total", &outcome("ok")), 29.0);
    assert_eq!(read("amphi_tasks_total", &outcome("timed_out")), 1.0);
    let odd = [("job", "a \"b\\c\"\nd"), ("place", "auto"), ("outcome", "rejected")];
    assert_eq!(read("amphi_tasks_total", &odd), 7.0);
    assert_eq!(read("amphi_retries_total", &[job[0]]), 1.0);
    let decided = [("reason", "no_process"), ("place", "thread")];
    assert_eq!(read("amphi_decisions_total", &decided), 98.0);
    let single = ["flips_total", "audits_total", "audit_mismatches_total", "accepted_total"]
        .map(|name| read(&format!("amphi_{name}"), &[]));
    assert_eq!(single, [0.0, 1.0, 1.0, 37.0]);
    let gauges = ["queued", "running", "workers", "cores"];
    assert_eq!(gauges.map(|name| read(&format!("amphi_{name}"), &[])), [3.0, 4.0, 1.0, 2.0]);
}
