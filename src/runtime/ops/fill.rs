//! `IORING_OP_RECV` straight into memory of the caller's, for who knows how much is to come: saves the copy out of a
//! provided buffer.

use std::{io, os::fd::OwnedFd, rc::Rc};

use bytes::BytesMut;
use io_uring::{opcode, squeue::Entry};

use crate::runtime::{op::Operation, ring::Completion, ring::fd};

pub(in crate::runtime) struct Fill {
    socket: Rc<OwnedFd>,
    buffer: BytesMut,
    bytes: u32,
}

impl Fill {
    /// Receives up to `bytes` bytes behind those in `buffer`, no more than it has room for without growing.
    pub fn new(socket: Rc<OwnedFd>, buffer: BytesMut, bytes: usize) -> Fill {
        let room = buffer.capacity() - buffer.len();
        Fill { socket, buffer, bytes: u32::try_from(bytes.min(room)).unwrap_or(u32::MAX) }
    }
}

// SAFETY: the operation owns the socket and the buffer until completion. The buffer's memory is an allocation of its own
// that does not move with it, and `bytes` is at most what it has room for behind its length.
unsafe impl Operation for Fill {
    type Output = (io::Result<usize>, BytesMut);

    fn entry(&mut self) -> Entry {
        let at = self.buffer.spare_capacity_mut().as_mut_ptr().cast();
        // WAITALL has the kernel go on after a part of it: one completion for all.
        opcode::Recv::new(fd(&*self.socket), at, self.bytes).flags(libc::MSG_WAITALL).build()
    }

    fn complete(mut self, completion: Completion) -> Self::Output {
        let result = completion.count().map(|count| count.min(self.bytes as usize));
        let received = *result.as_ref().unwrap_or(&0);
        // SAFETY: the kernel has written so many bytes behind the length, and there is room for them.
        unsafe { self.buffer.set_len(self.buffer.len() + received) };
        (result, self.buffer)
    }
}
