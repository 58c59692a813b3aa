//! amphi on threads by `run_call`, which may run the job on the caller.

use std::error::Error;

use amphi::{Engine, Placement};
use bytes::Bytes;

use crate::pools::System;
use crate::pools::amphi_engine::{Fixed, app, echo_bytes, echo_word};

pub(crate) const NAME: &str = "amphi threads, run";

struct Run(Fixed);

pub(super) fn start(cores: usize) -> Result<Box<dyn System>, Box<dyn Error>> {
    Ok(Box::new(Run(Fixed::start(NAME, app(), Placement::Thread, cores)?)))
}

impl Run {
    fn engine(&self) -> &Engine {
        self.0.engine()
    }
}

impl System for Run {
    fn name(&self) -> &'static str {
        NAME
    }

    fn window(&self) -> usize {
        1
    }

    fn call(&mut self, x: u64) -> u64 {
        self.engine().run_call(echo_word, x).expect("the job cannot fail")
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        self.engine().run_call(echo_bytes, payload.clone()).expect("the job cannot fail")
    }
}
