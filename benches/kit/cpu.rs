//! CPU time of this process and of everything that it started, directly or not.
//!
//! Each process is read through its CPU clock (nanoseconds, ended threads included), not through
//! `getrusage`, which counts children only after they were reaped. A worker that ends between two
//! readings is lost from the difference.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// The CPU clocks of a process tree at the beginning of something.
#[derive(Debug)]
pub struct Meter {
    others: HashMap<i32, Duration>,
    /// Processes that do not count.
    left_out: Vec<i32>,
    own: Duration,
}

impl Meter {
    /// Reads every clock; this process's own last, so that the reading itself does not count.
    pub fn start() -> Self {
        Self::start_without(&[])
    }

    /// The same without some of the processes.
    pub fn start_without(left_out: &[i32]) -> Self {
        let others = descendants();
        Self { others, left_out: left_out.to_vec(), own: own_clock() }
    }

    /// The CPU time spent since the start: own clock first, for the same reason. A process that
    /// is new counts from its start.
    pub fn stop(&self) -> Duration {
        let own = own_clock().saturating_sub(self.own);
        let before = |pid: &i32| self.others.get(pid).copied().unwrap_or_default();
        let counts = |(pid, _): &(&i32, &Duration)| !self.left_out.contains(*pid);
        let spent = |(pid, now): (&i32, &Duration)| now.saturating_sub(before(pid));
        descendants().iter().filter(counts).map(spent).sum::<Duration>() + own
    }

    /// How many other processes were read at the start.
    pub fn descendants(&self) -> usize {
        self.others.len()
    }
}

/// The CPU time of all children that have ended and were waited for, theirs included: for whole
/// commands, whose processes [`Meter`] would lose.
pub fn ended_children() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Duration::ZERO };
    let micros = |time: TimeVal| u64::try_from(time.num_microseconds()).unwrap_or(0);
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

/// The CPU time that this process and everything it started have had so far, those included that have
/// ended and were waited for: of each process that lives its own, and of its ended children what the
/// kernel has added up in whole ticks. For long runs, in which many processes end.
pub fn used_so_far() -> Duration {
    let ended = |pid: i32| ended_children_of(pid).unwrap_or_default();
    let living = descendants().into_iter().map(|(pid, clock)| clock + ended(pid));
    own_clock() + ended_children() + living.sum::<Duration>()
}

/// Fields 16 and 17 of `/proc/PID/stat` (proc_pid_stat(5)).
fn ended_children_of(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).flat_map(str::parse::<u64>).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

fn own_clock() -> Duration {
    clock_of(Pid::this().as_raw()).unwrap_or_default()
}

fn descendants() -> HashMap<i32, Duration> {
    let mut clocks = HashMap::new();
    let mut open = children(Pid::this().as_raw());
    while let Some(pid) = open.pop() {
        if let Some(used) = clock_of(pid)
            && clocks.insert(pid, used).is_none()
        {
            open.extend(children(pid));
        }
    }
    clocks
}

fn clock_of(pid: i32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    clock_gettime(clock).ok().map(Duration::from)
}

/// The children of all threads of a process.
pub(crate) fn children(pid: i32) -> Vec<i32> {
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
        let before = Meter::start();
        let mut child = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read(child.stdout.as_mut().unwrap(), &mut [0; 1]).unwrap();
        let spent = before.stop();
        let (after, living) = (Meter::start(), used_so_far());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(used_so_far() >= living, "what has ended still counts");
        assert!(after.descendants() > before.descendants());
        assert!(spent > Duration::from_millis(1));
    }
}
