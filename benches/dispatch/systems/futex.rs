//! Floor: two processes that do nothing but wake each other. No queue, no slot, no spinning; this
//! is what a kernel wake-up there and one back cost.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};

use super::shared::{self, Shared};
use crate::pools::System;
use crate::pools::roles::Peer;

pub(super) const NAME: &str = "futex ping-pong";
pub(super) const ROLE: &str = "futex";

const BYTES: usize = 4096;
const PING: usize = 0;
const PONG: usize = 128;

/// The bell of one direction: its number is the message.
fn ring(bell: &AtomicU32, number: u32) {
    bell.store(number, Ordering::Release); // pairs with the Acquire in `wait_for_other_than`
    shared::wake(bell);
}

fn wait_for_other_than(bell: &AtomicU32, number: u32) -> u32 {
    loop {
        let seen = bell.load(Ordering::Acquire);
        if seen != number {
            return seen;
        }
        shared::sleep(bell, number, None);
    }
}

struct Futex {
    memory: Shared,
    turn: u32,
    _peer: Peer,
}

pub(super) fn start(_cores: usize) -> Result<Box<dyn System>, Box<dyn Error>> {
    let (memory, stdin) = Shared::create(BYTES)?;
    Ok(Box::new(Futex { memory, turn: 0, _peer: Peer::start(ROLE, "", stdin)? }))
}

/// The other process: gives every number back.
pub(super) fn serve(_: String) {
    let memory = Shared::from_stdin(BYTES).expect("the bench gives its memory as standard input");
    let mut last = 0;
    loop {
        last = wait_for_other_than(memory.half(PING), last);
        ring(memory.half(PONG), last);
    }
}

impl System for Futex {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes_bytes(&self) -> bool {
        false
    }

    fn window(&self) -> usize {
        1
    }

    fn call(&mut self, x: u64) -> u64 {
        let last = self.turn;
        self.turn = self.turn.wrapping_add(1);
        ring(self.memory.half(PING), self.turn);
        let answer = wait_for_other_than(self.memory.half(PONG), last);
        assert_eq!(answer, self.turn);
        x
    }
}
