//! The recorded disk: a FUSE file system of one file, which a loop device has as its backing.
//!
//! The loop driver gives every block write of the file system above to this file with direct I/O, every flush as an
//! fsync, and every discard as a fallocate that punches a hole. It offers no FUA, so the block layer makes of a FUA
//! write a write with a flush behind it. Answers are held back for a random moment now and then, and overtake each
//! other: so writes are in flight when flushes come, and those flushes do not cover them.

use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, Session, WriteFlags,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::oplog::{Event, OpLog};

const FILE_NAME: &str = "disk";
const FILE_INODE: INodeNo = INodeNo(2);
const ATTRIBUTES_TTL: Duration = Duration::from_secs(3600);

/// One block request of the file systems used here is hardly larger.
const WRITE_BYTES_MAX: u32 = 1 << 20;

/// The longest that an answer is held back.
const DELAY_MAX: Duration = Duration::from_millis(3);

struct State {
    image: Vec<u8>,
    log: OpLog,
    random: StdRng,
}

struct Shared {
    state: Mutex<State>,
    position: Arc<AtomicU64>,
    bytes: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the disk panics")
    }

    fn note(&self, state: &mut State, event: Event) -> u64 {
        let at = state.log.push(event);
        self.position.store(at + 1, Ordering::SeqCst);
        at
    }
}

/// An answer that is held back.
struct Held {
    due: Instant,
    answer: Answer,
    of: u64,
}

enum Answer {
    Write(ReplyWrite, u32),
    Zero(ReplyEmpty),
    Flush(ReplyEmpty),
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.due == other.due
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    /// The earliest is the greatest, for a heap that gives the greatest first.
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

struct Disk {
    shared: Arc<Shared>,
    held: Sender<Held>,
}

impl Disk {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_file = inode == FILE_INODE;
        FileAttr {
            ino: inode,
            size: if is_file { self.shared.bytes } else { 0 },
            blocks: if is_file { self.shared.bytes / 512 } else { 0 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Answers now or, for some, a moment later.
    fn answer(&self, mut state: MutexGuard<'_, State>, answer: Answer, of: u64) {
        let hold = match answer {
            Answer::Flush(_) => state.random.random_bool(0.3),
            Answer::Write(..) | Answer::Zero(_) => state.random.random_bool(0.1),
        };
        if hold {
            let nanos = state.random.random_range(0..DELAY_MAX.as_nanos() as u64);
            let held = Held { due: Instant::now() + Duration::from_nanos(nanos), answer, of };
            drop(state);
            // The thread that answers ends only when this sender is gone.
            let _ = self.held.send(held);
        } else {
            self.shared.finish(state, answer, of);
        }
    }
}

impl Shared {
    /// Notes that something is done and only then says so.
    fn finish(&self, mut state: MutexGuard<'_, State>, answer: Answer, of: u64) {
        match answer {
            Answer::Write(reply, written) => {
                self.note(&mut state, Event::Done { of });
                drop(state);
                reply.written(written);
            }
            Answer::Zero(reply) => {
                self.note(&mut state, Event::Done { of });
                drop(state);
                reply.ok();
            }
            Answer::Flush(reply) => {
                self.note(&mut state, Event::Flushed { of });
                drop(state);
                reply.ok();
            }
        }
    }
}

fn answer_later(shared: &Shared, held: &Receiver<Held>) {
    let mut waiting: BinaryHeap<Held> = BinaryHeap::new();
    loop {
        let next = match waiting.peek() {
            Some(first) => held.recv_timeout(first.due.saturating_duration_since(Instant::now())),
            None => held.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(one) => waiting.push(one),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if waiting.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(1)),
        }
        while waiting.peek().is_some_and(|first| first.due <= Instant::now()) {
            if let Some(one) = waiting.pop() {
                shared.finish(shared.lock(), one.answer, one.of);
            }
        }
    }
}

impl Filesystem for Disk {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Without asynchronous direct I/O the loop driver would have one write in flight at a time.
        if config.add_capabilities(InitFlags::FUSE_ASYNC_DIO).is_err() {
            return Err(io::Error::other("FUSE has no asynchronous direct I/O"));
        }
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == FILE_NAME {
            reply.entry(&ATTRIBUTES_TTL, &self.attributes(FILE_INODE), fuser::Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&ATTRIBUTES_TTL, &self.attributes(inode));
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<fuser::TimeOrNow>,
        _mtime: Option<fuser::TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.attr(&ATTRIBUTES_TTL, &self.attributes(inode));
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // close(2), not a flush of the device.
        reply.ok();
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let end = (offset + u64::from(size)).min(self.shared.bytes);
        let start = offset.min(end);
        reply.data(&self.shared.lock().image[start as usize..end as usize]);
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset + data.len() as u64 > self.shared.bytes {
            reply.error(Errno::ENOSPC);
            return;
        }
        let mut state = self.shared.lock();
        state.image[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        let at = state.log.push_write(offset, data);
        self.shared.position.store(at + 1, Ordering::SeqCst);
        self.answer(state, Answer::Write(reply, data.len() as u32), at);
    }

    fn fsync(&self, _request: &Request, _inode: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        let mut state = self.shared.lock();
        let at = self.shared.note(&mut state, Event::Flush);
        self.answer(state, Answer::Flush(reply), at);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const PUNCH_HOLE: i32 = 0x02;
        const ZERO_RANGE: i32 = 0x10;
        if mode & (PUNCH_HOLE | ZERO_RANGE) == 0 || offset + length > self.shared.bytes {
            reply.error(Errno::EOPNOTSUPP);
            return;
        }
        let mut state = self.shared.lock();
        state.image[offset as usize..(offset + length) as usize].fill(0);
        let at = self.shared.note(&mut state, Event::Zero { offset, len: length });
        self.answer(state, Answer::Zero(reply), at);
    }
}

/// A disk that is being recorded, mounted at a directory.
pub struct RecordedDisk {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    file: PathBuf,
}

impl RecordedDisk {
    /// Offers `image` as a file below `dir`, and records from now on. `seed` decides which answers are held back.
    pub fn start(image: Vec<u8>, dir: &Path, seed: u64) -> Result<RecordedDisk> {
        let bytes = image.len() as u64;
        let state = State { image, log: OpLog::default(), random: StdRng::seed_from_u64(seed) };
        let shared = Arc::new(Shared { state: Mutex::new(state), position: Arc::default(), bytes });
        let (sender, receiver) = channel();
        let disk = Disk { shared: shared.clone(), held: sender };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powercut".to_owned())];
        let session = Session::new(disk, dir, &config).context("mounting the recorded disk with FUSE")?;
        let answering = shared.clone();
        thread::Builder::new().name("disk-answers".to_owned()).spawn(move || answer_later(&answering, &receiver))?;
        let session = session.spawn().context("serving the recorded disk")?;
        Ok(RecordedDisk { shared, session: Some(session), file: dir.join(FILE_NAME) })
    }

    /// What a loop device takes as its backing.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where the log is, readable by whoever notes something.
    pub fn position(&self) -> Arc<AtomicU64> {
        self.shared.position.clone()
    }

    pub fn flushes(&self) -> usize {
        self.shared.lock().log.counts().flushes
    }

    /// Ends the recording; nothing may have the file open any more.
    pub fn finish(mut self) -> Result<OpLog> {
        if let Some(session) = self.session.take() {
            session.umount_and_join().context("unmounting the recorded disk")?;
        }
        Ok(std::mem::take(&mut self.shared.lock().log))
    }
}
