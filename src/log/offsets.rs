//! The offsets of one log, in one place with one setter, which asserts their order.
//!
//! ```text
//! log_start <= last_stable <= high_watermark <= written <= log_end
//!                             high_watermark <= flushed <= written     (log.flush.acks=all)
//! ```

use std::cell::Cell;

use crate::types::Offset;

use super::log_shard::FlushAcks;

/// A log's offsets at one moment. All but `log_start` are exclusive ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOffsets {
    /// The first offset that a reader may ask for.
    pub log_start: Offset,
    /// What a `read_committed` consumer sees up to.
    pub last_stable: Offset,
    /// What every consumer sees up to: `flushed` under `log.flush.acks=all`, `written` under `none`.
    pub high_watermark: Offset,
    /// The end of the unbroken prefix that was flushed to the device: it survives a power cut.
    pub flushed: Offset,
    /// The end of the unbroken prefix that reached its file: it survives the end of this process.
    pub written: Offset,
    /// The offset of the next record to be appended.
    pub log_end: Offset,
}

/// What the derived offsets are derived from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub log_start: Offset,
    pub written: Offset,
    pub flushed: Offset,
    pub log_end: Offset,
    /// The first offset of the earliest open transaction.
    pub first_unstable: Option<Offset>,
}

#[derive(Debug)]
pub(super) struct OffsetState {
    acks: FlushAcks,
    marks: Cell<Marks>,
}

impl OffsetState {
    /// The offsets of a log whose content is all on the device.
    pub fn new(acks: FlushAcks, log_start: Offset, log_end: Offset) -> OffsetState {
        let marks = Marks { log_start, written: log_end, flushed: log_end, log_end, first_unstable: None };
        let state = OffsetState { acks, marks: Cell::new(marks) };
        state.update(|_| {});
        state
    }

    pub fn get(&self) -> LogOffsets {
        derive(self.acks, &self.marks.get())
    }

    pub fn marks(&self) -> Marks {
        self.marks.get()
    }

    /// The only way to change an offset. Says whether the high watermark or last stable offset moved.
    ///
    /// # Panics
    /// When the change would break the order: then answers already given would be untrue.
    pub fn update(&self, change: impl FnOnce(&mut Marks)) -> bool {
        let before = self.get();
        let mut marks = self.marks.get();
        change(&mut marks);
        let now = derive(self.acks, &marks);
        assert!(
            now.log_start <= now.last_stable
                && now.last_stable <= now.high_watermark
                && now.high_watermark <= now.written
                && now.flushed <= now.written
                && now.written <= now.log_end,
            "offsets out of order: {now:?}, before: {before:?}"
        );
        self.marks.set(marks);
        before.high_watermark != now.high_watermark || before.last_stable != now.last_stable
    }
}

fn derive(acks: FlushAcks, marks: &Marks) -> LogOffsets {
    let high_watermark = match acks {
        FlushAcks::All => marks.flushed,
        FlushAcks::None => marks.written,
    };
    let last_stable = marks.first_unstable.map_or(high_watermark, |first| first.min(high_watermark));
    LogOffsets {
        log_start: marks.log_start,
        // Records that were deleted can hold nobody back.
        last_stable: last_stable.max(marks.log_start),
        high_watermark,
        flushed: marks.flushed,
        written: marks.written,
        log_end: marks.log_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_watermark_follows_the_flush_or_the_write() {
        for acks in [FlushAcks::All, FlushAcks::None] {
            let state = OffsetState::new(acks, Offset(5), Offset(10));
            assert!(!state.update(|marks| marks.log_end = Offset(20)));
            let moved = state.update(|marks| marks.written = Offset(15));
            assert_eq!(moved, acks == FlushAcks::None);
            assert!(state.update(|marks| (marks.flushed, marks.written) = (Offset(17), Offset(17))));
            let now = state.get();
            assert_eq!((now.high_watermark, now.last_stable, now.log_end), (Offset(17), Offset(17), Offset(20)));
            state.update(|marks| marks.first_unstable = Some(Offset(12)));
            assert_eq!(state.get().last_stable, Offset(12));
            state.update(|marks| marks.log_start = Offset(14));
            assert_eq!(state.get().last_stable, Offset(14));
        }
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn written_never_passes_the_end() {
        let state = OffsetState::new(FlushAcks::All, Offset(0), Offset(10));
        state.update(|marks| marks.written = Offset(11));
    }
}
