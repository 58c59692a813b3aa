//! Taking replies out of lanes, answering wishes for room, and killing for a clock.

use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use amphi_protocol::{BLOCK_MAX, Done, Event, Grant, GrantAnswer, Storage, split_key};

use super::After;
use super::after::{Finished, Source};
use super::link::Link;
use super::pool::{Inner, Processes};
use crate::error::TaskError;
use crate::outcome::Failure;

/// A worker that has nothing else to do wakes within this.
const SURELY_AWAKE: Duration = Duration::from_millis(20);

/// The failure of a task that was to be killed and had not started.
fn unstarted(failure: Failure) -> Failure {
    match failure {
        TaskError::TimedOut { clock, .. } => TaskError::TimedOut { clock, killed: false },
        other => other,
    }
}

impl Processes {
    pub(super) fn harvest_all(&self, inner: &mut Inner, after: &mut After) {
        for index in 0..inner.seats.len() {
            self.harvest(inner, u32::try_from(index).expect("few seats"), after);
        }
    }

    /// Takes everything out of one lane that is done.
    pub(super) fn harvest(&self, inner: &mut Inner, index: u32, after: &mut After) {
        self.harvest_as::<false>(inner, index, after);
    }

    /// The same, and what a batch has answered that is not done: it takes long, or never will be.
    pub(super) fn harvest_early(&self, inner: &mut Inner, index: u32, after: &mut After) {
        self.harvest_as::<true>(inner, index, after);
    }

    #[inline]
    fn harvest_as<const EARLY: bool>(&self, inner: &mut Inner, index: u32, after: &mut After) {
        let Some(seat) = inner.seats.get_mut(index as usize) else { return };
        let generation = seat.generation;
        let Some(link) = &mut seat.link else { return };
        if link.host.in_flight() == 0 {
            return;
        }
        let (mut finished, mut back) = (0_usize, Vec::new());
        loop {
            // No reference count is touched on this way: a locked instruction would wait for the
            // stores to lines that the worker holds.
            match link.host.poll(link.lane.req(), link.lane.rsp()) {
                Ok(None) if EARLY => match link.host.answers(link.lane.rsp()) {
                    Ok(None) => break,
                    Ok(Some(answers)) => {
                        finished += self.take_answers(link, &answers, (index, generation), after);
                    }
                    Err(violation) => {
                        link.break_off(violation.to_string());
                        break;
                    }
                },
                Ok(None) => break,
                Ok(Some(Event::Done(done))) => {
                    if let Some(task) = self.finish(link, done, (index, generation), after) {
                        after.finish(task);
                        finished += 1;
                    }
                }
                Ok(Some(Event::Answers(answers))) => {
                    finished += self.take_answers(link, &answers, (index, generation), after);
                    back.extend(link.cut_flight(answers.seq, link.host.tasks(answers.seq)));
                }
                Ok(Some(Event::NeedSpace { seq, len })) => {
                    back.extend(link.cut_flight(seq, link.host.tasks(seq)));
                    let answer = self.room_for(link, seq, len);
                    match link.host.grant(link.lane.req(), link.lane.rsp(), seq, answer) {
                        Ok(true) => after.wake(&link.lane, seq),
                        Ok(false) => {}
                        Err(violation) => link.break_off(violation.to_string()),
                    }
                }
                Err(violation) => {
                    link.break_off(violation.to_string());
                    break;
                }
            }
        }
        let asks = !link.requests.is_empty() || link.waits != link.is_waiting;
        if !back.is_empty() {
            self.queue_all_again(inner, back);
        }
        if asks {
            self.take_requests(inner, index, after);
        }
        let Some(seat) = inner.seats.get_mut(index as usize) else { return };
        let Some(link) = &mut seat.link else { return };
        if finished > 0 {
            seat.occupied.harvested(after.last_finished(finished));
            let first = link.finished == 0;
            link.finished += finished as u64;
            if first {
                inner.restarts.succeeded();
            }
            self.count_wear(inner, index as usize);
        }
    }

    fn finish(
        &self,
        link: &mut Link,
        done: Done,
        seat: (u32, u64),
        after: &mut After,
    ) -> Option<Finished> {
        link.read_records(after);
        // Before the flight is gone, by which a message is known to be expected; and whatever the
        // reply says, nothing of the task stays behind.
        link.look_for_more(once(done.kind));
        let payload = link.take_payload(done.seq, matches!(done.output, Storage::Memfd { .. }));
        let mut flight = link.take_flight(done.seq)?;
        let mut output = flight.output.take();
        let (source, bytes) = match done.output {
            Storage::Inline(bytes) => {
                let len = bytes.len() as u64;
                (Source::Here(bytes), len)
            }
            Storage::Block { len } => match output.take() {
                Some(block) => {
                    let (lane, size) = (Arc::clone(&link.lane), usize::try_from(len).unwrap_or(0));
                    (Source::Block { lane, block, len: size }, len)
                }
                None => (link.lost_reply("it filled a block that it was not granted"), 0),
            },
            Storage::Memfd { len } if len > self.output_bytes_max() => {
                (link.lost_reply("its output is larger than what was granted"), 0)
            }
            Storage::Memfd { len } => match payload {
                Some(fd) => (Source::Memfd { fd, len }, len),
                None => (link.lost_reply("the memfd of its output did not arrive"), 0),
            },
        };
        let entry = self.home.table.entry(flight.task.core().plan.job);
        link.hand_over_files(done.seq, done.kind, &flight.task, entry);
        if let Some(entry) = entry {
            entry.observe(done.run_ns, bytes);
        }
        link.free_blocks(flight.input.take(), output);
        Some(Finished {
            task: flight.into_last(),
            kind: done.kind,
            source,
            run_ns: done.run_ns,
            over_ns: None,
            bytes,
            seat: seat.0,
            generation: seat.1,
        })
    }

    pub(super) fn output_bytes_max(&self) -> u64 {
        self.kinds[0].output_bytes_max
    }

    fn room_for(&self, link: &mut Link, seq: u64, len: u64) -> GrantAnswer {
        if len > self.output_bytes_max() {
            return GrantAnswer::Refused;
        }
        let block = if len <= BLOCK_MAX { link.outputs.allocate(len) } else { None };
        let Some(block) = block else { return GrantAnswer::Memfd };
        let grant = Grant { offset: block.offset, capacity: block.capacity };
        match link.flight(seq) {
            Some(flight) => {
                let before = flight.output.replace(block);
                link.free_blocks(None, before);
                GrantAnswer::Block(grant)
            }
            None => {
                link.free_blocks(None, Some(block));
                GrantAnswer::Memfd
            }
        }
    }

    /// Ends the task `key` of a lane with `failure`: taken back if it has not started, else its worker
    /// is killed. Neighbours that have not started are queued again first, so that no other task
    /// is hit.
    pub(super) fn kill_flight(
        &self,
        inner: &mut Inner,
        index: u32,
        key: u64,
        failure: Failure,
        after: &mut After,
    ) {
        let (seq, place) = split_key(key);
        self.take_back_others(inner, index, seq);
        self.harvest(inner, index, after);
        let Some(link) = inner.seats[index as usize].link.as_mut() else { return };
        if !link.holds(key) {
            return;
        }
        match link.revoke(key) {
            Ok(Some((task, others))) => {
                // The worker did not even begin, in a time in which it would have woken: it hangs.
                let is_next = link.host.in_flight() == 0;
                if is_next && task.core().plan.controls.kill_after >= Some(SURELY_AWAKE) {
                    link.kill();
                }
                after.fail(task, unstarted(failure));
                self.queue_all_again(inner, others);
            }
            Ok(None) => {
                // From here on its worker begins nothing: what is not answered now is what runs.
                self.take_back_tail(inner, index, seq, place + 1);
                self.harvest_early(inner, index, after);
                let link = inner.seats[index as usize].link.as_mut();
                if let Some(link) = link
                    && link.holds(key)
                {
                    link.verdict = Some((key, failure));
                    link.kill();
                }
            }
            Err(violation) => link.break_off(violation.to_string()),
        }
    }

    /// Takes every unstarted task but `seq` out of a lane and queues it again, in order, at the
    /// head.
    pub(super) fn take_back_others(&self, inner: &mut Inner, index: u32, seq: u64) {
        let Some(mut link) = inner.seats[index as usize].link.as_mut() else { return };
        let lane = Arc::clone(&link.lane);
        let mut seqs: Vec<u64> =
            link.flights().map(|flight| flight.seq).filter(|other| *other != seq).collect();
        seqs.sort_unstable();
        // The last first, so that the worker cannot claim one that is about to be taken.
        for other in seqs.into_iter().rev() {
            match link.host.revoke(lane.rsp(), other) {
                Ok(true) => {
                    if let Some(mut flight) = link.take_flight(other) {
                        link.free_blocks(flight.input.take(), flight.output.take());
                        self.queue_all_again(inner, flight.into_tasks().collect());
                        link = match inner.seats[index as usize].link.as_mut() {
                            Some(link) => link,
                            None => return,
                        };
                    }
                }
                Ok(false) => {}
                Err(violation) => {
                    link.break_off(violation.to_string());
                    return;
                }
            }
        }
    }

    /// What becomes of a task that was running when its worker died.
    pub(super) fn outcome_of_death(link: &Link, oom: bool) -> Failure {
        use amphi_protocol::Exit;
        let stderr_tail = link.stderr_tail();
        if let Some(text) = &link.broken {
            let message = format!("the worker broke the protocol and was killed: {text}");
            return TaskError::Lost { message };
        }
        match link.exit {
            Some(Exit::Signal { signal, .. }) => {
                let refused = signal == 6 && stderr_tail.contains("memory allocation of");
                TaskError::Crashed {
                    signal: Some(signal),
                    exit_code: None,
                    oom: refused || (signal == 9 && oom),
                    stderr_tail,
                }
            }
            Some(Exit::Code(code)) => {
                TaskError::Crashed { signal: None, exit_code: Some(code), oom: false, stderr_tail }
            }
            None => TaskError::Lost {
                message: "the worker died, and nobody told how: its forkserver died, too, or does \
                          not answer"
                    .to_owned(),
            },
        }
    }
}
