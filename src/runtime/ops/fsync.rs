//! `IORING_OP_FSYNC`: makes a file durable.

use std::{io, sync::Arc};

use io_uring::{opcode, squeue::Entry, types::FsyncFlags};

use crate::runtime::{
    file::RawFile,
    op::Operation,
    ring::{Completion, fd},
};

pub(in crate::runtime) struct Fsync {
    pub file: Arc<RawFile>,
    /// Without the times of the file (fdatasync).
    pub data_only: bool,
}

// SAFETY: the operation owns the file until completion and points at no memory.
unsafe impl Operation for Fsync {
    type Output = io::Result<()>;

    fn entry(&mut self) -> Entry {
        let flags = if self.data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
        opcode::Fsync::new(fd(&*self.file)).flags(flags).build()
    }

    fn complete(self, completion: Completion) -> Self::Output {
        completion.count().map(drop)
    }
}
