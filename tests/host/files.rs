//! Open files in a host with few descriptors, and one that was opened before the workers were forked.

use std::fs::File;
use std::time::Duration;

use amphi::{App, Ctx, Engine, Error, Fd, Job, Setup, TaskError};
use serde::{Deserialize, Serialize};

use super::say;

pub(crate) fn jobs(app: App) -> App {
    app.job::<OpenMany>().job::<OpenedBefore>().job::<CountAway>().preload(log)
}

struct Log(Fd);

fn log(_setup: &Setup) -> Result<Log, Error> {
    Ok(Log(File::open("/dev/null")?.into()))
}

#[derive(Serialize, Deserialize)]
struct OpenMany(usize);

impl Job for OpenMany {
    type Output = (u32, Vec<Fd>);
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<(u32, Vec<Fd>), Error> {
        let open = |_| Ok(File::open("/dev/null")?.into());
        Ok((std::process::id(), (0..self.0).map(open).collect::<Result<_, Error>>()?))
    }
}

#[derive(Serialize, Deserialize)]
struct OpenedBefore;

impl Job for OpenedBefore {
    type Output = Fd;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<Fd, Error> {
        Ok(cx.state::<Log>().0.clone())
    }
}

/// Has the host count files that this process has.
#[derive(Serialize, Deserialize)]
struct CountAway(Vec<Fd>, bool);

impl Job for CountAway {
    type Output = usize;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<usize, Error> {
        if !self.1 {
            return Ok(self.0.len());
        }
        let (_, fds) = OpenMany(30).run(cx)?;
        // Another process can be killed.
        let child = cx.engine().task(Self(fds, false)).kill_after(Duration::from_secs(60)).run();
        child.map_err(|error| Error::new(error.to_string()))
    }
}

pub(crate) fn main(engine: &Engine) {
    let mut held = Vec::new();
    let (pid, _) = engine.run(OpenMany(1)).expect("there is room");
    let error = loop {
        match engine.run(OpenMany(20)) {
            Ok((_, fds)) => held.extend(fds),
            Err(error) => break error,
        }
    };
    let says = error.to_string().contains("did not come");
    say(&format!("full: {}", matches!(error, TaskError::Codec { .. }) && says));
    let error = engine.run(CountAway(Vec::new(), true)).expect_err("the host has no room");
    say(&format!("child: {}", error.to_string().contains("as many descriptors as it may have")));
    held.clear();
    let (later, fds) = engine.run(OpenMany(20)).expect("descriptors are free again");
    say(&format!("lives on: {}", later == pid && fds.len() == 20));
    drop(fds);
    let count = engine.run(CountAway(Vec::new(), true));
    say(&format!("child: {}", count == Ok(30)));
    let error = engine.run(OpenedBefore).expect_err("workers do not have it");
    say(&format!("preloaded: {}", error.to_string().contains("opened by preload")));
    say(&format!("lives on: {}", engine.run(OpenMany(1)).is_ok_and(|(later, _)| later == pid)));
}
