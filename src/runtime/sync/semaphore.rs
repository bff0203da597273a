//! Counted permits within a shard, handed out in the order in which they were asked for.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

struct Waiting {
    wanted: usize,
    granted: Cell<bool>,
    waker: RefCell<Waker>,
}

struct Inner {
    available: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiting>>>,
}

impl Inner {
    fn grant(&self) {
        loop {
            let next = {
                let mut waiting = self.waiting.borrow_mut();
                match waiting.front() {
                    Some(front) if front.wanted <= self.available.get() => waiting.pop_front(),
                    _ => None,
                }
            };
            let Some(next) = next else { return };
            self.available.set(self.available.get() - next.wanted);
            next.granted.set(true);
            let waker = next.waker.borrow().clone();
            waker.wake();
        }
    }

    fn release(&self, permits: usize) {
        self.available.set(self.available.get() + permits);
        self.grant();
    }
}

/// A number of permits (of requests, of bytes). Cloning gives another hand on the same ones.
#[derive(Clone)]
pub struct Semaphore {
    inner: Rc<Inner>,
}

impl Semaphore {
    pub fn new(permits: usize) -> Semaphore {
        Semaphore { inner: Rc::new(Inner { available: Cell::new(permits), waiting: RefCell::default() }) }
    }

    pub fn available(&self) -> usize {
        self.inner.available.get()
    }

    /// Takes permits if they are free and nobody waits before us.
    pub fn try_acquire(&self, permits: usize) -> Option<Permit> {
        let free = self.inner.waiting.borrow().is_empty() && self.inner.available.get() >= permits;
        free.then(|| {
            self.inner.available.set(self.inner.available.get() - permits);
            Permit { inner: Rc::clone(&self.inner), permits }
        })
    }

    /// Waits for permits. Asking for more than there are in all waits for ever.
    pub fn acquire(&self, permits: usize) -> Acquire {
        Acquire { semaphore: self.clone(), permits, waiting: None }
    }
}

/// Permits taken. Dropping gives them back.
#[must_use = "dropping a permit gives it back"]
pub struct Permit {
    inner: Rc<Inner>,
    permits: usize,
}

impl Permit {
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Gives some of them back early.
    pub fn release(&mut self, permits: usize) {
        let permits = permits.min(self.permits);
        self.permits -= permits;
        self.inner.release(permits);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.release(self.permits);
    }
}

#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    semaphore: Semaphore,
    permits: usize,
    waiting: Option<Rc<Waiting>>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        match &self.waiting {
            None => {
                if let Some(permit) = self.semaphore.try_acquire(self.permits) {
                    return Poll::Ready(permit);
                }
                let waiting = Rc::new(Waiting {
                    wanted: self.permits,
                    granted: Cell::new(false),
                    waker: RefCell::new(cx.waker().clone()),
                });
                self.semaphore.inner.waiting.borrow_mut().push_back(Rc::clone(&waiting));
                self.waiting = Some(waiting);
                Poll::Pending
            }
            Some(waiting) if waiting.granted.get() => {
                self.waiting = None;
                Poll::Ready(Permit { inner: Rc::clone(&self.semaphore.inner), permits: self.permits })
            }
            Some(waiting) => {
                waiting.waker.borrow_mut().clone_from(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        let inner = &self.semaphore.inner;
        if waiting.granted.get() {
            inner.release(self.permits);
        } else {
            inner.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &waiting));
            // Those behind may want less than we did.
            inner.grant();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        tests::{run, spawn},
        yield_now,
    };

    #[test]
    fn permits_are_handed_out_in_order() {
        run(async {
            let semaphore = Semaphore::new(3);
            let first = semaphore.acquire(2).await;
            let order = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = [3usize, 1]
                .into_iter()
                .map(|wanted| {
                    let (semaphore, order) = (semaphore.clone(), Rc::clone(&order));
                    spawn(async move {
                        let _permit = semaphore.acquire(wanted).await;
                        order.borrow_mut().push(wanted);
                    })
                })
                .collect();
            yield_now().await;
            // One is free, but it is kept for who asked first.
            assert!(semaphore.try_acquire(1).is_none() && order.borrow().is_empty());
            drop(first);
            for task in tasks {
                task.await;
            }
            assert_eq!(*order.borrow(), [3, 1]);
            assert_eq!(semaphore.available(), 3);
        });
    }

    #[test]
    fn giving_up_lets_the_next_one_in() {
        run(async {
            let semaphore = Semaphore::new(2);
            let held = semaphore.acquire(1).await;
            let large = spawn(semaphore.acquire(2));
            let small = spawn(semaphore.acquire(1));
            yield_now().await;
            large.cancel().await;
            let small = small.await;
            drop((held, small));
            assert_eq!(semaphore.available(), 2);
        });
    }
}
