//! Memory that host and workers share: the same bytes in every placement, without a copy, and never
//! written while anybody reads.

use std::collections::HashSet;
use std::sync::Mutex;

use amphi::{App, Blob, BlobMut, Blocks, Ctx, Engine, Error, Job, Placement, TaskError};
use amphi_tests::eventually;
use serde::{Deserialize, Serialize};

use crate::jobs::app;

const LEN: usize = 1 << 20;

pub(crate) fn jobs(app: App) -> App {
    app.job::<Invert>()
        .job::<Cut>()
        .job::<Keep>()
        .job::<Show>()
        .job::<Mapped>()
        .job::<Sum>()
        .job::<Reverse>()
        .job::<Ask>()
        .job::<Abort>()
}

/// A new blob in a worker's memory.
#[derive(Serialize, Deserialize, Clone)]
struct Invert(Blob);

fn invert(blob: &Blob) -> Blob {
    let mut filling = BlobMut::with_capacity(blob.len());
    filling.extend(blob.iter().map(|byte| !byte));
    filling.freeze()
}

impl Job for Invert {
    type Output = Blob;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Blob, Error> {
        Ok(invert(&self.0))
    }
}

/// A part of what it is given.
#[derive(Serialize, Deserialize)]
struct Cut(Blob, usize, usize);

impl Job for Cut {
    type Output = (Blob, u32);
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<(Blob, u32), Error> {
        Ok((self.0.slice(self.1..self.2), std::process::id()))
    }
}

static KEPT: Mutex<Option<Blob>> = Mutex::new(None);

/// Puts a blob into its process, and takes out what was there.
#[derive(Serialize, Deserialize)]
struct Keep(Option<Blob>);

impl Job for Keep {
    type Output = Option<Blob>;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Option<Blob>, Error> {
        Ok(std::mem::replace(&mut *KEPT.lock().unwrap(), self.0))
    }
}

/// What its process keeps; `None`: nothing, and it keeps a blob of its own from now on.
#[derive(Serialize, Deserialize, Clone, Copy)]
struct Show;

impl Job for Show {
    type Output = Option<Blob>;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Option<Blob>, Error> {
        let mut kept = KEPT.lock().unwrap();
        let shown = kept.clone();
        kept.get_or_insert_with(|| bytes(33, LEN));
        Ok(shown)
    }
}

/// How many blobs its process has mapped.
#[derive(Serialize, Deserialize)]
struct Mapped(Option<Blob>);

impl Job for Mapped {
    type Output = usize;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<usize, Error> {
        let sum: u64 =
            self.0.iter().flat_map(|blob| blob.iter()).map(|byte| u64::from(*byte)).sum();
        std::hint::black_box(sum);
        Ok(mapped())
    }
}

fn mapped() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:amphi-blob")).count()
}

#[derive(Serialize, Deserialize)]
struct Sum(Vec<Blob>);

impl Job for Sum {
    type Output = u64;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u64, Error> {
        Ok(self.0.iter().map(sum).sum())
    }
}

fn sum(blob: &Blob) -> u64 {
    blob.iter().map(|byte| u64::from(*byte)).sum()
}

/// As many blobs as it is given, made anew, the last one first.
#[derive(Serialize, Deserialize)]
struct Reverse(Vec<Blob>);

impl Job for Reverse {
    type Output = Vec<Blob>;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<Vec<Blob>, Error> {
        Ok(self.0.iter().rev().map(invert).collect())
    }
}

/// Lets another process invert it.
#[derive(Serialize, Deserialize)]
struct Ask(Blob);

impl Job for Ask {
    type Output = Blob;
    type Error = Error;

    fn run(self, cx: &Ctx) -> Result<Blob, Error> {
        let there = cx.engine().task(Invert(self.0.clone())).place(Placement::Process).run();
        let there = there.map_err(|error| Error::new(error.to_string()))?;
        assert_eq!(there, invert(&self.0));
        Ok(there)
    }
}

#[derive(Serialize, Deserialize)]
struct Abort(Blob);

impl Job for Abort {
    type Output = ();
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<(), Error> {
        std::process::abort()
    }
}

fn bytes(seed: u8, len: usize) -> Blob {
    let mut filling = BlobMut::zeroed(len);
    for (index, byte) in filling.iter_mut().enumerate() {
        *byte = (index % 251) as u8 ^ seed;
    }
    filling.freeze()
}

fn engine(place: Placement, cores: usize) -> Engine {
    app().engine().place(place).cores(cores).start().unwrap()
}

#[test]
fn a_blob_is_the_same_in_every_placement_in_and_out() {
    for place in [Placement::Thread, Placement::Process, Placement::Auto] {
        let engine = engine(place, 2);
        for len in [0, 100, 64 << 10, LEN, 5 * LEN + 1] {
            let blob = bytes(3, len);
            assert_eq!(engine.run(Invert(blob.clone())).unwrap(), invert(&blob), "{place}, {len}");
            let (from, to) = (len / 3, len / 2);
            let (part, _) = engine.run(Cut(blob.clone(), from, to)).unwrap();
            assert_eq!(part, blob[from..to], "{place}, {len}");
        }
    }
}

#[test]
fn a_part_of_the_input_comes_back_as_the_host_s_own_memory() {
    let engine = engine(Placement::Process, 1);
    let blob = bytes(1, LEN);
    let (part, pid) = engine.run(Cut(blob.clone(), 10, LEN)).unwrap();
    assert_ne!(pid, std::process::id());
    assert!(std::ptr::eq(&raw const part[0], &raw const blob[10]));
}

#[test]
fn a_worker_maps_a_blob_once_and_unmaps_it_when_the_host_has_dropped_it() {
    let engine = engine(Placement::Process, 1);
    let blob = bytes(1, LEN);
    for _ in 0..20 {
        assert_eq!(engine.run(Mapped(Some(blob.clone()))), Ok(1));
    }
    let other = bytes(2, LEN);
    assert_eq!(engine.run(Mapped(Some(other.slice(5..9)))), Ok(2));
    drop((blob, other));
    eventually("the worker to let go", || engine.run(Mapped(None)) == Ok(0));
}

#[test]
fn memory_that_a_worker_still_reads_is_not_written() {
    let engine = engine(Placement::Process, 1);
    let content = bytes(7, LEN).to_vec();
    assert_eq!(engine.run(Keep(Some(bytes(7, LEN)))).unwrap(), None);
    // It would get that memory again if anybody did.
    for seed in 0..20 {
        let other = bytes(100 + seed, LEN);
        assert_eq!(engine.run(Sum(vec![other.clone()])), Ok(sum(&other)));
    }
    // The host has dropped it, and gets it back from the one that has not.
    let back = engine.run(Keep(None)).unwrap().expect("it was kept");
    assert_eq!(back, content);
    drop(back);
    let ours = mapped();
    for _ in 0..20 {
        assert_eq!(engine.run(Sum(vec![bytes(9, LEN)])), Ok(sum(&bytes(9, LEN))));
    }
    assert!(mapped() <= ours + 3, "memory is used again: {ours} regions before, {}", mapped());
}

#[test]
fn memory_that_comes_back_can_go_there_again() {
    let engine = engine(Placement::Process, 1);
    let expected = bytes(7, LEN);
    assert_eq!(engine.run(Keep(Some(bytes(7, LEN)))).unwrap(), None);
    for _ in 0..5 {
        // The worker was told to forget what it keeps, and is sent it once more.
        let back = engine.run(Show).unwrap().expect("it was kept");
        assert_eq!(engine.run(Sum(vec![back.clone()])), Ok(sum(&expected)));
        assert_eq!(engine.run(Cut(back, 5, LEN)).unwrap().0, expected[5..]);
    }
    assert_eq!(engine.run(Keep(None)).unwrap(), Some(expected));
    eventually("the worker to let go", || engine.run(Mapped(None)) == Ok(0));
}

#[test]
fn what_a_worker_made_it_can_return_again_and_be_sent() {
    let engine = engine(Placement::Process, 1);
    let expected = bytes(33, LEN);
    assert_eq!(engine.run(Show).unwrap(), None);
    let first = engine.run(Show).unwrap().expect("it keeps one");
    let second = engine.run(Show).unwrap().expect("it keeps one");
    assert!(std::ptr::eq(&raw const first[0], &raw const second[0]), "the same memory here, too");
    assert_eq!(engine.run(Cut(first, 0, 9)).unwrap().0, expected[..9]);
    assert_eq!(engine.run(Invert(second)).unwrap(), invert(&expected));
    assert_eq!(engine.run(Show).unwrap(), Some(expected));
}

/// Some of them travel in one slot.
#[test]
fn tiny_tasks_return_kept_memory_each() {
    let engine = engine(Placement::Process, 1);
    let expected = bytes(7, LEN);
    assert_eq!(engine.run(Keep(Some(bytes(7, LEN)))).unwrap(), None);
    for _ in 0..20 {
        let tasks: Vec<_> = (0..100).map(|_| engine.try_submit(Show).unwrap()).collect();
        for task in tasks {
            let shown = task.join().unwrap().expect("it was kept");
            assert!(shown.len() == LEN && shown[LEN - 1] == expected[LEN - 1]);
        }
    }
    assert_eq!(engine.run(Keep(None)).unwrap(), Some(expected));
}

#[test]
fn many_blobs_in_one_task_all_come() {
    for place in [Placement::Thread, Placement::Process] {
        let engine = engine(place, 2);
        let blobs: Vec<Blob> = (0..50).map(|seed| bytes(seed, 64 << 10)).collect();
        assert_eq!(engine.run(Sum(blobs.clone())), Ok(blobs.iter().map(sum).sum()), "{place}");
        let expected: Vec<Blob> = blobs.iter().rev().map(invert).collect();
        assert_eq!(engine.run(Reverse(blobs)).unwrap(), expected, "{place}");
    }
}

#[test]
fn many_tasks_share_one_blob_in_several_workers() {
    let engine = engine(Placement::Process, 2);
    let blob = bytes(5, LEN);
    let tasks: Vec<_> = (0..100)
        .map(|from| engine.try_submit(Cut(blob.clone(), from, LEN - from)).unwrap())
        .collect();
    let mut pids = HashSet::new();
    for (from, task) in tasks.into_iter().enumerate() {
        let (part, pid) = task.join().unwrap();
        assert_eq!(part, blob[from..LEN - from]);
        pids.insert(pid);
    }
    assert!(!pids.contains(&std::process::id()));
}

#[test]
fn a_worker_s_job_passes_blobs_on() {
    let engine = engine(Placement::Process, 2);
    let blob = bytes(6, LEN);
    assert_eq!(engine.run(Ask(blob.clone())).unwrap(), invert(&blob));
}

#[test]
fn the_death_of_a_worker_costs_no_blob() {
    let engine = engine(Placement::Process, 1);
    let blob = bytes(8, LEN);
    for _ in 0..3 {
        let made = engine.run(Invert(blob.clone())).unwrap();
        let crash = engine.run(Abort(blob.clone()));
        assert!(matches!(crash, Err(TaskError::Crashed { .. })), "{crash:?}");
        assert_eq!(made, invert(&blob), "what it made outlives it");
    }
    let crash = engine.task(Abort(blob.clone())).retries(1).run();
    assert!(matches!(crash, Err(TaskError::Poisoned { .. })), "{crash:?}");
    assert_eq!(engine.run(Invert(blob.clone())).unwrap(), invert(&blob));
}

#[test]
fn blocks_of_a_long_input_are_streamed() {
    let input: Vec<u8> = (0..3 * LEN + 99).map(|index| (index % 7) as u8).collect();
    let engine = engine(Placement::Process, 2);
    let blocks = Blocks::of(&input[..], 256 << 10);
    let jobs = blocks.enumerate().map(|(number, block)| (number, Sum(vec![block.unwrap()])));
    let jobs: Vec<_> = jobs.collect();
    let sums = engine.stream(jobs).window(4).ordered().map(|(_, sum)| sum.unwrap());
    let expected: u64 = input.iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!(sums.sum::<u64>(), expected);
}
