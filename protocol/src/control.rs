//! Messages on the SEQPACKET sockets between host, forkserver and workers.
//!
//! Small enums, encoded by postcard. None is recursive and none holds a collection of zero-sized
//! elements, so that decoding hostile bytes is bounded by their length.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::Violation;

/// The longest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

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
    /// Threads of its rayon pool, when a job asks for one.
    pub rayon_threads: u32,
    /// The largest output in bytes.
    pub output_bytes_max: u64,
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
        /// Bytes of the configuration.
        config_len: u64,
    },
    /// Fork a worker, with three descriptors: its control socket, its bell, its standard error.
    Spawn {
        /// Which.
        id: WorkerId,
        /// What it may use.
        limits: WorkerLimits,
    },
    /// Kill a worker and everything in its process group.
    Kill(WorkerId),
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
    /// An input too large for the arena; one descriptor: a sealed memfd.
    Payload {
        /// The task's sequence.
        seq: u64,
        /// Bytes.
        len: u64,
    },
    /// Leave.
    Bye,
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
