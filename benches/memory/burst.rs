//! A burst: every worker allocates and touches much memory in small pieces and frees it. What is
//! given back at once, and what once the worker was replaced.

use std::error::Error;
use std::fs;

use amphi_benches::Tally;

use super::systems::System;

/// What each worker allocates.
pub(crate) const MIB: usize = 256;

/// Amphi replaces a worker that has grown by more.
pub(crate) const GROWTH_MIB: usize = 32;

/// What of the burst outlives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Burst {
    /// Nothing.
    Freed,
    /// 1 KiB that was allocated last.
    Kept,
}

impl Burst {
    pub(crate) const ALL: [Self; 2] = [Self::Freed, Self::Kept];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Freed => "burst, all freed",
            Self::Kept => "burst, 1 KiB kept",
        }
    }
}

/// The PSS of everybody at one moment, in KiB.
pub(crate) const BEFORE: &str = "pss before";
pub(crate) const HELD: &str = "pss held";
pub(crate) const AT_ONCE: &str = "pss at once";
pub(crate) const RENEWED: &str = "pss renewed";
/// How much of what the burst has added is given back, as a share.
pub(crate) const BACK_AT_ONCE: &str = "given back at once";
pub(crate) const BACK_RENEWED: &str = "given back renewed";
/// Workers that were replaced.
pub(crate) const REPLACED: &str = "replaced";

/// Whether this machine has room for so many bursts at a time; `Err` says what it lacks.
pub(crate) fn fits(workers: usize) -> Result<(), String> {
    let needed = workers * MIB * 3 / 2;
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    match kib.map(|kib| kib >> 10) {
        Some(mib) if mib >= needed => Ok(()),
        Some(mib) => Err(format!("{needed} MiB of memory are needed, and {mib} are available")),
        None => Err("/proc/meminfo does not say how much memory is available".to_owned()),
    }
}

/// Two fresh hosts: one whose workers stay, one whose workers are replaced. An engine that
/// replaces workers does so right after the task, and would hide what is given back at once.
pub(crate) fn measure(
    system: &System,
    burst: Burst,
    workers: usize,
    round: usize,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let kept = if burst == Burst::Kept { "keep" } else { "free" };
    let hold = format!("hold {MIB} {kept}");
    let mut add = |metric, value, unit| {
        tally.add(round, (system.name, burst.name(), metric), value, unit);
    };

    let mut host = system.start(workers, 0)?;
    host.wake_all()?;
    let before = host.census()?.all.pss as f64;
    host.tell(&hold)?;
    let held = host.census()?.all.pss as f64;
    host.tell("release")?;
    let at_once = host.census()?.all.pss as f64;
    host.end()?;
    add(BEFORE, before, "KiB");
    add(HELD, held, "KiB");
    add(AT_ONCE, at_once, "KiB");
    add(BACK_AT_ONCE, (held - at_once) / (held - before), "ratio");

    if system.can_renew() {
        let mut host = system.start(workers, GROWTH_MIB)?;
        host.wake_all()?;
        let before = host.census()?.all.pss as f64;
        host.tell(&hold)?;
        let held = host.census()?.all.pss as f64;
        host.tell("release")?;
        let replaced = host.tell("renew")?;
        let renewed = host.census()?.all.pss as f64;
        host.end()?;
        add(RENEWED, renewed, "KiB");
        add(BACK_RENEWED, (held - renewed) / (held - before), "ratio");
        add(REPLACED, replaced.iter().sum::<u64>() as f64, "workers");
    }
    Ok(())
}
