//! The records of a call as batches to append.

use bytes::BytesMut;

use crate::record::{BatchBuilder, BatchOptions};

use super::machine::GroupLogRecord;

/// One batch, whatever its size: after a crash all of it is there or nothing.
pub fn one_batch(records: &[GroupLogRecord], now_ms: i64) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in records {
        builder.append(now_ms, Some(&record.key), record.value.as_deref(), &[]);
    }
    builder.build()
}

/// Batches for records that need not stand together, each below `batch_bytes_max` unless a single record is larger, in
/// the order of the records, with how many records are in each.
pub fn several_batches(records: &[GroupLogRecord], now_ms: i64, batch_bytes_max: usize) -> Vec<(BytesMut, usize)> {
    let mut batches = Vec::new();
    let mut rest = records;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|record| {
            bytes += BatchBuilder::record_bytes_max(Some(&record.key), record.value.as_deref(), &[]);
            bytes <= batch_bytes_max
        });
        let (batch, others) = rest.split_at(fitting.count().max(1));
        batches.push((one_batch(batch, now_ms), batch.len()));
        rest = others;
    }
    batches
}
