//! What a worker says on its socket, taken in by the host.
//!
//! # Invariants
//! 1. A message that is not expected, or that comes with more or fewer descriptors than it says, ends
//!    the worker. Whatever came with it is closed.

use std::os::fd::OwnedFd;

use amphi_protocol::{FromWorker, decode};

use super::children::{CHILD_FILES_MAX, CHILDREN_MAX};
use super::link::Link;
use crate::sys::socket::{DESCRIPTORS_MAX, Received};

/// No honest worker has more messages under way: one for each slot, and what its socket's buffer
/// holds of tasks that it submits, refilled while they are read.
const MESSAGES_MAX: usize = 1 << 14;

impl Link {
    /// Reads what came on the worker's socket. True: it has become READY.
    pub(super) fn read_socket(&mut self) -> bool {
        let was_ready = self.said_ready;
        self.read_messages();
        self.said_ready && !was_ready
    }

    fn read_messages(&mut self) {
        for _ in 0..MESSAGES_MAX {
            if self.broken.is_some() {
                return;
            }
            let (bytes, fds) = match self.socket.try_recv(DESCRIPTORS_MAX) {
                Ok(Received::Message { bytes, fds }) => (bytes, Some(fds)),
                Ok(Received::Short { bytes }) => (bytes, None),
                Ok(Received::Empty | Received::Closed) => return,
                Err(error) => return self.break_off(format!("its socket: {error}")),
            };
            let decoded = decode::<FromWorker>(&bytes)
                .and_then(|message| message.descriptors().map(|count| (message, count)));
            match (decoded, fds) {
                (Err(violation), _) => self.break_off(violation.to_string()),
                (Ok((message, _)), None) => self.take_short(message),
                (Ok((message, count)), Some(fds)) if count == fds.len() => {
                    self.take_message(message, fds);
                }
                (Ok(_), Some(_)) => {
                    self.break_off("it sent other descriptors than its message says".to_owned());
                }
            }
        }
        self.break_off("it sent more messages than it has tasks".to_owned());
    }

    fn take_message(&mut self, message: FromWorker, mut fds: Vec<OwnedFd>) {
        match message {
            FromWorker::Ready { pid } if !self.said_ready => {
                // The forkserver's word (with the pidfd) may come later.
                self.pid.get_or_insert(pid);
                self.said_ready = true;
            }
            message @ (FromWorker::Submit { .. } | FromWorker::Stop { .. })
                if self.has_room_for_requests() =>
            {
                self.push_request(message, Some(fds));
            }
            FromWorker::Waits(waits) => self.waits = waits,
            FromWorker::Grown { .. } => self.worn = true,
            FromWorker::Failed { message, .. } => self.start_failure = Some(message),
            FromWorker::Blob { key, blob, len } if self.holds(key) => {
                fds.pop().into_iter().for_each(|fd| self.take_blob(key, blob, fd, len));
            }
            FromWorker::Files { key, .. } if self.holds(key) => self.take_files(key, Some(fds)),
            FromWorker::Returns { key, blob } if self.holds(key) => self.take_back_blob(key, blob),
            FromWorker::Forgot { blob } => self.holding.forgot(blob),
            FromWorker::Payload { seq, .. }
                if self.flight(seq).is_some() && !self.payloads.contains_key(&seq) =>
            {
                self.payloads.extend(fds.pop().map(|fd| (seq, fd)));
            }
            _ => self.break_off("it sent a message nobody expected".to_owned()),
        }
    }

    /// This process has no room for the descriptors of a message: what they were for fails, and
    /// nothing else.
    fn take_short(&mut self, message: FromWorker) {
        match message {
            FromWorker::Files { key, .. } if self.holds(key) => self.take_files(key, None),
            FromWorker::Submit { .. } if self.has_room_for_requests() => {
                self.push_request(message, None);
            }
            // Missed when the output is decoded.
            FromWorker::Blob { key, .. } if self.holds(key) => {}
            _ => self.break_off("the descriptors of its message could not be had".to_owned()),
        }
    }

    /// Files beyond the bound are closed, and their task is refused.
    fn push_request(&mut self, message: FromWorker, fds: Option<Vec<OwnedFd>>) {
        let files = files_of(&message);
        let fds = fds.filter(|_| self.child_files + files <= CHILD_FILES_MAX);
        self.child_files += if fds.is_some() { files } else { 0 };
        self.requests.push((message, fds));
    }

    fn has_room_for_requests(&self) -> bool {
        self.requests.len() + self.children.len() < CHILDREN_MAX
    }
}

/// How many open files the input of a submitted task names.
fn files_of(message: &FromWorker) -> usize {
    if let FromWorker::Submit { files, .. } = message { usize::from(*files) } else { 0 }
}
