//! What loading a partition is asked, and what it answers: plain data that is made on a loading thread and moved
//! to the shard that owns the partition.

use std::fmt;
use std::path::PathBuf;

use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

use super::config::LogConfig;
use super::epoch::LeaderEpochCache;
use super::index::{SegmentIndexes, TimestampOffset};
use super::producers::ProducerTable;

/// How to load (or make) one partition's log.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The partition's own directory, `<log dir>/<topic>-<n>`; made if it is not there.
    pub dir: PathBuf,
    pub topic_partition: TopicPartition,
    pub topic_id: TopicId,
    pub config: LogConfig,
    /// The log directory was stopped cleanly: indexes and ends are what they seem.
    pub clean: bool,
    /// Everything below is known to be flushed (`recovery-point-offset-checkpoint`), 0 if not known.
    pub recovery_point: Offset,
    /// Everything below was flushed before `replication-offset-checkpoint` said so: the high watermark of a run that
    /// acknowledges after the flush. Segments above the recovery point need not be complete up to here, but a log that
    /// ends below has lost acknowledged records. 0 if not known.
    pub flushed_offset: Offset,
    /// From `log-start-offset-checkpoint`; 0 if not known.
    pub log_start_offset: Offset,
    /// The highest leader epoch that a batch can have, from the catalog; `i32::MAX` if not known. A batch's epoch lies
    /// outside of its CRC: a garbled one must not raise all epochs to come.
    pub leader_epoch: LeaderEpoch,
    /// The files were written by another broker: its active segment is sealed and a new one begun.
    pub adopted: bool,
    /// How many bytes behind the flushed end a batch of this partition can have been written before the power
    /// went. A valid batch further behind a cut is damage. `u64::MAX` where nothing was flushed in order.
    pub commit_reach_bytes: u64,
    /// Cut at damage instead of leaving the partition offline: the operator knows that records will be lost.
    pub accept_damage: bool,
    /// Wall-clock time, for the expiry of producers.
    pub now_ms: i64,
}

impl LoadOptions {
    /// Of a partition that is to be made: there is nothing of it yet, or no more than a crash left of making it.
    pub fn of_new(
        dir: PathBuf,
        topic_partition: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        now_ms: i64,
    ) -> LoadOptions {
        LoadOptions {
            dir,
            topic_partition,
            topic_id,
            config,
            clean: true,
            recovery_point: Offset::ZERO,
            flushed_offset: Offset::ZERO,
            log_start_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch(i32::MAX),
            adopted: false,
            commit_reach_bytes: 0,
            accept_damage: false,
            now_ms,
        }
    }

    /// Below this offset nothing can be torn: what is missing was flushed once.
    pub(super) fn flushed_below(&self) -> Offset {
        self.recovery_point.max(self.flushed_offset)
    }
}

/// A partition's log as it is on disk, ready for appends.
#[derive(Debug)]
pub struct LoadedLog {
    pub dir: PathBuf,
    pub topic_partition: TopicPartition,
    pub topic_id: TopicId,
    pub config: LogConfig,
    pub log_start_offset: Offset,
    /// One past the last record. All below is on the device.
    pub log_end_offset: Offset,
    pub recovery_point: Offset,
    /// Complete segments, by base offset; their indexes are on disk.
    pub sealed: Vec<LoadedSegment>,
    /// The segment that appends continue. Its `.log` ends with its last batch; its index files on disk are stale.
    pub active: LoadedActive,
    pub epochs: LeaderEpochCache,
    /// The state of the producers at the log's end.
    pub producers: ProducerTable,
    /// Set: the partition stays offline (`KAFKA_STORAGE_ERROR`), and its files are as they were found.
    pub damage: Option<Damage>,
    pub report: RecoveryReport,
}

/// A segment that no append goes to any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadedSegment {
    pub base_offset: Offset,
    pub size_bytes: u64,
    /// The greatest timestamp, where the load came by it; else the last entry of its time index says it.
    pub largest: Option<TimestampOffset>,
}

/// The segment that appends go to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedActive {
    pub base_offset: Offset,
    pub size_bytes: u64,
    pub indexes: SegmentIndexes,
    /// The greatest timestamp of the first batch, by which the segment is rolled (`segment.ms`).
    pub first_timestamp: Option<i64>,
}

/// Acknowledged bytes that are not what they were: not for the broker to repair on its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    pub segment: PathBuf,
    /// Where the unbroken prefix of the segment ends.
    pub position: u64,
    /// The offset of the first record that is not there any more.
    pub offset: Offset,
    pub kind: DamageKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DamageKind {
    /// The log ends below what was known to be flushed.
    BelowFlushed { flushed: Offset },
    /// A valid batch lies further behind than unflushed writes reach.
    ValidBatchBehind { segment: PathBuf, position: u64, base_offset: Offset },
}

impl Damage {
    /// How it is known that it is no torn tail.
    pub fn reason(&self) -> String {
        match &self.kind {
            DamageKind::BelowFlushed { flushed } => format!("everything below offset {flushed} had been flushed"),
            DamageKind::ValidBatchBehind { segment, position, base_offset } => format!(
                "a valid batch with offset {base_offset} lies behind it ({} at byte {position})",
                segment.display()
            ),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.segment.display();
        write!(f, "{segment} is damaged at byte {}, offset {}: {}", self.position, self.offset, self.reason())?;
        f.write_str(HOW_TO_GO_ON)
    }
}

/// The end of every sentence about damage in a log.
pub const HOW_TO_GO_ON: &str = "; with the broker stopped, `corelane check DIR` shows all that is wrong, and with \
                                       --repair --drop-damaged it keeps what is whole";

/// What recovery found and did, for the start log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    pub segments_scanned: u32,
    pub bytes_scanned: u64,
    /// Segments whose index files were missing or damaged, and were made anew.
    pub indexes_rebuilt: u32,
    /// What was cut off behind the log's end.
    pub cut: Option<Cut>,
    /// The directory, or a new active segment in it, was made by this load: it has no index files yet.
    pub created: bool,
}

/// A torn tail that was cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    pub segment: PathBuf,
    /// The size that the segment has now.
    pub position: u64,
    /// How many bytes were there, up to the last one that is not zero.
    pub bytes: u64,
    /// Batches of an earlier use of the file were among them.
    pub stale: bool,
    /// Segments behind this one that were removed.
    pub segments_removed: u32,
    pub reason: String,
}
