//! Peer: an echo process over `ipc-channel`. One typed channel each way for words, one byte channel
//! each way for payloads (which are not serialised at all), a thread of the echo for each.

use std::error::Error;
use std::hint;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, bytes_channel,
    channel,
};
use serde::{Deserialize, Serialize};

use super::roles::Peer;
use super::{System, Wait};

pub(crate) const NAME: &str = "ipc-channel echo";
pub(crate) const ROLE: &str = "ipc-echo";

/// What the echo process hands to the bench.
#[derive(Serialize, Deserialize)]
struct Ends {
    words: (IpcSender<u64>, IpcReceiver<u64>),
    bytes: (IpcBytesSender, IpcBytesReceiver),
}

pub(crate) struct Echo {
    ends: Ends,
    _peer: Peer,
}

pub(crate) fn start() -> Result<Echo, Box<dyn Error>> {
    let (server, address) = IpcOneShotServer::<Ends>::new()?;
    let peer = Peer::start(ROLE, &address, Stdio::null())?;
    let (_, ends) = server.accept()?;
    Ok(Echo { ends, _peer: peer })
}

/// The other process: sends everything back until the bench is gone.
pub(crate) fn serve(address: String) {
    let (to_echo, words) = channel().expect("a socket pair");
    let (answers, from_echo) = channel().expect("a socket pair");
    let (bytes_to_echo, bytes) = bytes_channel().expect("a socket pair");
    let (byte_answers, bytes_from_echo) = bytes_channel().expect("a socket pair");
    let ends = Ends { words: (to_echo, from_echo), bytes: (bytes_to_echo, bytes_from_echo) };
    let bench = IpcSender::connect(address).expect("the bench listens");
    bench.send(ends).expect("the bench accepts");
    thread::spawn(move || {
        while let Ok(payload) = bytes.recv() {
            if byte_answers.send(&payload).is_err() {
                break;
            }
        }
    });
    while let Ok(x) = words.recv() {
        if answers.send(x).is_err() {
            break;
        }
    }
}

impl System for Echo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn call(&mut self, x: u64) -> u64 {
        self.submit(x);
        self.ends.words.1.recv().expect("the echo lives")
    }

    fn call_bytes(&mut self, payload: &Bytes) -> Bytes {
        self.ends.bytes.0.send(payload).expect("the echo lives");
        self.ends.bytes.1.recv().expect("the echo lives").into()
    }

    fn submit(&mut self, x: u64) {
        self.ends.words.0.send(x).expect("the echo lives");
    }

    /// The library's limited wait counts whole milliseconds; the rest of the time is polled.
    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        loop {
            let Some(left) = wait.left() else {
                return Some(self.ends.words.1.recv().expect("the echo lives"));
            };
            let whole = Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            let answer = if whole.is_zero() {
                self.ends.words.1.try_recv()
            } else {
                self.ends.words.1.try_recv_timeout(whole)
            };
            if answer.is_ok() || left.is_zero() {
                return answer.ok();
            }
            hint::spin_loop();
        }
    }
}
