//! What compaction leaves of a batch (Kafka's `Cleaner.cleanInto`).
//!
//! Kept records keep their offsets and the batch its first and last one. A batch that tombstones stay in for the first
//! time is given the time from which on they may go (KIP-534). Records of aborted transactions go at once; a marker goes
//! as a tombstone does, its time beginning when nothing of its transaction is left.

use std::collections::HashMap;

use bytes::BytesMut;

use crate::record::{
    self, BatchBuilder, BatchError, BatchHeader, BatchOptions, Producer, RecordHeader, RecordIter, TimestampType,
};
use crate::types::{Offset, ProducerId};

use super::latest::LatestOffsets;
use super::transactions::{Outcomes, Seen, marker_of};

/// By what a log is compacted.
#[derive(Debug)]
pub(super) struct Rules {
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Of each producer that the partition remembers: it needs its last batch to go on after a crash.
    pub last_of_producers: HashMap<ProducerId, LastOfProducer>,
    /// Where the segment ends that is being written. The batch before it stays, if need be without records, as Kafka's last
    /// one of a round does: a gap between two segments is never one of compaction, but of what a power cut took.
    pub keep_end: Offset,
}

/// What is left of a producer's last batch for sure (Kafka's `LastRecord`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LastOfProducer {
    /// The last offset of its data; with none, a marker with its epoch stays.
    pub data_offset: Option<Offset>,
    pub epoch: i16,
}

/// What is left of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    All,
    Part(BytesMut),
    Nothing,
}

/// Notes the records of a batch that later compaction goes by. Aborted ones do not count.
pub(super) fn note_latest(batch: &[u8], latest: &mut LatestOffsets, outcomes: &Outcomes) -> Result<(), BatchError> {
    let mut records = RecordIter::new(batch)?;
    let header = *records.header();
    if !header.attributes.is_control() && !outcomes.is_aborted(&header) {
        while let Some(record) = records.next_record()? {
            if let Some(key) = record.key {
                latest.put(key, record.offset);
            }
        }
    }
    latest.advance_to(header.next_offset());
    Ok(())
}

/// Decides over each record of a batch, whose CRC was checked. Batches have to come in the order of the log.
pub(super) fn filter(
    batch: &[u8],
    latest: &LatestOffsets,
    outcomes: &Outcomes,
    seen: &mut Seen,
    rules: &Rules,
) -> Result<Left, BatchError> {
    let mut records = RecordIter::new(batch)?;
    let header = *records.header();
    let horizon = header.delete_horizon_ms();
    let is_control = header.attributes.is_control();
    // Nothing is left that a marker stands for, or nothing counts of a batch.
    let is_void = if is_control { seen.marker(&header, marker_of(batch)?) } else { seen.data(&header, outcomes) };
    if header.base_offset >= latest.end() {
        return Ok(Left::All);
    }
    let drops_all = is_void && (!is_control || horizon.is_some_and(|horizon| horizon <= rules.now_ms));
    let mut kept = Vec::new();
    let mut tombstones = is_void && is_control;
    if !drops_all {
        while let Some(record) = records.next_record()? {
            let stays = is_control
                || record.key.is_some_and(|key| {
                    !latest.is_superseded(key, record.offset)
                        && (record.value.is_some() || horizon.is_none_or(|horizon| rules.now_ms < horizon))
                });
            if stays {
                tombstones |= record.value.is_none();
                kept.push(record.offset);
            }
        }
    }
    if kept.is_empty() {
        return Ok(if !rules.keeps_header(&header) {
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

impl Rules {
    /// Whether a batch stays though none of its records does.
    fn keeps_header(&self, header: &BatchHeader) -> bool {
        header.next_offset() == self.keep_end
            || self.last_of_producers.get(&header.producer_id).filter(|_| header.has_producer_id()).is_some_and(
                |last| match last.data_offset {
                    Some(offset) => offset == header.last_offset(),
                    None => header.attributes.is_control() && header.producer_epoch == last.epoch,
                },
            )
    }
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
        control: header.attributes.is_control(),
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
