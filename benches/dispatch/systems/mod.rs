//! The systems under measurement: the floor, the peers, and amphi in its two places. Those that
//! other benches measure too stand in `pools`; the floor and `run` are only for here.

use std::error::Error;

use amphi_benches::Options;

use crate::pools::roles::Role;
use crate::pools::{
    AMPHI_PROCESSES, AMPHI_THREADS, System, amphi_engine, bare_injector, direct, ipc_echo,
    procspawn_pool, rayon_spawn, tokio_blocking,
};
use crate::{busy, syscalls};

mod amphi_run;
pub(crate) mod bare_lane;
mod futex;
mod shared;

pub(crate) use amphi_run::NAME as AMPHI_RUN;

/// Who else this binary may be.
pub(crate) const ROLES: [Role; 5] = [
    (busy::ROLE, busy::compute),
    (syscalls::ROLE, syscalls::serve),
    (bare_lane::ROLE, bare_lane::serve),
    (futex::ROLE, futex::serve),
    (ipc_echo::ROLE, ipc_echo::serve),
];

type Start = fn(usize) -> Result<Box<dyn System>, Box<dyn Error>>;

/// Every system by its name, in the order of the report.
const ALL: [(&str, Start); 12] = [
    (direct::NAME, |_| Ok(Box::new(direct::start()))),
    (bare_lane::SPIN, bare_lane::start_spinning),
    (bare_lane::PARK, bare_lane::start_parking),
    (futex::NAME, futex::start),
    (bare_injector::NAME, |cores| Ok(Box::new(bare_injector::start(cores)?))),
    (rayon_spawn::NAME, |cores| Ok(Box::new(rayon_spawn::start(cores)?))),
    (tokio_blocking::NAME, |cores| Ok(Box::new(tokio_blocking::start(cores)?))),
    (procspawn_pool::NAME, |cores| Ok(Box::new(procspawn_pool::start(cores)?))),
    (ipc_echo::NAME, |_| Ok(Box::new(ipc_echo::start()?))),
    (AMPHI_RUN, amphi_run::start),
    (AMPHI_THREADS, |cores| Ok(Box::new(amphi_engine::threads(amphi_engine::app(), cores)?))),
    (AMPHI_PROCESSES, |cores| Ok(Box::new(amphi_engine::processes(amphi_engine::app(), cores)?))),
];

/// Starts the systems that were asked for. One that cannot start is named and left out.
pub(crate) fn start(options: &Options) -> Vec<Box<dyn System>> {
    let names = ALL.iter().map(|(name, _)| *name).filter(|name| options.wants_system(name));
    names
        .filter_map(|name| {
            start_one(name).inspect_err(|error| eprintln!("{name} is left out: {error}")).ok()
        })
        .collect()
}

/// Starts the system of this name.
pub(crate) fn start_one(name: &str) -> Result<Box<dyn System>, Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match ALL.iter().find(|(known, _)| *known == name) {
        Some((_, start)) => start(cores),
        None => Err(format!("{name} is no system of this bench").into()),
    }
}
