//! What a running job tells: the same messages in every placement.

use std::pin::Pin;
use std::time::Duration;

use amphi::{Bytes, Ctx, Engine, Error, Job, Placement, TaskError};
use amphi_tests::eventually;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::conformance::{EVERYWHERE, each};
use crate::jobs::{How, Oddity, app};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Emits what it says.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) enum Tell {
    /// The numbers up to this one.
    Numbers(u64),
    /// The same with a pause before each, and then it does not end before it is cancelled.
    Slowly(u64),
    /// So many bytes, then how many that were.
    Bytes(usize),
    /// A number, a text, what cannot be encoded, what cannot be decoded, a number.
    Odds,
    /// Three numbers and 300 KiB, and aborts.
    AndCrash,
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|index| (index % 251) as u8).collect()
}

impl Job for Tell {
    type Output = ();
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<(), Error> {
        match self {
            Self::Numbers(count) => (0..count).for_each(|number| cx.emit(&number)),
            Self::Slowly(count) => {
                for number in 0..count {
                    std::thread::park_timeout(Duration::from_millis(4));
                    cx.emit(&number);
                }
                loop {
                    cx.check()?;
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
            Self::Bytes(len) => {
                cx.emit(&pattern(len));
                cx.emit(&Bytes::from(len.to_string()));
            }
            Self::Odds => {
                cx.emit(&1_u64);
                cx.emit(&"two".to_owned());
                cx.emit(&Oddity { encode: How::Fails, decode: How::Well });
                cx.emit(&Oddity { encode: How::Well, decode: How::Panics });
                cx.emit(&5_u64);
            }
            Self::AndCrash => {
                cx.emit(&pattern(3));
                cx.emit(&pattern(300 << 10));
                std::process::abort();
            }
        }
        Ok(())
    }
}

/// Reads the messages of a job of its own while that runs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Relay;

impl Job for Relay {
    type Output = Vec<u64>;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<Vec<u64>, Error> {
        let task =
            cx.engine().try_submit(Tell::Numbers(100)).map_err(|full| Error::new(full.reason))?;
        let told = task.messages().collect::<Result<_, _>>()?;
        task.join()?;
        Ok(told)
    }
}

fn submit(engine: &Engine, job: Tell) -> amphi::Task<(), Error> {
    engine.try_submit(job).expect("the queue is long")
}

/// The task and all its messages, read when it had its outcome.
fn told_by(engine: &Engine, job: Tell) -> (amphi::Task<(), Error>, amphi::Messages<Bytes>) {
    let task = submit(engine, job);
    eventually("the outcome", || task.is_finished());
    let messages = task.messages();
    (task, messages)
}

#[test]
fn messages_arrive_in_order_while_the_job_runs() {
    each(|engine| {
        let task = submit(engine, Tell::Slowly(25));
        let mut messages = task.messages::<u64>();
        for number in 0..25 {
            assert_eq!(messages.next(), Some(Ok(number)), "nothing else wakes this thread");
        }
        assert!(!task.is_finished() && !messages.is_finished());
        assert_eq!(messages.next_timeout(Duration::from_millis(5)), None);
        task.cancel();
        assert_eq!(messages.next(), None);
        assert!(messages.is_finished());
        assert_eq!(task.join(), Err(TaskError::Cancelled));
    });
}

#[test]
fn every_message_is_there_after_the_outcome_for_who_comes_late() {
    each(|engine| {
        let task = submit(engine, Tell::Numbers(500));
        eventually("the outcome", || task.is_finished());
        let mut messages = task.messages::<u64>();
        assert!(!messages.is_finished());
        assert!(messages.by_ref().map(Result::unwrap).eq(0..500));
        assert_eq!((messages.next(), messages.dropped()), (None, 0));
        assert_eq!(task.messages::<u64>().next(), None, "each is read once");
        assert_eq!(task.join(), Ok(()));
    });
}

#[test]
fn beyond_the_bound_the_oldest_are_dropped_and_counted() {
    each(|engine| {
        let task = submit(engine, Tell::Numbers(3_000));
        eventually("the outcome", || task.is_finished());
        let messages = task.messages::<u64>();
        assert_eq!(messages.dropped(), 3_000 - 1024);
        assert!(messages.map(Result::unwrap).eq(3_000 - 1024..3_000));
    });
}

#[test]
fn messages_of_any_size_arrive_whole_and_too_long_ones_are_counted() {
    each(|engine| {
        for len in [0, 1, 2000, 2047, 2048, 4097, 300 << 10, 1_000_000] {
            let (_, messages) = told_by(engine, Tell::Bytes(len));
            assert_eq!(messages.dropped(), 0);
            let told: Vec<Bytes> = messages.map(Result::unwrap).collect();
            assert!(told == [pattern(len), Bytes::from(len.to_string())], "{len} bytes");
        }
        let (_, messages) = told_by(engine, Tell::Bytes(1 << 20));
        assert_eq!(messages.dropped(), 1);
        assert!(messages.map(Result::unwrap).eq([Bytes::from((1 << 20).to_string())]));
    });
}

#[test]
fn what_is_no_such_message_is_an_error_item() {
    each(|engine| {
        let task = submit(engine, Tell::Odds);
        let told: Vec<Result<u64, String>> =
            task.messages::<u64>().map(|item| item.map_err(|error| format!("{error:#}"))).collect();
        let [Ok(1), Err(text), Err(encode), Err(decode), Ok(5)] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(text.contains("String, not a u64"), "{text}");
        assert!(encode.contains("Oddity could not be encoded"), "{encode}");
        assert!(decode.contains("Oddity, not a u64"), "{decode}");
        assert_eq!(task.join(), Ok(()));

        let task = submit(engine, Tell::Odds);
        let last = task.messages::<Oddity>().nth(3).expect("five items");
        assert!(last.unwrap_err().to_string().contains("panicked: decoding panics"));
        assert_eq!(task.join(), Ok(()));
    });
}

#[test]
fn a_crash_keeps_what_was_emitted_before() {
    let engine = app().engine().place(Placement::Process).start().unwrap();
    let task = submit(&engine, Tell::AndCrash);
    let messages = task.messages::<Bytes>();
    assert!(matches!(task.join(), Err(TaskError::Crashed { .. })));
    let told: Vec<Bytes> = messages.map(Result::unwrap).collect();
    assert!(told == [pattern(3), pattern(300 << 10)]);
}

#[test]
fn receivers_share_the_messages_and_all_of_them_end() {
    each(|engine| {
        let task = submit(engine, Tell::Slowly(20));
        let (sender, told) = std::sync::mpsc::channel();
        let readers = [0; 3].map(|_| {
            let (messages, sender) = (task.messages::<u64>(), sender.clone());
            std::thread::spawn(move || {
                messages.for_each(|number| sender.send(number.unwrap()).unwrap());
            })
        });
        let mut told: Vec<u64> =
            (0..20).map(|_| told.recv_timeout(PATIENCE).expect("20 numbers")).collect();
        told.sort_unstable();
        assert!(told.into_iter().eq(0..20));
        drop(task);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_receiver_outlives_the_handle_whose_drop_cancels() {
    each(|engine| {
        let task = submit(engine, Tell::Slowly(2));
        let mut messages = task.messages::<u64>();
        assert_eq!(messages.next(), Some(Ok(0)));
        drop(task);
        assert!(messages.count() <= 1);
    });
}

#[test]
fn a_job_reads_the_messages_of_its_own_jobs() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).cores(1).start().unwrap();
        assert!(engine.run(Relay).unwrap().into_iter().eq(0..100), "{placement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_a_stream() {
    for placement in EVERYWHERE {
        let engine = app().engine().place(placement).start().unwrap();
        let task = submit(&engine, Tell::Slowly(10));
        let mut messages = task.messages::<u64>();
        let read = async {
            for number in 0..5 {
                assert_eq!(messages.next_async().await, Some(Ok(number)));
            }
            for number in 5..10 {
                let next = std::future::poll_fn(|cx| Pin::new(&mut messages).poll_next(cx)).await;
                assert_eq!(next, Some(Ok(number)));
            }
            task.cancel();
            assert_eq!(messages.next_async().await, None);
        };
        tokio::time::timeout(PATIENCE, read).await.expect("wakes come");
        assert_eq!(task.await, Err(TaskError::Cancelled));
    }
}
