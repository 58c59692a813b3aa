//! A process for one test, and what the kernel says of processes.

use std::process::Command;

const MARK: &str = "AMPHI_STRESS_ALONE";

/// Runs `body` in a fresh process that runs the test of this name and no other.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        body();
        return;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(MARK, test)
        .status()
        .unwrap();
    assert!(status.success(), "{test}, in a process of its own: {status}");
}

/// Open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The value of a line of `/proc/PID/status`, without its unit.
fn status(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// Resident anonymous memory of this process, in KiB.
pub(crate) fn resident_kib() -> u64 {
    resident_kib_of(std::process::id()).unwrap()
}

/// The same of any process; `None`: it is gone.
pub(crate) fn resident_kib_of(pid: u32) -> Option<u64> {
    status(&format!("/proc/{pid}/status"), "RssAnon")
}

/// This process's children and theirs, whether they live or wait to be reaped.
pub(crate) fn descendants() -> Vec<u32> {
    let mut found = vec![std::process::id()];
    let mut next = 0;
    while next < found.len() {
        let threads = std::fs::read_dir(format!("/proc/{}/task", found[next]));
        for thread in threads.into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    found.split_off(1)
}

/// How often each thread of a process gave up its core, and the clock ticks it has used.
pub(crate) fn activity(pid: u32) -> Vec<(String, u64, u64)> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut seen: Vec<_> = threads
        .flatten()
        .filter_map(|thread| {
            let path = thread.path().join("status").display().to_string();
            let switches = status(&path, "voluntary_ctxt_switches")?
                + status(&path, "nonvoluntary_ctxt_switches")?;
            let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
            // After the name in brackets: state is field 3, user time 14 and system time 15.
            let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
            let ticks = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
            Some((thread.path().display().to_string(), switches, ticks))
        })
        .collect();
    seen.sort();
    seen
}
