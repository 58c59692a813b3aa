//! [`Messages`]: what receives the messages of a running job.

use std::fmt;
use std::future::poll_fn;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::mail::{self, Mailbox};
use super::{AnyTask, Core, Port, Task, Waiter};
use crate::error::Error;
use crate::sys::clock;

/// What a job told by [`Ctx::emit`](crate::Ctx::emit), in its order: an `Iterator`, whose `next`
/// **blocks**, and a `Stream` for any async runtime. Made by [`Task::messages`].
///
/// Both end when the task has its outcome and everything before it was read. An item that is not
/// an `M`, or cannot be decoded, is an `Err`, and the next one may be well.
///
/// Several receivers of one task share its messages: each goes to one of them. From async code use
/// [`next_async`](Self::next_async), or the adaptors of a `StreamExt`; where that trait is in scope
/// `messages.next()` is ambiguous, because `Iterator` has one, too.
///
/// ```no_run
/// # fn index(folder: String) -> Result<u64, amphi::Error> { Ok(folder.len() as u64) }
/// # fn example(engine: amphi::Engine) -> Result<(), amphi::Error> {
/// let task = engine.call(index, "photos".to_string()); // it does cx.emit(&file), a String
/// for file in task.messages::<String>() {
///     println!("{}", file?);
/// }
/// println!("{} files", task.join()?);
/// # Ok(())
/// # }
/// ```
#[must_use = "messages are kept for whoever reads them"]
pub struct Messages<M> {
    mailbox: Arc<Mailbox>,
    task: Arc<dyn AnyTask>,
    port: Arc<dyn Port>,
    /// Which receiver of the task this is.
    number: u64,
    item: PhantomData<fn() -> M>,
}

enum Look {
    Letter(Vec<u8>),
    Nothing,
    End,
}

impl<T: 'static, E: 'static> Task<T, E> {
    /// What the job tells by [`Ctx::emit`](crate::Ctx::emit), while it runs and afterwards, as `M`s.
    ///
    /// Messages are kept from the task's start, for whoever asks first: 1024 of them and 4 MiB,
    /// then the oldest are dropped and [counted](Messages::dropped). They outlive the handle, but
    /// dropping that cancels the task. A job in a worker hears nothing of tasks that it has the host
    /// run for it (as of their progress); of those that run beside it, it does.
    ///
    /// ```no_run
    /// # async fn example(task: amphi::Task<(), amphi::Error>) -> Result<(), amphi::Error> {
    /// let mut lines = task.messages::<String>();
    /// while let Some(line) = lines.next_async().await {
    ///     println!("{}", line?);
    /// }
    /// task.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn messages<M: DeserializeOwned + 'static>(&self) -> Messages<M> {
        let mailbox = self.cell.mailbox();
        let number = mailbox.join();
        let (task, port) = (self.shared(), Arc::clone(&self.port));
        Messages { mailbox, task, port, number, item: PhantomData }
    }
}

impl<M> Messages<M> {
    /// Messages of the task that nobody can read any more: they found no room here or on their way
    /// out of the worker, or were longer than 1 MiB.
    pub fn dropped(&self) -> u64 {
        self.port.refresh(self.core());
        self.mailbox.dropped()
    }

    /// True once the task has its outcome and no message is left.
    pub fn is_finished(&self) -> bool {
        // In this order: what was emitted before the outcome is there when the outcome is.
        self.core().is_settled() && self.mailbox.is_empty()
    }

    fn core(&self) -> &Core {
        self.task.core()
    }

    fn look(&self) -> Look {
        let is_settled = self.core().is_settled(); // in the order of `is_finished`
        match self.mailbox.take() {
            Some(letter) => Look::Letter(letter),
            None if is_settled => Look::End,
            None => Look::Nothing,
        }
    }

    /// **Blocks** until a message is there, there will be none, or it is `deadline`.
    fn wait(&self, deadline: Option<Duration>) -> Option<Vec<u8>> {
        let (mut has_asked, mut has_helped) = (false, deadline.is_some());
        loop {
            match self.look() {
                Look::Letter(letter) => return Some(letter),
                Look::End => return None,
                // A worker's messages may lie in its ring; the bell for them is on its way.
                Look::Nothing if !has_asked => {
                    self.port.refresh(self.core());
                    has_asked = true;
                    continue;
                }
                Look::Nothing => {}
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(clock::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            // A job is perhaps the only one who could run the task. Anybody else leaves it to the
            // engine: what runs here is read afterwards only.
            if !has_helped && self.core().is_waiting() && self.port.is_in_job() {
                has_helped = true;
                self.port.help(self.core(), &|| Arc::clone(&self.task), None);
                continue;
            }
            if self.mailbox.wake_by(self.number, Waiter::Thread(std::thread::current())) {
                self.port.while_waiting(&mut || match left {
                    None => std::thread::park(),
                    Some(left) => std::thread::park_timeout(left),
                });
            }
        }
    }
}

impl<M: DeserializeOwned + 'static> Messages<M> {
    /// **Blocks** like `next`, for at most `timeout`. `None`: no message came in that time, or
    /// there will be none, as [`is_finished`](Self::is_finished) tells.
    ///
    /// ```no_run
    /// # fn example(task: amphi::Task<(), amphi::Error>) {
    /// let mut lines = task.messages::<String>();
    /// while !lines.is_finished() {
    ///     match lines.next_timeout(std::time::Duration::from_secs(1)) {
    ///         Some(Ok(line)) => println!("{line}"),
    ///         Some(Err(error)) => eprintln!("{error}"),
    ///         None => println!("still at it"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<M, Error>> {
        let deadline = clock::now().saturating_add(timeout);
        self.wait(Some(deadline)).map(|letter| mail::decode(&letter))
    }

    /// The next message, or `None` when there will be none, without blocking the thread.
    pub async fn next_async(&mut self) -> Option<Result<M, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<M: DeserializeOwned + 'static> Iterator for Messages<M> {
    type Item = Result<M, Error>;

    /// **Blocks** until the job tells something, or the task has its outcome. Inside a job it may
    /// run the task on the calling thread first.
    fn next(&mut self) -> Option<Self::Item> {
        self.wait(None).map(|letter| mail::decode(&letter))
    }
}

impl<M: DeserializeOwned + 'static> FusedIterator for Messages<M> {}

impl<M: DeserializeOwned + 'static> Stream for Messages<M> {
    type Item = Result<M, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut has_asked = false;
        loop {
            match self.look() {
                Look::Letter(letter) => return Poll::Ready(Some(mail::decode(&letter))),
                Look::End => return Poll::Ready(None),
                Look::Nothing if !has_asked => {
                    self.port.refresh(self.core());
                    has_asked = true;
                }
                Look::Nothing => {
                    if self.mailbox.wake_by(self.number, Waiter::Waker(cx.waker().clone())) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<M> Drop for Messages<M> {
    fn drop(&mut self) {
        self.mailbox.leave(self.number);
    }
}

impl<M> fmt::Debug for Messages<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("job", &self.core().plan.name).finish_non_exhaustive()
    }
}
