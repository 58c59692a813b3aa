//! amphi: an engine that places every task alike, used by `call` with `join`.

use std::collections::VecDeque;
use std::error::Error;

use amphi::{App, Engine, Placement, Task};
use bytes::Bytes;

use super::{AMPHI_PROCESSES, AMPHI_THREADS, System, Wait};

/// What every process of a bench with this system agrees on.
pub(crate) fn app() -> App {
    App::new().function("echo_word", echo_word).function("echo_bytes", echo_bytes)
}

pub(crate) fn echo_word(x: u64) -> Result<u64, amphi::Error> {
    Ok(x)
}

pub(crate) fn echo_bytes(payload: Bytes) -> Result<Bytes, amphi::Error> {
    Ok(payload)
}

/// An engine with its tasks in flight.
pub(crate) struct Fixed {
    name: &'static str,
    engine: Engine,
    in_flight: VecDeque<Task<u64, amphi::Error>>,
}

/// `join` may run a task that has not started on the caller.
pub(crate) fn threads(app: App, cores: usize) -> Result<Fixed, Box<dyn Error>> {
    Fixed::start(AMPHI_THREADS, app, Placement::Thread, cores)
}

pub(crate) fn processes(app: App, cores: usize) -> Result<Fixed, Box<dyn Error>> {
    Fixed::start(AMPHI_PROCESSES, app, Placement::Process, cores)
}

impl Fixed {
    pub(crate) fn start(
        name: &'static str,
        app: App,
        placement: Placement,
        cores: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let engine = app.engine().place(placement).cores(cores).start()?;
        Ok(Self { name, engine, in_flight: VecDeque::new() })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl System for Fixed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn call(&mut self, x: u64) -> u64 {
        self.engine.call(echo_word, x).join().expect("the job cannot fail")
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        self.engine.call(echo_bytes, payload.clone()).join().expect("the job cannot fail")
    }

    fn submit(&mut self, x: u64) {
        self.in_flight.push_back(self.engine.call(echo_word, x));
    }

    /// Joins the oldest task in flight.
    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        let oldest = self.in_flight.pop_front()?;
        let outcome = match wait.left() {
            None => oldest.join(),
            Some(left) => match oldest.join_timeout(left) {
                Ok(outcome) => outcome,
                Err(oldest) => {
                    self.in_flight.push_front(oldest);
                    return None;
                }
            },
        };
        Some(outcome.expect("the job cannot fail"))
    }
}
