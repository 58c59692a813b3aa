use std::io::{Read, Write};

use super::filling::SHARED_FROM;
use super::*;
use crate::beside::{collecting, knowing};

const LONG: usize = 2 * SHARED_FROM;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn it_holds_what_was_written_however_it_was_made() {
    for len in [0, 1, SHARED_FROM - 1, SHARED_FROM, LONG + 1] {
        let bytes = pattern(len);
        assert_eq!(Blob::copy_of(&bytes), bytes);
        assert_eq!(Blob::from(bytes.clone()), bytes);
        let mut filling = BlobMut::with_capacity(0);
        bytes.chunks(1000).for_each(|chunk| filling.write_all(chunk).unwrap());
        assert_eq!(filling.freeze(), bytes);
        let mut zeroed = BlobMut::zeroed(len);
        assert!(zeroed.iter().all(|byte| *byte == 0));
        zeroed.copy_from_slice(&bytes);
        zeroed.resize(len + 3);
        assert_eq!(zeroed[len..], [0; 3]);
        zeroed.resize(len);
        assert_eq!(zeroed.freeze(), bytes);
        let all: Bytes = Blob::copy_of(&bytes).into();
        assert_eq!(all, bytes);
    }
}

#[test]
fn zeroed_memory_is_zero_also_where_an_earlier_blob_lay() {
    for _ in 0..4 {
        let mut filling = BlobMut::zeroed(LONG);
        assert!(filling.iter().all(|byte| *byte == 0));
        filling.fill(7);
        drop(filling.freeze());
    }
}

#[test]
fn parts_share_its_memory_and_outlive_it() {
    let bytes = pattern(LONG);
    let blob = Blob::copy_of(&bytes);
    let (head, tail) = (blob.slice(..10), blob.slice(LONG - 5..));
    assert!(std::ptr::eq(&raw const blob[0], &raw const head[0]));
    assert_eq!(head.slice(2..=3), bytes[2..4]);
    drop(blob);
    // Memory that is still read is not written again.
    let _other = BlobMut::zeroed(LONG).freeze();
    assert_eq!((&head[..], &tail[..]), (&bytes[..10], &bytes[LONG - 5..]));
    assert!(head.slice(10..).is_empty());
}

#[test]
#[should_panic(expected = "no part of 3 bytes")]
fn a_part_beyond_its_end_panics() {
    let _ = Blob::copy_of(b"abc").slice(2..4);
}

#[test]
fn a_file_and_a_pipe_are_read_to_their_end() {
    let bytes = pattern(3 * LONG + 17);
    let (mut read, mut write) = std::io::pipe().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || write.write_all(&sent));
    let fd = std::os::fd::OwnedFd::from(read.by_ref().try_clone().unwrap());
    drop(read);
    assert_eq!(BlobMut::read_from(fd).unwrap().freeze(), bytes);
    writer.join().unwrap().unwrap();
}

#[test]
fn blocks_are_all_of_it_in_pieces_of_one_length() {
    let bytes = pattern(LONG + 5);
    for len in [1000, LONG, LONG + 5, 2 * LONG] {
        let blocks: Vec<Blob> = Blocks::of(&bytes[..], len).map(Result::unwrap).collect();
        assert!(blocks[..blocks.len() - 1].iter().all(|block| block.len() == len));
        let all: Vec<u8> = blocks.iter().flat_map(|block| block.to_vec()).collect();
        assert_eq!(all, bytes);
    }
    assert_eq!(Blocks::of(&[][..], 10).count(), 0);
}

#[test]
fn any_other_serialiser_sees_bytes() {
    let bytes = pattern(LONG);
    let encoded = postcard::to_allocvec(&Blob::copy_of(&bytes)).unwrap();
    assert!(encoded.len() > LONG);
    assert_eq!(postcard::from_bytes::<Blob>(&encoded).unwrap(), bytes);
}

#[test]
fn a_task_s_encoding_names_its_memory_once_and_finds_it_again() {
    let bytes = pattern(LONG);
    let blob = Blob::copy_of(&bytes);
    let value = (blob.clone(), blob.slice(3..9), Blob::copy_of(b"short"));
    let (encoded, beside) = collecting(|| postcard::to_allocvec(&value).unwrap());
    assert!(encoded.len() < 100, "{} bytes", encoded.len());
    assert_eq!(beside.regions.len(), 1);
    let (all, part, short): (Blob, Blob, Blob) =
        knowing(beside, || postcard::from_bytes(&encoded).unwrap());
    assert_eq!((&all[..], &part[..], &short[..]), (&bytes[..], &bytes[3..9], &b"short"[..]));
    assert!(std::ptr::eq(&raw const all[0], &raw const blob[0]), "no copy");
}

#[test]
fn names_of_memory_that_is_not_there_and_parts_beyond_it_are_errors() {
    let (_, beside) = collecting(|| postcard::to_allocvec(&Blob::copy_of(&pattern(LONG))));
    let name = |id: u64, start: u64, len: u64| {
        postcard::to_allocvec(&Form::Region { id, start, len }).unwrap()
    };
    let id = beside.regions[0].id();
    let all = beside.regions[0].bytes().len() as u64;
    for bad in [
        name(u64::MAX, 0, 1),
        name(id, 0, all + 1),
        name(id, all + 1, 0),
        name(id, 1, all),
        name(id, u64::MAX, u64::MAX),
    ] {
        knowing(beside.clone(), || {
            postcard::from_bytes::<Blob>(&bad).expect_err("it lies nowhere")
        });
    }
    let whole = knowing(beside, || postcard::from_bytes::<Blob>(&name(id, 0, all)).unwrap());
    assert_eq!(whole.len() as u64, all);
}
