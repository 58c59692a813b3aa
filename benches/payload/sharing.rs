//! SHA-256 over 256 MiB: in place, and in a process that has the memory mapped, or maps it first.

use std::error::Error;
use std::time::Instant;

use amphi::{Blob, Bytes};
use amphi_benches::Tally;
use sha2::{Digest, Sha256};

use crate::jobs::Systems;

pub(crate) const CASE: &str = "SHA-256, 256 MiB";
pub(crate) const HERE: &str = "in place";
pub(crate) const FIRST: &str = "amphi processes, Blob, first use";
pub(crate) const AGAIN: &str = "amphi processes, Blob, mapped";
pub(crate) const COPIED: &str = "amphi processes, Bytes";

const LEN: usize = 256 << 20;

/// One of each in a round. The blob is new in each, so that its first use is one.
pub(crate) fn measure(
    systems: &Systems,
    round: usize,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let bytes = Bytes::from(vec![round as u8; LEN]);
    let blob = Blob::copy_of(&bytes);
    let expected: [u8; 32] = Sha256::digest(&bytes).into();
    let mut time = |system: &str, hash: &dyn Fn() -> Result<[u8; 32], Box<dyn Error>>| {
        let begun = Instant::now();
        let found = hash()?;
        let ns = begun.elapsed().as_nanos() as f64;
        if found != expected {
            return Err(format!("{system} found another hash").into());
        }
        tally.add(round, (system, CASE, "wall"), ns, "ns");
        Ok::<(), Box<dyn Error>>(())
    };
    let here = || Ok(Sha256::digest(&blob).into());
    let process = || systems.hash_in_process(&blob);
    // In place on both sides of the others: what drifts meanwhile is halved.
    time(FIRST, &process)?;
    time(HERE, &here)?;
    time(AGAIN, &process)?;
    time(COPIED, &|| systems.hash_copied(&bytes))
}
