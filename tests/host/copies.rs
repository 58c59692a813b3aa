//! How often payloads are copied, counted by host and worker.

use amphi::{App, Blob, BlobMut, Bytes, Engine, Error};
use serde::{Deserialize, Serialize};

use super::say;

/// In the arena, and in memory of its own.
const LENGTHS: [usize; 2] = [256 << 10, 4 << 20];

pub(crate) fn jobs(app: App) -> App {
    app.function("same_bytes", same::<Bytes>)
        .function("same_blob", same::<Blob>)
        .function("same_within", same::<Within>)
        .function("copies_there", copies_there)
}

fn same<T>(payload: T) -> Result<T, Error> {
    Ok(payload)
}

/// Bytes that are not a whole input.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Within {
    name: String,
    bytes: Bytes,
}

fn copies_there(_: ()) -> Result<[u64; 4], Error> {
    Ok(amphi::__private::copies())
}

/// Copies of one task there and back: encoded, written, copied out, decoded; of the host and of the
/// worker.
fn of<T: PartialEq + std::fmt::Debug>(engine: &Engine, run: impl Fn() -> (T, T)) -> [[u64; 4]; 2] {
    let counts = || {
        let there = engine.run_call(copies_there, ()).expect("the worker counts");
        [amphi::__private::copies(), there]
    };
    let before = counts();
    let (sent, came) = run();
    assert!(sent == came, "something else came back");
    let after = counts();
    std::array::from_fn(|side| std::array::from_fn(|kind| after[side][kind] - before[side][kind]))
}

/// An engine with one worker.
pub(crate) fn main(engine: &Engine) {
    for len in LENGTHS {
        let bytes = Bytes::from(vec![7; len]);
        let there_and_back = || {
            let came = engine.run_call(same::<Bytes>, bytes.clone()).expect("it comes back");
            (bytes.clone(), came)
        };
        say(&format!("bytes of {len}: {:?}", of(engine, there_and_back)));
        let within = Within { name: "a name".to_owned(), bytes: bytes.clone() };
        let there_and_back = || {
            let came = engine.run_call(same::<Within>, within.clone()).expect("it comes back");
            (within.clone(), came)
        };
        say(&format!("within of {len}: {:?}", of(engine, there_and_back)));
        let mut filling = BlobMut::zeroed(len);
        filling.fill(7);
        let blob = filling.freeze();
        let there_and_back = || {
            let came = engine.run_call(same::<Blob>, blob.clone()).expect("it comes back");
            (blob.clone(), came)
        };
        say(&format!("blob of {len}: {:?}", of(engine, there_and_back)));
    }
}
