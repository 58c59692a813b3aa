//! A machine in virtual time: cores that share one budget, one queue, and a place bound when a core
//! is free, as in the engine.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use amphi::policy::{Adaptive, Class, Costs, Decision, Event, Placement, Policy, Ran};

/// What handing over costs, in ns.
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) costs: Costs,
}

/// What the research assumed.
pub(crate) const RESEARCH: Machine = Machine {
    cores: 8,
    costs: Costs { thread_ns: 3000.0, process_ns: 12_000.0, byte_ns: 0.5, large_byte_ns: 0.5 },
};

/// What an engine measured on two cores of a virtual machine (`engine/src/engine/calibrate.rs`).
pub(crate) const THIS_KIND: Machine = Machine {
    cores: 2,
    costs: Costs { thread_ns: 340.0, process_ns: 640.0, byte_ns: 0.16, large_byte_ns: 0.16 },
};

/// One task to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) job: u32,
    pub(crate) bytes: f64,
    /// What it takes alone, in ns.
    pub(crate) service: f64,
    /// How much slower it is on a thread when every other core runs such jobs on threads, too:
    /// 1 is twice as slow.
    pub(crate) contention: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Thread,
    Process,
    Auto,
}

/// What a run came to, in ns.
pub(crate) struct Outcome {
    pub(crate) makespan: f64,
    /// Core time.
    pub(crate) busy: f64,
}

/// The decisions that a class has left, as the engine keeps them.
#[derive(Default)]
struct Cache(HashMap<Class, (Decision, u32)>);

impl Cache {
    fn place(&mut self, policy: &mut Adaptive, class: Class, now: Duration) -> Placement {
        let used_up = self.0.get(&class).is_none_or(|(decision, used)| *used >= decision.tasks);
        if used_up {
            self.0.insert(class, (policy.decide(class, now), 0));
        }
        let (decision, used) = self.0.get_mut(&class).expect("it was put there");
        *used += 1;
        match (*used <= decision.probes, decision.placement) {
            (true, Placement::Process) => Placement::Thread,
            (true, _) => Placement::Process,
            (false, place) => place,
        }
    }
}

/// A task on a core: when it ends, and what the policy is told then.
struct Running {
    ends: f64,
    number: u64,
    ran: Ran,
    contends: bool,
}

impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Running {}

impl PartialOrd for Running {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Running {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.ends.total_cmp(&other.ends).then(self.number.cmp(&other.number))
    }
}

/// Runs all jobs, which wait from the beginning.
pub(crate) fn run(machine: &Machine, jobs: &[Job], mode: Mode) -> Outcome {
    let (mut policy, mut cache) = (Adaptive::new(), Cache::default());
    policy.observe(&Event::Calibrated(machine.costs), Duration::ZERO);
    let mut queue: VecDeque<Job> = jobs.iter().copied().collect();
    let mut running: BinaryHeap<Reverse<Running>> = BinaryHeap::new();
    // Threads that run a job which others slow down.
    let (mut contending, mut now, mut busy, mut number) = (0_usize, 0.0_f64, 0.0, 0);
    loop {
        while running.len() < machine.cores
            && let Some(job) = queue.pop_front()
        {
            let class = Class::of(job.job, job.bytes as u64);
            let placement = match mode {
                Mode::Thread => Placement::Thread,
                Mode::Process => Placement::Process,
                Mode::Auto => cache.place(&mut policy, class, Duration::from_nanos(now as u64)),
            };
            let on_thread = placement == Placement::Thread;
            let contends = on_thread && job.contention > 0.0;
            let others = contending as f64 / (machine.cores - 1).max(1) as f64;
            let service = job.service * if contends { 1.0 + job.contention * others } else { 1.0 };
            let over = if on_thread {
                machine.costs.thread_ns
            } else {
                machine.costs.process_ns + machine.costs.byte_ns * job.bytes
            };
            contending += usize::from(contends);
            busy += over + service;
            number += 1;
            let ran = Ran {
                class,
                placement,
                service_ns: service,
                bytes_in: job.bytes,
                bytes_out: 0.0,
                tasks: 1.0,
                over_ns: None,
            };
            running.push(Reverse(Running { ends: now + over + service, number, ran, contends }));
        }
        let Some(Reverse(done)) = running.pop() else { return Outcome { makespan: now, busy } };
        now = done.ends;
        contending -= usize::from(done.contends);
        if mode == Mode::Auto
            && policy.observe(&Event::Ran(done.ran), Duration::from_nanos(now as u64))
        {
            cache.0.remove(&done.ran.class);
        }
    }
}
