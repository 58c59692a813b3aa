use super::*;

const ID: WorkerId = WorkerId { pool: 1, seat: 2, generation: 3 };

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
    let bytes = encode(message);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(message));
    decode::<T>(&bytes[..bytes.len() - 1]).expect_err("cut short");
    decode::<T>(&[&bytes[..], &[0]].concat()).expect_err("more than the message");
}

#[test]
fn messages_come_out_as_they_went_in_and_nothing_else_does() {
    let limits = WorkerLimits { memory: Some(1 << 30), rayon_threads: 2, ..Default::default() };
    let message = String::from("no model at /srv/model");
    check(&ToForkserver::Hello {
        abi: 1,
        layout_hash: 2,
        table_hash: u64::MAX,
        build_hash: 3,
        config_len: 0,
        umask: 0o22,
    });
    check(&ToForkserver::Spawn { id: ID, limits });
    check(&FromForkserver::Failed { stage: StartStage::Preload, message: message.clone() });
    check(&FromForkserver::Forked { id: ID, pid: 4 });
    check(&FromForkserver::ForkFailed { id: ID, errno: 11 });
    check(&FromForkserver::Exited { id: ID, exit: Exit::Signal { signal: 9, core: false } });
    check(&FromForkserver::Exited { id: ID, exit: Exit::Code(-1) });
    check(&ToWorker::Lane { lane: 7, incarnation: 8 });
    check(&ToWorker::Payload { seq: 9, len: 1 << 40 });
    check(&ToWorker::Blob { blob: u64::MAX, len: 1 << 40 });
    check(&ToWorker::Forget { blob: 1 });
    check(&FromWorker::Blob { key: 3, blob: 1, len: 2 });
    check(&FromWorker::Returns { key: 3, blob: 1 });
    check(&FromWorker::Forgot { blob: 1 });
    check(&FromWorker::Ready { pid: 5 });
    let ask = Ask { kill_after_ns: Some(6), trace: u128::MAX, ..Ask::default() };
    let input = Carried::Here(vec![1; CARRIED_BYTES_MAX]);
    check(&FromWorker::Submit { child: 1, job: 2, ask, input, files: 3 });
    check(&FromWorker::Stop { child: 1, kill: true });
    check(&FromWorker::Waits(true));
    let outcome = ChildOutcome::Reply { kind: 1, output: Carried::Memfd { len: 1 << 40 } };
    check(&ToWorker::ChildDone { child: 1, outcome, files: 0 });
    check(&ToWorker::ChildDone { child: 1, outcome: ChildOutcome::Failure(vec![7]), files: 0 });
    check(&ToWorker::Files { seq: u64::MAX, files: 32 });
    check(&FromWorker::Files { key: u64::MAX, files: u8::MAX });
    check(&FromWorker::Failed { stage: StartStage::Worker, message });
}

#[test]
fn a_claimed_length_beyond_the_message_is_refused() {
    // FromWorker::Failed, stage 0, and a text that claims to be 2^62 bytes long.
    let bytes = [1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    decode::<FromWorker>(&bytes).expect_err("it cannot be");
    decode::<FromWorker>(&vec![0; MESSAGE_BYTES_MAX + 1]).expect_err("too long");
}

#[test]
fn each_message_says_how_many_descriptors_it_has_and_none_has_more_than_fit() {
    let ask = Ask::default();
    let here = || Carried::Here(vec![1]);
    let memfd = || Carried::Memfd { len: 1 << 40 };
    let submit = |input, files| FromWorker::Submit { child: 1, job: 2, ask, input, files };
    assert_eq!(submit(here(), 0).descriptors(), Ok(0));
    assert_eq!(submit(memfd(), 32).descriptors(), Ok(DESCRIPTORS_MAX));
    submit(here(), 33).descriptors().expect_err("one too many");
    let done = |outcome, files| ToWorker::ChildDone { child: 1, outcome, files };
    let reply = |output| ChildOutcome::Reply { kind: 1, output };
    assert_eq!(done(reply(memfd()), 2).descriptors(), Ok(3));
    assert_eq!(done(ChildOutcome::Failure(vec![7]), 0).descriptors(), Ok(0));
    done(reply(here()), u8::MAX).descriptors().expect_err("far too many");
    assert_eq!(ToWorker::Files { seq: 1, files: 32 }.descriptors(), Ok(FILES_MAX));
    ToWorker::Files { seq: 1, files: 33 }.descriptors().expect_err("one too many");
    assert_eq!(FromWorker::Files { key: 1, files: 5 }.descriptors(), Ok(5));
    FromWorker::Files { key: 1, files: 33 }.descriptors().expect_err("one too many");
    assert_eq!(FromWorker::Blob { key: 3, blob: 1, len: 2 }.descriptors(), Ok(1));
    assert_eq!(FromWorker::Waits(true).descriptors(), Ok(0));
    assert_eq!(ToWorker::Forget { blob: 1 }.descriptors(), Ok(0));
}
