//! What of a log may go, by the rules of Kafka's `UnifiedLog.deleteOldSegments`.
//!
//! Only whole segments go, from the log's beginning on and never past the high watermark: those below the log start; under
//! `cleanup.policy=delete` also those beyond `retention.bytes` and those whose records are all older than
//! `retention.ms`. The active segment is never removed as such: when all of it is too old it is rolled first.

use std::rc::Rc;

use crate::runtime::fs;
use crate::runtime::offload;
use crate::types::Offset;

use super::error::LogError;
use super::index::{NO_TIMESTAMP, TimestampOffset};
use super::log::{Log, State};
use super::names;
use super::read::SegmentView;
use super::segment::SealedSegment;

/// What one look at a log removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    pub segments: usize,
    pub bytes: u64,
    /// The first segment that stayed has records whose time has not come yet: it stays for as long.
    pub future_timestamps: bool,
}

impl Removed {
    fn add(&mut self, other: Removed) {
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.future_timestamps |= other.future_timestamps;
    }
}

impl Log {
    /// Removes what may go at `now_ms`. The files follow behind it.
    ///
    /// # Errors
    /// When an index file or a segment's time cannot be read: what was removed before that stays removed.
    pub async fn apply_retention(self: &Rc<Self>, now_ms: i64) -> Result<Removed, LogError> {
        let mut removed = self.remove_below_start();
        let _files = self.enter_files().await;
        if self.config().cleanup_policy.delete {
            removed.add(self.remove_beyond_size().await);
            removed.add(self.remove_too_old(now_ms).await?);
        }
        Ok(removed)
    }

    /// Removes the segments that lie below the log start as a whole.
    pub fn remove_below_start(self: &Rc<Self>) -> Removed {
        let start = self.log_start_offset();
        self.remove_up_to(start, || format!("they lie below log start {start}"))
    }

    /// Removes what is beyond `retention.bytes`, the active segment aside: asked whenever a segment was completed, so that
    /// a log under load stays near its limit between two checks.
    pub(super) fn remove_excess(self: &Rc<Self>) {
        if self.config().cleanup_policy.delete
            && let Some((end, limit)) = self.excess_end()
        {
            self.remove_up_to(end, || too_large(limit));
        }
    }

    async fn remove_beyond_size(self: &Rc<Self>) -> Removed {
        match self.excess_end() {
            Some((end, limit)) => self.remove_when_rolled(end, || too_large(limit)).await,
            None => Removed::default(),
        }
    }

    /// Up to where segments go because the log is not smaller than `retention.bytes` without them; with that limit.
    fn excess_end(&self) -> Option<(Offset, u64)> {
        let limit = u64::try_from(self.config().retention_bytes).ok()?;
        let mut excess = self.size_bytes().checked_sub(limit)?;
        let mut end = None;
        let mut next = self.segment_view(Offset(i64::MIN));
        while let Some(view) = next {
            let size = self.placed_size(view);
            if !self.may_go(view, size) || size > excess {
                break;
            }
            excess -= size;
            end = Some(view.end_offset);
            next = self.view_behind(view);
        }
        end.map(|end| (end, limit))
    }

    fn view_behind(&self, view: SegmentView) -> Option<SegmentView> {
        self.segment_view(view.end_offset).filter(|next| next.base_offset == view.end_offset)
    }

    /// Removes segments from the beginning for as long as all their records are older than `retention.ms`.
    async fn remove_too_old(self: &Rc<Self>, now_ms: i64) -> Result<Removed, LogError> {
        let limit_ms = self.config().retention_ms;
        if limit_ms < 0 {
            return Ok(Removed::default());
        }
        let mut end = None;
        let mut future_timestamps = false;
        let mut result = Ok(());
        let mut next = self.segment_view(Offset(i64::MIN));
        while let Some(view) = next {
            if !self.may_go(view, self.placed_size(view)) {
                break;
            }
            let latest_ms = match self.latest_ms(view).await {
                Ok(Some(latest_ms)) => latest_ms,
                // Somebody else removed it meanwhile.
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            if now_ms.saturating_sub(latest_ms) <= limit_ms {
                future_timestamps = latest_ms > now_ms;
                break;
            }
            end = Some(view.end_offset);
            next = self.view_behind(view);
        }
        let mut removed = Removed::default();
        if let Some(end) = end {
            let why = || format!("their records are older than retention.ms of {limit_ms}");
            removed = self.remove_when_rolled(end, why).await;
        }
        removed.future_timestamps = future_timestamps;
        result.map(|()| removed)
    }

    /// Whether a segment is one that could be removed: not empty, and all of it below the high watermark.
    fn may_go(&self, view: SegmentView, size: u64) -> bool {
        let is_last_and_empty = size == 0 && view.end_offset >= self.log_end_offset();
        view.end_offset <= self.high_watermark() && !is_last_and_empty
    }

    /// The bytes of a segment, those not written yet too.
    fn placed_size(&self, view: SegmentView) -> u64 {
        let live = self.live().borrow();
        live.iter().find(|segment| segment.base_offset == view.base_offset).map_or(view.size, |live| live.placed_end)
    }

    /// The greatest timestamp of a segment's records in milliseconds; the time its file was written if they have none
    /// (Kafka's `LogSegment.largestTimestamp`). `None` when the segment is gone.
    async fn latest_ms(&self, view: SegmentView) -> Result<Option<i64>, LogError> {
        let largest = self.largest_timestamp(view).await?;
        self.note_largest(view, largest);
        if let Some(largest) = largest {
            return Ok(Some(largest.timestamp));
        }
        let path = names::log_file(&self.dir(), view.base_offset);
        let stat = offload({
            let path = path.clone();
            move || fs::if_exists(fs::stat(&path))
        });
        let stat = stat.await.map_err(|error| LogError::io("look at", &path, &error))?;
        Ok(stat.map(|stat| stat.modified_ms))
    }

    /// Looked up once, the time index need not be read at the next check.
    fn note_largest(&self, view: SegmentView, largest: Option<TimestampOffset>) {
        let mut sealed = self.sealed.borrow_mut();
        if let Ok(at) = sealed.binary_search_by_key(&view.base_offset, |segment| segment.base_offset)
            && let Some(segment) = sealed.get_mut(at)
        {
            let none = TimestampOffset { timestamp: NO_TIMESTAMP, offset: view.base_offset };
            segment.largest.get_or_insert(largest.unwrap_or(none));
        }
    }

    /// Removes everything below `end`, a segment's end; where that is the log's end, the active segment is rolled before.
    async fn remove_when_rolled(self: &Rc<Self>, end: Offset, why: impl FnOnce() -> String) -> Removed {
        let ends_active = || {
            let live = self.live().borrow();
            live.back().is_some_and(|active| active.base_offset < end && active.placed_end > 0)
        };
        if ends_active() && end == self.log_end_offset() && self.takes_rolls() {
            self.roll(end, &self.config(), crate::runtime::wall_ms());
            // Its last write may still hold it.
            self.until(|| {
                self.seal_finished();
                let is_sealed = self.live().borrow().front().is_some_and(|front| front.base_offset >= end);
                is_sealed || !self.takes_rolls()
            })
            .await;
        }
        self.remove_up_to(end, why)
    }

    fn takes_rolls(&self) -> bool {
        matches!(*self.state().borrow(), State::Open)
    }

    /// Takes the sealed segments that end at or before `end` out of the log, moves the log start to where it begins then,
    /// and sends their files away.
    fn remove_up_to(self: &Rc<Self>, end: Offset, why: impl FnOnce() -> String) -> Removed {
        // A log that is closed or poisoned stays as it is, and one whose files just change their names until the next look.
        if self.gate.is_closed()
            || end > self.high_watermark()
            || !matches!(*self.state().borrow(), State::Open | State::Full { .. })
        {
            return Removed::default();
        }
        let (gone, start) = {
            let mut sealed = self.sealed.borrow_mut();
            let live = self.live().borrow();
            let Some(first_live) = live.front().map(|front| front.base_offset) else { return Removed::default() };
            let ends = sealed.iter().skip(1).map(|next| next.base_offset).chain([first_live]);
            let count = ends.take_while(|segment_end| *segment_end <= end).count().min(sealed.len());
            let gone: Vec<SealedSegment> = sealed.drain(..count).collect();
            (gone, sealed.first().map_or(first_live, |first| first.base_offset))
        };
        if gone.is_empty() {
            return Removed::default();
        }
        if self.set_log_start(start).is_err() {
            unreachable!("{start} is at most {end}, which is not above the high watermark");
        }
        let bytes = gone.iter().map(|segment| segment.size_bytes).sum();
        tracing::info!(
            "{}: removed {} segments of {bytes} bytes, offsets {} to {start}: {}",
            self.topic_partition(),
            gone.len(),
            gone.first().map_or(start, |first| first.base_offset),
            why()
        );
        let removed = Removed { segments: gone.len(), bytes, future_timestamps: false };
        self.retire(gone);
        removed
    }
}

fn too_large(limit: u64) -> String {
    format!("the log is larger than retention.bytes of {limit}")
}
