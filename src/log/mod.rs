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
pub mod checkpoint;
pub mod clean_shutdown;
pub mod config;
pub mod dir_checkpoints;
mod dir_files;
pub mod dir_lock;
pub mod epoch;
pub mod error;
pub mod index;
mod load;
pub mod loaded;
mod look_behind;
pub mod meta_properties;
pub mod names;
pub mod partition_metadata;
pub mod producers;
mod recovery;
mod recycle;
mod replay;
pub mod scan;
pub mod sealed_index;
mod segment_scan;
#[cfg(test)]
mod testing;

pub use active::rebuild_indexes;
pub use clean_shutdown::{CleanShutdownMarks, DirState};
pub use config::{CleanupPolicy, LogConfig};
pub use dir_checkpoints::{DirCheckpoints, PartitionOffsets};
pub use dir_lock::DirLock;
pub use epoch::{EpochEntry, LeaderEpochCache};
pub use error::{LoadError, LogError};
pub use index::{OffsetIndex, OffsetPosition, SegmentIndexes, TimeIndex, TimestampOffset};
pub use load::{load, load_all};
pub use loaded::{Cut, Damage, DamageKind, LoadOptions, LoadedActive, LoadedLog, LoadedSegment, RecoveryReport};
pub use meta_properties::MetaProperties;
pub use recycle::disarm;
pub use scan::{LogScanner, ScanError, SegmentScanner};
pub use sealed_index::{IndexBlock, IndexBlockCache, IndexKind, IndexSearch, SealedIndex};
