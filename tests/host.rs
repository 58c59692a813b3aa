//! A program of its own for faults that concern a whole host: it is started, limited, replaced and
//! killed by `it/hosts.rs` and its neighbours. It prints one line a fact and ends with `done`.

use std::io::Write;
use std::time::Duration;

use amphi::{App, Engine, Error, Placement, Setup};

#[path = "host/audit.rs"]
mod audit;
#[path = "host/blobs.rs"]
mod blobs;
#[path = "host/copies.rs"]
mod copies;
#[path = "host/files.rs"]
mod files;
#[path = "host/lines.rs"]
mod lines;
#[path = "host/logs.rs"]
mod logs;

amphi::app!(app);

fn app() -> App {
    App::new()
        .function("double", double)
        .job::<Rest>()
        .function("hang", hang)
        .function("flood", flood)
        .function("leave_child", leave_child)
        .function("surroundings", surroundings)
        .function("large", large)
        .preload(preload)
        .each_process(each_process)
        .include(logs::jobs)
        .include(audit::jobs)
        .include(blobs::jobs)
        .include(copies::jobs)
        .include(files::jobs)
}

/// Returns at once, on a thread for those that do not.
#[derive(serde::Serialize, serde::Deserialize)]
struct Rest(u64);

impl amphi::Job for Rest {
    type Output = u64;
    type Error = Error;

    fn spec() -> amphi::Spec {
        amphi::Spec::new().blocking()
    }

    fn run(self, _cx: &amphi::Ctx) -> Result<u64, Error> {
        Ok(self.0)
    }
}

fn double(x: u64) -> Result<u64, Error> {
    Ok(2 * x)
}

fn hang(_: ()) -> Result<(), Error> {
    loop {
        std::thread::park();
    }
}

/// Working directory, umask and a variable of the process that runs it.
fn surroundings(_: ()) -> Result<String, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let umask = status.lines().find(|line| line.starts_with("Umask")).unwrap_or_default();
    let umask = umask.split_whitespace().last().unwrap_or_default();
    let weather = std::env::var("HOST_WEATHER").unwrap_or_default();
    Ok(format!("{} {umask} {weather}", std::env::current_dir()?.display()))
}

/// An output that travels by a descriptor.
fn large(_: ()) -> Result<amphi::Bytes, Error> {
    Ok(vec![1; 2 << 20].into())
}

/// Writes so many MiB to standard error, then some last words, and aborts.
fn flood(mebibytes: u64) -> Result<(), Error> {
    let block = vec![b'x'; 1 << 20];
    let mut stderr = std::io::stderr();
    for _ in 0..mebibytes {
        stderr.write_all(&block)?;
    }
    stderr.write_all(b"\nthe last words\n")?;
    std::process::abort();
}

/// Leaves a child behind that ignores everything but SIGKILL; its pid.
fn leave_child(_: ()) -> Result<u32, Error> {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' TERM HUP INT; while :; do sleep 1000; done"]);
    Ok(command.spawn()?.id())
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
        Ok("hang") => loop {
            std::thread::park();
        },
        Ok("abort") => std::process::abort(),
        Ok("print") => {
            print!("half a line");
            Ok(Model)
        }
        _ => Ok(Model),
    }
}

fn each_process(setup: &Setup) -> Result<(), Error> {
    if setup.role() != amphi::Role::Worker {
        return Ok(());
    }
    match std::env::var("HOST_WORKER").as_deref() {
        Ok("fail") => Err(Error::new("no licence for this worker")),
        Ok("panic") => panic!("the worker's logging is broken"),
        Ok("exit") => quit(7),
        Ok("hang") => loop {
            std::thread::park();
        },
        // Fails until the file is there.
        Ok(path) if !std::path::Path::new(path).exists() => Err(Error::new("not yet")),
        _ => Ok(()),
    }
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
    if mode == "logs" {
        return logs::main();
    }
    if mode == "threadless" {
        let engine = app().engine().place(Placement::Thread).cores(1).start().expect("no need");
        let rested = engine.run(Rest(1)).map_err(|error| error.to_string());
        say(&format!("blocking {rested:?}"));
        return once(&engine);
    }
    let mut builder = app().engine().place(Placement::Process).cores(2);
    if let Ok(text) = std::env::var("HOST_START_TIMEOUT_MS") {
        let ms = text.parse().expect("a number of milliseconds");
        builder = builder.start_timeout(Duration::from_millis(ms));
    }
    if mode == "audit" {
        builder = builder.place(Placement::Auto);
    }
    let engine = match builder.start() {
        Ok(engine) => engine,
        Err(error) => {
            let (preload, setting) = (error.is_preload(), error.is_setting());
            say(&format!("start: preload={preload} setting={setting} {error}"));
            return;
        }
    };
    match mode.as_str() {
        "hang" => hang_in_both_workers(&engine),
        "serve" => serve(&engine, |engine, told| match told {
            Ok(output) => say(&format!("output {output} {:?}", engine.worker_pids())),
            Err(error) => say(&format!("error {error}")),
        }),
        "refused" => serve(&engine, |_, told| match told {
            Ok(output) => say(&format!("output {output}")),
            Err(error) => say(&format!("error {error}")),
        }),
        "frozen" => {
            // As it was when the engine started, also for a forkserver that comes later.
            std::env::set_current_dir("/").expect("the root is there");
            let mut line = String::new();
            while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                let told = engine.call(surroundings, ()).join();
                say(&format!("{told:?} {:?}", engine.worker_pids()));
            }
        }
        "blobs" => blobs::main(&engine),
        "copies" => copies::main(&engine),
        "files" => files::main(&engine),
        "children" => files::children(&engine),
        "starved" => starve(&engine),
        "flood" => take_a_flood(&engine),
        "leave" => leave(engine),
        "audit" => audit::main(engine),
        "where" => {
            let task = engine.call(double, 21);
            let shown = task.explain();
            say(&format!("cores {} output {:?} {shown}", engine.cores(), task.join().ok()));
        }
        _ => once(&engine),
    }
    say("done");
}

fn once(engine: &Engine) {
    match engine.call(double, 21).join_timeout(Duration::from_secs(20)) {
        Ok(Ok(output)) => say(&format!("output {output}")),
        Ok(Err(error)) => say(&format!("error {error}")),
        Err(_) => say("no outcome"),
    }
}

fn hang_in_both_workers(engine: &Engine) {
    let tasks: Vec<_> = (0..4).map(|_| engine.call(hang, ())).collect();
    while engine.worker_pids().len() < 2 {
        std::thread::yield_now();
    }
    say(&format!("workers {:?}", engine.worker_pids()));
    drop(tasks.into_iter().map(amphi::Task::join).collect::<Vec<_>>());
}

/// One task for each line of input, and what became of it.
fn serve(engine: &Engine, tell: impl Fn(&Engine, Result<u64, amphi::TaskError<Error>>)) {
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        match engine.call(double, 21).join_timeout(Duration::from_secs(30)) {
            Ok(told) => tell(engine, told),
            Err(_) => say("no outcome"),
        }
        line.clear();
    }
}

fn take_a_flood(engine: &Engine) {
    let before = resident_kib();
    let neighbour = engine.call(double, 4);
    match engine.call(flood, 1024).join() {
        Err(error @ amphi::TaskError::Crashed { .. }) => say(&format!("{error}")),
        other => say(&format!("{other:?}")),
    }
    say(&format!("grew {} KiB", resident_kib().saturating_sub(before)));
    say(&format!("neighbour {:?}", neighbour.join().ok()));
}

/// Takes every descriptor there is, asks for one that has to arrive, and lets them go.
fn starve(engine: &Engine) {
    assert_eq!(engine.call(large, ()).join().map(|bytes| bytes.len()), Ok(2 << 20));
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    match engine.call(large, ()).join_timeout(Duration::from_secs(20)) {
        Ok(Ok(bytes)) => say(&format!("starved: {} bytes", bytes.len())),
        Ok(Err(error)) => say(&format!("starved: error {error}")),
        Err(_) => say("starved: no outcome"),
    }
    drop(taken);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while engine.call(large, ()).join().is_err() {
        assert!(std::time::Instant::now() < deadline, "it serves again");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    say("fed");
}

/// Tells the worker's child, then ends as the line of input says.
fn leave(engine: Engine) {
    let child = engine.call(leave_child, ()).join().expect("a shell");
    say(&format!("child {child} {:?}", engine.worker_pids()));
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    if line.trim() == "shutdown" {
        engine.shutdown(Duration::from_secs(1));
    }
    drop(engine);
}

#[expect(clippy::exit, reason = "the fault under test")]
fn quit(code: i32) -> ! {
    std::process::exit(code)
}

/// Anonymous memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a number")
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
    std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 30]));
    let grown = resident_kib();
    assert!(grown > 1 << 20, "a gigabyte is resident: {grown} KiB");
}
