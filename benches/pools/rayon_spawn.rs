//! Peer: `rayon::spawn` with the reply over a channel (rayon has no handle), crossbeam's.

use std::error::Error;

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{System, Wait};

pub(crate) const NAME: &str = "rayon spawn + channel";

pub(crate) struct Rayon {
    pub(crate) pool: ThreadPool,
    pub(crate) words: (Sender<u64>, Receiver<u64>),
    bytes: (Sender<Bytes>, Receiver<Bytes>),
}

pub(crate) fn start(cores: usize) -> Result<Rayon, Box<dyn Error>> {
    let pool = ThreadPoolBuilder::new().num_threads(cores).build()?;
    Ok(Rayon { pool, words: unbounded(), bytes: unbounded() })
}

impl System for Rayon {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, x: u64) -> u64 {
        self.submit(x);
        self.words.1.recv().expect("the sender lives in self")
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        let (reply, payload) = (self.bytes.0.clone(), payload.clone());
        self.pool.spawn(move || reply.send(payload).expect("the receiver lives"));
        self.bytes.1.recv().expect("the sender lives in self")
    }

    fn submit(&mut self, x: u64) {
        let reply = self.words.0.clone();
        self.pool.spawn(move || reply.send(x).expect("the receiver lives"));
    }

    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        match wait {
            Wait::Poll => self.words.1.try_recv().ok(),
            Wait::Until(time) => self.words.1.recv_deadline(time).ok(),
            Wait::Forever => self.words.1.recv().ok(),
        }
    }
}
