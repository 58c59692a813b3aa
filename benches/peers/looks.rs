//! The case of this bench that the pools of `benches/pools` do not have by themselves: bytes there,
//! a look at one of each page, one word back.

use amphi::App;
use bytes::Bytes;

use crate::pools::System;
use crate::pools::amphi_engine::{self, Fixed};
use crate::pools::direct::Direct;
use crate::pools::ipc_echo::Echo;
use crate::pools::procspawn_pool::Procspawn;
use crate::pools::rayon_spawn::Rayon;
use crate::pools::tokio_blocking::Tokio;
use crate::vectors;

/// One byte of each page: the least that shows that all of it is there.
pub(crate) fn look(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(4096).map(|byte| u64::from(*byte)).sum()
}

/// A system that takes bytes and answers with a word.
pub(crate) trait Looks: System {
    /// Whether it does.
    fn looks(&self) -> bool {
        true
    }

    /// Makes what the next payload call gives away; never timed.
    fn prepare(&mut self, payload: &Bytes) {
        let _ = payload;
    }

    /// Sends the bytes and waits for what [`look`] finds.
    fn look(&mut self, payload: &Bytes) -> u64;
}

impl Looks for Direct {
    fn look(&mut self, payload: &Bytes) -> u64 {
        look(std::hint::black_box(payload))
    }
}

impl Looks for Rayon {
    fn look(&mut self, payload: &Bytes) -> u64 {
        let (reply, payload) = (self.words.0.clone(), payload.clone());
        self.pool.spawn(move || reply.send(look(&payload)).expect("the receiver lives"));
        self.words.1.recv().expect("the sender lives in self")
    }
}

impl Looks for Tokio {
    fn look(&mut self, payload: &Bytes) -> u64 {
        let payload = payload.clone();
        let task = self.runtime.spawn_blocking(move || look(&payload));
        self.runtime.block_on(task).expect("the job does not panic")
    }
}

impl Looks for Procspawn {
    fn look(&mut self, payload: &Bytes) -> u64 {
        let job = |payload: Bytes| look(&payload);
        self.pool.spawn(payload.clone(), job).join().expect("the worker lives")
    }
}

/// An echo gives back what it got.
impl Looks for Echo {
    fn looks(&self) -> bool {
        false
    }

    fn look(&mut self, _: &Bytes) -> u64 {
        unreachable!("{} gives back what it got", self.name())
    }
}

impl Looks for Fixed {
    fn look(&mut self, payload: &Bytes) -> u64 {
        self.engine().call(look_bytes, payload.clone()).join().expect("the job cannot fail")
    }
}

/// What every process of this bench agrees on.
pub(crate) fn app() -> App {
    amphi_engine::app()
        .function("look_bytes", look_bytes)
        .function("look_vec", vectors::look_vec)
        .function("echo_vec", vectors::echo_vec)
}

fn look_bytes(payload: Bytes) -> Result<u64, amphi::Error> {
    Ok(look(&payload))
}
