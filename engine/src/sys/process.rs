//! Processes: starting the forkserver, forking workers, watching and ending both.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use amphi_protocol::Exit;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal as NixSignal, signal, sigprocmask};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpid, getppid, kill_process,
    kill_process_group, setpgid, waitid,
};
use rustix::time::Timespec;

/// What a child would take from the moment of its start, frozen: a second forkserver finds the
/// same as the first, and so do all workers.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    umask: u32,
}

impl Surroundings {
    pub(crate) fn capture() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
        Self {
            environment: std::env::vars_os().collect(),
            directory: std::env::current_dir().ok(),
            umask: umask.unwrap_or(0o022),
        }
    }

    /// File permissions that new files do not get; set by the child itself.
    pub(crate) fn umask(&self) -> u32 {
        self.umask
    }
}

/// A child of the host: the forkserver.
#[derive(Debug)]
pub(crate) struct Child {
    child: std::process::Child,
    pidfd: OwnedFd,
}

impl Child {
    /// Starts this very binary again, marked, with `socket` as its standard input. No `pre_exec`:
    /// std then uses posix_spawn, which costs 0.2 ms from a host of any size.
    pub(crate) fn start_self(
        socket: OwnedFd,
        marker: (&str, &str),
        surroundings: &Surroundings,
    ) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("amphi-forkserver").stdin(Stdio::from(socket));
        command.env_clear().envs(surroundings.environment.iter().map(|(key, value)| (key, value)));
        command.env(marker.0, marker.1);
        // A directory that is gone is nobody's: the child then has the host's of now.
        if let Some(directory) = surroundings.directory.as_ref().filter(|path| path.is_dir()) {
            command.current_dir(directory);
        }
        let mut child = command.spawn()?;
        // The child is not reaped before `reap`, so its pid cannot be another's.
        match pidfd_open(child.id()) {
            Ok(pidfd) => Ok(Self { child, pidfd }),
            Err(error) => {
                // No child is left behind that nobody watches.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(crate) fn kill(&self) {
        kill(self.pidfd.as_fd());
    }

    /// Collects it, waiting at most `patience`. Tolerates others who wait for every child.
    pub(crate) fn reap(&mut self, patience: Duration) {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let _ = rustix::event::poll(&mut fds, Some(&timespec(patience)));
        let _ = self.child.try_wait();
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Which side of a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    Child,
    Parent { pid: u32 },
}

/// Forks. Refused unless this process has exactly one thread.
pub(crate) fn fork() -> io::Result<Fork> {
    if thread_count()? != 1 {
        return Err(io::Error::other("a process with several threads is never forked"));
    }
    // SAFETY: after a fork of a multi-threaded process only async-signal-safe calls are allowed in
    // the child — this process has one thread (checked above), so the child is a whole program.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => Ok(Fork::Child),
        Ok(nix::unistd::ForkResult::Parent { child }) => {
            Ok(Fork::Parent { pid: u32::try_from(child.as_raw()).unwrap_or(0) })
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

fn pid_of(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a pid"))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid_of(pid)?, PidfdFlags::empty())?)
}

pub(crate) fn own_pidfd() -> io::Result<OwnedFd> {
    pidfd_open(own_pid())
}

/// SIGKILL. A process that is dead already is left alone.
pub(crate) fn kill(pidfd: BorrowedFd<'_>) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

/// SIGKILL to a child and all of its process group. Only the forkserver, before it reaps the child.
pub(crate) fn kill_group(pid: u32) {
    if let Ok(pid) = pid_of(pid) {
        let _ = kill_process_group(pid, Signal::KILL);
        // A child that was forked a moment ago may not lead its group yet.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// How a child of this process ended, if it did. It stays to be reaped.
pub(crate) fn peek_exit(pid: u32) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid_of(pid).ok()?), options).ok()?.map(|status| exit_of(&status))
}

/// Reaps a child that has ended.
pub(crate) fn reap(pid: u32) {
    if let Ok(pid) = pid_of(pid) {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    match status.terminating_signal() {
        Some(signal) => Exit::Signal { signal, core: status.dumped() },
        None => Exit::Code(status.exit_status().unwrap_or(0)),
    }
}

/// Dies with the parent. For children of a single-threaded parent only: the kernel watches the
/// parent's thread.
pub(crate) fn die_with_parent(expected: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if parent_pid() == expected {
        Ok(())
    } else {
        Err(io::Error::other("the parent is gone already"))
    }
}

pub(crate) fn own_pid() -> u32 {
    getpid().as_raw_nonzero().get().unsigned_abs()
}

pub(crate) fn parent_pid() -> u32 {
    getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs())
}

pub(crate) fn lead_own_group() {
    let _ = setpgid(None, None);
}

/// Which executable this process runs: its file, whatever its name is now (FNV-1a).
pub(crate) fn build_hash() -> io::Result<u64> {
    let file = std::fs::metadata("/proc/self/exe")?;
    let numbers = [file.dev(), file.ino(), file.size(), file.mtime().cast_unsigned()];
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    Ok(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// Sets the umask that the host had when its engine started.
pub(crate) fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Default dispositions and an empty mask; SIGPIPE is ignored as in every Rust program.
pub(crate) fn reset_signals() {
    // By number, since nix knows no real-time signals. SIGKILL, SIGSTOP and libc's own are refused.
    for number in 1..=libc::SIGRTMAX() {
        let handler = if number == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: a handler must be async-signal-safe — both are the kernel's own.
        unsafe { libc::signal(number, handler) };
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// The terminal's signals are for the host.
pub(crate) fn ignore_terminal_signals() {
    use NixSignal::{SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
    for number in [SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGTTIN, SIGTTOU] {
        // SAFETY: a handler must be async-signal-safe — this one is the kernel's own.
        let _ = unsafe { signal(number, SigHandler::SigIgn) };
    }
}

/// Closes every descriptor from 3 on but those listed. For a process that has just begun and owns
/// nothing else.
pub(crate) fn keep_only(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX);
}

/// Closes the descriptors `first..=last`.
fn close_range(first: u32, last: u32) {
    // SAFETY: no owner of a closed descriptor may use it again — the caller's process has just
    // been forked or executed, and everything it goes on to use is kept.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done != 0 {
        close_one_by_one(first, last);
    }
}

/// The same before Linux 5.9, or under a filter that does not know the call.
fn close_one_by_one(first: u32, last: u32) {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return };
    let names = listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let open: Vec<RawFd> = names.filter_map(|name| name.parse().ok()).collect();
    for fd in open {
        if u32::try_from(fd).is_ok_and(|number| (first..=last).contains(&number)) {
            // SAFETY: as in `close_range`. The listing's own descriptor is closed already: EBADF.
            unsafe { libc::close(fd) };
        }
    }
}

/// The socket that came as standard input, moved out of the way; /dev/null takes its place.
pub(crate) fn take_stdin_socket() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    if rustix::net::sockopt::socket_domain(stdin)? != AddressFamily::UNIX
        || rustix::net::sockopt::socket_type(stdin)? != SocketType::SEQPACKET
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is no socket"));
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

/// Makes `fd` this process's standard error.
pub(crate) fn become_stderr(fd: OwnedFd) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(&fd)?)
}

/// Takes a variable out of the environment. Refused where other threads could be reading it.
pub(crate) fn remove_env(name: &str) -> io::Result<()> {
    if thread_count()? != 1 {
        return Err(io::Error::other("the environment is changed by the only thread"));
    }
    // SAFETY: no other thread may access the environment — there is none (checked above).
    unsafe { std::env::remove_var(name) };
    Ok(())
}

/// Ends the process without running anything of the program's.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: no obligation but that nothing after it is expected to run — its type says so.
    unsafe { libc::_exit(code) }
}

/// Makes the kernel prefer this process when memory runs out. Best effort.
pub(crate) fn raise_oom_score(by: i32) {
    let path = "/proc/self/oom_score_adj";
    let now = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let _ = std::fs::write(path, (now.unwrap_or(0) + by).min(1000).to_string());
}

/// How often the kernel's OOM killer has struck on this machine.
pub(crate) fn oom_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Bytes of memory that this process has in core now.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

/// Which of the descriptors have something to read or are hung up; waits until one has, or until
/// `timeout`.
pub(crate) fn wait_readable(
    fds: &[BorrowedFd<'_>],
    timeout: Option<Duration>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = timeout.map(timespec);
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// The number of a descriptor, for [`keep_only`].
pub(crate) fn number(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

#[cfg(test)]
#[path = "tests/process.rs"]
mod tests;
