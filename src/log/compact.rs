//! Compaction (`cleanup.policy=compact`): of each key the last record stays, and of that none if it is a tombstone older
//! than `delete.retention.ms` (Kafka's `LogCleaner` and `Cleaner`).
//!
//! Only sealed segments below the last stable offset are compacted. What stays keeps its offset. Groups of segments become
//! one each, which takes their place by Kafka's names, so that a start after a crash, ours or Kafka's, finds either the
//! old segments or the new one:
//!
//! ```text
//!   .cleaned written, synced ── renamed to .swap, synced ── old ones renamed to .deleted ── .swap dropped, synced
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

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use crate::runtime::{fs, offload};
use crate::types::Offset;

use super::disk_room::DiskLevel;
use super::error::{LogError, is_disk_full};
use super::log::{Log, State};
use super::names::FileKind;
use super::producers::ProducerTable;
use filter::Rules;
use job::{CompactError, Job, Output, Progress, Source};

pub use gate::FilesGuard;
pub(super) use gate::Gate;

/// What compaction would do for a log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Compactable {
    /// How much of what can be compacted has not been yet, by bytes.
    pub dirty_ratio: f64,
    /// It is due: the ratio is above `min.cleanable.dirty.ratio`, or the oldest of it is older than `max.compaction.lag.ms`.
    pub is_due: bool,
}

/// What a compaction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compacted {
    /// Up to where the log is compacted now.
    pub end_offset: Offset,
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub segments_before: usize,
    pub segments_after: usize,
}

impl Log {
    /// Whether there is anything to compact in a log that is compacted up to `from`.
    pub async fn compactable(self: &Rc<Self>, from: Offset, now_ms: i64) -> Result<Option<Compactable>, LogError> {
        let sources = self.compaction_sources(now_ms).await?;
        let first_dirty = self.first_dirty(from, &sources);
        let bytes = |dirty: bool| -> u64 {
            let sources = sources.iter().filter(|source| (source.end_offset > first_dirty) == dirty);
            sources.map(|source| source.size_bytes).sum()
        };
        let (clean, dirty) = (bytes(false), bytes(true));
        if dirty == 0 {
            return Ok(None);
        }
        let config = self.config();
        let dirty_ratio = dirty as f64 / (clean + dirty) as f64;
        let oldest_ms = self.sealed.borrow().iter().find(|it| it.base_offset >= first_dirty).and_then(|it| it.largest);
        let too_old = oldest_ms.is_some_and(|oldest| {
            oldest.timestamp >= 0 && now_ms.saturating_sub(oldest.timestamp) > config.max_compaction_lag_ms
        });
        Ok(Some(Compactable { dirty_ratio, is_due: too_old || dirty_ratio > config.min_cleanable_dirty_ratio }))
    }

    /// Compacts what can be; the log is compacted up to `from`. May take `keys_bytes_max` of memory, and does less where
    /// that is not enough. `None`: the log was closed, or its segments went elsewhere meanwhile.
    ///
    /// # Errors
    /// The segments cannot be read or the new ones not be written. The log is as it was, or compacted in its front part.
    pub async fn compact(
        self: &Rc<Self>,
        from: Offset,
        now_ms: i64,
        keys_bytes_max: usize,
    ) -> Result<Option<Compacted>, LogError> {
        if self.gate.begin() {
            return Ok(None);
        }
        let result = self.compact_alone(from, now_ms, keys_bytes_max).await;
        if !matches!(result, Ok(Some(_))) && !self.is_gone() {
            let dir = self.dir();
            let _ = offload(move || remove_cleaned(&dir)).await;
        }
        self.gate.end();
        self.note_progress();
        result
    }

    async fn compact_alone(
        self: &Rc<Self>,
        from: Offset,
        now_ms: i64,
        keys_bytes_max: usize,
    ) -> Result<Option<Compacted>, LogError> {
        let sources = self.compaction_sources(now_ms).await?;
        let first_dirty = self.first_dirty(from, &sources);
        if sources.last().is_none_or(|last| last.end_offset <= first_dirty) {
            return Ok(None);
        }
        let rules = Rules {
            now_ms,
            delete_retention_ms: self.config().delete_retention_ms,
            last_of_producers: self.last_of_producers(now_ms),
        };
        let mut job = Job::new(self.dir(), *self.config(), rules, sources, first_dirty, keys_bytes_max);
        let mut compacted = Compacted { end_offset: first_dirty, ..Compacted::default() };
        loop {
            let (back, progress) = offload(move || {
                let progress = job.step();
                (job, progress)
            })
            .await;
            job = back;
            if !self.may_compact() {
                return Ok(None);
            }
            match progress.map_err(|error| self.compact_failed(error))? {
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
                    return Ok(Some(compacted));
                }
            }
        }
    }

    fn may_compact(&self) -> bool {
        let open = matches!(*self.state().borrow(), State::Open | State::Full { .. });
        open && !self.is_gone() && self.shard().room.level() == DiskLevel::Room
    }

    /// The segments that may be compacted, from the first on (`LogCleanerManager.cleanableOffsets`).
    async fn compaction_sources(self: &Rc<Self>, now_ms: i64) -> Result<Vec<Source>, LogError> {
        let _files = self.enter_files().await;
        let lag_ms = self.config().min_compaction_lag_ms;
        let stable = self.last_stable_offset();
        let mut sources = Vec::new();
        for view in self.segment_views() {
            let is_complete = {
                let sealed = self.sealed.borrow();
                let at = sealed.binary_search_by_key(&view.base_offset, |segment| segment.base_offset);
                at.ok().and_then(|at| sealed.get(at)).is_some_and(|segment| segment.indexes.is_none())
            };
            if view.is_live || !is_complete || view.end_offset > stable {
                break;
            }
            if lag_ms > 0 {
                let largest = self.largest_timestamp(view).await?;
                if largest.is_some_and(|largest| largest.timestamp > now_ms.saturating_sub(lag_ms)) {
                    break;
                }
            }
            sources.push(Source { base_offset: view.base_offset, size_bytes: view.size, end_offset: view.end_offset });
        }
        Ok(sources)
    }

    /// Where the part begins that is not compacted: all of it if what is remembered cannot be.
    fn first_dirty(&self, from: Offset, sources: &[Source]) -> Offset {
        let start = self.log_start_offset();
        let end = sources.last().map_or(start, |last| last.end_offset);
        if (start..=end).contains(&from) { from } else { start }
    }

    fn last_of_producers(&self, now_ms: i64) -> HashMap<crate::types::ProducerId, Offset> {
        let snapshot = self.producer_snapshot().unwrap_or_default();
        let table = ProducerTable::decode_snapshot(&snapshot, self.log_end_offset(), now_ms);
        let table = table.unwrap_or_else(|_| ProducerTable::new(self.log_end_offset()));
        table.iter().filter_map(|(id, entry)| Some((id, entry.batches().last()?.last_offset))).collect()
    }

    fn compact_failed(&self, error: CompactError) -> LogError {
        match error {
            CompactError::Io { source, .. } if is_disk_full(&source) => LogError::DiskFull,
            other => LogError::Corrupt { what: other.to_string().into() },
        }
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
