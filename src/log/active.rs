//! Loads the active segment of a log that was stopped cleanly, and makes index files anew where they are missing.

use std::path::Path;

use crate::runtime::fs;
use crate::types::{LeaderEpoch, Offset};

use super::config::LogConfig;
use super::dir_files::PartitionFiles;
use super::error::LoadError;
use super::index::{OffsetIndex, SegmentIndexes, TimeIndex};
use super::names;
use super::recovery::write_indexes;
use super::replay::Replay;
use super::segment_scan::{Rules, ScannedSegment, Standing, scan_segment, scan_segment_end};

/// No index file is larger: one entry for every batch of the largest segment.
const INDEX_BYTES_MAX: usize = 1 << 30;

/// Scans the active segment from the last entry of its index on, or all of it if the index files are missing or not
/// those of the segment. Says too whether they were.
pub(super) fn load_active(
    dir: &Path,
    files: &PartitionFiles,
    base_offset: Offset,
    config: &LogConfig,
    standing: &mut Standing,
    replay: &mut Replay,
) -> Result<(ScannedSegment, bool), LoadError> {
    *standing = Standing { offset: base_offset, epoch: LeaderEpoch::UNKNOWN };
    let before = *standing;
    if let Some(indexes) = read_indexes(dir, files, base_offset, config)? {
        let scanned = scan_segment_end(dir, base_offset, indexes, Rules::TRUSTED, standing, config, replay)?;
        if let Some(scanned) = scanned
            && scanned.stop.is_none()
            && scanned.indexes.times.last().is_none_or(|last| last.offset < standing.offset)
        {
            return Ok((scanned, true));
        }
        *standing = before;
    }
    let scanned = scan_segment(dir, base_offset, Rules::TRUSTED, standing, config, replay)?;
    // An empty segment has nothing to be indexed.
    let indexed = scanned.data_bytes == 0;
    Ok((scanned, indexed))
}

/// The indexes of a segment from its files; `None` if they have to be made anew.
pub(super) fn read_indexes(
    dir: &Path,
    files: &PartitionFiles,
    base_offset: Offset,
    config: &LogConfig,
) -> Result<Option<SegmentIndexes>, LoadError> {
    if !files.offset_indexes.contains(&base_offset) || !files.time_indexes.contains(&base_offset) {
        return Ok(None);
    }
    let read = |path: &Path| fs::read_bounded(path, INDEX_BYTES_MAX).map_err(LoadError::io("read", path));
    let offset_path = names::offset_index_file(dir, base_offset);
    let time_path = names::time_index_file(dir, base_offset);
    let segment_bytes = i32::MAX as u64;
    let offsets = OffsetIndex::decode(base_offset, &read(&offset_path)?, segment_bytes, config.segment_index_bytes);
    let times = TimeIndex::decode(base_offset, &read(&time_path)?, Offset(i64::MAX), config.segment_index_bytes);
    match (offsets, times) {
        (Ok(offsets), Ok(times)) => Ok(Some(SegmentIndexes::resume(offsets, times))),
        (Err(wrong), _) => {
            tracing::warn!("{} is made anew: {wrong}", offset_path.display());
            Ok(None)
        }
        (_, Err(wrong)) => {
            tracing::warn!("{} is made anew: {wrong}", time_path.display());
            Ok(None)
        }
    }
}

/// Makes the index files of a sealed segment anew from its batches' headers, and writes them, durably with `sync`.
/// Blocks for as long as reading the segment takes; not for a shard thread.
pub fn rebuild_indexes(
    dir: &Path,
    base_offset: Offset,
    config: &LogConfig,
    sync: bool,
) -> Result<SegmentIndexes, LoadError> {
    let mut standing = Standing { offset: base_offset, epoch: LeaderEpoch::UNKNOWN };
    let mut replay = Replay::new(super::LeaderEpochCache::new(), None, 0);
    let scanned = scan_segment(dir, base_offset, Rules::TRUSTED, &mut standing, config, &mut replay)?;
    if let Some(stop) = &scanned.stop {
        tracing::warn!(
            "{} is indexed up to byte {} only: {stop}",
            names::log_file(dir, base_offset).display(),
            scanned.data_bytes
        );
    }
    let mut indexes = scanned.indexes;
    indexes.seal();
    write_indexes(dir, base_offset, &indexes, sync)?;
    if sync {
        fs::sync_dir(dir).map_err(LoadError::io("sync", dir))?;
    }
    Ok(indexes)
}
