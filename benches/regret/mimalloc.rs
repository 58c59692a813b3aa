//! The bench `regret` once more, with mimalloc as the allocator of every process: much of what
//! threads lose to processes they lose in the allocator, so the answer is one for each.
//!
//! `cargo bench -p amphi-benches --bench regret_mimalloc [-- --quick]`

use std::process::ExitCode;

#[path = "main.rs"]
mod regret;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    regret::main()
}
