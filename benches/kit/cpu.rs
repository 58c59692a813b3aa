//! CPU time of this process and of everything that it started, directly or not.
//!
//! Each process is read through its CPU clock (nanoseconds, ended threads included), not through
//! `getrusage`, which counts children only after they were reaped. A worker that ends between two
//! readings is lost from the difference.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A reading of the CPU clocks of a process tree.
#[derive(Debug, Clone, Default)]
pub struct Reading(HashMap<i32, Duration>);

/// Reads the clocks of this process and all its descendants.
pub fn read() -> Reading {
    let own = Pid::this().as_raw();
    let mut reading = HashMap::new();
    let mut open = vec![own];
    while let Some(pid) = open.pop() {
        if let Some(used) = clock_of(pid)
            && reading.insert(pid, used).is_none()
        {
            open.extend(children(pid));
        }
    }
    Reading(reading)
}

impl Reading {
    /// The CPU time spent since an earlier reading. A process that is new counts from its start.
    pub fn since(&self, earlier: &Self) -> Duration {
        let before = |pid| earlier.0.get(pid).copied().unwrap_or_default();
        self.0.iter().map(|(pid, now)| now.saturating_sub(before(pid))).sum()
    }

    /// How many processes were read.
    pub fn processes(&self) -> usize {
        self.0.len()
    }
}

fn clock_of(pid: i32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    clock_gettime(clock).ok().map(Duration::from)
}

/// The children of all threads of a process.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<i32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn own_work_and_that_of_a_child_is_seen() {
        let before = read();
        let mut child = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0; 1]).unwrap();
        let after = read();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(after.processes() > before.processes());
        assert!(after.since(&before) > Duration::from_millis(1));
        assert_eq!(after.since(&after), Duration::ZERO);
    }
}
