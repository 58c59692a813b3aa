//! Floor: the lane of this project's design and nothing around it. Two processes, one memfd,
//! eight slots of 256 bytes each way; a slot's state word is `seq << 8 | PARKED | state`. No
//! handle, no ledger beyond a counter, no arena, no checks.
//!
//! # Protocol
//! 1. The host writes the input, then swaps QUEUED·seq into the slot's state word. If the word
//!    that it took out was PARKED, it wakes the worker.
//! 2. The worker, at its cursor, takes QUEUED·seq to RUNNING·seq by a CAS (in the real lane that
//!    is what a take-back competes with), writes the output and stores DONE·seq.
//! 3. A worker that found nothing sets PARKED in the word by a CAS and sleeps on it. Either the
//!    host's swap follows and sees PARKED, or the CAS fails and the worker sees the task.
//! 4. A host that waits stores 1 into the host bell, passes a full fence, looks again and sleeps on
//!    the bell. The worker passes a full fence after DONE and looks at the bell: one of both sees
//!    the other's store. Whoever wakes takes the bell back to 0 first, so no wake is lost.

use std::error::Error;
use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::shared::{self, Shared};
use crate::pools::roles::Peer;
use crate::pools::{System, Wait};

pub(crate) const SPIN: &str = "bare lane, 200 spins";
pub(crate) const PARK: &str = "bare lane, parking";
pub(super) const ROLE: &str = "bare-lane";

/// Looks at the word before going to sleep, of the spinning one.
const SPINS: u32 = 200;
const SLOTS: u64 = 8;
const SLOT_BYTES: usize = 256;

const BELL_AT: usize = 0;
const REQUESTS_AT: usize = 4096;
const RESPONSES_AT: usize = 8192;
const BYTES: usize = 12_288;

const DONE: u64 = 0;
const QUEUED: u64 = 1;
const RUNNING: u64 = 2;
const PARKED: u64 = 0x80;

fn word(seq: u64, state: u64) -> u64 {
    seq << 8 | state
}

/// The words of one slot.
#[derive(Clone, Copy)]
struct Slot {
    input: &'static AtomicU64,
    state: &'static AtomicU64,
    /// The low half of `state`, to sleep on.
    state_low: &'static AtomicU32,
    output: &'static AtomicU64,
}

/// Both sides' view of the memory.
struct Lane {
    slots: [Slot; SLOTS as usize],
    bell: &'static AtomicU32,
}

impl Lane {
    fn new(memory: Shared) -> Self {
        let slots = std::array::from_fn(|index| {
            let at = index * SLOT_BYTES;
            Slot {
                input: memory.word(REQUESTS_AT + at + 64),
                state: memory.word(RESPONSES_AT + at),
                state_low: memory.half(RESPONSES_AT + at + LOW_HALF),
                output: memory.word(RESPONSES_AT + at + 24),
            }
        });
        Self { slots, bell: memory.half(BELL_AT) }
    }

    fn slot(&self, seq: u64) -> &Slot {
        let index = (seq % SLOTS) as usize;
        &self.slots[index]
    }
}

const LOW_HALF: usize = if cfg!(target_endian = "little") { 0 } else { 4 };

/// What a futex compares.
fn low(word: u64) -> u32 {
    word as u32
}

/// The other process: runs tasks for ever.
pub(super) fn serve(spins: String) {
    let spins = spins.parse().expect("a number of spins");
    let memory = Shared::from_stdin(BYTES).expect("the bench gives its memory as standard input");
    let lane = Lane::new(memory);
    for seq in 1.. {
        let slot = lane.slot(seq);
        await_task(slot, seq, spins);
        // Acquire: the host's input, published by its swap.
        let claim = slot.state.compare_exchange(
            word(seq, QUEUED),
            word(seq, RUNNING),
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        assert!(claim.is_ok(), "nobody takes tasks back here");
        let x = slot.input.load(Ordering::Relaxed);
        slot.output.store(x, Ordering::Relaxed);
        slot.state.store(word(seq, DONE), Ordering::Release); // pairs with the host's look
        fence(Ordering::SeqCst); // pairs with the host's fence before it sleeps
        if lane.bell.load(Ordering::Relaxed) == 1 && lane.bell.swap(0, Ordering::Relaxed) == 1 {
            shared::wake(lane.bell);
        }
    }
}

fn await_task(slot: &Slot, seq: u64, spins: u32) {
    loop {
        for _ in 0..=spins {
            if slot.state.load(Ordering::Relaxed) == word(seq, QUEUED) {
                return;
            }
            hint::spin_loop();
        }
        let seen = slot.state.load(Ordering::Relaxed);
        if seen == word(seq, QUEUED) {
            return;
        }
        let parked = seen | PARKED;
        let set =
            slot.state.compare_exchange(seen, parked, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if set {
            shared::sleep(slot.state_low, low(parked), None);
        }
    }
}

struct BareLane {
    name: &'static str,
    lane: Lane,
    spins: u32,
    sent: u64,
    taken: u64,
    _peer: Peer,
}

pub(super) fn start_spinning(_cores: usize) -> Result<Box<dyn System>, Box<dyn Error>> {
    start(SPIN, SPINS)
}

pub(super) fn start_parking(_cores: usize) -> Result<Box<dyn System>, Box<dyn Error>> {
    start(PARK, 0)
}

fn start(name: &'static str, spins: u32) -> Result<Box<dyn System>, Box<dyn Error>> {
    let (memory, stdin) = Shared::create(BYTES)?;
    let peer = Peer::start(ROLE, &spins.to_string(), stdin)?;
    let lane = Lane::new(memory);
    Ok(Box::new(BareLane { name, lane, spins, sent: 0, taken: 0, _peer: peer }))
}

impl BareLane {
    /// The answer of the oldest task, if it is there.
    fn look(&mut self) -> Option<u64> {
        let seq = self.taken + 1;
        let slot = self.lane.slot(seq);
        // Acquire: the worker's output. The worker may already sleep on this very slot.
        if slot.state.load(Ordering::Acquire) & !PARKED != word(seq, DONE) {
            return None;
        }
        self.taken = seq;
        Some(slot.output.load(Ordering::Relaxed))
    }
}

impl System for BareLane {
    fn name(&self) -> &'static str {
        self.name
    }

    fn takes_bytes(&self) -> bool {
        false
    }

    fn window(&self) -> usize {
        self.lane.slots.len()
    }

    fn call(&mut self, x: u64) -> u64 {
        self.submit(x);
        self.harvest(Wait::Forever).expect("the wait has no end")
    }

    fn submit(&mut self, x: u64) {
        self.sent += 1;
        let slot = self.lane.slot(self.sent);
        slot.input.store(x, Ordering::Relaxed);
        let old = slot.state.swap(word(self.sent, QUEUED), Ordering::AcqRel);
        if old & PARKED != 0 {
            shared::wake(slot.state_low);
        }
    }

    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        loop {
            for _ in 0..=self.spins {
                if let Some(answer) = self.look() {
                    return Some(answer);
                }
                hint::spin_loop();
            }
            let left = wait.left();
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            self.lane.bell.store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst); // pairs with the worker's fence after DONE
            let found = self.look();
            if found.is_none() {
                shared::sleep(self.lane.bell, 1, left);
            }
            self.lane.bell.store(0, Ordering::Relaxed);
            if found.is_some() {
                return found;
            }
        }
    }
}
