//! amphi on threads, twice: `run_call`, which may run the job on the caller itself, and `call` with
//! `join`, which goes through the queue.

use std::error::Error;

use amphi::Placement;
use bytes::Bytes;

use super::amphi_engine::{Fixed, echo_bytes, echo_word};
use super::{AMPHI_RUN, AMPHI_THREADS, System, Wait};
use crate::case::Case;

struct Run(Fixed);

struct Submit(Fixed);

pub(super) fn start_run(_cores: usize) -> Result<Box<dyn System>, Box<dyn Error>> {
    Ok(Box::new(Run(Fixed::start(Placement::Thread)?)))
}

pub(super) fn start(_cores: usize) -> Result<Box<dyn System>, Box<dyn Error>> {
    Ok(Box::new(Submit(Fixed::start(Placement::Thread)?)))
}

impl System for Run {
    fn name(&self) -> &'static str {
        AMPHI_RUN
    }

    fn runs(&self, case: Case) -> bool {
        !matches!(case, Case::Pipelined | Case::Open(_))
    }

    fn call(&mut self, x: u64) -> u64 {
        self.0.engine().run_call(echo_word, x).expect("the job cannot fail")
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        self.0.engine().run_call(echo_bytes, payload.clone()).expect("the job cannot fail")
    }
}

impl System for Submit {
    fn name(&self) -> &'static str {
        AMPHI_THREADS
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
