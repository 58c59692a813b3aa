//! The examples do what their first lines and the README say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use amphi_tests::example;

fn output_of(name: &str) -> String {
    let output = Command::new(example(name)).stderr(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A text with every number left out: process ids differ.
fn without_numbers(text: &str) -> String {
    text.split(|letter: char| letter.is_ascii_digit()).filter(|part| !part.is_empty()).collect()
}

#[test]
fn crash_prints_what_the_readme_shows() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
    let readme = readme.unwrap();
    let (_, shown) = readme.split_once("--example crash\n").expect("the README runs it");
    let (shown, _) = shown.split_once("```").unwrap();
    assert_eq!(without_numbers(&output_of("crash")), without_numbers(shown));
}

#[test]
fn hello_is_greeted_from_another_process() {
    let said = output_of("hello");
    let pids: Vec<u32> = said
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    assert_eq!(pids.len(), 2, "{said}");
    assert_ne!(pids[0], pids[1], "{said}");
}

#[test]
fn mixed_loses_the_risky_tasks_alone() {
    let said = output_of("mixed");
    for expected in [
        "seventeen 9 letters",
        "cat.png: decoded in process",
        "hostile.png: the worker that ran the task was ended by SIGABRT",
        "endless.png: the task ran into kill_after",
        "dog.png: decoded in process",
        "17 letters in all",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn schedule_times_each_place_and_says_why() {
    let said = output_of("schedule");
    let starts = |start: &str| said.lines().filter(|line| line.starts_with(start)).count();
    for place in ["thread ", "process ", "auto "] {
        assert_eq!(starts(place), 1, "{place}: {said}");
    }
    assert_eq!((starts("plain/16 B → "), starts("legacy/16 B → ")), (1, 1), "{said}");
}

#[test]
fn axum_offload_answers_and_survives_its_parser() {
    let mut service = Command::new(example("axum_offload"))
        .arg("0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let ask = |path: &str, body: &[u8]| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: \
             {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    };
    assert!(ask("/lines", b"one\ntwo\n").ends_with("\r\n\r\n2\n"));
    let crashed = ask("/lines", b"\0");
    assert!(crashed.starts_with("HTTP/1.1 500") && crashed.contains("SIGABRT"), "{crashed}");
    assert!(ask("/lines", b"\xff").starts_with("HTTP/1.1 422"));
    assert!(ask("/hash", b"correct horse").starts_with("HTTP/1.1 200"));
    service.kill().unwrap();
    service.wait().unwrap();
}
