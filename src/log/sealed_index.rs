//! Looking things up in the index files of sealed segments, without holding them in memory and without mapping
//! them (50,000 partitions exceed `vm.max_map_count`, and a page fault would block a shard).
//!
//! The search asks for blocks and is given their bytes; it does no reading itself, so that a shard reads them on its
//! ring, through an [`IndexBlockCache`], and a loading thread with plain calls.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Offset;

use super::index::{
    IndexDamage, OFFSET_ENTRY_BYTES, OffsetPosition, TIME_ENTRY_BYTES, TimestampOffset, decode_offset_entry,
    decode_time_entry,
};

/// How many bytes of an index are read at a time, or a little less: whole entries only.
const BLOCK_BYTES_MAX: usize = 4096;

/// Which of the two indexes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IndexKind {
    Offset,
    Time,
}

impl IndexKind {
    pub fn entry_bytes(self) -> usize {
        match self {
            IndexKind::Offset => OFFSET_ENTRY_BYTES,
            IndexKind::Time => TIME_ENTRY_BYTES,
        }
    }

    fn block_bytes(self) -> usize {
        BLOCK_BYTES_MAX - BLOCK_BYTES_MAX % self.entry_bytes()
    }
}

/// A block of an index file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexBlock {
    pub number: u32,
    pub position: u64,
    pub len: usize,
}

/// An entry of an index file: its key (offset or timestamp) and what it leads to (position or offset).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    key: i64,
    value: i64,
}

/// The index file of a sealed segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedIndex {
    kind: IndexKind,
    base_offset: Offset,
    file_bytes: u64,
}

impl SealedIndex {
    /// The index of the segment at `base_offset`, by the size of its file. An index whose size is wrong is to be
    /// made anew ([`rebuild_indexes`](super::rebuild_indexes)).
    pub fn new(kind: IndexKind, base_offset: Offset, file_bytes: u64) -> Result<SealedIndex, IndexDamage> {
        if !file_bytes.is_multiple_of(kind.entry_bytes() as u64) {
            return Err(IndexDamage::Size { bytes: file_bytes as usize });
        }
        Ok(SealedIndex { kind, base_offset, file_bytes })
    }

    /// Begins to look for the last entry whose key, an offset or a timestamp, is at most `target`.
    pub fn search(&self, target: i64) -> IndexSearch {
        IndexSearch { index: *self, target, low: 0, high: self.blocks(), best: None }
    }

    /// Begins to look for the last entry of all.
    pub fn last(&self) -> IndexSearch {
        IndexSearch { low: self.blocks().saturating_sub(1), ..self.search(i64::MAX) }
    }

    fn blocks(&self) -> u32 {
        self.file_bytes.div_ceil(self.kind.block_bytes() as u64) as u32
    }

    fn block(&self, number: u32) -> IndexBlock {
        let position = u64::from(number) * self.kind.block_bytes() as u64;
        let len = self.file_bytes.saturating_sub(position).min(self.kind.block_bytes() as u64);
        IndexBlock { number, position, len: len as usize }
    }

    /// The entry number `at` of a block, if the block is that long.
    fn entry(&self, block: &[u8], at: usize) -> Option<Entry> {
        let base = self.base_offset.0;
        match self.kind {
            IndexKind::Offset => {
                let (relative, position) = decode_offset_entry(*block.as_chunks().0.get(at)?);
                Some(Entry { key: base.saturating_add(i64::from(relative)), value: i64::from(position) })
            }
            IndexKind::Time => {
                let (timestamp, relative) = decode_time_entry(*block.as_chunks().0.get(at)?);
                Some(Entry { key: timestamp, value: base.saturating_add(i64::from(relative)) })
            }
        }
    }
}

/// A binary search over the blocks of an index file, then within one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexSearch {
    index: SealedIndex,
    target: i64,
    /// Blocks before this one hold only keys at or below the target; `best` is the last of them.
    low: u32,
    /// Blocks from this one on hold only keys above the target.
    high: u32,
    best: Option<Entry>,
}

impl IndexSearch {
    /// The block to read next, in full; `None` when the search is over.
    pub fn wants(&self) -> Option<IndexBlock> {
        (self.low < self.high).then(|| self.index.block(self.low + (self.high - self.low) / 2))
    }

    /// Takes the bytes of the block that [`wants`](IndexSearch::wants) named.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), IndexDamage> {
        let Some(block) = self.wants() else { return Ok(()) };
        let count = bytes.len() / self.index.kind.entry_bytes();
        let first = self.index.entry(bytes, 0);
        let last = count.checked_sub(1).and_then(|at| self.index.entry(bytes, at));
        let (Some(first), Some(last)) = (first, last) else {
            return Err(IndexDamage::Size { bytes: block.position as usize + bytes.len() });
        };
        if count > 1 && last.key <= first.key {
            // Room that a crash of Kafka's has left behind the entries, or no index at all.
            return Err(IndexDamage::Order { entry: block.position as usize / self.index.kind.entry_bytes() });
        }
        if first.key > self.target {
            self.high = block.number;
            return Ok(());
        }
        self.low = block.number + 1;
        if last.key <= self.target {
            self.best = Some(last);
            return Ok(());
        }
        self.high = self.low;
        let (mut below, mut above) = (0, count);
        while above - below > 1 {
            let middle = usize::midpoint(below, above);
            match self.index.entry(bytes, middle) {
                Some(entry) if entry.key <= self.target => below = middle,
                _ => above = middle,
            }
        }
        self.best = self.index.entry(bytes, below);
        Ok(())
    }

    /// What an offset index leads to: where to begin reading, the segment's beginning if no entry is low enough.
    pub fn position(&self) -> OffsetPosition {
        match self.best {
            Some(entry) => OffsetPosition { offset: Offset(entry.key), position: entry.value as u32 },
            None => OffsetPosition { offset: self.index.base_offset, position: 0 },
        }
    }

    /// What a time index leads to.
    pub fn timestamp(&self) -> Option<TimestampOffset> {
        self.best.map(|entry| TimestampOffset { timestamp: entry.key, offset: Offset(entry.value) })
    }
}

/// Blocks of index files, up to a number of them, for one shard. A file is known by a number that its segment
/// gives it and that is never given again, so what is left of a removed segment is pushed out by and by.
#[derive(Debug)]
pub struct IndexBlockCache {
    slots: Vec<Slot>,
    by_key: HashMap<(u64, u32), usize>,
    slots_max: usize,
    /// Where the next slot to give up is looked for (the clock algorithm).
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: (u64, u32),
    bytes: Arc<[u8]>,
    used: bool,
}

impl IndexBlockCache {
    /// A cache of at most `bytes_max`, one block at least.
    pub fn new(bytes_max: usize) -> IndexBlockCache {
        let slots_max = (bytes_max / BLOCK_BYTES_MAX).max(1);
        IndexBlockCache { slots: Vec::new(), by_key: HashMap::new(), slots_max, hand: 0 }
    }

    pub fn get(&mut self, file: u64, block: u32) -> Option<Arc<[u8]>> {
        let slot = self.slots.get_mut(*self.by_key.get(&(file, block))?)?;
        slot.used = true;
        Some(Arc::clone(&slot.bytes))
    }

    pub fn put(&mut self, file: u64, block: u32, bytes: Arc<[u8]>) {
        let slot = Slot { key: (file, block), bytes, used: false };
        if let Some(known) = self.by_key.get(&slot.key).and_then(|&at| self.slots.get_mut(at)) {
            *known = slot;
        } else if self.slots.len() < self.slots_max {
            self.by_key.insert(slot.key, self.slots.len());
            self.slots.push(slot);
        } else {
            let at = self.give_up_one();
            if let Some(old) = self.slots.get_mut(at) {
                self.by_key.remove(&old.key);
                self.by_key.insert(slot.key, at);
                *old = slot;
            }
        }
    }

    /// The first slot from the hand on that was not used since the hand last passed it.
    fn give_up_one(&mut self) -> usize {
        loop {
            let at = self.hand % self.slots.len();
            self.hand = at + 1;
            match self.slots.get_mut(at) {
                Some(slot) if slot.used => slot.used = false,
                _ => return at,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::{OffsetIndex, TimeIndex};
    use super::*;
    use proptest::prelude::*;

    /// Runs a search over the bytes of an index file; also returns how many blocks it read.
    fn run(mut search: IndexSearch, file: &[u8]) -> (IndexSearch, usize) {
        let mut read = 0;
        while let Some(block) = search.wants() {
            let start = block.position as usize;
            search.give(&file[start..start + block.len]).unwrap();
            read += 1;
        }
        (search, read)
    }

    proptest! {
        #[test]
        fn a_search_in_the_file_finds_what_memory_finds(
            steps in proptest::collection::vec((1u32..50, 1u32..5000, 1i64..100), 0..3000),
            targets in proptest::collection::vec(0i64..160_000, 1..20),
        ) {
            let base = Offset(1000);
            let mut offsets = OffsetIndex::new(base, u32::MAX);
            let mut times = TimeIndex::new(base, u32::MAX);
            let (mut offset, mut position, mut timestamp) = (base, 0, -1);
            for (records, bytes, later) in steps {
                offset = offset.plus(i64::from(records));
                position += bytes;
                timestamp += later;
                offsets.append(offset, position);
                times.maybe_append(TimestampOffset { timestamp, offset });
            }
            let (offset_file, time_file) = (offsets.encode(), times.encode());
            let sealed = SealedIndex::new(IndexKind::Offset, base, offset_file.len() as u64).unwrap();
            let sealed_times = SealedIndex::new(IndexKind::Time, base, time_file.len() as u64).unwrap();
            for target in targets {
                let (search, read) = run(sealed.search(target), &offset_file);
                prop_assert_eq!(search.position(), offsets.lookup(Offset(target)));
                prop_assert!(read <= 4);
                let (search, _) = run(sealed_times.search(target), &time_file);
                prop_assert_eq!(search.timestamp(), times.lookup(target));
            }
            let (search, read) = run(sealed_times.last(), &time_file);
            prop_assert_eq!(search.timestamp(), times.last());
            prop_assert!(read <= 1);
        }
    }

    #[test]
    fn an_index_of_no_whole_entries_is_damaged() {
        assert_eq!(SealedIndex::new(IndexKind::Offset, Offset(0), 12), Err(IndexDamage::Size { bytes: 12 }));
        let index = SealedIndex::new(IndexKind::Time, Offset(0), 12).unwrap();
        assert!(index.search(0).give(&[0; 5]).is_err(), "the file is shorter than it was");
        let index = SealedIndex::new(IndexKind::Offset, Offset(0), 80).unwrap();
        assert_eq!(index.search(0).give(&[0; 80]), Err(IndexDamage::Order { entry: 0 }));
    }

    #[test]
    fn the_cache_keeps_what_is_used_and_stays_in_its_bounds() {
        let mut cache = IndexBlockCache::new(3 * BLOCK_BYTES_MAX);
        let block = |byte: u8| Arc::from([byte; 8].as_slice());
        for number in 0..3 {
            cache.put(1, number, block(number as u8));
        }
        for number in 3..100 {
            assert_eq!(cache.get(1, 0), Some(block(0)));
            cache.put(1, number, block(number as u8));
            assert_eq!((cache.slots.len(), cache.by_key.len()), (3, 3));
        }
        assert_eq!(cache.get(1, 99), Some(block(99)));
        cache.put(1, 0, block(9));
        assert_eq!(cache.get(1, 0), Some(block(9)));
        assert_eq!(cache.get(2, 0), None);
    }
}
