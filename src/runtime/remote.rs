//! How other threads reach a shard: a queue of woken tasks, a flag for the inboxes, and a doorbell for when it sleeps.
//!
//! A shard that is about to sleep sets `sleeping`, then looks at the queues once more; whoever fills a queue looks at
//! `sleeping` afterwards. With a fence in between on both sides at least one of them sees the other, so no wake is
//! lost, and a shard that is awake costs its peers no system call.

use std::{
    cell::RefCell,
    future::Future,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering, fence},
    },
};

use async_task::Runnable;
use io_uring::opcode;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{
    driver::{Completions, Driver},
    executor,
    ring::Completion,
};

pub(super) enum RemoteWork {
    Run(Runnable),
    Call(Box<dyn FnOnce() + Send>),
}

struct Queue {
    work: Vec<RemoteWork>,
    closed: bool,
}

/// The part of a shard that other threads touch.
pub(super) struct Remote {
    queue: Mutex<Queue>,
    /// The queue is not empty.
    queued: AtomicBool,
    /// An inbox (mesh, channel) of the shard was filled.
    inbox: AtomicBool,
    sleeping: AtomicBool,
    eventfd: EventFd,
    /// A descriptor of the shard's ring for MSG_RING, valid as long as this lives.
    ring: OwnedFd,
}

impl Remote {
    pub fn new(ring: BorrowedFd<'_>) -> io::Result<Arc<Remote>> {
        // Blocking: the read on the ring waits for the doorbell instead of failing.
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        Ok(Arc::new(Remote {
            queue: Mutex::new(Queue { work: Vec::new(), closed: false }),
            queued: AtomicBool::new(false),
            inbox: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            eventfd,
            ring: ring.try_clone_to_owned()?,
        }))
    }

    pub fn push(self: &Arc<Self>, work: RemoteWork) {
        {
            let mut queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if queue.closed {
                // The runtime is gone. Its task's future is, too, or belongs to a thread that is not this one.
                if let RemoteWork::Run(runnable) = work {
                    std::mem::forget(runnable);
                }
                return;
            }
            queue.work.push(work);
            self.queued.store(true, Ordering::Release);
        }
        self.wake();
    }

    /// Tells the shard that one of its inboxes was filled.
    pub fn notify_inbox(self: &Arc<Self>) {
        self.inbox.store(true, Ordering::Release);
        self.wake();
    }

    /// Rings if the shard sleeps. What it is to find must have been stored before.
    pub fn wake(self: &Arc<Self>) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel) {
            executor::ring_from_here(self);
        }
    }

    /// Rings by a system call.
    pub fn ring_eventfd(&self) {
        // Fails only when the counter is full, and then the shard is being woken anyway.
        let _ = self.eventfd.write(1);
    }

    pub fn ring_fd(&self) -> &OwnedFd {
        &self.ring
    }

    pub fn fall_asleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn stay_awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    pub fn has_work(&self) -> bool {
        self.has_queued() || self.inbox.load(Ordering::Acquire)
    }

    pub fn has_queued(&self) -> bool {
        self.queued.load(Ordering::Acquire)
    }

    pub fn take_inbox(&self) -> bool {
        self.inbox.load(Ordering::Relaxed) && self.inbox.swap(false, Ordering::AcqRel)
    }

    pub fn take(&self) -> Vec<RemoteWork> {
        let mut queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.queued.store(false, Ordering::Release);
        std::mem::take(&mut queue.work)
    }

    pub fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        queue.closed = true;
        for work in queue.work.drain(..) {
            if let RemoteWork::Run(runnable) = work {
                std::mem::forget(runnable);
            }
        }
    }
}

/// The read of the eventfd that always waits on the shard's ring.
pub(super) struct Doorbell {
    remote: Arc<Remote>,
    // The kernel writes here; a heap allocation of its own, so that nothing else is ever borrowed over it.
    count: RefCell<Box<[u8; 8]>>,
}

impl Doorbell {
    pub fn arm(driver: &Driver, remote: &Arc<Remote>) {
        let doorbell = Rc::new(Doorbell { remote: Arc::clone(remote), count: RefCell::new(Box::new([0; 8])) });
        doorbell.start(driver);
    }

    fn start(self: Rc<Self>, driver: &Driver) {
        let at = self.count.borrow_mut().as_mut_ptr();
        let fd = io_uring::types::Fd(self.remote.eventfd.as_fd_raw());
        // SAFETY: `self` owns the eight bytes and, through `remote`, the eventfd; the driver holds it until the end.
        unsafe { driver.start_many(opcode::Read::new(fd, at, 8).build(), self) };
    }
}

impl Completions for Doorbell {
    fn complete(self: Rc<Self>, driver: &Driver, completion: Completion, _more: bool) {
        if completion.result == -libc::ECANCELED {
            return;
        }
        self.start(driver);
    }
}

trait AsFdRaw {
    fn as_fd_raw(&self) -> RawFd;
}

impl AsFdRaw for EventFd {
    fn as_fd_raw(&self) -> RawFd {
        use std::os::fd::AsFd;
        self.as_fd().as_raw_fd()
    }
}

/// A way to reach a shard from any thread.
#[derive(Clone)]
pub struct Handle {
    pub(super) remote: Arc<Remote>,
}

impl Handle {
    pub(super) fn new(remote: Arc<Remote>) -> Handle {
        Handle { remote }
    }

    /// Runs `call` on the shard's thread, between two tasks. Nothing happens if the shard has ended.
    pub fn call(&self, call: impl FnOnce() + Send + 'static) {
        self.remote.push(RemoteWork::Call(Box::new(call)));
    }

    /// Starts, on the shard's thread, a task whose future `make` builds there.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.call(move || drop(executor::spawn(make())));
    }
}
