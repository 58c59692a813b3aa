//! A binary without `amphi::app!` (this one, and one that is run): its engine does not start and
//! says what to add.

#![forbid(unsafe_code)]

use std::process::Command;

#[test]
fn this_binary_is_told_what_to_add() {
    let error = outside::app().engine().start().unwrap_err();
    assert!(error.is_no_app(), "{error}");
    assert!(error.to_string().contains("amphi::app!"), "{error}");
}

#[test]
fn a_program_is_told_what_to_add() {
    let output = Command::new(env!("CARGO_BIN_EXE_no_app")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("amphi::app!"), "{text}");
}
