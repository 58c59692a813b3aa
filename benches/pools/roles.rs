//! This binary as somebody else: the second process of a system that is not a library's own.
//!
//! A child is the same program with [`ROLE`] in its environment. It dies with the thread that
//! started it, so a killed bench leaves nothing.

use std::env;
use std::io;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, set_parent_process_death_signal};

const ROLE: &str = "AMPHI_BENCH_ROLE";
const ARGUMENT: &str = "AMPHI_BENCH_ARGUMENT";

/// The name of a role, and what is done in it with the argument.
pub(crate) type Role = (&'static str, fn(String));

/// A child of ours; killed when dropped.
#[derive(Debug)]
pub(crate) struct Peer(Child);

impl Peer {
    /// Starts this binary in a role, with something as its standard input.
    pub(crate) fn start(role: &str, argument: &str, stdin: Stdio) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        assign(&mut command, role, argument);
        Ok(Self(command.stdin(stdin).spawn()?))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

/// Makes the role known to a process that a command will start.
pub(crate) fn assign(command: &mut Command, role: &str, argument: &str) {
    command.env(ROLE, role).env(ARGUMENT, argument);
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does the work of the role this process was started in; false: it is the bench itself.
pub(crate) fn take_over(roles: &[Role]) -> bool {
    let Ok(role) = env::var(ROLE) else { return false };
    let argument = env::var(ARGUMENT).unwrap_or_default();
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    match roles.iter().find(|(name, _)| *name == role) {
        Some((_, serve)) => serve(argument),
        None => panic!("{ROLE}={role} is no role of this bench"),
    }
    true
}
