//! Everybody who is measured, and one slice of each.

use std::error::Error;
use std::time::{Duration, Instant};

use amphi_benches::{Options, deadline, stats};
use bytes::Bytes;

use super::case::{Case, PAYLOAD_BYTES, Plan};
use super::looks::{self, Looks};
use super::pools::{
    AMPHI_PROCESSES, AMPHI_THREADS, Wait, amphi_engine, direct, drive, ipc_echo, procspawn_pool,
    rayon_spawn, tokio_blocking,
};
use super::scripts::{self, Scripted, TRANSFER};
use super::vectors;

/// A start that takes so long, or a slice so much longer than it should, will never end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a slice came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) tasks: f64,
    pub(crate) seconds: f64,
    /// Of one task; not of pipelined ones.
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
}

/// Somebody who is measured.
pub(crate) enum Peer {
    /// A library, in this process.
    Here(Box<dyn Looks>),
    /// A script.
    There(Scripted),
}

type Start = fn(usize) -> Result<Box<dyn Looks>, Box<dyn Error>>;

/// The libraries by name, in the order of the report. Scripts follow.
const HERE: [(&str, Start); 9] = [
    (direct::NAME, |_| Ok(Box::new(direct::start()))),
    (AMPHI_THREADS, |cores| Ok(Box::new(amphi_engine::threads(looks::app(), cores)?))),
    (AMPHI_PROCESSES, |cores| Ok(Box::new(amphi_engine::processes(looks::app(), cores)?))),
    (vectors::AMPHI, |cores| Ok(Box::new(vectors::amphi(cores)?))),
    (rayon_spawn::NAME, |cores| Ok(Box::new(rayon_spawn::start(cores)?))),
    (tokio_blocking::NAME, |cores| Ok(Box::new(tokio_blocking::start(cores)?))),
    (procspawn_pool::NAME, |cores| Ok(Box::new(procspawn_pool::start(cores)?))),
    (vectors::PROCSPAWN, |cores| Ok(Box::new(vectors::procspawn(cores)?))),
    (ipc_echo::NAME, |_| Ok(Box::new(ipc_echo::start()?))),
];

/// Starts everybody who was asked for; the texts tell who is left out, and why.
pub(crate) fn start(options: &Options) -> Result<(Vec<Peer>, Vec<String>), Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut peers = Vec::new();
    for (name, start) in HERE.iter().filter(|(name, _)| options.wants_system(name)) {
        let system = deadline::within(PATIENCE, &format!("the start of {name}"), || start(cores));
        let system = system.map_err(|error| format!("{name} cannot start: {error}"))?;
        peers.push(Peer::Here(system));
    }
    let (scripts, left_out) = scripts::start(options, cores)?;
    peers.extend(scripts.into_iter().map(Peer::There));
    Ok((peers, left_out))
}

impl Peer {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Here(system) => system.name(),
            Self::There(script) => script.name,
        }
    }

    /// The versions behind the name, where they do not stand in `Cargo.lock`.
    pub(crate) fn about(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::There(script) => Some(&script.about),
        }
    }

    /// Variants of a system only differ in how they carry bytes.
    pub(crate) fn runs(&self, case: Case) -> bool {
        let is_variant = [vectors::AMPHI, vectors::PROCSPAWN, TRANSFER].contains(&self.name());
        match (self, case) {
            (_, Case::Sequential | Case::Pipelined) => !is_variant,
            (Self::Here(system), Case::In) => system.looks(),
            (Self::Here(system), Case::Back) => system.takes_bytes(),
            (Self::There(_), Case::In | Case::Back) => true,
        }
    }

    /// Tasks for so long whose time nobody notes.
    pub(crate) fn warm_up(&mut self, case: Case, time: Duration) -> Result<(), Box<dyn Error>> {
        match self {
            Self::There(script) => script.slice(case, time).map(drop),
            Self::Here(system) => {
                let what = format!("{}, {}", system.name(), case.name());
                let system = system.as_mut();
                deadline::within(time + PATIENCE, &what, || warm_up(system, case, time));
                Ok(())
            }
        }
    }

    pub(crate) fn slice(&mut self, case: Case, plan: &Plan) -> Result<Slice, Box<dyn Error>> {
        match self {
            Self::There(script) => script.slice(case, plan.slice),
            Self::Here(system) => {
                let what = format!("{}, {}", system.name(), case.name());
                let system = system.as_mut();
                Ok(deadline::within(plan.slice + PATIENCE, &what, || slice(system, case, plan)))
            }
        }
    }
}

fn warm_up(system: &mut dyn Looks, case: Case, time: Duration) {
    let payload = drive::payload(PAYLOAD_BYTES);
    drive::warm_up(time, |n| match case {
        Case::Sequential => drop(drive::timed_word(system, n)),
        Case::Pipelined => {
            system.submit(n);
            assert!(system.harvest(Wait::Forever).is_some());
        }
        Case::In => drop(timed_look(system, &payload)),
        Case::Back => drop(timed_back(system, &payload)),
    });
}

fn slice(system: &mut dyn Looks, case: Case, plan: &Plan) -> Slice {
    let payload = drive::payload(PAYLOAD_BYTES);
    let begun = Instant::now();
    let mut samples = match case {
        Case::Sequential => drive::hot(plan.slice, |n| drive::timed_word(system, n)),
        Case::In => drive::hot(plan.slice, |_| timed_look(system, &payload)),
        Case::Back => drive::hot(plan.slice, |_| timed_back(system, &payload)),
        Case::Pipelined => {
            let tasks = drive::pipelined(system, super::pools::WINDOW, plan.slice) as f64;
            let seconds = begun.elapsed().as_secs_f64();
            return Slice { tasks, seconds, p50_ns: None, p99_ns: None };
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    let mut quantile = |q| stats::nearest(&mut samples, q).map(|ns| ns as f64);
    let (p50_ns, p99_ns) = (quantile(0.5), quantile(0.99));
    Slice { tasks: samples.len() as f64, seconds, p50_ns, p99_ns }
}

fn timed_look(system: &mut dyn Looks, payload: &Bytes) -> u64 {
    system.prepare(payload);
    let start = Instant::now();
    let answer = system.look(payload);
    let time = start.elapsed();
    assert_eq!(answer, looks::look(payload), "{} answered something else", system.name());
    drive::nanos(time)
}

fn timed_back(system: &mut dyn Looks, payload: &Bytes) -> u64 {
    system.prepare(payload);
    drive::timed_bytes(system, payload)
}
