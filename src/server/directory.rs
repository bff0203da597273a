//! The data directory before anything is read of it: made, locked, and asked what its file system can do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StartError;
use crate::config::IoMode;
use crate::log::{LoadError, names};
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, DirectAlignment, FileLock, OpenFlags};

/// How long a start waits for the lock of a process that is ending.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// The data directory, ours until this is dropped.
#[derive(Debug)]
pub struct Directory {
    /// Absolute.
    pub path: PathBuf,
    /// The kernel's name of the file system.
    pub file_system: &'static str,
    /// Free for this process.
    pub available_bytes: u64,
    /// What O_DIRECT asks for, where the file system has it.
    pub direct: Option<DirectAlignment>,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// By which it is known again.
    pub place: Arc<Place>,
    lock: FileLock,
}

/// The data directory as it was at the start, to tell whether it is still there.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// Open, so that no other directory gets its number.
    opened: RawFile,
}

impl Place {
    pub fn new(path: &Path) -> std::io::Result<Place> {
        Ok(Place { path: path.to_owned(), opened: fs::open(path, OpenFlags::READ)? })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the directory that was opened, with its lock file in it. A sentence if not.
    pub fn check(&self) -> Result<(), String> {
        let path = self.path.display();
        match (fs::id_at(&self.path), fs::id_of(&self.opened)) {
            (Ok(there), Ok(ours)) if there != ours => {
                return Err(format!("The data directory {path} is another one now: it was unmounted or replaced"));
            }
            (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(format!("The data directory {path} is gone: it was removed"));
            }
            // What cannot be looked at may be back with the next look.
            _ => {}
        }
        match fs::exists(&self.path.join(names::LOCK)) {
            Ok(false) => Err(format!("The data directory {path} was emptied: its .lock is gone")),
            _ => Ok(()),
        }
    }
}

impl Directory {
    /// Makes the directory if it is not there, and locks it (Kafka's `.lock`) against a second broker.
    pub fn open(path: &Path) -> Result<Directory, StartError> {
        let unusable = |error: std::io::Error| match StartError::storage(path, error) {
            StartError::Storage { path, error } => StartError::Directory { path, error },
            other => other,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let path = fs::canonical(path).map_err(unusable)?;
        let lock_file = path.join(".lock");
        let lock = lock_soon(&lock_file)
            .map_err(unusable)?
            .ok_or_else(|| StartError::DirectoryLocked { path: path.clone() })?;
        let info = fs::fs_info(&path).map_err(unusable)?;
        let opened = fs::open(&lock_file, OpenFlags::READ).map_err(unusable)?;
        let direct = fs::direct_alignment(&opened).ok().flatten();
        Ok(Directory {
            place: Arc::new(Place::new(&path).map_err(unusable)?),
            path,
            file_system: info.kind.name(),
            available_bytes: info.available_bytes,
            total_bytes: info.total_bytes,
            direct,
            lock,
        })
    }

    /// The open file that the lock belongs to.
    pub fn lock_file(&self) -> std::io::Result<RawFile> {
        self.lock.file()
    }

    /// How segments are written here if `wanted` is asked for, and why not so where it is not.
    pub fn io_mode(&self, wanted: IoMode) -> (IoMode, Option<&'static str>) {
        match (wanted, self.direct) {
            (IoMode::Direct, None) => (IoMode::Buffered, Some("this file system does not say how it does direct I/O")),
            (mode, _) => (mode, None),
        }
    }
}

/// Tries for as long as a directory may still be held by a process that was killed.
pub fn when_free<T>(take: impl Fn() -> Result<T, LoadError>) -> Result<T, LoadError> {
    let began = Instant::now();
    loop {
        match take() {
            Err(LoadError::Locked { .. }) if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_LOOK),
            result => return result,
        }
    }
}

/// Takes the lock, and waits a moment for a process that was killed: its rings hold the lock while they write.
fn lock_soon(path: &Path) -> std::io::Result<Option<FileLock>> {
    let began = Instant::now();
    loop {
        match fs::lock(path)? {
            None if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_LOOK),
            lock => return Ok(lock),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_gone_is_missed() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("data");
        let directory = Directory::open(&path).expect("it is made");
        assert_eq!(directory.place.check(), Ok(()));
        std::fs::remove_file(path.join(".lock")).expect("it was there");
        assert!(directory.place.check().is_err_and(|reason| reason.contains("emptied")));
        std::fs::remove_dir_all(&path).expect("it was there");
        assert!(directory.place.check().is_err_and(|reason| reason.contains("removed")));
        std::fs::create_dir(&path).expect("it is made anew");
        std::fs::write(path.join(".lock"), "").expect("it is written");
        assert!(directory.place.check().is_err_and(|reason| reason.contains("another one")));
    }

    #[test]
    fn a_directory_is_made_and_has_one_owner() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("a/b");
        let first = Directory::open(&path).expect("it is made");
        let error = Directory::open(&path).expect_err("it is locked");
        assert_eq!(error.exit_code(), 80);
        drop(first);
        assert!(Directory::open(&path).is_ok());
    }

    #[test]
    fn a_file_is_no_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("file");
        std::fs::write(&path, "x").expect("it is written");
        assert_eq!(Directory::open(&path).expect_err("it is a file").exit_code(), 73);
    }

    #[test]
    fn without_direct_io_segments_are_buffered() {
        let root = tempfile::tempdir().expect("a directory");
        let mut directory = Directory::open(root.path()).expect("it opens");
        assert_eq!(directory.io_mode(IoMode::Buffered), (IoMode::Buffered, None));
        directory.direct = None;
        assert_eq!(directory.io_mode(IoMode::Direct).0, IoMode::Buffered);
        directory.direct = Some(DirectAlignment { memory: 512, offset: 512 });
        assert_eq!(directory.io_mode(IoMode::Direct), (IoMode::Direct, None));
    }
}
