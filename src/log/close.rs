//! The end of a log: closed, so that its directory is exactly what Apache Kafka expects to find.

use std::rc::Rc;

use crate::types::Offset;

use super::error::{LogError, is_disk_full};
use super::full::with_room;
use super::log::{Log, State};
use super::log_shard::{FlushAcks, LogShard};
use super::roll::{Completion, sealed_indexes};

impl Log {
    /// Writes and flushes what was appended, completes all files and closes them. Answers with the final recovery point,
    /// which is the log end offset. Appends are refused from now on, and reads are the caller's to stop.
    ///
    /// # Errors
    /// `Poisoned`, or the failed operation: then the directory was not stopped cleanly.
    pub async fn close(self: &Rc<Self>) -> Result<Offset, LogError> {
        if matches!(*self.state().borrow(), State::Open | State::Full { .. }) {
            *self.state().borrow_mut() = State::Closed;
        }
        self.drained().await;
        let lost = self.shard().room.lost().map(|reason| LogError::Poisoned { reason });
        if let Some(error @ LogError::Poisoned { .. }) = lost.or_else(|| self.state_error()) {
            self.release();
            return Err(error);
        }
        self.empty_graves().await;
        self.remove_spares().await;
        let end = self.log_end_offset();
        if self.was_touched() {
            let completed = with_room(&self.shard().options().room, is_disk_full, || {
                let completion = self.final_completion();
                move || completion.run()
            })
            .await;
            if let Err(error) = completed {
                self.release();
                return Err(LogError::io("close", &self.dir(), &error));
            }
            self.note_flushed(end);
        }
        self.recovery_point.set(end);
        self.release();
        self.fail_waiters(&LogError::Closed);
        Ok(end)
    }

    /// Waits until everything placed is written (or failed) and nothing is in flight.
    async fn drained(self: &Rc<Self>) {
        // What the journal holds goes to the segments, however much that becomes until nothing is in flight.
        self.start_filling(Offset(i64::MAX));
        self.until(|| {
            self.seal_finished();
            let flushed =
                self.shard().options().flush_acks == FlushAcks::None || self.flushed_offset() >= self.log_end_offset();
            let is_poisoned = matches!(*self.state().borrow(), State::Poisoned { .. });
            self.is_quiet() && (is_poisoned || (!self.has_placed() && flushed))
        })
        .await;
    }

    fn final_completion(&self) -> Completion {
        let end_offset = self.log_end_offset();
        let live = self.live().borrow();
        let segment = live.back().expect("a log has a live segment from its opening to its end");
        let indexes = sealed_indexes(segment.indexes.clone());
        Completion {
            dir: self.dir(),
            file: self.shard().descriptors.get((self.key(), segment.base_offset)),
            base_offset: segment.base_offset,
            end_offset,
            size_bytes: segment.written_end,
            offset_index: indexes.offsets.encode(),
            time_index: indexes.times.encode(),
            snapshot: self.producer_snapshot(),
            epochs: self.epochs().encode(),
        }
    }

    /// Gives back what the log holds of its shard.
    pub(super) fn release(&self) {
        self.forget_spares();
        LogShard::close_files(self.shard().descriptors.remove_log(self.key()));
        self.shard().tails.forget_from(self, Offset(0));
        self.shard().indexes.forget(self.key());
    }
}
