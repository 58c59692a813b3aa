//! Open files in a host with few descriptors, and one that was opened before the workers were forked.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

use amphi::{App, Ctx, Engine, Error, Fd, Job, Setup, TaskError};
use serde::{Deserialize, Serialize};

use super::say;

pub(crate) fn jobs(app: App) -> App {
    app.job::<OpenMany>()
        .job::<ReadToEnd>()
        .job::<SubmitMany>()
        .job::<OpenedBefore>()
        .job::<CountAway>()
        .preload(log)
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

/// Ends when its first file does.
#[derive(Serialize, Deserialize)]
struct ReadToEnd(Vec<Fd>);

impl Job for ReadToEnd {
    type Output = usize;
    type Error = Error;

    fn run(mut self, _cx: &Ctx) -> Result<usize, Error> {
        let first = self.0.swap_remove(0).into_owned()?;
        Ok(File::from(first).read_to_end(&mut Vec::new())?)
    }
}

/// Submits so many of these to other processes, 32 files each, and counts those that are refused.
#[derive(Serialize, Deserialize)]
struct SubmitMany(usize);

impl Job for SubmitMany {
    type Output = usize;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<usize, Error> {
        let (reader, writer) = std::io::pipe()?;
        let mut fds = vec![Fd::from(OwnedFd::from(reader))];
        fds.extend(OpenMany(31).run(cx)?.1);
        let engine = cx.engine();
        let child = |_| {
            let task = engine.task(ReadToEnd(fds.clone())).kill_after(Duration::from_secs(60));
            task.try_submit().map_err(|refused| Error::new(refused.reason.to_string()))
        };
        let children = (0..self.0).map(child).collect::<Result<Vec<_>, Error>>()?;
        drop(writer);
        let told = children.into_iter().map(amphi::Task::join);
        let is_refused = |told: &Result<usize, TaskError<Error>>| {
            told.as_ref().is_err_and(|error| error.to_string().contains("no room"))
        };
        Ok(told.filter(is_refused).count())
    }
}

/// A worker's jobs have no more than 1024 in the host at a time.
pub(crate) fn children(engine: &Engine) {
    for _ in 0..3 {
        say(&format!("refused {:?}", engine.run(SubmitMany(40)).ok()));
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
    say(&format!("child: {}", error.to_string().contains("no room for its open files")));
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
