//! The forkserver: this very binary, executed again, with one thread, that forks workers.
//!
//! It is entered before `main` ([`main`], from `amphi::app!`), never returns, and touches no lane.
//! It ends when the host's socket closes or the host's pidfd says it is dead, and takes every
//! worker with it.

use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use amphi_protocol::{
    ABI, FromForkserver, LAYOUT_HASH, StartStage, ToForkserver, WorkerId, WorkerLimits, decode,
    encode,
};

use super::{MARKER, worker};
use crate::error::StartError;
use crate::home::{Config, Home, Role};
use crate::job::{self, panic_message};
use crate::limits::GATHER_PATIENCE;
use crate::sys::large::gather_pages;
use crate::sys::memory::read_sealed;
use crate::sys::process::{self, Fork};
use crate::sys::socket::{Channel, Received};

/// How long a killed worker is waited for, when the forkserver itself ends.
const LAST_WAIT: Duration = Duration::from_millis(20);

/// How long a host that does not read its messages holds up the forkserver, each time.
const PATIENCE: Duration = Duration::from_secs(1);

/// A text in a control message is cut to this.
pub(super) const TEXT_BYTES_MAX: usize = 4096;

struct Forkserver {
    socket: Channel,
    host: OwnedFd,
    home: Arc<Home>,
    children: Vec<Child>,
}

struct Child {
    id: WorkerId,
    pid: u32,
    pidfd: OwnedFd,
}

/// The forkserver's whole life.
pub(crate) fn main(make_home: impl FnOnce(Option<Config>) -> Result<Arc<Home>, StartError>) -> ! {
    process::lead_own_group();
    process::reset_signals();
    process::ignore_terminal_signals();
    // Without the socket there is nobody to tell: a marked environment that leaked.
    let Ok(socket) = process::take_stdin_socket() else { process::exit_now(2) };
    process::keep_only(&[process::number(&socket)]);
    if process::remove_env(MARKER).is_err() {
        process::exit_now(2);
    }
    Role::Forkserver.assume();
    let socket = Channel::from_fd(socket);
    match catch_unwind(AssertUnwindSafe(|| greet(&socket, make_home))) {
        Ok(Ok((host, home))) => {
            Forkserver { socket, host, home, children: Vec::new() }.serve();
        }
        Ok(Err((stage, message))) => fail(&socket, stage, &message),
        Err(panic) => {
            let message = format!("preload panicked: {}", panic_message(panic));
            fail(&socket, StartStage::Preload, &message);
        }
    }
    process::exit_now(0)
}

fn fail(socket: &Channel, stage: StartStage, message: &str) {
    let message = cut(message);
    let _ = socket.send(&encode(&FromForkserver::Failed { stage, message }), &[]);
}

/// The first bytes of a text, whole characters.
pub(super) fn cut(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_BYTES_MAX)).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}

/// Handshake and preload.
fn greet(
    socket: &Channel,
    make_home: impl FnOnce(Option<Config>) -> Result<Arc<Home>, StartError>,
) -> Result<(OwnedFd, Arc<Home>), (StartStage, String)> {
    let handshake = |text: &str| (StartStage::Handshake, text.to_owned());
    let Ok(Received::Message { bytes, mut fds }) = socket.recv(2) else {
        return Err(handshake("the host closed its socket"));
    };
    let (Some(config), Some(host)) = (fds.pop(), fds.pop()) else {
        return Err(handshake("the host sent no pidfd and configuration"));
    };
    let Ok(ToForkserver::Hello { abi, layout_hash, table_hash, build_hash, config_len, umask }) =
        decode(&bytes)
    else {
        return Err(handshake("the host's greeting is not one of this build"));
    };
    let same_build = process::build_hash().is_ok_and(|own| own == build_hash);
    if (abi, layout_hash) != (ABI, LAYOUT_HASH) || !same_build {
        return Err(handshake("host and forkserver are different builds"));
    }
    process::set_umask(umask);
    let config = read_sealed(config.as_fd(), config_len)
        .map_err(|error| handshake(&error.to_string()))
        .and_then(|bytes| {
            job::decode::<Option<Config>>(&bytes).map_err(|error| handshake(&error.to_string()))
        })?;
    let home = make_home(config).map_err(|error| handshake(&error.to_string()))?;
    if home.table.hash() != table_hash {
        return Err(handshake(
            "the engine's App has other jobs than the one that amphi::app! names; register all \
             jobs in that function",
        ));
    }
    home.preload().map_err(|text| (StartStage::Preload, text))?;
    // What a preload printed and did not end with a line would be printed by every worker.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    match process::thread_count() {
        Ok(1) => {}
        Ok(count) => {
            let text = format!("preload left {} threads running", count - 1);
            return Err((StartStage::Threads, text));
        }
        Err(error) => return Err((StartStage::Threads, error.to_string())),
    }
    if home.has_preload() {
        gather_pages(GATHER_PATIENCE);
    }
    let ready = FromForkserver::Ready { pid: process::own_pid() };
    socket.send(&encode(&ready), &[]).map_err(|error| handshake(&error.to_string()))?;
    Ok((host, home))
}

impl Forkserver {
    fn serve(mut self) {
        loop {
            let mut watched = vec![self.host.as_fd(), self.socket.as_fd()];
            watched.extend(self.children.iter().map(|child| child.pidfd.as_fd()));
            let Ok(ready) = process::wait_readable(&watched, None) else { break };
            if ready[0] {
                break;
            }
            if ready[1] && !self.read_socket() {
                break;
            }
            self.reap();
        }
        for child in &self.children {
            process::kill_group(child.pid);
        }
        for child in &self.children {
            // Nobody else may be there to collect it.
            let _ = process::wait_readable(&[child.pidfd.as_fd()], Some(LAST_WAIT));
            process::reap(child.pid);
        }
        process::exit_now(0)
    }

    /// False: the host is gone.
    fn read_socket(&mut self) -> bool {
        loop {
            let (bytes, fds) = match self.socket.try_recv(3) {
                Ok(Received::Message { bytes, fds }) => (bytes, fds),
                Ok(Received::Empty) => return true,
                Ok(Received::Closed | Received::Short { .. }) | Err(_) => return false,
            };
            match decode(&bytes) {
                Ok(ToForkserver::Spawn { id, limits }) => {
                    if let Ok(fds) = <[OwnedFd; 3]>::try_from(fds) {
                        self.spawn(id, limits, fds);
                    }
                }
                _ => return false,
            }
        }
    }

    fn spawn(&mut self, id: WorkerId, limits: WorkerLimits, fds: [OwnedFd; 3]) {
        let parent = process::own_pid();
        match process::fork() {
            Ok(Fork::Child) => {
                let [socket, bell, stderr] = fds;
                let host = self.host.try_clone();
                let Ok(host) = host else { process::exit_now(2) };
                worker::main(
                    worker::Descriptors { socket, bell, stderr, host },
                    worker::Terms { home: Arc::clone(&self.home), limits, parent },
                )
            }
            Ok(Fork::Parent { pid }) => match process::pidfd_open(pid) {
                Ok(pidfd) => {
                    let forked = encode(&FromForkserver::Forked { id, pid });
                    let told = self.socket.send_patiently(&forked, &[pidfd.as_fd()], PATIENCE);
                    if told.is_err() {
                        // A worker that nobody watches must not live.
                        process::kill_group(pid);
                    }
                    self.children.push(Child { id, pid, pidfd });
                }
                Err(error) => {
                    process::kill_group(pid);
                    process::reap(pid);
                    self.fork_failed(id, &error);
                }
            },
            Err(error) => self.fork_failed(id, &error),
        }
    }

    fn fork_failed(&self, id: WorkerId, error: &std::io::Error) {
        let errno = error.raw_os_error().unwrap_or(0);
        let failed = encode(&FromForkserver::ForkFailed { id, errno });
        let _ = self.socket.send_patiently(&failed, &[], PATIENCE);
    }

    /// Collects the dead, after everything they left in their process groups.
    fn reap(&mut self) {
        let socket = &self.socket;
        self.children.retain(|child| {
            let Some(exit) = process::peek_exit(child.pid) else { return true };
            process::kill_group(child.pid);
            process::reap(child.pid);
            let exited = encode(&FromForkserver::Exited { id: child.id, exit });
            let _ = socket.send_patiently(&exited, &[], PATIENCE);
            false
        });
    }
}
