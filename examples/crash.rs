//! A segmentation fault in a worker is one typed outcome; the host goes on.
//!
//! Run: `cargo run --release --example crash`. You should see one task crash by SIGSEGV, and the
//! tasks before and after it succeed in the same program.

use amphi::{App, Ctx, Error, Job, Spec, TaskError};
use serde::{Deserialize, Serialize};

amphi::app!(app);

fn app() -> App {
    App::new().job::<Parse>()
}

/// Stands for a call into native code that some input crashes.
#[derive(Serialize, Deserialize)]
struct Parse {
    input: String,
}

impl Job for Parse {
    type Output = usize;
    type Error = Error;

    fn name() -> &'static str {
        "parse"
    }

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<usize, Error> {
        if self.input.contains('\0') {
            // A real segmentation fault, in safe code: the stack runs into its guard page.
            return Ok(recurse_for_ever(0));
        }
        Ok(self.input.len())
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse_for_ever(depth: usize) -> usize {
    recurse_for_ever(std::hint::black_box(depth) + 1) + 1
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = app().engine().start()?;
    for input in ["good input", "bad\0input", "good input again"] {
        let task = engine.try_submit(Parse { input: input.to_owned() })?;
        match task.join() {
            Ok(length) => println!("{input:?}: {length} bytes"),
            Err(error @ TaskError::Crashed { signal, .. }) => {
                println!("{input:?}: crashed, signal {signal:?}");
                println!("  {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    println!("the host (pid {}) is still here", std::process::id());
    Ok(())
}
