//! amphi in forked processes: `call` with `join`.

use std::error::Error;

use amphi::Placement;
use bytes::Bytes;

use super::amphi_engine::Fixed;
use super::{AMPHI_PROCESSES, System, Wait};

struct Processes(Fixed);

pub(super) fn start(_cores: usize) -> Result<Box<dyn System>, Box<dyn Error>> {
    Ok(Box::new(Processes(Fixed::start(Placement::Process)?)))
}

impl System for Processes {
    fn name(&self) -> &'static str {
        AMPHI_PROCESSES
    }

    fn call(&mut self, x: u64) -> u64 {
        self.0.call(x)
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        self.0.call_bytes(payload)
    }

    fn submit(&mut self, x: u64) {
        self.0.submit(x);
    }

    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        self.0.harvest(wait)
    }
}
