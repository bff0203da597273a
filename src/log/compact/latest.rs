//! Which record is the last one of its key, in a part of a log.
//!
//! Whole keys are kept, where Kafka keeps their hashes (`SkimpyOffsetMap`): two keys of one hash would lose a record. They
//! lie one behind the other in pieces of memory that never move, so that what it takes can be told.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::types::Offset;

/// What keys are given memory for at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A key and where its last record is.
#[derive(Clone, Copy, Debug)]
struct Latest {
    piece: u32,
    at: u32,
    len: u32,
    offset: Offset,
}

pub(super) struct LatestOffsets {
    table: HashTable<Latest>,
    hasher: DefaultHashBuilder,
    pieces: Vec<Vec<u8>>,
    piece_bytes: usize,
    bytes_max: usize,
    /// Where the part ends that was looked at.
    end: Offset,
}

impl LatestOffsets {
    /// Of nothing yet, from `start` on; may take about `bytes_max` of memory.
    pub fn new(start: Offset, bytes_max: usize) -> LatestOffsets {
        LatestOffsets {
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            pieces: Vec::new(),
            piece_bytes: 0,
            bytes_max,
            end: start,
        }
    }

    pub fn end(&self) -> Offset {
        self.end
    }

    /// The memory it takes.
    pub fn bytes(&self) -> usize {
        self.piece_bytes + self.table.allocation_size()
    }

    /// Whether the next key may be too many. Asked between two batches: what one batch has too much is let pass, or a large
    /// one could never be looked at.
    pub fn is_full(&self) -> bool {
        // A table that grows has one of twice its size beside it for a moment.
        let grows = self.table.len() == self.table.capacity();
        self.bytes() + if grows { 2 * self.table.allocation_size() } else { 0 } >= self.bytes_max
    }

    /// Offsets only rise.
    pub fn put(&mut self, key: &[u8], offset: Offset) {
        let hash = self.hasher.hash_one(key);
        let pieces = &self.pieces;
        if let Some(latest) = self.table.find_mut(hash, |latest| key_of(pieces, latest) == key) {
            latest.offset = offset;
            return;
        }
        if self.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < key.len()) {
            let piece = Vec::with_capacity(PIECE_BYTES.max(key.len()));
            self.piece_bytes += piece.capacity();
            self.pieces.push(piece);
        }
        let number = self.pieces.len() - 1;
        let Some(piece) = self.pieces.last_mut() else { return };
        let latest = Latest { piece: number as u32, at: piece.len() as u32, len: key.len() as u32, offset };
        piece.extend_from_slice(key);
        let (hasher, pieces) = (&self.hasher, &self.pieces);
        self.table.insert_unique(hash, latest, |latest| hasher.hash_one(key_of(pieces, latest)));
    }

    /// Everything below `end` was looked at.
    pub fn advance_to(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Whether there is a later record of the key.
    pub fn is_superseded(&self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hasher.hash_one(key);
        self.table.find(hash, |latest| key_of(&self.pieces, latest) == key).is_some_and(|latest| offset < latest.offset)
    }
}

fn key_of<'a>(pieces: &'a [Vec<u8>], latest: &Latest) -> &'a [u8] {
    let range = latest.at as usize..latest.at as usize + latest.len as usize;
    pieces.get(latest.piece as usize).and_then(|piece| piece.get(range)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_the_last_offset_of_each_key_and_what_memory_it_takes() {
        let mut latest = LatestOffsets::new(Offset(5), 8 << 20);
        let key = |number: i64| format!("key {number}");
        let mut keys = 0;
        while !latest.is_full() {
            latest.put(key(keys).as_bytes(), Offset(keys));
            keys += 1;
        }
        assert!(latest.bytes() <= 8 << 20, "{} bytes", latest.bytes());
        assert!(keys > 50_000, "only {keys} keys of some ten bytes fit into 8 MiB");
        for number in 0..keys {
            latest.put(key(number).as_bytes(), Offset(keys + number));
        }
        for number in 0..keys {
            assert!(latest.is_superseded(key(number).as_bytes(), Offset(keys + number - 1)));
            assert!(!latest.is_superseded(key(number).as_bytes(), Offset(keys + number)));
        }
        assert!(!latest.is_superseded(key(keys).as_bytes(), Offset(0)), "a key that was never seen");
        let long = vec![7; 3 * PIECE_BYTES];
        latest.put(&long, Offset(1));
        latest.put(b"", Offset(2));
        assert!(latest.is_superseded(&long, Offset(0)) && !latest.is_superseded(b"", Offset(2)));
    }
}
