//! File and directory names of a log directory, as Kafka spells them (`LogFileUtils`, `LocalLog`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{Offset, TopicPartition};

pub const LOG_SUFFIX: &str = ".log";
pub const OFFSET_INDEX_SUFFIX: &str = ".index";
pub const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub const TXN_INDEX_SUFFIX: &str = ".txnindex";
pub const SNAPSHOT_SUFFIX: &str = ".snapshot";
/// Appended to a file that is to be removed; a spare segment is kept under it too.
pub const DELETED_SUFFIX: &str = ".deleted";
/// Appended to an output of compaction that is not complete.
pub const CLEANED_SUFFIX: &str = ".cleaned";
/// Appended to an output of compaction that is complete and about to take its place.
pub const SWAP_SUFFIX: &str = ".swap";

pub const PARTITION_METADATA: &str = "partition.metadata";
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START_OFFSET_CHECKPOINT: &str = "log-start-offset-checkpoint";
pub const REPLICATION_OFFSET_CHECKPOINT: &str = "replication-offset-checkpoint";
pub const CLEANER_OFFSET_CHECKPOINT: &str = "cleaner-offset-checkpoint";
pub const META_PROPERTIES: &str = "meta.properties";
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub const LOCK: &str = ".lock";
/// Keeps room back on the disk while a broker runs; there is nothing in it.
pub const RESERVE: &str = "corelane.reserve";
/// The directory on whose name Apache Kafka refuses to start while our segments may end in stale blocks.
pub const UNCLEAN_DIR: &str = "corelane-unclean";

/// The suffix of a partition's directory between its deletion and the removal of its files.
pub const DELETE_DIR_SUFFIX: &str = "-delete";
/// The suffix of a partition's directory while it moves here from another log directory.
pub const FUTURE_DIR_SUFFIX: &str = "-future";
/// The suffix of a partition's directory that the catalog did not know.
pub const STRAY_DIR_SUFFIX: &str = "-stray";

/// The 20 digits that a segment's files are named by.
pub fn offset_digits(offset: Offset) -> String {
    format!("{:020}", offset.0)
}

fn offset_file(dir: &Path, offset: Offset, suffix: &str) -> PathBuf {
    dir.join(format!("{:020}{suffix}", offset.0))
}

pub fn log_file(dir: &Path, base_offset: Offset) -> PathBuf {
    offset_file(dir, base_offset, LOG_SUFFIX)
}

pub fn offset_index_file(dir: &Path, base_offset: Offset) -> PathBuf {
    offset_file(dir, base_offset, OFFSET_INDEX_SUFFIX)
}

pub fn time_index_file(dir: &Path, base_offset: Offset) -> PathBuf {
    offset_file(dir, base_offset, TIME_INDEX_SUFFIX)
}

pub fn txn_index_file(dir: &Path, base_offset: Offset) -> PathBuf {
    offset_file(dir, base_offset, TXN_INDEX_SUFFIX)
}

/// The producer state of everything below `offset`.
pub fn snapshot_file(dir: &Path, offset: Offset) -> PathBuf {
    offset_file(dir, offset, SNAPSHOT_SUFFIX)
}

/// An output of compaction that is not complete.
pub fn cleaned(path: &Path) -> PathBuf {
    with_suffix(path, CLEANED_SUFFIX)
}

/// A complete output of compaction that is to take the place of segments.
pub fn swap(path: &Path) -> PathBuf {
    with_suffix(path, SWAP_SUFFIX)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A file under the name it has while it waits for its removal, or to be used again as a spare.
pub fn deleted(path: &Path) -> PathBuf {
    with_suffix(path, DELETED_SUFFIX)
}

/// A spare segment: preallocated, of no use to a reader; Kafka removes it when it takes the directory over.
pub fn spare_file(dir: &Path, number: i64) -> PathBuf {
    deleted(&log_file(dir, Offset(number)))
}

/// What a file in a partition's directory is, by its name alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    Log(Offset),
    OffsetIndex(Offset),
    TimeIndex(Offset),
    TxnIndex(Offset),
    Snapshot(Offset),
    /// A file of the segment with this base offset that waits for removal.
    Deleted,
    Cleaned(Offset),
    Swap(Offset),
    Other,
}

impl FileKind {
    pub fn of(name: &str) -> FileKind {
        // Kafka leaves a deleted snapshot of the metadata log to those who load the catalog.
        if name.ends_with(DELETED_SUFFIX) && !name.ends_with(".checkpoint.deleted") {
            return FileKind::Deleted;
        }
        let Some((digits, suffix)) = name.split_at_checked(20) else { return FileKind::Other };
        let Some(offset) = parse_digits(digits) else { return FileKind::Other };
        match suffix {
            LOG_SUFFIX => FileKind::Log(offset),
            OFFSET_INDEX_SUFFIX => FileKind::OffsetIndex(offset),
            TIME_INDEX_SUFFIX => FileKind::TimeIndex(offset),
            TXN_INDEX_SUFFIX => FileKind::TxnIndex(offset),
            SNAPSHOT_SUFFIX => FileKind::Snapshot(offset),
            _ if suffix.ends_with(CLEANED_SUFFIX) => FileKind::Cleaned(offset),
            _ if suffix.ends_with(SWAP_SUFFIX) => FileKind::Swap(offset),
            _ => FileKind::Other,
        }
    }
}

fn parse_digits(digits: &str) -> Option<Offset> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset)
}

/// The directory of a partition in a log directory.
pub fn partition_dir(log_dir: &Path, partition: &TopicPartition) -> PathBuf {
    log_dir.join(partition.to_string())
}

/// What a directory in a log directory is, by its name alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DirKind {
    Partition(TopicPartition),
    /// `<topic>-<n>.<hex>-delete`: to be removed.
    Deleted,
    /// `<topic>-<n>.<hex>-future`.
    Future,
    /// `<topic>-<n>-stray` or `<topic>-<n>.<hex>-stray`.
    Stray,
    /// None of a log directory's: Apache Kafka would refuse to start.
    Foreign,
}

impl DirKind {
    pub fn of(name: &str) -> DirKind {
        if name.ends_with(DELETE_DIR_SUFFIX) {
            return DirKind::Deleted;
        }
        if name.ends_with(FUTURE_DIR_SUFFIX) {
            return DirKind::Future;
        }
        if name.ends_with(STRAY_DIR_SUFFIX) {
            return DirKind::Stray;
        }
        match name.rsplit_once('-') {
            Some((topic, partition)) if !topic.is_empty() => match parse_partition(partition) {
                Some(partition) => DirKind::Partition(TopicPartition { topic: Arc::from(topic), partition }),
                None => DirKind::Foreign,
            },
            _ => DirKind::Foreign,
        }
    }
}

fn parse_partition(digits: &str) -> Option<i32> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The most characters that Kafka gives a directory's name (`LocalLog.logDirNameWithSuffixCappedLength`).
const DIR_NAME_CHARS_MAX: usize = 255;

/// The name that a deleted partition's directory is renamed to: unique, so that the topic can be made anew at
/// once. `unique` is 32 hexadecimal digits.
pub fn delete_dir_name(partition: &TopicPartition, unique: &str) -> String {
    let suffix = format!("-{}.{unique}{DELETE_DIR_SUFFIX}", partition.partition);
    let room = DIR_NAME_CHARS_MAX.saturating_sub(suffix.len());
    let topic: String = partition.topic.chars().take(room).collect();
    topic + &suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: Arc::from(topic), partition }
    }

    #[test]
    fn a_file_is_known_by_its_name() {
        let dir = Path::new("/d/t-0");
        assert_eq!(log_file(dir, Offset(42)), Path::new("/d/t-0/00000000000000000042.log"));
        assert_eq!(spare_file(dir, 7), Path::new("/d/t-0/00000000000000000007.log.deleted"));
        for (name, kind) in [
            ("00000000000000000042.log", FileKind::Log(Offset(42))),
            ("09223372036854775807.index", FileKind::OffsetIndex(Offset(i64::MAX))),
            ("00000000000000000042.timeindex", FileKind::TimeIndex(Offset(42))),
            ("00000000000000000042.txnindex", FileKind::TxnIndex(Offset(42))),
            ("00000000000000000042.snapshot", FileKind::Snapshot(Offset(42))),
            ("00000000000000000042.log.deleted", FileKind::Deleted),
            ("00000000000000000042.log.cleaned", FileKind::Cleaned(Offset(42))),
            ("00000000000000000042.timeindex.swap", FileKind::Swap(Offset(42))),
            ("99999999999999999999.log", FileKind::Other),
            ("0000000000000000004x.log", FileKind::Other),
            ("42.log", FileKind::Other),
            ("00000000000000000042-0000000001.checkpoint", FileKind::Other),
            ("00000000000000000042-0000000001.checkpoint.deleted", FileKind::Other),
            ("leader-epoch-checkpoint", FileKind::Other),
            ("äääääääääää.log", FileKind::Other),
        ] {
            assert_eq!(FileKind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_directory_is_known_by_its_name() {
        assert_eq!(DirKind::of("a-b-12"), DirKind::Partition(partition("a-b", 12)));
        assert_eq!(DirKind::of("a-0.0123456789abcdef0123456789abcdef-delete"), DirKind::Deleted);
        assert_eq!(DirKind::of("a-0.0123-future"), DirKind::Future);
        assert_eq!(DirKind::of("a-0-stray"), DirKind::Stray);
        for foreign in ["lost+found", "corelane-unclean", "-1", "a-", "a-+1", "a-99999999999"] {
            assert_eq!(DirKind::of(foreign), DirKind::Foreign, "{foreign}");
        }
    }

    #[test]
    fn a_long_topic_still_gives_a_name_that_fits() {
        let name = delete_dir_name(&partition(&"t".repeat(249), 17), &"0".repeat(32));
        assert_eq!(name.len(), 255);
        assert!(name.ends_with("-17.00000000000000000000000000000000-delete"));
        assert_eq!(DirKind::of(&name), DirKind::Deleted);
    }
}
