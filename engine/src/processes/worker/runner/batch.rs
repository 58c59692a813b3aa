//! Running a batch (`protocol/README.md`, 16): each task is claimed before it begins and answered
//! where its reply stays before the next one is claimed.
//!
//! The clock is looked at once between two tasks, so that each has its own run time. What holds for
//! one task of a lane holds for each: its own signals, key of its records, processor time, panic.

use std::borrow::Cow;
use std::sync::Arc;

use amphi_protocol::{Batch, Claimed, ClaimedInput, Grant, Pieces, Put, key_of};

use super::super::signals::LaneSignals;
use super::{Runner, unknown_job};
use crate::ctx::Ctx;
use crate::job::Encoded;
use crate::sys::clock;
use crate::sys::process;
use crate::sys::rlimit;

impl Runner {
    #[inline(never)]
    pub(super) fn run_batch(
        &mut self,
        claimed: &Claimed,
        signals: &LaneSignals,
        cx: &mut Ctx,
        out: &mut Encoded,
    ) {
        let lane = Arc::clone(&self.lane);
        let Ok(Some(batch)) = self.end.batch(lane.rsp(), claimed) else { process::exit_now(2) };
        if self.owed && !self.may_owe_through(claimed.job as usize, claimed.flags) {
            self.pay();
        }
        match claimed.input {
            ClaimedInput::Inline(bytes) => {
                self.run_pieces(claimed, batch, &bytes, (signals, cx, out));
            }
            ClaimedInput::Block { offset, len } => {
                lane.request.with_block(offset as usize, len as usize, |bytes| {
                    self.run_pieces(claimed, batch, bytes, (signals, cx, out));
                });
            }
            ClaimedInput::Memfd { .. } => process::exit_now(2),
        }
    }

    fn run_pieces(
        &mut self,
        claimed: &Claimed,
        mut batch: Batch,
        inputs: &[u8],
        (signals, cx, out): (&LaneSignals, &mut Ctx, &mut Encoded),
    ) {
        let lane = Arc::clone(&self.lane);
        let home = Arc::clone(&self.home);
        let entry = home.table.entry(claimed.job);
        let mut pieces = Pieces::of(inputs);
        let mut begun = clock::now();
        loop {
            let index = match self.end.claim(lane.rsp(), &mut batch) {
                Ok(Some(index)) => index,
                Ok(None) => break,
                Err(_) => process::exit_now(2),
            };
            let Some(Ok(piece)) = pieces.next() else { process::exit_now(2) };
            let key = key_of(claimed.seq, index);
            signals.begin(key, claimed.job, claimed.context);
            cx.begin_again();
            out.clear();
            if let Some(seconds) = self.cpu {
                rlimit::allow_cpu(seconds);
            }
            let kind = match entry {
                None => unknown_job(out),
                Some(entry) => entry.run_encoded(Cow::Borrowed(piece.bytes), cx, out),
            };
            let ended = clock::now();
            let ran = ended.saturating_sub(begun);
            begun = ended;
            self.note_service(claimed.job as usize, ran);
            let run_ns = u32::try_from(ran.as_nanos()).unwrap_or(u32::MAX);
            lane.flush(key);
            let kind = self.send_beside(key, kind, out);
            match self.end.answer(lane.rsp(), &mut batch, kind, out, run_ns) {
                Put::Done => {}
                Put::At { offset, head } => {
                    lane.response.write(offset as usize, &head);
                    lane.response.write(offset as usize + head.len(), out);
                }
                Put::NoRoom => {
                    let alone = Claimed { grant: Grant::NONE, ..*claimed };
                    return self.reply(&alone, kind, out, u64::from(run_ns));
                }
            }
        }
        self.end.finish_batch(lane.rsp(), &batch);
        self.owe();
        self.look_at_growth(begun);
    }
}
