//! The file `<end offset>.snapshot`, with which a start need not read the whole log for its producers
//! (`ProducerStateManager.writeSnapshot`; schema `ProducerSnapshot` version 1). Big-endian:
//!
//! ```text
//! version                   int16    1
//! CRC-32C                   uint32   of all that follows
//! entries                   int32    count, then per producer:
//!   producer id             int64
//!   epoch                   int16
//!   last sequence           int32    -1 if no batch of the epoch is remembered
//!   last offset             int64    -1 likewise
//!   offset delta            int32    of the last batch: its last sequence less its first
//!   timestamp               int64    of the last batch or marker
//!   coordinator epoch       int32    -1: no marker yet
//!   transaction first offset int64   -1: none is open
//! ```
//!
//! Of the five batches remembered only the last is kept, as in Kafka: after a restart a retry of an older one is out
//! of order, not a duplicate.

use std::fmt;

use crate::record::NO_SEQUENCE;
use crate::types::{Offset, ProducerId};

use super::{ProducerEntry, ProducerTable, RememberedBatch};

const VERSION: i16 = 1;
const ENTRIES_AT: usize = 6;
const ENTRY_BYTES: usize = 46;

/// Why a snapshot file is of no use. Kafka deletes such a file and takes the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotError {
    Cut,
    Version { found: i16 },
    Crc { stored: u32, computed: u32 },
    Count { claimed: i32, bytes: usize },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Cut => f.write_str("the producer snapshot is cut off"),
            SnapshotError::Version { found } => write!(f, "the producer snapshot has the unknown version {found}"),
            SnapshotError::Crc { stored, computed } => {
                write!(f, "the producer snapshot is corrupt (stored CRC {stored:#010x}, computed {computed:#010x})")
            }
            SnapshotError::Count { claimed, bytes } => {
                write!(f, "the producer snapshot claims {claimed} entries in {bytes} bytes")
            }
        }
    }
}

impl std::error::Error for SnapshotError {}

impl ProducerTable {
    /// The bytes of the file that `end_offset` names; producers in the order of their ids.
    pub fn encode_snapshot(&self) -> Vec<u8> {
        // The file cannot say where a producer without a batch goes on: without its entry it begins where it likes.
        let told = |entry: &ProducerEntry| entry.resume_sequence.is_none() || entry.transaction_first_offset.is_some();
        let mut entries: Vec<(ProducerId, &ProducerEntry)> = self.iter().filter(|(_, entry)| told(entry)).collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        let mut out = Vec::with_capacity(ENTRIES_AT + 4 + entries.len() * ENTRY_BYTES);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&0u32.to_be_bytes());
        out.extend_from_slice(&(entries.len() as i32).to_be_bytes());
        for (producer_id, entry) in entries {
            let last = entry.batches().last();
            out.extend_from_slice(&producer_id.0.to_be_bytes());
            out.extend_from_slice(&entry.epoch.to_be_bytes());
            out.extend_from_slice(&last.map_or(NO_SEQUENCE, |batch| batch.last_sequence).to_be_bytes());
            out.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
            out.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
            out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
            out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
            out.extend_from_slice(&entry.transaction_first_offset.map_or(-1, |offset| offset.0).to_be_bytes());
        }
        let crc = crc32c::crc32c(&out[ENTRIES_AT..]);
        out[2..ENTRIES_AT].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// The table of a snapshot file named by `end_offset`. The producers in it expire from `now_ms` on: those idle for
    /// longer were left out when it was written.
    pub fn decode_snapshot(bytes: &[u8], end_offset: Offset, now_ms: i64) -> Result<ProducerTable, SnapshotError> {
        let (version, rest) = bytes.split_first_chunk().ok_or(SnapshotError::Cut)?;
        let version = i16::from_be_bytes(*version);
        if version != VERSION {
            return Err(SnapshotError::Version { found: version });
        }
        let (stored, covered) = rest.split_first_chunk().ok_or(SnapshotError::Cut)?;
        let (stored, computed) = (u32::from_be_bytes(*stored), crc32c::crc32c(covered));
        if stored != computed {
            return Err(SnapshotError::Crc { stored, computed });
        }
        let (count, entries) = covered.split_first_chunk().ok_or(SnapshotError::Cut)?;
        let claimed = i32::from_be_bytes(*count);
        if usize::try_from(claimed).ok().and_then(|n| n.checked_mul(ENTRY_BYTES)) != Some(entries.len()) {
            return Err(SnapshotError::Count { claimed, bytes: entries.len() });
        }

        let mut table = ProducerTable::new(end_offset);
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let (producer_id, entry) = decode_entry(entry, now_ms).ok_or(SnapshotError::Cut)?;
            if let Some(first_offset) = entry.transaction_first_offset {
                table.open_transactions.insert(first_offset, producer_id);
            }
            table.producers.insert(producer_id, entry);
        }
        Ok(table)
    }
}

fn decode_entry(mut bytes: &[u8], now_ms: i64) -> Option<(ProducerId, ProducerEntry)> {
    let producer_id = ProducerId(i64::from_be_bytes(take(&mut bytes)?));
    let mut entry = ProducerEntry::new(i16::from_be_bytes(take(&mut bytes)?));
    let last_sequence = i32::from_be_bytes(take(&mut bytes)?);
    let last_offset = Offset(i64::from_be_bytes(take(&mut bytes)?));
    let offset_delta = i32::from_be_bytes(take(&mut bytes)?);
    let timestamp = i64::from_be_bytes(take(&mut bytes)?);
    entry.coordinator_epoch = i32::from_be_bytes(take(&mut bytes)?);
    let first_offset = i64::from_be_bytes(take(&mut bytes)?);
    entry.transaction_first_offset = (first_offset >= 0).then_some(Offset(first_offset));
    if last_offset >= Offset::ZERO {
        entry.remember(RememberedBatch { last_sequence, last_offset, offset_delta, timestamp });
    }
    entry.last_timestamp = timestamp;
    entry.touched_ms = now_ms;
    Some((producer_id, entry))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}
