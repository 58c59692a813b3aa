//! What amphi's systems share: the two jobs, the `App`, and an engine with its tasks in flight.

use std::collections::VecDeque;
use std::error::Error;

use amphi::{App, Engine, Placement, Task};
use bytes::Bytes;

use super::Wait;

/// What every process of this bench agrees on.
pub(crate) fn app() -> App {
    App::new().function("echo_word", echo_word).function("echo_bytes", echo_bytes)
}

pub(super) fn echo_word(x: u64) -> Result<u64, amphi::Error> {
    Ok(x)
}

pub(super) fn echo_bytes(payload: Bytes) -> Result<Bytes, amphi::Error> {
    Ok(payload)
}

/// An engine that places every task alike.
pub(super) struct Fixed {
    engine: Engine,
    in_flight: VecDeque<Task<u64, amphi::Error>>,
}

impl Fixed {
    pub(super) fn start(placement: Placement) -> Result<Self, Box<dyn Error>> {
        if std::env::var_os("AMPHI_PLACE").is_some() {
            return Err("AMPHI_PLACE is set and would move its tasks".into());
        }
        let engine = app().engine().place(placement).start()?;
        Ok(Self { engine, in_flight: VecDeque::new() })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn call(&self, x: u64) -> u64 {
        self.engine.call(echo_word, x).join().expect("the job cannot fail")
    }

    pub(super) fn call_bytes(&self, payload: &Bytes) -> Bytes {
        self.engine.call(echo_bytes, payload.clone()).join().expect("the job cannot fail")
    }

    pub(super) fn submit(&mut self, x: u64) {
        self.in_flight.push_back(self.engine.call(echo_word, x));
    }

    /// Joins the oldest task in flight.
    pub(super) fn harvest(&mut self, wait: Wait) -> Option<u64> {
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
