//! `IORING_OP_WRITEV`: several buffers to a file, one behind the other.

use std::{io, sync::Arc};

use bytes::Bytes;
use io_uring::{opcode, squeue::Entry};

use crate::runtime::{
    file::RawFile,
    op::Operation,
    ring::{Completion, fd},
};

/// The kernel takes no more pieces than this in one call (UIO_MAXIOV).
pub(in crate::runtime) const PIECES_MAX: usize = 1024;

pub(in crate::runtime) struct Writev {
    pub file: Arc<RawFile>,
    pub buffers: Vec<Bytes>,
    pub pieces: Vec<libc::iovec>,
    pub position: u64,
    /// Done only when the bytes are on the device (RWF_DSYNC).
    pub durable: bool,
}

// SAFETY: the operation owns the file, the buffers and the array of pieces until completion. Array and bytes are heap
// memory that does not move with it, and `Bytes` never changes what it refers to.
unsafe impl Operation for Writev {
    type Output = (io::Result<usize>, Vec<Bytes>);

    fn entry(&mut self) -> Entry {
        self.pieces.clear();
        // More pieces than the kernel takes become a short write, which the caller continues.
        self.pieces.extend(
            self.buffers
                .iter()
                .take(PIECES_MAX)
                .map(|bytes| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }),
        );
        opcode::Writev::new(fd(&*self.file), self.pieces.as_ptr(), self.pieces.len() as u32)
            .offset(self.position)
            .rw_flags(super::write::dsync_flag(self.durable))
            .build()
    }

    fn complete(self, completion: Completion) -> Self::Output {
        (completion.count(), self.buffers)
    }
}
