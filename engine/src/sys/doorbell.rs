//! Waking and being woken: the futex of a lane, a worker's bell, the supervisor's epoll and alarm.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// The half of a state word that the kernel compares.
fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let first: *const AtomicU32 = std::ptr::from_ref(word).cast();
    let index = if cfg!(target_endian = "little") { 0 } else { 1 };
    const { assert!(size_of::<AtomicU64>() == 2 * size_of::<AtomicU32>()) };
    // SAFETY: the result must stay within the word — it is one of its two halves.
    let half = unsafe { first.add(index) };
    // SAFETY: the memory must be valid and aligned for the reference's life — it is part of
    // `word`. Nobody loads or stores through it: only its address goes to the kernel.
    unsafe { &*half }
}

/// Sleeps while the word's low half is `expected`; wakes early for many reasons, so look again.
/// The futex is a shared one: its waker may be another process.
pub(crate) fn futex_wait(word: &AtomicU64, expected: u32) {
    // EAGAIN: it has changed already. EINTR: a signal. Both: look again.
    let _ = futex::wait(low_half(word), futex::Flags::empty(), expected, None);
}

/// Wakes whoever sleeps on the word.
pub(crate) fn futex_wake(word: &AtomicU64) {
    let _ = futex::wake(low_half(word), futex::Flags::empty(), 1);
}

/// An eventfd that is rung by one process and listened to by another, who never reads it.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Rings. A full counter has rung already.
    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a descriptor is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Every new event, once.
    Edge,
    /// While there is something to read.
    Level,
}

/// An epoll set.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Edge => epoll::EventFlags::IN | epoll::EventFlags::ET,
            Interest::Level => epoll::EventFlags::IN,
        };
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags)?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Sleeps until something happens; the tokens of what did.
    pub(crate) fn wait(&self, tokens: &mut Vec<u64>) -> io::Result<()> {
        tokens.clear();
        let mut events = Vec::<epoll::Event>::with_capacity(64);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) => tokens.extend(events.iter().map(|event| event.data.u64())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// A timer that can be set from any thread without waking the one that waits.
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Goes off at `at` of the clock's time; `None`: not at all.
    pub(crate) fn set(&self, at: Option<Duration>) {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = at.map_or(none, |at| Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            // A zero value would disarm.
            tv_nsec: i64::from(at.subsec_nanos()).max(1),
        });
        let timer = Itimerspec { it_interval: none, it_value: value };
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &timer);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
#[path = "tests/doorbell.rs"]
mod tests;
