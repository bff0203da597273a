//! Compacts the logs of a shard, the dirtiest first, one at a time (Kafka's `LogCleaner`, `LogCleanerManager`).
//!
//! What is read and written for it is read and written by helper threads, a piece at a time; between two pieces the core
//! is left to others for as long as one took.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::log::{CompactOptions, Compactable, Compacted, LogError};
use crate::metrics::ShardMetrics;
use crate::partition::Partition;
use crate::runtime;

use super::Shard;

/// Partitions looked at in one turn of the loop.
const PARTITIONS_PER_TURN: usize = 8;
/// The least memory for keys: less would mean a round for every few batches (Kafka refuses less for a thread of its own).
const KEYS_BYTES_MIN: usize = 1 << 20;
/// The shortest pause when there is nothing to do, so that a look at all partitions stays a small part of the work.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

impl Shard {
    /// Compacts what is due, and looks again `log.cleaner.backoff.ms` after nothing was. Never ends.
    pub async fn keep_compacted(self: Rc<Self>, metrics: Arc<ShardMetrics>) {
        if !self.config.log.cleaner.enabled {
            return;
        }
        loop {
            let compacted = match self.dirtiest(&metrics).await {
                Some(partition) => self.compact(&partition, &metrics).await,
                None => false,
            };
            if !compacted {
                runtime::sleep(self.view().config().log.cleaner.backoff.max(BACKOFF_MIN)).await;
            }
        }
    }

    /// The partition that is compacted next, if any is due.
    async fn dirtiest(self: &Rc<Self>, metrics: &ShardMetrics) -> Option<Rc<Partition>> {
        let now_ms = runtime::wall_ms();
        let mut dirtiest: Option<(Rc<Partition>, Compactable)> = None;
        let (mut ratio_max, mut delay_max_ms, mut uncleanable) = (0.0_f64, 0, 0);
        for (at, partition) in self.partitions().into_iter().enumerate() {
            if at % PARTITIONS_PER_TURN == 0 {
                runtime::yield_now().await;
            }
            if !partition.log.config().cleanup_policy.compact {
                continue;
            }
            if partition.log.is_uncompactable() {
                uncleanable += 1;
                continue;
            }
            let found = match partition.log.compactable(now_ms).await {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) => {
                    if self.log_shard.may_tell() {
                        tracing::error!(partition = %partition.name, "what is to be compacted cannot be told: {error}");
                    }
                    continue;
                }
            };
            ratio_max = ratio_max.max(found.dirty_ratio);
            delay_max_ms = delay_max_ms.max(found.delay_ms);
            if found.is_due && dirtiest.as_ref().is_none_or(|(_, most)| most.dirty_ratio < found.dirty_ratio) {
                dirtiest = Some((partition, found));
            }
        }
        metrics.max_dirty_percent.set((ratio_max * 100.0) as i64);
        metrics.max_compaction_delay_secs.set(delay_max_ms / 1000);
        metrics.uncleanable_partitions.set(uncleanable);
        dirtiest.map(|(partition, _)| partition)
    }

    /// Says whether something was done, so that it is worth looking again at once.
    async fn compact(self: &Rc<Self>, partition: &Rc<Partition>, metrics: &ShardMetrics) -> bool {
        let cleaner = self.view().config().log.cleaner;
        let shards = self.config.shards.max(1);
        let options = CompactOptions {
            now_ms: runtime::wall_ms(),
            keys_bytes_max: (cleaner.keys_bytes_max / shards).max(KEYS_BYTES_MIN),
            bytes_per_second_max: (cleaner.bytes_per_second_max / shards as f64).max(1.0),
        };
        let began = runtime::now();
        let before = partition.log.compacted_to();
        match partition.log.compact(&options).await {
            Ok(Some(compacted)) => {
                let took = runtime::now().saturating_duration_since(began);
                note(metrics, &compacted, took, options.keys_bytes_max);
                tracing::info!(
                    partition = %partition.name,
                    "compacted up to offset {}: {} segments of {} bytes became {} of {} bytes in {} ms",
                    compacted.end_offset,
                    compacted.segments_before,
                    compacted.bytes_before,
                    compacted.segments_after,
                    compacted.bytes_after,
                    took.as_millis()
                );
                before != partition.log.compacted_to()
            }
            // Closed or changed meanwhile.
            Ok(None) => false,
            Err(LogError::DiskFull) => {
                if self.log_shard.may_tell() {
                    tracing::warn!(partition = %partition.name, "not compacted: the disk is full");
                }
                false
            }
            Err(error) => {
                tracing::error!(
                    partition = %partition.name,
                    "compaction failed, and is not tried again before the next start: {error}"
                );
                true
            }
        }
    }
}

fn note(metrics: &ShardMetrics, compacted: &Compacted, took: Duration, keys_bytes_max: usize) {
    let percent = |part: u64, whole: u64| (part.saturating_mul(100) / whole.max(1)) as i64;
    metrics.compactions.increment();
    metrics.compaction_before_bytes.add(compacted.bytes_before);
    metrics.compaction_after_bytes.add(compacted.bytes_after);
    metrics.max_clean_time_secs.set(took.as_secs() as i64);
    metrics.max_buffer_utilization_percent.set(percent(compacted.keys_bytes as u64, keys_bytes_max as u64));
    metrics.cleaner_recopy_percent.set(percent(compacted.bytes_after, compacted.bytes_before));
}
