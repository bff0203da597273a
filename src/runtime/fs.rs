//! The file system by blocking calls: for start, shutdown and ordinary threads, and on a shard through `offload` only.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::FallocateFlags,
    sys::{stat::futimens, time::TimeSpec},
};

use super::file::RawFile;
pub use super::lock::{FileLock, lock, lock_shared};
use super::observe::{FsChange, inode, observed};

/// How a file is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenFlags {
    pub read: bool,
    pub write: bool,
    /// Create it if it is not there.
    pub create: bool,
    /// Create it, and fail if it is there.
    pub create_new: bool,
    pub truncate: bool,
    /// O_DIRECT: addresses, positions and lengths must be aligned as `direct_alignment` says.
    pub direct: bool,
    pub append: bool,
}

impl OpenFlags {
    pub const READ: OpenFlags = OpenFlags {
        read: true,
        write: false,
        create: false,
        create_new: false,
        truncate: false,
        direct: false,
        append: false,
    };
    pub const READ_WRITE: OpenFlags = OpenFlags { write: true, ..OpenFlags::READ };
    pub const CREATE: OpenFlags = OpenFlags { create: true, ..OpenFlags::READ_WRITE };

    #[must_use]
    pub fn direct(mut self, direct: bool) -> OpenFlags {
        self.direct = direct;
        self
    }
}

/// Opens a file. New files are readable by everybody and writable by their owner.
pub fn open(path: &Path, flags: OpenFlags) -> io::Result<RawFile> {
    open_file(path, flags).map(RawFile::from)
}

pub(super) fn open_file(path: &Path, flags: OpenFlags) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(flags.read)
        .write(flags.write)
        .create(flags.create)
        .create_new(flags.create_new)
        .truncate(flags.truncate)
        .append(flags.append)
        .mode(0o644);
    if flags.direct {
        options.custom_flags(libc::O_DIRECT);
    }
    if !(flags.create || flags.create_new || flags.truncate) {
        return options.open(path);
    }
    let file = observed(|| FsChange::Create(path.to_owned()), || options.open(path))?;
    if flags.truncate {
        observed(|| FsChange::Resize { inode: inode(&file), bytes: 0 }, || Ok(()))?;
    }
    Ok(file)
}

/// Makes a directory; one that is there already is no error. True if it is new.
pub fn create_dir(path: &Path) -> io::Result<bool> {
    match observed(|| FsChange::MakeDir(path.to_owned()), || std::fs::create_dir(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory and those above it.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    observed(|| FsChange::Rename(from.to_owned(), to.to_owned()), || std::fs::rename(from, to))
}

/// Removes a file; one that is not there is no error. True if it was.
pub fn remove_file(path: &Path) -> io::Result<bool> {
    match observed(|| FsChange::Remove(path.to_owned()), || std::fs::remove_file(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes an empty directory; one that is not there is no error. True if it was.
pub fn remove_dir(path: &Path) -> io::Result<bool> {
    match observed(|| FsChange::RemoveDir(path.to_owned()), || std::fs::remove_dir(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a directory and all in it.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    observed(|| FsChange::RemoveDirAll(path.to_owned()), || std::fs::remove_dir_all(path))
}

pub fn exists(path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    observed(|| FsChange::SyncDir(path.to_owned()), || File::open(path)?.sync_all())
}

/// Makes a name durable: syncs the directory it stands in.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent_of(path))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Cuts or extends a file to `bytes`.
pub fn truncate(file: &RawFile, bytes: u64) -> io::Result<()> {
    let size = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    observed(|| FsChange::Resize { inode: inode(file), bytes }, || Ok(nix::unistd::ftruncate(file.as_fd(), size)?))
}

/// Reserves blocks for a range; the file's size grows to its end unless `keep_size`.
pub fn fallocate(file: &RawFile, position: u64, bytes: u64, keep_size: bool) -> io::Result<()> {
    let flags = if keep_size { FallocateFlags::FALLOC_FL_KEEP_SIZE } else { FallocateFlags::empty() };
    observed(
        || FsChange::Allocate { inode: inode(file), position, bytes, keep_size },
        || fallocate_with(file, flags, position, bytes),
    )
}

/// Makes a range read as zeros and keeps its blocks. File systems without the ability say EOPNOTSUPP.
pub fn zero_range(file: &RawFile, position: u64, bytes: u64) -> io::Result<()> {
    observed(
        || FsChange::ZeroRange { inode: inode(file), position, bytes },
        || fallocate_with(file, FallocateFlags::FALLOC_FL_ZERO_RANGE, position, bytes),
    )
}

fn fallocate_with(file: &RawFile, flags: FallocateFlags, position: u64, bytes: u64) -> io::Result<()> {
    let position = i64::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
    let bytes = i64::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        match nix::fcntl::fallocate(file.as_fd(), flags, position, bytes) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Blocking fdatasync.
pub fn sync_data(file: &RawFile) -> io::Result<()> {
    observed(|| FsChange::Sync { inode: inode(file), data_only: true }, || Ok(nix::unistd::fdatasync(file.as_fd())?))
}

/// Blocking fsync.
pub fn sync_all(file: &RawFile) -> io::Result<()> {
    observed(|| FsChange::Sync { inode: inode(file), data_only: false }, || Ok(nix::unistd::fsync(file.as_fd())?))
}

/// Makes everything of the file system that `on` lies on durable.
pub fn syncfs(on: &RawFile) -> io::Result<()> {
    observed(
        || FsChange::SyncFs,
        // SAFETY: the descriptor is open, and the call takes nothing else.
        || if unsafe { libc::syncfs(on.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) },
    )
}

/// Blocking read at a position; short only at the end of the file.
pub fn pread(file: &RawFile, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(left) = buffer.get_mut(done..).filter(|left| !left.is_empty()) {
        let at = i64::try_from(position + done as u64).map_err(|_| io::ErrorKind::InvalidInput)?;
        match nix::sys::uio::pread(file.as_fd(), left, at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// Blocking write of all of `bytes` at a position.
pub fn pwrite_all(file: &RawFile, bytes: &[u8], position: u64) -> io::Result<()> {
    observed(
        || FsChange::Write { inode: inode(file), position, data: bytes.to_vec() },
        || pwrite_pieces(file, bytes, position),
    )
}

fn pwrite_pieces(file: &RawFile, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let at = i64::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        match nix::sys::uio::pwrite(file.as_fd(), bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                position += count as u64;
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a range of a buffered file is in the page cache: tries to read its first and its last byte without waiting
/// for the device.
pub fn is_resident(file: &RawFile, position: u64, bytes: u64) -> bool {
    if bytes == 0 {
        return true;
    }
    [position, position + bytes - 1].into_iter().all(|at| {
        let mut byte = [0u8; 1];
        let mut piece = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        // SAFETY: the piece is one writable byte that outlives the call.
        let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw mut piece, 1, at.cast_signed(), libc::RWF_NOWAIT) };
        count == 1
    })
}

/// Size of an open file in bytes.
pub fn file_size(file: &RawFile) -> io::Result<u64> {
    let stat = nix::sys::stat::fstat(file.as_fd())?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// What a directory entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: OsString,
    pub is_dir: bool,
    /// 0 for a directory.
    pub bytes: u64,
    /// Last change of the content, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// The names in a directory and whether each is a directory, in no order and without looking at what they name. A name
/// that is not UTF-8 is none of Kafka's or ours and is left out.
pub fn list(path: &Path) -> io::Result<Vec<(String, bool)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let is_dir = entry.file_type()?.is_dir();
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, is_dir));
        }
    }
    Ok(names)
}

/// Turns "there is no such file" into `None`.
pub fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The entries of a directory, sorted by name. Entries that vanish meanwhile are left out.
pub fn read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match std::fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        entries.push(DirEntry {
            name: entry.file_name(),
            is_dir: metadata.is_dir(),
            bytes: if metadata.is_dir() { 0 } else { metadata.len() },
            modified_ms: modified_ms(&metadata),
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn modified_ms(metadata: &std::fs::Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Which file or directory something is: the same as long as somebody has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

pub fn id_of(file: &RawFile) -> io::Result<FileId> {
    let stat = nix::sys::stat::fstat(file.as_fd())?;
    Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
}

/// What stands under a path.
pub fn id_at(path: &Path) -> io::Result<FileId> {
    let stat = nix::sys::stat::stat(path)?;
    Ok(FileId { device: stat.st_dev, inode: stat.st_ino })
}

/// What `stat` says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    pub is_dir: bool,
    pub bytes: u64,
    /// Bytes of the blocks it holds.
    pub allocated_bytes: u64,
    pub links: u64,
    pub modified_ms: i64,
}

/// Sets when a file was last written, in milliseconds since 1970.
pub fn set_modified_ms(file: &RawFile, modified_ms: i64) -> io::Result<()> {
    let time = TimeSpec::new(modified_ms.div_euclid(1000), modified_ms.rem_euclid(1000) * 1_000_000);
    Ok(futimens(file.as_fd(), &TimeSpec::UTIME_OMIT, &time)?)
}

pub fn stat(path: &Path) -> io::Result<FileStat> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)?;
    Ok(FileStat {
        is_dir: metadata.is_dir(),
        bytes: metadata.len(),
        allocated_bytes: metadata.blocks() * 512,
        links: metadata.nlink(),
        modified_ms: modified_ms(&metadata),
    })
}

/// Alignment that O_DIRECT needs on a file (STATX_DIOALIGN, kernel 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAlignment {
    /// Of addresses in memory.
    pub memory: u32,
    /// Of positions and lengths.
    pub offset: u32,
}

/// The alignment for O_DIRECT, or `None` where the file system cannot say or has no direct I/O for this file.
pub fn direct_alignment(file: &RawFile) -> io::Result<Option<DirectAlignment>> {
    const STATX_DIOALIGN: u32 = 0x2000;
    // SAFETY: zeros are a valid `statx` to be filled.
    let mut out: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, an empty C string, and a structure that outlives the call.
    let result =
        unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, STATX_DIOALIGN, &raw mut out) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if out.stx_mask & STATX_DIOALIGN == 0 || out.stx_dio_mem_align == 0 || out.stx_dio_offset_align == 0 {
        return Ok(None);
    }
    Ok(Some(DirectAlignment { memory: out.stx_dio_mem_align, offset: out.stx_dio_offset_align }))
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsKind {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
    Overlay,
    Nfs,
    Zfs,
    F2fs,
    Fuse,
    Other(i64),
}

impl FsKind {
    pub fn name(self) -> &'static str {
        match self {
            FsKind::Ext4 => "ext4",
            FsKind::Xfs => "XFS",
            FsKind::Btrfs => "btrfs",
            FsKind::Tmpfs => "tmpfs",
            FsKind::Overlay => "overlay",
            FsKind::Nfs => "NFS",
            FsKind::Zfs => "ZFS",
            FsKind::F2fs => "F2FS",
            FsKind::Fuse => "FUSE",
            FsKind::Other(_) => "unknown",
        }
    }
}

/// The file system of a path and its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsInfo {
    pub kind: FsKind,
    pub block_bytes: u64,
    pub total_bytes: u64,
    /// Free for processes without privileges.
    pub available_bytes: u64,
    /// Free for this process, as far as the file system says.
    pub usable_bytes: u64,
}

pub fn fs_info(path: &Path) -> io::Result<FsInfo> {
    let info = nix::sys::statfs::statfs(path)?;
    // What a file system keeps back, it keeps for root.
    let is_root = nix::unistd::geteuid().is_root();
    #[allow(clippy::unnecessary_cast)] // the width of these differs between architectures
    let (magic, block) = (info.filesystem_type().0 as i64, info.block_size() as u64);
    let kind = match magic {
        0xef53 => FsKind::Ext4,
        0x5846_5342 => FsKind::Xfs,
        0x9123_683e => FsKind::Btrfs,
        0x0102_1994 => FsKind::Tmpfs,
        0x794c_7630 => FsKind::Overlay,
        0x6969 => FsKind::Nfs,
        0x2fc1_2fc1 => FsKind::Zfs,
        0xf2f5_2010 => FsKind::F2fs,
        0x6573_5546 => FsKind::Fuse,
        other => FsKind::Other(other),
    };
    Ok(FsInfo {
        kind,
        block_bytes: block,
        total_bytes: info.blocks() * block,
        available_bytes: info.blocks_available() * block,
        usable_bytes: if is_root { info.blocks_free() } else { info.blocks_available() } * block,
    })
}

/// Where the next bytes that were ever written begin, at `position` or behind it; `None` if there are none, which reads
/// as zeros. A file system that cannot tell has data everywhere.
pub fn next_data(file: &RawFile, position: u64) -> io::Result<Option<u64>> {
    let at = i64::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
    match nix::unistd::lseek(file.as_fd(), at, nix::unistd::Whence::SeekData) {
        Ok(found) => Ok(Some(u64::try_from(found).unwrap_or(position))),
        Err(Errno::ENXIO) => Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(position)),
        Err(error) => Err(error.into()),
    }
}

/// The whole content of a file of at most `bytes_max` bytes.
///
/// # Errors
/// `InvalidData` if the file is larger.
pub fn read_bounded(path: impl AsRef<Path>, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
    if content.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the file is larger than {bytes_max} bytes")));
    }
    Ok(content)
}

/// Replaces a file so that a crash at any moment leaves the old content or the new: a temporary file beside it, synced,
/// renamed, and the directory synced. The temporary name is the file's with `.tmp` behind it, as Kafka's checkpoints.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content)?;
    sync_parent(path)
}

/// Like [`write_atomic`], for several files of one directory that is to be synced afterwards.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = beside(path);
    write_synced(&temporary, content)?;
    rename(&temporary, path)
}

/// Like [`replace`], for a file system that is to be synced afterwards. A power cut before that can leave the name
/// without its content.
pub fn replace_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = beside(path);
    write(&temporary, content)?;
    rename(&temporary, path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Writes a new file, or over an old one, and syncs it, but not its name.
pub fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = open(path, OpenFlags { truncate: true, ..OpenFlags::CREATE })?;
    pwrite_all(&file, content, 0)?;
    sync_all(&file)
}

/// Writes a new file, or over an old one, without syncing it.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    pwrite_all(&open(path, OpenFlags { truncate: true, ..OpenFlags::CREATE })?, content, 0)
}

/// The absolute path without links and dots.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// Whether two paths are on one file system.
pub fn same_device(a: &Path, b: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(a)?.dev() == std::fs::metadata(b)?.dev())
}

/// Whether a name is a plain one: not empty, no path, not `.` or `..`.
pub fn is_plain_name(name: &OsString) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/') && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read_bounded(&path, 10).unwrap(), b"two");
        assert_eq!(read_bounded(&path, 2).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let names: Vec<_> = read_dir(dir.path()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["checkpoint"]);
    }

    #[test]
    fn files_are_read_written_and_measured_at_positions() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(&dir.path().join("f"), OpenFlags::CREATE).unwrap();
        pwrite_all(&file, b"hello", 3).unwrap();
        let mut buffer = [9u8; 16];
        assert_eq!(pread(&file, &mut buffer, 0).unwrap(), 8);
        assert_eq!(&buffer[..8], b"\0\0\0hello");
        fallocate(&file, 0, 8192, true).unwrap();
        assert_eq!(file_size(&file).unwrap(), 8);
        truncate(&file, 4).unwrap();
        assert_eq!(file_size(&file).unwrap(), 4);
        assert!(is_resident(&file, 0, 4));
        sync_data(&file).unwrap();
        syncfs(&file).unwrap();
        direct_alignment(&file).unwrap();
        assert!(fs_info(dir.path()).unwrap().total_bytes > 0);
    }
}
