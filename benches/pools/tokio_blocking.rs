//! Peer: tokio's `spawn_blocking`, awaited by `block_on` from outside the runtime. Its blocking
//! pool is held to the number of cores; by default it would start a thread for each task in flight.

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::{System, Wait};

pub(crate) const NAME: &str = "tokio spawn_blocking";

pub(crate) struct Tokio {
    pub(crate) runtime: Runtime,
    in_flight: VecDeque<JoinHandle<u64>>,
}

pub(crate) fn start(cores: usize) -> Result<Tokio, Box<dyn Error>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores)
        .max_blocking_threads(cores)
        .thread_keep_alive(Duration::from_secs(3600))
        .enable_time()
        .build()?;
    Ok(Tokio { runtime, in_flight: VecDeque::new() })
}

impl System for Tokio {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, x: u64) -> u64 {
        let task = self.runtime.spawn_blocking(move || x);
        self.runtime.block_on(task).expect("the job does not panic")
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        let payload = payload.clone();
        let task = self.runtime.spawn_blocking(move || payload);
        self.runtime.block_on(task).expect("the job does not panic")
    }

    fn submit(&mut self, x: u64) {
        self.in_flight.push_back(self.runtime.spawn_blocking(move || x));
    }

    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        let oldest = self.in_flight.front_mut()?;
        let answer = match wait {
            Wait::Poll if !oldest.is_finished() => return None,
            Wait::Poll | Wait::Forever => self.runtime.block_on(oldest),
            Wait::Until(time) => {
                let limited = async { tokio::time::timeout_at(time.into(), oldest).await };
                self.runtime.block_on(limited).ok()?
            }
        };
        self.in_flight.pop_front();
        Some(answer.expect("the job does not panic"))
    }
}
