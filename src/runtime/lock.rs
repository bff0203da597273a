//! Locks on files, held until they are dropped or the process has come to its end, its rings included.
//!
//! A process that is killed leaves its descriptors before the kernel has taken its rings apart, and until then writes
//! that were in flight can still land. So every ring holds the locked file too ([`Runtime::hold`](super::Runtime::hold)):
//! both kinds of lock belong to the open file, not to the process, and go with the last that holds it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg};

use super::file::RawFile;
use super::fs::{OpenFlags, open_file};

/// A lock on a file, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct FileLock(Flock<File>);

impl FileLock {
    /// The open file that the lock belongs to, for a ring to hold.
    pub fn file(&self) -> io::Result<RawFile> {
        Ok(RawFile::new(self.0.as_fd().try_clone_to_owned()?))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Whoever drops it is done with writing; the rings that hold the file may be a while in going. The other kind
        // of lock is given up by its own drop.
        let _ = nix::fcntl::fcntl(self.0.as_fd(), FcntlArg::F_OFD_SETLK(&whole(libc::F_UNLCK)));
    }
}

fn whole(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

/// Takes the lock of a file, made if need be; `None` if another process holds it. Its content is left alone. Both kinds of
/// lock are taken: flock, and the record lock that Java's `FileChannel.tryLock`, and so Apache Kafka, asks for.
pub fn lock(path: &Path) -> io::Result<Option<FileLock>> {
    let file = open_file(path, OpenFlags { read: false, ..OpenFlags::CREATE })?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, error)) => return Err(error.into()),
    };
    record_lock(lock, libc::F_WRLCK)
}

/// Shares the lock of a file that is there, against those who take it alone, as a broker does; `None` if one has it.
/// Needs no right to write.
pub fn lock_shared(path: &Path) -> io::Result<Option<FileLock>> {
    let file = open_file(path, OpenFlags::READ)?;
    let lock = match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, error)) => return Err(error.into()),
    };
    record_lock(lock, libc::F_RDLCK)
}

/// Takes the record lock too, of the whole file.
fn record_lock(lock: Flock<File>, kind: i32) -> io::Result<Option<FileLock>> {
    match nix::fcntl::fcntl(lock.as_fd(), FcntlArg::F_OFD_SETLK(&whole(kind))) {
        // A file system without record locks still has the other kind.
        Ok(_) | Err(Errno::ENOLCK | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some(FileLock(lock))),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::runtime::{Runtime, RuntimeOptions};

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let first = lock(&path).unwrap();
        assert!(first.is_some());
        assert!(lock(&path).unwrap().is_none());
        drop(first);
        assert!(lock(&path).unwrap().is_some());
    }

    /// As the kernel does it when a process is killed: descriptors are closed, nothing is unlocked.
    fn close_without_unlocking(lock: FileLock) {
        let lock = std::mem::ManuallyDrop::new(lock);
        nix::unistd::close(lock.0.as_raw_fd()).unwrap();
    }

    #[test]
    fn a_ring_holds_a_lock_beyond_the_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let held = lock(&path).unwrap().unwrap();
        let runtime = Runtime::new(&RuntimeOptions::default()).unwrap();
        runtime.hold(&held.file().unwrap()).unwrap();
        close_without_unlocking(held);
        assert!(lock(&path).unwrap().is_none(), "the ring is there, and what it has in flight");
        drop(runtime);
        // The kernel takes rings apart behind our back.
        let mut tries = 0;
        while lock(&path).unwrap().is_none() {
            tries += 1;
            assert!(tries < 1000, "the ring is gone and the lock is not");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }

        let held = lock(&path).unwrap().unwrap();
        let runtime = Runtime::new(&RuntimeOptions::default()).unwrap();
        runtime.hold(&held.file().unwrap()).unwrap();
        drop(held);
        assert!(lock(&path).unwrap().is_some(), "who lets go of it does not wait for the ring");
    }
}
