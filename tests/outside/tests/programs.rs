//! The crate's own programs, run as a person would run them.

#![forbid(unsafe_code)]

use std::process::{Command, Output};

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_plain_main_with_a_configuration() {
    let output = run(env!("CARGO_BIN_EXE_outside"), &["9"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let wanted = "checksum 532\nquotient 21\nthread: [10, 11, 12]\nprocess: [10, 11, 12]\n\
                  crashed by signal Some(6)\nstill here, 4 bytes\n";
    assert_eq!(text(&output.stdout), wanted);
}

#[test]
fn a_plain_main_with_a_wrong_argument() {
    let output = run(env!("CARGO_BIN_EXE_outside"), &["blue"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("blue"));
}

#[test]
fn a_tokio_main() {
    let output = run(env!("CARGO_BIN_EXE_tokio_main"), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "checksum 532, thumbnail b\"bc\"\n3 tasks\n");
}
