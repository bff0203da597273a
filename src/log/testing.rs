//! Batches and segments for the tests of this layer.

use std::path::Path;

use crate::record::{BatchBuilder, BatchOptions};
use crate::types::{LeaderEpoch, Offset};

use super::names;

/// A batch of `count` records from `base_offset` on. The timestamp is the base offset, so it tells batches apart.
pub(super) fn batch(base_offset: i64, count: i32, epoch: i32, value: &[u8]) -> Vec<u8> {
    batch_at(base_offset, count, epoch, 1_000_000 + base_offset, value)
}

pub(super) fn batch_at(base_offset: i64, count: i32, epoch: i32, timestamp: i64, value: &[u8]) -> Vec<u8> {
    let options =
        BatchOptions { base_offset: Offset(base_offset), leader_epoch: LeaderEpoch(epoch), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for _ in 0..count {
        builder.append(timestamp, None, Some(value), &[]);
    }
    builder.build().to_vec()
}

/// Writes a segment file.
pub(super) fn write_segment(dir: &Path, base_offset: i64, bytes: &[u8]) {
    crate::runtime::fs::write_synced(&names::log_file(dir, Offset(base_offset)), bytes).unwrap();
}
