//! `IORING_OP_READ` and `IORING_OP_READ_FIXED`: bytes of a file into an aligned buffer.

use std::{io, sync::Arc};

use io_uring::{opcode, squeue::Entry};

use crate::runtime::{aligned::AlignedBuf, file::RawFile, op::Operation, ring::Completion, ring::fd};

pub(in crate::runtime) struct Read {
    pub file: Arc<RawFile>,
    pub buffer: AlignedBuf,
    pub bytes: u32,
    pub position: u64,
    /// The buffer lies in the arena that is registered with the ring.
    pub registered: bool,
}

// SAFETY: the operation owns the file and the buffer until completion. The buffer's memory is an allocation of its own
// that does not move with it, and `bytes` is at most its capacity.
unsafe impl Operation for Read {
    type Output = (io::Result<usize>, AlignedBuf);

    fn entry(&mut self) -> Entry {
        let at = self.buffer.as_mut_capacity().as_mut_ptr();
        if self.registered {
            return opcode::ReadFixed::new(fd(&*self.file), at, self.bytes, 0).offset(self.position).build();
        }
        opcode::Read::new(fd(&*self.file), at, self.bytes).offset(self.position).build()
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        let result = completion.count();
        self.buffer.set_len(*result.as_ref().unwrap_or(&0));
        (result, self.buffer)
    }
}
