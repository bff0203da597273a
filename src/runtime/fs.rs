//! Blocking file system calls, for loading threads, helper threads and the start and stop of the broker. No shard
//! thread calls these: it hands them to [`offload`](crate::runtime).
//!
//! A name is durable only once its directory is synced; functions that do so say it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg};

/// An open file; reads and writes on it block.
pub type File = fs::File;

/// A name in a directory and whether it is itself a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
}

/// Turns "there is no such file" into `None`.
pub fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file to read it.
pub fn open_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens a file that exists, to read and write it.
pub fn open_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Opens a file to read and write it, and makes it if it is not there.
pub fn open_or_create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)
}

/// Makes a file, empty whatever was there before.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o644).open(path)
}

/// Makes a directory, and answers whether it was not there before.
pub fn create_dir(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => Err(error),
    }
}

pub fn create_dir_all(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub fn exists(path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// The names in a directory, in no order. A name that is not UTF-8 is none of ours or Kafka's and is left out.
pub fn list_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let is_dir = entry.file_type()?.is_dir();
        if let Ok(name) = entry.file_name().into_string() {
            entries.push(DirEntry { name, is_dir });
        }
    }
    Ok(entries)
}

/// The size of a file in bytes.
pub fn size(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.len())
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Removes a directory with all that is in it.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// Gives a file or directory another name, in place of what had it before. The name is durable after [`sync_dir`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the name of `path` durable: syncs the directory that holds it.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent(path))
}

/// Makes everything on the file system that holds `path` durable: dear for one file, cheap for thousands.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    nix::unistd::syncfs(file.as_fd()).map_err(io::Error::from)
}

/// Reads a whole file of at most `bytes_max` bytes.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let taken = File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if taken as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Reads into `buffer` from `position` until it is full or the file ends; returns how much was read.
pub fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes a file that is to be complete or not there at all, through a temporary file beside it
/// (`<name>.tmp`, as Kafka names it). The content is durable; the name only after the directory is synced.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let mut file = create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&temporary, path)
}

/// Like [`replace`], with the name made durable too.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes)?;
    sync_parent(path)
}

/// Where the next bytes that were ever written begin, at `position` or behind it; `None` if only room follows.
/// A file system that cannot tell has data everywhere.
pub fn next_data(file: &File, position: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(position).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match nix::unistd::lseek(file.as_fd(), offset, nix::unistd::Whence::SeekData) {
        Ok(found) => Ok(Some(found as u64)),
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(position)),
        Err(error) => Err(error.into()),
    }
}

/// Reserves room for `len` bytes from `position` on, with the size extended over it unless `keep_size`.
pub fn allocate(file: &File, position: u64, len: u64, keep_size: bool) -> io::Result<()> {
    let flags = if keep_size { FallocateFlags::FALLOC_FL_KEEP_SIZE } else { FallocateFlags::empty() };
    let (position, len) = (position as i64, len as i64);
    nix::fcntl::fallocate(file.as_fd(), flags, position, len).map_err(io::Error::from)
}

/// Takes the lock of a whole file, for as long as the file stays open. `None`: somebody else holds it. Both kinds
/// of lock are taken: flock, and the record lock that Java's `FileChannel.tryLock` asks for.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_or_create(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    let whole =
        libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    match nix::fcntl::fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole)) {
        // A file system without record locks still has the other kind.
        Ok(_) | Err(Errno::ENOLCK | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(file)),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != OsStr::new("")).unwrap_or(Path::new("."))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
