//! Messages on the SEQPACKET sockets between host, forkserver and workers.
//!
//! Small enums, encoded by postcard, one message a datagram. Descriptors travel beside a message;
//! each kind says which, and one that was not expected is a violation of the receiver's making.
//!
//! # Invariants
//! 1. None is recursive and none holds a collection of zero-sized elements, so that decoding
//!    hostile bytes is bounded by their length, and that by [`MESSAGE_BYTES_MAX`].
//! 2. A message is all of its bytes: what follows it is a violation.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::Violation;

mod descriptors;

/// The longest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The most bytes that are carried in a message itself.
pub const CARRIED_BYTES_MAX: usize = 32 << 10;

/// The most open files that travel with one input or output, all in one message.
pub const FILES_MAX: usize = 32;

/// The most descriptors beside one message: open files, and a memfd of their task's bytes.
pub const DESCRIPTORS_MAX: usize = FILES_MAX + 1;

/// What a worker may use; what is `None` stays as the host has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLimits {
    /// Bytes of private memory above what the worker was forked with.
    pub memory: Option<u64>,
    /// Open descriptors.
    pub nofile: Option<u64>,
    /// Bytes of the largest file it may write.
    pub fsize: Option<u64>,
    /// Bytes of a core dump.
    pub core: Option<u64>,
    /// Whole seconds of processor time that one task may use.
    pub cpu: Option<u64>,
    /// Growth of its resident memory in bytes, since it was READY, that it tells the host of.
    pub growth: Option<u64>,
    /// Threads of its rayon pool, when a job asks for one.
    pub rayon_threads: u32,
    /// The largest output in bytes.
    pub output_bytes_max: u64,
    /// The most verbose level of log events that the host hears: see
    /// [`LogRecord`](crate::LogRecord); 0: none.
    pub log_level: u8,
}

/// Which worker: pool, seat in it, generation of the seat's holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerId {
    /// The pool of one engine.
    pub pool: u32,
    /// The seat.
    pub seat: u32,
    /// Which holder of the seat.
    pub generation: u64,
}

/// Host → forkserver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToForkserver {
    /// First message, with two descriptors: the host's pidfd, and a sealed memfd that holds the
    /// encoded configuration.
    Hello {
        /// The host's protocol version.
        abi: u32,
        /// The host's layout.
        layout_hash: u64,
        /// The host's job table.
        table_hash: u64,
        /// The host's executable.
        build_hash: u64,
        /// Bytes of the configuration.
        config_len: u64,
        /// The umask that every process is to have.
        umask: u32,
    },
    /// Fork a worker, with three descriptors: its control socket, its bell, its standard error.
    Spawn {
        /// Which.
        id: WorkerId,
        /// What it may use.
        limits: WorkerLimits,
    },
}

/// Forkserver → host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromForkserver {
    /// Preloaded and ready to fork.
    Ready {
        /// Its pid.
        pid: u32,
    },
    /// It cannot serve; it ends.
    Failed {
        /// What it was doing.
        stage: StartStage,
        /// What happened.
        message: String,
    },
    /// A worker exists; one descriptor: its pidfd.
    Forked {
        /// Which.
        id: WorkerId,
        /// Its pid.
        pid: u32,
    },
    /// The kernel refused to fork.
    ForkFailed {
        /// Which.
        id: WorkerId,
        /// Why.
        errno: i32,
    },
    /// A worker ended and was reaped, with its process group.
    Exited {
        /// Which.
        id: WorkerId,
        /// How.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal {
        /// Which.
        signal: i32,
        /// It dumped core.
        core: bool,
    },
}

/// What a starting process was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartStage {
    /// Comparing versions and tables.
    Handshake,
    /// Running `preload`.
    Preload,
    /// Counting threads before the first fork.
    Threads,
    /// Running `each_process`.
    EachProcess,
    /// Setting itself up as a worker.
    Worker,
}

/// Host → worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The lane; one descriptor: REQ.
    Lane {
        /// The lane's number.
        lane: u64,
        /// The holder's number.
        incarnation: u64,
    },
    /// One descriptor: RSP.
    LaneResponse,
    /// A task that it had submitted has ended; one descriptor, where the outcome says so, and behind
    /// it the open files that the outcome names.
    ChildDone {
        /// The worker's number of it.
        child: u64,
        /// What became of it.
        outcome: ChildOutcome,
        /// How many files.
        files: u8,
    },
    /// An input too large for the arena; one descriptor: a sealed memfd.
    Payload {
        /// The task's sequence.
        seq: u64,
        /// Bytes.
        len: u64,
    },
    /// Memory that tasks published from now on name; one descriptor: a memfd that nobody but the
    /// host can write to, and that the host does not write to until it is forgotten.
    Blob {
        /// Its number.
        blob: u64,
        /// Bytes.
        len: u64,
    },
    /// The open files that the input of a task names, ahead of it; as many descriptors.
    Files {
        /// The task's sequence.
        seq: u64,
        /// How many.
        files: u8,
    },
    /// No task names that memory any more. Answered by [`Forgot`](FromWorker::Forgot) once the worker
    /// has unmapped it.
    Forget {
        /// Its number.
        blob: u64,
    },
}

/// Bytes beside a message: in it, or in a sealed memfd that comes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carried {
    /// These: at most [`CARRIED_BYTES_MAX`].
    Here(Vec<u8>),
    /// One descriptor.
    Memfd {
        /// Bytes.
        len: u64,
    },
}

/// What a worker's task asks for a task that the host is to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// It is to run on a thread of the host, not in a process.
    pub on_thread: bool,
    /// Limits in ns; `None`: none.
    pub kill_after_ns: Option<u64>,
    /// Likewise.
    pub timeout_ns: Option<u64>,
    /// Likewise.
    pub queue_timeout_ns: Option<u64>,
    /// When nobody wants the outcome any more, in ns of the machine's monotonic clock; 0: never.
    pub deadline_ns: u64,
    /// Which chain of tasks it belongs to.
    pub trace: u128,
    /// 0 low, 1 normal, 2 high.
    pub priority: u8,
}

/// What became of a task that the host ran for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildOutcome {
    /// The job's own reply: its kind's number, and its bytes.
    Reply {
        /// A [`ReplyKind`](crate::ReplyKind).
        kind: u8,
        /// Its bytes.
        output: Carried,
    },
    /// Another end, in the encoding of the two sides.
    Failure(Vec<u8>),
}

/// Worker → host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// It takes tasks from now on.
    Ready {
        /// Its pid.
        pid: u32,
    },
    /// It cannot; it ends.
    Failed {
        /// What it was doing.
        stage: StartStage,
        /// What happened.
        message: String,
    },
    /// An output too large for the arena; one descriptor: a sealed memfd.
    Payload {
        /// The task's sequence.
        seq: u64,
        /// Bytes.
        len: u64,
    },
    /// Memory that the reply of a task names, ahead of it; one descriptor: a memfd that can never
    /// change.
    Blob {
        /// The task's key.
        key: u64,
        /// Its number.
        blob: u64,
        /// Bytes.
        len: u64,
    },
    /// The reply of a task names memory that the host had sent for an earlier one. Ahead of the reply,
    /// and of [`Forgot`](Self::Forgot).
    Returns {
        /// The task's key.
        key: u64,
        /// Its number.
        blob: u64,
    },
    /// The worker has unmapped memory that it was told to forget.
    Forgot {
        /// Its number.
        blob: u64,
    },
    /// The open files that the reply of a task names, ahead of it; as many descriptors. Once a task.
    Files {
        /// The task's key.
        key: u64,
        /// How many.
        files: u8,
    },
    /// A job submits a task that the host is to run; one descriptor, where its input says so, and
    /// behind it the open files that the input names.
    Submit {
        /// The worker's number of it.
        child: u64,
        /// Index in the job table.
        job: u32,
        /// What it asks for.
        ask: Ask,
        /// Its encoded input.
        input: Carried,
        /// How many files.
        files: u8,
    },
    /// That task is to stop.
    Stop {
        /// Which.
        child: u64,
        /// If it runs in a worker, that one is killed.
        kill: bool,
    },
    /// The worker's task only waits for tasks of the host; or no longer does.
    Waits(bool),
    /// Its resident memory has grown by more than it was to tell of; said once.
    Grown {
        /// Bytes.
        bytes: u64,
    },
}

/// A message's bytes.
///
/// # Panics
/// If it is longer than [`MESSAGE_BYTES_MAX`]: texts are cut before they get here.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let bytes = postcard::to_allocvec(message).expect("control messages are plain data");
    assert!(bytes.len() <= MESSAGE_BYTES_MAX, "a control message is short");
    bytes
}

/// The message that `bytes` are, all of them.
///
/// # Errors
/// They are not one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Violation> {
    let violation = Violation::new("a control message is one of its kinds", bytes.len() as u64);
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(violation);
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(violation),
    }
}

#[cfg(test)]
mod tests;
