//! Every core busy with somebody else: processes that compute beside a slice. What a waiter's looking
//! costs when no core is free for it is seen only then.

use std::hint::black_box;
use std::io;
use std::process::Stdio;

use crate::pools::roles::Peer;

pub(crate) const ROLE: &str = "busy";

/// One such process for each core, while it lives.
pub(crate) struct Busy(Vec<Peer>);

impl Busy {
    pub(crate) fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let one = |_| Peer::start(ROLE, "", Stdio::null());
        (0..cores).map(one).collect::<io::Result<_>>().map(Self)
    }

    /// Their pids: what they spend is not the slice's.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.0.iter().map(Peer::pid).collect()
    }
}

/// What such a process does, until it is killed.
pub(crate) fn compute(_: String) {
    let mut word = 1_u64;
    loop {
        word = black_box(word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
