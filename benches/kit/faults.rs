//! Minor page faults of this process and of everything that it started, directly or not: pages that
//! were touched for the first time, or for the first time since they were given back.

use std::collections::HashMap;
use std::fs;

use crate::memory::tree;

/// The fault counts of a process tree at the beginning of something.
#[derive(Debug)]
pub struct Faults {
    others: HashMap<u32, u64>,
    own: u64,
}

impl Faults {
    /// Reads every process, this one last: what the reading touches does not count.
    pub fn start() -> Self {
        let others = others();
        Self { others, own: faults_of(std::process::id()) }
    }

    /// How many there have been since the start: this process first, for the same reason. One that
    /// is new counts from its start.
    pub fn stop(&self) -> u64 {
        let own = faults_of(std::process::id()).saturating_sub(self.own);
        let before = |pid| self.others.get(pid).copied().unwrap_or_default();
        others().iter().map(|(pid, now)| now.saturating_sub(before(pid))).sum::<u64>() + own
    }
}

fn others() -> HashMap<u32, u64> {
    let pids = tree(std::process::id());
    pids.into_iter().skip(1).map(|pid| (pid, faults_of(pid))).collect()
}

/// Field 10 of `/proc/PID/stat` (proc_pid_stat(5)); 0 for a process that is gone.
fn faults_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
    fields.and_then(|mut fields| fields.nth(7)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_new_page_is_one_fault() {
        const PAGES: usize = 2000;
        let faults = Faults::start();
        let mut block = std::hint::black_box(Vec::<u8>::with_capacity(PAGES * 4096));
        block.resize(PAGES * 4096, 1);
        let seen = faults.stop();
        drop(std::hint::black_box(block));
        // Pages may be large ones.
        assert!(seen >= 2 && seen < 2 * PAGES as u64, "{seen}");
        let quiet = Faults::start().stop();
        assert!(quiet < 50, "{quiet}");
    }
}
