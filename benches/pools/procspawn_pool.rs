//! Peer: the process pool of `procspawn`. Functions cross as offsets in the binary, arguments and
//! results through serde; each call makes two ipc-channels.

use std::collections::VecDeque;
use std::error::Error;

use bytes::Bytes;
use procspawn::{JoinHandle, Pool};

use super::{System, Wait};

pub(crate) const NAME: &str = "procspawn pool";

pub(crate) struct Procspawn {
    pub(crate) pool: Pool,
    in_flight: VecDeque<JoinHandle<u64>>,
}

pub(crate) fn start(cores: usize) -> Result<Procspawn, Box<dyn Error>> {
    let pool = Pool::new(cores)?;
    Ok(Procspawn { pool, in_flight: VecDeque::new() })
}

fn echo_word(x: u64) -> u64 {
    x
}

fn echo_bytes(payload: Bytes) -> Bytes {
    payload
}

impl System for Procspawn {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, x: u64) -> u64 {
        self.pool.spawn(x, echo_word).join().expect("the worker lives")
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        self.pool.spawn(payload.clone(), echo_bytes).join().expect("the worker lives")
    }

    fn submit(&mut self, x: u64) {
        self.in_flight.push_back(self.pool.spawn(x, echo_word));
    }

    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        let Some(left) = wait.left() else {
            let oldest = self.in_flight.pop_front()?;
            return Some(oldest.join().expect("the worker lives"));
        };
        match self.in_flight.front_mut()?.join_timeout(left) {
            Ok(answer) => {
                self.in_flight.pop_front();
                Some(answer)
            }
            Err(error) if error.is_timeout() => None,
            Err(error) => panic!("{NAME}: {error}"),
        }
    }
}
