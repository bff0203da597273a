//! `IORING_OP_CONNECT`.

use std::{io, os::fd::OwnedFd, rc::Rc};

use io_uring::{opcode, squeue::Entry};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use crate::runtime::{
    op::Operation,
    ring::{Completion, fd},
};

pub(in crate::runtime) struct Connect {
    pub socket: Rc<OwnedFd>,
    pub to: Box<SockaddrStorage>,
}

// SAFETY: the operation owns the socket and the boxed address until completion.
unsafe impl Operation for Connect {
    type Output = io::Result<()>;

    fn entry(&mut self) -> Entry {
        opcode::Connect::new(fd(&*self.socket), self.to.as_ptr(), self.to.len()).build()
    }

    fn complete(self, completion: Completion) -> Self::Output {
        completion.count().map(drop)
    }
}
