//! The jobs, and the ways in which bytes reach them and come back.

use std::error::Error;

use amphi::{App, Blob, BlobMut, Bytes, Engine, Placement};
use sha2::{Digest, Sha256};

use amphi::Error as JobError;

/// What every process of this bench agrees on.
pub(crate) fn app() -> App {
    App::new()
        .function("look_bytes", look_bytes)
        .function("look_blob", look_blob)
        .function("look_vec", look_vec)
        .function("make_bytes", make_bytes)
        .function("make_blob", make_blob)
        .function("hash_bytes", hash_bytes)
        .function("hash_blob", hash_blob)
}

/// One byte of each page: the least that shows that all of it is there.
fn look(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(4096).map(|byte| u64::from(*byte)).sum()
}

fn look_bytes(bytes: Bytes) -> Result<u64, JobError> {
    Ok(look(&bytes))
}

fn look_blob(blob: Blob) -> Result<u64, JobError> {
    Ok(look(&blob))
}

fn look_vec(bytes: Vec<u8>) -> Result<u64, JobError> {
    Ok(look(&bytes))
}

fn make_bytes(len: u64) -> Result<Bytes, JobError> {
    Ok(Bytes::from(vec![7; usize::try_from(len)?]))
}

fn make_blob(len: u64) -> Result<Blob, JobError> {
    let mut filling = BlobMut::with_capacity(usize::try_from(len)?);
    filling.resize(usize::try_from(len)?);
    filling.fill(7);
    Ok(filling.freeze())
}

fn hash_bytes(bytes: Bytes) -> Result<[u8; 32], JobError> {
    Ok(Sha256::digest(&bytes).into())
}

fn hash_blob(blob: Blob) -> Result<[u8; 32], JobError> {
    Ok(Sha256::digest(&*blob).into())
}

pub(crate) const THREADS: &str = "amphi threads, Bytes";
pub(crate) const BYTES: &str = "amphi processes, Bytes";
pub(crate) const VEC: &str = "amphi processes, Vec<u8>";
pub(crate) const BLOB: &str = "amphi processes, Blob";
pub(crate) const NEW_BLOB: &str = "amphi processes, Blob filled anew";
pub(crate) const THREADS_OUT: &str = "amphi threads, Bytes out";
pub(crate) const BYTES_OUT: &str = "amphi processes, Bytes out";
pub(crate) const BLOB_OUT: &str = "amphi processes, Blob out";

/// In the order in which they are told of.
pub(crate) const NAMES: [&str; 8] =
    [THREADS, BYTES, VEC, BLOB, NEW_BLOB, THREADS_OUT, BYTES_OUT, BLOB_OUT];

/// Above this a `Vec<u8>` takes seconds.
const VEC_MAX: usize = 4 << 20;

/// The engines.
pub(crate) struct Systems {
    pub(crate) threads: Engine,
    pub(crate) processes: Engine,
}

pub(crate) type Way<'a> = Box<dyn FnMut() -> Result<u64, Box<dyn Error>> + 'a>;

impl Systems {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let start = |place| app().engine().place(place).start();
        Ok(Self { threads: start(Placement::Thread)?, processes: start(Placement::Process)? })
    }

    /// Each way for a payload of so many bytes; a call is one task, there and back.
    pub(crate) fn ways(&self, len: usize) -> Vec<(&'static str, Way<'_>)> {
        let (threads, processes) = (&self.threads, &self.processes);
        let bytes = Bytes::from(vec![1; len]);
        let blob = Blob::copy_of(&bytes);
        let size = len as u64;
        let (one, two, three) = (bytes.clone(), bytes.clone(), bytes.clone());
        let mut ways: Vec<(&'static str, Way<'_>)> = vec![
            (THREADS, Box::new(move || Ok(threads.run_call(look_bytes, one.clone())?))),
            (BYTES, Box::new(move || Ok(processes.run_call(look_bytes, two.clone())?))),
            (BLOB, Box::new(move || Ok(processes.run_call(look_blob, blob.clone())?))),
            (NEW_BLOB, Box::new(move || Ok(processes.run_call(look_blob, Blob::copy_of(&three))?))),
            (THREADS_OUT, Box::new(move || Ok(look(&threads.run_call(make_bytes, size)?)))),
            (BYTES_OUT, Box::new(move || Ok(look(&processes.run_call(make_bytes, size)?)))),
            (BLOB_OUT, Box::new(move || Ok(look(&processes.run_call(make_blob, size)?)))),
        ];
        if len <= VEC_MAX {
            let vec = bytes.to_vec();
            let run = move || Ok(processes.run_call(look_vec, vec.clone())?);
            ways.push((VEC, Box::new(run)));
        }
        ways
    }

    pub(crate) fn hash_in_process(&self, blob: &Blob) -> Result<[u8; 32], Box<dyn Error>> {
        Ok(self.processes.run_call(hash_blob, blob.clone())?)
    }

    pub(crate) fn hash_copied(&self, bytes: &Bytes) -> Result<[u8; 32], Box<dyn Error>> {
        Ok(self.processes.run_call(hash_bytes, bytes.clone())?)
    }
}
