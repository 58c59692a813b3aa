use std::io::{Read, Write, pipe};

use amphi_protocol::FILES_MAX;

use super::*;
use crate::beside::{Beside, collecting, knowing, take_why};

/// A pipe's write end, and whoever sees that it is closed.
fn end() -> (io::PipeReader, Fd) {
    let (reader, writer) = pipe().unwrap();
    (reader, Fd::from(OwnedFd::from(writer)))
}

fn is_closed(mut reader: io::PipeReader) -> bool {
    reader.read(&mut [0; 1]).unwrap() == 0
}

#[test]
fn the_last_clone_closes_it() {
    let (reader, fd) = end();
    let other = fd.clone();
    drop(fd);
    rustix::io::write(&other, b"x").unwrap();
    drop(other);
    let mut rest = String::new();
    (&reader).read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "x");
}

#[test]
fn the_descriptor_is_given_up_alone_and_copied_where_it_is_shared() {
    let (reader, fd) = end();
    let number = fd.as_fd().as_raw_fd();
    assert_eq!(format!("{fd:?}"), format!("Fd({number})"));
    let other = fd.clone();
    let fd = fd.try_into_owned().expect_err("there are two");
    let copy = fd.into_owned().unwrap();
    assert_ne!(copy.as_raw_fd(), number);
    let own = other.try_into_owned().expect("it is the last");
    assert_eq!(own.as_raw_fd(), number);
    drop(own);
    File::from(copy).write_all(b"x").unwrap();
    assert!(!is_closed(reader), "what was written comes first");
}

#[test]
fn other_serialisers_refuse_it_and_say_why() {
    let (_reader, fd) = end();
    postcard::to_allocvec(&fd).expect_err("nobody collects");
    assert!(take_why().contains("input and the output of a job"));
    postcard::from_bytes::<Fd>(&[0]).expect_err("nobody knows");
}

#[test]
fn an_encoding_names_each_open_file_once_and_finds_it_again() {
    let (reader, fd) = end();
    let (_, other) = end();
    let value = (fd.clone(), Some(other), vec![fd]);
    let (encoded, beside) = collecting(|| postcard::to_allocvec(&value).unwrap());
    assert_eq!(encoded, [0, 1, 1, 1, 0]);
    assert_eq!(beside.files.len(), 2);
    drop(value);
    let decode = || postcard::from_bytes::<(Fd, Option<Fd>, Vec<Fd>)>(&encoded).unwrap();
    let (first, second, rest) = knowing(beside, decode);
    assert!(first.is_same(&rest[0]) && !first.is_same(&second.unwrap()));
    drop(rest);
    drop(first.try_into_owned().expect("nobody else has it"));
    assert!(is_closed(reader));
}

#[test]
fn more_than_fit_one_message_are_an_error() {
    let fds: Vec<Fd> = (0..=FILES_MAX).map(|_| end().1).collect();
    let (encoded, beside) = collecting(|| postcard::to_allocvec(&fds[1..]));
    encoded.unwrap();
    assert_eq!(beside.files.len(), FILES_MAX);
    let (encoded, _) = collecting(|| postcard::to_allocvec(&fds));
    encoded.expect_err("one too many");
    let why = take_why();
    assert!(why.contains(&format!("than the {FILES_MAX} ")) && why.contains("split"), "{why}");
    assert_eq!(take_why(), "", "it is told once");
}

#[test]
fn places_that_no_file_has_are_errors() {
    let (reader, fd) = end();
    let known = Beside { files: vec![fd], ..Beside::default() };
    for place in [1, 7, u32::MAX] {
        let bytes = postcard::to_allocvec(&place).unwrap();
        knowing(known.clone(), || postcard::from_bytes::<Fd>(&bytes)).expect_err("there is one");
        assert!(take_why().contains("did not come"));
    }
    drop(known);
    assert!(is_closed(reader));
}
