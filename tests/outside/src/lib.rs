//! What a user's library brings: jobs, states, and one function that registers them.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use amphi::{App, Bytes, Ctx, Error, Job, Placement, Setup, Spec};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What the host reads from its arguments and every process is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Added to every byte of a thumbnail.
    pub shade: u8,
}

/// A large thing that is loaded once, before any worker exists.
#[derive(Debug)]
pub struct Model {
    weights: Vec<u64>,
    shade: u8,
}

/// What each process builds for itself when a job first asks.
#[derive(Debug, Default)]
pub struct Cache {
    weights: Mutex<HashMap<String, u64>>,
}

/// The app of every binary of this crate that takes no arguments.
pub fn app() -> App {
    App::new().include(jobs).config(Settings { shade: 1 })
}

/// What this library adds to a program's app.
pub fn jobs(app: App) -> App {
    app.job::<Thumb>()
        .job::<Divide>()
        .job::<Misbehave>()
        .job::<Count>()
        .job::<Weigh>()
        .function("checksum", checksum)
        .function("parse", parse)
        .function("process_id", process_id)
        .preload(load_model)
        .worker_state(|_: &Setup| Ok(Cache::default()))
        .each_process(set_up)
}

fn load_model(setup: &Setup) -> Result<Model, Error> {
    let Settings { shade } = setup.config()?;
    Ok(Model { weights: (1..=64).collect(), shade })
}

fn set_up(setup: &Setup) -> Result<(), Error> {
    let _: Settings = setup.config().map_err(|error| error.context("reading the settings"))?;
    Ok(())
}

/// A job with bytes in, bytes out, a preloaded model, progress, and parallel work inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumb {
    /// The picture.
    pub src: Bytes,
    /// How many bytes to keep.
    pub width: usize,
}

impl Job for Thumb {
    type Output = Bytes;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<Bytes, Error> {
        cx.check()?;
        cx.progress(1, 2);
        if self.width > self.src.len() {
            return Err(Error::new("the picture is narrower than its thumbnail"));
        }
        let shade = cx.state::<Model>().shade;
        let thumb: Vec<u8> = cx.install(|| {
            self.src[..self.width].par_iter().map(|byte| byte.wrapping_add(shade)).collect()
        });
        cx.progress(2, 2);
        Ok(thumb.into())
    }
}

/// A job with an error type of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divide {
    /// What is divided.
    pub dividend: i64,
    /// By what.
    pub divisor: i64,
}

/// Why a division has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByZero;

impl fmt::Display for ByZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a division by zero; give another divisor")
    }
}

impl std::error::Error for ByZero {}

impl Job for Divide {
    type Output = i64;
    type Error = ByZero;

    fn name() -> &'static str {
        "divide"
    }

    fn spec() -> Spec {
        Spec::new().place(Placement::Thread)
    }

    fn run(self, _cx: &Ctx) -> Result<i64, ByZero> {
        self.dividend.checked_div(self.divisor).ok_or(ByZero)
    }
}

/// What native code may do to a program; `isolated()`, so never to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Misbehave {
    /// Ends by `abort`.
    Abort,
    /// Ends by `exit` with this code.
    Exit(i32),
    /// Panics.
    Panic,
    /// Never comes back and looks at nothing.
    Hang,
}

impl Job for Misbehave {
    type Output = ();
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<(), Error> {
        match self {
            Self::Abort => std::process::abort(),
            Self::Exit(code) => std::process::exit(code),
            Self::Panic => panic!("out of cheese"),
            Self::Hang => loop {
                std::thread::park();
            },
        }
    }
}

/// Counts for ever, tells how far it is, and stops when it is asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count;

impl Job for Count {
    type Output = u64;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<u64, Error> {
        for number in 1..u64::MAX {
            cx.check()?;
            cx.progress(number, u64::MAX);
            std::thread::yield_now();
        }
        Ok(u64::MAX)
    }
}

/// The weight of a text by the preloaded model, remembered in the process that computed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weigh {
    /// What is weighed.
    pub text: String,
}

impl Job for Weigh {
    type Output = u64;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<u64, Error> {
        let weights = &cx.state::<Model>().weights;
        let mut known = cx.state::<Cache>().weights.lock().unwrap();
        Ok(*known.entry(self.text).or_insert_with_key(|text| {
            text.bytes().map(|byte| weights[usize::from(byte) % weights.len()]).sum()
        }))
    }
}

/// A plain function as a job.
///
/// # Errors
/// For an empty text.
pub fn checksum(text: String) -> Result<u64, Error> {
    if text.is_empty() {
        return Err(Error::new("an empty text; give one with letters"));
    }
    Ok(text.bytes().map(u64::from).sum())
}

/// A plain function that fails by `?`.
///
/// # Errors
/// Where `text` is no number.
pub fn parse(text: String) -> Result<u64, Error> {
    Ok(text.trim().parse()?)
}

/// The process it ran in: tells the placements apart.
///
/// # Errors
/// None.
pub fn process_id(_: ()) -> Result<u32, Error> {
    Ok(std::process::id())
}
