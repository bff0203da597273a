//! `IORING_OP_RECV`: what a connection receives, by one of three ways that the rest of the runtime cannot tell apart.
//!
//! - multishot: one operation, a completion with a provided buffer for whatever arrives;
//! - one at a time, with a provided buffer; also while a connection sends large requests, of which then only the
//!   beginning is received so and the rest straight into place (`Fill`);
//! - without provided buffers: wait for POLLIN, then recv(2) into a buffer of the thread's own.
//!
//! Back-pressure: when a consumer does not take what has arrived, the operation is cancelled, or not repeated, and the
//! kernel's socket buffer fills up, which stops the peer.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, OwnedFd},
    rc::{Rc, Weak},
    task::{Poll, Waker},
};

use bytes::Bytes;
use io_uring::{opcode, squeue::Entry, squeue::Flags};

use crate::runtime::{
    driver::{Completions, Driver, OpId},
    options::Feature,
    recv_buffers::{GROUP, RecvBuffers, RecvChunk, Starved},
    ring::{Completion, fd},
};

/// Arrived and not taken: beyond this the receive is stopped, to go on when all of it was taken.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// What is received ahead of a large request to see how large it is: the less, the less is copied again.
const BULK_BEGINNING_BYTES: u32 = 4 * 1024;

/// Size of one plain recv(2).
const PLAIN_BYTES: usize = 64 * 1024;

thread_local! {
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

enum End {
    Closed,
    Failed(i32),
}

/// The receiving side of a connection.
pub(in crate::runtime) struct Receive {
    socket: Rc<OwnedFd>,
    buffers: Option<Rc<RecvBuffers>>,
    waiting: RefCell<VecDeque<RecvChunk>>,
    waiting_bytes: Cell<usize>,
    end: RefCell<Option<End>>,
    armed: Cell<Option<OpId>>,
    /// A cancel is on its way.
    stopping: Cell<bool>,
    starved: Cell<bool>,
    multishot: Cell<bool>,
    /// Large requests come one after the other.
    bulk: Cell<bool>,
    heard: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Receive {
    pub fn new(socket: Rc<OwnedFd>, driver: &Driver, buffers: Option<Rc<RecvBuffers>>) -> Rc<Receive> {
        Rc::new(Receive {
            socket,
            buffers,
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            end: RefCell::default(),
            armed: Cell::new(None),
            stopping: Cell::new(false),
            starved: Cell::new(false),
            multishot: Cell::new(driver.has(Feature::MultishotRecv)),
            bulk: Cell::new(false),
            heard: Cell::new(0),
            waker: RefCell::default(),
        })
    }

    pub fn set_bulk(&self, bulk: bool) {
        self.bulk.set(bulk);
    }

    /// Whether what arrives next may be received by somebody else, as long as `poll` is not called: nothing waits here,
    /// and no operation is on its way. `None` if it may soon; the waker is told.
    pub fn poll_idle(&self, driver: &Driver, waker: &Waker) -> Poll<bool> {
        if self.buffers.is_none() || self.end.borrow().is_some() || !self.waiting.borrow().is_empty() {
            return Poll::Ready(false);
        }
        if self.starved.get() {
            // Whoever relieves it starts a receive.
            return Poll::Ready(false);
        }
        if self.armed.get().is_none() {
            return Poll::Ready(true);
        }
        self.stop(driver);
        *self.waker.borrow_mut() = Some(waker.clone());
        Poll::Pending
    }

    fn entry(&self) -> Entry {
        let socket = fd(&*self.socket);
        if self.buffers.is_none() {
            opcode::PollAdd::new(socket, (libc::POLLIN | libc::POLLRDHUP) as u32).build()
        } else if self.multishot.get() && !self.bulk.get() {
            opcode::RecvMulti::new(socket, GROUP).build()
        } else {
            // A length of 0 stands for the whole provided buffer.
            let bytes = if self.bulk.get() { BULK_BEGINNING_BYTES } else { 0 };
            opcode::Recv::new(socket, std::ptr::null_mut(), bytes).buf_group(GROUP).build().flags(Flags::BUFFER_SELECT)
        }
    }

    fn arm(self: &Rc<Self>, driver: &Driver) {
        let entry = self.entry();
        // SAFETY: `self` owns the socket, the entry points at no memory of ours but through the provided buffers, which
        // outlive the ring; the driver holds `self` until the last completion.
        let id = unsafe { driver.start_many(entry, Rc::clone(self) as Rc<dyn Completions>) };
        self.armed.set(Some(id));
        self.stopping.set(false);
    }

    pub fn poll(self: &Rc<Self>, driver: &Driver, waker: &Waker) -> Poll<io::Result<RecvChunk>> {
        if let Some(chunk) = self.waiting.borrow_mut().pop_front() {
            self.waiting_bytes.set(self.waiting_bytes.get() - chunk.len());
            return Poll::Ready(Ok(chunk));
        }
        match &*self.end.borrow() {
            Some(End::Closed) => return Poll::Ready(Ok(RecvChunk::end_of_stream())),
            Some(End::Failed(errno)) => return Poll::Ready(Err(io::Error::from_raw_os_error(*errno))),
            None => {}
        }
        {
            let mut waiting = self.waker.borrow_mut();
            match &*waiting {
                Some(old) if old.will_wake(waker) => {}
                _ => *waiting = Some(waker.clone()),
            }
        }
        if self.armed.get().is_none() && !self.starved.get() {
            self.arm(driver);
        }
        Poll::Pending
    }

    /// Whether the peer has ended or the connection is broken, and nothing that came before is left to take. Where no
    /// multishot operation is there to tell, one receive is started ahead of the next `poll`, which then finds it.
    pub fn poll_end(self: &Rc<Self>, driver: &Driver, waker: &Waker) -> Poll<()> {
        let nothing_waits = self.waiting.borrow().is_empty();
        if self.end.borrow().is_some() && nothing_waits {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(waker.clone());
        if nothing_waits && self.armed.get().is_none() && !self.starved.get() {
            self.arm(driver);
        }
        Poll::Pending
    }

    /// Has the kernel receive no more for now.
    pub fn stop(&self, driver: &Driver) {
        if let Some(id) = self.armed.get()
            && !self.stopping.replace(true)
        {
            driver.cancel(id);
        }
    }

    /// Drops what waits and takes no more.
    pub fn discard(&self, driver: &Driver) {
        *self.end.borrow_mut() = Some(End::Closed);
        let waker = self.waker.borrow_mut().take();
        drop(waker);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(waiting);
        self.waiting_bytes.set(0);
        self.stop(driver);
    }

    fn finish(&self, end: End) {
        let mut slot = self.end.borrow_mut();
        if slot.is_none() {
            *slot = Some(end);
        }
    }

    fn add(&self, chunk: RecvChunk) {
        if self.end.borrow().is_some() {
            return;
        }
        self.waiting_bytes.set(self.waiting_bytes.get() + chunk.len());
        self.waiting.borrow_mut().push_back(chunk);
    }

    fn receive_plain(&self) -> io::Result<Bytes> {
        PLAIN.with(|buffer| {
            let mut buffer = buffer.borrow_mut();
            buffer.resize(PLAIN_BYTES, 0);
            // SAFETY: the buffer is as long as we say and borrowed mutably during the call.
            let count = unsafe {
                libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
            };
            if count < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Bytes::copy_from_slice(buffer.get(..count as usize).unwrap_or_default()))
        })
    }

    fn complete_poll(&self, completion: Completion) {
        if completion.result == -libc::ECANCELED {
            return;
        }
        if completion.result < 0 {
            return self.finish(End::Failed(-completion.result));
        }
        match self.receive_plain() {
            Ok(bytes) if bytes.is_empty() => self.finish(End::Closed),
            Ok(bytes) => self.add(RecvChunk::copied(bytes)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => self.finish(End::Failed(error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    fn complete_recv(self: &Rc<Self>, driver: &Driver, buffers: &Rc<RecvBuffers>, completion: Completion) {
        let count = completion.result;
        // The kernel may name a buffer that it then had nothing to put into.
        let chunk = completion.buffer().map(|id| buffers.take(id, count.max(0) as usize));
        match count {
            1.. => {
                if let Some(chunk) = chunk {
                    self.add(chunk);
                }
            }
            0 => self.finish(End::Closed),
            _ if count == -libc::ENOBUFS => {
                self.starved.set(true);
                let me: Weak<Receive> = Rc::downgrade(self);
                buffers.starve(me);
                self.release_buffers();
            }
            _ if count == -libc::EINVAL && self.multishot.get() => {
                self.multishot.set(false);
                driver.lose(Feature::MultishotRecv);
            }
            _ if count == -libc::ECANCELED => {}
            _ => self.finish(End::Failed(-count)),
        }
    }
}

impl Completions for Receive {
    fn complete(self: Rc<Self>, driver: &Driver, completion: Completion, more: bool) {
        if !more {
            self.armed.set(None);
            self.stopping.set(false);
        }
        driver.heard_from(&self.heard);
        match self.buffers.clone() {
            Some(buffers) => self.complete_recv(driver, &buffers, completion),
            None => self.complete_poll(completion),
        }
        if self.waiting_bytes.get() >= WAITING_BYTES_MAX {
            // The consumer lags. It shall hold back its own peer, not the shard's other connections.
            self.stop(driver);
            if self.armed.get().is_none() {
                self.release_buffers();
            }
        }
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        } else if self.armed.get().is_none() && !self.waiting.borrow().is_empty() {
            // Nobody may come for this in a while, and no operation is there any more through which it could be asked
            // to give up the buffers.
            self.release_buffers();
        }
    }

    fn release_buffers(&self) {
        for chunk in self.waiting.borrow_mut().iter_mut() {
            chunk.detach();
        }
    }
}

impl Starved for Receive {
    fn resume(self: Rc<Self>, driver: &Driver) {
        self.starved.set(false);
        if self.armed.get().is_none() && self.end.borrow().is_none() && self.waiting.borrow().is_empty() {
            self.arm(driver);
        }
    }
}
