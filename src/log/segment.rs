//! The segments of a live log: sealed ones, which only readers touch, and live ones, which appends go to.
//!
//! A live segment knows three ends, each at or before the next: *written* (in the file), *taken* (in a write in
//! flight) and *placed* (its position given to every batch appended). Where a batch goes is decided when it is appended, so that
//! the producer state of a roll is that of its offset; a segment may therefore be live before its file is there, and
//! several are while batches arrive faster than files are made.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{LeaderEpoch, Offset};

use super::ahead::Ahead;
use super::config::LogConfig;
use super::index::{IndexedBatch, NO_TIMESTAMP, SegmentIndexes, TimestampOffset};
use super::loaded::{LoadedActive, LoadedSegment};
use super::recycle::Straddling;
use super::space::{Growth, round_up};

/// One batch as it is handed to the log: complete, stamped with its base offset and leader epoch.
#[derive(Clone, Debug)]
pub struct AppendBatch {
    pub bytes: Bytes,
    /// Equal to the log end offset.
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    /// Greatest timestamp of the batch's records in milliseconds; -1 if they have none.
    pub max_timestamp: i64,
}

/// A segment that no append goes to any more.
#[derive(Clone, Debug)]
pub(super) struct SealedSegment {
    pub base_offset: Offset,
    pub size_bytes: u64,
    /// The greatest timestamp; `None` where only the time index file says it.
    pub largest: Option<TimestampOffset>,
    /// The indexes while their files are not on the device yet.
    pub indexes: Option<Rc<SegmentIndexes>>,
    /// What is to be known before the file can be used again; `None` if it never is.
    pub straddling: Option<Arc<[u32]>>,
}

impl From<&LoadedSegment> for SealedSegment {
    fn from(loaded: &LoadedSegment) -> SealedSegment {
        SealedSegment {
            base_offset: loaded.base_offset,
            size_bytes: loaded.size_bytes,
            largest: loaded.largest,
            indexes: None,
            straddling: None,
        }
    }
}

/// A batch that has its position but is in no write yet, and what to put back should it never be written.
#[derive(Debug)]
pub(super) struct Placed {
    pub bytes: Bytes,
    pub base_offset: Offset,
    pub end_offset: Offset,
    largest_before: TimestampOffset,
}

/// A segment that appends go to, or went to while their writes are not done.
#[derive(Debug)]
pub(super) struct LiveSegment {
    pub base_offset: Offset,
    pub indexes: SegmentIndexes,
    /// The greatest timestamp of the first batch: `segment.ms` counts from it.
    pub first_timestamp: Option<i64>,
    /// Where `segment.ms` counts from while no batch has a timestamp.
    pub created_ms: i64,
    /// Where the next batch goes.
    pub placed_end: u64,
    /// Where the next write begins.
    pub taken_end: u64,
    /// The end of the unbroken prefix of completed writes.
    pub written_end: u64,
    pub placed: VecDeque<Placed>,
    /// How many of the placed batches, from the first on, are in the journal: durable, and never taken back.
    pub journaled: usize,
    /// How many behind those are on their way there.
    pub journaling: usize,
    /// What of them is written before a commit takes them.
    pub ahead: Ahead,
    pub room: Room,
    /// Of all batches, for the file's next use; `None` if this process did not write all of it.
    pub straddling: Option<Straddling>,
    /// The producer state at the base offset: written when the segment before is sealed.
    pub snapshot: Option<Bytes>,
}

/// What is known of the file under a live segment.
#[derive(Debug)]
pub(super) struct Room {
    /// The file exists.
    pub created: bool,
    /// The file's size with what is preallocated.
    pub allocated_end: u64,
    /// Blocks below this may hold bytes of an earlier use: a write that ends before it ends with a zero block.
    pub stale_end: u64,
    /// The content of the last, partial block up to `written_end`; `None` when it is to be read from the file.
    pub tail_block: Option<Vec<u8>>,
    pub growth: Growth,
}

impl Room {
    /// Where a write of data up to `data_end` ends: at a block's end, and over blocks of an earlier use one zero block later.
    pub fn end_of_write(&self, data_end: u64, block: u64) -> u64 {
        let end = round_up(data_end, block);
        if end < self.stale_end { end + block } else { end }
    }

    /// Whether more room should be on its way when the data ends at `data_end`.
    pub fn is_short(&self, data_end: u64) -> bool {
        self.growth.is_short(self.allocated_end.saturating_sub(data_end))
    }
}

/// What one commit writes to one segment.
#[derive(Debug)]
pub(super) struct Taken {
    /// Position of the first byte.
    pub start: u64,
    pub end: u64,
    pub end_offset: Offset,
    pub batches: Vec<Placed>,
    /// How many of them, from the first on, are in the journal.
    pub journaled: usize,
}

impl LiveSegment {
    pub fn loaded(active: LoadedActive, block_bytes: u64, now_ms: i64) -> LiveSegment {
        let size = active.size_bytes;
        LiveSegment {
            base_offset: active.base_offset,
            indexes: active.indexes,
            first_timestamp: active.first_timestamp,
            created_ms: now_ms,
            placed_end: size,
            taken_end: size,
            written_end: size,
            placed: VecDeque::new(),
            journaled: 0,
            journaling: 0,
            ahead: Ahead::default(),
            room: Room {
                // Loading made the file, or not: creating an existing one does no harm.
                created: size > 0,
                allocated_end: size,
                // Loading cut the file at its data, so all behind it reads as zero.
                stale_end: 0,
                tail_block: size.is_multiple_of(block_bytes).then(Vec::new),
                growth: Growth::new(),
            },
            straddling: (size == 0).then(Straddling::default),
            snapshot: None,
        }
    }

    /// The segment that begins where the last ends; its file is not there yet.
    pub fn next(base_offset: Offset, config: &LogConfig, growth: Growth, now_ms: i64) -> LiveSegment {
        LiveSegment {
            base_offset,
            indexes: SegmentIndexes::new(base_offset, config),
            first_timestamp: None,
            created_ms: now_ms,
            placed_end: 0,
            taken_end: 0,
            written_end: 0,
            placed: VecDeque::new(),
            journaled: 0,
            journaling: 0,
            ahead: Ahead::default(),
            room: Room { created: false, allocated_end: 0, stale_end: 0, tail_block: Some(Vec::new()), growth },
            straddling: Some(Straddling::default()),
            snapshot: None,
        }
    }

    /// Whether a batch has to go to a new segment, by the rules of Kafka's `LogSegment.shouldRoll`.
    pub fn should_roll(&self, batch: &AppendBatch, config: &LogConfig, jitter_ms: i64, now_ms: i64) -> bool {
        if self.placed_end == 0 {
            // Its base offset is the batch's own: another segment would have no more to offer.
            return false;
        }
        let waited_ms = match self.first_timestamp {
            Some(first) if batch.max_timestamp != NO_TIMESTAMP => batch.max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(self.created_ms),
        };
        self.placed_end + batch.bytes.len() as u64 > u64::from(config.segment_bytes)
            || waited_ms > config.roll_ms().saturating_sub(jitter_ms)
            || self.indexes.is_full()
            || !self.holds_offset(batch.last_offset)
    }

    fn holds_offset(&self, offset: Offset) -> bool {
        i32::try_from(offset.0 - self.base_offset.0).is_ok()
    }

    /// Gives a batch its position.
    pub fn place(&mut self, batch: &AppendBatch, index_interval_bytes: u32) {
        let largest_before = self.indexes.largest;
        let size = batch.bytes.len() as u64;
        let noted = IndexedBatch {
            position: self.placed_end as u32,
            size: size as u32,
            last_offset: batch.last_offset,
            max_timestamp: batch.max_timestamp,
        };
        self.indexes.note(noted, index_interval_bytes);
        if self.first_timestamp.is_none() && batch.max_timestamp != NO_TIMESTAMP {
            self.first_timestamp = Some(batch.max_timestamp);
        }
        if let Some(straddling) = &mut self.straddling {
            straddling.note(self.placed_end);
        }
        self.placed_end += size;
        self.placed.push_back(Placed {
            bytes: batch.bytes.clone(),
            base_offset: batch.base_offset,
            end_offset: batch.last_offset.plus(1),
            largest_before,
        });
    }

    /// Takes placed batches for a write: at least one, and no more than fit into `bytes_max`.
    pub fn take(&mut self, bytes_max: u64, batches_max: usize) -> Option<Taken> {
        let first = self.placed.pop_front()?;
        let mut taken = Taken {
            start: self.taken_end,
            end: self.taken_end + first.bytes.len() as u64,
            end_offset: first.end_offset,
            batches: vec![first],
            journaled: 0,
        };
        while let Some(next) = self.placed.front()
            && taken.end - taken.start + next.bytes.len() as u64 <= bytes_max
            && taken.batches.len() < batches_max
        {
            taken.end += next.bytes.len() as u64;
            taken.end_offset = next.end_offset;
            taken.batches.extend(self.placed.pop_front());
        }
        self.taken_end = taken.end;
        taken.journaled = self.journaled.min(taken.batches.len());
        self.journaled -= taken.journaled;
        Some(taken)
    }

    /// Takes batches back that are in the journal, whose write failed for want of room.
    pub fn put_back(&mut self, journaled: Vec<Placed>) {
        self.journaled += journaled.len();
        for placed in journaled.into_iter().rev() {
            self.placed.push_front(placed);
        }
        self.taken_end = self.written_end;
    }

    /// Whether a record is among the batches that are in no write.
    pub fn holds(&self, offset: Offset) -> bool {
        self.placed.front().is_some_and(|first| first.base_offset <= offset)
            && self.placed.back().is_some_and(|last| offset < last.end_offset)
    }

    /// Whether there are batches that are neither in a write nor in the journal.
    pub fn has_unjournaled(&self) -> bool {
        self.placed.len() > self.journaled + self.journaling
    }

    /// Where the batches in the journal end, those on their way there too.
    pub fn journaled_offset(&self) -> Option<Offset> {
        let last = (self.journaled + self.journaling).checked_sub(1)?;
        self.placed.get(last).map(|placed| placed.end_offset)
    }

    /// Forgets what is in no write.
    pub fn forget_placed(&mut self) {
        self.placed.clear();
        (self.journaled, self.journaling) = (0, 0);
    }

    /// Forgets what is neither in a write nor in the journal: that can still be read. Answers whether there is any.
    pub fn keep_journaled(&mut self) -> bool {
        self.placed.truncate(self.journaled);
        self.journaling = 0;
        self.journaled > 0
    }

    /// How far the next `take` goes.
    pub fn take_end(&self, bytes_max: u64, batches_max: usize) -> u64 {
        let mut bytes = 0;
        for (at, placed) in self.placed.iter().enumerate() {
            let size = placed.bytes.len() as u64;
            if at > 0 && (bytes + size > bytes_max || at >= batches_max) {
                break;
            }
            bytes += size;
        }
        self.taken_end + bytes
    }

    /// Forgets every batch that is neither written nor in the journal; `end_offset` is where those end. `largest` is that
    /// of those when some were taken for a write that failed.
    pub fn roll_back(&mut self, end_offset: Offset, largest: Option<TimestampOffset>) {
        let kept = self.journaled + self.journaling;
        let largest = largest.or_else(|| self.placed.get(kept).map(|placed| placed.largest_before));
        if let Some(largest) = largest {
            self.indexes.largest = largest;
        }
        self.indexes.offsets.truncate_to(end_offset);
        self.indexes.times.truncate_to(end_offset);
        self.placed.truncate(kept);
        self.ahead = Ahead::default();
        self.taken_end = self.written_end;
        self.placed_end = self.written_end + self.placed.iter().map(|placed| placed.bytes.len() as u64).sum::<u64>();
        if let Some(straddling) = &mut self.straddling {
            straddling.truncate_to(self.placed_end);
        }
        if self.placed_end == 0 {
            self.first_timestamp = None;
        }
    }

    /// The greatest timestamp among all batches before the next one to be taken that is not in the journal.
    pub fn largest_before_next(&self) -> TimestampOffset {
        self.placed.get(self.journaled).map_or(self.indexes.largest, |placed| placed.largest_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base: i64, records: i64, size: usize, max_timestamp: i64) -> AppendBatch {
        AppendBatch {
            bytes: Bytes::from(vec![7; size]),
            base_offset: Offset(base),
            last_offset: Offset(base + records - 1),
            leader_epoch: LeaderEpoch(0),
            max_timestamp,
        }
    }

    #[test]
    fn a_segment_rolls_by_size_time_and_offset() {
        let config = LogConfig { segment_bytes: 1000, segment_ms: 100, ..LogConfig::default() };
        let mut segment = LiveSegment::next(Offset(0), &config, Growth::new(), 50);
        let huge = batch(0, 1, 5000, 10);
        assert!(!segment.should_roll(&huge, &config, 0, 0), "an empty one takes anything");
        segment.place(&batch(0, 10, 600, 10), 4096);
        assert!(!segment.should_roll(&batch(10, 1, 400, 110), &config, 0, 0));
        assert!(segment.should_roll(&batch(10, 1, 401, 110), &config, 0, 0), "size");
        assert!(segment.should_roll(&batch(10, 1, 400, 111), &config, 0, 0), "time of the batches");
        assert!(segment.should_roll(&batch(10, 1, 400, 106), &config, 5, 0), "jitter");
        assert!(segment.should_roll(&batch(10, 1, 400, -1), &config, 0, 151), "time of the clock");
        assert!(segment.should_roll(&batch(i64::from(i32::MAX), 2, 10, 10), &config, 0, 0), "offset");
        let tiny = LogConfig { segment_index_bytes: 8, index_interval_bytes: 0, ..config };
        let mut segment = LiveSegment::next(Offset(0), &tiny, Growth::new(), 50);
        segment.place(&batch(0, 1, 10, 10), 0);
        segment.place(&batch(1, 1, 10, 10), 0);
        assert!(segment.should_roll(&batch(2, 1, 10, 10), &tiny, 0, 0), "index full");
    }

    #[test]
    fn what_is_taken_is_bounded_and_what_is_not_written_can_be_forgotten() {
        let config = LogConfig::default();
        let mut segment = LiveSegment::next(Offset(0), &config, Growth::new(), 0);
        for at in 0..10 {
            segment.place(&batch(at, 1, 100, at), 0);
        }
        assert_eq!(segment.take_end(250, 100), 200);
        let taken = segment.take(250, 100).unwrap();
        assert_eq!((taken.start, taken.end, taken.end_offset, taken.batches.len()), (0, 200, Offset(2), 2));
        segment.written_end = 200;
        assert_eq!(segment.take(10, 100).unwrap().end, 300, "at least one");
        segment.roll_back(Offset(2), Some(TimestampOffset { timestamp: 1, offset: Offset(1) }));
        assert_eq!((segment.placed_end, segment.taken_end), (200, 200));
        assert_eq!(segment.indexes.offsets.last().unwrap().offset, Offset(1));
        assert_eq!(segment.indexes.largest.timestamp, 1);
        assert!(segment.take(10, 100).is_none());
        segment.place(&batch(2, 1, 50, 2), 0);
        assert_eq!(segment.placed_end, 250);
    }
}
