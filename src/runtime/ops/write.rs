//! `IORING_OP_WRITE` and `IORING_OP_WRITE_FIXED`: one buffer to a file.

use std::{io, sync::Arc};

use io_uring::{opcode, squeue::Entry};

use crate::runtime::{
    file::{RawFile, StableBytes},
    op::Operation,
    ring::{Completion, fd},
};

pub(in crate::runtime) struct Write<B> {
    pub file: Arc<RawFile>,
    pub buffer: B,
    pub position: u64,
    /// The buffer lies in the arena that is registered with the ring.
    pub registered: bool,
    /// Done only when the bytes are on the device (RWF_DSYNC).
    pub durable: bool,
}

// SAFETY: the operation owns the file and the buffer until completion; `StableBytes` promises that the bytes neither
// move with the buffer nor change while it is owned here.
unsafe impl<B: StableBytes> Operation for Write<B> {
    type Output = (io::Result<usize>, B);

    fn entry(&mut self) -> Entry {
        let bytes = self.buffer.as_ref();
        // A longer buffer becomes a short write, which the caller continues.
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(1 << 30);
        let flags = dsync_flag(self.durable);
        if self.registered {
            let write = opcode::WriteFixed::new(fd(&*self.file), bytes.as_ptr(), count, 0);
            return write.offset(self.position).rw_flags(flags).build();
        }
        opcode::Write::new(fd(&*self.file), bytes.as_ptr(), count).offset(self.position).rw_flags(flags).build()
    }

    fn complete(self, completion: Completion) -> Self::Output {
        (completion.count(), self.buffer)
    }
}

pub(super) fn dsync_flag(durable: bool) -> i32 {
    if durable { libc::RWF_DSYNC } else { 0 }
}
