//! Changes of files by blocking calls, told to whoever watches them on this thread. The double for a power cut is told
//! of everything that a device may take back, and decides when a helper's call runs and what the clock says. Nobody watches
//! outside of unit tests: there all of this is compiled to the call alone.

#[cfg(not(test))]
use std::io;
use std::path::PathBuf;

/// One change of a directory or file. Files that are open are named by their inode's number.
#[derive(Clone, Debug)]
pub enum FsChange {
    /// A file was opened that is made if it is not there.
    Create(PathBuf),
    MakeDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveDir(PathBuf),
    RemoveDirAll(PathBuf),
    SyncDir(PathBuf),
    /// The size is set, to less or to more.
    Resize {
        inode: u64,
        bytes: u64,
    },
    /// Room is reserved, and the size grows to its end unless it is kept.
    Allocate {
        inode: u64,
        position: u64,
        bytes: u64,
        keep_size: bool,
    },
    ZeroRange {
        inode: u64,
        position: u64,
        bytes: u64,
    },
    Write {
        inode: u64,
        position: u64,
        data: Vec<u8>,
    },
    /// `data_only` is fdatasync.
    Sync {
        inode: u64,
        data_only: bool,
    },
    SyncFs,
}

#[cfg(not(test))]
#[inline]
pub(super) fn observed<T>(_: impl FnOnce() -> FsChange, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

#[cfg(test)]
pub use watched::*;

#[cfg(test)]
mod watched {
    use std::{
        cell::{Cell, RefCell},
        io,
        os::fd::AsFd,
        rc::Rc,
    };

    use super::FsChange;

    /// Who watches.
    pub trait FsObserver {
        /// Before the call; an error takes its place.
        fn before(&self, change: &FsChange) -> io::Result<()>;
        /// After the call, which was successful.
        fn after(&self, change: FsChange);
        /// After how many turns of the loop an offloaded call runs.
        fn pause(&self) -> u32;
    }

    thread_local! {
        static OBSERVER: RefCell<Option<Rc<dyn FsObserver>>> = const { RefCell::new(None) };
        /// Milliseconds since the watch began.
        static CLOCK_MS: Cell<u64> = const { Cell::new(0) };
    }

    /// Watches this thread until it is dropped.
    pub struct Watch(());

    impl Watch {
        pub fn begin(observer: Rc<dyn FsObserver>) -> Watch {
            let before = OBSERVER.replace(Some(observer));
            assert!(before.is_none(), "one watches at a time");
            CLOCK_MS.set(0);
            Watch(())
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            OBSERVER.set(None);
        }
    }

    fn observer() -> Option<Rc<dyn FsObserver>> {
        OBSERVER.with_borrow(Option::clone)
    }

    pub fn is_watched() -> bool {
        OBSERVER.with_borrow(Option::is_some)
    }

    /// Runs calls that nobody is to be told of.
    pub fn unobserved<T>(call: impl FnOnce() -> T) -> T {
        let observer = OBSERVER.take();
        let result = call();
        OBSERVER.set(observer);
        result
    }

    pub(in super::super) fn observed<T>(
        change: impl FnOnce() -> FsChange,
        call: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(observer) = observer() else { return call() };
        let change = change();
        observer.before(&change)?;
        let value = call()?;
        observer.after(change);
        Ok(value)
    }

    pub fn inode(file: &impl AsFd) -> u64 {
        nix::sys::stat::fstat(file).map_or(0, |stat| stat.st_ino)
    }

    /// While somebody watches an offloaded call runs on the shard's thread, after so many turns.
    pub(in super::super) fn pause() -> Option<u32> {
        observer().map(|observer| observer.pause())
    }

    /// While somebody watches the clock goes on by a millisecond whenever it is read, and says the same in each run.
    pub(in super::super) fn clock_ms() -> Option<u64> {
        observer().map(|_| {
            CLOCK_MS.set(CLOCK_MS.get() + 1);
            CLOCK_MS.get()
        })
    }

    /// Lets time pass.
    pub fn advance_ms(by: u64) {
        CLOCK_MS.set(CLOCK_MS.get() + by);
    }
}

/// The inode's number, for the observer.
#[cfg(not(test))]
#[inline]
pub fn inode(_: &impl std::os::fd::AsFd) -> u64 {
    0
}
