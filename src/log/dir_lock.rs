//! `.lock`: keeps a second broker, Corelane or Apache Kafka, out of a log directory.

use std::path::Path;

use crate::runtime::fs;

use super::error::LoadError;
use super::names::LOCK;

/// Holds the lock of a log directory until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct DirLock {
    _lock: fs::FileLock,
}

impl DirLock {
    /// Takes the lock, or fails with [`LoadError::Locked`].
    pub fn acquire(log_dir: &Path) -> Result<DirLock, LoadError> {
        let path = log_dir.join(LOCK);
        match fs::lock(&path).map_err(LoadError::io("lock", &path))? {
            Some(lock) => Ok(DirLock { _lock: lock }),
            None => Err(LoadError::Locked { path: log_dir.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        let refused = DirLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(refused, LoadError::Locked { .. }), "{refused}");
        drop(held);
        DirLock::acquire(dir.path()).unwrap();
    }
}
