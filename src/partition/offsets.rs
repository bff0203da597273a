//! Offsets looked up by time, by name and by leader epoch.

use crate::error_code::ErrorCode;
use crate::log::{LogError, RecordTime};
use crate::types::{LeaderEpoch, Offset};

use super::Partition;

/// Kafka's special timestamps (`ListOffsetsRequest`, KIP-734, KIP-1005, KIP-1023).
pub mod timestamp {
    pub const LATEST: i64 = -1;
    pub const EARLIEST: i64 = -2;
    pub const MAX: i64 = -3;
    pub const EARLIEST_LOCAL: i64 = -4;
    pub const LATEST_TIERED: i64 = -5;
    pub const EARLIEST_PENDING_UPLOAD: i64 = -6;
}

/// An offset found, with the timestamp of its record (-1 for the special ones) and its epoch.
#[derive(Clone, Copy, Debug)]
pub struct FoundOffset {
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl FoundOffset {
    const NONE: FoundOffset =
        FoundOffset { timestamp: -1, offset: Offset::UNKNOWN, leader_epoch: LeaderEpoch::UNKNOWN };
}

impl Partition {
    /// Answers one row of ListOffsets.
    pub async fn list_offset(&self, timestamp: i64) -> Result<FoundOffset, Result<ErrorCode, LogError>> {
        match timestamp {
            timestamp::LATEST => {
                let offset = self.log.high_watermark();
                Ok(FoundOffset { timestamp: -1, offset, leader_epoch: self.leader_epoch() })
            }
            timestamp::EARLIEST | timestamp::EARLIEST_LOCAL => {
                let offset = self.log.log_start_offset();
                Ok(FoundOffset { timestamp: -1, offset, leader_epoch: self.epoch_at(offset) })
            }
            // Nothing is ever tiered here.
            timestamp::LATEST_TIERED | timestamp::EARLIEST_PENDING_UPLOAD => Ok(FoundOffset::NONE),
            timestamp::MAX => {
                let found = self.log.offset_of_max_timestamp().await.map_err(Err)?;
                Ok(self.visible(found))
            }
            at if at >= 0 => {
                let found = self.log.offset_for_timestamp(at).await.map_err(Err)?;
                Ok(self.visible(found))
            }
            _ => Err(Ok(ErrorCode::InvalidRequest)),
        }
    }

    /// The largest epoch not above `requested` and where it ends (KIP-101, KIP-279).
    pub fn end_of_epoch(&self, requested: LeaderEpoch) -> (LeaderEpoch, Offset) {
        if requested == LeaderEpoch::UNKNOWN {
            return (LeaderEpoch::UNKNOWN, Offset::UNKNOWN);
        }
        if requested == self.leader_epoch() {
            return (requested, self.log.log_end_offset());
        }
        self.log
            .epochs()
            .end_offset_for(requested, self.log.log_end_offset())
            .unwrap_or((LeaderEpoch::UNKNOWN, Offset::UNKNOWN))
    }

    fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        self.log.epochs().epoch_for_offset(offset).unwrap_or(self.leader_epoch())
    }

    /// A record behind the high watermark is not there yet for any client.
    fn visible(&self, found: Option<RecordTime>) -> FoundOffset {
        match found {
            Some(found) if found.offset < self.log.high_watermark() => {
                FoundOffset { timestamp: found.timestamp, offset: found.offset, leader_epoch: found.leader_epoch }
            }
            _ => FoundOffset::NONE,
        }
    }
}
