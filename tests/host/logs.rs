//! What workers log, and what a host hears of it: jobs that log, and a host that listens.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use amphi::{App, Engine, Error, Placement, Role, Setup};
use tracing::level_filters::LevelFilter;

use crate::lines::{self, Lines};
use crate::say;

pub(crate) fn jobs(app: App) -> App {
    app.function("chat", chat)
        .function("stall", stall)
        .function("babble", babble)
        .function("own_lines", own_lines)
        .each_process(each_process)
}

/// Formatting it is counted.
struct Counted;

static FORMATTED: AtomicU32 = AtomicU32::new(0);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        FORMATTED.fetch_add(1, Ordering::Relaxed);
        f.write_str("counted")
    }
}

/// Events of all kinds. How often one that nobody hears was formatted.
fn chat(name: String) -> Result<u32, Error> {
    let outer = tracing::info_span!("outer", id = 7, later = tracing::field::Empty).entered();
    outer.record("later", 8);
    {
        let _unheard = tracing::debug_span!("unheard").entered();
        let _inner = tracing::info_span!("inner", text = "a b").entered();
        tracing::warn!(answer = 42, name, "hello {name}");
        tracing::info!(parent: None, "rootless");
        tracing::debug!(value = ?Counted, "not sent");
        let here = tracing::Span::current();
        let other = std::thread::spawn(move || here.in_scope(|| tracing::error!("elsewhere")));
        other.join().map_err(|_| Error::new("it does not panic"))?;
    }
    tracing::info!("{}", "long ".repeat(2000));
    drop(outer);
    tracing::info!("outside");
    Ok(FORMATTED.load(Ordering::Relaxed))
}

/// Logs, and then nothing for ever.
fn stall(_: ()) -> Result<(), Error> {
    tracing::info!("it stalls now");
    loop {
        std::thread::park();
    }
}

fn babble(count: u32) -> Result<(), Error> {
    (0..count).for_each(|number| tracing::info!(number, "blah"));
    Ok(())
}

/// How many lines this process kept itself.
fn own_lines(_: ()) -> Result<usize, Error> {
    tracing::info!("kept here");
    Ok(lines::kept().len())
}

fn each_process(setup: &Setup) -> Result<(), Error> {
    if setup.role() == Role::Worker && std::env::var("HOST_LOGS").as_deref() == Ok("own") {
        Lines(LevelFilter::INFO).install();
    }
    Ok(())
}

/// Starts an engine where `HOST_LOGS` says, runs jobs that log, and prints what was heard.
pub(crate) fn main() {
    let mode = std::env::var("HOST_LOGS").unwrap_or_default();
    match mode.as_str() {
        "none" => {}
        "threads" => Lines(LevelFilter::DEBUG).install(),
        _ => Lines(LevelFilter::INFO).install(),
    }
    let place = if mode == "threads" { Placement::Thread } else { Placement::Process };
    let engine = crate::app().engine().place(place).cores(1).start().expect("an engine");
    match mode.as_str() {
        "babble" => listen_to_babble(&engine),
        "stall" => {
            let task = engine.call(stall, ());
            lines::wait_for("event of a job that hangs", |kept| kept.len() == 1);
            task.kill();
        }
        "own" | "none" => {
            say(&format!("formatted {:?}", engine.call(chat, "ann".to_owned()).join().ok()));
            say(&format!("own lines {:?}", engine.call(own_lines, ()).join().ok()));
            engine.shutdown(Duration::from_secs(5));
        }
        _ => {
            let formatted = engine.call(chat, "ann".to_owned()).join();
            say(&format!("formatted {:?}", formatted.ok()));
            lines::wait_for("last event", |kept| kept.iter().any(|line| line.contains("outside")));
        }
    }
    lines::kept().iter().for_each(|line| say(line));
    say("done");
}

/// Every event arrives, or is counted by a warning.
fn listen_to_babble(engine: &Engine) {
    const COUNT: usize = 20_000;
    let dropped = |line: &String| -> Option<usize> {
        let (before, _) = line.split_once(" events of this worker's log were dropped")?;
        before.rsplit('=').next()?.parse().ok()
    };
    let heard = |kept: &[String]| {
        let told: usize = kept.iter().filter_map(dropped).sum();
        told + kept.iter().filter(|line| line.contains("=blah")).count()
    };
    engine.call(babble, COUNT as u32).join().expect("it only talks");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while heard(&lines::kept()) < COUNT && std::time::Instant::now() < deadline {
        engine.call(babble, 0).join().expect("it only tells what was dropped");
    }
    say(&format!("heard of {} of {COUNT}", heard(&lines::kept())));
}
