//! What a check finds, one thing at a time.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::types::{Offset, TopicPartition};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// What a crash or an ordinary run leaves; the next start puts it in order without losing anything.
    Note,
    /// Wrong, but no acknowledged record is lost: what is wrong can be made anew from the batches.
    Warning,
    /// Acknowledged records are damaged or missing, or the directory cannot be used.
    Error,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// Declares the kinds with their stable names.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:literal;)*) => {
        /// What is wrong. The names are part of the interface (`--output json`).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum FindingKind {
            $($(#[doc = $doc])+ $kind,)*
        }

        impl FindingKind {
            pub fn name(self) -> &'static str {
                match self {
                    $(FindingKind::$kind => $name,)*
                }
            }

            /// Every kind, with what it means.
            pub const ALL: &[(FindingKind, &str)] = &[$((FindingKind::$kind, concat!($($doc),+)),)*];
        }
    };
}

kinds! {
    /// Bytes that are no valid batch stand where acknowledged batches belong.
    DamagedBatch "damaged-batch";
    /// Offsets between two batches, or up to what had been flushed, are not there.
    MissingRecords "missing-records";
    /// The records in a batch are not what they should be, although its CRC holds.
    BadRecord "bad-record";
    /// A batch's timestamps contradict each other or lie in the future.
    Timestamp "timestamp";
    /// A write that a crash cut off; the next start, or a repair, cuts it away.
    TornTail "torn-tail";
    /// Bytes behind the last batch of a segment that was completed.
    SegmentTail "segment-tail";
    /// An offset index that is missing or not that of its segment.
    OffsetIndex "offset-index";
    /// A time index that is missing or not that of its segment.
    TimeIndex "time-index";
    /// An index of aborted transactions that is malformed.
    TransactionIndex "transaction-index";
    /// A producer snapshot that cannot be read or is none of the log's.
    ProducerSnapshot "producer-snapshot";
    /// The leader epoch checkpoint does not agree with the batches.
    LeaderEpochs "leader-epochs";
    /// The topic id of a partition's directory is missing or another one.
    TopicId "topic-id";
    /// Files that an interrupted removal, compaction or write left.
    Leftover "leftover";
    /// A checkpoint file that is malformed, or that contradicts a log.
    Checkpoint "checkpoint";
    /// The file of the shards' partitions cannot be read.
    Placement "placement";
    /// The identity of the directory is missing or malformed.
    MetaProperties "meta-properties";
    /// The catalog of topics, its log or its snapshots.
    Catalog "catalog";
    /// A partition of the catalog has no directory.
    MissingDirectory "missing-directory";
    /// A directory that belongs to no partition of the catalog.
    StrayDirectory "stray-directory";
    /// The last stop was not clean.
    Unclean "unclean";
    /// A file or directory that cannot be read.
    Unreadable "unreadable";
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: Severity,
    pub kind: FindingKind,
    pub partition: Option<TopicPartition>,
    pub file: PathBuf,
    /// The byte of the file, where there is one to point at.
    pub position: Option<u64>,
    /// The first offset that is concerned.
    pub offset: Option<Offset>,
    /// A clause without an end.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.name(), self.file.display())?;
        if let Some(position) = self.position {
            write!(f, " at byte {position}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// More findings of one partition than this are counted, not listed: garbage gives any number of them.
const FINDINGS_MAX: usize = 1000;

/// Collects the findings of one partition, or of the directory itself.
#[derive(Debug, Default)]
pub struct Findings {
    partition: Option<TopicPartition>,
    list: Vec<Finding>,
    left_out: Option<(u64, Severity)>,
}

impl Findings {
    pub fn of_directory() -> Findings {
        Findings::default()
    }

    pub fn of(partition: &TopicPartition) -> Findings {
        Findings { partition: Some(partition.clone()), ..Findings::default() }
    }

    /// Adds a finding of a file as a whole.
    pub fn file(&mut self, severity: Severity, kind: FindingKind, file: &Path, what: impl Into<String>) {
        self.add(severity, kind, file, (None, None), what);
    }

    /// Adds a finding at a byte of a file, or an offset, or both.
    pub fn add(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        file: &Path,
        (position, offset): (Option<u64>, Option<Offset>),
        what: impl Into<String>,
    ) {
        if self.list.len() >= FINDINGS_MAX {
            let (count, worst) = self.left_out.unwrap_or((0, severity));
            self.left_out = Some((count + 1, worst.max(severity)));
            return;
        }
        let partition = self.partition.clone();
        self.list.push(Finding {
            severity,
            kind,
            partition,
            file: file.to_owned(),
            position,
            offset,
            what: what.into(),
        });
    }

    /// All of them, in the order they were found.
    pub fn into_list(mut self) -> Vec<Finding> {
        if let (Some((count, severity)), Some(last)) = (self.left_out, self.list.last()) {
            let mut more = last.clone();
            more.severity = severity;
            (more.position, more.offset) = (None, None);
            more.what = format!("{count} more findings of this partition are not listed");
            self.list.push(more);
        }
        self.list
    }
}
