//! The two sparse indexes of a segment, held in memory while the segment is the active one.
//!
//! ```text
//! .index      8 bytes each:   offset - base_offset: u32 | position in .log: u32
//! .timeindex  12 bytes each:  timestamp in ms: i64      | offset - base_offset: u32
//! ```
//!
//! All numbers are big-endian. An offset index entry is a batch: its last offset and where it begins. A time index
//! entry says that no record up to this offset, the last one of its batch, has a greater timestamp. In both the
//! keys and the offsets rise strictly. The files follow Kafka's `OffsetIndex` and `TimeIndex`; entries are added
//! by the rule of `LogSegment.append`, so that a rebuilt index equals the one that was kept while appending.

use std::fmt;

use crate::types::Offset;

use super::config::LogConfig;

pub const OFFSET_ENTRY_BYTES: usize = 8;
pub const TIME_ENTRY_BYTES: usize = 12;

/// Where a batch begins in its segment; `offset` is its last offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetPosition {
    pub offset: Offset,
    pub position: u32,
}

/// A timestamp in milliseconds and the last offset of the batch that has it; -1 where there is no timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimestampOffset {
    pub timestamp: i64,
    pub offset: Offset,
}

/// No timestamp, as Kafka writes it (`RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: i64 = -1;

/// Why the bytes of an index file are not an index of their segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexDamage {
    /// The size is no multiple of the entry size.
    Size { bytes: usize },
    /// This entry does not rise above the one before it.
    Order { entry: usize },
    /// This entry points behind the end of the segment.
    Position { entry: usize },
    /// This entry's offset is not one of the segment's.
    Offset { entry: usize },
}

impl fmt::Display for IndexDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexDamage::Size { bytes } => write!(f, "its {bytes} bytes are no whole number of entries"),
            IndexDamage::Order { entry } => write!(f, "entry {entry} is not above the one before it"),
            IndexDamage::Position { entry } => write!(f, "entry {entry} points behind the end of the segment"),
            IndexDamage::Offset { entry } => write!(f, "entry {entry} has an offset that the segment does not have"),
        }
    }
}

/// The offset index of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetIndex {
    base_offset: Offset,
    /// (offset relative to the base, position), both rising strictly.
    entries: Vec<(u32, u32)>,
    entries_max: usize,
}

impl OffsetIndex {
    /// An empty index that holds what fits into `bytes_max` of a file.
    pub fn new(base_offset: Offset, bytes_max: u32) -> OffsetIndex {
        OffsetIndex { base_offset, entries: Vec::new(), entries_max: bytes_max as usize / OFFSET_ENTRY_BYTES }
    }

    /// Adds a batch by its last offset. It is left out when the index is full, and when it does not lie behind
    /// the last entry or too far behind the base offset for 32 bits: a sparse index may miss any batch.
    pub fn append(&mut self, last_offset: Offset, position: u32) {
        let Some(relative) = relative(self.base_offset, last_offset) else { return };
        let rises = self.entries.last().is_none_or(|&(offset, at)| relative > offset && position > at);
        if rises && !self.is_full() {
            self.entries.push((relative, position));
        }
    }

    /// The last indexed batch whose last offset is at most `offset`; the segment's beginning if there is none.
    /// A batch that holds `offset` begins there or behind it.
    pub fn lookup(&self, offset: Offset) -> OffsetPosition {
        let after = self.entries.partition_point(|&(relative, _)| self.base_offset.0 + i64::from(relative) <= offset.0);
        match after.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(&entry) => self.absolute(entry),
            None => OffsetPosition { offset: self.base_offset, position: 0 },
        }
    }

    /// The first indexed batch that begins at `position` or behind it: an upper bound for how far to read.
    pub fn first_at_or_after_position(&self, position: u32) -> Option<OffsetPosition> {
        let at = self.entries.partition_point(|&(_, entry)| entry < position);
        self.entries.get(at).map(|&entry| self.absolute(entry))
    }

    pub fn last(&self) -> Option<OffsetPosition> {
        self.entries.last().map(|&entry| self.absolute(entry))
    }

    /// Whether the segment is to be rolled because no entry fits any more.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.entries_max
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry number `at`.
    pub fn get(&self, at: usize) -> Option<OffsetPosition> {
        self.entries.get(at).map(|&entry| self.absolute(entry))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Drops the entries of batches whose last offset is `end_offset` or above.
    pub fn truncate_to(&mut self, end_offset: Offset) {
        let base = self.base_offset.0;
        let kept = self.entries.partition_point(|&(relative, _)| base + i64::from(relative) < end_offset.0);
        self.entries.truncate(kept);
    }

    /// The content of the `.index` file, without preallocated room.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_from(0)
    }

    /// As [`encode`](Self::encode), without the first entries.
    pub fn encode_from(&self, first: usize) -> Vec<u8> {
        let entries = self.entries.get(first..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(entries.len() * OFFSET_ENTRY_BYTES);
        for (relative, position) in entries {
            bytes.extend_from_slice(&relative.to_be_bytes());
            bytes.extend_from_slice(&position.to_be_bytes());
        }
        bytes
    }

    /// Reads the content of an `.index` file of a segment of `segment_bytes`. Zero entries behind the last one
    /// (the room that Kafka preallocates) are left out.
    pub fn decode(
        base_offset: Offset,
        bytes: &[u8],
        segment_bytes: u64,
        bytes_max: u32,
    ) -> Result<OffsetIndex, IndexDamage> {
        let mut index = OffsetIndex::new(base_offset, bytes_max);
        let (entries, rest) = bytes.as_chunks::<OFFSET_ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(IndexDamage::Size { bytes: bytes.len() });
        }
        let used = entries.iter().rposition(|entry| *entry != [0; OFFSET_ENTRY_BYTES]).map_or(0, |last| last + 1);
        index.entries.reserve(used);
        for (at, entry) in entries.iter().take(used).enumerate() {
            let (relative, position) = decode_offset_entry(*entry);
            if index.entries.last().is_some_and(|&before| relative <= before.0 || position <= before.1) {
                return Err(IndexDamage::Order { entry: at });
            }
            if u64::from(position) >= segment_bytes {
                return Err(IndexDamage::Position { entry: at });
            }
            index.entries.push((relative, position));
        }
        Ok(index)
    }

    fn absolute(&self, (relative, position): (u32, u32)) -> OffsetPosition {
        OffsetPosition { offset: self.base_offset.plus(i64::from(relative)), position }
    }
}

/// The time index of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeIndex {
    base_offset: Offset,
    /// (timestamp, offset relative to the base), both rising strictly.
    entries: Vec<(i64, u32)>,
    entries_max: usize,
}

impl TimeIndex {
    /// An empty index that holds what fits into `bytes_max` of a file.
    pub fn new(base_offset: Offset, bytes_max: u32) -> TimeIndex {
        TimeIndex { base_offset, entries: Vec::new(), entries_max: bytes_max as usize / TIME_ENTRY_BYTES }
    }

    /// Adds the greatest timestamp so far with the last offset of its batch, unless the last entry has it
    /// already, or there is no timestamp.
    pub fn maybe_append(&mut self, largest: TimestampOffset) {
        let Some(relative) = relative(self.base_offset, largest.offset) else { return };
        let rises = match self.entries.last() {
            Some(&(timestamp, offset)) => largest.timestamp > timestamp && relative > offset,
            None => largest.timestamp > NO_TIMESTAMP,
        };
        // The last slot is left to the entry that is written when the segment is rolled.
        if rises && self.entries.len() < self.entries_max {
            self.entries.push((largest.timestamp, relative));
        }
    }

    /// The last entry whose timestamp is at most `timestamp`: every record up to its offset is no later than
    /// that entry's timestamp. None before the first entry.
    pub fn lookup(&self, timestamp: i64) -> Option<TimestampOffset> {
        let after = self.entries.partition_point(|&(entry, _)| entry <= timestamp);
        after.checked_sub(1).and_then(|at| self.entries.get(at)).map(|&entry| self.absolute(entry))
    }

    pub fn last(&self) -> Option<TimestampOffset> {
        self.entries.last().map(|&entry| self.absolute(entry))
    }

    /// Whether the segment is to be rolled: one slot is kept for the entry that is added then.
    pub fn is_full(&self) -> bool {
        self.entries.len() + 1 >= self.entries_max
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry number `at`.
    pub fn get(&self, at: usize) -> Option<TimestampOffset> {
        self.entries.get(at).map(|&entry| self.absolute(entry))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Drops the entries of offsets at or above `end_offset`.
    pub fn truncate_to(&mut self, end_offset: Offset) {
        let base = self.base_offset.0;
        let kept = self.entries.partition_point(|&(_, relative)| base + i64::from(relative) < end_offset.0);
        self.entries.truncate(kept);
    }

    /// The content of the `.timeindex` file, without preallocated room.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_from(0)
    }

    /// As [`encode`](Self::encode), without the first entries.
    pub fn encode_from(&self, first: usize) -> Vec<u8> {
        let entries = self.entries.get(first..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(entries.len() * TIME_ENTRY_BYTES);
        for (timestamp, relative) in entries {
            bytes.extend_from_slice(&timestamp.to_be_bytes());
            bytes.extend_from_slice(&relative.to_be_bytes());
        }
        bytes
    }

    /// Reads the content of a `.timeindex` file of a segment that ends before `end_offset`. Zero entries behind
    /// the last one (the room that Kafka preallocates) are left out.
    pub fn decode(
        base_offset: Offset,
        bytes: &[u8],
        end_offset: Offset,
        bytes_max: u32,
    ) -> Result<TimeIndex, IndexDamage> {
        let mut index = TimeIndex::new(base_offset, bytes_max);
        let (entries, rest) = bytes.as_chunks::<TIME_ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(IndexDamage::Size { bytes: bytes.len() });
        }
        let used = entries.iter().rposition(|entry| *entry != [0; TIME_ENTRY_BYTES]).map_or(0, |last| last + 1);
        index.entries.reserve(used);
        for (at, entry) in entries.iter().take(used).enumerate() {
            let (timestamp, relative) = decode_time_entry(*entry);
            if index.entries.last().is_some_and(|&before| timestamp <= before.0 || relative <= before.1) {
                return Err(IndexDamage::Order { entry: at });
            }
            if base_offset.0.saturating_add(i64::from(relative)) >= end_offset.0 {
                return Err(IndexDamage::Offset { entry: at });
            }
            index.entries.push((timestamp, relative));
        }
        Ok(index)
    }

    fn absolute(&self, (timestamp, relative): (i64, u32)) -> TimestampOffset {
        TimestampOffset { timestamp, offset: self.base_offset.plus(i64::from(relative)) }
    }
}

/// Both indexes of an active segment and the rule by which they grow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentIndexes {
    pub offsets: OffsetIndex,
    pub times: TimeIndex,
    /// The greatest timestamp of the segment so far; -1 and the base offset while there is none.
    pub largest: TimestampOffset,
    bytes_since_last_entry: u64,
}

impl SegmentIndexes {
    pub fn new(base_offset: Offset, config: &LogConfig) -> SegmentIndexes {
        SegmentIndexes {
            offsets: OffsetIndex::new(base_offset, config.segment_index_bytes),
            times: TimeIndex::new(base_offset, config.segment_index_bytes),
            largest: TimestampOffset { timestamp: NO_TIMESTAMP, offset: base_offset },
            bytes_since_last_entry: 0,
        }
    }

    /// Both indexes as they stood after their last entries; the batches behind those are still to be noted.
    pub fn resume(offsets: OffsetIndex, times: TimeIndex) -> SegmentIndexes {
        let none = TimestampOffset { timestamp: NO_TIMESTAMP, offset: times.base_offset() };
        let largest = times.last().unwrap_or(none);
        SegmentIndexes { offsets, times, largest, bytes_since_last_entry: 0 }
    }

    /// Takes note of the next batch of the segment: it begins at `position` and is `size` bytes long. Adds an
    /// entry to both indexes when more than `interval` bytes (`index.interval.bytes`) lie behind the last one.
    pub fn note(&mut self, batch: IndexedBatch, interval: u32) {
        if batch.max_timestamp > self.largest.timestamp {
            self.largest = TimestampOffset { timestamp: batch.max_timestamp, offset: batch.last_offset };
        }
        if self.bytes_since_last_entry > u64::from(interval) {
            self.offsets.append(batch.last_offset, batch.position);
            if !self.times.is_full() {
                self.times.maybe_append(self.largest);
            }
            self.bytes_since_last_entry = 0;
        }
        self.bytes_since_last_entry += u64::from(batch.size);
    }

    /// Ends the segment: the time index gets the segment's greatest timestamp as its last entry.
    pub fn seal(&mut self) {
        self.times.maybe_append(self.largest);
    }

    /// Whether the segment is to be rolled because an index is full.
    pub fn is_full(&self) -> bool {
        self.offsets.is_full() || self.times.is_full()
    }
}

/// What the indexes want to know of a batch.
#[derive(Clone, Copy, Debug)]
pub struct IndexedBatch {
    pub position: u32,
    pub size: u32,
    pub last_offset: Offset,
    pub max_timestamp: i64,
}

pub(super) fn decode_offset_entry(bytes: [u8; OFFSET_ENTRY_BYTES]) -> (u32, u32) {
    let wide = u64::from_be_bytes(bytes);
    ((wide >> 32) as u32, wide as u32)
}

pub(super) fn decode_time_entry(bytes: [u8; TIME_ENTRY_BYTES]) -> (i64, u32) {
    let mut wide = [0; 16];
    wide[16 - TIME_ENTRY_BYTES..].copy_from_slice(&bytes);
    let wide = u128::from_be_bytes(wide);
    ((wide >> 32) as u64 as i64, wide as u32)
}

/// An index entry's offset; Kafka keeps it in a signed 32-bit number that is not negative.
fn relative(base_offset: Offset, offset: Offset) -> Option<u32> {
    let relative = offset.0.checked_sub(base_offset.0)?;
    i32::try_from(relative).ok().and_then(|relative| u32::try_from(relative).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Offset = Offset(1000);

    #[test]
    fn files_are_as_kafka_writes_them() {
        let mut offsets = OffsetIndex::new(BASE, 1024);
        offsets.append(Offset(1041), 4112);
        offsets.append(Offset(1099), 8290);
        assert_eq!(offsets.encode(), [0, 0, 0, 41, 0, 0, 0x10, 0x10, 0, 0, 0, 99, 0, 0, 0x20, 0x62]);
        let mut times = TimeIndex::new(BASE, 1024);
        times.maybe_append(TimestampOffset { timestamp: 0x0192_0000_0001, offset: Offset(1041) });
        assert_eq!(times.encode(), [0, 0, 1, 0x92, 0, 0, 0, 1, 0, 0, 0, 41]);
        // With the room that Kafka preallocates.
        let mut file = offsets.encode();
        file.resize(1024, 0);
        assert_eq!(OffsetIndex::decode(BASE, &file, 10_000, 1024), Ok(offsets));
        let mut file = times.encode();
        file.resize(1020, 0);
        assert_eq!(TimeIndex::decode(BASE, &file, Offset(1042), 1024), Ok(times));
    }

    #[test]
    fn what_does_not_rise_is_left_out() {
        let mut offsets = OffsetIndex::new(BASE, 1024);
        for (offset, position) in [(1005, 10), (1005, 20), (1004, 30), (1006, 10), (999, 40), (1007, 50)] {
            offsets.append(Offset(offset), position);
        }
        offsets.append(BASE.plus(i64::from(i32::MAX) + 1), 60);
        assert_eq!(offsets.len(), 2);
        let mut times = TimeIndex::new(BASE, 1024);
        for (timestamp, offset) in [(-1, 1001), (0, 1002), (0, 1003), (5, 1002), (5, 1003), (4, 1004)] {
            times.maybe_append(TimestampOffset { timestamp, offset: Offset(offset) });
        }
        assert_eq!(times.len(), 2);
        assert_eq!(times.last(), Some(TimestampOffset { timestamp: 5, offset: Offset(1003) }));
    }

    #[test]
    fn a_full_index_asks_for_a_roll_and_keeps_a_slot_for_it() {
        let config = LogConfig { segment_index_bytes: 36, index_interval_bytes: 0, ..LogConfig::default() };
        let mut indexes = SegmentIndexes::new(BASE, &config);
        let mut batches = 0;
        while !indexes.is_full() {
            let (position, last_offset) = (batches * 100, BASE.plus(i64::from(batches)));
            indexes.note(IndexedBatch { position, size: 100, last_offset, max_timestamp: i64::from(batches) }, 0);
            batches += 1;
        }
        assert_eq!(indexes.times.len(), 2);
        indexes.note(IndexedBatch { position: 900, size: 9, last_offset: Offset(1009), max_timestamp: 99 }, 0);
        assert_eq!(indexes.times.len(), 2);
        indexes.seal();
        assert_eq!(indexes.times.last(), Some(TimestampOffset { timestamp: 99, offset: Offset(1009) }));
        indexes.seal();
        assert_eq!(indexes.times.len(), 3);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let decode = |bytes: &[u8]| OffsetIndex::decode(BASE, bytes, 5000, 1024).unwrap_err();
        let entry = |offset: u32, position: u32| [offset.to_be_bytes(), position.to_be_bytes()].concat();
        assert_eq!(decode(&[1; 9]), IndexDamage::Size { bytes: 9 });
        assert_eq!(decode(&[entry(5, 100), entry(5, 200)].concat()), IndexDamage::Order { entry: 1 });
        assert_eq!(decode(&[entry(5, 100), entry(6, 100)].concat()), IndexDamage::Order { entry: 1 });
        assert_eq!(decode(&[entry(5, 100), entry(0, 0), entry(6, 200)].concat()), IndexDamage::Order { entry: 1 });
        assert_eq!(decode(&entry(5, 5000)), IndexDamage::Position { entry: 0 });
        let mut time = 7i64.to_be_bytes().to_vec();
        time.extend_from_slice(&50u32.to_be_bytes());
        assert_eq!(TimeIndex::decode(BASE, &time, Offset(1050), 1024), Err(IndexDamage::Offset { entry: 0 }));
        assert!(TimeIndex::decode(BASE, &time, Offset(1051), 1024).is_ok());
    }

    proptest! {
        #[test]
        fn lookups_find_where_to_begin(
            batches in prop::collection::vec((1..10i64, 60..3000u32, 0..1000i64), 1..200),
            interval in 0..5000u32,
            target in 0..1200i64,
        ) {
            let config = LogConfig::default();
            let mut indexes = SegmentIndexes::new(BASE, &config);
            let (mut offset, mut position) = (BASE, 0);
            let mut noted = Vec::new();
            for (records, size, max_timestamp) in batches {
                let batch = IndexedBatch { position, size, last_offset: offset.plus(records - 1), max_timestamp };
                indexes.note(batch, interval);
                noted.push((offset, batch));
                offset = offset.plus(records);
                position += size;
            }
            let end = offset;
            let file = indexes.offsets.encode();
            let decoded = OffsetIndex::decode(BASE, &file, u64::from(position), config.segment_index_bytes);
            prop_assert_eq!(decoded.as_ref(), Ok(&indexes.offsets));
            indexes.seal();
            let file = indexes.times.encode();
            let decoded = TimeIndex::decode(BASE, &file, end, config.segment_index_bytes);
            prop_assert_eq!(decoded.as_ref(), Ok(&indexes.times));

            // Whoever looks for an offset begins at a batch, at or before the one that holds it.
            let wanted = BASE.plus(target);
            let found = indexes.offsets.lookup(wanted).position;
            prop_assert!(noted.iter().any(|(_, batch)| batch.position == found));
            for (base, batch) in &noted {
                if *base <= wanted && wanted <= batch.last_offset {
                    prop_assert!(found <= batch.position);
                }
            }
            // Whoever looks for a timestamp may pass over all batches up to the entry's offset.
            let before = indexes.times.lookup(target - 1).map(|entry| entry.offset);
            for (_, batch) in &noted {
                prop_assert!(Some(batch.last_offset) > before || batch.max_timestamp < target);
            }
            let largest = noted.iter().map(|(_, batch)| batch.max_timestamp).max();
            prop_assert_eq!(indexes.times.last().map(|entry| entry.timestamp), largest);
        }
    }
}
