//! The program from a shell: what it says, how it ends, and how it runs benches.

use std::fs;
use std::io::pipe;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use amphi_benches::{Row, json as file};

use crate::fixture::{self, Room, report, run};

#[track_caller]
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(output.stdout.is_empty());
    assert!(!told.contains("panicked") && !told.contains('\x1b'), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} is not in {told:?}");
    }
}

#[test]
fn bad_input_says_what_is_wrong_and_what_to_do() {
    let measure = "cargo bench -p amphi-benches --bench dispatch -- --quick";
    let room = Room::new();
    let from = |path: PathBuf| report().arg("--from").arg(path).output().unwrap();
    assert_fails(&from(room.path().join("none")), 1, &["none does not exist", measure]);
    assert_fails(&from(room.file("file", "")), 1, &["file is no directory", "give the one"]);
    assert_fails(&run(&room), 1, &["holds no .json file", measure]);
    for (text, words) in [
        ("", &["bad.json is not the JSON", "run that bench again"][..]),
        ("[{\"value\": NaN}]", &["bad.json is not the JSON", "line 1 column"]),
        ("[{\"value\": 1e999}]", &["number out of range"]),
        ("{}", &["an object and not an array", "move the file away"]),
        ("[7]", &["bad.json, row 1: it is a number"]),
        ("[{\"value\": null}]", &["row 1: \"value\" is null (NaN", "run that bench again"]),
        (
            "[{\"system\": \"s\", \"case\": \"c\", \"metric\": \"m\", \"value\": 1}]",
            &["no \"unit\""],
        ),
        ("[]", &["not one figure", measure]),
        ("[{\"system\": \"machine\"}]", &["not one figure", measure]),
    ] {
        room.file("bad.json", text);
        assert_fails(&run(&room), 1, words);
        assert!(!room.path().join("out/index.html").exists(), "{text}");
    }
    for name in ["bad.json", "old.json"] {
        room.file(name, &file::text(&fixture::dispatch()));
    }
    assert_fails(&run(&room), 1, &["old.json holds rows of the bench dispatch", "move one"]);
}

#[test]
fn what_cannot_be_written_is_said() {
    let room = Room::with(&[("dispatch", fixture::dispatch())]);
    let file = room.file("occupied", "");
    let command = |out: PathBuf| {
        report().arg("--from").arg(room.path()).arg("--out").arg(out).output().unwrap()
    };
    assert_fails(&command(file), 1, &["cannot be written", "another directory with --out"]);
}

#[test]
fn usage_is_as_everywhere() {
    let help = report().arg("--help").output().unwrap();
    let told = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success());
    for word in ["--from <DIR>", "--out <DIR>", "Exit codes"] {
        assert!(told.contains(word), "{word} is not in {told}");
    }
    let wrong = report().arg("--form").output().unwrap();
    assert_fails(&wrong, 2, &["--form", "--help"]);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let room = Room::with(&[("dispatch", fixture::dispatch())]);
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = report();
    command.arg("--from").arg(room.path()).arg("--out").arg(room.path().join("out"));
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output);
    assert!(room.path().join("out/report.md").exists());
}

/// A cargo that knows three benches of the list and a foreign one. `dispatch` writes rows, `memory`
/// fails, `respawn` writes nothing.
const CARGO: &str = r#"#!/bin/sh
case $1 in
metadata)
    printf '{"packages":[{"name":"other","targets":[]},{"name":"amphi-benches","targets":['
    for bench in dispatch memory respawn zebra; do
        printf '{"name":"%s","kind":["bench"]},' $bench
    done
    printf '{"name":"report","kind":["bin"]}]}]}' ;;
bench)
    echo "this is the bench $5, called with $9"
    case $5 in
    dispatch) cp "$ROWS" "$7/amphi-bench/dispatch.json" ;;
    memory) exit 3 ;;
    esac ;;
esac
"#;

/// The program in a target directory of its own, where it finds what benches write.
fn away(room: &Room) -> Command {
    let program = room.path().join("target/release/report");
    if !program.exists() {
        fs::create_dir_all(room.path().join("target/release")).unwrap();
        fs::create_dir_all(room.path().join("target/amphi-bench")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_report"), &program).unwrap();
    }
    let cargo = room.file("cargo", CARGO);
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("CARGO", cargo);
    command
}

#[test]
fn benches_are_run_and_those_that_fail_or_lack_are_said() {
    let room = Room::new();
    let rows = room.file("rows", &file::text(&fixture::dispatch()));
    // Of an earlier run: these must not be taken for rows of a bench that failed.
    let old = [Row::new("memory", "old", "c", "rss", 1.0, "KiB")];
    room.file("target/amphi-bench/memory.json", &file::text(&old));
    let output = away(&room).env("ROWS", rows).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(!told.contains('\x1b') && !told.contains('\r'), "no bar in a pipe: {told:?}");
    for word in [
        "dispatch: 0 s",
        "payload: left out, this package has no bench payload",
        "memory: it failed (exit status: 3): see",
        "respawn: it wrote no",
        "zebra: not run",
    ] {
        assert!(told.contains(word), "{word:?} is not in {told}");
    }
    let out = room.path().join("target/amphi-report");
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.contains("amphi processes") && !page.contains(">old<"));
    assert!(page.contains("No figures: it failed (exit status: 3)"));
    let missing = "No figures: this package has no bench payload. When that is mended, ";
    assert!(page.contains(missing));
    assert_eq!(page.matches("has no bench crossover").count(), 1, "it is said once");
    let log = fs::read_to_string(out.join("log/dispatch.txt")).unwrap();
    assert_eq!(log, "this is the bench dispatch, called with --quick\n");
}

#[test]
fn without_any_rows_there_is_no_report() {
    let room = Room::new();
    // `cp` has nothing to copy: every bench fails.
    let output = away(&room).output().unwrap();
    assert_fails(&output, 1, &["not one bench has written rows", "log has what they said"]);
    let output = away(&room).env("CARGO", room.path().join("no-cargo")).output().unwrap();
    assert_fails(&output, 1, &["no-cargo cannot be started", "--from DIR"]);
}
