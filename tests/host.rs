//! A program of its own for faults that concern a whole host: it is started, limited, replaced and
//! killed by `it/hosts.rs`. It prints one line a fact and ends with `done`.

use std::io::Write;
use std::time::Duration;

use amphi::{App, Error, Placement, Setup};

amphi::app!(app);

fn app() -> App {
    App::new()
        .function("double", double)
        .function("hang", hang)
        .preload(preload)
        .each_process(each_process)
}

fn double(x: u64) -> Result<u64, Error> {
    Ok(2 * x)
}

fn hang(_: ()) -> Result<(), Error> {
    loop {
        std::thread::park();
    }
}

struct Model;

fn preload(_setup: &Setup) -> Result<Model, Error> {
    match std::env::var("HOST_PRELOAD").as_deref() {
        Ok("fail") => Err(Error::new("the model is missing")),
        Ok("panic") => panic!("the model is broken"),
        Ok("thread") => {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            Ok(Model)
        }
        _ => Ok(Model),
    }
}

fn each_process(setup: &Setup) -> Result<(), Error> {
    if setup.role() == amphi::Role::Worker && std::env::var_os("HOST_WORKER_FAILS").is_some() {
        return Err(Error::new("no licence for this worker"));
    }
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("the test reads it");
}

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    if mode == "large" {
        grow();
    }
    let engine = match app().engine().place(Placement::Process).cores(2).start() {
        Ok(engine) => engine,
        Err(error) => {
            say(&format!("start: preload={} {error}", error.is_preload()));
            return;
        }
    };
    match mode.as_str() {
        "hang" => {
            let tasks: Vec<_> = (0..4).map(|_| engine.call(hang, ())).collect();
            while engine.worker_pids().len() < 2 {
                std::thread::yield_now();
            }
            say(&format!("workers {:?}", engine.worker_pids()));
            drop(tasks.into_iter().map(amphi::Task::join).collect::<Vec<_>>());
        }
        "serve" => {
            // One task for each line of input.
            let mut line = String::new();
            while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                match engine.call(double, 21).join() {
                    Ok(output) => say(&format!("output {output} {:?}", engine.worker_pids())),
                    Err(error) => say(&format!("error {error}")),
                }
                line.clear();
            }
        }
        _ => match engine.call(double, 21).join_timeout(Duration::from_secs(20)) {
            Ok(Ok(output)) => say(&format!("output {output}")),
            Ok(Err(error)) => say(&format!("error {error}")),
            Err(_) => say("no outcome"),
        },
    }
    say("done");
}

/// 64 threads and a gigabyte, touched.
fn grow() {
    for _ in 0..64 {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    std::mem::forget(vec![1_u8; 1 << 30]);
}
