//! Which leader epoch began at which offset (KIP-101), and the file `leader-epoch-checkpoint` that keeps it.
//!
//! ```text
//! 0            version
//! 2            number of lines that follow
//! 3 0          epoch, first offset
//! 4 17
//! ```
//!
//! The rules are those of Kafka's `LeaderEpochFileCache`.

use crate::types::{LeaderEpoch, Offset};

/// A leader epoch and the offset it began at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEntry {
    pub epoch: LeaderEpoch,
    pub start_offset: Offset,
}

/// The leader epochs of one log. Epochs and offsets rise strictly.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LeaderEpochCache {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochCache {
    pub fn new() -> LeaderEpochCache {
        LeaderEpochCache::default()
    }

    pub fn from_entries(entries: impl IntoIterator<Item = EpochEntry>) -> LeaderEpochCache {
        let mut cache = LeaderEpochCache::new();
        for entry in entries {
            cache.assign(entry.epoch, entry.start_offset);
        }
        cache
    }

    /// Takes note that `epoch` begins at `start_offset`; entries that contradict it are dropped. Returns whether
    /// anything changed, and with it the checkpoint file is to be written before a batch of this epoch.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if epoch.0 < 0 || start_offset.0 < 0 {
            return false;
        }
        if self.entries.last().is_some_and(|last| last.epoch == epoch && last.start_offset <= start_offset) {
            return false;
        }
        while self.entries.last().is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The epoch that the batch at `offset` was written in.
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).and_then(|at| self.entries.get(at)).map(|entry| entry.epoch)
    }

    /// The largest epoch not above the one asked for, and the offset at which the next one begins (the log's end
    /// for the latest). `None` is Kafka's undefined epoch and offset.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end_offset: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch.0 < 0 {
            return None;
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch) {
            return Some((epoch, log_end_offset));
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let higher = self.entries.get(after)?;
        // An epoch older than all that are kept: its records are gone, and the log begins with the first known.
        let floor = after.checked_sub(1).and_then(|at| self.entries.get(at)).map_or(epoch, |entry| entry.epoch);
        Some((floor, higher.start_offset))
    }

    /// Drops the epochs that begin at `end_offset` or above. Returns whether anything changed.
    pub fn truncate_from_end(&mut self, end_offset: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start_offset < end_offset);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// Drops the epochs that ended before `start_offset`; the one that holds it begins there from now on.
    /// Returns whether anything changed.
    pub fn truncate_from_start(&mut self, start_offset: Offset) -> bool {
        let after = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(holds_it) = after.checked_sub(1) else { return false };
        let mut changed = self.entries.drain(..holds_it).count() > 0;
        if let Some(first) = self.entries.first_mut()
            && first.start_offset < start_offset
        {
            first.start_offset = start_offset;
            changed = true;
        }
        changed
    }

    /// The text of `leader-epoch-checkpoint`.
    pub fn encode(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
        }
        text
    }
}
