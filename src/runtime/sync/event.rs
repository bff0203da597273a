//! An event that wakes everybody who waits for it at that moment.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use slab::Slab;

#[derive(Default)]
struct Inner {
    /// Counts notifications, so that a listener sees those that came before its first poll.
    epoch: u64,
    waiting: Slab<Waker>,
}

/// Wakes all its listeners. Cloning gives another hand on the same event. For one shard only.
///
/// To wait for a condition without missing its change: make a listener, look at the condition, then await the listener.
#[derive(Clone, Default)]
pub struct Event {
    inner: Rc<RefCell<Inner>>,
}

impl Event {
    pub fn new() -> Event {
        Event::default()
    }

    /// Wakes everybody who listens now.
    pub fn notify_all(&self) {
        let waiting = {
            let mut inner = self.inner.borrow_mut();
            inner.epoch += 1;
            if inner.waiting.is_empty() {
                return;
            }
            std::mem::take(&mut inner.waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Waits for the next notification after this call.
    pub fn listen(&self) -> Listener {
        let epoch = self.inner.borrow().epoch;
        Listener { inner: Rc::clone(&self.inner), epoch, key: None }
    }

    /// Whether anybody waits.
    pub fn has_listeners(&self) -> bool {
        !self.inner.borrow().waiting.is_empty()
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Event({} waiting)", self.inner.borrow().waiting.len())
    }
}

/// Waits for one notification of an event.
#[must_use = "futures do nothing unless polled"]
pub struct Listener {
    inner: Rc<RefCell<Inner>>,
    epoch: u64,
    key: Option<usize>,
}

impl Future for Listener {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut inner = this.inner.borrow_mut();
        if inner.epoch != this.epoch {
            // The notification emptied the list, and the key with it.
            this.key = None;
            return Poll::Ready(());
        }
        match this.key.and_then(|key| inner.waiting.get_mut(key)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => this.key = Some(inner.waiting.insert(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = {
                let mut inner = self.inner.borrow_mut();
                if inner.epoch == self.epoch { inner.waiting.try_remove(key) } else { None }
            };
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::tests::{run, spawn};

    #[test]
    fn a_notification_between_listening_and_polling_is_not_lost() {
        run(async {
            let event = Event::new();
            let listener = event.listen();
            event.notify_all();
            listener.await;
            let tasks: Vec<_> = (0..10)
                .map(|_| {
                    let listener = event.listen();
                    spawn(listener)
                })
                .collect();
            crate::runtime::yield_now().await;
            assert!(event.has_listeners());
            event.notify_all();
            for task in tasks {
                task.await;
            }
            assert!(!event.has_listeners());
        });
    }

    #[test]
    fn a_dropped_listener_leaves_the_others_waiting() {
        run(async {
            let event = Event::new();
            let kept = spawn(event.listen());
            let dropped = spawn(event.listen());
            crate::runtime::yield_now().await;
            dropped.cancel().await;
            event.notify_all();
            kept.await;
        });
    }
}
