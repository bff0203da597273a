//! Offsets by time, for ListOffsets (`UnifiedLog.fetchOffsetByTimestamp`).

use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;

use crate::record::{BATCH_HEADER_BYTES, BatchError, BatchHeader, check_crc, for_each_record, record_of_max_timestamp};
use crate::types::{LeaderEpoch, Offset};

use super::error::LogError;
use super::log::Log;
use super::read::SegmentView;

/// Bytes looked at in one go.
const WALK_BYTES: u64 = 64 << 10;

/// A record found by its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordTime {
    pub offset: Offset,
    pub timestamp: i64,
    /// The epoch of its batch.
    pub leader_epoch: LeaderEpoch,
}

impl Log {
    /// The first record below the high watermark and not below the log start whose timestamp is `timestamp` or later.
    pub async fn offset_for_timestamp(self: &Rc<Self>, timestamp: i64) -> Result<Option<RecordTime>, LogError> {
        self.fill_for_search().await?;
        let _files = self.enter_files().await;
        loop {
            let start = self.log_start_offset();
            let found = self.search_timestamp(timestamp).await;
            if self.still_counts(start, &found) {
                return found;
            }
        }
    }

    /// Whether what was found in a log that began at `start` is an answer yet: segments may have been removed under the
    /// search, and it begins anew where the log does now.
    fn still_counts(&self, start: Offset, found: &Result<Option<RecordTime>, LogError>) -> bool {
        let now = self.log_start_offset();
        now == start
            || match found {
                Ok(Some(found)) => found.offset >= now,
                Ok(None) => true,
                Err(_) => false,
            }
    }

    async fn search_timestamp(self: &Rc<Self>, timestamp: i64) -> Result<Option<RecordTime>, LogError> {
        let now = self.offsets();
        for view in self.segment_views() {
            if view.end_offset <= now.log_start || view.base_offset >= now.high_watermark {
                continue;
            }
            if self.largest_timestamp(view).await?.is_none_or(|largest| largest.timestamp < timestamp) {
                continue;
            }
            // All up to that entry is earlier, or as early as can be told: strictly earlier entries only.
            let entry = self.lookup_time(view, timestamp.saturating_sub(1)).await?;
            let from = entry.map_or(view.base_offset, |entry| entry.offset).max(now.log_start);
            let mut position = self.start_position(view, from).await?;
            while let Some((header, at)) =
                self.find_batch(view, position, |header| header.max_timestamp >= timestamp).await?
            {
                if header.base_offset >= now.high_watermark {
                    return Ok(None);
                }
                let batch = self.whole_batch(view, at, &header).await?;
                let found = for_each_record(&batch, |record| {
                    if record.timestamp >= timestamp && record.offset >= now.log_start {
                        ControlFlow::Break((record.offset, record.timestamp))
                    } else {
                        ControlFlow::Continue(())
                    }
                })
                .map_err(|error| self.corrupt(view, at, header.base_offset, &error.to_string()))?;
                if let Some((offset, timestamp)) = found {
                    return Ok(Some(RecordTime { offset, timestamp, leader_epoch: header.leader_epoch }));
                }
                position = at + header.size() as u64;
            }
        }
        Ok(None)
    }

    /// The record with the greatest timestamp below the high watermark (KIP-734); the first one if several have it.
    pub async fn offset_of_max_timestamp(self: &Rc<Self>) -> Result<Option<RecordTime>, LogError> {
        self.fill_for_search().await?;
        let _files = self.enter_files().await;
        loop {
            let start = self.log_start_offset();
            let found = self.search_max_timestamp().await;
            if self.still_counts(start, &found) {
                return found;
            }
        }
    }

    async fn search_max_timestamp(self: &Rc<Self>) -> Result<Option<RecordTime>, LogError> {
        let mut best: Option<(SegmentView, i64, Offset)> = None;
        for view in self.segment_views() {
            if view.end_offset <= self.log_start_offset() {
                continue;
            }
            if let Some(largest) = self.largest_timestamp(view).await?
                && best.is_none_or(|(_, timestamp, _)| largest.timestamp > timestamp)
            {
                best = Some((view, largest.timestamp, largest.offset));
            }
        }
        let Some((view, _, last_offset)) = best else { return Ok(None) };
        // Under load it is nearly always in a batch on its way to the device: it will be visible in a moment.
        self.wait_acknowledged(last_offset.plus(1)).await?;
        let Some(view) = self.segment_view(view.base_offset) else { return Ok(None) };
        let position = self.start_position(view, last_offset).await?;
        let found = self.find_batch(view, position, |header| header.last_offset() >= last_offset).await?;
        let Some((header, at)) = found else { return Ok(None) };
        let batch = self.whole_batch(view, at, &header).await?;
        let record = record_of_max_timestamp(&batch)
            .map_err(|error| self.corrupt(view, at, header.base_offset, &error.to_string()))?;
        Ok(record.map(|(offset, timestamp)| RecordTime { offset, timestamp, leader_epoch: header.leader_epoch }))
    }

    /// A batch whose header was read, with its CRC checked.
    async fn whole_batch(&self, view: SegmentView, at: u64, header: &BatchHeader) -> Result<Bytes, LogError> {
        let batch = self.window(view, at, header.size() as u64).await?;
        check_crc(&batch).map_err(|error| self.corrupt(view, at, header.base_offset, &error.to_string()))?;
        Ok(batch)
    }

    /// The first batch from `position` on that is wanted, by its header, and where it begins.
    async fn find_batch(
        &self,
        view: SegmentView,
        mut position: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<(BatchHeader, u64)>, LogError> {
        let mut next_offset = view.base_offset;
        while position < view.size {
            let content = self.window(view, position, WALK_BYTES).await?;
            let mut at = 0;
            while let Some(rest) = content.get(at..).filter(|rest| rest.len() >= BATCH_HEADER_BYTES) {
                let header = BatchHeader::parse_prefix(rest).map_err(|error: BatchError| {
                    self.corrupt(view, position + at as u64, next_offset, &error.to_string())
                })?;
                next_offset = header.next_offset();
                if wanted(&header) {
                    return Ok(Some((header, position + at as u64)));
                }
                at += header.size();
            }
            if at == 0 {
                return Err(self.corrupt(view, position, next_offset, "the segment ends inside a batch"));
            }
            position += at as u64;
        }
        Ok(None)
    }
}
