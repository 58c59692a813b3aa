use std::hint::black_box;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const BYTES: usize = 16 << 20;

fn large_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

fn pattern(at: usize) -> u8 {
    (at / 4096 * 31 + at % 251).to_le_bytes()[0]
}

alone! {
    fn pages_that_are_there_become_large_and_keep_what_they_hold() {
        // What a kernel without large pages, or without free ones, does is nothing at all: one page is
        // asked for by hand, to know which kernel this is.
        let probe: Vec<u8> = black_box(vec![1; BYTES]);
        let begun = large_kib();
        let can = large_page_bytes().is_some_and(|large| {
            let start = probe.as_ptr().addr().next_multiple_of(large);
            gather(start, large) && large_kib() > begun
        });
        let held: Vec<u8> = black_box((0..BYTES).map(pattern).collect());
        let before = large_kib();
        gather_pages(PATIENCE);
        assert!(held.iter().enumerate().all(|(at, &byte)| byte == pattern(at)));
        assert!(probe.iter().all(|&byte| byte == 1));
        let gathered = large_kib() - before;
        assert!(gathered <= 2 * (BYTES as u64 >> 10), "{gathered} KiB");
        if can {
            // More than the probe's own.
            assert!(gathered >= BYTES as u64 >> 10, "{gathered} KiB of large pages");
        } else {
            eprintln!("this kernel gathers no pages, or has them large already");
        }
    }
}

alone! {
    fn pages_that_nobody_has_touched_are_not_made() {
        let mut reserved = Vec::<u8>::with_capacity(BYTES);
        reserved.extend((0..BYTES / 4).map(pattern));
        let before = crate::sys::process::resident_bytes();
        gather_pages(PATIENCE);
        let after = crate::sys::process::resident_bytes();
        assert!(after < before + (1 << 20), "{before} {after}");
        assert!(black_box(reserved).iter().enumerate().all(|(at, &byte)| byte == pattern(at)));
    }
}

#[test]
fn only_private_memory_of_no_file_is_a_heap() {
    let is_heap = |line| heap(line).is_some();
    assert_eq!(heap("7f00-7f10 rw-p 00000000 00:00 0 "), Some(0x7f00..0x7f10));
    assert!(is_heap("5500-5510 rw-p 00000000 00:00 0                  [heap]"));
    assert!(is_heap("5500-5510 rw-p 00000000 00:00 0                  [anon: arena]"));
    for line in [
        "7ffc-7ffd rw-p 00000000 00:00 0                          [stack]",
        "7f00-7f10 r--p 00000000 00:00 0 ",
        "7f00-7f10 rw-s 00000000 00:01 1034                       /memfd:a (deleted)",
        "7f00-7f10 rw-p 00001000 08:01 77                         /usr/lib/libc.so.6",
        "",
        "7f00 rw-p",
    ] {
        assert!(!is_heap(line), "{line}");
    }
}

#[test]
fn the_addresses_of_a_vector_are_resident_once_it_was_written_to() {
    let held = black_box(vec![1_u8; 1 << 20]);
    let page = rustix::param::page_size();
    let start = held.as_ptr().addr().next_multiple_of(page);
    let pagemap = File::open("/proc/self/pagemap").unwrap();
    assert!(is_resident(&pagemap, start..start + (1 << 19)));
    assert!(!is_resident(&pagemap, 0..page), "nothing is mapped at zero");
    assert!(gather(0, 0), "an empty range is nothing to refuse");
}
