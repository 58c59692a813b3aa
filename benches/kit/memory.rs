//! What memory processes have, as the kernel counts it.
//!
//! The figures of `/proc/PID/smaps_rollup` and `/proc/PID/status` (proc(5)). Sums over several
//! processes are honest for PSS, USS and page tables; a sum of RSS counts every shared page once
//! for each process that has it.

use std::fs;
use std::io;
use std::iter::Sum;
use std::ops::Add;

use crate::cpu::children;

/// The memory of one process, or of several together, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident pages, whoever else has them.
    pub rss: u64,
    /// Resident pages, each divided by the number of processes that have it.
    pub pss: u64,
    /// Resident pages that nobody else has: what would be free if the process were gone.
    pub uss: u64,
    /// Of these the ones that were written to.
    pub private_dirty: u64,
    /// Resident pages of shared memory (memfd, shm): part of RSS, …
    pub shmem: u64,
    /// … and of PSS.
    pub shmem_pss: u64,
    /// Page tables: in none of the above.
    pub page_tables: u64,
}

impl Memory {
    /// Reads one process.
    ///
    /// # Errors
    /// If it is gone or not ours, or the kernel does not tell (before Linux 5.9).
    pub fn of(pid: u32) -> io::Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Self::parse(&rollup, &status).ok_or_else(|| {
            let text = format!("the kernel does not tell all about the memory of process {pid}");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })
    }

    fn parse(rollup: &str, status: &str) -> Option<Self> {
        let private_dirty = kib(rollup, "Private_Dirty:")?;
        Some(Self {
            rss: kib(rollup, "Rss:")?,
            pss: kib(rollup, "Pss:")?,
            uss: kib(rollup, "Private_Clean:")? + private_dirty,
            private_dirty,
            shmem: kib(status, "RssShmem:")?,
            shmem_pss: kib(rollup, "Pss_Shmem:")?,
            page_tables: kib(status, "VmPTE:")?,
        })
    }
}

impl Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            uss: self.uss + other.uss,
            private_dirty: self.private_dirty + other.private_dirty,
            shmem: self.shmem + other.shmem,
            shmem_pss: self.shmem_pss + other.shmem_pss,
            page_tables: self.page_tables + other.page_tables,
        }
    }
}

impl Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// A process and everything that it started, directly or not.
pub fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        found.extend(children(pid.cast_signed()).into_iter().map(i32::cast_unsigned));
        at += 1;
    }
    found
}

/// The figure of a line `NAME  1234 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_seen_to_grow() {
        const BYTES: usize = 48 << 20; // beyond what an allocator keeps
        let own = std::process::id();
        let before = Memory::of(own).unwrap();
        let block = std::hint::black_box(vec![1_u8; BYTES]);
        let held = Memory::of(own).unwrap();
        drop(block);
        assert!(held.uss >= before.uss + (BYTES as u64 >> 10) * 9 / 10, "{before:?} {held:?}");
        assert!(held.uss <= held.pss && held.pss <= held.rss && held.page_tables > 0, "{held:?}");
        assert!(tree(own).contains(&own));
    }

    #[test]
    fn lines_are_told_apart_and_missing_ones_are_no_zeros() {
        let rollup = "Rss: 40 kB\nPss: 20 kB\nPss_Dirty: 9 kB\nPss_Shmem: 3 kB\n\
                      Private_Clean: 4 kB\nPrivate_Dirty:  5 kB\n";
        let status = "Name:\tx\nRssShmem:\t       6 kB\nVmPTE:\t      7 kB\n";
        let memory = Memory::parse(rollup, status).unwrap();
        let expected = Memory {
            rss: 40,
            pss: 20,
            uss: 9,
            private_dirty: 5,
            shmem: 6,
            shmem_pss: 3,
            page_tables: 7,
        };
        assert_eq!(memory, expected);
        assert_eq!([memory, memory].into_iter().sum::<Memory>().pss, 40);
        assert_eq!(Memory::parse(rollup, "VmPTE: 7 kB"), None);
    }
}
