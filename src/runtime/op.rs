//! The future of an operation with one completion.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use io_uring::squeue::Entry;

use super::{
    driver::{Abandoned, OpId},
    executor::Shard,
    ring::Completion,
};

/// An operation of the ring: what it owns, how its entry looks, what its completion means.
///
/// # Safety
/// The entry may point only at memory and descriptors that the value owns and keeps valid, and at addresses that do not
/// change when the value moves (heap allocations, reference-counted memory), until `complete` is called.
pub(super) unsafe trait Operation: Unpin + 'static {
    type Output;

    /// Whether dropping the future asks the kernel to stop the operation.
    const CANCEL: bool = true;

    fn entry(&mut self) -> Entry;

    /// Also called, and its result dropped, when nobody waits any more: whatever the kernel handed out with the
    /// completion (a descriptor, a buffer) is released that way.
    fn complete(self, completion: Completion) -> Self::Output;
}

/// An operation in flight. It was queued when this was made; dropping this cancels it, and what it owns lives on until
/// the kernel lets go of it.
#[must_use = "dropping an operation cancels it"]
pub(super) struct Op<T: Operation> {
    shard: Rc<Shard>,
    operation: Option<T>,
    id: OpId,
}

impl<T: Operation> Op<T> {
    pub fn start(shard: &Rc<Shard>, mut operation: T) -> Op<T> {
        let entry = operation.entry();
        // SAFETY: `operation` owns what the entry points at (contract of `Operation`), and it is kept here until the
        // completion is seen, or handed to the driver when this is dropped before.
        let id = unsafe { shard.driver.start(entry) };
        Op { shard: Rc::clone(shard), operation: Some(operation), id }
    }

    /// As `start`, for an entry that posts no completion when it succeeds at once with `bytes`.
    ///
    /// # Safety
    /// The kernel must execute the entry while it takes it, and never later.
    pub unsafe fn start_silent(shard: &Rc<Shard>, mut operation: T, bytes: u32) -> Op<T> {
        let entry = operation.entry();
        // SAFETY: as in `start`; the caller vouches for the rest.
        let id = unsafe { shard.driver.start_silent(entry, bytes) };
        Op { shard: Rc::clone(shard), operation: Some(operation), id }
    }
}

impl<T: Operation> Future for Op<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        assert!(self.operation.is_some(), "an operation was polled after it was done");
        match self.shard.driver.poll(self.id, cx.waker()) {
            Some(completion) => match self.operation.take() {
                Some(operation) => Poll::Ready(operation.complete(completion)),
                None => Poll::Pending,
            },
            None => Poll::Pending,
        }
    }
}

struct Leftover<T>(T);

impl<T: Operation> Abandoned for Leftover<T> {
    fn complete(self: Box<Self>, completion: Completion) {
        drop(self.0.complete(completion));
    }
}

impl<T: Operation> Drop for Op<T> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            self.shard.driver.abandon(self.id, Box::new(Leftover(operation)), T::CANCEL);
        }
    }
}
