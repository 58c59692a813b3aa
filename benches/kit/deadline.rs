//! An end for waits that have none: a slice of a system whose calls cannot be limited.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Does `work` on this thread. If it is not done after `limit`, the whole bench ends with a text
/// that names `what`: nobody can end a call that hangs, and a figure taken beside one is none.
pub fn within<T>(limit: Duration, what: &str, work: impl FnOnce() -> T) -> T {
    let (alive, ended) = channel::<()>();
    let text = format!("{what} is not done after {} s: this bench ends", limit.as_secs_f64());
    let guard = thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            end(&text);
        }
    });
    let result = work();
    drop(alive);
    let _ = guard.join(); // it does nothing any more, not even within the next figure
    result
}

/// Children of a bench end with it: by the end of their standard input, or by their parent's death.
#[expect(clippy::exit, reason = "the thread that hangs cannot be made to return")]
fn end(text: &str) {
    eprintln!("\n{text}");
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const HANG: &str = "AMPHI_BENCH_HANG";

    #[test]
    fn work_in_time_comes_back() {
        assert_eq!(within(Duration::from_secs(60), "nothing", || 7), 7);
    }

    #[test]
    fn work_that_hangs_ends_the_process() {
        if std::env::var_os(HANG).is_some() {
            within(Duration::from_millis(1), "a test", || {
                loop {
                    thread::park();
                }
            });
        }
        let own = std::env::current_exe().unwrap();
        let output = Command::new(own)
            .args(["--exact", "--nocapture", "deadline::tests::work_that_hangs_ends_the_process"])
            .env(HANG, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains("a test is not done"), "{text}");
    }
}
