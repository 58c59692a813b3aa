//! Tests that change their process for good, or fork it: each runs in a process of its own, this
//! test binary executed again and taken over before `main`, as a forkserver is.

use std::process::{Command, Stdio};

use super::process::exit_now;

/// Names in a child the test it is to run.
pub(crate) const ALONE: &str = "AMPHI_TEST_ALONE";
/// How a child ends whose test has passed, and no other process does.
const PASSED: i32 = 42;

/// Makes a test of a function whose body runs alone, with `stdin` as its standard input.
macro_rules! alone {
    (fn $name:ident() $body:block) => {
        alone!(fn $name(std::process::Stdio::null()) $body);
    };
    (fn $name:ident($stdin:expr) $body:block) => {
        #[test]
        fn $name() {
            const NAME: &str = concat!(module_path!(), "::", stringify!($name));
            extern "C" fn enter() {
                $crate::sys::alone::enter(NAME, || $body);
            }
            #[used]
            #[unsafe(link_section = ".init_array")]
            static ENTRY: extern "C" fn() = enter;
            $crate::sys::alone::run(NAME, $stdin);
        }
    };
}

/// In the child of this name, runs the body and ends. A panic aborts, since it cannot unwind out
/// of a constructor.
pub(crate) fn enter(name: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some_and(|wanted| wanted == name) {
        body();
        exit_now(PASSED);
    }
}

/// Runs the child of this name.
pub(crate) fn run(name: &str, stdin: Stdio) {
    let mut command = Command::new("/proc/self/exe");
    let output = command.env(ALONE, name).stdin(stdin).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(PASSED), "{text}");
}
