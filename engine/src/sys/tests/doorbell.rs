use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::thread;

use super::*;
use crate::sys::clock;
use crate::sys::memory::{Access, Segment, seal_response};

/// The tokens of one wait.
fn next(reactor: &mut Reactor) -> Vec<u64> {
    let mut tokens = Vec::new();
    reactor.wait(&mut tokens).unwrap();
    tokens.sort_unstable();
    tokens
}

#[test]
fn a_word_that_has_changed_is_not_slept_on() {
    futex_wait(&AtomicU64::new(5), 4);
    // Only the low half counts.
    futex_wait(&AtomicU64::new(4 << 32), 4);
}

#[test]
fn a_sleeper_is_woken_through_another_mapping() {
    let (mine, fd) = Segment::create("test", 4096, 4096).unwrap();
    seal_response(&fd).unwrap();
    let theirs = Segment::map(fd.as_fd(), 4096, Access::ReadWrite).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let sleeper = thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        let word = &theirs.words(64..72)[0];
        // Acquire pairs with the Release store below.
        while word.load(Ordering::Acquire) == 0 {
            futex_wait(word, 0);
        }
        word.load(Ordering::Relaxed)
    });
    // Asleep, most likely on the word; if not, the change is seen instead.
    let stat = format!("/proc/self/task/{}/stat", told.recv().unwrap());
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
        assert!(std::time::Instant::now() < deadline, "the thread falls asleep");
        thread::yield_now();
    }
    let word = &mine.words(64..72)[0];
    word.store((7 << 32) | 1, Ordering::Release); // pairs with the Acquire load above
    futex_wake(word);
    assert_eq!(sleeper.join().unwrap(), (7 << 32) | 1);
}

#[test]
fn a_bell_that_is_never_read_rings_again() {
    let (mut reactor, bell) = (Reactor::new().unwrap(), Bell::new().unwrap());
    reactor.add(&bell, 7, Interest::Edge).unwrap();
    for _ in 0..3 {
        bell.ring();
        assert_eq!(next(&mut reactor), [7]);
    }
}

#[test]
fn a_full_bell_does_not_block_its_ringer() {
    let (mut reactor, bell) = (Reactor::new().unwrap(), Bell::new().unwrap());
    reactor.add(&bell, 7, Interest::Edge).unwrap();
    rustix::io::write(&bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    bell.ring();
    assert_eq!(next(&mut reactor), [7]);
}

#[test]
fn a_level_is_reported_until_it_is_read_and_a_removed_bell_never() {
    let mut reactor = Reactor::new().unwrap();
    let (level, removed) = (Bell::new().unwrap(), Bell::new().unwrap());
    reactor.add(&level, 1, Interest::Level).unwrap();
    reactor.add(&removed, 2, Interest::Edge).unwrap();
    reactor.remove(&removed);
    level.ring();
    removed.ring();
    assert_eq!(next(&mut reactor), [1]);
    assert_eq!(next(&mut reactor), [1]);
}

#[test]
fn an_alarm_goes_off_again_and_again() {
    let (mut reactor, alarm) = (Reactor::new().unwrap(), Alarm::new().unwrap());
    reactor.add(&alarm, 9, Interest::Edge).unwrap();
    // In the past, at no time at all, and in a moment.
    let soon = clock::now() + Duration::from_millis(2);
    for at in [clock::now(), Duration::ZERO, soon] {
        alarm.set(Some(at));
        assert_eq!(next(&mut reactor), [9]);
    }
    assert!(clock::now() >= soon);
}

#[test]
fn a_disarmed_alarm_is_silent() {
    let mut reactor = Reactor::new().unwrap();
    let (silent, other) = (Alarm::new().unwrap(), Alarm::new().unwrap());
    reactor.add(&silent, 1, Interest::Edge).unwrap();
    reactor.add(&other, 2, Interest::Edge).unwrap();
    let now = clock::now();
    silent.set(Some(now + Duration::from_millis(5)));
    silent.set(None);
    other.set(Some(now + Duration::from_millis(15)));
    assert_eq!(next(&mut reactor), [2]);
}
