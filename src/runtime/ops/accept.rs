//! `IORING_OP_ACCEPT`, with one or many completions.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::{FromRawFd, OwnedFd},
    rc::Rc,
    task::{Poll, Waker},
};

use io_uring::{opcode, squeue::Entry};

use crate::runtime::{
    driver::{Completions, Driver, OpId},
    options::Feature,
    ring::{Completion, fd},
};

/// Connections accepted ahead of the consumer; beyond it, they wait in the kernel's backlog.
const WAITING_MAX: usize = 64;

/// A listening socket, and the connections that came in on it.
pub(in crate::runtime) struct Accept {
    socket: OwnedFd,
    waiting: RefCell<VecDeque<OwnedFd>>,
    error: RefCell<Option<io::Error>>,
    armed: Cell<Option<OpId>>,
    multishot: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Accept {
    pub fn new(socket: OwnedFd, driver: &Driver) -> Rc<Accept> {
        Rc::new(Accept {
            socket,
            waiting: RefCell::default(),
            error: RefCell::default(),
            armed: Cell::new(None),
            multishot: Cell::new(driver.has(Feature::MultishotAccept)),
            waker: RefCell::default(),
        })
    }

    fn entry(&self) -> Entry {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        if self.multishot.get() {
            opcode::AcceptMulti::new(fd(&self.socket)).flags(flags).build()
        } else {
            opcode::Accept::new(fd(&self.socket), std::ptr::null_mut(), std::ptr::null_mut()).flags(flags).build()
        }
    }

    pub fn poll(self: &Rc<Self>, driver: &Driver, waker: &Waker) -> Poll<io::Result<OwnedFd>> {
        if let Some(socket) = self.waiting.borrow_mut().pop_front() {
            return Poll::Ready(Ok(socket));
        }
        if let Some(error) = self.error.borrow_mut().take() {
            return Poll::Ready(Err(error));
        }
        *self.waker.borrow_mut() = Some(waker.clone());
        if self.armed.get().is_none() {
            let entry = self.entry();
            // SAFETY: `self` owns the socket, the entry points at nothing else, and the driver holds `self`.
            let id = unsafe { driver.start_many(entry, Rc::clone(self) as Rc<dyn Completions>) };
            self.armed.set(Some(id));
        }
        Poll::Pending
    }

    /// Stops accepting. What was accepted already can still be taken.
    pub fn stop(&self, driver: &Driver) {
        if let Some(id) = self.armed.get() {
            driver.cancel(id);
        }
    }
}

impl Completions for Accept {
    fn complete(self: Rc<Self>, driver: &Driver, completion: Completion, more: bool) {
        if !more {
            self.armed.set(None);
        }
        match completion.result {
            raw if raw >= 0 => {
                // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
                let socket = unsafe { OwnedFd::from_raw_fd(raw) };
                let mut waiting = self.waiting.borrow_mut();
                waiting.push_back(socket);
                if more && waiting.len() >= WAITING_MAX {
                    self.stop(driver);
                }
            }
            result if result == -libc::EINVAL && self.multishot.get() => {
                // A kernel without the flag; the next arm is a plain one.
                self.multishot.set(false);
                driver.lose(Feature::MultishotAccept);
            }
            result if result == -libc::ECANCELED => {}
            result => *self.error.borrow_mut() = Some(io::Error::from_raw_os_error(-result)),
        }
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}
