//! Which record is the last one of its key, in a part of a log.
//!
//! Whole keys are kept, where Kafka keeps their hashes (`SkimpyOffsetMap`): two keys of one hash would lose a record.

use hashbrown::HashMap;

use crate::types::Offset;

/// What a key costs beside its bytes: its place in the table, its length and its own allocation.
const ENTRY_BYTES: usize = 48;

#[derive(Debug)]
pub(super) struct LatestOffsets {
    latest: HashMap<Box<[u8]>, Offset>,
    bytes: usize,
    bytes_max: usize,
    /// Where the part ends that was looked at.
    end: Offset,
}

impl LatestOffsets {
    /// Of nothing yet, from `start` on; may take about `bytes_max` of memory.
    pub fn new(start: Offset, bytes_max: usize) -> LatestOffsets {
        LatestOffsets { latest: HashMap::new(), bytes: 0, bytes_max, end: start }
    }

    pub fn end(&self) -> Offset {
        self.end
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Offsets only rise.
    pub fn put(&mut self, key: &[u8], offset: Offset) {
        if let Some(latest) = self.latest.get_mut(key) {
            *latest = offset;
        } else {
            self.bytes += ENTRY_BYTES + key.len();
            self.latest.insert(key.into(), offset);
        }
    }

    /// Everything below `end` was looked at.
    pub fn advance_to(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Whether there is a later record of the key.
    pub fn is_superseded(&self, key: &[u8], offset: Offset) -> bool {
        self.latest.get(key).is_some_and(|latest| offset < *latest)
    }
}
