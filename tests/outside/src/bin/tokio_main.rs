//! The same engine under `#[tokio::main]`.

#![forbid(unsafe_code)]

use std::time::Duration;

use amphi::{Bytes, Placement};
use outside::{Thumb, app, checksum, process_id};

amphi::app!(outside::app);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let engine = app().engine().place(Placement::Process).queue(1000).start()?;

    let (sum, worker) =
        tokio::try_join!(engine.call(checksum, "hello".to_string()), engine.call(process_id, ()),)?;
    anyhow::ensure!(worker != std::process::id(), "the call ran in the host");

    let job = Thumb { src: Bytes::from_static(b"abc"), width: 2 };
    let thumb = engine.submit(job).await?.await?;
    println!("checksum {sum}, thumbnail {thumb:?}");

    let report =
        tokio::task::spawn_blocking(move || engine.shutdown(Duration::from_secs(5))).await?;
    println!("{} tasks", report.submitted);
    Ok(())
}
