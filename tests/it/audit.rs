//! `AMPHI_AUDIT=1` in a program of its own (`tests/host/audit.rs`): each task runs in both places,
//! and what differs is told, while the program's own outcomes are as ever.

use std::process::{Command, Stdio};

const HOST: &str = env!("CARGO_BIN_EXE_host");

/// What the host wrote to standard output and standard error; it ended well.
fn audit(value: &str, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(HOST);
    command.args(arguments).env("AMPHI_AUDIT", value).env("RUST_BACKTRACE", "0");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}{told}");
    (said, told)
}

/// The lines of mismatches.
fn mismatches(told: &str) -> Vec<&str> {
    told.lines().filter(|line| line.starts_with("amphi: audit: job ")).collect()
}

#[test]
fn jobs_that_come_to_the_same_are_counted_and_not_told() {
    for (job, outcome) in [("double", "output 98"), ("fail", "error "), ("panic", "error ")] {
        let (said, told) = audit("1", &["audit", job, "50", "50"]);
        assert!(said.contains("\naudits 50 mismatches 0\naccepted 50 queued 0\n"), "{said}{told}");
        assert!(said.contains(outcome) && said.ends_with("done\n"), "{said}");
        assert_eq!(mismatches(&told), [""; 0], "{job}");
    }
}

#[test]
fn a_job_that_tells_its_process_is_found() {
    let (said, told) = audit("1", &["audit", "pid", "1", "1"]);
    assert!(said.contains("\naudits 1 mismatches 1\n") && said.ends_with("done\n"), "{said}");
    let lines = mismatches(&told);
    assert_eq!(lines.len(), 1, "{told}");
    for text in
        ["job `pid`, input of 1 bytes", "on a thread ok, ", "in a process ok, ", "from byte "]
    {
        assert!(lines[0].contains(text), "{text}: {told}");
    }
    assert!(lines[0].contains("statics") && lines[0].contains("Spec::threads_only()"), "{told}");
}

#[test]
fn a_job_with_a_counter_is_found_and_not_told_without_end() {
    let (said, told) = audit("1", &["audit", "count", "20", "20"]);
    assert!(said.contains("\naudits 20 mismatches 20\n") && said.ends_with("done\n"), "{said}");
    // The host's counter alone decided what its caller saw.
    let outputs: Vec<u64> =
        said.lines().filter_map(|line| line.strip_prefix("output ")?.parse().ok()).collect();
    assert_eq!(outputs.len(), 20);
    assert!(outputs.iter().all(|output| (1000..1020).contains(output)), "{said}");
    let lines = mismatches(&told);
    assert_eq!(lines.len(), 8, "{told}");
    assert!(lines.iter().all(|line| line.contains("job `count`")), "{told}");
    assert!(lines[7].contains("Further mismatches"), "{told}");
}

#[test]
fn a_job_that_crashes_only_in_a_worker_is_found() {
    let (said, told) = audit("1", &["audit", "abort", "3", "3"]);
    assert!(said.starts_with("output 0\noutput 1\noutput 2\naudits 3 mismatches 3\n"), "{said}");
    let lines = mismatches(&told);
    assert!(lines.len() == 3 && lines[0].contains("in a process crashed. "), "{told}");
}

/// It would keep the only core, and nothing else would run.
#[test]
fn a_cancelled_task_has_no_shadow() {
    let mut command = Command::new(HOST);
    command.args(["audit", "linger", "0", "1"]).envs([("AMPHI_AUDIT", "1"), ("AMPHI_CORES", "1")]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("lingered Err("), "{said}");
    assert!(said.contains("\noutput 42\naudits 1 mismatches 0\n"), "{said}");
    assert!(said.ends_with("done\n"), "{said}");
}

/// A program that is through before the first worker has started is told all the same.
#[test]
fn what_has_ended_is_compared_before_the_engine_goes() {
    let (said, told) = audit("1", &["audit", "pid", "3", "0"]);
    assert!(said.ends_with("done\n"), "{said}");
    assert_eq!(mismatches(&told).len(), 3, "{told}");
}

#[test]
fn without_it_tasks_run_once() {
    for value in ["0", ""] {
        let (said, told) = audit(value, &["audit", "count", "3", "0"]);
        assert!(said.contains("audits 0 mismatches 0\n"), "{said}");
        assert_eq!(mismatches(&told), [""; 0]);
    }
}

#[test]
fn what_it_cannot_do_is_said() {
    let (said, _) = audit("yes", &["where"]);
    assert!(said.starts_with("start: preload=false setting=true AMPHI_AUDIT: \"yes\""), "{said}");
    let (said, told) = audit("1", &["threadless"]);
    assert!(said.ends_with("output 42\n"), "{said}");
    assert!(told.contains("amphi: AMPHI_AUDIT=1 does nothing here"), "{told}");
}
