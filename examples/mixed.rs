//! One program, two places: quick and trusted work on threads, risky work in processes, borrowed
//! data in a scope. Each task can say where it runs and why.
//!
//! Run: `cargo run --release --example mixed`. You should see three kinds of tasks with their
//! places, one crash among the risky ones that costs nobody else anything, and the sum of all
//! lengths. With `AMPHI_PLACE=process` the quick ones move, too, and nothing else changes.

use std::time::Duration;

use amphi::{App, Ctx, Error, Job, Spec, TaskError};
use serde::{Deserialize, Serialize};

amphi::app!(app);

fn app() -> App {
    App::new().function("length", length).job::<Decode>()
}

/// Plain Rust: it may run anywhere, and threads are the default.
fn length(text: String) -> Result<usize, Error> {
    Ok(text.chars().count())
}

/// Stands for a decoder written in C: it may crash, and it is killed if it hangs.
#[derive(Serialize, Deserialize)]
struct Decode {
    image: String,
}

impl Job for Decode {
    type Output = String;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<String, Error> {
        match self.image.as_str() {
            "hostile.png" => std::process::abort(),
            "endless.png" => loop {
                std::thread::park();
            },
            name => Ok(format!("{name}: decoded in process {}", std::process::id())),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = app().engine().start()?;
    println!("the host is process {}", std::process::id());

    let lines = ["one", "three", "seventeen"];
    let tasks: Vec<_> = lines.iter().map(|line| engine.call(length, line.to_string())).collect();
    for (line, task) in lines.iter().zip(tasks) {
        let why = task.explain();
        println!("{line:9} {} letters    ({why})", task.join()?);
    }

    for image in ["cat.png", "hostile.png", "endless.png", "dog.png"] {
        let decode = engine.task(Decode { image: image.to_owned() });
        let task = decode.kill_after(Duration::from_millis(300)).try_submit()?;
        let why = task.explain();
        match task.join() {
            Ok(text) => println!("{text}    ({why})"),
            Err(error @ (TaskError::Crashed { .. } | TaskError::TimedOut { .. })) => {
                println!("{image}: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }

    // Borrowed data cannot leave its process, so a scope runs on threads, by type.
    let total: usize = engine.scope(|scope| {
        let halves = lines.split_at(lines.len() / 2);
        let left = scope.spawn(|| halves.0.iter().map(|line| line.len()).sum::<usize>());
        let right = scope.spawn(|| halves.1.iter().map(|line| line.len()).sum::<usize>());
        Ok::<_, TaskError<std::convert::Infallible>>(left.join()? + right.join()?)
    })?;
    println!("{total} letters in all, counted in a scope");
    Ok(())
}
