//! What batches say beside their records: which leader epoch they belong to, and what their producers did.

use std::path::Path;

use crate::record::BatchHeader;
use crate::runtime::fs;
use crate::types::Offset;

use super::dir_files::{PartitionFiles, scan_failed};
use super::epoch::LeaderEpochCache;
use super::error::LoadError;
use super::names;
use super::producers::{ProducerBatch, ProducerTable};
use super::recovery::write_file;
use super::scan::{ScanError, SegmentScanner};

/// The largest snapshot read: of ten million producers.
const SNAPSHOT_BYTES_MAX: usize = 512 << 20;

/// State that is rebuilt from the batches of a log, in their order.
#[derive(Debug)]
pub(super) struct Replay {
    pub epochs: LeaderEpochCache,
    /// Accounts for everything below its end offset; `None` leaves the producers out.
    pub producers: Option<ProducerTable>,
    now_ms: i64,
}

impl Replay {
    pub fn new(epochs: LeaderEpochCache, producers: Option<ProducerTable>, now_ms: i64) -> Replay {
        Replay { epochs, producers, now_ms }
    }

    /// Takes note of the scanner's current batch.
    pub fn batch(&mut self, header: &BatchHeader, scanner: &mut SegmentScanner) -> Result<(), ScanError> {
        if self.epochs.latest().is_none_or(|latest| latest.epoch < header.leader_epoch) {
            self.epochs.assign(header.leader_epoch, header.base_offset);
        }
        let Some(producers) = &mut self.producers else { return Ok(()) };
        if header.base_offset < producers.end_offset() {
            return Ok(());
        }
        if header.has_producer_id() && header.attributes.is_control() {
            // A control batch that is none has been let in by its CRC: it says nothing about its producer.
            if let Err(wrong) = producers.replay(scanner.bytes()?, self.now_ms) {
                tracing::warn!("{}, byte {}: {wrong}", scanner.path().display(), scanner.position());
            }
            producers.advance_to(header.next_offset());
        } else {
            producers.record_append(&ProducerBatch::from(header), header.base_offset, self.now_ms);
        }
        Ok(())
    }

    /// Takes note of the batches between two offsets, by their headers alone: they are trusted.
    pub fn run(&mut self, dir: &Path, files: &PartitionFiles, from: Offset, end: Offset) -> Result<(), LoadError> {
        if from >= end {
            return Ok(());
        }
        let first = files.segments.range(..=from).next_back().copied().unwrap_or(from);
        for &base_offset in files.segments.range(first..end) {
            let mut scanner = SegmentScanner::open(&names::log_file(dir, base_offset)).map_err(scan_failed)?;
            while let Some(header) = scanner.advance().map_err(scan_failed)? {
                if header.base_offset >= end {
                    break;
                }
                if header.last_offset() >= from {
                    self.batch(&header, &mut scanner).map_err(scan_failed)?;
                }
            }
        }
        Ok(())
    }

    /// Takes note of a segment's batches from an offset on, as far as their CRCs hold. Answers whether all did.
    fn checked(&mut self, path: &Path, from: Offset) -> bool {
        let mut scan = || {
            let mut scanner = SegmentScanner::open(path)?;
            while let Some(header) = scanner.advance()? {
                scanner.check_crc()?;
                if header.last_offset() >= from {
                    self.batch(&header, &mut scanner)?;
                }
            }
            Ok::<(), ScanError>(())
        };
        scan().is_ok()
    }
}

/// Notes in a snapshot at `kept`, the base offset of a segment, what the segments before it say of producers, if no
/// snapshot there does: those segments are about to be removed. A segment is sealed before retention takes it, but a
/// power cut can come between the note of where the log starts and that. Where they do not tell it all, older snapshots
/// go too: a producer of whom nothing is known may go on, one that is known by old batches alone may not.
pub(super) fn carry_producers(
    dir: &Path,
    files: &mut PartitionFiles,
    kept: Offset,
    now_ms: i64,
) -> Result<(), LoadError> {
    let first = files.segments.first().copied().unwrap_or(kept);
    let producers = load_producers(dir, files, first, kept, now_ms)?;
    if producers.end_offset() >= kept {
        return Ok(());
    }
    if let Some(producers) = replay_removed(dir, files, producers, kept, now_ms) {
        let path = names::snapshot_file(dir, kept);
        write_file(&path, &producers.encode_snapshot(), true)?;
        files.snapshots.insert(kept);
        files.unsynced = true;
        return files.sync(dir);
    }
    tracing::warn!("{}: what producers did before offset {kept} is not known", dir.display());
    let old: Vec<Offset> = files.snapshots.range(..kept).copied().collect();
    old.into_iter().try_for_each(|offset| files.remove_snapshot(dir, offset))
}

/// `producers` with what the segments before `kept` say; `None` if a part of it is missing.
fn replay_removed(
    dir: &Path,
    files: &PartitionFiles,
    producers: ProducerTable,
    kept: Offset,
    now_ms: i64,
) -> Option<ProducerTable> {
    let from = producers.end_offset();
    let first = files.segments.range(..=from).next_back().copied()?;
    let mut replay = Replay::new(LeaderEpochCache::new(), Some(producers), now_ms);
    let bases: Vec<Offset> = files.segments.range(first..=kept).copied().collect();
    for pair in bases.windows(2) {
        let &[base_offset, next] = pair else { continue };
        // Nothing vouches for these batches but their CRCs: a recovery point may be far behind.
        let whole = replay.checked(&names::log_file(dir, base_offset), from);
        let end = replay.producers.as_ref()?.end_offset();
        if !whole && end != next {
            return None;
        }
    }
    let mut producers = replay.producers?;
    producers.advance_to(kept);
    Some(producers)
}

/// The producers of the newest valid snapshot at or below `end`; if there is none, of nobody from `start` on. Invalid
/// snapshots on the way are removed.
pub(super) fn load_producers(
    dir: &Path,
    files: &mut PartitionFiles,
    start: Offset,
    end: Offset,
    now_ms: i64,
) -> Result<ProducerTable, LoadError> {
    while let Some(&offset) = files.snapshots.range(..=end).next_back() {
        if let Some(producers) = read_snapshot(dir, files, offset, now_ms)? {
            return Ok(producers);
        }
    }
    Ok(ProducerTable::new(start))
}

/// Removes the snapshots behind `end` that a crash left half written. Nothing has looked at them, and those at the
/// base offset of a segment stay.
pub(super) fn remove_torn_snapshots(
    dir: &Path,
    files: &mut PartitionFiles,
    end: Offset,
    now_ms: i64,
) -> Result<(), LoadError> {
    let behind: Vec<Offset> = files.snapshots.range(end..).copied().filter(|&offset| offset > end).collect();
    for offset in behind {
        read_snapshot(dir, files, offset, now_ms)?;
    }
    Ok(())
}

/// The producers of a snapshot, or `None` if it is invalid, and removed.
fn read_snapshot(
    dir: &Path,
    files: &mut PartitionFiles,
    offset: Offset,
    now_ms: i64,
) -> Result<Option<ProducerTable>, LoadError> {
    let path = names::snapshot_file(dir, offset);
    let bytes = fs::read_bounded(&path, SNAPSHOT_BYTES_MAX).map_err(LoadError::io("read", &path))?;
    match ProducerTable::decode_snapshot(&bytes, offset, now_ms) {
        Ok(producers) => Ok(Some(producers)),
        Err(wrong) => {
            tracing::warn!("{} is removed: {wrong}", path.display());
            files.remove_snapshot(dir, offset)?;
            Ok(None)
        }
    }
}
