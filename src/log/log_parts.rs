//! What the appender, the flusher and the rest of this folder ask of a log.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::types::Offset;

use super::log::{Log, State};
use super::log_shard::LogShard;
use super::offsets::LogOffsets;
use super::segment::LiveSegment;
use super::tail::Tail;

impl Log {
    pub(super) fn may_commit(&self) -> bool {
        let open = matches!(*self.state.borrow(), State::Open | State::Closed);
        open && !self.committing.get() && !self.preparing.get()
    }

    /// Whether the running flush covers the block that the segment's next write begins with.
    pub(super) fn flush_holds_block(&self, segment: &LiveSegment) -> bool {
        // Over blocks used before the last write ended with a block of zeros, which the next one begins with.
        let begins_in_written = !segment.written_end.is_multiple_of(self.shard.options.block_bytes)
            || segment.written_end < segment.room.stale_end;
        (self.flushing.get() == Some(segment.base_offset) || self.is_sync_filling()) && begins_in_written
    }

    pub fn offsets(&self) -> LogOffsets {
        self.offsets.get()
    }

    pub fn log_start_offset(&self) -> Offset {
        self.offsets.marks().log_start
    }

    pub fn log_end_offset(&self) -> Offset {
        self.offsets.marks().log_end
    }

    pub fn written_offset(&self) -> Offset {
        self.offsets.marks().written
    }

    pub fn flushed_offset(&self) -> Offset {
        self.offsets.marks().flushed
    }

    pub fn high_watermark(&self) -> Offset {
        self.offsets.get().high_watermark
    }

    pub fn last_stable_offset(&self) -> Offset {
        self.offsets.get().last_stable
    }

    /// Whether there are batches that are neither in a write nor in the journal.
    pub(super) fn has_unjournaled(&self) -> bool {
        self.live.borrow().iter().any(LiveSegment::has_unjournaled)
    }

    pub(super) fn has_placed(&self) -> bool {
        self.live.borrow().iter().any(|segment| !segment.placed.is_empty())
    }

    /// Whether nothing of the log is in flight.
    pub(super) fn is_quiet(&self) -> bool {
        !(self.committing.get()
            || self.is_ahead()
            || self.preparing.get()
            || self.extending.get()
            || self.sealing.get()
            || self.retiring.is_busy()
            || self.gate.is_compacting()
            || self.spares.is_busy()
            || !self.is_named()
            || self.flushing.get().is_some()
            || self.flush_slot.get().is_some())
    }

    /// Whether the log is deleted.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    pub(super) fn shard(&self) -> &Rc<LogShard> {
        &self.shard
    }

    pub(super) fn key(&self) -> u64 {
        self.key
    }

    pub(super) fn live(&self) -> &RefCell<VecDeque<LiveSegment>> {
        &self.live
    }

    pub(super) fn tail(&self) -> &RefCell<Tail> {
        &self.tail
    }

    pub(super) fn state(&self) -> &RefCell<State> {
        &self.state
    }

    pub(super) fn is_queued(&self) -> &Cell<bool> {
        &self.queued
    }

    pub(super) fn committing(&self) -> &Cell<bool> {
        &self.committing
    }

    pub(super) fn preparing(&self) -> &Cell<bool> {
        &self.preparing
    }

    pub(super) fn extending(&self) -> &Cell<bool> {
        &self.extending
    }

    pub(super) fn flushing(&self) -> &Cell<Option<Offset>> {
        &self.flushing
    }

    pub(super) fn flush_slot(&self) -> &Cell<Option<u32>> {
        &self.flush_slot
    }

    pub(super) fn unflushed_bytes(&self) -> &Cell<u64> {
        &self.unflushed_bytes
    }

    pub(super) fn has_no_flush_waiters(&self) -> bool {
        self.flushed_waiters.borrow().is_empty()
    }

    pub(super) fn was_touched(&self) -> bool {
        self.touched.get()
    }

    pub(super) fn last_append_ms(&self) -> i64 {
        self.last_append_ms.get()
    }
}
