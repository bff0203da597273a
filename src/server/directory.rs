//! The data directory before anything is read of it: made, locked, and asked what its file system can do.

use std::path::{Path, PathBuf};

use super::StartError;
use crate::config::IoMode;
use crate::runtime::fs::{self, DirectAlignment, FileLock, OpenFlags};

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
    _lock: FileLock,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it (Kafka's `.lock`) against a second broker.
    pub fn open(path: &Path) -> Result<Directory, StartError> {
        let unusable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                StartError::NoPermission { path: path.to_owned(), error }
            }
            _ => StartError::Directory { path: path.to_owned(), error },
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let path = fs::canonical(path).map_err(unusable)?;
        let lock_file = path.join(".lock");
        let lock = fs::lock(&lock_file)
            .map_err(unusable)?
            .ok_or_else(|| StartError::DirectoryLocked { path: path.clone() })?;
        let info = fs::fs_info(&path).map_err(unusable)?;
        let opened = fs::open(&lock_file, OpenFlags::READ).map_err(unusable)?;
        let direct = fs::direct_alignment(&opened).ok().flatten();
        Ok(Directory {
            path,
            file_system: info.kind.name(),
            available_bytes: info.available_bytes,
            direct,
            _lock: lock,
        })
    }

    /// How segments are written here if `wanted` is asked for, and why not so where it is not.
    pub fn io_mode(&self, wanted: IoMode) -> (IoMode, Option<&'static str>) {
        match (wanted, self.direct) {
            (IoMode::Direct, None) => (IoMode::Buffered, Some("this file system does not say how it does direct I/O")),
            (mode, _) => (mode, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
