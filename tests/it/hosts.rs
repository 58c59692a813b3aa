//! Faults of a whole host, in a program of its own (`tests/host.rs`).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use amphi_tests::eventually;
use rustix::process::{Pid, Signal, kill_process};

const HOST: &str = env!("CARGO_BIN_EXE_host");

/// Runs the host to its end and returns what it said.
fn run(command: &mut Command) -> String {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn host(mode: &str) -> Command {
    let mut command = Command::new(HOST);
    command.arg(mode);
    command
}

/// Gone, or a zombie that waits for whoever adopted it.
fn is_gone(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn pids_in(line: &str) -> Vec<u32> {
    let numbers = line.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).filter(|pid| *pid > 42).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// The forkserver of `host`: its child that is the parent of one of `workers`. Never another's
/// process: a worker that has just lost its forkserver has another parent already.
fn forkserver_of(host: &Child, workers: &[u32]) -> u32 {
    let parents = workers.iter().filter_map(|worker| parent_of(*worker));
    let mut own = parents.filter(|parent| parent_of(*parent) == Some(host.id()));
    own.next().expect("a worker that serves has its forkserver")
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

struct Serving {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn ask(&mut self) -> String {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_host_leaves_no_process() {
    for _ in 0..5 {
        let mut host = Serving::start(host("hang"));
        let workers = pids_in(&host.line());
        let forkserver = forkserver_of(&host.child, &workers);
        host.child.kill().unwrap();
        host.child.wait().unwrap();
        let begun = Instant::now();
        eventually("every process to be gone", || {
            workers.iter().chain([&forkserver]).all(|pid| is_gone(*pid))
        });
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_stopped_forkserver_does_not_keep_workers_alive() {
    let mut host = Serving::start(host("hang"));
    let workers = pids_in(&host.line());
    let forkserver = forkserver_of(&host.child, &workers);
    signal(forkserver, Signal::STOP);
    host.child.kill().unwrap();
    eventually("the workers to be gone", || workers.iter().all(|pid| is_gone(*pid)));
    signal(forkserver, Signal::CONT);
    eventually("the forkserver to be gone", || is_gone(forkserver));
}

#[test]
fn a_dead_forkserver_is_replaced() {
    let mut host = Serving::start(host("serve"));
    for _ in 0..3 {
        let line = host.ask();
        assert!(line.starts_with("output 42"), "{line}");
        let forkserver = forkserver_of(&host.child, &pids_in(&line));
        signal(forkserver, Signal::KILL);
        eventually("the forkserver to be gone", || is_gone(forkserver));
        let line = host.ask();
        assert!(line.starts_with("output 42"), "{line}");
    }
}

#[test]
fn a_preload_that_fails_is_an_error_of_start() {
    for (how, text) in [
        ("fail", "the model is missing"),
        ("panic", "the model is broken"),
        ("thread", "left 1 threads running"),
    ] {
        let said = run(host("once").env("HOST_PRELOAD", how));
        assert!(said.starts_with("start: preload=true") && said.contains(text), "{how}: {said}");
    }
}

#[test]
fn workers_that_cannot_start_are_an_error_and_no_hang() {
    let said = run(host("once").env("HOST_WORKER_FAILS", "1"));
    assert!(said.starts_with("error no worker can be started"), "{said}");
    assert!(said.contains("no licence for this worker"), "{said}");
}

#[test]
fn a_replaced_and_a_deleted_binary_go_on() {
    let path = std::env::temp_dir().join(format!("amphi-host-{}", std::process::id()));
    for replace in [false, true] {
        std::fs::copy(HOST, &path).unwrap();
        let mut command = Command::new(&path);
        command.arg("serve");
        let mut host = Serving::start(command);
        let line = host.ask();
        std::fs::remove_file(&path).unwrap();
        if replace {
            std::fs::write(&path, "not this program").unwrap();
        }
        // The next worker needs a new forkserver: the same image, though its file is gone.
        signal(forkserver_of(&host.child, &pids_in(&line)), Signal::KILL);
        let line = host.ask();
        assert!(line.starts_with("output 42"), "replaced {replace}: {line}");
        let _ = std::fs::remove_file(&path);
    }
}

#[test]
fn few_descriptors_are_enough() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" once", HOST]);
    assert_eq!(run(&mut command), "output 42\ndone\n");
}

#[test]
fn a_large_host_with_many_threads_starts_workers() {
    assert_eq!(run(&mut host("large")), "output 42\ndone\n");
}
