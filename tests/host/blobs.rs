//! Blobs in a host with few descriptors, and one that was made before the workers were forked.

use amphi::{App, Blob, BlobMut, Ctx, Engine, Error, Job, Setup};
use serde::{Deserialize, Serialize};

use super::say;

const LEN: usize = 64 << 10;

pub(crate) fn jobs(app: App) -> App {
    app.function("sum_of_blob", sum).job::<Preloaded>().preload(picture)
}

fn filled(byte: u8) -> Blob {
    let mut filling = BlobMut::zeroed(LEN);
    filling.fill(byte);
    filling.freeze()
}

fn sum(blob: Blob) -> Result<u64, Error> {
    Ok(blob.iter().map(|byte| u64::from(*byte)).sum())
}

struct Picture(Blob);

fn picture(_setup: &Setup) -> Result<Picture, Error> {
    Ok(Picture(filled(5)))
}

/// What was preloaded, and something that is made beside it.
#[derive(Serialize, Deserialize)]
struct Preloaded(u8);

impl Job for Preloaded {
    type Output = (Blob, Blob);
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<(Blob, Blob), Error> {
        Ok((cx.state::<Picture>().0.clone(), filled(self.0)))
    }
}

/// More than there are descriptors for, all of them alive.
pub(crate) fn main(engine: &Engine) {
    let blobs: Vec<Blob> = (0..100).map(filled).collect();
    let tasks: Vec<_> = blobs.iter().map(|blob| engine.call(sum, blob.clone())).collect();
    let sums = tasks.into_iter().map(amphi::Task::join);
    let right = sums.enumerate().filter(|(byte, sum)| *sum == Ok((byte * LEN) as u64)).count();
    say(&format!("{right} of {} sums are right", blobs.len()));
    drop(blobs);
    for byte in 0..20 {
        let (picture, made) = engine.run(Preloaded(byte)).expect("descriptors are free again");
        assert!(picture == filled(5) && made == filled(byte), "{byte}");
    }
    say("preloaded");
}
