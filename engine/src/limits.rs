//! Every bound of the product, in one place, with its reason.

use std::time::Duration;

/// Tasks that may wait in an engine's queue, unless `EngineBuilder::queue` says otherwise: enough
/// to keep any machine busy over a scheduling hiccup, small enough that a stuck consumer is
/// noticed within memory bounds.
pub(crate) const QUEUE_DEFAULT: usize = 16 * 1024;

/// Threads for jobs that mostly wait, unless `EngineBuilder::blocking_threads` says otherwise: more
/// than most programs have waits under way, and few enough for a machine's smallest limits.
pub(crate) const BLOCKING_THREADS_DEFAULT: usize = 64;

/// The largest encoded input or output, unless `EngineBuilder::payload_bytes_max` says otherwise.
pub(crate) const PAYLOAD_BYTES_MAX_DEFAULT: u64 = 1 << 30;

/// No machine that runs this has more cores than this; a larger setting is a mistake.
pub(crate) const CORES_MAX: usize = 1024;

/// Stack of a pool thread and of a worker's job thread, in bytes: the main thread's usual size,
/// so that a job that ran before it was offloaded still runs. Untouched pages cost nothing.
pub(crate) const STACK_BYTES: usize = 8 << 20;

/// Bytes kept of what a worker wrote to standard error.
pub(crate) const STDERR_TAIL_BYTES: usize = 8 * 1024;

/// How long a core stays with the threads, or with a lane, while the other side waits for one and
/// there is more to do: each change of hands wakes somebody (some 20 µs).
pub(crate) const TOKEN_QUANTUM: Duration = Duration::from_micros(200);

/// Predicted work that may lie in one lane behind the running task: bounded early binding, enough
/// for the worker to ring for several tasks at once (the experiment is in `benches/README.md`).
pub(crate) const PREFETCH: Duration = Duration::from_micros(400);

/// A job that takes longer is in no batch: what its own slot costs is little beside it.
pub(crate) const BATCHED_SERVICE: Duration = Duration::from_micros(10);

/// A task with a longer input is in no batch.
pub(crate) const BATCHED_INPUT: u64 = 1024;

/// Predicted work of one batch: so long the first reply may wait for the last.
pub(crate) const BATCH_WORK: Duration = Duration::from_micros(50);

/// What waking a parked worker costs here (measured: 40–50 µs round trip): less work than this
/// is not worth a second worker.
pub(crate) const WAKE_COST: Duration = Duration::from_micros(20);

/// Queued work that is worth starting one more worker (about what starting one costs), where the
/// others are through with theirs soon.
pub(crate) const START_WORTH: Duration = Duration::from_millis(1);

/// How long prefetched tasks may wait behind one that runs longer than predicted before they are
/// taken back.
pub(crate) const TAKE_BACK_AFTER: Duration = Duration::from_millis(2);

/// A forkserver that is not READY after this is killed, unless `EngineBuilder::start_timeout` says
/// otherwise. Its preload runs within it: long enough to read a large model from a slow disk.
pub(crate) const START_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// What the forkserver spends at most on large pages for what was preloaded (20 to 160 ms for
/// 64 MiB): each worker then starts and ends faster, and no start is held up for long.
pub(crate) const GATHER_PATIENCE: Duration = Duration::from_millis(500);

/// How long a worker that nobody needs stays, unless `EngineBuilder::idle_timeout` says otherwise:
/// starting the next one takes two milliseconds, so that only a real pause is worth its end.
pub(crate) const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// After several failed starts of a forkserver the next try is made after this.
pub(crate) const FORKSERVER_RETRY: Duration = Duration::from_secs(10);

/// What an ending engine gives its forkserver to take all processes along, at most.
pub(crate) const FAREWELL: Duration = Duration::from_millis(50);

/// A worker that is not READY after this is killed and counts as a failed start. Its
/// `each_process` runs within it.
pub(crate) const WORKER_START_TIMEOUT: Duration = Duration::from_secs(10);

/// A dead worker's exit status is waited for this long (the forkserver sends it); then the
/// outcome is `Lost`.
pub(crate) const EXIT_STATUS_TIMEOUT: Duration = Duration::from_millis(500);

/// What dropping an engine waits for its threads at most.
pub(crate) const DROP_TIMEOUT: Duration = Duration::from_millis(100);

/// What an engine's process side is set up with.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) limits: Limits,
    pub(crate) payload_bytes_max: u64,
    pub(crate) start_timeout: Duration,
    /// How many workers; `None`: as many as cores, none when nothing is to do.
    pub(crate) workers: Option<std::ops::RangeInclusive<usize>>,
    pub(crate) life: Life,
}

/// When a worker is replaced, and when it is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// Tasks that a worker runs.
    pub(crate) tasks: Option<u64>,
    /// How long it lives.
    pub(crate) age: Option<Duration>,
    /// Bytes of resident memory that it may grow by.
    pub(crate) growth: Option<u64>,
    /// How long it may have nothing to do, beyond the least number of workers.
    pub(crate) idle: Option<Duration>,
}

impl Default for Life {
    fn default() -> Self {
        Self { tasks: None, age: None, growth: None, idle: Some(IDLE_TIMEOUT_DEFAULT) }
    }
}

/// Resource limits of workers: of all that an engine has
/// ([`EngineBuilder::limits`](crate::EngineBuilder::limits)), or of those that run one job
/// ([`Spec::limits`](crate::Spec::limits)). What is not set stays as the host has it, but for
/// [`core`](Self::core); a limit above what the host itself is allowed is lowered to that.
///
/// ```
/// let limits = amphi::Limits::new().memory(512 << 20).nofile(256);
/// # let _ = limits;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub(crate) memory: Option<u64>,
    pub(crate) cpu: Option<Duration>,
    pub(crate) nofile: Option<u64>,
    pub(crate) fsize: Option<u64>,
    pub(crate) core: Option<u64>,
}

impl Limits {
    /// No limits.
    pub const fn new() -> Self {
        Self { memory: None, cpu: None, nofile: None, fsize: None, core: None }
    }

    /// What these leave open is as `others` say.
    pub(crate) fn or(&self, others: &Self) -> Self {
        Self {
            memory: self.memory.or(others.memory),
            cpu: self.cpu.or(others.cpu),
            nofile: self.nofile.or(others.nofile),
            fsize: self.fsize.or(others.fsize),
            core: self.core.or(others.core),
        }
    }

    /// Bytes of private memory (heap, stacks) that a worker may use above what it was forked
    /// with (`RLIMIT_DATA`). An allocation above it fails, which in most programs aborts the
    /// worker: the task is `Crashed { oom: true, .. }`.
    #[must_use]
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Processor time of one task (`RLIMIT_CPU`, whole seconds: it is rounded up, and a task may
    /// have up to one more). Beyond it the worker is ended by SIGXCPU: the task is `Crashed`.
    #[must_use]
    pub const fn cpu(mut self, time: Duration) -> Self {
        self.cpu = Some(time);
        self
    }

    /// Open descriptors (`RLIMIT_NOFILE`).
    #[must_use]
    pub const fn nofile(mut self, count: u64) -> Self {
        self.nofile = Some(count);
        self
    }

    /// Bytes of the largest file a worker may write (`RLIMIT_FSIZE`).
    #[must_use]
    pub const fn fsize(mut self, bytes: u64) -> Self {
        self.fsize = Some(bytes);
        self
    }

    /// Bytes of a core dump (`RLIMIT_CORE`); 0 forbids them, which is what happens unless set.
    #[must_use]
    pub const fn core(mut self, bytes: u64) -> Self {
        self.core = Some(bytes);
        self
    }
}
