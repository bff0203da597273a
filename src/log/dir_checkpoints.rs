//! Collects the offsets of all partitions of one log directory, which several shards own, and writes the
//! checkpoint files. A shard only posts numbers; the files are written by a helper thread.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::runtime::fs;
use crate::types::{Offset, TopicPartition};

use super::checkpoint::{self, Offsets};
use super::error::LoadError;
use super::names;

/// What is kept of a partition across restarts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PartitionOffsets {
    /// Everything below is flushed, and its segments are truncated to their data.
    pub recovery_point: Offset,
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
    /// Compaction has seen everything below; none of a partition that was never compacted.
    pub compacted_to: Option<Offset>,
}

/// The checkpoint files of one log directory. Shared by all shards; no call but [`write`](DirCheckpoints::write)
/// and [`open`](DirCheckpoints::open) touches the disk.
#[derive(Debug)]
pub struct DirCheckpoints {
    dir: PathBuf,
    table: Mutex<Table>,
    /// Held while the files are written, so that an older state never replaces a newer one.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    partitions: BTreeMap<TopicPartition, PartitionOffsets>,
    /// Which of the files no longer say what `partitions` says.
    stale: [bool; FILES.len()],
    /// Counts the times that partitions were forgotten.
    removals: u64,
    /// Up to which of those the files know it.
    removals_written: u64,
}

struct CheckpointFile {
    name: &'static str,
    /// None for a partition that has no line in the file.
    offset: fn(&PartitionOffsets) -> Option<Offset>,
    /// The file is there from the first partition on, be it without a line.
    always: bool,
}

const FILES: [CheckpointFile; 4] = [
    CheckpointFile {
        name: names::RECOVERY_POINT_CHECKPOINT,
        offset: |offsets| Some(offsets.recovery_point),
        always: true,
    },
    CheckpointFile {
        name: names::LOG_START_OFFSET_CHECKPOINT,
        // Kafka leaves out log start offsets that the first segment's name says already; 0 always is.
        offset: |offsets| Some(offsets.log_start_offset).filter(|offset| offset.0 > 0),
        always: true,
    },
    CheckpointFile {
        name: names::REPLICATION_OFFSET_CHECKPOINT,
        offset: |offsets| Some(offsets.high_watermark),
        always: true,
    },
    CheckpointFile { name: names::CLEANER_OFFSET_CHECKPOINT, offset: |offsets| offsets.compacted_to, always: false },
];

impl DirCheckpoints {
    /// Reads the files of a log directory. A malformed file counts as empty, which costs a longer recovery; what is
    /// wrong with it is returned for the log.
    pub fn open(dir: &Path) -> Result<(DirCheckpoints, Vec<LoadError>), LoadError> {
        let mut warnings = Vec::new();
        let mut read = |name: &str| match checkpoint::read(&dir.join(name)) {
            Err(malformed @ LoadError::Malformed { .. }) => {
                warnings.push(malformed);
                Ok(Offsets::new())
            }
            read => read,
        };
        let mut partitions: BTreeMap<TopicPartition, PartitionOffsets> = BTreeMap::new();
        for (partition, offset) in read(names::RECOVERY_POINT_CHECKPOINT)? {
            partitions.entry(partition).or_default().recovery_point = offset;
        }
        for (partition, offset) in read(names::LOG_START_OFFSET_CHECKPOINT)? {
            partitions.entry(partition).or_default().log_start_offset = offset;
        }
        for (partition, offset) in read(names::REPLICATION_OFFSET_CHECKPOINT)? {
            partitions.entry(partition).or_default().high_watermark = offset;
        }
        for (partition, offset) in read(names::CLEANER_OFFSET_CHECKPOINT)? {
            partitions.entry(partition).or_default().compacted_to = Some(offset);
        }
        let table = Mutex::new(Table { partitions, ..Table::default() });
        Ok((DirCheckpoints { dir: dir.to_owned(), table, writing: Mutex::new(()) }, warnings))
    }

    pub fn get(&self, partition: &TopicPartition) -> PartitionOffsets {
        self.table().partitions.get(partition).copied().unwrap_or_default()
    }

    /// Notes where partitions stand now.
    pub fn update(&self, offsets: impl IntoIterator<Item = (TopicPartition, PartitionOffsets)>) {
        let mut table = self.table();
        for (partition, now) in offsets {
            let before = table.partitions.insert(partition, now);
            for (stale, file) in table.stale.iter_mut().zip(&FILES) {
                *stale |= match &before {
                    None if file.always => true,
                    before => before.as_ref().and_then(file.offset) != (file.offset)(&now),
                };
            }
        }
    }

    /// Forgets a deleted partition.
    pub fn remove(&self, partition: &TopicPartition) {
        let mut table = self.table();
        if table.partitions.remove(partition).is_some() {
            table.stale = [true; FILES.len()];
            table.removals += 1;
        }
    }

    /// Forgets all partitions that `keep` does not know: those the catalog has no record for.
    pub fn retain(&self, mut keep: impl FnMut(&TopicPartition) -> bool) {
        let mut table = self.table();
        let before = table.partitions.len();
        table.partitions.retain(|partition, _| keep(partition));
        if table.partitions.len() < before {
            table.stale = [true; FILES.len()];
            table.removals += 1;
        }
    }

    /// Writes all files, whether they have changed or not.
    pub fn write_all(&self) -> Result<(), LoadError> {
        self.table().stale = [true; FILES.len()];
        self.write()
    }

    /// Whether the files still speak of a partition that is forgotten. Before another one of its name is made they must
    /// not: a start after a crash would take its offsets for the new one's.
    pub fn has_unwritten_removals(&self) -> bool {
        let table = self.table();
        table.removals_written < table.removals
    }

    /// Writes the files that have changed, durably. Blocks; not for a shard thread.
    pub fn write(&self) -> Result<(), LoadError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (stale, texts, removals) = {
            let mut table = self.table();
            let stale = std::mem::take(&mut table.stale);
            let texts: Vec<Option<String>> =
                FILES.iter().zip(stale).map(|(file, stale)| stale.then(|| table.text(file))).collect();
            (stale, texts, table.removals)
        };
        let written = self.write_files(&texts);
        if written.is_ok() {
            self.table().removals_written = removals;
        } else {
            for (slot, stale) in self.table().stale.iter_mut().zip(stale) {
                *slot |= stale;
            }
        }
        written
    }

    fn write_files(&self, texts: &[Option<String>]) -> Result<(), LoadError> {
        for (file, text) in FILES.iter().zip(texts) {
            let Some(text) = text else { continue };
            let path = self.dir.join(file.name);
            fs::replace(&path, text.as_bytes()).map_err(LoadError::io("write", &path))?;
        }
        if texts.iter().any(Option::is_some) {
            fs::sync_dir(&self.dir).map_err(LoadError::io("sync", &self.dir))?;
        }
        Ok(())
    }

    /// A panic elsewhere cannot leave the table half changed in a way that matters: each entry stands alone.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn text(&self, file: &CheckpointFile) -> String {
        let offsets: Vec<(&TopicPartition, Offset)> = self
            .partitions
            .iter()
            .filter_map(|(partition, offsets)| Some((partition, (file.offset)(offsets)?)))
            .collect();
        checkpoint::encode(offsets.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: Arc::from(topic), partition }
    }

    fn offsets(recovery_point: i64, log_start_offset: i64, high_watermark: i64) -> PartitionOffsets {
        PartitionOffsets {
            recovery_point: Offset(recovery_point),
            log_start_offset: Offset(log_start_offset),
            high_watermark: Offset(high_watermark),
            compacted_to: None,
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (checkpoints, warnings) = DirCheckpoints::open(dir.path()).unwrap();
        assert!(warnings.is_empty());
        checkpoints.update([(partition("a", 0), offsets(10, 3, 10)), (partition("a", 1), offsets(0, 0, 0))]);
        checkpoints.update([(partition("b", 0), offsets(5, 0, 5))]);
        checkpoints.write().unwrap();
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(text("recovery-point-offset-checkpoint"), "0\n3\na 0 10\na 1 0\nb 0 5\n");
        assert_eq!(text("log-start-offset-checkpoint"), "0\n1\na 0 3\n");
        assert_eq!(text("replication-offset-checkpoint"), "0\n3\na 0 10\na 1 0\nb 0 5\n");
        assert!(!dir.path().join("cleaner-offset-checkpoint").exists(), "nothing was compacted");
        let compacted = PartitionOffsets { compacted_to: Some(Offset(4)), ..offsets(5, 0, 5) };
        checkpoints.update([(partition("b", 0), compacted)]);
        checkpoints.write().unwrap();
        assert_eq!(text("cleaner-offset-checkpoint"), "0\n1\nb 0 4\n");

        let (again, _) = DirCheckpoints::open(dir.path()).unwrap();
        assert_eq!(again.get(&partition("a", 0)), offsets(10, 3, 10));
        assert_eq!(again.get(&partition("none", 0)), offsets(0, 0, 0));
        assert_eq!(again.get(&partition("b", 0)), compacted);
        assert!(!again.has_unwritten_removals());
        again.remove(&partition("a", 0));
        again.retain(|partition| &*partition.topic != "b");
        assert!(again.has_unwritten_removals());
        again.write().unwrap();
        assert!(!again.has_unwritten_removals());
        assert_eq!(text("recovery-point-offset-checkpoint"), "0\n1\na 1 0\n");
        assert_eq!(text("log-start-offset-checkpoint"), "0\n0\n");
        assert_eq!(text("cleaner-offset-checkpoint"), "0\n0\n");
    }

    #[test]
    fn only_what_changed_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (checkpoints, _) = DirCheckpoints::open(dir.path()).unwrap();
        checkpoints.update([(partition("a", 0), offsets(1, 0, 1))]);
        checkpoints.write().unwrap();
        for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        checkpoints.update([(partition("a", 0), offsets(1, 0, 2))]);
        checkpoints.write().unwrap();
        assert!(!dir.path().join("recovery-point-offset-checkpoint").exists());
        assert!(dir.path().join("replication-offset-checkpoint").exists());
    }

    #[test]
    fn a_power_cut_leaves_the_files_as_before_or_as_written() {
        use crate::log::fault::testing::power_cuts;
        let write = |root: &Path, offset: i64| {
            let (checkpoints, _) = DirCheckpoints::open(root).unwrap();
            checkpoints.update([(partition("a", 0), offsets(offset, offset, offset))]);
            checkpoints.write().unwrap();
        };
        power_cuts(
            |root| write(root, 5),
            |root| write(root, 1_000_000),
            |left, done, seed| {
                for file in FILES.iter().filter(|file| file.always) {
                    let text = std::fs::read_to_string(left.join(file.name)).unwrap_or_default();
                    let whole =
                        if done { &["0\n1\na 0 1000000\n"][..] } else { &["0\n1\na 0 5\n", "0\n1\na 0 1000000\n"] };
                    assert!(whole.contains(&&*text), "cut {seed}: {} is {text:?}, done: {done}", file.name);
                }
            },
        );
    }

    #[test]
    fn a_malformed_file_counts_as_empty_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("recovery-point-offset-checkpoint"), "0\n1\nnonsense\n").unwrap();
        std::fs::write(dir.path().join("log-start-offset-checkpoint"), "0\n1\na 0 4\n").unwrap();
        let (checkpoints, warnings) = DirCheckpoints::open(dir.path()).unwrap();
        assert_eq!(warnings.len(), 1);
        assert_eq!(checkpoints.get(&partition("a", 0)), offsets(0, 4, 0));
    }
}
