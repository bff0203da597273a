//! Finds the end of a log after a crash, and makes the files say so.
//!
//! Everything below the recovery point is flushed and is trusted. From the segment that holds the recovery point on,
//! batches are accepted as long as they form an unbroken prefix. What lies behind is a torn tail, and is cut off;
//! unless it shows that flushed bytes were lost, which is damage: then nothing is changed.
//!
//! The work is in two steps, [`Recovery::find`], which only reads, and [`Recovery::apply`]. Being cut off itself and
//! run again, it comes to the same result.

use std::path::Path;

use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::types::{LeaderEpoch, Offset};

use super::dir_files::PartitionFiles;
use super::error::LoadError;
use super::index::SegmentIndexes;
use super::loaded::{Cut, Damage, DamageKind, LoadOptions};
use super::look_behind::{Behind, Continuation, LaterBatch, look_behind};
use super::names;
use super::replay::Replay;
use super::segment_scan::{Rules, ScannedSegment, Standing, Stop, scan_segment, scan_segment_end};

/// Where nothing is known about how far writes reach, this much behind a cut is looked at, for the report.
const REPORTED_BYTES_MAX: u64 = 1 << 20;
/// The indexes of a smaller active segment are sooner made anew than written.
/// (In tests so little that the power cuts of the simulated disk meet it.)
pub(super) const INDEXES_KEPT_FROM_BYTES: u64 = if cfg!(test) { 30_000 } else { 16 << 20 };
/// The size of an active segment is a multiple of this while it is preallocated, and of nothing when it is sealed.
const BLOCK_BYTES: u64 = 4096;

/// The result of a recovery scan.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The scanned segments that are kept, the last of them up to the log's end. None if no segment is left.
    pub scanned: Vec<ScannedSegment>,
    /// Segments behind the log's end.
    pub removed: Vec<Offset>,
    pub log_end_offset: Offset,
    pub cut: Option<Cut>,
    pub bytes_scanned: u64,
}

/// Where and why a log ends before its files do.
struct End {
    segment: usize,
    stop: Stop,
}

impl Recovery {
    /// Scans the segments from the one at `from` on; that one from the last entry of `indexes` on, where all before is
    /// known to be in order.
    pub fn find(
        options: &LoadOptions,
        files: &PartitionFiles,
        from: Offset,
        mut indexes: Option<SegmentIndexes>,
        replay: &mut Replay,
    ) -> Result<Result<Recovery, Damage>, LoadError> {
        let bases: Vec<Offset> = files.segments.range(from..).copied().collect();
        let mut standing = Standing { offset: from, epoch: LeaderEpoch::UNKNOWN };
        let mut scanned: Vec<ScannedSegment> = Vec::with_capacity(bases.len());
        let mut end = None;
        for (at, &base_offset) in bases.iter().enumerate() {
            let next = bases.get(at + 1).copied();
            let rules = Rules {
                gaps: options.adopted || next.is_some(),
                below: next.unwrap_or(Offset(i64::MAX)),
                epoch_max: options.leader_epoch,
                crc: true,
            };
            let before = standing;
            let resumed = match indexes.take() {
                Some(indexes) => {
                    let (dir, config) = (&options.dir, &options.config);
                    scan_segment_end(dir, base_offset, indexes, rules, &mut standing, config, replay)?
                }
                None => None,
            };
            let segment = if let Some(segment) = resumed {
                segment
            } else {
                standing = before;
                scan_segment(&options.dir, base_offset, rules, &mut standing, &options.config, replay)?
            };
            let stop = segment.stop.clone();
            scanned.push(segment);
            // Written when all before it was on the device, and before anything of it was compacted. An unflushed segment can
            // have lost its last batches too, and the next one not.
            let sealed = next.is_some_and(|next| next <= options.recovery_point || files.snapshots.contains(&next));
            end = ends_here(options, stop, next, sealed, &mut standing).map(|stop| End { segment: at, stop });
            if end.is_some() {
                break;
            }
        }
        let recovery = Recovery {
            removed: bases.iter().copied().skip(scanned.len()).collect(),
            bytes_scanned: scanned.iter().map(|segment| segment.data_bytes - segment.scanned_from).sum(),
            scanned,
            log_end_offset: standing.offset,
            cut: None,
        };
        recovery.judge(options, end, standing)
    }

    /// Tells a torn tail from damage.
    fn judge(
        mut self,
        options: &LoadOptions,
        end: Option<End>,
        standing: Standing,
    ) -> Result<Result<Recovery, Damage>, LoadError> {
        let damage = |kind| {
            let last = self.scanned.last();
            let base_offset = last.map_or(options.log_start_offset, |segment| segment.base_offset);
            Damage {
                segment: names::log_file(&options.dir, base_offset),
                position: last.map_or(0, |segment| segment.data_bytes),
                offset: standing.offset,
                kind,
            }
        };
        let flushed = options.flushed_below();
        if standing.offset < flushed && !options.accept_damage {
            return Ok(Err(damage(DamageKind::BelowFlushed { flushed })));
        }
        let Some(End { segment, stop }) = end else { return Ok(Ok(self)) };
        let Some(torn) = self.scanned.get(segment) else { return Ok(Ok(self)) };
        let next = Continuation { offset: standing.offset, epoch: standing.epoch, epoch_max: options.leader_epoch };
        let behind = behind_cut(options, torn, next)?;
        if !options.accept_damage
            && let Some(kind) = self.out_of_reach(options, torn, behind, next)?
        {
            return Ok(Err(damage(kind)));
        }
        let bytes = behind.used_to.saturating_sub(torn.data_bytes);
        // Zeros behind the data are room, not a torn tail.
        if bytes > 0 || !self.removed.is_empty() {
            self.cut = Some(Cut {
                segment: names::log_file(&options.dir, torn.base_offset),
                position: torn.data_bytes,
                bytes,
                stale: behind.stale,
                segments_removed: self.removed.len() as u32,
                reason: stop.to_string(),
            });
        }
        Ok(Ok(self))
    }

    /// A valid batch that lies further behind the cut than unflushed writes reach. How much is missing between the
    /// cut and a later segment is not known, unless sealing cut the torn segment to its data: what is certain counts.
    fn out_of_reach(
        &self,
        options: &LoadOptions,
        torn: &ScannedSegment,
        behind: Behind,
        next: Continuation,
    ) -> Result<Option<DamageKind>, LoadError> {
        if options.commit_reach_bytes == u64::MAX {
            return Ok(None);
        }
        let found = |base_offset, batch: LaterBatch| DamageKind::ValidBatchBehind {
            segment: names::log_file(&options.dir, base_offset),
            position: batch.position,
            base_offset: batch.base_offset,
        };
        if let Some(batch) = behind.furthest
            && batch.position - torn.data_bytes > options.commit_reach_bytes
        {
            return Ok(Some(found(torn.base_offset, batch)));
        }
        let mut distance = certain_end(torn.file_bytes, behind, torn.data_bytes) - torn.data_bytes;
        for &base_offset in &self.removed {
            let path = names::log_file(&options.dir, base_offset);
            let file = fs::open(&path, OpenFlags::READ).map_err(LoadError::io("open", &path))?;
            let size = fs::file_size(&file).map_err(LoadError::io("read", &path))?;
            let behind = look_behind(&file, size, 0, next).map_err(LoadError::io("read", &path))?;
            if let Some(batch) = behind.furthest
                && distance + batch.position > options.commit_reach_bytes
            {
                return Ok(Some(found(base_offset, batch)));
            }
            distance += certain_end(size, behind, 0);
        }
        Ok(None)
    }

    /// Makes the files end where the log does, and keeps what was accepted. With `sync` all of it is durable on
    /// return; without, once the file system is synced.
    pub fn apply(&mut self, dir: &Path, files: &mut PartitionFiles, sync: bool) -> Result<(), LoadError> {
        // Later segments first: with them gone the cut ends the log, however far the rest of this gets.
        let removed = !self.removed.is_empty();
        for base_offset in std::mem::take(&mut self.removed) {
            files.remove_segment(dir, base_offset)?;
        }
        if removed {
            files.sync(dir)?;
        }
        let last = self.scanned.len().saturating_sub(1);
        for (at, segment) in self.scanned.iter_mut().enumerate() {
            let path = names::log_file(dir, segment.base_offset);
            if segment.file_bytes > segment.data_bytes {
                let file = fs::open(&path, OpenFlags::READ_WRITE).map_err(LoadError::io("open", &path))?;
                fs::truncate(&file, segment.data_bytes).map_err(LoadError::io("truncate", &path))?;
                segment.file_bytes = segment.data_bytes;
                sync_segment(&file, &path, sync)?;
            } else {
                sync_segment(segment.scanner.file(), &path, sync)?;
            }
            if at < last {
                segment.indexes.seal();
                write_indexes(dir, segment.base_offset, &segment.indexes, sync)?;
                files.offset_indexes.insert(segment.base_offset);
                files.time_indexes.insert(segment.base_offset);
                files.unsynced = true;
            } else if segment.data_bytes < INDEXES_KEPT_FROM_BYTES {
                files.remove_indexes(dir, segment.base_offset)?;
            } else {
                // The next crash need not be followed by another scan of all this.
                write_indexes(dir, segment.base_offset, &segment.indexes, sync)?;
                files.offset_indexes.insert(segment.base_offset);
                files.time_indexes.insert(segment.base_offset);
                files.unsynced = true;
            }
        }
        Ok(())
    }
}

/// Whether the log ends with a segment that stopped for this reason, or ended. Where it does not, the next segment's
/// base offset is what is expected next.
fn ends_here(
    options: &LoadOptions,
    stop: Option<Stop>,
    next: Option<Offset>,
    sealed: bool,
    standing: &mut Standing,
) -> Option<Stop> {
    let Some(next) = next else { return stop };
    if standing.offset == next {
        // All of it is there; what follows is room that sealing had not cut off yet.
        return None;
    }
    if stop.is_none() && (options.adopted || sealed) {
        standing.offset = next;
        return None;
    }
    Some(stop.unwrap_or(Stop::Missing { next }))
}

fn behind_cut(options: &LoadOptions, torn: &ScannedSegment, next: Continuation) -> Result<Behind, LoadError> {
    let from = torn.data_bytes;
    let size = match options.commit_reach_bytes {
        u64::MAX => torn.file_bytes.min(from + REPORTED_BYTES_MAX),
        _ => torn.file_bytes,
    };
    look_behind(torn.scanner.file(), size, from, next).map_err(LoadError::io("read", torn.scanner.path()))
}

/// Up to where a segment is certain to have been written.
fn certain_end(file_bytes: u64, behind: Behind, otherwise: u64) -> u64 {
    if file_bytes.is_multiple_of(BLOCK_BYTES) {
        behind.furthest.map_or(otherwise, |batch| batch.end)
    } else {
        file_bytes
    }
}

fn sync_segment(file: &RawFile, path: &Path, sync: bool) -> Result<(), LoadError> {
    if sync { fs::sync_all(file).map_err(LoadError::io("sync", path)) } else { Ok(()) }
}

/// Writes the index files of a sealed segment.
pub(super) fn write_indexes(
    dir: &Path,
    base_offset: Offset,
    indexes: &SegmentIndexes,
    sync: bool,
) -> Result<(), LoadError> {
    for (path, bytes) in [
        (names::offset_index_file(dir, base_offset), indexes.offsets.encode()),
        (names::time_index_file(dir, base_offset), indexes.times.encode()),
    ] {
        write_file(&path, &bytes, sync)?;
    }
    Ok(())
}

/// Writes a file that can be made anew from others, so that it need not be replaced at one go.
pub(super) fn write_file(path: &Path, bytes: &[u8], sync: bool) -> Result<(), LoadError> {
    let written = if sync { fs::write_synced(path, bytes) } else { fs::write(path, bytes) };
    written.map_err(LoadError::io("write", path))
}
