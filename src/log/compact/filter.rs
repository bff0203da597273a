//! What compaction leaves of a batch (Kafka's `Cleaner.cleanInto`).
//!
//! Kept records keep their offsets and the batch its first and last one. A batch that tombstones stay in for the first
//! time is given the time from which on they may go (KIP-534). Transactions' markers stay; their records go when there is
//! a later one outside of a transaction, whether they were committed or not.

use std::collections::HashMap;

use bytes::BytesMut;

use crate::record::{
    self, BatchBuilder, BatchError, BatchHeader, BatchOptions, Producer, RecordHeader, RecordIter, TimestampType,
};
use crate::types::{Offset, ProducerId};

use super::latest::LatestOffsets;

/// By what a log is compacted.
#[derive(Debug)]
pub(super) struct Rules {
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// The last offset of each producer that the partition remembers: it needs its last batch to go on after a crash.
    pub last_of_producers: HashMap<ProducerId, Offset>,
}

/// What is left of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    All,
    Part(BytesMut),
    Nothing,
}

/// Notes the records of a batch that later compaction goes by. Those of transactions do not count: they may turn out not
/// to be there.
pub(super) fn note_latest(batch: &[u8], latest: &mut LatestOffsets) -> Result<(), BatchError> {
    let mut records = RecordIter::new(batch)?;
    let header = *records.header();
    if !header.attributes.is_control() && !header.attributes.is_transactional() {
        while let Some(record) = records.next_record()? {
            if let Some(key) = record.key {
                latest.put(key, record.offset);
            }
        }
    }
    latest.advance_to(header.next_offset());
    Ok(())
}

/// Decides over each record of a batch, whose CRC was checked.
pub(super) fn filter(batch: &[u8], latest: &LatestOffsets, rules: &Rules) -> Result<Left, BatchError> {
    let mut records = RecordIter::new(batch)?;
    let header = *records.header();
    if header.attributes.is_control() || header.base_offset >= latest.end() {
        return Ok(Left::All);
    }
    let horizon = header.delete_horizon_ms();
    let mut kept = Vec::new();
    let mut tombstones = false;
    while let Some(record) = records.next_record()? {
        let stays = record.offset >= latest.end()
            || record.key.is_some_and(|key| {
                !latest.is_superseded(key, record.offset)
                    && (record.value.is_some() || horizon.is_none_or(|horizon| rules.now_ms < horizon))
            });
        if stays {
            tombstones |= record.value.is_none();
            kept.push(record.offset);
        }
    }
    if kept.is_empty() {
        let is_last = rules.last_of_producers.get(&header.producer_id) == Some(&header.last_offset());
        return Ok(if !header.has_producer_id() || !is_last {
            Left::Nothing
        } else if header.count == 0 {
            Left::All
        } else {
            Left::Part(record::without_records(&header))
        });
    }
    let horizon = horizon.or_else(|| tombstones.then(|| rules.now_ms.saturating_add(rules.delete_retention_ms)));
    if kept.len() == header.count as usize && horizon == header.delete_horizon_ms() {
        return Ok(Left::All);
    }
    rewrite(batch, &header, &kept, horizon).map(Left::Part)
}

fn rewrite(
    batch: &[u8],
    header: &BatchHeader,
    kept: &[Offset],
    delete_horizon_ms: Option<i64>,
) -> Result<BytesMut, BatchError> {
    let append_time_ms =
        (header.attributes.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
    let mut builder = BatchBuilder::new(BatchOptions {
        codec: header.attributes.codec()?,
        level: None,
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        producer: Producer {
            id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        },
        transactional: header.attributes.is_transactional(),
        control: false,
        append_time_ms,
        delete_horizon_ms,
    });
    let mut kept = kept.iter().peekable();
    let mut records = RecordIter::new(batch)?;
    while let Some(record) = records.next_record()? {
        if kept.next_if_eq(&&record.offset).is_none() {
            continue;
        }
        let headers: Vec<RecordHeader<'_>> = record.headers.clone().collect();
        let delta = (record.offset.0 - header.base_offset.0) as i32;
        builder.append_at(delta, record.timestamp, record.key, record.value, &headers);
    }
    builder.extend_to(header.last_offset_delta);
    Ok(builder.build())
}
