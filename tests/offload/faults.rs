//! What ends badly, and how `offload` ends then: the exit code, the message, the other files.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::{PLACES, Tree, assert_ended, piped, until};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// Time enough for a worker to start, and to hash three bytes.
const LIMIT_S: &str = "2";

fn line(name: &str) -> String {
    format!("{ABC}  {name}\n")
}

#[test]
fn wrong_usage_exits_2() {
    let tree = Tree::new();
    for arguments in [
        &["--no-such-flag"][..],
        &["--place", "moon"],
        &["--algorithm", "md5"],
        &["--cores", "0"],
        &["--kill-after", "0"],
        &["--kill-after", "soon"],
        &["--place", "thread", "--kill-after", "1"],
        &["--exclude", "["],
        &["--quiet"],
        &["--status"],
        &["--ignore-missing"],
        &["-z", "--check"],
        &["-z", "--json"],
        &["-r", "--check"],
    ] {
        let mut command = tree.command(crate::support::binary());
        let output = command.arg("hash").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && output.stderr.starts_with(b"error: "), "{arguments:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    tree.file("d/b", b"abc");
    std::os::unix::fs::symlink("loop", tree.path("loop")).unwrap();
    let long = "x".repeat(300);
    for place in PLACES {
        let mut ours = tree.offload(place);
        let ours = ours.args(["d", "a", "gone\n", "loop", &long, "", "d/b"]).output().unwrap();
        let stderr = format!(
            "offload: d: Is a directory\n\
             offload: 'gone'$'\\n': No such file or directory\n\
             offload: loop: Too many levels of symbolic links\n\
             offload: {long}: File name too long\n\
             offload: '': No such file or directory\n"
        );
        assert_ended(&ours, 1, (line("a") + &line("d/b")).as_bytes(), &stderr);
    }
}

#[test]
fn a_read_error_in_the_middle_is_the_file_s_own() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    for place in PLACES {
        // Address 0 of a process is not mapped: reading there is EIO.
        let ours = tree.offload(place).args(["a", "/proc/self/mem", "a"]).output().unwrap();
        let stderr = "offload: /proc/self/mem: Input/output error\n";
        assert_ended(&ours, 1, line("a").repeat(2).as_bytes(), stderr);
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let tree = Tree::new();
    let names: Vec<String> = (0..3_000).map(|number| format!("{number:0100}")).collect();
    for name in &names {
        tree.file(name, b"abc");
    }
    for place in PLACES {
        let mut child = piped(tree.offload(place).args(&names));
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        // As a shell reports a program that SIGPIPE ended.
        assert_ended(&output, 141, b"", "");
    }
}

#[test]
fn a_full_disk_is_said() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ours = tree.offload("auto").arg("a").stdout(full).output().unwrap();
    assert_ended(&ours, 1, b"", "offload: write error: No space left on device\n");
}

/// Nothing of the program is left: not the host, not a worker.
fn assert_nobody_left(tree: &Tree) {
    until("every process is gone", || tree.processes().is_empty().then_some(()));
}

/// Starts on `a` and a pipe nobody writes, in a process group of its own; waits until `a` is told.
fn start_hanging(tree: &Tree, place: &str) -> Child {
    tree.file("a", b"abc");
    if !tree.path("pipe").exists() {
        tree.fifo("pipe");
    }
    let mut command = tree.offload(place);
    let mut child = piped(command.args(["a", "pipe"]).process_group(0));
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, line("a"));
    child
}

#[test]
fn ctrl_c_exits_130() {
    let tree = Tree::new();
    for place in PLACES {
        let child = start_hanging(&tree, place);
        // To the whole group, as a terminal does.
        kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
        assert_ended(&child.wait_with_output().unwrap(), 130, b"", "");
        assert_nobody_left(&tree);
    }
}

#[test]
fn a_killed_host_leaves_nobody() {
    let tree = Tree::new();
    let mut child = start_hanging(&tree, "process");
    assert!(tree.processes().len() > 1, "a worker hashes");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_nobody_left(&tree);
}

#[test]
fn a_pipe_nobody_writes_is_given_up() {
    let tree = Tree::new();
    tree.fifo("pipe");
    tree.file("a", b"abc");
    tree.file("b", b"abc");
    for place in ["auto", "process"] {
        let mut ours = tree.offload(place);
        let ours = ours.args(["--kill-after", LIMIT_S, "a", "pipe", "b"]).output().unwrap();
        let stderr = format!("offload: pipe: given up after {LIMIT_S} s\n");
        assert_ended(&ours, 1, (line("a") + &line("b")).as_bytes(), &stderr);
        assert_nobody_left(&tree);
    }
}

/// Starts a check of `a`, `b` and `c`, which were files when the batch was made; before it is
/// submitted, `b` becomes a pipe. That is what a batch with one bad file is.
fn start_batch_with_a_pipe(tree: &Tree, arguments: &[&str]) -> Child {
    for name in ["a", "b", "c"] {
        tree.file(name, b"abc");
    }
    let mut child =
        piped(tree.offload("process").args(arguments).arg("--check").stdin(Stdio::piped()));
    let mut list = child.stdin.take().unwrap();
    list.write_all((line("a") + &line("b") + &line("c")).as_bytes()).unwrap();
    until("the list is read", || (rustix::io::ioctl_fionread(&list).unwrap() == 0).then_some(()));
    // It looks at the files without sleeping, then waits for more of the list.
    let status = format!("/proc/{0}/task/{0}/stat", child.id());
    until("more is waited for", || {
        fs::read_to_string(&status).unwrap().contains(") S ").then_some(())
    });
    fs::remove_file(tree.path("b")).unwrap();
    tree.fifo("b");
    drop(list);
    child
}

#[test]
fn the_hung_file_of_a_batch_is_the_only_one_given_up() {
    let tree = Tree::new();
    let output =
        start_batch_with_a_pipe(&tree, &["--kill-after", LIMIT_S]).wait_with_output().unwrap();
    let stderr = format!(
        "offload: b: given up after {LIMIT_S} s\noffload: WARNING: 1 listed file could not be read\n"
    );
    assert_ended(&output, 1, b"a: OK\nb: FAILED open or read\nc: OK\n", &stderr);
}

/// The worker, not the host, that has this file open.
fn worker_that_reads(tree: &Tree, host: &Child, path: &Path) -> Option<Pid> {
    let pids = tree.processes().into_iter().filter(|pid| *pid != host.id());
    let reads = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut names = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        names.any(|name| name == path).then_some(())
    };
    pids.filter_map(|pid| reads(&pid).and(Pid::from_raw(i32::try_from(pid).ok()?))).next()
}

#[test]
fn the_file_that_kills_its_worker_is_the_only_one_reported() {
    let tree = Tree::new();
    let child = start_batch_with_a_pipe(&tree, &[]);
    // Opened for both ends, so that the worker gets as far as reading.
    let pipe = OpenOptions::new().read(true).write(true).open(tree.path("b")).unwrap();
    // Once under the batch, once under the file alone.
    for _ in 0..2 {
        let worker = until("a worker reads", || worker_that_reads(&tree, &child, &tree.path("b")));
        kill_process(worker, Signal::KILL).unwrap();
        until("it is gone", || {
            (worker_that_reads(&tree, &child, &tree.path("b")) != Some(worker)).then_some(())
        });
    }
    let output = child.wait_with_output().unwrap();
    drop(pipe);
    assert_eq!(output.stdout, b"a: OK\nb: FAILED open or read\nc: OK\n");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("offload: b: ") && told.contains("SIGKILL"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_worker_killed_under_a_large_file_costs_nothing() {
    let tree = Tree::new();
    // A hole is as good as bytes.
    File::create(tree.path("large")).unwrap().set_len(1 << 30).unwrap();
    let arguments = ["--algorithm", "blake3", "large"];
    let expected = tree.offload("thread").args(arguments).output().unwrap().stdout;
    let mut command = tree.offload("process");
    let child = piped(command.args(arguments));
    if let Some(worker) = until_or_ended(&tree, &child) {
        let _ = kill_process(worker, Signal::KILL);
    }
    assert_ended(&child.wait_with_output().unwrap(), 0, &expected, "");
}

/// The first worker seen at the large file; `None` if the program was faster.
fn until_or_ended(tree: &Tree, child: &Child) -> Option<Pid> {
    let stat = format!("/proc/{}/stat", child.id());
    until("a worker reads or all is done", || {
        let ended = fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
        match worker_that_reads(tree, child, &tree.path("large")) {
            Some(worker) => Some(Some(worker)),
            None => ended.then_some(None),
        }
    })
}

#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    let tree = Tree::new();
    for number in 0..100 {
        tree.file(format!("d/{number}"), b"abc");
    }
    let peak_kib = |repeats: usize| -> u64 {
        let mut command = tree.offload("thread");
        command.arg("-r").args(vec!["d"; repeats]).arg("-").stdin(Stdio::piped());
        let mut child = piped(&mut command);
        // It waits for its standard input, the last of the paths, when all else is told.
        let told = BufReader::new(child.stdout.take().unwrap()).lines().take(100 * repeats);
        assert_eq!(told.map(Result::unwrap).count(), 100 * repeats);
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let (few, many) = (peak_kib(10), peak_kib(500));
    assert!(many < few + 4_096, "1 000 files: {few} KiB, 50 000 files: {many} KiB");
}
