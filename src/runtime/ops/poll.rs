//! `IORING_OP_POLL_ADD`: waits until a descriptor is ready.

use std::{io, os::fd::AsRawFd, rc::Rc};

use io_uring::{opcode, squeue::Entry};

use crate::runtime::{
    op::Operation,
    ring::{Completion, fd},
};

pub(in crate::runtime) struct Poll<F> {
    pub on: Rc<F>,
    /// POLLIN, POLLOUT.
    pub events: i16,
}

// SAFETY: the operation owns (a share of) the descriptor until completion and points at no memory.
unsafe impl<F: AsRawFd + 'static> Operation for Poll<F> {
    type Output = io::Result<()>;

    fn entry(&mut self) -> Entry {
        opcode::PollAdd::new(fd(&*self.on), self.events as u16 as u32).build()
    }

    fn complete(self, completion: Completion) -> Self::Output {
        completion.count().map(drop)
    }
}
