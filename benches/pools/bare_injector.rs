//! The floor of a thread pool: threads that take words from crossbeam's injector and answer over its
//! channel, asleep where there are none. No handles, no outcomes, no boxes.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread::{self, JoinHandle, Thread};

use bytes::Bytes;
use crossbeam::channel::{Receiver, Sender, unbounded};
use crossbeam::deque::{Injector, Steal};

use super::{System, Wait};

pub(crate) const NAME: &str = "bare crossbeam injector";

/// Looks of a thread before it sleeps: as many as amphi's.
const LOOKS: u32 = 200;

#[derive(Default)]
struct Shared {
    words: Injector<u64>,
    awake: AtomicUsize,
    is_over: AtomicBool,
}

pub(crate) struct Bare {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    next: usize,
    answers: Receiver<u64>,
}

pub(crate) fn start(cores: usize) -> Result<Bare, Box<dyn Error>> {
    let shared = Arc::new(Shared { awake: AtomicUsize::new(cores), ..Shared::default() });
    let (sender, answers) = unbounded();
    let one = |index| {
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        let name = format!("bare-{index}");
        thread::Builder::new().name(name).spawn(move || serve(&shared, &sender))
    };
    let threads = (0..cores).map(one).collect::<Result<_, _>>()?;
    Ok(Bare { shared, threads, next: 0, answers })
}

fn serve(shared: &Shared, answers: &Sender<u64>) {
    let mut looks = 0;
    while !shared.is_over.load(Ordering::Relaxed) {
        match shared.words.steal() {
            Steal::Success(word) => {
                looks = 0;
                // Nobody is left to hear it when the bench ends.
                let _ = answers.send(word);
            }
            Steal::Retry => {}
            Steal::Empty if looks < LOOKS => {
                looks += 1;
                std::hint::spin_loop();
            }
            Steal::Empty => {
                shared.awake.fetch_sub(1, Ordering::Relaxed);
                // Pairs with the fence in `submit`: the push is seen here, or this thread asleep
                // there. An unpark that comes first is kept for the park.
                fence(Ordering::SeqCst);
                if shared.words.is_empty() && !shared.is_over.load(Ordering::Relaxed) {
                    thread::park();
                }
                shared.awake.fetch_add(1, Ordering::Relaxed);
                looks = 0;
            }
        }
    }
}

impl Bare {
    fn thread(&self, index: usize) -> &Thread {
        self.threads[index].thread()
    }
}

impl System for Bare {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes_bytes(&self) -> bool {
        false
    }

    fn call(&mut self, x: u64) -> u64 {
        self.submit(x);
        self.answers.recv().expect("the threads live")
    }

    fn call_bytes(&mut self, _payload: &Bytes) -> Bytes {
        unreachable!("it takes none")
    }

    fn submit(&mut self, x: u64) {
        self.shared.words.push(x);
        fence(Ordering::SeqCst); // pairs with the one in `serve`
        if self.shared.awake.load(Ordering::Relaxed) == 0 {
            self.next = (self.next + 1) % self.threads.len();
            self.thread(self.next).unpark();
        }
    }

    fn harvest(&mut self, wait: Wait) -> Option<u64> {
        match wait {
            Wait::Poll => self.answers.try_recv().ok(),
            Wait::Until(time) => self.answers.recv_deadline(time).ok(),
            Wait::Forever => self.answers.recv().ok(),
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
