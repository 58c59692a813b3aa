//! What counts as the same outcome.

use super::*;
use crate::stats::Outcome;

fn ended(outcome: Outcome, reply: impl Into<Option<&'static [u8]>>) -> Ended {
    Ended { outcome, reply: reply.into().map(<[u8]>::to_vec) }
}

fn replied(outcome: Outcome, reply: &'static [u8]) -> Ended {
    ended(outcome, reply)
}

#[test]
fn bytes_of_outputs_and_errors_are_compared_and_texts_are_not() {
    for outcome in [Outcome::Ok, Outcome::Failed] {
        let compared = |one, other| compare(&replied(outcome, one), &replied(outcome, other));
        assert_eq!(compared(b"abc", b"abc"), Verdict::Equal);
        assert_eq!(compared(b"", b""), Verdict::Equal);
        assert_eq!(compared(b"abc", b"aXc"), Verdict::Differ(Some(1)));
        assert_eq!(compared(b"abc", b"ab"), Verdict::Differ(Some(2)));
        assert_eq!(compared(b"", b"ab"), Verdict::Differ(Some(0)));
    }
    for outcome in [Outcome::Panicked, Outcome::Codec] {
        assert_eq!(compare(&replied(outcome, b"a"), &replied(outcome, b"b")), Verdict::Equal);
    }
}

#[test]
fn other_kinds_differ() {
    let ok = replied(Outcome::Ok, b"a");
    for other in [Outcome::Failed, Outcome::Panicked, Outcome::Codec, Outcome::Rejected] {
        assert_eq!(compare(&ok, &replied(other, b"a")), Verdict::Differ(None), "{other}");
    }
    assert_eq!(compare(&replied(Outcome::Failed, b"a"), &ok), Verdict::Differ(None));
    for other in [Outcome::Crashed, Outcome::TimedOut] {
        assert_eq!(compare(&ok, &ended(other, None)), Verdict::Differ(None), "{other}");
    }
}

#[test]
fn what_says_nothing_of_the_job_is_not_compared() {
    let ok = replied(Outcome::Ok, b"a");
    let stopped = [Outcome::Cancelled, Outcome::Lost, Outcome::Rejected];
    for other in stopped {
        assert_eq!(compare(&ok, &ended(other, None)), Verdict::NotCompared, "{other}");
    }
    let failed = replied(Outcome::Failed, b"a");
    assert_eq!(compare(&failed, &ended(Outcome::Crashed, None)), Verdict::NotCompared);
}

#[test]
fn audits_are_bounded_by_number_and_bytes() {
    let audits = Audits { is_on: true, ..Audits::default() };
    assert!(audits.enter(2 * BYTES_MAX), "a large one alone");
    assert!(!audits.enter(1));
    audits.leave(2 * BYTES_MAX, true);
    assert!((0..AUDITS_MAX).all(|_| audits.enter(1)));
    assert!(!audits.enter(1));
    audits.leave(1, true);
    assert!(audits.enter(1) && audits.begin(BYTES_MAX));
    audits.shadow_is_over();
    audits.leave(1 + BYTES_MAX, false);
    audits.wait();
    assert!(!audits.enter(1) && !audits.begin(1), "the engine ends");
    let state = audits.state.lock();
    assert_eq!((state.not_compared, state.passed_over), (1, 3));
    assert_eq!((state.audits, state.bytes), (AUDITS_MAX - 1, AUDITS_MAX as u64 - 1));
}
