//! What can go wrong in a log, running or being loaded.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::types::{Offset, TopicId};

/// Whether an operation met a full disk, or a quota used up.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An append, read or wait on a log that could not be done.
#[derive(Clone, Debug)]
pub enum LogError {
    /// The offset asked for lies outside of the log (`OffsetOutOfRangeException`).
    OffsetOutOfRange { offset: Offset, log_start_offset: Offset, log_end_offset: Offset },
    /// A write or flush failed before: nothing is acknowledged any more, and nothing was retried.
    Poisoned { reason: Arc<str> },
    /// The disk is full: nothing of the append was stored, and it may be tried again.
    DiskFull,
    /// The log is closed or deleted.
    Closed,
    /// Bytes read from a segment are not what was written there. `what` is a sentence that names file, byte and offset;
    /// the log has told it already.
    Corrupt { what: Arc<str> },
    /// A file operation failed.
    Io { action: &'static str, path: Arc<Path>, kind: io::ErrorKind, message: Arc<str> },
}

impl LogError {
    /// A failed operation on a file, in the words "cannot `action` `path`".
    pub fn io(action: &'static str, path: &Path, error: &io::Error) -> LogError {
        LogError::Io { action, path: path.into(), kind: error.kind(), message: error.to_string().into() }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::OffsetOutOfRange { offset, log_start_offset, log_end_offset } => {
                write!(f, "offset {offset} is not in the log, which holds {log_start_offset} to {log_end_offset}")
            }
            LogError::Poisoned { reason } => write!(f, "the log takes no more appends: {reason}"),
            LogError::DiskFull => write!(f, "the disk is full"),
            LogError::Closed => write!(f, "the log is closed"),
            LogError::Corrupt { what } => f.write_str(what),
            LogError::Io { action, path, message, .. } => {
                write!(f, "cannot {action} {}: {message}", path.display())
            }
        }
    }
}

impl std::error::Error for LogError {}

/// A log, or a file beside the logs, that could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// A file operation failed.
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The directory belongs to another topic of the same name.
    TopicIdMismatch { path: PathBuf, expected: TopicId, found: TopicId },
    /// A small text file (checkpoint, metadata) is not in its format.
    Malformed { path: PathBuf, line: usize, what: &'static str },
    /// Another process holds the data directory.
    Locked { path: PathBuf },
}

impl LoadError {
    /// A failed operation on a file, in the words "cannot `action` `path`"; for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LoadError {
        let path = path.to_owned();
        move |source| LoadError::Io { action, path, source }
    }
}

impl LoadError {
    /// Whether the disk was full, or the quota used up.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, LoadError::Io { source, .. } if is_disk_full(source))
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io { action, path, source } => write!(f, "cannot {action} {}: {source}", path.display()),
            LoadError::TopicIdMismatch { path, expected, found } => {
                write!(f, "{} belongs to topic id {found}, not {expected}", path.display())
            }
            LoadError::Malformed { path, line, what } => {
                write!(f, "{} is malformed at line {line}: {what}", path.display())
            }
            LoadError::Locked { path } => {
                write!(f, "another broker holds {}: only one may use a data directory", path.display())
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
