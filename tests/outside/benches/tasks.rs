//! A few tasks in each place, as a user's benchmark would run them: a plain `main`, no harness.

#![forbid(unsafe_code)]

use std::time::Instant;

use amphi::Placement;
use outside::{app, checksum};

amphi::app!(outside::app);

const TASKS: usize = 1000;

fn main() -> anyhow::Result<()> {
    for place in [Placement::Thread, Placement::Process] {
        let engine = app().engine().place(place).start()?;
        engine.call(checksum, "warm".to_string()).join()?;

        let start = Instant::now();
        let tasks: Vec<_> =
            (0..TASKS).map(|number| engine.call(checksum, number.to_string())).collect();
        for task in tasks {
            task.join()?;
        }
        println!("{place:>8}: {TASKS} tasks in {:?}", start.elapsed());
    }
    Ok(())
}
