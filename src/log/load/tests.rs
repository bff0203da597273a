//! Logs that were stopped cleanly, torn, damaged or adopted, and what loading makes of them.

mod adopted;
mod clean;
mod damage;
mod flushed;
mod power_cut;
mod random;

mod torn;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::config::LogConfig;
use super::super::epoch::{EpochEntry, LeaderEpochCache};
use super::super::loaded::{Damage, LoadOptions, LoadedLog, RecoveryReport};
use super::super::names;
use super::super::scan::LogScanner;
use super::super::testing::{batch, write_segment};
use super::{Loader, load};
use crate::types::{KafkaUuid, LeaderEpoch, Offset, TopicPartition};

const TOPIC_ID: KafkaUuid = KafkaUuid([7; 16]);
const NOW_MS: i64 = 2_000_000;
/// How far behind a flush writes reach in these tests.
const REACH: u64 = 16 << 10;

/// A partition's directory in a log directory of its own.
struct Partition {
    _log_dir: tempfile::TempDir,
    options: LoadOptions,
}

impl Partition {
    /// An empty directory, to be loaded as after a crash.
    fn new() -> Partition {
        let log_dir = tempfile::tempdir().unwrap();
        let topic_partition = TopicPartition { topic: Arc::from("t"), partition: 0 };
        let dir = log_dir.path().join("t-0");
        std::fs::create_dir(&dir).unwrap();
        let config = LogConfig { index_interval_bytes: 200, ..LogConfig::default() };
        let options = LoadOptions {
            clean: false,
            leader_epoch: LeaderEpoch(9),
            commit_reach_bytes: REACH,
            ..LoadOptions::of_new(dir, topic_partition, TOPIC_ID, config, NOW_MS)
        };
        Partition { _log_dir: log_dir, options }
    }

    fn dir(&self) -> &Path {
        &self.options.dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.options.dir.join(name)
    }

    fn write(&self, base_offset: i64, bytes: &[u8]) {
        write_segment(self.dir(), base_offset, bytes);
    }

    fn read(&self, base_offset: i64) -> Vec<u8> {
        std::fs::read(names::log_file(self.dir(), Offset(base_offset))).unwrap()
    }

    /// Loads, and checks what holds for every load: the files agree with what is said of them, and loading again
    /// after a crash, or after a clean stop, finds the same.
    fn load(&self) -> LoadedLog {
        let loaded = load_unsynced(&self.options);
        assert_eq!(loaded.damage, None);
        let files = self.content();
        let mut again = self.options.clone();
        again.adopted = false;
        again.recovery_point = loaded.recovery_point;
        let twice = load_unsynced(&again);
        assert_eq!(self.content(), files, "a second recovery changes nothing");
        assert_same(&loaded, &twice);
        assert_eq!(twice.report.cut, None);
        again.clean = true;
        assert_same(&loaded, &load_unsynced(&again));
        assert_eq!(self.content(), files, "a clean start changes nothing");

        let active = names::log_file(self.dir(), loaded.active.base_offset);
        assert_eq!(std::fs::metadata(active).unwrap().len(), loaded.active.size_bytes);
        for sealed in &loaded.sealed {
            let path = names::log_file(self.dir(), sealed.base_offset);
            assert_eq!(std::fs::metadata(path).unwrap().len(), sealed.size_bytes);
            assert!(names::offset_index_file(self.dir(), sealed.base_offset).exists());
            assert!(names::time_index_file(self.dir(), sealed.base_offset).exists());
        }
        loaded
    }

    /// Loads a log that must turn out damaged, and checks that nothing was changed.
    fn load_damaged(&self) -> Damage {
        let files = self.content();
        let damage = load(&self.options).unwrap().damage.expect("damage");
        assert_eq!(self.content(), files);
        damage
    }

    /// Every file of the directory; the topic id's is left out, which a load adds.
    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .filter(|(name, _)| name != "partition.metadata")
            .collect();
        files.sort();
        files
    }

    /// The batches of the whole log.
    fn batches(&self, loaded: &LoadedLog) -> Vec<Vec<u8>> {
        let mut scanner = LogScanner::open(self.dir(), loaded.log_start_offset, loaded.log_end_offset).unwrap();
        let mut batches = Vec::new();
        while let Some((_, bytes)) = scanner.next_batch().unwrap() {
            batches.push(bytes.to_vec());
        }
        batches
    }
}

/// What `load` does but for the syncs, which make no difference to a test and most of its time.
fn load_unsynced(options: &LoadOptions) -> LoadedLog {
    Loader::new(options, false).run().unwrap()
}

fn assert_same(one: &LoadedLog, other: &LoadedLog) {
    assert_eq!(one.log_start_offset, other.log_start_offset);
    assert_eq!(one.log_end_offset, other.log_end_offset);
    assert_eq!(one.recovery_point, other.recovery_point);
    assert_eq!(one.active, other.active);
    assert_eq!(one.epochs, other.epochs);
    assert_eq!(one.damage, other.damage);
    let segments = |log: &LoadedLog| -> Vec<_> {
        log.sealed.iter().map(|segment| (segment.base_offset, segment.size_bytes)).collect()
    };
    assert_eq!(segments(one), segments(other));
    assert_eq!(producers(one), producers(other));
}

/// What is kept of the producers in a snapshot.
fn producers(log: &LoadedLog) -> Vec<u8> {
    assert_eq!(log.producers.end_offset(), log.log_end_offset);
    log.producers.encode_snapshot()
}

/// Batches of epoch 4, one after the other from offset 0 on, of various sizes.
fn some_batches(count: i64) -> Vec<Vec<u8>> {
    let mut offset = 0;
    (0..count)
        .map(|number| {
            let records = 1 + number % 3;
            let bytes =
                batch(offset, records as i32, 4, &vec![b'a' + (number % 26) as u8; 20 + (number * 7 % 50) as usize]);
            offset += records;
            bytes
        })
        .collect()
}

fn end_of(batches: &[Vec<u8>]) -> Offset {
    batches.last().map_or(Offset(0), |bytes| crate::record::BatchHeader::parse(bytes).unwrap().next_offset())
}

fn epochs(entries: &[(i32, i64)]) -> LeaderEpochCache {
    LeaderEpochCache::from_entries(
        entries.iter().map(|&(epoch, start)| EpochEntry { epoch: LeaderEpoch(epoch), start_offset: Offset(start) }),
    )
}
