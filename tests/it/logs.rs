//! What workers log reaches the subscriber of their host, in a program of its own
//! (`tests/host/logs.rs`).

use std::process::{Command, Stdio};

/// What the host heard, line by line, when `HOST_LOGS` was `mode`.
fn heard(mode: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    let command = command.arg("logs").env("HOST_LOGS", mode).stderr(Stdio::null());
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some("done"), "{output}");
    lines
}

/// The one line that contains `text`.
fn line<'a>(lines: &'a [String], text: &str) -> &'a str {
    let mut found = lines.iter().filter(|line| line.contains(text));
    let line = found.next().unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"));
    assert!(found.next().is_none(), "{text:?} is told twice in {lines:#?}");
    line
}

#[test]
fn an_event_of_a_worker_reaches_the_hosts_subscriber() {
    let lines = heard("processes");
    let hello = line(&lines, "hello ann");
    assert!(
        hello.starts_with("WARN amphi::worker message=hello ann answer=42 name=\"ann\" worker=")
    );
    let place = "job=\"chat\" spans=\"outer{id=7 later=8}:inner{text=\\\"a b\\\"}\"";
    assert!(hello.contains(place), "{hello}");
    assert!(hello.contains("target=\"host::logs\" location=\"tests/host/logs.rs:"), "{hello}");
    let rootless = line(&lines, "rootless");
    assert!(rootless.starts_with("INFO") && !rootless.contains("spans="), "{rootless}");
    let elsewhere = line(&lines, "elsewhere");
    assert!(elsewhere.starts_with("ERROR") && elsewhere.contains("}:inner{"), "{elsewhere}");
    let long = line(&lines, "long long");
    assert!((1000..2048).contains(&long.len()), "{long}");
    assert!(long.contains("spans=\"outer{id=7 later=8}\""), "{long}");
    let outside = line(&lines, "outside");
    assert!(!outside.contains("spans="), "{outside}");
}

#[test]
fn disabled_levels_are_neither_sent_nor_formatted() {
    let lines = heard("processes");
    assert!(!lines.iter().any(|line| line.contains("not sent")), "{lines:#?}");
    line(&lines, "formatted Some(0)");
}

#[test]
fn an_event_arrives_while_its_job_hangs() {
    let lines = heard("stall");
    assert!(line(&lines, "it stalls now").contains("job=\"stall\""));
}

#[test]
fn a_subscriber_of_the_workers_own_is_kept() {
    let lines = heard("own");
    line(&lines, "own lines Some(");
    assert!(!lines.iter().any(|line| line.contains("amphi::worker")), "{lines:#?}");
    let own = line(&lines, "own lines").trim_end_matches(')');
    assert!(own.rsplit('(').next().unwrap().parse::<u32>().unwrap() > 5, "{own}");
}

#[test]
fn a_host_that_hears_nothing_is_told_nothing() {
    let lines = heard("none");
    assert_eq!(lines, ["formatted Some(0)", "own lines Some(0)"]);
}

#[test]
fn events_beyond_what_the_host_takes_are_dropped_and_counted_by_a_warning() {
    line(&heard("babble"), "heard of 20000 of 20000");
}

#[test]
fn a_job_on_a_thread_runs_in_a_span_where_somebody_listens() {
    let lines = heard("threads");
    line(&lines, "span task job=\"chat\" placement=\"thread\"");
    line(&lines, "WARN host::logs message=hello ann answer=42");
}
