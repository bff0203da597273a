//! One partition's log on disk: segments, indexes, appender, recovery. Knows no wire format.
//!
//! Per partition `<topic>-<n>/`, as Apache Kafka lays it out:
//!
//! ```text
//! 00000000000000000000.log         record batches, one after the other; named by the first offset
//! 00000000000000000000.index       sparse: last offset of a batch -> position of that batch
//! 00000000000000000000.timeindex   sparse: largest timestamp so far -> last offset of its batch
//! 00000000000000000000.txnindex    aborted transactions
//! 00000000000000000042.snapshot    producer state as of offset 42
//! leader-epoch-checkpoint          leader epoch -> its first offset
//! partition.metadata               the topic id
//! ```

mod active;
mod active_checkpoint;
mod ahead;
pub mod appender;
pub mod check;
pub mod checkpoint;
pub mod clean_shutdown;
mod close;
mod compact;
pub mod config;
mod delete;
mod descriptors;
pub mod dir_checkpoints;
mod dir_files;
pub mod dir_lock;
mod disk_room;
pub mod epoch;
pub mod error;
pub mod fault;
pub mod file;
mod flusher;
mod full;
mod idle;
pub mod index;
mod journal;
#[cfg(test)]
mod live_tests;
mod load;
pub mod loaded;
#[expect(clippy::module_inception, reason = "it holds the type of that name")]
pub mod log;
mod log_parts;
pub mod log_shard;
mod look_behind;
pub mod meta_properties;
pub mod names;
mod naming;
mod offsets;
pub mod partition_metadata;
mod prepare;
pub mod producers;
pub mod read;
mod read_cold;
mod read_cursor;
mod read_damage;
mod read_index;
mod read_pick;
mod read_time;
mod recovery;
mod recycle;
mod replay;
mod retention;
mod retire;
mod roll;
pub mod scan;
mod scan_read;
pub mod sealed_index;
mod segment;
mod segment_scan;
mod space;
mod spares;
mod tail;
#[cfg(test)]
mod testing;
mod waiters;

pub use active::rebuild_indexes;
pub use appender::{COMMIT_REACH_BYTES, CommitSizes};
pub use clean_shutdown::{CleanShutdownMarks, DirState};
pub use compact::{CompactOptions, Compactable, Compacted, FilesGuard, FilesHold};
pub use config::{CleanupPolicy, LogConfig};
pub use delete::{delete_all, set_aside};
pub use dir_checkpoints::{DirCheckpoints, PartitionOffsets};
pub use dir_lock::DirLock;
pub use disk_room::{Attempt, Claim, DiskLevel, DiskRoom, News};
pub use epoch::{EpochEntry, LeaderEpochCache};
pub use error::{LoadError, LogError, is_disk_full};
pub use fault::{FaultKind, FaultOp, FaultPlan};
pub use file::IoMode;
pub use full::{FULL_TRIES_MAX, wait_for_room, with_room};
pub use index::{OffsetIndex, OffsetPosition, SegmentIndexes, TimeIndex, TimestampOffset};
pub use journal::JournalOptions;
pub use load::{load, load_all};
pub use loaded::{
    Cut, Damage, DamageKind, HOW_TO_GO_ON, LoadOptions, LoadedActive, LoadedLog, LoadedSegment, RecoveryReport,
};
pub use log::{Log, RollBackHook, SnapshotSource};
pub use log_shard::{FlushAcks, LogShard, LogShardOptions, LogShardStats};
pub use meta_properties::MetaProperties;
pub use offsets::LogOffsets;
pub use read::{Chunk, FileRange, ReadResult};
pub use read_time::RecordTime;
pub use retention::Removed;
pub use scan::{LogScanner, ScanError, SegmentScanner};
pub use sealed_index::{IndexBlock, IndexBlockCache, IndexKind, IndexSearch, SealedIndex};
pub use segment::AppendBatch;
pub use waiters::OffsetReached;
