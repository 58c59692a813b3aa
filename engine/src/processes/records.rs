//! What a worker tells beside its replies, out of the record ring: progress, messages and
//! its log.

use amphi_protocol::{
    Assembly, DroppedRecord, Emitted, LogRecord, ProgressRecord, RecordReader, Violation, decode,
    record_kind,
};

use super::After;
use super::link::Link;
use super::logs::LogLine;
use super::pool::Processes;
use crate::task::Core;

/// The host's end of one worker's ring.
#[derive(Default)]
pub(super) struct Records {
    reader: RecordReader,
    assembly: Assembly,
    scratch: Vec<u8>,
}

impl Link {
    /// Copies out what the worker reported. Of a worker that broke the protocol nothing is taken.
    pub(super) fn read_records(&mut self, after: &mut After) {
        if !self.records.reader.has_more(self.lane.rsp()) || self.broken.is_some() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.records.scratch);
        // A ring's worth at most: a worker that writes as fast as this reads is not followed.
        for _ in 0..2048 {
            let read = match self.records.reader.pop(self.lane.rsp(), &mut scratch) {
                Ok(None) => break,
                Ok(Some(kind)) => self.read_record(kind, &scratch, after),
                Err(violation) => Err(violation),
            };
            if let Err(violation) = read {
                self.break_off(violation.to_string());
                break;
            }
        }
        self.records.scratch = scratch;
    }

    fn read_record(&mut self, kind: u8, record: &[u8], after: &mut After) -> Result<(), Violation> {
        match kind {
            record_kind::PROGRESS => {
                if let Ok(record) = decode::<ProgressRecord>(record)
                    && let Some(task) = self.task_of(record.seq)
                {
                    task.core().set_progress(record.done, record.total);
                }
            }
            record_kind::MESSAGE => {
                let emitted = self.records.assembly.first(record)?;
                self.deliver(emitted, after);
            }
            record_kind::MESSAGE_MORE => {
                let emitted = self.records.assembly.more(record)?;
                self.deliver(emitted, after);
            }
            record_kind::MESSAGES_DROPPED => {
                if let Ok(record) = decode::<DroppedRecord>(record)
                    && let Some(task) = self.task_of(record.seq)
                {
                    task.core().mailbox().add_dropped(record.count);
                }
            }
            record_kind::LOG => {
                if let Some(record) = LogRecord::decode(record) {
                    let job = self.task_of(record.seq).map(|task| task.core().plan.name);
                    after.logs.extend(LogLine::new(self.pid.unwrap_or(0), job, &record));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// To the task, if it is in flight.
    fn deliver(&mut self, emitted: Option<Emitted>, after: &mut After) {
        if let Some(Emitted { seq, bytes }) = emitted
            && let Some(task) = self.task_of(seq)
        {
            after.receivers.push(task.core().mailbox().put(bytes));
        }
    }
}

impl Processes {
    /// Reads what a task's worker reported since.
    pub(crate) fn refresh(&self, core: &Core) {
        let Some((index, _)) = core.seat() else { return };
        let mut after = After::default();
        let mut inner = self.lock();
        if let Some(link) = inner.seats.get_mut(index as usize).and_then(|seat| seat.link.as_mut())
        {
            link.read_records(&mut after);
        }
        drop(inner);
        after.run(self);
    }
}
