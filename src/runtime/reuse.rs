//! Whether a file's blocks may be written over for another purpose: nobody else has it open, and it shares no block with
//! another file. Blocking calls, as in `fs`.

use std::{io, os::fd::AsRawFd};

use super::file::RawFile;
use super::fs::{self, FsKind};

/// Which signal tells of a broken lease (`fcntl(2)`).
const F_SETSIG: i32 = 10;

/// Whether any other open file description, of this process or another, is of the same file as `file`. The kernel says
/// it by granting a write lease or not; the lease is given back at once. Who opens the file by its name later is not
/// known.
///
/// # Errors
/// `file` is open for reading only, or the file system has no leases.
pub fn is_open_elsewhere(file: &RawFile) -> io::Result<bool> {
    // Whoever opens the file between the two calls has this process told by a signal. SIGIO, which it is by default,
    // would end the process; SIGURG is ignored.
    fcntl(file, F_SETSIG, libc::SIGURG)?;
    match fcntl(file, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
        Err(error) => return Err(error),
    }
    fcntl(file, libc::F_SETLEASE, libc::F_UNLCK)?;
    Ok(false)
}

fn fcntl(file: &RawFile, command: i32, argument: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open, and these commands take a number.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether files on this file system are written in place as far as it can be known.
pub fn writes_in_place(kind: FsKind) -> bool {
    #[cfg(test)]
    if super::observe::is_watched() {
        // The simulated disk does, whatever its files lie on.
        return true;
    }
    matches!(kind, FsKind::Ext4 | FsKind::Xfs)
}

/// `struct fiemap` with room for some extents (`linux/fiemap.h`).
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; EXTENTS_PER_CALL],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

const EXTENTS_PER_CALL: usize = 64;
/// `_IOWR('f', 11, struct fiemap)`, whose size does not count the extents.
const FS_IOC_FIEMAP: u64 = 0xc020_660b;
const FIEMAP_EXTENT_LAST: u32 = 0x1;
/// The place of the bytes is not known, or they are encoded or stored in metadata: not written in place.
const FIEMAP_EXTENT_ELSEWHERE: u32 = 0x2 | 0x8 | 0x80 | 0x200 | 0x400;
const FIEMAP_EXTENT_SHARED: u32 = 0x2000;

/// Whether a range of the file shares blocks with another file (a reflink or a snapshot), or lies where it cannot be
/// written in place. What is not written back yet counts as such: sync the file first.
///
/// # Errors
/// The file system cannot tell.
pub fn shares_blocks(file: &RawFile) -> io::Result<bool> {
    #[cfg(test)]
    if super::observe::is_watched() {
        return Ok(false);
    }
    let size = fs::file_size(file)?;
    let mut start = 0;
    while start < size {
        let none = FiemapExtent { logical: 0, physical: 0, length: 0, reserved64: [0; 2], flags: 0, reserved: [0; 3] };
        let mut map = Fiemap {
            start,
            length: size - start,
            flags: 0,
            mapped_extents: 0,
            extent_count: EXTENTS_PER_CALL as u32,
            reserved: 0,
            extents: [none; EXTENTS_PER_CALL],
        };
        // SAFETY: the structure is the one the request names, with as many extents behind it as it says, and outlives
        // the call.
        if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP as libc::Ioctl, &raw mut map) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let extents = map.extents.get(..map.mapped_extents as usize).unwrap_or_default();
        if extents.iter().any(|extent| extent.flags & (FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_ELSEWHERE) != 0) {
            return Ok(true);
        }
        match extents.last() {
            Some(last) if last.flags & FIEMAP_EXTENT_LAST == 0 => {
                start = start.saturating_add(1).max(last.logical.saturating_add(last.length));
            }
            _ => break,
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fs::{OpenFlags, open};

    fn dir() -> tempfile::TempDir {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp");
        std::fs::create_dir_all(&root).unwrap();
        tempfile::tempdir_in(root).unwrap()
    }

    #[test]
    fn any_other_open_description_is_noticed() {
        let dir = dir();
        let path = dir.path().join("segment");
        let file = open(&path, OpenFlags::CREATE).unwrap();
        assert!(!is_open_elsewhere(&file).unwrap());
        for flags in [OpenFlags::READ, OpenFlags::READ_WRITE] {
            let other = open(&path, flags).unwrap();
            assert!(is_open_elsewhere(&file).unwrap(), "{flags:?}");
            drop(other);
            assert!(!is_open_elsewhere(&file).unwrap(), "closed again");
        }
        let reader = open(&path, OpenFlags::READ).unwrap();
        assert!(is_open_elsewhere(&reader).is_err() || is_open_elsewhere(&reader).unwrap());
        // The lease is gone: this open does not wait for anybody.
        drop(open(&path, OpenFlags::READ_WRITE).unwrap());
    }

    #[test]
    fn a_file_of_its_own_shares_nothing() {
        let dir = dir();
        if !writes_in_place(fs::fs_info(dir.path()).unwrap().kind) {
            eprintln!("skipped: {} is on neither ext4 nor XFS", dir.path().display());
            return;
        }
        let file = open(&dir.path().join("segment"), OpenFlags::CREATE).unwrap();
        assert!(!shares_blocks(&file).unwrap(), "empty");
        // More extents than one call tells of.
        for at in 0..200 {
            fs::pwrite_all(&file, &[1; 4096], at * 12288).unwrap();
        }
        fs::fallocate(&file, 4096, 4096, false).unwrap();
        assert!(shares_blocks(&file).unwrap(), "its blocks are not known before they are written back");
        fs::sync_all(&file).unwrap();
        assert!(!shares_blocks(&file).unwrap());
    }
}
