//! No dispatch at all: what the drivers themselves cost. Hot, it shows two reads of the clock;
//! parked, the CPU time of a pause; in an open loop, how late the generator is.

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::Bytes;

use super::{System, Wait};

pub(crate) const NAME: &str = "direct call";

pub(crate) struct Direct(VecDeque<u64>);

pub(crate) fn start() -> Direct {
    Direct(VecDeque::new())
}

impl System for Direct {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, x: u64) -> u64 {
        black_box(x)
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        black_box(payload.clone())
    }

    fn submit(&mut self, x: u64) {
        self.0.push_back(black_box(x));
    }

    fn harvest(&mut self, _wait: Wait) -> Option<u64> {
        self.0.pop_front()
    }
}
