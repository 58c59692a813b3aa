//! The lane's protocols under loom: every interleaving of a few steps, within a bound, and every
//! value that a weak memory may show.
//!
//! `RUSTFLAGS="--cfg amphi_loom" cargo test -p amphi-protocol --test loom --release`
//!
//! A lost wake-up is a deadlock here, which loom reports. The lane is as built (8 slots) and used
//! two deep; slots used again are reached by publications taken back before the worker starts.
//! Loom treats SeqCst accesses as AcqRel, so the protocols rest on RMWs and SeqCst fences only.
//! The last tests break a protocol on purpose, to prove that the model sees it.

#![cfg(amphi_loom)]

mod batch;
mod broken;
mod lane;

use amphi_protocol::{Event, Grant, GrantAnswer, RSP_ARENA_OFFSET, SLOTS};
use loom::sync::Arc;
use loom::thread;

use self::lane::{Lane, PREEMPTIONS, check, is_input, is_reply};

/// Host → worker: a worker that parks hears of every publication, and sees its bytes.
#[test]
fn parked_doorbell_loses_no_wake() {
    check(PREEMPTIONS, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            for expected in 1..=2_u64 {
                let claimed = other.claim(&mut worker);
                assert_eq!(claimed.seq, expected);
                assert!(is_input(&claimed, &[expected as u8; 8]));
                other.finish(&mut worker, claimed.seq, &[]);
            }
        });
        lane.publish(&mut host, &[1; 8]);
        lane.publish(&mut host, &[2; 8]);
        worker.join().unwrap();
        assert!(is_reply(&lane.poll(&mut host).unwrap(), 1, &[]));
        assert!(is_reply(&lane.poll(&mut host).unwrap(), 2, &[]));
    });
}

/// As before, with slots that were used: the worker parks on a word that says REVOKED, or has to
/// jump because its slot went on without it.
#[test]
fn parked_doorbell_on_slots_used_again() {
    for used in [SLOTS - 1, SLOTS, SLOTS + 1] {
        check(2, move || {
            let (lane, mut host, mut worker) = Lane::new().pair();
            lane.use_up(&mut host, used);
            let other = Arc::clone(&lane);
            let worker = thread::spawn(move || other.claim(&mut worker).seq);
            let seq = lane.publish(&mut host, &[]);
            assert_eq!(worker.join().unwrap(), seq);
        });
    }
}

/// Worker → host: one bell may speak for several replies, long after them, and may be forgiven
/// where the host has harvested already.
#[test]
fn delayed_bell_loses_no_reply() {
    for forgive in [false, true] {
        check(PREEMPTIONS, move || {
            let (lane, mut host, mut worker) = Lane::new().pair();
            lane.publish(&mut host, &[]);
            lane.publish(&mut host, &[]);
            let other = Arc::clone(&lane);
            let worker = thread::spawn(move || {
                for _ in 0..2 {
                    let claimed = other.next(&mut worker).expect("it was published before");
                    other.finish(&mut worker, claimed.seq, &[claimed.seq as u8; 8]);
                }
                // W1 to W3, once for both.
                let owed = !(forgive && worker.is_harvested(other.req()));
                if owed && worker.must_ring(other.req()) {
                    other.ring();
                }
            });
            let mut heard = 0;
            for seq in 1..=2 {
                assert!(is_reply(&lane.harvest(&mut host, &mut heard), seq, &[seq as u8; 8]));
            }
            worker.join().unwrap();
        });
    }
}

/// As before, with a bell after each reply: the second must not be taken for rung by the first.
#[test]
fn one_bell_an_epoch_loses_no_reply() {
    check(PREEMPTIONS, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        lane.publish(&mut host, &[]);
        lane.publish(&mut host, &[]);
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                let claimed = other.next(&mut worker).expect("it was published before");
                other.finish(&mut worker, claimed.seq, &[]);
                if worker.must_ring(other.req()) {
                    other.ring();
                }
            }
        });
        let mut heard = 0;
        for seq in 1..=2 {
            assert!(is_reply(&lane.harvest(&mut host, &mut heard), seq, &[]));
        }
        worker.join().unwrap();
    });
}

/// A waiter disarms, looks for a while, and leaves by arming and one more poll.
#[test]
fn a_poller_that_leaves_loses_no_reply() {
    check(PREEMPTIONS, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        lane.publish(&mut host, &[]);
        host.arm(lane.req());
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            let claimed = other.next(&mut worker).expect("it was published before");
            other.finish(&mut worker, claimed.seq, &[]);
            if worker.must_ring(other.req()) {
                other.ring();
            }
        });
        host.disarm(lane.req());
        let mut event = lane.poll(&mut host);
        if event.is_none() {
            host.arm(lane.req());
            event = lane.poll(&mut host);
        }
        // A bell of the first sleep may still be heard: it only makes the host look once more.
        let event = event.unwrap_or_else(|| lane.harvest(&mut host, &mut 0));
        assert!(is_reply(&event, 1, &[]));
        worker.join().unwrap();
    });
}

/// Claim against revoke: exactly one of them gets the task, and a slot taken back is written again
/// at once without the worker seeing anything of it.
#[test]
fn a_task_is_claimed_or_taken_back() {
    check(PREEMPTIONS, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        lane.use_up(&mut host, SLOTS - 2);
        let first = lane.publish(&mut host, &[1; 8]);
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            let claimed = other.next(&mut worker);
            if let Some(claimed) = &claimed {
                assert!(is_input(claimed, &[claimed.seq as u8; 8]) || claimed.seq == first);
                other.finish(&mut worker, claimed.seq, &[]);
            }
            claimed.map(|claimed| claimed.seq)
        });
        let revoked = host.revoke(lane.rsp(), first).unwrap();
        let second = revoked.then(|| lane.publish(&mut host, &[first as u8 + 1; 8]));
        let claimed = worker.join().unwrap();
        match second {
            None => assert_eq!(claimed, Some(first)),
            Some(second) => assert!(claimed.is_none() || claimed == Some(second)),
        }
    });
}

/// A publication owes its wake even if the task is taken back at once: otherwise the worker would
/// sleep on a slot that no later publication touches.
#[test]
fn a_wake_that_is_owed_is_paid_for_a_task_taken_back() {
    check(PREEMPTIONS, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || other.claim(&mut worker).seq);
        let first = lane.publish(&mut host, &[]);
        let expected = match host.revoke(lane.rsp(), first) {
            Ok(true) => lane.publish(&mut host, &[]),
            _ => first,
        };
        assert_eq!(worker.join().unwrap(), expected);
    });
}

/// Both doorbells at once: a wish for room is heard, and so is its answer.
#[test]
fn a_wish_for_room_is_heard_and_answered() {
    check(2, || {
        let (lane, mut host, mut worker) = Lane::new().pair();
        lane.publish(&mut host, &[]);
        let other = Arc::clone(&lane);
        let worker = thread::spawn(move || {
            let seq = other.next(&mut worker).expect("it was published before").seq;
            worker.need_space(other.rsp(), seq, 1000);
            if worker.must_ring(other.req()) {
                other.ring();
            }
            let answer = loop {
                if let Some(answer) = worker.granted(other.req(), other.rsp(), seq) {
                    break answer;
                }
                if let Some(park) = worker.park_for_grant(other.rsp(), seq) {
                    other.wait(park);
                }
            };
            other.finish(&mut worker, seq, &[]);
            answer
        });
        let Event::NeedSpace { seq, len: 1000 } = lane.harvest(&mut host, &mut 0) else {
            panic!("a wish for 1000 bytes was expected");
        };
        let grant = Grant { offset: RSP_ARENA_OFFSET as u64, capacity: 1024 };
        let answer = GrantAnswer::Block(grant);
        if host.grant(lane.req(), lane.rsp(), seq, answer).unwrap() {
            lane.wake();
        }
        assert_eq!(worker.join().unwrap(), answer);
        assert!(is_reply(&lane.poll(&mut host).unwrap(), 1, &[]));
    });
}
