use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;
use crate::sys::alone::ALONE;
use crate::sys::pipe::{pipe, read_some};
use crate::sys::socket::{Channel, Received};

fn fork_child(child: impl FnOnce() -> i32) -> u32 {
    match fork().unwrap() {
        Fork::Child => exit_now(child()),
        Fork::Parent { pid } => pid,
    }
}

/// Waits for a child's end without reaping it.
fn end_of(pid: u32) -> Exit {
    let pidfd = pidfd_open(pid).unwrap();
    let ended = wait_readable(&[pidfd.as_fd()], Some(Duration::from_secs(10))).unwrap();
    assert_eq!(ended, [true], "it lives on");
    peek_exit(pid).unwrap()
}

fn sleep_long() -> i32 {
    std::thread::park_timeout(Duration::from_secs(20));
    0
}

alone! {
    fn a_child_is_seen_to_end_and_then_reaped() {
        let pid = fork_child(|| 7);
        assert_eq!(end_of(pid), Exit::Code(7));
        assert_eq!(peek_exit(pid), Some(Exit::Code(7)), "still there");
        reap(pid);
        assert_eq!(peek_exit(pid), None);
        assert!(pidfd_open(pid).is_err());
    }
}

#[test]
fn a_process_with_threads_is_never_forked() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || stopped.recv());
        assert!(fork().is_err());
        assert!(remove_env("AMPHI_NO_SUCH").is_err());
        drop(stop);
    });
}

alone! {
    fn a_child_that_leads_no_group_yet_is_killed() {
        let pid = fork_child(sleep_long);
        kill_group(pid);
        assert_eq!(end_of(pid), Exit::Signal { signal: libc::SIGKILL, core: false });
        reap(pid);
    }
}

alone! {
    fn a_group_dies_with_what_its_leader_left() {
        let (reader, writer) = pipe().unwrap();
        let pid = fork_child(|| {
            lead_own_group();
            fork_child(sleep_long);
            5
        });
        drop(writer);
        assert_eq!(end_of(pid), Exit::Code(5));
        assert_eq!(read_some(&reader, &mut [0; 1]), None, "the grandchild holds the pipe");
        kill_group(pid);
        reap(pid);
        let gone = wait_readable(&[reader.as_fd()], Some(Duration::from_secs(10))).unwrap();
        assert_eq!(gone, [true]);
    }
}

alone! {
    fn a_child_dies_with_its_parent() {
        let (reader, writer) = pipe().unwrap();
        let parent = fork_child(|| {
            let (ready, told) = pipe().unwrap();
            let parent = own_pid();
            fork_child(|| {
                die_with_parent(parent).unwrap();
                rustix::io::write(&told, b"ready").unwrap();
                sleep_long()
            });
            wait_readable(&[ready.as_fd()], None).unwrap();
            sleep_long()
        });
        drop(writer);
        assert_eq!(wait_readable(&[reader.as_fd()], Some(Duration::from_millis(50))).unwrap(), [false]);
        kill_process(pid_of(parent).unwrap(), Signal::KILL).unwrap();
        // The grandchild holds the pipe for as long as it lives.
        assert_eq!(wait_readable(&[reader.as_fd()], Some(Duration::from_secs(10))).unwrap(), [true]);
    }
}

alone! {
    fn an_orphan_learns_that_it_is_one() {
        assert!(die_with_parent(own_pid()).is_err());
        assert!(die_with_parent(parent_pid()).is_ok());
    }
}

alone! {
    fn a_process_is_killed_by_its_pidfd_only_once() {
        let pid = fork_child(sleep_long);
        let pidfd = pidfd_open(pid).unwrap();
        kill(pidfd.as_fd());
        assert_eq!(end_of(pid), Exit::Signal { signal: libc::SIGKILL, core: false });
        reap(pid);
        kill(pidfd.as_fd());
    }
}

fn is_open(fd: RawFd) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()
}

fn inheritable_null() -> RawFd {
    use std::os::fd::IntoRawFd;
    rustix::io::dup(std::fs::File::open("/dev/null").unwrap()).unwrap().into_raw_fd()
}

alone! {
    fn only_listed_descriptors_stay_open() {
        let fds: Vec<RawFd> = (0..20).map(|_| inheritable_null()).collect();
        keep_only(&[fds[11], 0, fds[4], fds[4], fds[5]]);
        let open: Vec<usize> = (0..20).filter(|&index| is_open(fds[index])).collect();
        assert_eq!(open, [4, 5, 11]);
        assert!((0..3).all(is_open), "standard streams are left alone");
        close_one_by_one(3, u32::try_from(fds[5]).unwrap());
        assert!(!is_open(fds[4]) && !is_open(fds[5]) && is_open(fds[11]));
        keep_only(&[]);
        assert!(!is_open(fds[11]));
    }
}

fn greeting() -> Stdio {
    let (ours, theirs) = Channel::pair().unwrap();
    ours.send(b"hello", &[]).unwrap();
    Stdio::from(theirs.into_fd())
}

alone! {
    fn the_socket_on_standard_input_is_taken(greeting()) {
        let socket = take_stdin_socket().unwrap();
        assert!(socket.as_raw_fd() > 2);
        let Received::Message { bytes, .. } = Channel::from_fd(socket).recv(0).unwrap() else {
            panic!("closed");
        };
        assert_eq!(bytes, b"hello");
        assert_eq!(io::stdin().read(&mut [0; 8]).unwrap(), 0, "/dev/null");
        assert!(take_stdin_socket().is_err());
    }
}

fn stream() -> Stdio {
    Stdio::from(OwnedFd::from(std::os::unix::net::UnixStream::pair().unwrap().0))
}

alone! {
    fn another_standard_input_is_left_alone(stream()) {
        assert!(take_stdin_socket().is_err());
        assert!(!std::fs::read_link("/proc/self/fd/0").unwrap().starts_with("/dev"));
    }
}

alone! {
    fn a_pipe_becomes_standard_error() {
        let (reader, writer) = pipe().unwrap();
        become_stderr(writer).unwrap();
        io::stderr().write_all(b"text").unwrap();
        assert_eq!(read_some(&reader, &mut [0; 8]), Some(4));
        crate::sys::pipe::forward_to_stderr(&vec![7; 1 << 20]);
        let mut total = 0;
        while let Some(count) = read_some(&reader, &mut [0; 4096]) {
            total += count;
        }
        assert_eq!(total, 64 << 10, "as much as the pipe takes, and no blocking");
    }
}

/// A line of this process's signal sets, without the two that belong to libc.
fn signals(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & !(bit(32) | bit(33))
}

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

alone! {
    fn signals_are_as_in_a_fresh_process() {
        extern "C" fn nothing(_: i32) {}
        let real_time = libc::SIGRTMIN() + 3;
        for number in [libc::SIGTERM, libc::SIGUSR1, real_time] {
            // SAFETY: the handler must be async-signal-safe — it does nothing.
            unsafe { libc::signal(number, nothing as *const () as usize) };
        }
        SigSet::all().thread_block().unwrap();
        reset_signals();
        assert_eq!(signals("SigBlk:"), 0);
        assert_eq!(signals("SigCgt:"), 0);
        assert_eq!(signals("SigIgn:"), bit(libc::SIGPIPE));
        ignore_terminal_signals();
        let terminal = [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];
        let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGPIPE];
        let ignored = terminal.into_iter().chain(stops).map(bit).sum::<u64>();
        assert_eq!(signals("SigIgn:"), ignored);
    }
}

alone! {
    fn the_marker_leaves_the_environment() {
        assert_eq!(thread_count().unwrap(), 1);
        remove_env(ALONE).unwrap();
        assert!(std::env::var_os(ALONE).is_none());
    }
}

alone! {
    fn the_oom_killer_is_pointed_here() {
        raise_oom_score(500);
        raise_oom_score(5000);
        let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_eq!(score.trim(), "1000");
    }
}
