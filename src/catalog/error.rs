//! What can go wrong with the catalog.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error_code::ErrorCode;
use crate::log::{Damage, LoadError, is_disk_full};
use crate::protocol::EncodeError;
use crate::types::Offset;

/// A request that the catalog does not carry out, as it is answered to the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandError {
    pub code: ErrorCode,
    pub message: String,
}

impl CommandError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> CommandError {
        CommandError { code, message: message.into() }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for CommandError {}

/// A record's bytes that are not what Kafka writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordDecodeError {
    /// The frame around the record (`MetadataRecordSerde`).
    Frame { what: &'static str },
    /// A record type that is ours, in a version that is not.
    Version { record: &'static str, version: u32 },
    /// The record itself.
    Body { record: &'static str, error: String },
}

impl fmt::Display for RecordDecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordDecodeError::Frame { what } => write!(f, "a catalog record is malformed: {what}"),
            RecordDecodeError::Version { record, version } => {
                write!(f, "a {record} has version {version}, which Apache Kafka 4.3 does not write")
            }
            RecordDecodeError::Body { record, error } => write!(f, "a {record} is malformed: {error}"),
        }
    }
}

impl std::error::Error for RecordDecodeError {}

/// A record that does not fit the image it meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApplyError {
    pub record: &'static str,
    pub what: String,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} does not fit the catalog before it: {}", self.record, self.what)
    }
}

impl std::error::Error for ApplyError {}

/// A catalog that could not be loaded, made or kept.
#[derive(Debug)]
pub enum CatalogError {
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The data directory's own files, or the catalog's log.
    Load(LoadError),
    /// A file of the catalog that is not in its format.
    Malformed {
        path: PathBuf,
        what: String,
    },
    /// A record in the catalog's log or snapshot that cannot be read.
    Record {
        path: PathBuf,
        offset: Offset,
        error: String,
    },
    /// `meta.properties` says another node.
    NodeId {
        path: PathBuf,
        stored: i32,
        configured: i32,
    },
    /// The catalog was written by a later Kafka than we know.
    MetadataVersion {
        level: i16,
    },
    /// A topic misses one of its partitions.
    Incomplete {
        topic: String,
    },
    /// A batch does not begin where the records before it end: records are missing.
    Gap {
        expected: Offset,
        found: Offset,
    },
    /// The log ends before its newest snapshot.
    BehindSnapshot {
        log_end: Offset,
        snapshot_end: Offset,
    },
    /// The catalog's log has lost acknowledged records.
    Damaged(Damage),
    /// What a start writes does not fit what is there.
    Begin(ApplyError),
    /// A record has a text that is too long for it.
    Encode(EncodeError),
    /// There are records, but nothing that says whose they are.
    NoIdentity {
        path: PathBuf,
    },
}

impl CatalogError {
    /// Whether the disk was full, or the quota used up.
    pub fn is_disk_full(&self) -> bool {
        match self {
            CatalogError::Io { source, .. } => is_disk_full(source),
            CatalogError::Load(error) => error.is_disk_full(),
            _ => false,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CatalogError {
        let path = path.to_owned();
        move |source| CatalogError::Io { action, path, source }
    }

    pub(super) fn malformed(path: &Path, what: impl Into<String>) -> CatalogError {
        CatalogError::Malformed { path: path.to_owned(), what: what.into() }
    }
}

impl From<LoadError> for CatalogError {
    fn from(error: LoadError) -> CatalogError {
        CatalogError::Load(error)
    }
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogError::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            CatalogError::Load(error) => error.fmt(f),
            CatalogError::Malformed { path, what } => write!(f, "{} is malformed: {what}", path.display()),
            CatalogError::Record { path, offset, error } => {
                write!(f, "the catalog in {} cannot be read at offset {offset}: {error}", path.display())
            }
            CatalogError::NodeId { path, stored, configured } => write!(
                f,
                "{} says node.id {stored}, the configuration {configured}: set node.id to {stored} or use another \
                 data directory",
                path.display()
            ),
            CatalogError::MetadataVersion { level } => write!(
                f,
                "the catalog has metadata.version {level}, which is later than Apache Kafka 4.3 ({}): this version \
                 of Corelane cannot read it",
                super::features::METADATA_VERSION_MAX
            ),
            CatalogError::Incomplete { topic } => {
                write!(f, "the catalog has no record for one of the partitions of topic {topic}")
            }
            CatalogError::Gap { expected, found } => {
                write!(f, "records of the catalog are missing: offset {found} follows where {expected} should")
            }
            CatalogError::BehindSnapshot { log_end, snapshot_end } => write!(
                f,
                "the catalog's log ends at offset {log_end}, before its newest snapshot, which ends at {snapshot_end}"
            ),
            CatalogError::Damaged(damage) => write!(f, "the catalog is damaged: {damage}"),
            CatalogError::Begin(error) => error.fmt(f),
            CatalogError::Encode(error) => write!(f, "a record of the catalog cannot be written: {error}"),
            CatalogError::NoIdentity { path } => {
                write!(f, "{} has a catalog but no meta.properties: restore that file", path.display())
            }
        }
    }
}

impl std::error::Error for CatalogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CatalogError::Io { source, .. } => Some(source),
            CatalogError::Load(error) => Some(error),
            _ => None,
        }
    }
}
