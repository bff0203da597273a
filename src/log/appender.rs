//! The appender of a shard: group commit without a timer.
//!
//! A log that has placed batches is *dirty*. At the end of each turn of the shard's loop every dirty log that has no write in
//! flight starts one commit with all it has: so what arrived while the last commit was in flight is written together.
//! Commits of different logs are in flight side by side, and while an earlier flush runs; two things make a log wait:
//! its own last commit, and a flush that covers the partial block its next write would begin with. While it waits, whole
//! blocks behind that one are written ahead (`ahead`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use crate::runtime::file::AlignedBuf;
use crate::runtime::{Task, end_of_turn, spawn};
use crate::types::Offset;

use super::disk_room::Attempt;
use super::error::is_disk_full;
use super::file::{File, WriteData};
use super::index::TimestampOffset;
use super::log::Log;
use super::log_shard::{FlushAcks, LogShard};
use super::segment::{LiveSegment, Placed, Taken};
use super::space::round_down;

/// A partition's commit takes no more than this, unless its first batch alone is larger.
const COMMIT_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a partition that are written, or on their way, and not flushed, unless a single batch is larger: what a
/// power cut can leave behind the flushed end.
pub const COMMIT_REACH_BYTES: u64 = COMMITS_REACH * COMMIT_BYTES_MAX;
/// Four commits, so that writes need not stop while a flush runs.
const COMMITS_REACH: u64 = 4;
/// The kernel takes at most 1024 pieces in one write.
pub(super) const COMMIT_BATCHES_MAX: usize = 1024;
/// One write of a direct commit: large enough for full speed, small enough that several are in flight.
const WRITE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a shard in writes in flight: enough to keep a fast device busy, bounded because each byte is a copy.
const IN_FLIGHT_BYTES_MAX: u64 = 32 << 20;
/// A lone commit up to this size is written and flushed by one operation.
const DURABLE_WRITE_BYTES_MAX: u64 = 128 << 10;
/// Fewer bytes are not written ahead: each write costs the kernel a turn to the device.
const AHEAD_BYTES_MIN: u64 = 256 << 10;

/// How large commits and their writes get.
#[derive(Clone, Copy, Debug)]
pub struct CommitSizes {
    /// A partition's commit takes no more than this, unless its first batch alone is larger.
    pub commit_bytes_max: u64,
    /// One write of a direct commit.
    pub write_bytes_max: u64,
    /// A lone commit up to this size is written and flushed by one operation.
    pub durable_write_bytes_max: u64,
    /// Fewer bytes are not written ahead of their commit.
    pub ahead_bytes_min: u64,
}

impl Default for CommitSizes {
    fn default() -> CommitSizes {
        CommitSizes {
            commit_bytes_max: COMMIT_BYTES_MAX,
            write_bytes_max: WRITE_BYTES_MAX,
            durable_write_bytes_max: DURABLE_WRITE_BYTES_MAX,
            ahead_bytes_min: AHEAD_BYTES_MIN,
        }
    }
}

impl CommitSizes {
    /// As [`COMMIT_REACH_BYTES`], for these sizes.
    pub fn reach_bytes(&self) -> u64 {
        COMMITS_REACH * self.commit_bytes_max
    }
}

#[derive(Debug, Default)]
pub(super) struct Appender {
    /// Each log is in here at most once.
    dirty: RefCell<VecDeque<Rc<Log>>>,
    running: Cell<bool>,
    pub(super) in_flight_bytes: Cell<u64>,
}

/// One commit of one log in flight.
#[derive(Debug)]
struct Commit {
    base_offset: Offset,
    end: u64,
    end_offset: Offset,
    writes: Vec<(u64, WriteData)>,
    /// Of its blocks, those that are on their way already.
    ahead: Vec<Task<io::Result<()>>>,
    tail_block: Vec<u8>,
    /// Its first batches, if they are in the journal: they are kept should there be no room for them.
    journaled: Vec<Placed>,
    /// All of it is in the journal.
    fills: bool,
    largest_before: TimestampOffset,
    bytes: u64,
    durable: bool,
}

/// A commit whose writes are done.
#[derive(Debug)]
pub(super) struct Done {
    pub base_offset: Offset,
    pub end_offset: Offset,
    pub bytes: u64,
    /// It is on the device already.
    pub durable: bool,
}

impl LogShard {
    /// Lets go of the logs that wait to be written or flushed: they hold this shard, and nothing comes for them when a
    /// process is made to end in the middle.
    #[cfg(test)]
    pub fn abandon(&self) {
        self.appender.dirty.take();
        self.flusher.abandon();
        self.journal.abandon();
    }

    /// Has the log's placed batches written soon.
    pub(super) fn mark_dirty(self: &Rc<Self>, log: &Rc<Log>) {
        if log.is_queued().replace(true) {
            return;
        }
        self.appender.dirty.borrow_mut().push_back(Rc::clone(log));
        self.run_appender();
    }

    pub(super) fn run_appender(self: &Rc<Self>) {
        let room = self.appender.in_flight_bytes.get() < IN_FLIGHT_BYTES_MAX;
        if room && !self.appender.dirty.borrow().is_empty() && !self.appender.running.replace(true) {
            drop(spawn(Rc::clone(self).append_dirty()));
        }
    }

    async fn append_dirty(self: Rc<Self>) {
        // Everything that this turn of the loop appends goes into the same commits.
        end_of_turn().await;
        let uses_journal = self.uses_journal(self.appender.dirty.borrow().len());
        while self.appender.in_flight_bytes.get() < IN_FLIGHT_BYTES_MAX {
            let Some(log) = self.appender.dirty.borrow_mut().pop_front() else { break };
            log.is_queued().set(false);
            if !uses_journal || !self.enlist(&log) {
                log.start_commit(false);
            } else if log.wants_filling() {
                log.start_commit(true);
            }
        }
        self.appender.running.set(false);
        self.run_journal();
    }

    /// Whether a commit is the only work there is: then one operation can write and flush it.
    fn is_alone(&self) -> bool {
        self.options.flush_acks == FlushAcks::All
            && self.appender.in_flight_bytes.get() == 0
            && self.appender.dirty.borrow().is_empty()
            && self.flusher.is_idle()
    }
}

impl Log {
    /// Starts to write what is placed, or what of it is in the journal, if nothing stands in the way; whatever does calls
    /// again when it is over.
    pub(super) fn start_commit(self: &Rc<Self>, journaled_only: bool) {
        if !self.may_commit() {
            self.write_ahead();
            return;
        }
        self.seal_finished();
        let shard = self.shard();
        let block = shard.options.block_bytes;
        // A direct write goes into room that is there; a buffered one takes it.
        let attempt = if shard.is_direct() || !self.has_placed() { None } else { self.begin_taking_room() };
        if attempt.is_none() && !shard.is_direct() && self.has_placed() {
            self.roll_back(None);
            return;
        }
        let sizes = shard.options.commit;
        let wants_filling = self.wants_filling();
        let (commit, file, short, ahead) = {
            let mut live = self.live().borrow_mut();
            let Some(segment) = live.front_mut() else { return };
            if segment.placed.is_empty() || self.flush_holds_block(segment) {
                drop(live);
                self.write_ahead();
                return;
            }
            // What is in the journal alone can wait, and what is on its way there comes first.
            let fills = journaled_only || !segment.has_unjournaled() || segment.journaling > 0;
            let batches_max = if fills { segment.journaled } else { usize::MAX }.min(COMMIT_BATCHES_MAX);
            if batches_max == 0 || (fills && !wants_filling) {
                return;
            }
            let file = shard.descriptors.get((self.key(), segment.base_offset));
            let end = segment.take_end(sizes.commit_bytes_max, batches_max);
            let unflushed = self.unflushed_bytes().get();
            if !fills && unflushed > 0 && unflushed + (end - segment.taken_end) > sizes.reach_bytes() {
                // The end of the running flush calls again.
                return;
            }
            let file = match file {
                Some(file) if segment.is_ready(end, shard.is_direct(), block) => shard.file(file),
                _ => {
                    drop(live);
                    self.start_prepare();
                    return;
                }
            };
            let largest_before = segment.largest_before_next();
            let Some(taken) = segment.take(sizes.commit_bytes_max, batches_max) else { return };
            let direct = shard.is_direct();
            let write_bytes_max = direct.then_some(sizes.write_bytes_max);
            let commit = plan(segment, taken, largest_before, write_bytes_max, block);
            let short = direct && segment.room.is_short(end);
            let ahead = direct && live.front().is_some_and(|front| live.len() == 1 && self.wants_spare(front));
            (commit, file, short, ahead)
        };
        if short {
            self.start_extension();
        }
        if ahead {
            self.start_spare();
        }
        // A flush alone does not make it durable while the segment's name is not.
        let durable = !commit.fills
            && commit.writes.len() == 1
            && commit.ahead.is_empty()
            && commit.bytes <= sizes.durable_write_bytes_max
            && shard.is_alone()
            && self.is_named();
        let mut commit = Commit { durable, ..commit };
        if durable {
            shard.flusher.begin_durable_write(self, commit.base_offset);
        }
        let in_flight = &shard.appender.in_flight_bytes;
        in_flight.set(in_flight.get() + commit.bytes);
        shard.count(|stats| {
            stats.commits += 1;
            stats.writes += commit.writes.len() as u64;
            stats.durable_writes += u64::from(durable);
        });
        if shard.options.flush_acks == FlushAcks::All && !durable && !commit.fills {
            self.unflushed_bytes().set(self.unflushed_bytes().get() + commit.bytes);
        }
        self.committing().set(true);
        let (writes, ahead) = (std::mem::take(&mut commit.writes), std::mem::take(&mut commit.ahead));
        let writing = write(&file, writes, ahead, block, commit.durable);
        drop(spawn(Rc::clone(self).commit(commit, file, writing, attempt)));
    }

    async fn commit(
        self: Rc<Self>,
        commit: Commit,
        file: File,
        writing: impl Future<Output = io::Result<()>>,
        attempt: Option<Attempt>,
    ) {
        let shard = Rc::clone(self.shard());
        let mut result = writing.await;
        if result.as_ref().is_err_and(is_disk_full) {
            self.note_full(attempt.as_ref());
            self.end_ahead().await;
            // Blocks behind the written prefix may hold some of these batches.
            result = self.cut_unwritten(&file).await.and(result);
        }
        drop(attempt);
        let mut commit = commit;
        let in_flight = &shard.appender.in_flight_bytes;
        in_flight.set(in_flight.get() - commit.bytes);
        self.committing().set(false);
        match result {
            Ok(()) => {
                if let Some(segment) = self.live().borrow_mut().front_mut() {
                    debug_assert_eq!(segment.base_offset, commit.base_offset);
                    segment.written_end = commit.end;
                    segment.room.tail_block = Some(commit.tail_block);
                }
                self.note_filled(commit.end_offset);
                if !commit.journaled.is_empty() {
                    self.note_room_again();
                }
                let done = Done {
                    base_offset: commit.base_offset,
                    end_offset: commit.end_offset,
                    bytes: commit.bytes,
                    durable: commit.durable,
                };
                if !commit.fills {
                    self.note_written(&done, &file);
                }
            }
            Err(error) if is_disk_full(&error) => {
                if !commit.durable && !commit.fills {
                    let unflushed = self.unflushed_bytes();
                    unflushed.set(unflushed.get().saturating_sub(commit.bytes));
                }
                let journaled = std::mem::take(&mut commit.journaled);
                let keeps = !journaled.is_empty();
                if let Some(segment) = self.live().borrow_mut().front_mut() {
                    segment.put_back(journaled);
                }
                self.roll_back(Some(commit.largest_before));
                if keeps {
                    self.retry_filling();
                }
            }
            Err(error) => {
                // What is in the journal can still be read.
                if let Some(segment) = self.live().borrow_mut().front_mut() {
                    segment.put_back(std::mem::take(&mut commit.journaled));
                }
                self.poison_by(&format!("a write to segment {} failed", commit.base_offset), &error);
            }
        }
        if commit.durable {
            shard.end_durable_write(&self);
        }
        drop(file);
        shard.trim_descriptors();
        self.next_commit();
        shard.run_appender();
    }

    /// Goes on with what was placed meanwhile.
    pub(super) fn next_commit(self: &Rc<Self>) {
        self.seal_finished();
        if self.has_unjournaled() || (self.wants_filling() && self.has_placed()) {
            self.shard().mark_dirty(self);
        }
        self.note_progress();
    }
}

impl LiveSegment {
    /// Whether a write up to `end` can start at once.
    fn is_ready(&self, end: u64, direct: bool, block: u64) -> bool {
        let room = &self.room;
        room.created && (!direct || (room.tail_block.is_some() && room.end_of_write(end, block) <= room.allocated_end))
    }
}

/// Lays a commit out as writes: direct ones of so many bytes at most, or one through the page cache.
fn plan(
    segment: &mut LiveSegment,
    taken: Taken,
    largest_before: TimestampOffset,
    write_bytes_max: Option<u64>,
    block: u64,
) -> Commit {
    let bytes = taken.end - taken.start;
    let Taken { mut batches, journaled, .. } = taken;
    let mut commit = Commit {
        base_offset: segment.base_offset,
        end: taken.end,
        end_offset: taken.end_offset,
        writes: Vec::new(),
        ahead: Vec::new(),
        tail_block: Vec::new(),
        journaled: Vec::new(),
        fills: journaled == batches.len(),
        largest_before,
        bytes,
        durable: false,
    };
    let Some(write_bytes_max) = write_bytes_max else {
        commit.writes.push((taken.start, WriteData::Batches(batches.into_iter().map(|batch| batch.bytes).collect())));
        return commit;
    };
    let start = round_down(taken.start, block);
    let end = segment.room.end_of_write(taken.end, block);
    let (ahead, writes) = segment.ahead.take();
    commit.ahead = writes;
    debug_assert!(ahead.is_empty() || (start <= ahead.start && ahead.end <= taken.end));
    // The last block is copied, never appended to while it is in flight.
    let kept = segment.room.tail_block.as_deref().unwrap_or_default();
    debug_assert_eq!(kept.len() as u64, taken.start - start);
    let mut sources = std::iter::once(kept).chain(batches.iter().map(|batch| &batch.bytes[..]));
    let mut source = sources.next().unwrap_or_default();
    let mut position = start;
    while position < end {
        if ahead.contains(&position) {
            let mut skipped = ahead.end - position;
            while skipped > 0 {
                let (head, rest) = source.split_at(source.len().min(skipped as usize));
                skipped -= head.len() as u64;
                source = if rest.is_empty() { sources.next().unwrap_or_default() } else { rest };
            }
            position = ahead.end;
            continue;
        }
        let to = if position < ahead.start { ahead.start } else { end };
        let size = (to - position).min(write_bytes_max);
        let mut buffer = AlignedBuf::with_capacity(size as usize);
        let mut room = size as usize;
        while room > 0 {
            if source.is_empty() {
                match sources.next() {
                    Some(next) => source = next,
                    None => break,
                }
                continue;
            }
            let (head, rest) = source.split_at(source.len().min(room));
            room -= buffer.put(head);
            source = rest;
        }
        buffer.put_zeros(room);
        let tail_start = round_down(taken.end, block);
        if (position..position + size).contains(&tail_start) {
            let from = (tail_start - position) as usize;
            let len = (taken.end - tail_start) as usize;
            commit.tail_block = buffer.get(from..from + len).map(<[u8]>::to_vec).unwrap_or_default();
        }
        commit.writes.push((position, WriteData::Blocks(buffer.freeze())));
        position += size;
    }
    batches.truncate(journaled);
    commit.journaled = batches;
    commit
}

/// Hands over all parts, side by side. All of them, and those written ahead, are over when the future answers, failed ones
/// too.
fn write(
    file: &File,
    mut writes: Vec<(u64, WriteData)>,
    ahead: Vec<Task<io::Result<()>>>,
    block: u64,
    durable: bool,
) -> impl Future<Output = io::Result<()>> + use<> {
    let last = writes.pop();
    let others: Vec<_> =
        writes.into_iter().map(|(position, data)| spawn(file.write_all(data, position, block, durable))).collect();
    let last = last.map(|(position, data)| file.write_all(data, position, block, durable));
    async move {
        let mut result = match last {
            Some(last) => last.await,
            None => Ok(()),
        };
        for other in others.into_iter().chain(ahead) {
            let other = other.await;
            // A failing device outweighs a full one.
            if result.as_ref().map_or_else(is_disk_full, |()| true) && other.is_err() {
                result = other;
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::config::LogConfig;
    use crate::log::segment::AppendBatch;
    use crate::log::space::Growth;
    use crate::types::LeaderEpoch;

    fn data(commit: &Commit) -> Vec<u8> {
        commit
            .writes
            .iter()
            .flat_map(|(_, data)| match data {
                WriteData::Blocks(bytes) => bytes.to_vec(),
                WriteData::Batches(batches) => batches.concat(),
            })
            .collect()
    }

    #[test]
    fn direct_writes_are_whole_blocks_that_begin_with_the_kept_one() {
        let config = LogConfig { segment_bytes: 1 << 30, ..LogConfig::default() };
        let mut segment = LiveSegment::next(Offset(0), &config, Growth::new(), 0);
        let mut expected = Vec::new();
        let sizes = [100, 4096, 3996, 1, 3 << 20, 8191];
        for (at, size) in sizes.into_iter().enumerate() {
            let bytes = vec![at as u8 + 1; size];
            expected.extend_from_slice(&bytes);
            let offset = Offset(at as i64);
            let batch = AppendBatch {
                bytes: Bytes::from(bytes),
                base_offset: offset,
                last_offset: offset,
                leader_epoch: LeaderEpoch(0),
                max_timestamp: 0,
            };
            segment.place(&batch, 4096);
            // The last one lies over blocks that were used before.
            segment.room.stale_end = if at == sizes.len() - 1 { u64::MAX } else { 0 };
            let taken = segment.take(u64::MAX, usize::MAX).unwrap();
            let start = round_down(taken.start, 4096);
            let largest = segment.largest_before_next();
            let commit = plan(&mut segment, taken, largest, Some(WRITE_BYTES_MAX), 4096);
            assert_eq!(commit.writes[0].0, start);
            assert_eq!(commit.tail_block, expected[round_down(expected.len() as u64, 4096) as usize..]);
            let mut written = data(&commit);
            assert!(written.len().is_multiple_of(4096));
            let rest = written.split_off(expected.len() - start as usize);
            assert_eq!(written, expected[start as usize..]);
            assert!(rest.iter().all(|byte| *byte == 0));
            assert_eq!(rest.len() >= 4096, at == sizes.len() - 1, "a zero block over stale ones only");
            segment.room.tail_block = Some(commit.tail_block);
        }
    }
}
