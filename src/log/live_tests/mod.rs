//! Tests of the live log: inside a real runtime, on real files, in both I/O modes.

mod ahead;
mod append;
mod faults;
mod full_disk;
mod reading;
mod recycling;
mod reopening;
mod retention;
mod retiring;
mod rolling;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use crate::runtime::{Runtime, RuntimeOptions};
use crate::types::{KafkaUuid, LeaderEpoch, Offset, TopicPartition};

use super::appender::COMMIT_REACH_BYTES;
use super::config::LogConfig;
use super::error::LogError;
use super::fault::FaultPlan;
use super::load::load;
use super::loaded::{LoadOptions, LoadedLog};
use super::log::Log;
use super::log_shard::{FlushAcks, LogShard, LogShardOptions};
use super::read::Chunk;
use super::segment::AppendBatch;
use super::testing::batch_at;
use super::{IoMode, names};

pub(super) const MODES: [IoMode; 2] = [IoMode::Direct, IoMode::Buffered];

/// A directory on a file system that has O_DIRECT, unlike /tmp on many machines.
pub(super) fn data_dir() -> TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp");
    std::fs::create_dir_all(&root).unwrap();
    tempfile::tempdir_in(root).unwrap()
}

pub(super) fn options(io: IoMode) -> LogShardOptions {
    LogShardOptions { io, ..LogShardOptions::default() }
}

/// Runs a test body in a runtime of its own.
pub(super) fn run<T>(body: impl Future<Output = T>) -> T {
    Runtime::new(&RuntimeOptions::default()).unwrap().block_on(body)
}

/// Loads a partition, or makes it.
pub(super) fn loaded(root: &Path, partition: i32, config: LogConfig, clean: bool) -> LoadedLog {
    let topic_partition = TopicPartition { topic: Arc::from("t"), partition };
    let dir = names::partition_dir(root, &topic_partition);
    let options = LoadOptions {
        clean,
        commit_reach_bytes: COMMIT_REACH_BYTES,
        ..LoadOptions::of_new(dir, topic_partition, KafkaUuid([7; 16]), config, 1_000_000)
    };
    load(&options).unwrap()
}

/// A log and all that was appended to it.
pub(super) struct Written {
    pub log: Rc<Log>,
    pub batches: RefCell<Vec<(Offset, Bytes)>>,
}

impl Written {
    pub fn new(shard: &Rc<LogShard>, root: &Path, partition: i32, config: LogConfig) -> Written {
        let log = Log::open(loaded(root, partition, config, true), shard, LeaderEpoch(0));
        Written { log, batches: RefCell::default() }
    }

    /// Appends a batch of `records` records with values of `size` bytes; the timestamp is 1,000,000 and the offset.
    pub fn append(&self, records: i32, size: usize) -> Result<Offset, LogError> {
        let base = self.log.log_end_offset();
        let value: Vec<u8> = (0..size).map(|at| (at as u64 * 31 + base.0 as u64 * 7) as u8).collect();
        let timestamp = 1_000_000 + base.0;
        let bytes = Bytes::from(batch_at(base.0, records, 0, timestamp, &value));
        let last_offset = base.plus(i64::from(records) - 1);
        let leader_epoch = LeaderEpoch(0);
        self.log.append(AppendBatch {
            bytes: bytes.clone(),
            base_offset: base,
            last_offset,
            leader_epoch,
            max_timestamp: timestamp,
        })?;
        self.batches.borrow_mut().push((base, bytes));
        Ok(last_offset.plus(1))
    }

    /// The log opened again from its files, after the shard it was on is gone.
    pub fn reopened(self, shard: &Rc<LogShard>, root: &Path, config: LogConfig, clean: bool) -> Written {
        let end = self.log.log_end_offset();
        let partition = self.log.topic_partition().partition;
        let found = loaded(root, partition, config, clean);
        assert_eq!((found.log_end_offset, found.damage.clone()), (end, None));
        Written { log: Log::open(found, shard, LeaderEpoch(0)), batches: self.batches }
    }

    /// Forgets the batches from `end` on, as the log did.
    pub fn taken_back(&self, end: Offset) {
        self.batches.borrow_mut().retain(|(base, _)| *base < end);
    }

    /// The bytes of the whole log, read in pieces of `bytes_max` from the start.
    pub async fn read_all(&self, bytes_max: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut offset = self.log.log_start_offset();
        let end = self.log.high_watermark();
        while offset < end {
            let got = content(&self.log, offset, end, bytes_max, true).await;
            assert!(!got.is_empty(), "nothing at {offset} of {end}");
            let mut at = 0;
            while at < got.len() {
                let header = crate::record::BatchHeader::parse(&got[at..]).unwrap();
                offset = header.next_offset();
                at += header.size();
            }
            all.extend_from_slice(&got);
        }
        all
    }

    pub fn expected(&self) -> Vec<u8> {
        self.batches.borrow().iter().flat_map(|(_, bytes)| bytes.to_vec()).collect()
    }

    pub async fn check(&self) {
        let (read, expected) = (self.read_all(1 << 20).await, self.expected());
        assert_eq!(read.len(), expected.len());
        assert!(read == expected, "{:?}: content differs", self.log);
    }
}

pub(super) async fn content(log: &Rc<Log>, from: Offset, end: Offset, bytes_max: usize, one: bool) -> Vec<u8> {
    let result = log.read(from, end, bytes_max, one).await.unwrap();
    let mut all = Vec::new();
    for chunk in &result.chunks {
        match chunk {
            Chunk::Mem(bytes) => all.extend_from_slice(bytes),
            Chunk::File(range) => {
                let mut bytes = vec![0; range.len as usize];
                let count = crate::runtime::fs::pread(&range.file, &mut bytes, range.position).unwrap();
                assert_eq!(count, bytes.len());
                all.extend_from_slice(&bytes);
            }
        }
    }
    assert_eq!(all.len(), result.bytes);
    all
}

/// The bytes of all `.log` files of a closed partition, in order.
pub(super) fn files_content(dir: &Path) -> Vec<u8> {
    let mut logs: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs.iter().flat_map(|path| std::fs::read(path).unwrap()).collect()
}

pub(super) const SHORT: Duration = Duration::from_millis(20);
pub(super) const ACKS: [FlushAcks; 2] = [FlushAcks::All, FlushAcks::None];
