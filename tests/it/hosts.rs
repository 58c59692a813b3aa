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
    // The last words of a panic are its message then, not a remark on backtraces.
    command.arg(mode).env("RUST_BACKTRACE", "0");
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
fn a_preload_that_hangs_or_aborts_is_an_error_of_start_in_time() {
    for (how, text) in [("hang", "not ready within 0.5 s"), ("abort", "ended before it was ready")]
    {
        let begun = Instant::now();
        let mut command = host("once");
        command.env("HOST_PRELOAD", how).env("HOST_START_TIMEOUT_MS", "500");
        let said = run(&mut command);
        assert!(said.starts_with("start: preload=true") && said.contains(text), "{how}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{how}: {:?}", begun.elapsed());
    }
}

#[test]
fn what_a_preload_prints_is_printed_once() {
    let said = run(host("once").env("HOST_PRELOAD", "print"));
    assert_eq!(said, "half a lineoutput 42\ndone\n");
}

#[test]
fn workers_that_cannot_start_are_an_error_and_no_hang() {
    for (how, text) in [
        ("fail", "no licence for this worker"),
        ("panic", "the worker's logging is broken"),
        ("exit", "exited with code 7"),
        ("hang", "not READY in time"),
    ] {
        let said = run(host("once").env("HOST_WORKER", how));
        assert!(said.starts_with("error no worker can be started"), "{how}: {said}");
        assert!(said.contains(text), "{how}: {said}");
    }
}

/// Refusals are fast while nothing can be started, and end when it can.
#[test]
fn a_pool_that_could_not_start_serves_when_it_can() {
    let licence = std::env::temp_dir().join(format!("amphi-licence-{}", std::process::id()));
    let mut command = host("refused");
    command.env("HOST_WORKER", &licence);
    let mut host = Serving::start(command);
    let first = host.ask();
    assert!(first.starts_with("error") && first.contains("not yet"), "{first}");
    let begun = Instant::now();
    let second = host.ask();
    assert!(second.starts_with("error"), "{second}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    std::fs::write(&licence, "").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !host.ask().starts_with("output 42") {
        assert!(Instant::now() < deadline, "it serves when it can");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    std::fs::remove_file(&licence).unwrap();
}

/// A forkserver that is stopped, or dies before it forked what it was asked for, costs nothing
/// that had not started.
#[test]
fn a_forkserver_that_dies_before_it_forks_is_replaced() {
    let mut host = Serving::start(host("serve"));
    let workers = pids_in(&host.ask());
    let forkserver = forkserver_of(&host.child, &workers);
    signal(forkserver, Signal::STOP);
    // Its workers are gone, and nobody forks the next ones.
    for worker in &workers {
        signal(*worker, Signal::KILL);
        eventually("the worker to be gone", || is_gone(*worker));
    }
    host.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    signal(forkserver, Signal::KILL);
    let line = host.line();
    assert!(line.starts_with("output 42"), "{line}");
}

#[test]
fn what_jobs_left_behind_ends_with_the_host_however_that_ends() {
    for end in ["drop", "shutdown", "kill"] {
        let mut host = Serving::start(host("leave"));
        let line = host.line();
        let pids = pids_in(&line);
        let child = pids[0];
        assert!(!is_gone(child), "{line}");
        match end {
            "kill" => host.child.kill().unwrap(),
            word => {
                host.child
                    .stdin
                    .as_mut()
                    .unwrap()
                    .write_all(format!("{word}\n").as_bytes())
                    .unwrap();
                assert_eq!(host.line(), "done");
            }
        }
        eventually("everything to be gone", || pids.iter().all(|pid| is_gone(*pid)));
    }
}

/// What a worker finds is what the host had when its engine started.
#[test]
fn surroundings_are_frozen_when_the_engine_starts() {
    let home = std::env::temp_dir().canonicalize().unwrap();
    let mut command = host("frozen");
    command.env("HOST_WEATHER", "fine").current_dir(&home);
    let mut host = Serving::start(command);
    let expected = |line: &str| line.starts_with(&format!("Ok(\"{} ", home.display()));
    let first = host.ask();
    assert!(expected(&first) && first.contains(" fine\")"), "{first}");
    let forkserver = forkserver_of(&host.child, &pids_in(first.rsplit(')').next().unwrap()));
    signal(forkserver, Signal::KILL);
    eventually("the forkserver to be gone", || is_gone(forkserver));
    let second = host.ask();
    assert_eq!(first.split(')').next(), second.split(')').next(), "{first} {second}");
}

/// A gigabyte, of which the host keeps the end.
#[test]
fn a_flood_of_stderr_costs_the_host_nothing() {
    let said = run(&mut host("flood"));
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].contains("SIGABRT") && lines[0].contains("last words: the last words"),
        "{said}"
    );
    let grown: u64 = lines[1].split(' ').nth(1).unwrap().parse().unwrap();
    assert!(grown < 4096, "{said}");
    assert_eq!(lines[2..], ["neighbour Some(8)", "done"], "{said}");
}

const TWO_SLEEPERS: &str = "(sleep 3 & sleep 3 &); exec \"$0\" refused";

#[test]
fn a_fork_that_is_refused_is_told_and_tried_again() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can take on the identity of a user without processes");
        return;
    }
    // Nobody else has this user id, so the limit counts what is started here: two sleepers for a
    // while, the host's two threads, and the forkserver. A worker has two threads.
    let copy = std::env::temp_dir().join(format!("amphi-refused-{}", std::process::id()));
    std::fs::copy(HOST, &copy).unwrap();
    let mut command = Command::new("setpriv");
    let user = 3_000_000_000 + std::process::id();
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    command.args(["prlimit", "--nproc=5", "sh", "-c", TWO_SLEEPERS]);
    let mut host = Serving::start({
        command.arg(&copy);
        command
    });
    let line = host.ask();
    assert!(line.starts_with("error") && line.contains("fork: "), "{line}");
    assert!(line.contains("Resource temporarily unavailable"), "{line}");
    // The sleepers end, and there is room for a worker.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !host.ask().starts_with("output 42") {
        assert!(Instant::now() < deadline, "a worker is forked when it can be");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    std::fs::remove_file(&copy).unwrap();
}

/// `AMPHI_PLACE` and `AMPHI_CORES` need no change of the program.
#[test]
fn the_environment_places_tasks_and_counts_cores() {
    let said = |variable: &str, value: &str| run(host("where").env(variable, value));
    assert!(
        said("AMPHI_PLACE", "thread").contains("Some(42) double → thread (waiting): AMPHI_PLACE")
    );
    assert!(said("AMPHI_PLACE", "process").contains("Some(42) double → process: AMPHI_PLACE"));
    let auto = said("AMPHI_PLACE", "auto");
    assert!(auto.contains("Some(42) double → process: the engine's default"), "{auto}");
    let cores = said("AMPHI_CORES", "1");
    assert!(cores.starts_with("cores 1 output Some(42)"), "{cores}");
    for (variable, value) in
        [("AMPHI_PLACE", "moon"), ("AMPHI_CORES", "none"), ("AMPHI_CORES", "0")]
    {
        let refused = said(variable, value);
        assert!(refused.starts_with("start: preload=false setting=true"), "{value}: {refused}");
    }
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

/// They travel as bytes then; and what is preloaded, and what is made beside it, are there in each
/// worker.
#[test]
fn a_host_without_a_free_descriptor_fails_the_task_and_lives_on() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" files", HOST]);
    let said = run(&mut command);
    for fact in ["full", "child", "lives on", "child", "preloaded", "lives on"] {
        assert!(said.contains(&format!("{fact}: true")), "{fact}: {said}");
    }
    assert!(!said.contains("false") && said.ends_with("done\n"), "{said}");
}

#[test]
fn a_worker_s_jobs_have_so_many_open_files_in_the_host_and_no_more() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 4096; exec \"$0\" children", HOST]);
    assert_eq!(run(&mut command), "refused Some(8)\n".repeat(3) + "done\n");
}

#[test]
fn blobs_need_no_descriptors() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" blobs", HOST]);
    assert_eq!(run(&mut command), "100 of 100 sums are right\npreloaded\ndone\n");
}

/// Copies of host and worker, as encoded, written to shared memory, copied out of it, decoded. Of
/// bytes that are a whole input and output: written and decoded on their way in, written and copied
/// out on their way back; what is too long for the arena is read instead of decoded. Bytes within a
/// value are encoded and decoded besides. A blob is never copied.
#[test]
fn payloads_are_copied_as_often_as_is_promised() {
    let said = run(&mut host("copies"));
    let expected = "bytes of 262144: [[0, 1, 1, 0], [0, 1, 0, 1]]\n\
                    within of 262144: [[1, 1, 1, 1], [1, 1, 0, 1]]\n\
                    blob of 262144: [[0, 0, 0, 0], [0, 0, 0, 0]]\n\
                    bytes of 4194304: [[0, 1, 1, 0], [0, 1, 1, 0]]\n\
                    within of 4194304: [[1, 1, 1, 1], [1, 1, 1, 1]]\n\
                    blob of 4194304: [[0, 0, 0, 0], [0, 0, 0, 0]]\ndone\n";
    assert_eq!(said, expected);
}

/// A host without a free descriptor cannot take a large output: that is an error, never an output
/// without its bytes; and it is over when there are descriptors again.
#[test]
fn a_host_without_descriptors_gives_no_wrong_output() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" starved", HOST]);
    let said = run(&mut command);
    assert!(said.starts_with("starved: error "), "{said}");
    assert!(said.ends_with("fed\ndone\n"), "{said}");
}

#[test]
fn a_host_that_gets_no_thread_is_told() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can take on the identity of a user without processes");
        return;
    }
    // A user of its own, whose limit is reached by the host's first thread.
    let copy = std::env::temp_dir().join(format!("amphi-threadless-{}", std::process::id()));
    std::fs::copy(HOST, &copy).unwrap();
    let user = 3_500_000_000_u32 + std::process::id();
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    command.args(["prlimit", "--nproc=1"]).arg(&copy).arg("threadless");
    let said = run(&mut command);
    assert!(said.starts_with("blocking Err(\"the engine has no thread"), "{said}");
    assert!(said.contains("\nerror the engine has no thread"), "{said}");
    std::fs::remove_file(&copy).unwrap();
}

#[test]
fn a_large_host_with_many_threads_starts_workers() {
    assert_eq!(run(&mut host("large")), "output 42\ndone\n");
}
