//! Resource limits: those that a worker gets, and how many descriptors there may be.

use std::io;

use amphi_protocol::WorkerLimits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Applies what is set; core dumps are off unless asked for.
pub(crate) fn apply(limits: &WorkerLimits) -> io::Result<()> {
    set(Resource::Core, limits.core.unwrap_or(0))?;
    if let Some(count) = limits.nofile {
        set(Resource::Nofile, count)?;
    }
    if let Some(bytes) = limits.fsize {
        set(Resource::Fsize, bytes)?;
    }
    if let Some(bytes) = limits.memory {
        // RLIMIT_DATA counts private writable memory, not lanes and payloads.
        set(Resource::Data, private_bytes()?.saturating_add(bytes))?;
    }
    Ok(())
}

/// Descriptors that this process may have.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Gives the task that begins so many seconds of processor time; then SIGXCPU ends the process.
pub(crate) fn allow_cpu(seconds: u64) {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec;
    let maximum = getrlimit(Resource::Cpu).maximum;
    let current = used.unsigned_abs().saturating_add(seconds).saturating_add(1);
    let current = maximum.map_or(current, |maximum| maximum.min(current));
    // A soft limit below the hard one may always be set.
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(current), maximum });
}

/// Lowers a limit; never above what is allowed already.
fn set(resource: Resource, value: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
    Ok(setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })?)
}

/// What the process has of it now.
fn private_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmData in /proc/self/status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(resource: Resource) -> Option<u64> {
        getrlimit(resource).current
    }

    alone! {
        fn limits_are_applied_and_never_raised() {
            let fsize = Some(1 << 20);
            let limits = WorkerLimits { nofile: Some(64), fsize, ..WorkerLimits::default() };
            apply(&limits).unwrap();
            assert_eq!(soft(Resource::Nofile), Some(64));
            assert_eq!(soft(Resource::Fsize), Some(1 << 20));
            assert_eq!(soft(Resource::Core), Some(0), "off unless asked for");
            apply(&WorkerLimits { nofile: Some(128), ..WorkerLimits::default() }).unwrap();
            assert_eq!(soft(Resource::Nofile), Some(64));
        }
    }

    alone! {
        fn memory_is_counted_from_what_there_is() {
            apply(&WorkerLimits { memory: Some(64 << 20), ..WorkerLimits::default() }).unwrap();
            assert!(Vec::<u8>::new().try_reserve_exact(32 << 20).is_ok());
            assert!(Vec::<u8>::new().try_reserve_exact(80 << 20).is_err());
        }
    }
}
