//! How a batch enters a partition: checked, sequenced, stamped, handed to the log.

use bytes::BytesMut;

use crate::config;
use crate::error_code::ErrorCode;
use crate::log::producers::{ProducerBatch, Verdict};
use crate::log::{AppendBatch, LogError, OffsetReached};
use crate::record::{self, BatchError, BatchHeader, ProduceRules, TimestampType};
use crate::types::Offset;

use super::Partition;

/// Who appends; a client's batch is checked through and through, our own is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    Client { version: i16 },
    Coordinator,
}

/// A batch that has its offsets and waits for the disk.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub base_offset: Offset,
    /// What must be written or flushed before the append may be acknowledged.
    pub end_offset: Offset,
    /// In ms; -1 unless the topic stamps LogAppendTime.
    pub log_append_time_ms: i64,
}

#[derive(Debug)]
pub enum AppendError {
    Batch(BatchError),
    /// The producer's sequence or epoch does not fit, or it is transactional.
    Producer(ErrorCode),
    Log(LogError),
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppendError::Batch(error) => error.fmt(f),
            AppendError::Producer(ErrorCode::InvalidTxnState) => {
                f.write_str("transactional batches cannot be taken: this broker has no transactions yet")
            }
            AppendError::Producer(code) => write!(f, "the batch's sequence does not fit its producer: {code}"),
            AppendError::Log(error) => error.fmt(f),
        }
    }
}

impl Partition {
    /// Appends one record batch: assigns its offsets, stamps them in place and hands it to the log. The
    /// caller then waits with [`Partition::wait_acknowledged`].
    ///
    /// A batch that repeats one of its producer's last five is not appended; its first offset and the
    /// end that must be durable are those of the original (DESIGN rule 7).
    pub fn append(&self, mut batch: BytesMut, origin: Origin, now_ms: i64) -> Result<Appended, AppendError> {
        let config = self.config();
        let (mut info, append_time_ms) = match origin {
            Origin::Client { version } => {
                let log_append_time = config.message_timestamp_type == config::TimestampType::LogAppendTime;
                let rules = ProduceRules {
                    version,
                    max_message_bytes: u64::from(config.max_message_bytes),
                    compacted: config.cleanup_compact,
                    timestamp_type: if log_append_time {
                        TimestampType::LogAppendTime
                    } else {
                        TimestampType::CreateTime
                    },
                    timestamp_before_max_ms: config.message_timestamp_before_max_ms,
                    timestamp_after_max_ms: config.message_timestamp_after_max_ms,
                    now_ms,
                    ..ProduceRules::default()
                };
                let info = record::validate_produce(&batch, &rules).map_err(AppendError::Batch)?;
                if info.transactional {
                    return Err(AppendError::Producer(ErrorCode::InvalidTxnState));
                }
                (info, log_append_time.then_some(now_ms))
            }
            Origin::Coordinator => return self.append_own(batch, now_ms),
        };
        let producer = ProducerBatch::from(&info);
        match self.producers.borrow().check(&producer) {
            Verdict::Append => {}
            Verdict::Duplicate { first_offset, last_offset, timestamp } => {
                return Ok(Appended {
                    base_offset: first_offset,
                    end_offset: last_offset.plus(1),
                    log_append_time_ms: append_time_ms.map_or(-1, |_| timestamp),
                });
            }
            Verdict::Refuse(error) => return Err(AppendError::Producer(error.error_code())),
        }
        let base_offset = self.log.log_end_offset();
        let last_offset = base_offset.plus(i64::from(info.last_offset_delta));
        let leader_epoch = self.leader_epoch();
        info.assign(&mut batch, base_offset, leader_epoch, append_time_ms);
        let max_timestamp = info.max_timestamp;
        self.log
            .append(AppendBatch { bytes: batch.freeze(), base_offset, last_offset, leader_epoch, max_timestamp })
            .map_err(AppendError::Log)?;
        self.producers.borrow_mut().record_append(&ProducerBatch::from(&info), base_offset, now_ms);
        Ok(Appended { base_offset, end_offset: last_offset.plus(1), log_append_time_ms: append_time_ms.unwrap_or(-1) })
    }

    /// Appends a batch that this broker made itself.
    fn append_own(&self, mut batch: BytesMut, now_ms: i64) -> Result<Appended, AppendError> {
        let header = BatchHeader::parse(&batch).map_err(AppendError::Batch)?;
        let base_offset = self.log.log_end_offset();
        let last_offset = base_offset.plus(i64::from(header.last_offset_delta));
        let leader_epoch = self.leader_epoch();
        let max_timestamp = header.max_timestamp;
        record::stamp(&mut batch, base_offset, leader_epoch);
        self.log
            .append(AppendBatch { bytes: batch.freeze(), base_offset, last_offset, leader_epoch, max_timestamp })
            .map_err(AppendError::Log)?;
        self.producers.borrow_mut().record_append(&ProducerBatch::from(&header), base_offset, now_ms);
        Ok(Appended { base_offset, end_offset: last_offset.plus(1), log_append_time_ms: -1 })
    }

    /// Waits until what `acks` promises holds for everything before `end_offset`: 0 and 1 written
    /// (survives the process), -1 behind the high watermark (survives a power cut, unless
    /// `log.flush.acks=none`).
    /// To be called right after the append, before anything is awaited: on a full disk the batch can be taken back and its
    /// offsets given to others, and only who waits by then hears of it.
    pub fn wait_acknowledged(&self, end_offset: Offset, acks: i16) -> OffsetReached {
        if acks == -1 { self.log.wait_acknowledged(end_offset) } else { self.log.wait_written(end_offset) }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::config::{Settings, Sources, TopicConfig};
    use crate::log::fault::testing::{DiskModel, Event, SimulatedDisk};
    use crate::log::{self, FlushAcks, LoadOptions, LogConfig, LogShard, LogShardOptions};
    use crate::record::{BatchBuilder, BatchOptions, Producer};
    use crate::runtime::{Runtime, RuntimeOptions, end_of_turn};
    use crate::types::{KafkaUuid, LeaderEpoch, ProducerId, TopicPartition};

    fn batch(base_sequence: i32) -> BytesMut {
        let producer = Producer { id: ProducerId(5), epoch: 0, base_sequence };
        let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
        builder.append(1_000_000, None, Some(b"value"), &[]);
        BytesMut::from(&*builder.build())
    }

    /// The client lost its connection before the answer, and sends the batch again while it is written and not flushed:
    /// the second answer may say no more than the first.
    #[test]
    fn a_retry_is_answered_when_its_original_is_durable_and_no_sooner() {
        let root = tempfile::tempdir().unwrap();
        let disk = SimulatedDisk::new(root.path(), DiskModel::default(), 1);
        let runtime = Runtime::new(&RuntimeOptions::default()).unwrap();
        let _session = disk.watch();
        runtime.block_on(async {
            let name = TopicPartition { topic: Arc::from("t"), partition: 0 };
            let dir = root.path().join("t-0");
            let options = LoadOptions::of_new(dir, name, KafkaUuid([7; 16]), LogConfig::default(), 1_000_000);
            let shard_options =
                LogShardOptions { io: log::IoMode::Buffered, flush_acks: FlushAcks::All, ..LogShardOptions::default() };
            let shard = LogShard::new(shard_options);
            let settings = Settings::load(&Sources::default()).unwrap().0;
            let config = Rc::new(TopicConfig::resolve(&settings, []).unwrap());
            let partition = Partition::open(log::load(&options).unwrap(), &shard, LeaderEpoch(1), config);
            disk.take_events();
            let send = || partition.append(batch(0), Origin::Client { version: 9 }, 1_000_000).unwrap();
            let first = send();
            for acks in [1, -1] {
                let again = send();
                assert_eq!((again.base_offset, again.end_offset), (first.base_offset, first.end_offset));
                partition.wait_acknowledged(again.end_offset, acks).await.unwrap();
                let events = disk.take_events();
                let (written, flushed) = (partition.log.written_offset(), partition.log.flushed_offset());
                let behind = if acks == -1 { flushed } else { written };
                assert!(behind >= first.end_offset, "acks={acks}: answered with {written} written, {flushed} flushed");
                let was_written = events.iter().any(|event| matches!(event, Event::EndWrite { .. }));
                assert!(acks == -1 || was_written, "acks=1: answered before the write of the original was over");
            }
            assert_eq!(partition.log.log_end_offset(), first.end_offset, "the retries were appended");
            end_of_turn().await;
            shard.abandon();
        });
    }
}
