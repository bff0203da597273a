//! `IORING_OP_SENDMSG`: several buffers to a socket in one go.

use std::{io, os::fd::OwnedFd, rc::Rc};

use bytes::Bytes;
use io_uring::{opcode, squeue::Entry};

use crate::runtime::{
    op::Operation,
    ring::{Completion, fd},
};

/// The message header and its pieces, at an address of their own.
pub(in crate::runtime) struct Message {
    header: libc::msghdr,
    pieces: Vec<libc::iovec>,
}

impl Default for Message {
    fn default() -> Message {
        // SAFETY: a msghdr of zeros is an empty message.
        Message { header: unsafe { std::mem::zeroed() }, pieces: Vec::new() }
    }
}

pub(in crate::runtime) struct SendMsg {
    pub socket: Rc<OwnedFd>,
    pub buffers: Vec<Bytes>,
    pub message: Box<Message>,
    /// Bytes of this operation; what the buffers hold beyond them is for the next.
    pub bytes_max: usize,
    pub flags: u32,
}

// SAFETY: the operation owns (a share of) the socket, the buffers and the boxed message until completion. Header,
// pieces and bytes are heap memory that does not move with it, and `Bytes` never changes what it refers to.
unsafe impl Operation for SendMsg {
    type Output = (io::Result<usize>, Vec<Bytes>, Box<Message>);

    fn entry(&mut self) -> Entry {
        let message = &mut *self.message;
        message.pieces.clear();
        let mut left = self.bytes_max;
        for bytes in self.buffers.iter().take(super::writev::PIECES_MAX) {
            let len = bytes.len().min(left);
            left -= len;
            message.pieces.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: len });
            if left == 0 {
                break;
            }
        }
        message.header.msg_iov = message.pieces.as_mut_ptr();
        message.header.msg_iovlen = message.pieces.len() as _;
        opcode::SendMsg::new(fd(&*self.socket), &raw const message.header).flags(self.flags).build()
    }

    fn complete(self, completion: Completion) -> Self::Output {
        (completion.count(), self.buffers, self.message)
    }
}
