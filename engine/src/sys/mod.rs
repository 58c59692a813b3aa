//! The kernel boundary: the only place with `unsafe`, with syscalls, and with a clock.
//!
//! Every function here is safe to call: preconditions are types. What each call is for, and what
//! happens when the kernel says no:
//!
//! | call | for | EINTR, EAGAIN, ENOMEM |
//! |---|---|---|
//! | memfd_create, ftruncate, fallocate, fcntl(seals), mmap, madvise | lanes, large payloads, blobs | error to the caller; populating is best effort |
//! | madvise(COLLAPSE) | large pages for what was preloaded | best effort: pages stay small |
//! | futex (shared) | waking a parked worker | EINTR and EAGAIN: the caller looks again |
//! | eventfd, epoll, timerfd | the supervisor's bells and alarm | EINTR: an empty round; a full eventfd has rung already |
//! | socketpair, sendmsg, recvmsg, recv | control messages and descriptors | EINTR: again; EAGAIN: `Empty`, or an error to the sender; EMFILE: `Short`; ECONNRESET: once more, then `Closed` |
//! | pipe2, read, poll, write(2) | a worker's standard error | EINTR: again; EAGAIN: later, or dropped |
//! | posix_spawn (std) | the forkserver | error to the caller |
//! | fork | workers, in the forkserver only | EAGAIN, ENOMEM: reported to the host, tried again later |
//! | pidfd_open, pidfd_send_signal, waitid, kill(-group) | death, exit status, killing | ESRCH: it is dead already |
//! | prctl(PDEATHSIG), setpgid, rlimits, sigaction, close_range, poll | a worker's first acts | error ends the worker |

#![expect(unsafe_code, reason = "the kernel boundary")]

#[cfg(all(test, target_os = "linux"))]
#[macro_use]
#[path = "tests/alone.rs"]
mod alone;

pub(crate) mod borrow;
pub(crate) mod clock;
pub(crate) mod copies;
mod entry;

#[cfg(target_os = "linux")]
pub(crate) mod doorbell;
#[cfg(target_os = "linux")]
pub(crate) mod large;
#[cfg(target_os = "linux")]
pub(crate) mod memory;
#[cfg(target_os = "linux")]
pub(crate) mod pipe;
#[cfg(target_os = "linux")]
pub(crate) mod process;
#[cfg(target_os = "linux")]
pub(crate) mod region;
#[cfg(target_os = "linux")]
pub(crate) mod rlimit;
#[cfg(target_os = "linux")]
pub(crate) mod socket;
