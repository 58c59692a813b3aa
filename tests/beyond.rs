//! Tests that need a build of their own, so that one command passes all there are: the crate that
//! knows the public API only, and the protocols under the model checker.

use std::path::Path;
use std::process::Command;

/// Cargo, in the workspace, with a target directory of its own beside that of this test.
fn cargo(target: &str, arguments: &[&str]) -> Command {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).expect("TARGET/PROFILE/deps/test").join(target);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).arg("--target-dir").arg(target);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    // What the outer cargo set for its own tests.
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("CARGO_PKG_")) {
        command.env_remove(key);
    }
    command
}

fn passes(mut command: Command) {
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "{command:?}: {status}");
}

#[test]
fn a_crate_beyond_the_workspace_lives_by_the_public_api() {
    let manifest = "tests/outside/Cargo.toml";
    passes(cargo("outside", &["test", "--locked", "--all-targets", "--manifest-path", manifest]));
}

#[test]
fn lanes_and_doorbells_pass_the_model_checker() {
    let test = ["test", "--locked", "--release", "-p", "amphi-protocol", "--test", "loom"];
    let mut command = cargo("loom", &test);
    command.env("RUSTFLAGS", "--cfg amphi_loom");
    passes(command);
}
