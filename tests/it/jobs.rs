//! The jobs that the suites run.

use std::time::Duration;

use amphi::{App, Bytes, Ctx, Error, Job};
use serde::{Deserialize, Serialize};

amphi::app!(app);

pub(crate) fn app() -> App {
    App::new()
        .job::<Double>()
        .job::<Echo>()
        .job::<Misbehave>()
        .job::<UntilCancelled>()
        .function("add", add)
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
    OverflowStack,
    Hang,
    FloodStderr,
    FillMemory,
    LeaveThread,
    LeaveChild,
}

impl Job for Misbehave {
    type Output = u32;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u32, Error> {
        match self {
            Self::Fail => return Err(Error::new("on purpose")),
            Self::Panic => panic!("on purpose"),
            Self::Abort => std::process::abort(),
            Self::Exit => std::process::exit(3),
            Self::OverflowStack => return Ok(overflow(0)),
            Self::Hang => loop {
                std::thread::park_timeout(Duration::from_secs(1));
            },
            Self::FloodStderr => {
                let line = "x".repeat(1023) + "\n";
                for _ in 0..4096 {
                    eprint!("{line}");
                }
                std::process::abort();
            }
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
        }
        Ok(0)
    }
}

#[expect(unconditional_recursion, reason = "the fault under test")]
fn overflow(depth: u32) -> u32 {
    std::hint::black_box(overflow(depth.wrapping_add(1))) + 1
}
