//! How records leave a partition: bounded by the high watermark, fenced by the leader epoch.

use crate::error_code::ErrorCode;
use crate::log::{LogError, ReadResult};
use crate::types::{LeaderEpoch, Offset};

use super::Partition;

/// What a read found, beside the records.
#[derive(Debug)]
pub struct PartitionRead {
    pub high_watermark: Offset,
    pub log_start_offset: Offset,
    pub diverging: Option<(LeaderEpoch, Offset)>,
    pub records: ReadResult,
}

#[derive(Debug)]
pub enum ReadError {
    /// The reader's idea of the leader epoch is not ours (KIP-320).
    Epoch(ErrorCode),
    OutOfRange {
        log_start_offset: Offset,
        high_watermark: Offset,
    },
    Log(LogError),
}

impl Partition {
    /// Checks the epoch a client believes in: -1 is no belief (`FENCED_LEADER_EPOCH`,
    /// `UNKNOWN_LEADER_EPOCH`).
    pub fn check_leader_epoch(&self, current: LeaderEpoch) -> Result<(), ErrorCode> {
        let ours = self.leader_epoch();
        if current == LeaderEpoch::UNKNOWN || current == ours {
            Ok(())
        } else if current < ours {
            Err(ErrorCode::FencedLeaderEpoch)
        } else {
            Err(ErrorCode::UnknownLeaderEpoch)
        }
    }

    /// Reads whole batches from the one that holds `fetch_offset` up to the high watermark.
    pub async fn read(
        &self,
        fetch_offset: Offset,
        current_leader_epoch: LeaderEpoch,
        last_fetched_epoch: LeaderEpoch,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<PartitionRead, ReadError> {
        self.check_leader_epoch(current_leader_epoch).map_err(ReadError::Epoch)?;
        let high_watermark = self.log.high_watermark();
        let log_start_offset = self.log.log_start_offset();
        if last_fetched_epoch != LeaderEpoch::UNKNOWN {
            let (epoch, end) = self.end_of_epoch(last_fetched_epoch);
            if epoch != LeaderEpoch::UNKNOWN && (epoch < last_fetched_epoch || end < fetch_offset) {
                let records = ReadResult::default();
                return Ok(PartitionRead { high_watermark, log_start_offset, diverging: Some((epoch, end)), records });
            }
        }
        if fetch_offset < log_start_offset || fetch_offset > self.log.log_end_offset() {
            return Err(ReadError::OutOfRange { log_start_offset, high_watermark });
        }
        let records = if fetch_offset >= high_watermark {
            ReadResult::default()
        } else {
            let read = self.log.read(fetch_offset, high_watermark, max_bytes, at_least_one).await;
            read.map_err(|error| match error {
                // Retention was faster.
                LogError::OffsetOutOfRange { log_start_offset, .. } => {
                    ReadError::OutOfRange { log_start_offset, high_watermark }
                }
                error => ReadError::Log(error),
            })?
        };
        Ok(PartitionRead { high_watermark, log_start_offset, diverging: None, records })
    }
}
