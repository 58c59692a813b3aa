//! The messages that a task emitted and nobody has read yet: a bounded queue, made when the first
//! one comes or somebody asks for them.
//!
//! A message is the same bytes in every placement: `0`, its type's name, its encoding; or `1` and
//! the reason why it could not be encoded.
//!
//! # Invariants
//! 1. At most [`MESSAGES_MAX`] messages and [`BYTES_MAX`] bytes are kept; the oldest give way to
//!    the newest and are counted.
//! 2. A receiver registers under the lock under which messages come and the box is closed, so that
//!    no wake is lost. It is woken without that lock.
//! 3. The box is closed by the task's outcome, behind the last message.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use amphi_protocol::EMITTED_BYTES_MAX;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Waiter;
use crate::beside;
use crate::error::Error;
use crate::job::{self, panic_message};

/// So many messages are kept for whoever asks for them.
const MESSAGES_MAX: usize = 1024;

/// So many bytes of messages are.
const BYTES_MAX: usize = 4 << 20;

const VALUE: u8 = 0;
const NOT_ENCODED: u8 = 1;

/// A message's bytes.
pub(crate) fn encode<M: Serialize + 'static>(message: &M) -> Vec<u8> {
    let name = std::any::type_name::<M>();
    let mut letter = Vec::with_capacity(name.len() + 32);
    letter.push(VALUE);
    let value = |letter: &mut Vec<u8>| beside::alone(|| job::encode(message, letter));
    let done = job::encode(&name, &mut letter).and_then(|()| value(&mut letter));
    if let Err(error) = done {
        let why = beside::take_why();
        letter.clear();
        letter.push(NOT_ENCODED);
        letter.extend_from_slice(format!("a {name} could not be encoded: {error}{why}").as_bytes());
    }
    letter
}

/// The message that was encoded, if it is an `M`.
pub(super) fn decode<M: DeserializeOwned + 'static>(letter: &[u8]) -> Result<M, Error> {
    let wanted = std::any::type_name::<M>();
    match letter.split_first() {
        Some((&VALUE, rest)) => match postcard::take_from_bytes::<&str>(rest) {
            Ok((name, bytes)) if name == wanted => {
                // Deserialize is user code over bytes that a worker wrote.
                let decoded = catch_unwind(AssertUnwindSafe(|| job::decode(bytes)));
                decoded.map_or_else(
                    |panic| {
                        let text = panic_message(panic);
                        Err(Error::new(format!("decoding a {name} panicked: {text}")))
                    },
                    |decoded| {
                        decoded.map_err(|error| {
                            Error::from(error).context(format!("a {name} could not be decoded"))
                        })
                    },
                )
            }
            Ok((name, _)) => Err(Error::new(format!(
                "the message is a {name}, not a {wanted}; ask for the type that the job emits"
            ))),
            Err(error) => Err(Error::from(error).context("the message has no type")),
        },
        Some((&NOT_ENCODED, text)) => Err(Error::new(String::from_utf8_lossy(text))),
        _ => Err(Error::new("the message is none that a job emits")),
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    letters: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: u64,
    is_closed: bool,
    /// Receivers that were made, to tell them apart.
    receivers: u64,
    /// Who waits, each for his receiver.
    waiters: Vec<(u64, Waiter)>,
}

/// Receivers to wake, without any lock.
#[must_use = "they sleep on otherwise"]
pub(crate) struct Wakes(Vec<(u64, Waiter)>);

impl Wakes {
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(|(_, waiter)| waiter.wake());
    }
}

impl Mailbox {
    /// Adds a message.
    pub(crate) fn put(&self, letter: Vec<u8>) -> Wakes {
        let mut inner = self.inner.lock();
        if inner.is_closed || letter.len() > EMITTED_BYTES_MAX {
            inner.dropped += 1;
            return Wakes(Vec::new());
        }
        inner.bytes += letter.len();
        inner.letters.push_back(letter);
        while inner.letters.len() > MESSAGES_MAX || inner.bytes > BYTES_MAX {
            let oldest = inner.letters.pop_front().map_or(0, |letter| letter.len());
            inner.bytes -= oldest;
            inner.dropped += 1;
        }
        Wakes(std::mem::take(&mut inner.waiters))
    }

    /// So many were dropped on their way here.
    pub(crate) fn add_dropped(&self, count: u64) {
        let mut inner = self.inner.lock();
        inner.dropped = inner.dropped.saturating_add(count);
    }

    /// The task has its outcome.
    pub(super) fn close(&self) -> Wakes {
        let mut inner = self.inner.lock();
        inner.is_closed = true;
        Wakes(std::mem::take(&mut inner.waiters))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }

    /// The oldest message.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let mut inner = self.inner.lock();
        let letter = inner.letters.pop_front()?;
        inner.bytes -= letter.len();
        Some(letter)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().letters.is_empty()
    }

    /// The number of one more receiver.
    pub(super) fn join(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.receivers += 1;
        inner.receivers
    }

    /// Registers who is woken for `receiver`, in place of whoever was; false: look first.
    pub(super) fn wake_by(&self, receiver: u64, waiter: Waiter) -> bool {
        let mut inner = self.inner.lock();
        if inner.is_closed || !inner.letters.is_empty() {
            return false;
        }
        let before = inner.waiters.iter().position(|(number, _)| *number == receiver);
        let before = before.map(|index| inner.waiters.swap_remove(index));
        inner.waiters.push((receiver, waiter));
        drop(inner);
        drop(before); // a waker's Drop is user code
        true
    }

    /// The receiver is gone.
    pub(super) fn leave(&self, receiver: u64) {
        let mut inner = self.inner.lock();
        let index = inner.waiters.iter().position(|(number, _)| *number == receiver);
        let waiter = index.map(|index| inner.waiters.swap_remove(index));
        drop(inner);
        drop(waiter); // a waker's Drop is user code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_within_both_bounds_and_the_others_counted() {
        let mailbox = Mailbox::default();
        for number in 0..MESSAGES_MAX as u32 + 10 {
            mailbox.put(number.to_le_bytes().to_vec()).wake();
        }
        assert_eq!(mailbox.dropped(), 10);
        assert_eq!(mailbox.take(), Some(10_u32.to_le_bytes().to_vec()));
        mailbox.put(vec![0; EMITTED_BYTES_MAX + 1]).wake();
        assert_eq!(mailbox.dropped(), 11, "too long");
        for _ in 0..5 {
            mailbox.put(vec![7; 1 << 20]).wake();
        }
        let kept: Vec<usize> = std::iter::from_fn(|| mailbox.take()).map(|l| l.len()).collect();
        assert_eq!(kept, [1 << 20; 4]);
        assert_eq!(mailbox.dropped(), 11 + MESSAGES_MAX as u64 - 1 + 10 + 1 - 10);
        mailbox.close().wake();
        mailbox.put(vec![1]).wake();
        assert_eq!(mailbox.take(), None, "nothing comes behind the outcome");
    }

    #[test]
    fn a_message_is_what_it_was_or_an_error_that_says_why() {
        let letter = encode(&(7_u8, "seven".to_owned()));
        assert_eq!(decode::<(u8, String)>(&letter), Ok((7, "seven".to_owned())));
        let wrong = decode::<u64>(&letter).unwrap_err().to_string();
        assert!(wrong.contains("is a (u8, alloc::string::String), not a u64"), "{wrong}");
        for len in 0..letter.len() {
            decode::<(u8, String)>(&letter[..len]).expect_err("cut short");
        }
        decode::<u64>(&[9, 9, 9]).expect_err("noise");
        assert_eq!(decode::<u64>(&[NOT_ENCODED, b'n', b'o']).unwrap_err().to_string(), "no");
    }
}
