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

use std::path::Path;

use crate::runtime::fs;
use crate::types::{LeaderEpoch, Offset};

use super::checkpoint::{self, Malformed};
use super::error::LoadError;
use super::names::LEADER_EPOCH_CHECKPOINT;

/// The largest checkpoint read: an epoch for each of a million starts.
const CHECKPOINT_BYTES_MAX: usize = 32 << 20;

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

    /// Whether no entry is missing for a log that begins at `offset`. A file without entries can be one that a power cut
    /// took the content of.
    pub fn begin_at_or_before(&self, offset: Offset) -> bool {
        self.entries.first().is_some_and(|first| first.start_offset <= offset)
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

    /// Reads the content of `leader-epoch-checkpoint`.
    pub fn parse(bytes: &[u8]) -> Result<LeaderEpochCache, Malformed> {
        let mut cache = LeaderEpochCache::new();
        checkpoint::for_each_line(bytes, |line| {
            let mut fields = line.split_ascii_whitespace();
            let (Some(epoch), Some(start_offset), None) = (fields.next(), fields.next(), fields.next()) else {
                return Err("not an epoch and an offset");
            };
            let epoch = epoch.parse().map_err(|_| "the epoch is no number")?;
            let start_offset = start_offset.parse().map_err(|_| "the offset is no number")?;
            if epoch < 0 || start_offset < 0 {
                return Err("negative");
            }
            cache.assign(LeaderEpoch(epoch), Offset(start_offset));
            Ok(())
        })?;
        Ok(cache)
    }

    /// The epochs of the partition in `dir`; none without the file.
    pub fn read(dir: &Path) -> Result<Option<LeaderEpochCache>, LoadError> {
        let path = dir.join(LEADER_EPOCH_CHECKPOINT);
        let bytes =
            fs::if_exists(fs::read_bounded(&path, CHECKPOINT_BYTES_MAX)).map_err(LoadError::io("read", &path))?;
        bytes.map(|bytes| LeaderEpochCache::parse(&bytes).map_err(|wrong| wrong.at(&path))).transpose()
    }

    /// Writes the checkpoint file of the partition in `dir`, durably. Blocks; not for a shard thread.
    pub fn write(&self, dir: &Path) -> Result<(), LoadError> {
        let path = dir.join(LEADER_EPOCH_CHECKPOINT);
        fs::write_atomic(&path, self.encode().as_bytes()).map_err(LoadError::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
        LeaderEpochCache::from_entries(
            entries.iter().map(|&(epoch, start)| EpochEntry { epoch: LeaderEpoch(epoch), start_offset: Offset(start) }),
        )
    }

    fn pairs(cache: &LeaderEpochCache) -> Vec<(i32, i64)> {
        cache.entries().iter().map(|entry| (entry.epoch.0, entry.start_offset.0)).collect()
    }

    #[test]
    fn kafkas_own_text_is_read_and_written() {
        let text = "0\n3\n0 0\n2 17\n5 400\n";
        let read = LeaderEpochCache::parse(text.as_bytes()).unwrap();
        assert_eq!(pairs(&read), [(0, 0), (2, 17), (5, 400)]);
        assert_eq!(read.encode(), text);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LeaderEpochCache::read(dir.path()).unwrap(), None);
        read.write(dir.path()).unwrap();
        assert_eq!(LeaderEpochCache::read(dir.path()).unwrap(), Some(read));
        for (text, line) in [("0\n1\n1\n", 3), ("0\n1\n-1 4\n", 3), ("0\n1\n1 x\n", 3), ("0\n2\n1 4\n", 2)] {
            assert_eq!(LeaderEpochCache::parse(text.as_bytes()).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn a_new_epoch_drops_what_contradicts_it() {
        let mut epochs = cache(&[(1, 0), (2, 10), (4, 20)]);
        assert!(!epochs.assign(LeaderEpoch(4), Offset(25)), "known already");
        assert!(!epochs.assign(LeaderEpoch::UNKNOWN, Offset(25)));
        assert!(epochs.assign(LeaderEpoch(5), Offset(20)), "an epoch without records is replaced");
        assert_eq!(pairs(&epochs), [(1, 0), (2, 10), (5, 20)]);
        assert!(epochs.assign(LeaderEpoch(3), Offset(15)));
        assert_eq!(pairs(&epochs), [(1, 0), (2, 10), (3, 15)]);
        assert!(epochs.assign(LeaderEpoch(3), Offset(12)), "an epoch is moved to the front only");
        assert_eq!(pairs(&epochs), [(1, 0), (2, 10), (3, 12)]);
        assert_eq!(epochs.latest().unwrap().epoch, LeaderEpoch(3));
    }

    #[test]
    fn end_offsets_are_those_of_kafka() {
        let epochs = cache(&[(2, 10), (4, 20), (5, 30)]);
        let end = |epoch| epochs.end_offset_for(LeaderEpoch(epoch), Offset(99)).map(|(epoch, end)| (epoch.0, end.0));
        assert_eq!(end(5), Some((5, 99)));
        assert_eq!(end(4), Some((4, 30)));
        assert_eq!(end(3), Some((2, 20)));
        assert_eq!(end(1), Some((1, 10)), "older than all that are kept");
        assert_eq!(end(6), None);
        assert_eq!(end(-1), None);
        assert_eq!(LeaderEpochCache::new().end_offset_for(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn epochs_are_cut_with_the_log() {
        let mut epochs = cache(&[(2, 10), (4, 20), (5, 30)]);
        assert!(!epochs.truncate_from_end(Offset(31)));
        assert!(epochs.truncate_from_end(Offset(30)));
        assert_eq!(pairs(&epochs), [(2, 10), (4, 20)]);
        assert!(!epochs.truncate_from_start(Offset(5)));
        assert!(epochs.truncate_from_start(Offset(15)));
        assert_eq!(pairs(&epochs), [(2, 15), (4, 20)]);
        assert!(epochs.truncate_from_start(Offset(20)));
        assert_eq!(pairs(&epochs), [(4, 20)]);
        assert_eq!(epochs.epoch_for_offset(Offset(19)), None);
        assert_eq!(epochs.epoch_for_offset(Offset(20)), Some(LeaderEpoch(4)));
    }
}
