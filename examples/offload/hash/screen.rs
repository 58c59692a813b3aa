//! The three standard streams: buffered lines out, messages and the progress bar on standard error,
//! and what ends the program early (a closed pipe, Ctrl-C).
//!
//! # Invariants
//! 1. Standard output is flushed before a message goes to standard error and before a wait, so that
//!    both read in input order when they go to the same place.
//! 2. The bar is drawn only where standard error is a terminal. It has no colour.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What a shell reports of a program that SIGPIPE ended; ours ends as quietly.
const EXIT_CLOSED_PIPE: u8 = 128 + 13;
/// What a shell reports of a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 128 + 2;
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// Why the program ends before its work is done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Whoever read standard output is gone.
    ClosedPipe,
    /// Standard output cannot be written.
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::Output(error)
        }
    }
}

/// See the module.
pub(crate) struct Screen {
    out: RefCell<BufWriter<File>>,
    out_is_terminal: bool,
    bar: Option<ProgressBar>,
    done_bytes: Cell<u64>,
}

impl Screen {
    /// `total_bytes` is what the bar counts to, where it is known; `None` with `bar` draws a count.
    pub(crate) fn new(bar: bool, total_bytes: impl FnOnce() -> Option<u64>) -> Result<Self, Stop> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let bar = (bar && io::stderr().is_terminal()).then(|| new_bar(total_bytes()));
        Ok(Self {
            out_is_terminal: stdout.is_terminal(),
            out: RefCell::new(BufWriter::with_capacity(64 << 10, stdout)),
            bar,
            done_bytes: Cell::new(0),
        })
    }

    /// From here on Ctrl-C takes the bar away and exits with 130. The workers leave with the host.
    pub(crate) fn exit_on_interrupt(&self) {
        let bar = self.bar.clone();
        let handler = move || {
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            // Not by way of `main`: it may be blocked in a read that never ends.
            std::process::exit(EXIT_INTERRUPTED);
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            self.complain(&format!("Ctrl-C is left to the system: {error}"));
        }
    }

    /// Puts something on standard output.
    pub(crate) fn print(
        &self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), Stop> {
        write(&mut self.out.borrow_mut())?;
        if self.out_is_terminal { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&self) -> Result<(), Stop> {
        if self.out.borrow().buffer().is_empty() {
            return Ok(());
        }
        let flush = || self.out.borrow_mut().flush();
        match &self.bar {
            Some(bar) if self.out_is_terminal => bar.suspend(flush)?,
            _ => flush()?,
        }
        Ok(())
    }

    /// A message on standard error, after what was printed before it.
    pub(crate) fn complain(&self, message: &(impl AsRef<[u8]> + ?Sized)) {
        // A closed standard output is met again, and reported, by the next print.
        let _ = self.flush();
        let mut line = b"offload: ".to_vec();
        line.extend_from_slice(message.as_ref());
        line.push(b'\n');
        // Nobody is left to be told that standard error is closed.
        let write = || drop(io::stderr().write_all(&line));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Moves the bar on for good.
    pub(crate) fn add_done(&self, bytes: u64) {
        self.done_bytes.set(self.done_bytes.get() + bytes);
        self.show_running(0);
    }

    /// Shows how far the input that is waited for has come.
    pub(crate) fn show_running(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done_bytes.get() + bytes);
        }
    }

    /// How often to look at a running task; `None`: nobody looks.
    pub(crate) fn redraw_every(&self) -> Option<Duration> {
        self.bar.is_some().then_some(REDRAW_EVERY)
    }

    /// Takes the bar away, writes the rest and says how the program ends.
    pub(crate) fn close(self, ended: Result<bool, Stop>) -> ExitCode {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let ended = ended.and_then(|good| self.flush().map(|()| good));
        // What could not be written is lost; dropping the buffer must not try again.
        let _ = self.out.into_inner().into_parts();
        match ended {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(Stop::ClosedPipe) => ExitCode::from(EXIT_CLOSED_PIPE),
            Err(Stop::Output(error)) => {
                let error =
                    error.raw_os_error().map_or_else(|| error.to_string(), super::line::reason);
                eprintln!("offload: write error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn new_bar(total_bytes: Option<u64>) -> ProgressBar {
    let template = match total_bytes {
        Some(_) => "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        None => "{bytes} {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr()).with_style(style)
}

/// Standard input without a buffer, so that nothing is read that is not asked for.
pub(crate) fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}
