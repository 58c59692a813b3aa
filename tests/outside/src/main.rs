//! A plain `main` with anyhow: `outside [SHADE]`.

#![forbid(unsafe_code)]

use std::time::Duration;

use amphi::{App, Bytes, Placement, TaskError};
use anyhow::{Context, ensure};
use outside::{Divide, Misbehave, Settings, Thumb, checksum};

amphi::app!(app);

fn app() -> App {
    App::new().include(outside::jobs)
}

fn main() -> anyhow::Result<()> {
    let shade = match std::env::args().nth(1) {
        Some(text) => {
            text.parse().with_context(|| format!("{text:?} is no shade from 0 to 255"))?
        }
        None => 1,
    };
    let engine = app().config(Settings { shade }).engine().cores(2).start()?;

    println!("checksum {}", engine.call(checksum, "hello".to_string()).join()?);
    println!("quotient {}", engine.run(Divide { dividend: 42, divisor: 2 })?);

    let src = Bytes::from_static(&[1, 2, 3, 4]);
    for place in [Placement::Thread, Placement::Process] {
        let job = Thumb { src: src.clone(), width: 3 };
        let thumb = engine.task(job).place(place).run().context("no thumbnail")?;
        println!("{place}: {:?}", &thumb[..]);
    }

    match engine.run(Misbehave::Abort) {
        Err(TaskError::Crashed { signal, .. }) => println!("crashed by signal {signal:?}"),
        other => anyhow::bail!("a job that aborts gave {other:?}"),
    }
    let text = engine.scope(|s| s.spawn(|| src.len().to_string()).join())?;
    println!("still here, {text} bytes");

    let report = engine.shutdown(Duration::from_secs(5));
    ensure!(report.cancelled == 0, "{} tasks were cut off", report.cancelled);
    Ok(())
}
