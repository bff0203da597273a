//! Writes ahead of a commit.
//!
//! A log has one commit in flight, and its next one begins in the block that this one ended in: it has to wait until that
//! block is written and no flush covers it any more. The blocks behind need not wait, once all their bytes are placed:
//!
//! ```text
//!  ... last commit | placed batches                                     |
//!  ......|::block::|== whole blocks, written ahead ==|::partial block   |
//! ```
//!
//! They were never written before and are written once, in any order. The commit that takes the batches writes the rest of
//! its blocks, and is done when what was written ahead of it is: until then nothing says that any of this is there. So a
//! flush covers nothing of it that is acknowledged, and after a power cut it is what a torn commit leaves.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::rc::Rc;

use crate::runtime::file::AlignedBuf;
use crate::runtime::{Task, spawn};

use super::appender::COMMIT_BATCHES_MAX;
use super::file::WriteData;
use super::log::{Log, State};
use super::segment::LiveSegment;
use super::space::round_down;

/// What is written of a segment ahead of its next commit.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    range: Range<u64>,
    writes: Vec<Task<io::Result<()>>>,
    in_flight: Rc<Cell<usize>>,
    /// A write failed for want of room: what is placed will be taken back.
    ended: bool,
}

impl Ahead {
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Hands over what was written, or is being written, to the commit that takes its batches.
    pub fn take(&mut self) -> (Range<u64>, Vec<Task<io::Result<()>>>) {
        (std::mem::take(&mut self.range), std::mem::take(&mut self.writes))
    }
}

impl LiveSegment {
    /// The whole blocks that the next commit takes and nobody writes yet, up to `end_max`.
    fn blocks_ahead(&self, bytes_max: u64, end_max: u64, block: u64) -> Range<u64> {
        let behind = if self.ahead.range.is_empty() {
            // Behind the block of zeros too, where the last commit ended with one.
            self.room.end_of_write(self.taken_end, block)
        } else {
            self.ahead.range.end
        };
        let end = self.take_end(bytes_max, COMMIT_BATCHES_MAX).min(end_max).min(self.room.allocated_end);
        behind..round_down(end, block)
    }

    /// The placed bytes at these positions.
    fn copy_placed(&self, range: Range<u64>) -> AlignedBuf {
        let mut buffer = AlignedBuf::with_capacity((range.end - range.start) as usize);
        let mut position = self.taken_end;
        for placed in &self.placed {
            let bytes = &placed.bytes;
            let end = position + bytes.len() as u64;
            let (from, to) = (range.start.max(position), range.end.min(end));
            if from < to {
                buffer.put(bytes.get((from - position) as usize..(to - position) as usize).unwrap_or_default());
            }
            if end >= range.end {
                break;
            }
            position = end;
        }
        debug_assert_eq!(buffer.len() as u64, range.end - range.start);
        buffer
    }
}

impl Log {
    /// Writes whole blocks of what is placed, if they are many, while something keeps their commit from starting.
    pub(super) fn write_ahead(self: &Rc<Self>) {
        let shard = self.shard();
        let may_write = matches!(*self.state().borrow(), State::Open | State::Closed) && !self.preparing().get();
        if !shard.is_direct() || !may_write {
            return;
        }
        let (sizes, block) = (shard.options.commit, shard.options.block_bytes);
        let mut live = self.live().borrow_mut();
        let Some(segment) = live.front_mut() else { return };
        let waiting = segment.placed_end.saturating_sub(segment.taken_end.max(segment.ahead.range.end));
        // What is in the journal, or on its way there, is written when it suits.
        let journaled = segment.journaled + segment.journaling > 0;
        if waiting < sizes.ahead_bytes_min || journaled || !segment.room.created || segment.ahead.ended {
            return;
        }
        // What a power cut can leave behind the flushed end is bounded.
        let reach = sizes.reach_bytes().saturating_sub(self.unflushed_bytes().get());
        let range = segment.blocks_ahead(sizes.commit_bytes_max, segment.taken_end + reach, block);
        if range.is_empty() || range.end - range.start < sizes.ahead_bytes_min {
            return;
        }
        let Some(file) = shard.descriptors.get((self.key(), segment.base_offset)) else { return };
        let file = shard.file(file);
        let mut position = range.start;
        while position < range.end {
            let end = range.end.min(position + sizes.write_bytes_max);
            let data = WriteData::Blocks(segment.copy_placed(position..end).freeze());
            let writing = file.write_all(data, position, block, false);
            let (log, in_flight) = (Rc::clone(self), Rc::clone(&segment.ahead.in_flight));
            let bytes = end - position;
            let shard_in_flight = &shard.appender.in_flight_bytes;
            shard_in_flight.set(shard_in_flight.get() + bytes);
            in_flight.set(in_flight.get() + 1);
            segment.ahead.writes.push(spawn(async move {
                let result = writing.await;
                let shard = log.shard();
                let shard_in_flight = &shard.appender.in_flight_bytes;
                shard_in_flight.set(shard_in_flight.get() - bytes);
                in_flight.set(in_flight.get() - 1);
                log.note_progress();
                shard.run_appender();
                result
            }));
            shard.count(|stats| stats.writes += 1);
            position = end;
        }
        let from = if segment.ahead.range.is_empty() { range.start } else { segment.ahead.range.start };
        segment.ahead.range = from..range.end;
    }

    /// Whether something is being written ahead.
    pub(super) fn is_ahead(&self) -> bool {
        self.live().borrow().iter().any(|segment| segment.ahead.in_flight.get() > 0)
    }

    /// Waits until nothing is being written ahead.
    pub(super) async fn ahead_over(self: &Rc<Self>) {
        self.until(|| !self.is_ahead()).await;
    }

    /// Writes nothing more ahead until what is placed was taken back, and waits for what is under way.
    pub(super) async fn end_ahead(self: &Rc<Self>) {
        if let Some(front) = self.live().borrow_mut().front_mut() {
            front.ahead.ended = true;
        }
        self.ahead_over().await;
    }
}
