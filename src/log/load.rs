//! Loads partitions' logs before their shards serve them, and makes the logs of new partitions. Blocking calls, on
//! ordinary threads; few of them, since there can be tens of thousands of partitions.
//!
//! After a clean stop the files are what they seem: of each partition the directory is listed, the small files
//! are read, and of the active segment the batches behind its last index entry. After a crash [`Recovery`] finds the
//! log's end first.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::threads;
use crate::types::{LeaderEpoch, Offset};

use super::active::{load_active, read_indexes, rebuild_indexes};
use super::dir_files::PartitionFiles;
use super::epoch::LeaderEpochCache;
use super::error::LoadError;
use super::index::SegmentIndexes;
use super::loaded::{Damage, DamageKind, LoadOptions, LoadedActive, LoadedLog, LoadedSegment, RecoveryReport};
use super::names;
use super::partition_metadata;
use super::producers::ProducerTable;
use super::recovery::{INDEXES_KEPT_FROM_BYTES, Recovery, write_file, write_indexes};
use super::replay::{Replay, carry_producers, load_producers, remove_torn_snapshots};
use super::segment_scan::{ScannedSegment, Standing};

/// Up to how many partitions each syncs its own files; more are made durable by one sync of the file system.
const SYNCED_ALONE_MAX: usize = 16;

/// Loads one partition's log, or makes it. What is in it is on the device when this returns.
pub fn load(options: &LoadOptions) -> Result<LoadedLog, LoadError> {
    Loader::new(options, true).run()
}

/// Loads many logs on up to `threads` threads, and answers in the order of the options. `progress` is called after
/// each with the number of those that are done, from whichever thread did it. All of them are on the device when
/// this returns.
pub fn load_all(
    options: &[LoadOptions],
    threads: usize,
    progress: impl Fn(usize) + Sync,
) -> Vec<Result<LoadedLog, LoadError>> {
    let sync = options.len() <= SYNCED_ALONE_MAX;
    // Opened before anything is written: a sync reports the failed writes since then.
    let file_systems = if sync { Ok(Vec::new()) } else { open_file_systems(options) };
    let done = AtomicUsize::new(0);
    let mut loaded = threads::map_parallel(options, threads, |options| {
        let loaded = Loader::new(options, sync).run();
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        loaded
    });
    let synced = file_systems.and_then(|opened| {
        opened.iter().try_for_each(|(path, file)| fs::syncfs(file).map_err(LoadError::io("sync", path)))
    });
    if let Err(error) = synced {
        let message = error.to_string();
        for loaded in &mut loaded {
            let source = std::io::Error::other(message.clone());
            if let Ok(log) = loaded {
                *loaded = Err(LoadError::Io { action: "sync", path: log.dir.clone(), source });
            }
        }
    }
    loaded
}

fn holds_data(dir: &Path, files: &PartitionFiles) -> Result<bool, LoadError> {
    for &base_offset in &files.segments {
        let path = names::log_file(dir, base_offset);
        if fs::stat(&path).map_err(LoadError::io("look at", &path))?.bytes > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

type Opened = (std::path::PathBuf, crate::runtime::file::RawFile);

/// The log directories that the partitions lie in: one file system each, as far as is known.
fn open_file_systems(options: &[LoadOptions]) -> Result<Vec<Opened>, LoadError> {
    let parents: BTreeSet<_> = options.iter().filter_map(|options| options.dir.parent()).collect();
    parents
        .into_iter()
        .map(|path| {
            let file = fs::open(path, OpenFlags::READ).map_err(LoadError::io("open", path))?;
            Ok((path.to_owned(), file))
        })
        .collect()
}

struct Loader<'a> {
    options: &'a LoadOptions,
    /// Sync each file; otherwise the whole file system is synced when all partitions are loaded.
    sync: bool,
    /// What the leader epoch checkpoint says.
    epochs_on_disk: Option<LeaderEpochCache>,
    report: RecoveryReport,
}

impl<'a> Loader<'a> {
    fn new(options: &'a LoadOptions, sync: bool) -> Loader<'a> {
        Loader { options, sync, epochs_on_disk: None, report: RecoveryReport::default() }
    }

    fn run(mut self) -> Result<LoadedLog, LoadError> {
        let mut files = match PartitionFiles::tidy(&self.options.dir)? {
            Some(files) => files,
            None => self.create()?,
        };
        self.check_topic_id(&mut files)?;
        self.remove_below_start(&mut files)?;
        self.epochs_on_disk = self.read_epochs(&files);
        if files.segments.is_empty() {
            return self.load_empty(files);
        }
        if self.options.clean {
            if let Some((segments, replay)) = self.load_clean(&mut files)? {
                return self.finish(files, segments, replay);
            }
            tracing::warn!(
                "{} was stopped cleanly, but its log does not end where it did: it is recovered",
                self.options.dir.display()
            );
        }
        self.recover(files)
    }

    fn create(&mut self) -> Result<PartitionFiles, LoadError> {
        let dir = &self.options.dir;
        fs::create_dir(dir).map_err(LoadError::io("make", dir))?;
        self.report.created = true;
        Ok(PartitionFiles { unsynced: true, ..PartitionFiles::default() })
    }

    /// Compares the directory's topic id with the one asked for; gives it that id if it has none yet.
    fn check_topic_id(&self, files: &mut PartitionFiles) -> Result<(), LoadError> {
        let (dir, expected) = (&self.options.dir, self.options.topic_id);
        if files.has_metadata {
            match partition_metadata::read(dir) {
                Ok(Some(found)) if found == expected => return Ok(()),
                Ok(Some(found)) => return Err(LoadError::TopicIdMismatch { path: dir.clone(), expected, found }),
                Ok(None) => {}
                // A power cut can leave the file's name without its content only before anything was written here:
                // with it perhaps the first segment's name, which is made in the same breath and synced with it.
                Err(LoadError::Malformed { .. }) if !holds_data(dir, files)? => {}
                Err(error) => return Err(error),
            }
        }
        files.has_metadata = true;
        files.unsynced = true;
        // Synced by itself even where a later sync covers all: half of it would keep the partition from its next start.
        partition_metadata::write(dir, expected)
    }

    /// Removes the segments whose records are all deleted: the files of some may have outlived the last run.
    fn remove_below_start(&self, files: &mut PartitionFiles) -> Result<(), LoadError> {
        let start = self.options.log_start_offset;
        let Some(&first_kept) = files.segments.range(..=start).next_back() else { return Ok(()) };
        let gone: Vec<Offset> = files.segments.range(..first_kept).copied().collect();
        if !gone.is_empty() {
            carry_producers(&self.options.dir, files, first_kept, self.options.now_ms)?;
        }
        for base_offset in gone {
            files.remove_segment(&self.options.dir, base_offset)?;
            if files.snapshots.contains(&base_offset) {
                files.remove_snapshot(&self.options.dir, base_offset)?;
            }
        }
        Ok(())
    }

    /// The leader epochs; `None` if they have to be found in the batches.
    fn read_epochs(&self, files: &PartitionFiles) -> Option<LeaderEpochCache> {
        if !files.has_epochs {
            return None;
        }
        LeaderEpochCache::read(&self.options.dir).unwrap_or_else(|error| {
            tracing::warn!("{error}; the leader epochs are read from the batches");
            None
        })
    }

    /// A partition without segments: a new one, or one whose creation was interrupted.
    fn load_empty(self, files: PartitionFiles) -> Result<LoadedLog, LoadError> {
        let options = self.options;
        let start = options.log_start_offset.max(Offset::ZERO);
        let flushed = options.flushed_below();
        if flushed > start && !options.accept_damage {
            let kind = DamageKind::BelowFlushed { flushed };
            let segment = names::log_file(&options.dir, start);
            return Ok(self.damaged(Damage { segment, position: 0, offset: start, kind }));
        }
        let replay = Replay::new(LeaderEpochCache::new(), Some(ProducerTable::new(start)), options.now_ms);
        self.finish(files, Segments { sealed: Vec::new(), active: None, log_end_offset: start }, replay)
    }

    /// Loads a log that was stopped cleanly; `None` if it does not look so.
    fn load_clean(&mut self, files: &mut PartitionFiles) -> Result<Option<(Segments, Replay)>, LoadError> {
        let options = self.options;
        let (dir, config) = (&options.dir, &options.config);
        let (Some(&first), Some(&last)) = (files.segments.first(), files.segments.last()) else { return Ok(None) };
        let mut replay = Replay::new(self.epochs_on_disk.clone().unwrap_or_default(), None, options.now_ms);
        let mut standing = Standing { offset: last, epoch: LeaderEpoch::UNKNOWN };
        let (active, indexed) = load_active(dir, files, last, config, &mut standing, &mut replay)?;
        let end = standing.offset;
        if active.stop.is_some() || end < options.flushed_below() {
            return Ok(None);
        }
        self.report.indexes_rebuilt += u32::from(!indexed);
        let sealed = self.load_sealed(files, last)?;
        let producers = load_producers(dir, files, first, end, options.now_ms)?;
        let mut from = producers.end_offset();
        replay.producers = Some(producers);
        if self.epochs_on_disk.is_none() {
            replay.epochs = LeaderEpochCache::new();
            from = first;
        }
        replay.run(dir, files, from, end)?;
        Ok(Some((Segments { sealed, active: Some(active.into_active()), log_end_offset: end }, replay)))
    }

    /// Loads a log that a crash may have left with a torn tail.
    fn recover(mut self, mut files: PartitionFiles) -> Result<LoadedLog, LoadError> {
        let options = self.options;
        let dir = &options.dir;
        // A name that is there may have been made just before the crash, and only be in memory yet.
        files.unsynced = true;
        let start = files.segments.first().copied().unwrap_or_default();
        // The segment that holds the recovery point; those before it are trusted.
        let scan_from = files.segments.range(..=options.recovery_point).next_back().copied().unwrap_or(start);
        // A snapshot behind the recovery point may stand for batches that are lost.
        let producers_until = options.recovery_point.max(scan_from);
        let begins = start.max(options.log_start_offset);
        // The log start is noted later than the epochs are: records that were deleted are here again, and want theirs.
        self.epochs_on_disk = self.epochs_on_disk.take().filter(|epochs| epochs.begin_at_or_before(begins));
        let producers = load_producers(dir, &mut files, start, producers_until, options.now_ms)?;
        let replay_from = if self.epochs_on_disk.is_none() { start } else { producers.end_offset() };
        let mut replay = Replay::new(self.epochs_on_disk.clone().unwrap_or_default(), Some(producers), options.now_ms);
        replay.run(dir, &files, replay_from, scan_from)?;
        let indexes = self.indexes_below_recovery_point(&files, scan_from, &replay)?;
        let mut recovery = match Recovery::find(options, &files, scan_from, indexes, &mut replay)? {
            Ok(recovery) => recovery,
            Err(damage) => return Ok(self.damaged(damage)),
        };
        recovery.apply(dir, &mut files, self.sync)?;
        remove_torn_snapshots(dir, &mut files, producers_until, options.now_ms)?;
        self.report.segments_scanned = recovery.scanned.len() as u32;
        self.report.bytes_scanned = recovery.bytes_scanned;
        self.report.cut = recovery.cut.take();
        let kept = recovery.scanned.last().is_some_and(|active| active.data_bytes >= INDEXES_KEPT_FROM_BYTES);
        if let Some(producers) = replay.producers.as_ref().filter(|_| kept) {
            let path = names::snapshot_file(dir, recovery.log_end_offset);
            write_file(&path, &producers.encode_snapshot(), self.sync)?;
            files.snapshots.insert(recovery.log_end_offset);
            files.unsynced = true;
        }
        let mut sealed = self.load_sealed(&mut files, scan_from)?;
        let active = recovery.scanned.pop().map(ScannedSegment::into_active);
        sealed.extend(recovery.scanned.iter().map(ScannedSegment::sealed));
        self.finish(files, Segments { sealed, active, log_end_offset: recovery.log_end_offset }, replay)
    }

    /// The indexes of a segment that a checkpoint covers a part of, up to the recovery point; `None` where the whole
    /// segment has to be scanned, because not all that was to be stored with them is there.
    fn indexes_below_recovery_point(
        &self,
        files: &PartitionFiles,
        base_offset: Offset,
        replay: &Replay,
    ) -> Result<Option<SegmentIndexes>, LoadError> {
        let options = self.options;
        if options.adopted || self.epochs_on_disk.is_none() || options.recovery_point <= base_offset {
            return Ok(None);
        }
        let read = read_indexes(&options.dir, files, base_offset, &options.config)?;
        Ok(read.and_then(|mut indexes| {
            indexes.offsets.truncate_to(options.recovery_point);
            indexes.times.truncate_to(options.recovery_point);
            let last = indexes.offsets.last()?;
            let accounted = replay.producers.as_ref().is_none_or(|producers| producers.end_offset() > last.offset);
            accounted.then(|| SegmentIndexes::resume(indexes.offsets, indexes.times))
        }))
    }

    /// The segments before `end`, which are trusted; their index files are made anew if they are not there.
    fn load_sealed(&mut self, files: &mut PartitionFiles, end: Offset) -> Result<Vec<LoadedSegment>, LoadError> {
        let dir = &self.options.dir;
        let mut sealed = Vec::new();
        for &base_offset in files.segments.range(..end) {
            let path = names::log_file(dir, base_offset);
            let size_bytes = fs::stat(&path).map_err(LoadError::io("look at", &path))?.bytes;
            let mut largest = None;
            if !files.offset_indexes.contains(&base_offset) || !files.time_indexes.contains(&base_offset) {
                tracing::warn!("{} has no index files: they are made anew", path.display());
                largest = Some(rebuild_indexes(dir, base_offset, &self.options.config, self.sync)?.largest);
                self.report.indexes_rebuilt += 1;
                files.unsynced = true;
            }
            sealed.push(LoadedSegment { base_offset, size_bytes, largest });
        }
        Ok(sealed)
    }

    /// Brings what stands beside the segments in line with them, and ends with an active segment of ours.
    fn finish(
        mut self,
        mut files: PartitionFiles,
        mut segments: Segments,
        mut replay: Replay,
    ) -> Result<LoadedLog, LoadError> {
        let options = self.options;
        let dir = &options.dir;
        if segments.log_end_offset < options.log_start_offset {
            // All records were deleted, and some of the files have lost their end: nothing of them is needed.
            for base_offset in std::mem::take(&mut files.segments) {
                files.remove_segment(dir, base_offset)?;
            }
            for offset in std::mem::take(&mut files.snapshots) {
                files.remove_snapshot(dir, offset)?;
            }
            replay = Replay::new(
                LeaderEpochCache::new(),
                Some(ProducerTable::new(options.log_start_offset)),
                options.now_ms,
            );
            segments = Segments { sealed: Vec::new(), active: None, log_end_offset: options.log_start_offset };
        }
        let end = segments.log_end_offset;
        if options.adopted
            && let Some(adopted) = segments.active.take_if(|active| active.size_bytes > 0)
        {
            segments.sealed.push(self.seal(&mut files, adopted)?);
        }
        let active = match segments.active {
            Some(active) => active,
            None => self.new_segment(&mut files, end)?,
        };
        let first = segments.sealed.first().map_or(active.base_offset, |segment| segment.base_offset);
        let log_start_offset = options.log_start_offset.max(first);
        let mut epochs = replay.epochs;
        epochs.truncate_from_end(end);
        epochs.truncate_from_start(log_start_offset);
        if self.epochs_on_disk.as_ref() != Some(&epochs) {
            let path = dir.join(names::LEADER_EPOCH_CHECKPOINT);
            let replace = if self.sync { fs::replace } else { fs::replace_unsynced };
            replace(&path, epochs.encode().as_bytes()).map_err(LoadError::io("write", &path))?;
            files.unsynced = true;
        }
        self.remove_stray_snapshots(&mut files, end)?;
        if self.sync {
            if files.unsynced {
                fs::sync_parent(dir).map_err(LoadError::io("sync the name of", dir))?;
            }
            files.sync(dir)?;
        }
        let mut producers = replay.producers.unwrap_or_else(|| ProducerTable::new(end));
        producers.advance_to(end);
        producers.remove_expired(options.now_ms, options.config.producer_id_expiration_ms);
        Ok(LoadedLog {
            dir: dir.clone(),
            topic_partition: options.topic_partition.clone(),
            topic_id: options.topic_id,
            config: options.config,
            log_start_offset,
            log_end_offset: end,
            recovery_point: end,
            sealed: segments.sealed,
            active,
            epochs,
            producers,
            damage: None,
            report: self.report,
        })
    }

    /// Seals the active segment of another broker.
    fn seal(&self, files: &mut PartitionFiles, mut active: LoadedActive) -> Result<LoadedSegment, LoadError> {
        let base_offset = active.base_offset;
        active.indexes.seal();
        write_indexes(&self.options.dir, base_offset, &active.indexes, self.sync)?;
        files.offset_indexes.insert(base_offset);
        files.time_indexes.insert(base_offset);
        files.unsynced = true;
        Ok(LoadedSegment { base_offset, size_bytes: active.size_bytes, largest: Some(active.indexes.largest) })
    }

    fn new_segment(&mut self, files: &mut PartitionFiles, base_offset: Offset) -> Result<LoadedActive, LoadError> {
        let path = names::log_file(&self.options.dir, base_offset);
        write_file(&path, &[], false)?;
        self.report.created = true;
        files.segments.insert(base_offset);
        files.unsynced = true;
        let indexes = SegmentIndexes::new(base_offset, &self.options.config);
        Ok(LoadedActive { base_offset, size_bytes: 0, indexes, first_timestamp: None })
    }

    /// Keeps the snapshots at segments' base offsets and the newest one (Kafka's `removeStraySnapshots`), none behind the
    /// log's end.
    fn remove_stray_snapshots(&self, files: &mut PartitionFiles, end: Offset) -> Result<(), LoadError> {
        let newest = files.snapshots.range(..=end).next_back().copied();
        let stray: Vec<Offset> = files
            .snapshots
            .iter()
            .copied()
            .filter(|&offset| offset > end || (Some(offset) != newest && !files.segments.contains(&offset)))
            .collect();
        stray.into_iter().try_for_each(|offset| files.remove_snapshot(&self.options.dir, offset))
    }

    /// A partition that stays offline; its files are as they were found.
    fn damaged(self, damage: Damage) -> LoadedLog {
        let options = self.options;
        let end = damage.offset;
        LoadedLog {
            dir: options.dir.clone(),
            topic_partition: options.topic_partition.clone(),
            topic_id: options.topic_id,
            config: options.config,
            log_start_offset: options.log_start_offset.min(end),
            log_end_offset: end,
            recovery_point: options.recovery_point.min(end),
            sealed: Vec::new(),
            active: LoadedActive {
                base_offset: end,
                size_bytes: 0,
                indexes: SegmentIndexes::new(end, &options.config),
                first_timestamp: None,
            },
            epochs: LeaderEpochCache::new(),
            producers: ProducerTable::new(end),
            damage: Some(damage),
            report: self.report,
        }
    }
}

/// The segments of a log in order. Without an active one, one is begun at the end.
struct Segments {
    sealed: Vec<LoadedSegment>,
    active: Option<LoadedActive>,
    log_end_offset: Offset,
}

#[cfg(test)]
mod tests;
