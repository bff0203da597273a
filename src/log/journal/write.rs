//! Batches into the journal: which logs' batches go there, record by record.
//!
//! One record is written at a time. What arrives meanwhile goes into the next one: under load records grow by
//! themselves, and a write costs the same for one log or a thousand.

use std::io;
use std::rc::Rc;

use bytes::Bytes;

use crate::log::error::is_disk_full;
use crate::log::file::{File, WriteData};
use crate::log::log::{Log, State};
use crate::log::log_shard::LogShard;
use crate::runtime::{end_of_turn, fs, offload, spawn, wall_ms};
use crate::types::Offset;

use super::record::{Place, RecordBuilder};
use super::{Journal, Phase};

/// A record in flight.
struct Record {
    bytes: Bytes,
    file: File,
    position: u64,
    /// The logs it has batches of, and where those end.
    logs: Vec<(Rc<Log>, Offset)>,
}

impl Journal {
    /// Whether its current file holds anything.
    pub(super) fn is_in_use(&self) -> bool {
        !self.current().members.borrow().is_empty()
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.generation.set(self.generation.get() + 1);
        self.generation.get()
    }

    /// Not used any more before the next start, which may need what it holds.
    pub(in crate::log) fn retire(&self) {
        if self.phase.replace(Phase::Retired) == Phase::Ready {
            tracing::warn!("the journal for small appends is not used any more before the next start");
        }
    }

    fn takes_records(&self) -> bool {
        self.phase.get() == Phase::Ready && !self.stuck.get()
    }
}

impl LogShard {
    /// Whether batches are to go into the journal when so many logs have some.
    pub(in crate::log) fn uses_journal(self: &Rc<Self>, logs: usize) -> bool {
        let journal = &self.journal;
        let Some(options) = &journal.options else { return false };
        if logs < options.logs_min && !journal.is_in_use() {
            return false;
        }
        if journal.phase.get() == Phase::Unmade {
            self.make_journal();
        }
        journal.takes_records()
    }

    /// Has the log's batches go into the next record, if they may.
    pub(in crate::log) fn enlist(&self, log: &Rc<Log>) -> bool {
        let may = log.journal_bytes().is_some();
        if may && !log.journaled.waiting.replace(true) {
            self.journal.waiting.borrow_mut().push(Rc::clone(log));
        }
        may
    }

    pub(in crate::log) fn run_journal(self: &Rc<Self>) {
        if !self.journal.waiting.borrow().is_empty() && !self.journal.writing.replace(true) {
            drop(spawn(Rc::clone(self).write_journal()));
        }
    }

    async fn write_journal(self: Rc<Self>) {
        while let Some(record) = self.next_record() {
            let Record { bytes, file, position, logs } = record;
            let block = self.options.block_bytes;
            let written = file.write_all(WriteData::Blocks(bytes), position, block, true).await;
            self.end_record(&file, position, logs, written).await;
            // Whoever was answered just now, and whoever arrives in this turn of the loop, has a part in the next one.
            end_of_turn().await;
        }
        self.journal.writing.set(false);
    }

    /// The next record; none if there is nothing to be written, or no room until the drain is over.
    fn next_record(self: &Rc<Self>) -> Option<Record> {
        let journal = &self.journal;
        let record_bytes_max = journal.options.as_ref()?.record_bytes_max;
        let takes = journal.takes_records();
        let mut builder = RecordBuilder::new(self.options.block_bytes);
        let (mut logs, mut later, mut dismissed) = (Vec::new(), Vec::new(), Vec::new());
        for log in journal.waiting.take() {
            let place = log.journal_bytes().filter(|_| takes).and_then(|bytes| Some((bytes, dir_name(&log)?)));
            let Some((bytes, dir)) = place else {
                log.journaled.waiting.set(false);
                dismissed.push(log);
                continue;
            };
            let size = builder.bytes_with(&dir, bytes);
            if builder.is_empty() && size > journal.current().left() {
                self.switch_journal();
            }
            if size > journal.files.iter().map(|file| file.bytes.get()).min().unwrap_or(0) {
                log.journaled.waiting.set(false);
                dismissed.push(log);
            } else if (!builder.is_empty() && builder.data_bytes() + bytes > record_bytes_max)
                || size > journal.current().left()
            {
                later.push(log);
            } else {
                log.journaled.waiting.set(false);
                if let Some(end_offset) = log.begin_journaling(&mut builder, dir, bytes) {
                    if !log.journaled.member[journal.current.get()].replace(true) {
                        journal.current().members.borrow_mut().push(Rc::clone(&log));
                    }
                    logs.push((log, end_offset));
                }
            }
        }
        *journal.waiting.borrow_mut() = later;
        for log in dismissed {
            log.start_commit(false);
        }
        if builder.is_empty() {
            return None;
        }
        let file = self.file(journal.current().file.borrow().clone()?);
        journal.sequence.set(journal.sequence.get() + 1);
        let bytes = builder.build(journal.current().generation.get(), journal.sequence.get());
        let position = journal.current().end.get();
        journal.current().end.set(position + bytes.len() as u64);
        self.count(|stats| {
            stats.journal_records += 1;
            stats.journal_bytes += bytes.len() as u64;
        });
        Some(Record { bytes, file, position, logs })
    }

    async fn end_record(
        self: &Rc<Self>,
        file: &File,
        position: u64,
        logs: Vec<(Rc<Log>, Offset)>,
        written: io::Result<()>,
    ) {
        let mut result = written;
        if result.as_ref().is_err_and(is_disk_full) {
            // These batches may be refused yet, and no start may find them.
            self.journal.retire();
            let raw = std::sync::Arc::clone(file.raw());
            let cut = offload(move || fs::truncate(&raw, position).and_then(|()| fs::sync_data(&raw)));
            result = cut.await.and(result);
        }
        match result {
            Ok(()) => {
                self.journal.written_ms.set(wall_ms());
                self.watch_journal();
                for (log, end_offset) in &logs {
                    log.note_journaled(*end_offset);
                }
            }
            Err(error) if is_disk_full(&error) => {
                for (log, _) in &logs {
                    log.end_journaling(false);
                }
            }
            Err(error) => {
                self.journal.retire();
                for (log, _) in &logs {
                    log.end_journaling(false);
                    log.poison_by("a write to the journal failed", &error);
                }
            }
        }
        for (log, _) in logs {
            log.next_commit();
        }
    }
}

fn dir_name(log: &Log) -> Option<String> {
    Some(log.dir().file_name()?.to_str()?.to_owned())
}

impl Log {
    /// How many bytes of batches go into the journal next: none of a log that goes its own way.
    fn journal_bytes(&self) -> Option<u64> {
        let shard = self.shard();
        let options = shard.journal.options.as_ref()?;
        if !matches!(*self.state().borrow(), State::Open) || !self.is_named() || self.preparing().get() {
            return None;
        }
        let live = self.live().borrow();
        let front = live
            .front()
            .filter(|front| live.len() == 1 && front.room.created && front.journaling == 0 && front.ahead.is_empty())?;
        let first = front.placed.get(front.journaled)?;
        // All before it is in the journal, or else durable where it is.
        if front.journaled == 0 && first.base_offset != self.flushed_offset() {
            return None;
        }
        let room = front.room.end_of_write(front.placed_end, shard.options.block_bytes);
        if room > front.room.allocated_end {
            return None;
        }
        let mut bytes = 0;
        for placed in front.placed.range(front.journaled..) {
            bytes += placed.bytes.len() as u64;
            if bytes > options.log_bytes_max {
                return None;
            }
        }
        Some(bytes)
    }

    /// Adds the batches that are not in the journal yet; answers where they end.
    fn begin_journaling(self: &Rc<Self>, builder: &mut RecordBuilder, dir: String, bytes: u64) -> Option<Offset> {
        let (end_offset, short, ahead) = {
            let mut live = self.live().borrow_mut();
            let front = live.front_mut()?;
            let place = Place {
                topic_id: self.topic_id(),
                partition: self.topic_partition().partition,
                segment: front.base_offset,
                position: front.placed_end - bytes,
                end_offset: front.placed.back()?.end_offset,
                dir,
            };
            builder.add(&place, front.placed.range(front.journaled..).map(|placed| placed.bytes.clone()));
            front.journaling = front.placed.len() - front.journaled;
            (place.end_offset, front.room.is_short(front.placed_end), self.wants_spare(front))
        };
        if short {
            self.start_extension();
        }
        if ahead {
            self.start_spare();
        }
        Some(end_offset)
    }

    /// The record with the log's batches is written, or not.
    fn end_journaling(&self, written: bool) {
        if let Some(front) = self.live().borrow_mut().front_mut() {
            let count = std::mem::take(&mut front.journaling);
            front.journaled += if written { count } else { 0 };
        }
    }

    fn note_journaled(&self, end_offset: Offset) {
        self.end_journaling(true);
        if !matches!(*self.state().borrow(), State::Poisoned { .. }) {
            self.note_durable(end_offset);
        }
    }
}
