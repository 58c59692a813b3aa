//! One lane under loom: its memory, its futex and its bell, and how both ends wait.

use amphi_protocol::{
    ARENA_OFFSET, Claimed, ClaimedInput, Context, Event, Grant, HostLane, Input, Output, Park,
    RSP_ARENA_OFFSET, ReplyKind, Req, Request, Rsp, Storage, WorkerLane,
};
use loom::model::Builder;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};

/// Context switches that loom forces in one execution, at most.
pub(crate) const PREEMPTIONS: usize = 3;

/// One lane's memory, its futex and its bell.
pub(crate) struct Lane {
    pub(crate) req: Vec<AtomicU64>,
    pub(crate) rsp: Vec<AtomicU64>,
    /// What the kernel does under the lock of a futex's bucket.
    bucket: Mutex<()>,
    sleepers: Condvar,
    /// An eventfd that is listened to edge-triggered and never read: rings are counted.
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Lane {
    pub(crate) fn new() -> Self {
        let zero = |bytes: usize| (0..bytes / 8).map(|_| AtomicU64::new(0)).collect();
        Self {
            req: zero(ARENA_OFFSET),
            rsp: zero(RSP_ARENA_OFFSET),
            bucket: Mutex::new(()),
            sleepers: Condvar::new(),
            rings: Mutex::new(0),
            rung: Condvar::new(),
        }
    }

    pub(crate) fn pair(self) -> (Arc<Self>, HostLane, WorkerLane) {
        let host = HostLane::new(1, 1);
        host.init(self.req());
        let worker = WorkerLane::attach(self.req(), 1, 1).unwrap();
        (Arc::new(self), host, worker)
    }

    pub(crate) fn req(&self) -> Req<'_> {
        Req::new(&self.req)
    }

    pub(crate) fn rsp(&self) -> Rsp<'_> {
        Rsp::new(&self.rsp)
    }

    /// FUTEX_WAIT: compares under the bucket's lock, then sleeps.
    pub(crate) fn wait(&self, park: Park) {
        let bucket = self.bucket.lock().unwrap();
        let word = self.rsp[park.word].load(Ordering::Relaxed);
        if word & 0xffff_ffff == u64::from(park.expected) {
            drop(self.sleepers.wait(bucket).unwrap());
        }
    }

    /// FUTEX_WAKE.
    pub(crate) fn wake(&self) {
        let bucket = self.bucket.lock().unwrap();
        self.sleepers.notify_one();
        drop(bucket);
    }

    pub(crate) fn ring(&self) {
        *self.rings.lock().unwrap() += 1;
        self.rung.notify_one();
    }

    /// Sleeps until the bell was rung since `heard`.
    pub(crate) fn hear(&self, heard: &mut u64) {
        let mut rings = self.rings.lock().unwrap();
        while *rings == *heard {
            rings = self.rung.wait(rings).unwrap();
        }
        *heard = *rings;
    }

    pub(crate) fn publish(&self, host: &mut HostLane, input: &[u8]) -> u64 {
        let request = Request {
            job: 1,
            flags: 0,
            context: Context::NONE,
            input: Input::Inline(input),
            grant: Grant::NONE,
        };
        let published = host.publish(self.req(), self.rsp(), &request).unwrap();
        if published.wake {
            self.wake();
        }
        published.seq
    }

    /// Publishes and takes back, before anybody else runs.
    pub(crate) fn use_up(&self, host: &mut HostLane, count: usize) {
        for _ in 0..count {
            let seq = self.publish(host, &[]);
            assert_eq!(host.revoke(self.rsp(), seq), Ok(true));
        }
    }

    pub(crate) fn next(&self, worker: &mut WorkerLane) -> Option<Claimed> {
        worker.next(self.req(), self.rsp()).unwrap()
    }

    /// The worker's wait without a spin.
    pub(crate) fn claim(&self, worker: &mut WorkerLane) -> Claimed {
        loop {
            if let Some(claimed) = self.next(worker) {
                return claimed;
            }
            if let Some(park) = worker.park(self.rsp()) {
                self.wait(park);
            }
        }
    }

    pub(crate) fn finish(&self, worker: &mut WorkerLane, seq: u64, output: &[u8]) {
        worker.finish(self.rsp(), seq, ReplyKind::Ok, Output::Inline(output), 0);
    }

    pub(crate) fn poll(&self, host: &mut HostLane) -> Option<Event> {
        host.poll(self.req(), self.rsp()).unwrap()
    }

    /// The host's wait without a spin: H1 to H3.
    pub(crate) fn harvest(&self, host: &mut HostLane, heard: &mut u64) -> Event {
        if let Some(event) = self.poll(host) {
            return event;
        }
        loop {
            host.rearm(self.req());
            if let Some(event) = self.poll(host) {
                return event;
            }
            self.hear(heard);
        }
    }
}

pub(crate) fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

pub(crate) fn is_input(claimed: &Claimed, expected: &[u8]) -> bool {
    matches!(claimed.input, ClaimedInput::Inline(input) if *input == *expected)
}

pub(crate) fn is_reply(event: &Event, expected: u64, bytes: &[u8]) -> bool {
    matches!(event, Event::Done(done) if done.seq == expected
        && matches!(&done.output, Storage::Inline(output) if **output == *bytes))
}
