//! Compaction (`cleanup.policy=compact`): of each key the last record stays, and of that none if it is a tombstone older
//! than `delete.retention.ms` (Kafka's `LogCleaner` and `Cleaner`).
//!
//! Only sealed segments below the last stable offset are compacted. What stays keeps its offset. Groups of segments become
//! one each, which takes their place by Kafka's names, so that a start after a crash, ours or Kafka's, finds either the
//! old segments or the new one:
//!
//! ```text
//!   .cleaned written, synced ── renamed to .swap, synced ── old ones renamed to .deleted, synced ── .swap dropped, synced
//!   a start: removes it          a start: puts it in the place of the old ones
//! ```
//!
//! While names change no reader is among the files: those that come wait for a moment.

mod filter;
mod gate;
mod job;
mod latest;
mod swap;
#[cfg(test)]
mod tests;
mod transactions;

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::record::{BATCH_HEADER_BYTES, BatchHeader};
use crate::runtime::{self, fs, offload};
use crate::types::{Offset, ProducerId};

use super::disk_room::DiskLevel;
use super::error::{LogError, is_disk_full};
use super::log::{Log, State};
use super::names::FileKind;
use super::producers::ProducerTable;
use super::read::SegmentView;
use filter::{LastOfProducer, Rules};
use job::{CompactError, Job, Output, Progress, Source};

pub(super) use gate::Gate;
pub use gate::{FilesGuard, FilesHold};

/// How long a compaction waits at most before it looks whether it is still wanted.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What compaction would do for a log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Compactable {
    /// How much of what can be compacted has not been yet, by bytes.
    pub dirty_ratio: f64,
    /// Bytes of what has not been.
    pub dirty_bytes: u64,
    /// By how much the oldest of it is older than `max.compaction.lag.ms`; 0 if it is not.
    pub delay_ms: i64,
    /// It is due: the ratio is above `min.cleanable.dirty.ratio`, or there is a delay.
    pub is_due: bool,
}

/// How a log is compacted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CompactOptions {
    pub now_ms: i64,
    /// Memory for keys. What does not fit is left for the next time.
    pub keys_bytes_max: usize,
    /// Bytes read and written in a second at most.
    pub bytes_per_second_max: f64,
}

/// What a compaction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// Up to where the log is compacted now.
    pub end_offset: Offset,
    /// Bytes of the segments that were replaced, and of those in their place.
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub segments_before: usize,
    pub segments_after: usize,
    /// Memory that the keys took.
    pub keys_bytes: usize,
}

impl Log {
    /// Up to where the log is compacted; none if it never was. For `cleaner-offset-checkpoint`.
    pub fn compacted_to(&self) -> Option<Offset> {
        self.gate.compacted_to.get()
    }

    /// What the checkpoint said at the start. Of a log that ends before that nothing is known.
    pub fn set_compacted_to(&self, offset: Option<Offset>) {
        self.gate.compacted_to.set(offset.filter(|offset| *offset <= self.log_end_offset()));
    }

    /// Whether a compaction failed, so that no more are tried.
    pub fn is_uncompactable(&self) -> bool {
        self.gate.has_failed()
    }

    /// Whether there is anything to compact (`LogCleanerManager.grabFilthiestCompactedLog`).
    ///
    /// # Errors
    /// An index or a segment cannot be read.
    pub async fn compactable(self: &Rc<Self>, now_ms: i64) -> Result<Option<Compactable>, LogError> {
        if self.sealed.borrow().is_empty() || !self.may_compact() {
            return Ok(None);
        }
        let _files = self.enter_files().await;
        let first = self.segment_view(Offset(i64::MIN)).map(|first| first.base_offset);
        match self.look_how_dirty(now_ms).await {
            Err(_) if self.begins_behind(first) => Ok(None),
            looked => looked,
        }
    }

    /// Whether the first segment is another one by now: retention came between.
    fn begins_behind(&self, first: Option<Offset>) -> bool {
        self.segment_view(Offset(i64::MIN)).map(|first| first.base_offset) > first
    }

    async fn look_how_dirty(self: &Rc<Self>, now_ms: i64) -> Result<Option<Compactable>, LogError> {
        let first_dirty = self.first_dirty();
        let views = self.compactable_views(now_ms).await?;
        let bytes = |dirty: bool| -> u64 {
            let views = views.iter().filter(|view| (view.end_offset > first_dirty) == dirty);
            views.map(|view| view.size).sum()
        };
        let (clean, dirty_bytes) = (bytes(false), bytes(true));
        if dirty_bytes == 0 {
            return Ok(None);
        }
        let config = self.config();
        let dirty_ratio = dirty_bytes as f64 / (clean + dirty_bytes) as f64;
        let mut delay_ms = 0;
        if config.max_compaction_lag_ms < i64::MAX
            && let Some(first) = views.iter().find(|view| view.end_offset > first_dirty && view.size > 0)
            && let Some(first_ms) = self.first_timestamp(*first).await?
        {
            delay_ms = now_ms.saturating_sub(config.max_compaction_lag_ms).saturating_sub(first_ms).max(0);
        }
        let is_due = delay_ms > 0 || dirty_ratio > config.min_cleanable_dirty_ratio;
        Ok(Some(Compactable { dirty_ratio, dirty_bytes, delay_ms, is_due }))
    }

    /// Compacts what can be. `None`: there was nothing to do, the log was closed, or its segments went elsewhere
    /// meanwhile.
    ///
    /// # Errors
    /// The segments cannot be read or the new ones not be written. The log is as it was, or compacted in its front part.
    /// But for a full disk, it is not tried again.
    pub async fn compact(self: &Rc<Self>, options: &CompactOptions) -> Result<Option<Compacted>, LogError> {
        if self.gate.begin() {
            return Ok(None);
        }
        let first = self.segment_view(Offset(i64::MIN)).map(|first| first.base_offset);
        let result = match self.compact_alone(options).await {
            // Retention renames the files of what it takes, and has some of them used again.
            Err(_) if self.begins_behind(first) => Ok(None),
            result => result,
        };
        if !matches!(result, Ok(Some(_))) && !self.is_gone() {
            let dir = self.dir();
            let _ = offload(move || remove_cleaned(&dir)).await;
        }
        match &result {
            Ok(Some(compacted)) => self.gate.compacted_to.set(Some(compacted.end_offset)),
            Ok(None) | Err(LogError::DiskFull) => {}
            Err(_) => self.gate.note_failed(),
        }
        self.gate.end();
        self.note_progress();
        result
    }

    async fn compact_alone(self: &Rc<Self>, options: &CompactOptions) -> Result<Option<Compacted>, LogError> {
        let first_dirty = self.first_dirty();
        let (sources, behind) = self.compaction_sources(options.now_ms).await?;
        if !self.may_compact() || sources.last().is_none_or(|last| last.end_offset <= first_dirty) {
            return Ok(None);
        }
        let rules = Rules {
            now_ms: options.now_ms,
            delete_retention_ms: self.config().delete_retention_ms,
            last_of_producers: self.last_of_producers(options.now_ms),
            keep_end: first_dirty,
        };
        let segments = (sources, behind);
        let mut job = Job::new(self.dir(), *self.config(), rules, segments, first_dirty, options.keys_bytes_max);
        let mut compacted = Compacted { end_offset: first_dirty, ..Compacted::default() };
        loop {
            let (began, before) = (runtime::now(), job.figures);
            let (back, progress) = offload(move || {
                let progress = job.step();
                (job, progress)
            })
            .await;
            job = back;
            if !self.may_compact() {
                return Ok(None);
            }
            match progress.map_err(|error| compact_failed(&error))? {
                Progress::More => {}
                Progress::Ready(output) => {
                    compacted.segments_before += output.sources.len();
                    compacted.segments_after += 1;
                    compacted.bytes_before += output.sources.iter().map(|source| source.size_bytes).sum::<u64>();
                    compacted.bytes_after += output.size_bytes;
                    if !self.swap_in(&output).await? {
                        return Ok(None);
                    }
                }
                Progress::Done => {
                    compacted.end_offset = job.end();
                    compacted.keys_bytes = job.figures.keys;
                    return Ok(Some(compacted));
                }
            }
            let took = runtime::now().saturating_duration_since(began);
            let moved = job.figures.read + job.figures.written - before.read - before.written;
            self.pause(took, moved as f64 / options.bytes_per_second_max).await;
        }
    }

    /// Leaves the core to others for as long as a step took, and for as long as the bound on the rate demands.
    async fn pause(&self, took: Duration, due_seconds: f64) {
        let due = Duration::try_from_secs_f64(due_seconds).unwrap_or(Duration::MAX);
        let mut left = took.max(due.saturating_sub(took));
        while !left.is_zero() && self.may_compact() {
            let wait = left.min(WAIT_MAX);
            runtime::sleep(wait).await;
            left = left.saturating_sub(wait);
        }
    }

    /// Asked again and again while a compaction is under way.
    fn may_compact(&self) -> bool {
        let open = matches!(*self.state().borrow(), State::Open | State::Full { .. });
        open && !self.is_gone() && self.config().cleanup_policy.compact && self.shard().room.level() == DiskLevel::Room
    }

    /// The segments that may be compacted, from the first on, and those behind them (`LogCleanerManager.cleanableOffsets`).
    async fn compaction_sources(self: &Rc<Self>, now_ms: i64) -> Result<(Vec<Source>, Vec<Source>), LogError> {
        let _files = self.enter_files().await;
        let source = |view: SegmentView| Source {
            base_offset: view.base_offset,
            size_bytes: view.size,
            end_offset: view.end_offset,
        };
        let sources: Vec<Source> = self.compactable_views(now_ms).await?.into_iter().map(source).collect();
        let end = sources.last().map_or(Offset(i64::MAX), |last| last.end_offset);
        let behind = self.segment_views().into_iter().filter(|view| view.base_offset >= end).map(source);
        Ok((sources, behind.collect()))
    }

    async fn compactable_views(self: &Rc<Self>, now_ms: i64) -> Result<Vec<SegmentView>, LogError> {
        let lag_ms = self.config().min_compaction_lag_ms;
        let (stable, first_dirty) = (self.last_stable_offset(), self.first_dirty());
        let mut views = Vec::new();
        for view in self.segment_views() {
            if view.is_live || view.end_offset > stable || !self.is_complete(view) {
                break;
            }
            if lag_ms > 0 && view.end_offset > first_dirty {
                let largest = self.largest_timestamp(view).await?;
                if largest.is_some_and(|largest| largest.timestamp > now_ms.saturating_sub(lag_ms)) {
                    break;
                }
            }
            views.push(view);
        }
        Ok(views)
    }

    /// Whether a sealed segment has all its files, and the one behind it has a durable name: a start would take it for the
    /// active one otherwise, which has no gaps.
    fn is_complete(&self, view: SegmentView) -> bool {
        let live = self.live().borrow();
        let is_last = live.front().is_some_and(|front| front.base_offset == view.end_offset);
        if is_last && !(self.is_named() && live.front().is_some_and(|front| front.room.created)) {
            return false;
        }
        let sealed = self.sealed.borrow();
        let at = sealed.binary_search_by_key(&view.base_offset, |segment| segment.base_offset);
        at.ok().and_then(|at| sealed.get(at)).is_some_and(|segment| segment.indexes.is_none())
    }

    /// The greatest timestamp of a segment's first batch, if that has one.
    async fn first_timestamp(&self, view: SegmentView) -> Result<Option<i64>, LogError> {
        let bytes = self.window(view, 0, BATCH_HEADER_BYTES as u64).await?;
        let header = BatchHeader::parse_prefix(&bytes).ok();
        Ok(header.map(|header| header.max_timestamp).filter(|timestamp| *timestamp > 0))
    }

    /// Where the part begins that is not compacted: all of it if what is remembered cannot be.
    fn first_dirty(&self) -> Offset {
        let (start, end) = (self.log_start_offset(), self.log_end_offset());
        self.gate.compacted_to.get().filter(|offset| (start..=end).contains(offset)).unwrap_or(start)
    }

    fn last_of_producers(&self, now_ms: i64) -> HashMap<ProducerId, LastOfProducer> {
        let snapshot = self.producer_snapshot().unwrap_or_default();
        let table = ProducerTable::decode_snapshot(&snapshot, self.log_end_offset(), now_ms);
        let table = table.unwrap_or_else(|_| ProducerTable::new(self.log_end_offset()));
        let last = table.iter().map(|(id, entry)| {
            (
                id,
                LastOfProducer {
                    data_offset: entry.batches().last().map(|batch| batch.last_offset),
                    epoch: entry.epoch,
                },
            )
        });
        last.collect()
    }
}

fn compact_failed(error: &CompactError) -> LogError {
    match error {
        CompactError::Io { source, .. } if is_disk_full(source) => LogError::DiskFull,
        other => LogError::Corrupt { what: other.to_string().into() },
    }
}

/// Outputs that will not be used.
fn remove_cleaned(dir: &Path) -> std::io::Result<()> {
    for (name, _) in fs::list(dir)? {
        if matches!(FileKind::of(&name), FileKind::Cleaned(_)) {
            fs::remove_file(&dir.join(name))?;
        }
    }
    Ok(())
}
