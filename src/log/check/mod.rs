//! Offline verification and repair of partitions' directories.
//!
//! [`check_partition`] only reads: it lists the directory, asks recovery what it would make of the log's end (the next
//! start sees it no other way), walks through every batch, and holds indexes, epochs, snapshots and checkpoints
//! against them. [`repair_partition`] then does what a start would do, and beyond that what a start must not do by
//! itself: it drops what is damaged. [`root`] is about the files at the root of a log directory.

mod drop_damaged;
mod finding;
mod index_check;
mod listing;
mod partition;
mod repair;
pub mod root;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeSet;
use std::fmt;

use crate::record::RecordView;
use crate::types::Offset;

use super::error::LoadError;
use super::loaded::LoadOptions;

pub use finding::{Finding, FindingKind, Findings, Severity};
pub use partition::check_partition;
pub use repair::{NoteDropped, RepairOptions, Repaired, repair_partition};
pub use walk::Stamp;

/// Looks at a record that is whole; answers what is wrong with it.
pub type RecordCheck = dyn Fn(&RecordView<'_>) -> Result<(), String> + Sync;

/// How to check one partition.
#[derive(Clone)]
pub struct CheckOptions<'a> {
    /// What a start would load it with.
    pub load: LoadOptions,
    /// Decode every record, compressed ones too.
    pub deep: bool,
    /// What the records of this partition have to be, if that is known.
    pub record: Option<&'a RecordCheck>,
    /// Offsets, first and end, that earlier repairs dropped.
    pub dropped: Vec<(Offset, Offset)>,
    /// Up to where compaction has come, be it years ago.
    pub compacted_to: Offset,
}

impl fmt::Debug for CheckOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions").field("load", &self.load).field("deep", &self.deep).finish_non_exhaustive()
    }
}

/// Bytes of a segment that should be batches of the log and are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DamagedRange {
    /// The segment's base offset.
    pub segment: Offset,
    pub from: u64,
    /// Where the next valid batch begins, or the file ends.
    pub to: u64,
    /// The first offset that is not there.
    pub offset: Offset,
    /// The offset that the log goes on with.
    pub next_offset: Offset,
    /// The batch is whole, and this is what its header should say.
    pub restamp: Option<Stamp>,
}

/// What a check of one partition found.
#[derive(Debug, Default)]
pub struct PartitionReport {
    pub findings: Vec<Finding>,
    pub segments: u32,
    pub batches: u64,
    /// Looked into, with `deep`.
    pub records: u64,
    pub bytes: u64,
    pub log_end_offset: Offset,
    /// The segments with the sizes of their batches.
    pub segment_bytes: Vec<(Offset, u64)>,
    pub damage: Vec<DamagedRange>,
    /// The log ends before what had been flushed, without any bytes that could be it.
    pub ends_early: bool,
    /// A start would cut valid batches away that may have been acknowledged.
    pub valid_batches_torn: bool,
    /// Its files could not be read: nothing else here says anything.
    pub is_unreadable: bool,
    /// A start would leave the partition offline.
    pub refused: bool,
    /// Segments with bytes behind their batches, and where those end.
    pub(super) tails: Vec<(Offset, u64)>,
    pub(super) wrong_indexes: BTreeSet<Offset>,
    pub(super) wrong_epochs: bool,
    pub(super) wrong_snapshots: BTreeSet<Offset>,
}

impl PartitionReport {
    /// Of a partition whose files cannot be read.
    /// Of a partition that the next start completes out of a journal, before which there is nothing to be said of it.
    pub fn journaled(options: &LoadOptions) -> PartitionReport {
        let mut findings = Findings::of(&options.topic_partition);
        let what = "the journal has batches that are not in its segments yet: not looked at before the next start, or a repair, has written them";
        findings.file(Severity::Note, FindingKind::Unclean, &options.dir, what);
        PartitionReport { findings: findings.into_list(), is_unreadable: true, ..PartitionReport::default() }
    }

    pub fn unreadable(options: &LoadOptions, error: &LoadError) -> PartitionReport {
        let mut findings = Findings::of(&options.topic_partition);
        let path = match error {
            LoadError::Io { path, .. } => path,
            _ => &options.dir,
        };
        findings.file(Severity::Error, FindingKind::Unreadable, path, error.to_string());
        PartitionReport { findings: findings.into_list(), is_unreadable: true, ..PartitionReport::default() }
    }

    /// Acknowledged records are lost or would be, so that only the operator can go on.
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty() || self.ends_early || self.valid_batches_torn || self.refused
    }
}
