//! The jobs that take and return open files.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use amphi::{App, Bytes, Ctx, Error, Fd, Job, Limits, Placement, Spec, TaskBuilder, TaskError};
use serde::{Deserialize, Deserializer, Serialize, de};

pub(crate) fn jobs(app: App) -> App {
    app.job::<Turn>()
        .job::<ReadSome>()
        .job::<ReadAtHome>()
        .job::<Append>()
        .job::<Open>()
        .job::<Keep>()
        .job::<CrashOnce>()
        .job::<Unreadable>()
        .job::<Numbers>()
        .job::<Limited>()
        .job::<PassOn>()
        .job::<Many>()
        .job::<Fails>()
}

/// Open files wherever a value can have them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Bag {
    pub(super) one: Fd,
    pub(super) maybe: Option<Fd>,
    pub(super) all: Vec<Fd>,
    pub(super) bytes: Bytes,
}

/// Writes a line into each, and returns them in another order.
#[derive(Serialize, Deserialize)]
pub(super) struct Turn(pub(super) Bag);

impl Job for Turn {
    type Output = Bag;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Bag, Error> {
        let Bag { one, maybe, mut all, bytes } = self.0;
        say(&one, "one")?;
        maybe.iter().try_for_each(|fd| say(fd, "maybe"))?;
        all.iter().try_for_each(|fd| say(fd, "all"))?;
        all.reverse();
        Ok(Bag { one: all.pop().unwrap_or_else(|| one.clone()), maybe: Some(one), all, bytes })
    }
}

pub(super) fn say(fd: &Fd, text: &str) -> Result<(), Error> {
    let mut file = File::from(fd.clone().into_owned()?);
    Ok(writeln!(file, "{text}")?)
}

/// What the next bytes are, where the file stands.
#[derive(Serialize, Deserialize)]
pub(super) struct ReadSome(pub(super) Fd, pub(super) usize);

impl Job for ReadSome {
    type Output = String;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<String, Error> {
        // Nobody else has it in a worker.
        let mut file = File::from(self.0.into_owned()?);
        let mut bytes = vec![0; self.1];
        file.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Append(pub(super) Fd);

impl Job for Append {
    type Output = ();
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<(), Error> {
        say(&self.0, "x")
    }
}

#[derive(Serialize, Deserialize, Clone)]
pub(super) struct Open(pub(super) PathBuf);

impl Job for Open {
    type Output = Fd;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Fd, Error> {
        Ok(File::open(self.0)?.into())
    }
}

static KEPT: Mutex<Vec<Fd>> = Mutex::new(Vec::new());

/// Keeps it in its process, which is told.
#[derive(Serialize, Deserialize)]
pub(super) struct Keep(pub(super) Fd);

impl Job for Keep {
    type Output = (u32, bool);
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<(u32, bool), Error> {
        let flags = rustix::io::fcntl_getfd(&self.0)?;
        KEPT.lock().unwrap().push(self.0);
        Ok((std::process::id(), flags.contains(rustix::io::FdFlags::CLOEXEC)))
    }
}

/// Aborts if the file is empty, and writes to it before.
#[derive(Serialize, Deserialize)]
pub(super) struct CrashOnce(pub(super) Fd);

impl Job for CrashOnce {
    type Output = u64;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<u64, Error> {
        let mut file = File::from(self.0.into_owned()?);
        let len = file.metadata()?.len();
        writeln!(file, "tried")?;
        if len == 0 {
            std::process::abort();
        }
        Ok(len)
    }
}

/// An input whose decoding fails behind the first of its files.
#[derive(Serialize, Deserialize)]
pub(super) struct Unreadable(pub(super) Fd, pub(super) Refusing, pub(super) Fd);

#[derive(Serialize)]
pub(super) struct Refusing(pub(super) u8);

impl<'de> Deserialize<'de> for Refusing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("on purpose"))
    }
}

impl Job for Unreadable {
    type Output = ();
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<(), Error> {
        Ok(())
    }
}

/// Its process.
#[derive(Serialize, Deserialize)]
pub(super) struct Numbers;

impl Job for Numbers {
    type Output = u32;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u32, Error> {
        Ok(std::process::id())
    }
}

/// Has a worker with few descriptors.
#[derive(Serialize, Deserialize)]
pub(super) struct Limited(pub(super) Vec<Fd>);

impl Job for Limited {
    type Output = (u32, usize);
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().limits(Limits::new().nofile(24))
    }

    fn run(self, _cx: &Ctx) -> Result<(u32, usize), Error> {
        Ok((std::process::id(), self.0.len()))
    }
}

/// The same in the host's own process.
#[derive(Serialize, Deserialize)]
pub(super) struct ReadAtHome(pub(super) Fd, pub(super) usize);

impl Job for ReadAtHome {
    type Output = String;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().threads_only()
    }

    fn run(self, cx: &Ctx) -> Result<String, Error> {
        ReadSome(self.0, self.1).run(cx)
    }
}

/// Has others read from it, in another process, in its own and in the host, and hands on what they
/// open.
#[derive(Serialize, Deserialize)]
pub(super) struct PassOn(pub(super) Fd, pub(super) PathBuf);

impl Job for PassOn {
    type Output = (String, Fd);
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<(String, Fd), Error> {
        let engine = cx.engine();
        let told = |error: TaskError<Error>| Error::new(error.to_string());
        // What may be killed is run by another process; an engine of threads has none.
        let limit = (cx.placement() == Placement::Process).then_some(Duration::from_secs(60));
        let task = engine.task(ReadSome(self.0.clone(), 2)).retries(1);
        let task = limit.into_iter().fold(task, TaskBuilder::kill_after);
        let mut text = task.run().map_err(told)?;
        text += &engine.run(ReadSome(self.0.clone(), 2)).map_err(told)?;
        text += &engine.run(ReadAtHome(self.0.clone(), 2)).map_err(told)?;
        let task = limit.into_iter().fold(engine.task(Open(self.1)), TaskBuilder::kill_after);
        let open = task.run().map_err(told)?;
        let mut file = File::from(self.0.into_owned()?);
        let mut rest = [0; 2];
        file.read_exact(&mut rest)?;
        text += &String::from_utf8_lossy(&rest);
        Ok((text, open))
    }
}

/// More than one output can have, or fewer.
#[derive(Serialize, Deserialize)]
pub(super) struct Many(pub(super) usize);

impl Job for Many {
    type Output = Vec<Fd>;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Vec<Fd>, Error> {
        (0..self.0).map(|_| Ok(File::open("/dev/null")?.into())).collect()
    }
}

/// Its error has an open file.
#[derive(Serialize, Deserialize)]
pub(super) struct Fails(pub(super) Fd);

impl Job for Fails {
    type Output = ();
    type Error = Fd;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<(), Fd> {
        Err(self.0)
    }
}
