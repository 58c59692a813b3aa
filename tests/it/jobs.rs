//! The jobs that the suites run.

use std::time::Duration;

use amphi::{App, Bytes, Ctx, Error, Job};
use serde::{Deserialize, Serialize};

use crate::messages::{Relay, Tell};

amphi::app!(app);

pub(crate) fn app() -> App {
    App::new()
        .job::<Double>()
        .job::<Echo>()
        .job::<Misbehave>()
        .job::<UntilCancelled>()
        .job::<Odd>()
        .job::<Describe>()
        .job::<Nested>()
        .job::<Touch>()
        .job::<Tell>()
        .job::<Relay>()
        .include(crate::children::jobs)
        .include(crate::lies::jobs)
        .include(crate::life::jobs)
        .include(crate::batches::jobs)
        .include(crate::blobs::jobs)
        .include(crate::blocking::jobs)
        .include(crate::fd::jobs)
        .include(crate::corners::jobs)
        .include(crate::corners::jobs2)
        .function("add", add)
        .function("name_of_thread", crate::order::name_of_thread)
        .include(crate::chores::jobs)
        .worker_state(|_| Ok(Greeting("hello".to_owned())))
}

pub(crate) fn add((left, right): (u64, u64)) -> Result<u64, Error> {
    left.checked_add(right).ok_or_else(|| Error::new("the sum is too large"))
}

/// A function that nobody registers.
pub(crate) fn unregistered(x: u64) -> Result<u64, Error> {
    Ok(x)
}

pub(crate) struct Greeting(pub(crate) String);

#[derive(Serialize, Deserialize)]
pub(crate) struct Double(pub(crate) u64);

impl Job for Double {
    type Output = u64;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<u64, Error> {
        cx.progress(1, 2);
        assert_eq!(cx.state::<Greeting>().0, "hello");
        Ok(2 * self.0)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Echo {
    pub(crate) bytes: Bytes,
    pub(crate) output_len: usize,
}

impl Job for Echo {
    type Output = Bytes;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Bytes, Error> {
        let first = self.bytes.first().copied().unwrap_or(7);
        Ok(vec![first; self.output_len].into())
    }
}

/// Runs until it is asked to stop; it never ends by itself.
#[derive(Serialize, Deserialize)]
pub(crate) struct UntilCancelled;

impl Job for UntilCancelled {
    type Output = ();
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<(), Error> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            cx.progress(rounds, u64::MAX);
            cx.check()?;
            std::thread::park_timeout(Duration::from_micros(100));
        }
    }
}

/// Everything a job can do wrong.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehave {
    Fail,
    Panic,
    Abort,
    Exit,
    ExitZero,
    Segfault,
    OverflowStack,
    Hang,
    FillMemory,
    LeaveThread,
    LeaveChild,
    /// Writes over all words of its lane that it can, by way of `/proc/self/mem`.
    Scribble,
    /// Tries the same with what it may only read; 0: the kernel refused.
    ScribbleOnRequests,
    /// Tells its progress ten thousand times, then nothing until it is cancelled.
    Chatter,
}

impl Job for Misbehave {
    type Output = u32;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<u32, Error> {
        match self {
            Self::Fail => return Err(Error::new("on purpose")),
            Self::Panic => panic!("on purpose"),
            Self::Abort => std::process::abort(),
            Self::Exit => std::process::exit(3),
            Self::ExitZero => std::process::exit(0),
            Self::Segfault => {
                // As the kernel would, of a bad access: the disposition is the default, it kills.
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::SEGV)?;
                loop {
                    std::thread::park();
                }
            }
            Self::OverflowStack => return Ok(overflow(0)),
            Self::Hang => loop {
                std::thread::park_timeout(Duration::from_secs(1));
            },
            Self::FillMemory => {
                let mut kept = Vec::new();
                loop {
                    kept.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&kept);
                }
            }
            Self::LeaveThread => {
                std::thread::spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
            }
            Self::LeaveChild => {
                let child = std::process::Command::new("sleep").arg("1000").spawn()?;
                return Ok(child.id());
            }
            Self::Scribble => {
                scribble("amphi-response")?;
                cx.progress(1, 1);
                loop {
                    std::thread::park();
                }
            }
            Self::ScribbleOnRequests => {
                return Ok(u32::from(scribble("amphi-request").is_ok()));
            }
            Self::Chatter => {
                for done in 1..=10_000 {
                    cx.progress(done, 10_000);
                }
                loop {
                    cx.check()?;
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        }
        Ok(0)
    }
}

#[expect(unconditional_recursion, reason = "the fault under test")]
fn overflow(depth: u32) -> u32 {
    std::hint::black_box(overflow(depth.wrapping_add(1))) + 1
}

/// Fills the control part of this worker's mapping of that name with ones.
fn scribble(name: &str) -> Result<(), Error> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.contains(name));
    let line = line.ok_or_else(|| Error::new("there is no such mapping here"))?;
    let start = u64::from_str_radix(line.split('-').next().unwrap_or_default(), 16)?;
    let memory = std::fs::File::options().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&[0xff; 4096], start)?;
    Ok(())
}

/// What cannot be coded, on every side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum How {
    Well,
    Fails,
    Panics,
    /// Two bytes where one is read.
    LeavesBytes,
}

/// A value that codes as its two halves say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Oddity {
    pub(crate) encode: How,
    pub(crate) decode: How,
}

impl Serialize for Oddity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.encode {
            How::Fails => Err(serde::ser::Error::custom("it will not be encoded")),
            How::Panics => panic!("encoding panics"),
            How::LeavesBytes => (self.decode, 1_u8).serialize(serializer),
            How::Well => self.decode.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Oddity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match How::deserialize(deserializer)? {
            How::Fails => Err(serde::de::Error::custom("it will not be decoded")),
            How::Panics => panic!("decoding panics"),
            decode => Ok(Self { encode: How::Well, decode }),
        }
    }
}

/// Takes, returns or fails with an [`Oddity`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Odd {
    pub(crate) input: Oddity,
    /// How the output codes; `None`: the error does.
    pub(crate) output: Option<(How, How)>,
    pub(crate) error: (How, How),
}

impl Job for Odd {
    type Output = Oddity;
    type Error = Oddity;

    fn run(self, _cx: &Ctx) -> Result<Oddity, Oddity> {
        let make = |(encode, decode)| Oddity { encode, decode };
        self.output.map_or_else(|| Err(make(self.error)), |how| Ok(make(how)))
    }
}

/// What a job sees of its process.
#[derive(Serialize, Deserialize)]
pub(crate) struct Describe;

/// See [`Describe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) pid: u32,
    pub(crate) descriptors: Vec<(i32, String)>,
    /// The lines of `/proc/self/status` that speak of signals, and the umask.
    pub(crate) status: Vec<String>,
    pub(crate) process_group: i32,
    pub(crate) directory: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) hash: u64,
}

impl Job for Describe {
    type Output = Description;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Description, Error> {
        use std::hash::{BuildHasher, RandomState};
        let mut descriptors = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse()?;
            let target = std::fs::read_link(entry.path())?.display().to_string();
            if !target.ends_with("/fd") {
                descriptors.push((number, target)); // all but the listing's own
            }
        }
        descriptors.sort();
        let status = std::fs::read_to_string("/proc/self/status")?;
        let told = ["SigBlk", "SigIgn", "SigCgt", "Umask"];
        let told = |line: &&str| told.iter().any(|key| line.starts_with(key));
        Ok(Description {
            pid: std::process::id(),
            descriptors,
            status: status.lines().filter(told).map(str::to_owned).collect(),
            process_group: rustix::process::getpgrp().as_raw_nonzero().get(),
            directory: std::env::current_dir()?.display().to_string(),
            environment: std::env::vars().collect(),
            hash: RandomState::new().hash_one(1),
        })
    }
}

/// Tries to start an engine where it runs; true: it was told that this is no host.
#[derive(Serialize, Deserialize)]
pub(crate) struct Nested;

impl Job for Nested {
    type Output = bool;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<bool, Error> {
        Ok(app().engine().start().is_err_and(|error| error.is_not_in_host()))
    }
}

/// Makes a file: what a task has done can be seen from outside.
#[derive(Serialize, Deserialize)]
pub(crate) struct Touch {
    pub(crate) path: std::path::PathBuf,
}

impl Job for Touch {
    type Output = ();
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<(), Error> {
        Ok(std::fs::write(self.path, "")?)
    }
}
