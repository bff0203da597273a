//! Files on the ring. Every operation is queued when the function is called, handed over with the shard's next enter,
//! and owns the file and its buffer until it is done; dropping the future cancels it.

use std::{
    future::Future,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

pub use super::aligned::{ALIGNMENT, AlignedBuf};
use super::{
    executor,
    op::Op,
    ops::{fsync::Fsync, read::Read, write::Write, writev::Writev},
};

/// An open file. Shared as `Arc<RawFile>`, between shards too: whoever holds it keeps it open.
#[derive(Debug)]
pub struct RawFile {
    fd: OwnedFd,
}

impl RawFile {
    pub fn new(fd: OwnedFd) -> RawFile {
        RawFile { fd }
    }
}

impl From<std::fs::File> for RawFile {
    fn from(file: std::fs::File) -> RawFile {
        RawFile { fd: file.into() }
    }
}

impl AsRawFd for RawFile {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for RawFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Bytes that an operation may point at while it owns them.
///
/// # Safety
/// `as_ref` always gives the same bytes at the same address, however the value moves.
pub unsafe trait StableBytes: AsRef<[u8]> + Unpin + 'static {}

// SAFETY: an allocation of its own, and nothing writes to it while the operation owns it.
unsafe impl StableBytes for AlignedBuf {}
// SAFETY: static, or reference-counted heap memory that is immutable.
unsafe impl StableBytes for Bytes {}
// SAFETY: heap memory of its own.
unsafe impl StableBytes for BytesMut {}
// SAFETY: heap memory of its own.
unsafe impl StableBytes for Vec<u8> {}
// SAFETY: static.
unsafe impl StableBytes for &'static [u8] {}

/// Reads at `position` into the whole capacity of the buffer, whose length becomes what was read: less at the end of
/// the file, and possibly elsewhere.
pub fn read_at(
    file: &Arc<RawFile>,
    mut buffer: AlignedBuf,
    position: u64,
) -> impl Future<Output = (io::Result<usize>, AlignedBuf)> + use<> {
    let shard = executor::current();
    let bytes = u32::try_from(buffer.capacity()).unwrap_or(1 << 30);
    let registered = shard.aligned.is_registered(buffer.as_mut_capacity());
    Op::start(&shard, Read { file: Arc::clone(file), buffer, bytes, position, registered })
}

/// Writes the buffer at `position`. May write less than all of it; the caller continues.
pub fn write_at<B: StableBytes>(
    file: &Arc<RawFile>,
    buffer: B,
    position: u64,
) -> impl Future<Output = (io::Result<usize>, B)> + use<B> {
    let shard = executor::current();
    let registered = shard.aligned.is_registered(buffer.as_ref());
    Op::start(&shard, Write { file: Arc::clone(file), buffer, position, registered, durable: false })
}

/// Writes the buffers one behind the other at `position`, the first 1024 of them at most. May write less than all.
pub fn writev_at(
    file: &Arc<RawFile>,
    buffers: Vec<Bytes>,
    position: u64,
) -> impl Future<Output = (io::Result<usize>, Vec<Bytes>)> + use<> {
    Op::start(
        &executor::current(),
        Writev { file: Arc::clone(file), buffers, pieces: Vec::new(), position, durable: false },
    )
}

/// As `write_at`, and what was written is on the device when it is done (RWF_DSYNC): one operation where a write and an
/// `fdatasync` would be two, worth it for a single small write.
pub fn write_durable_at<B: StableBytes>(
    file: &Arc<RawFile>,
    buffer: B,
    position: u64,
) -> impl Future<Output = (io::Result<usize>, B)> + use<B> {
    let shard = executor::current();
    let registered = shard.aligned.is_registered(buffer.as_ref());
    Op::start(&shard, Write { file: Arc::clone(file), buffer, position, registered, durable: true })
}

/// As `writev_at`, and what was written is on the device when it is done (RWF_DSYNC).
pub fn writev_durable_at(
    file: &Arc<RawFile>,
    buffers: Vec<Bytes>,
    position: u64,
) -> impl Future<Output = (io::Result<usize>, Vec<Bytes>)> + use<> {
    let pieces = Vec::new();
    Op::start(&executor::current(), Writev { file: Arc::clone(file), buffers, pieces, position, durable: true })
}

/// Makes the file's bytes, and of its metadata what is needed to read them, durable.
pub fn fdatasync(file: &Arc<RawFile>) -> impl Future<Output = io::Result<()>> + use<> {
    Op::start(&executor::current(), Fsync { file: Arc::clone(file), data_only: true })
}

/// Makes the file durable with all of its metadata.
pub fn fsync(file: &Arc<RawFile>) -> impl Future<Output = io::Result<()>> + use<> {
    Op::start(&executor::current(), Fsync { file: Arc::clone(file), data_only: false })
}
