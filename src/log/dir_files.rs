//! What is in a partition's directory, after what an interrupted compaction or removal left there is tidied away, by
//! the rules of Kafka's `LogLoader`:
//!
//! - `.deleted` files are removed; spare segments are among them.
//! - `.cleaned` files are outputs of a compaction that did not complete: removed, with the `.swap` files from the
//!   lowest of them on, which belong to a split that did not complete (KAFKA-6264).
//! - The other `.swap` files are complete outputs: the segments they replace are removed, then they get their names.
//! - Index files without their segment are removed.

use std::collections::BTreeSet;
use std::path::Path;

use crate::runtime::fs;
use crate::types::Offset;

use super::error::LoadError;
use super::names::{self, FileKind, SWAP_SUFFIX};
use super::scan::{ScanError, SegmentScanner};

/// The files of a partition, by the offsets they are named by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct PartitionFiles {
    pub segments: BTreeSet<Offset>,
    pub offset_indexes: BTreeSet<Offset>,
    pub time_indexes: BTreeSet<Offset>,
    pub txn_indexes: BTreeSet<Offset>,
    pub snapshots: BTreeSet<Offset>,
    pub has_epochs: bool,
    pub has_metadata: bool,
    /// Names changed, and the directory is not synced.
    pub unsynced: bool,
}

impl PartitionFiles {
    /// Lists and tidies a directory; `None` if it is not there.
    pub fn tidy(dir: &Path) -> Result<Option<PartitionFiles>, LoadError> {
        let listed = fs::if_exists(fs::list(dir)).map_err(LoadError::io("list", dir))?;
        let Some(listed) = listed else { return Ok(None) };
        let mut names: Vec<String> = listed.into_iter().filter(|(_, is_dir)| !is_dir).map(|(name, _)| name).collect();
        let mut unsynced = false;
        if names.iter().any(|name| is_leftover(FileKind::of(name))) {
            names = finish_leftovers(dir, names)?;
            unsynced = true;
        }
        let mut files = PartitionFiles { unsynced, ..PartitionFiles::default() };
        for name in &names {
            files.note(name);
        }
        files.remove_orphans(dir)?;
        Ok(Some(files))
    }

    pub fn note(&mut self, name: &str) {
        match FileKind::of(name) {
            FileKind::Log(offset) => drop(self.segments.insert(offset)),
            FileKind::OffsetIndex(offset) => drop(self.offset_indexes.insert(offset)),
            FileKind::TimeIndex(offset) => drop(self.time_indexes.insert(offset)),
            FileKind::TxnIndex(offset) => drop(self.txn_indexes.insert(offset)),
            FileKind::Snapshot(offset) => drop(self.snapshots.insert(offset)),
            FileKind::Other => {
                self.has_epochs |= name == names::LEADER_EPOCH_CHECKPOINT;
                self.has_metadata |= name == names::PARTITION_METADATA;
            }
            FileKind::Deleted | FileKind::Cleaned(_) | FileKind::Swap(_) => {}
        }
    }

    fn remove_orphans(&mut self, dir: &Path) -> Result<(), LoadError> {
        let segments = &self.segments;
        for (indexes, name) in [
            (&mut self.offset_indexes, names::offset_index_file as fn(&Path, Offset) -> _),
            (&mut self.time_indexes, names::time_index_file),
            (&mut self.txn_indexes, names::txn_index_file),
        ] {
            let orphans: Vec<Offset> = indexes.difference(segments).copied().collect();
            for orphan in orphans {
                indexes.remove(&orphan);
                remove(&name(dir, orphan))?;
                self.unsynced = true;
            }
        }
        Ok(())
    }

    /// Removes a segment with its indexes.
    pub fn remove_segment(&mut self, dir: &Path, base_offset: Offset) -> Result<(), LoadError> {
        self.segments.remove(&base_offset);
        remove(&names::log_file(dir, base_offset))?;
        self.remove_indexes(dir, base_offset)?;
        if self.txn_indexes.remove(&base_offset) {
            remove(&names::txn_index_file(dir, base_offset))?;
        }
        self.unsynced = true;
        Ok(())
    }

    /// Removes the index files of a segment that is to be appended to: they are written when it is rolled.
    pub fn remove_indexes(&mut self, dir: &Path, base_offset: Offset) -> Result<(), LoadError> {
        if self.offset_indexes.remove(&base_offset) {
            remove(&names::offset_index_file(dir, base_offset))?;
            self.unsynced = true;
        }
        if self.time_indexes.remove(&base_offset) {
            remove(&names::time_index_file(dir, base_offset))?;
            self.unsynced = true;
        }
        Ok(())
    }

    pub fn remove_snapshot(&mut self, dir: &Path, offset: Offset) -> Result<(), LoadError> {
        self.snapshots.remove(&offset);
        self.unsynced = true;
        remove(&names::snapshot_file(dir, offset))
    }

    /// Makes what was changed in the directory durable, if anything was.
    pub fn sync(&mut self, dir: &Path) -> Result<(), LoadError> {
        if std::mem::take(&mut self.unsynced) {
            fs::sync_dir(dir).map_err(LoadError::io("sync", dir))?;
        }
        Ok(())
    }
}

fn is_leftover(kind: FileKind) -> bool {
    matches!(kind, FileKind::Deleted | FileKind::Cleaned(_) | FileKind::Swap(_))
}

/// Removes or completes what is half done, and returns the names that are left.
fn finish_leftovers(dir: &Path, names: Vec<String>) -> Result<Vec<String>, LoadError> {
    let cleaned_from = names.iter().filter_map(|name| match FileKind::of(name) {
        FileKind::Cleaned(offset) => Some(offset),
        _ => None,
    });
    let cleaned_from = cleaned_from.min().unwrap_or(Offset(i64::MAX));
    let mut kept = Vec::new();
    let mut swaps = Vec::new();
    for name in names {
        match FileKind::of(&name) {
            FileKind::Swap(offset) if offset < cleaned_from => swaps.push(name),
            kind if is_leftover(kind) => remove(&dir.join(name))?,
            _ => kept.push(name),
        }
    }
    if swaps.is_empty() {
        return Ok(kept);
    }
    let replaced = swapped_range(dir, &swaps)?;
    let begins = |offset: Offset| {
        swaps.iter().any(|name| name.strip_suffix(SWAP_SUFFIX).map(FileKind::of) == Some(FileKind::Log(offset)))
    };
    let mut left = Vec::new();
    for name in kept {
        match segment_of(&name) {
            // The state of producers where the output begins is what it was.
            Some(offset) if FileKind::of(&name) == FileKind::Snapshot(offset) && begins(offset) => left.push(name),
            Some(offset) if replaced.contains(&offset) => remove(&dir.join(name))?,
            _ => left.push(name),
        }
    }
    for name in swaps {
        let Some(plain) = name.strip_suffix(SWAP_SUFFIX) else { continue };
        let (from, to) = (dir.join(&name), dir.join(plain));
        fs::rename(&from, &to).map_err(LoadError::io("rename", &from))?;
        left.push(plain.to_owned());
    }
    Ok(left)
}

/// The offsets that the complete outputs of compaction stand for.
fn swapped_range(dir: &Path, swaps: &[String]) -> Result<std::ops::Range<Offset>, LoadError> {
    let (mut start, mut end) = (Offset(i64::MAX), Offset(i64::MIN));
    for name in swaps {
        let plain = name.strip_suffix(SWAP_SUFFIX).unwrap_or_default();
        if let FileKind::Log(base_offset) = FileKind::of(plain) {
            start = start.min(base_offset);
            end = end.max(end_offset(&dir.join(name), base_offset)?);
        }
    }
    Ok(start..end)
}

/// The offset behind the last batch of a complete segment.
fn end_offset(path: &Path, base_offset: Offset) -> Result<Offset, LoadError> {
    let mut end = base_offset;
    let mut scanner = SegmentScanner::open(path).map_err(scan_failed)?;
    loop {
        match scanner.advance() {
            Ok(Some(header)) => end = header.next_offset(),
            Ok(None) | Err(ScanError::Broken { .. }) => return Ok(end),
            Err(failed) => return Err(scan_failed(failed)),
        }
    }
}

/// A scan that failed for another reason than the bytes it found.
pub(super) fn scan_failed(error: ScanError) -> LoadError {
    match error {
        ScanError::Io { segment, source } => LoadError::Io { action: "read", path: segment, source },
        ScanError::Broken { segment, position, ref what } => {
            let what = format!("no valid batch at byte {position}: {what}");
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, what);
            LoadError::Io { action: "read", path: segment, source }
        }
    }
}

/// The segment that a file belongs to.
fn segment_of(name: &str) -> Option<Offset> {
    match FileKind::of(name) {
        FileKind::Log(offset)
        | FileKind::OffsetIndex(offset)
        | FileKind::TimeIndex(offset)
        | FileKind::TxnIndex(offset)
        | FileKind::Snapshot(offset) => Some(offset),
        _ => None,
    }
}

fn remove(path: &Path) -> Result<(), LoadError> {
    fs::remove_file(path).map(drop).map_err(LoadError::io("remove", path))
}

#[cfg(test)]
mod tests {
    use super::super::testing::batch;
    use super::*;

    fn touch(dir: &Path, name: &str) {
        std::fs::write(dir.join(name), b"").unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::list(dir).unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_that_is_not_there_has_no_files() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(PartitionFiles::tidy(&dir.path().join("t-0")).unwrap(), None);
    }

    #[test]
    fn stale_files_go_and_foreign_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for name in [
            "00000000000000000000.log",
            "00000000000000000000.index",
            "00000000000000000000.timeindex",
            "00000000000000000005.index",
            "00000000000000000003.log.deleted",
            "00000000000000000003.log.cleaned",
            "00000000000000000003.log.swap",
            "00000000000000000005.snapshot",
            "00000000000000000005-0000000001.checkpoint.deleted",
            "leader-epoch-checkpoint",
            "partition.metadata",
            "notes.txt",
        ] {
            touch(dir, name);
        }
        let files = PartitionFiles::tidy(dir).unwrap().unwrap();
        assert_eq!(files.segments, BTreeSet::from([Offset(0)]));
        assert_eq!(files.offset_indexes, files.segments);
        assert_eq!(files.time_indexes, files.segments);
        assert_eq!(files.snapshots, BTreeSet::from([Offset(5)]));
        assert!(files.has_epochs && files.has_metadata && files.unsynced);
        assert_eq!(
            names(dir),
            [
                "00000000000000000000.index",
                "00000000000000000000.log",
                "00000000000000000000.timeindex",
                "00000000000000000005-0000000001.checkpoint.deleted",
                "00000000000000000005.snapshot",
                "leader-epoch-checkpoint",
                "notes.txt",
                "partition.metadata",
            ]
        );
        let again = PartitionFiles::tidy(dir).unwrap().unwrap();
        assert_eq!(again, PartitionFiles { unsynced: false, ..files });
    }

    #[test]
    fn a_complete_compaction_takes_the_place_of_what_it_compacted() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut output = batch(0, 4, 0, b"a");
        output.extend_from_slice(&batch(15, 5, 0, b"b"));
        std::fs::write(dir.join("00000000000000000000.log.swap"), &output).unwrap();
        for name in [
            "00000000000000000000.index.swap",
            "00000000000000000000.log",
            "00000000000000000000.timeindex",
            "00000000000000000010.log",
            "00000000000000000010.index",
            "00000000000000000000.snapshot",
            "00000000000000000010.snapshot",
            "00000000000000000020.log",
            "00000000000000000020.snapshot",
        ] {
            touch(dir, name);
        }
        let files = PartitionFiles::tidy(dir).unwrap().unwrap();
        assert_eq!(files.segments, BTreeSet::from([Offset(0), Offset(20)]));
        assert_eq!(std::fs::read(dir.join("00000000000000000000.log")).unwrap(), output);
        assert_eq!(
            names(dir),
            [
                "00000000000000000000.index",
                "00000000000000000000.log",
                "00000000000000000000.snapshot",
                "00000000000000000020.log",
                "00000000000000000020.snapshot",
            ]
        );
    }
}
