//! Open files as inputs and outputs: the same open file in every placement, and no descriptor stays
//! anywhere.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Seek, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use amphi::{Bytes, Engine, Fd, Placement, TaskError};
use amphi_tests::eventually;
use rustix::process::{Pid, Signal, kill_process};

use crate::conformance::{EVERYWHERE, each};
use crate::jobs::{UntilCancelled, app};

mod jobs;

pub(crate) use self::jobs::jobs;
use self::jobs::*;

/// A file of its own in a directory of its own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("amphi-fd-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn open(&self) -> File {
        File::options().read(true).append(true).open(&self.0).unwrap()
    }

    fn content(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    /// How many descriptors of a process are of this file.
    fn held_by(&self, pid: u32) -> usize {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        fds.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == self.0)).count()
    }

    /// No process of the engine has it any more.
    fn is_let_go(&self, engine: &Engine) {
        eventually("the host to close it", || self.held_by(std::process::id()) == 0);
        for pid in engine.worker_pids() {
            eventually("the worker to close it", || self.held_by(pid) == 0);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn engine(place: Placement, cores: usize) -> Engine {
    app().engine().place(place).cores(cores).start().unwrap()
}

fn processes() -> Engine {
    engine(Placement::Process, 1)
}

fn ends() -> (PipeReader, PipeWriter) {
    pipe().unwrap()
}

fn fd_of(end: impl Into<OwnedFd>) -> Fd {
    Fd::from(end.into())
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// Each of its threads: the signal takes effect on one after another.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let stats = threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap());
    stats.into_iter().all(|stat| stat.contains(") T "))
}

fn codec_text<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, TaskError<E>>) -> String {
    match outcome {
        Err(TaskError::Codec { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn open_files_go_in_and_out_in_every_placement_wherever_they_stand() {
    each(|engine| {
        for len in [0, 1000, 100_000, 3 << 20] {
            let place = Place::new(&format!("bag-{len}"), "");
            let file = || Fd::from(place.open());
            let same = file();
            let all = vec![file(), same.clone(), same.clone()];
            let bytes = Bytes::from(vec![5; len]);
            let bag = Bag { one: same, maybe: Some(file()), all, bytes };
            let back = engine.run(Turn(bag)).unwrap();
            assert_eq!(back.bytes, vec![5; len]);
            let words = |text: &str| place.content().lines().filter(|word| *word == text).count();
            assert_eq!((words("one"), words("maybe"), words("all")), (1, 1, 3));
            let Bag { one, maybe, all, .. } = back;
            say(&one, "back").unwrap();
            say(&maybe.unwrap(), "back").unwrap();
            assert_eq!(all.len(), 2);
            all.iter().for_each(|fd| say(fd, "back").unwrap());
            assert_eq!(words("back"), 4);
            drop((one, all));
            place.is_let_go(engine);
        }
    });
}

#[test]
fn host_and_job_share_one_open_file_with_its_position() {
    each(|engine| {
        let place = Place::new("offset", "0123456789");
        let mut file = place.open();
        let sent = || Fd::from(file.try_clone().unwrap());
        assert_eq!(engine.run(ReadSome(sent(), 3)).unwrap(), "012");
        assert_eq!(file.stream_position().unwrap(), 3);
        file.seek(std::io::SeekFrom::Start(7)).unwrap();
        let sent = Fd::from(file.try_clone().unwrap());
        assert_eq!(engine.run(ReadSome(sent, 2)).unwrap(), "78");
        assert_eq!(file.stream_position().unwrap(), 9);
    });
}

#[test]
fn a_file_that_a_job_opened_is_the_caller_s_alone() {
    each(|engine| {
        let place = Place::new("opened", "abc");
        let fd = engine.run(Open(place.0.clone())).unwrap();
        let mut file = File::from(fd.try_into_owned().expect("there is no other"));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        drop(file);
        place.is_let_go(engine);
    });
}

#[test]
fn a_pipe_ends_when_the_worker_that_has_it_ends() {
    let engine = processes();
    let (mut reader, writer) = ends();
    let (pid, is_cloexec) = engine.run(Keep(fd_of(writer))).unwrap();
    assert!(is_cloexec, "what a worker starts does not have it");
    assert_ne!(pid, std::process::id());
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let error = reader.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "the worker has it");
    signal(pid, Signal::KILL);
    eventually("the end of the pipe", || matches!(reader.read(&mut [0; 1]), Ok(0)));
}

#[test]
fn two_hundred_tasks_leave_no_descriptor_behind() {
    each(|engine| {
        let place = Place::new("many", "");
        let tasks: Vec<_> =
            (0..200).map(|_| engine.try_submit(Append(place.open().into())).unwrap()).collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(place.content().lines().count(), 200);
        place.is_let_go(engine);
        let tasks: Vec<_> =
            (0..200).map(|_| engine.try_submit(Open(place.0.clone())).unwrap()).collect();
        let opened: Vec<Fd> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
        assert_eq!(place.held_by(std::process::id()), 200);
        drop(opened);
        place.is_let_go(engine);
        // Outcomes that nobody takes.
        (0..50).for_each(|_| engine.spawn_detached(Open(place.0.clone())).unwrap());
        engine.drained_blocking();
        place.is_let_go(engine);
    });
}

/// Such tasks would share a slot if their outputs named nothing.
#[test]
fn tiny_tasks_return_an_open_file_each() {
    let engine = processes();
    let place = Place::new("tiny", "");
    for _ in 0..5 {
        let tasks: Vec<_> = (0..400)
            .map(|n| {
                let path = if n % 3 == 0 { &place.0 } else { Path::new("/nowhere") };
                engine.try_submit(Open(path.to_owned())).unwrap()
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.join().is_ok(), n % 3 == 0, "{n}");
        }
    }
    place.is_let_go(&engine);
}

#[test]
fn a_task_that_never_runs_leaves_no_descriptor_in_a_worker() {
    let engine = processes();
    let place = Place::new("unrun", "");
    let running = engine.try_submit(UntilCancelled).unwrap();
    eventually("the job to run", || running.progress().is_some());
    let file = || Fd::from(place.open());
    let tasks: Vec<_> = (0..20).map(|_| engine.try_submit(Append(file())).unwrap()).collect();
    for task in tasks {
        task.cancel();
        assert_eq!(task.join(), Err(TaskError::Cancelled));
    }
    running.cancel();
    assert_eq!(running.join(), Err(TaskError::Cancelled));
    place.is_let_go(&engine);
    assert_eq!(place.content(), "");
}

/// They are in its lane, and their files in its socket, while it cannot begin them.
#[test]
fn tasks_that_are_taken_back_leave_no_descriptor_in_a_worker() {
    let engine = processes();
    let place = Place::new("taken-back", "");
    for round in 0..10 {
        // So that they are known to be short, and go into the lane.
        (0..20).for_each(|_| engine.run(Append(place.open().into())).unwrap());
        let pid = engine.run(Numbers).unwrap();
        signal(pid, Signal::STOP);
        eventually("the worker to stand still", || is_stopped(pid));
        let tasks: Vec<_> =
            (0..6).map(|_| engine.try_submit(Append(place.open().into())).unwrap()).collect();
        tasks.iter().for_each(amphi::Task::cancel);
        let ran = tasks.into_iter().filter_map(|task| task.join().ok()).count();
        signal(pid, Signal::CONT);
        place.is_let_go(&engine);
        assert_eq!((ran, place.content().lines().count()), (0, (round + 1) * 20));
    }
}

#[test]
fn an_input_that_cannot_be_decoded_leaves_no_descriptor_in_a_worker() {
    let engine = processes();
    let place = Place::new("unreadable", "");
    for _ in 0..20 {
        let job = Unreadable(place.open().into(), Refusing(1), place.open().into());
        codec_text(engine.run(job));
    }
    place.is_let_go(&engine);
}

#[test]
fn a_second_try_has_the_file_again() {
    let engine = processes();
    let place = Place::new("again", "");
    assert_eq!(engine.task(CrashOnce(place.open().into())).retries(1).run(), Ok(6));
    assert_eq!(place.content(), "tried\ntried\n");
    place.is_let_go(&engine);
    // Nobody tries again.
    let place = Place::new("once", "");
    let crash = engine.run(CrashOnce(place.open().into()));
    assert!(matches!(crash, Err(TaskError::Crashed { .. })), "{crash:?}");
    place.is_let_go(&engine);
}

#[test]
fn more_files_than_one_value_can_hold_are_an_error_that_says_so() {
    let engine = processes();
    let null = || Fd::from(File::open("/dev/null").unwrap());
    let fds = || (0..33).map(|_| null()).collect::<Vec<_>>();
    let bag = |all| Bag { one: null(), maybe: None, all, bytes: Bytes::new() };
    let text = codec_text(engine.run(Turn(bag(fds()))));
    assert!(text.contains("more open files than the 32"), "{text}");
    let pid = engine.run(Numbers).unwrap();
    let text = codec_text(engine.run(Many(33)));
    assert!(text.contains("more open files than the 32"), "{text}");
    assert_eq!(engine.run(Many(32)).unwrap().len(), 32);
    assert_eq!(engine.run(Numbers), Ok(pid), "the worker lives on");
    // Clones are one file.
    let same = vec![null(); 1000];
    let opened = File::options().write(true).open("/dev/null").unwrap();
    let one = Fd::from(opened);
    let all = vec![one.clone(); same.len()];
    assert!(engine.run(Turn(Bag { one, maybe: None, all, bytes: Bytes::new() })).is_ok());
}

#[test]
fn a_worker_without_a_free_descriptor_fails_the_task_and_lives_on() {
    let engine = processes();
    let null = || Fd::from(File::open("/dev/null").unwrap());
    let fds = |count| (0..count).map(|_| null()).collect::<Vec<_>>();
    let (pid, count) = engine.run(Limited(fds(3))).unwrap();
    assert_eq!(count, 3);
    for _ in 0..5 {
        let text = codec_text(engine.run(Limited(fds(30))));
        assert!(text.contains("did not come") && text.contains("descriptors"), "{text}");
        assert_eq!(engine.run(Limited(fds(3))), Ok((pid, 3)), "it lives on, and has room");
    }
}

#[test]
fn tasks_that_a_job_submits_have_open_files_too() {
    for placement in EVERYWHERE {
        let engine = engine(placement, 2);
        let place = Place::new(&format!("nested-{placement}"), "0123456789");
        let (text, fd) = engine.run(PassOn(place.open().into(), place.0.clone())).unwrap();
        assert_eq!(text, "01234567", "{placement}");
        let mut file = File::from(fd.into_owned().unwrap());
        let mut all = String::new();
        file.read_to_string(&mut all).unwrap();
        assert_eq!(all, "0123456789", "{placement}");
        drop(file);
        place.is_let_go(&engine);
    }
}

#[test]
fn errors_and_other_serialisers_cannot_have_one_and_say_why() {
    let why = "input and the output of a job";
    let fd = Fd::from(File::open("/dev/null").unwrap());
    let error = serde_json::to_string(&fd).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    let error = serde_json::from_str::<Fd>("0").unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    let text = codec_text(processes().run(Fails(fd)));
    assert!(text.contains(why), "{text}");
}

#[test]
fn on_a_thread_it_is_the_very_descriptor() {
    let engine = engine(Placement::Thread, 1);
    let fd = Fd::from(File::options().write(true).open("/dev/null").unwrap());
    let number = fd.as_fd().as_raw_fd();
    let bag = Bag { one: fd, maybe: None, all: Vec::new(), bytes: Bytes::new() };
    let back = engine.run(Turn(bag)).unwrap();
    assert_eq!(back.one.as_fd().as_raw_fd(), number);
}
