//! Timers of a shard: ordered by deadline, so that the nearest one is at hand when the shard goes to sleep.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::executor::{self, Shard};

#[derive(Default)]
pub(super) struct Timers {
    queue: RefCell<BTreeMap<(Instant, u64), Waker>>,
    /// Tells apart timers of equal deadline, and keeps their order.
    next_id: Cell<u64>,
}

impl Timers {
    pub fn next(&self) -> Option<Instant> {
        self.queue.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    pub fn fire(&self, now: Instant) {
        loop {
            let waker = {
                let mut queue = self.queue.borrow_mut();
                match queue.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    _ => return,
                }
            };
            waker.wake();
        }
    }

    pub fn clear(&self) {
        let wakers = std::mem::take(&mut *self.queue.borrow_mut());
        drop(wakers);
    }

    fn add(&self, deadline: Instant, waker: Waker) -> (Instant, u64) {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.queue.borrow_mut().insert((deadline, id), waker);
        (deadline, id)
    }

    fn remove(&self, key: (Instant, u64)) {
        let waker = self.queue.borrow_mut().remove(&key);
        drop(waker);
    }
}

/// Waits until a moment.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    deadline: Instant,
    armed: Option<(Rc<Shard>, (Instant, u64))>,
}

impl Sleep {
    fn disarm(&mut self) {
        if let Some((shard, key)) = self.armed.take() {
            shard.timers.remove(key);
        }
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline.
    pub fn reset(&mut self, deadline: Instant) {
        self.disarm();
        self.deadline = deadline;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if executor::now() >= self.deadline {
            self.disarm();
            return Poll::Ready(());
        }
        if let Some((shard, key)) = &self.armed {
            let mut queue = shard.timers.queue.borrow_mut();
            if let Some(waker) = queue.get_mut(key) {
                if !waker.will_wake(cx.waker()) {
                    waker.clone_from(cx.waker());
                }
                return Poll::Pending;
            }
        }
        let shard = executor::current();
        let key = shard.timers.add(self.deadline, cx.waker().clone());
        self.armed = Some((shard, key));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Waits this long, counted from this turn of the loop.
pub fn sleep(duration: Duration) -> Sleep {
    let now = executor::now();
    // A deadline beyond the clock's reach is as good as a century.
    let deadline = now.checked_add(duration).unwrap_or_else(|| now + Duration::from_secs(3_153_600_000));
    sleep_until(deadline)
}

pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, armed: None }
}

/// The time of `timeout` was up first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for TimedOut {}

/// The output of `future`, unless it takes longer than `duration`; then it is dropped.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, TimedOut> {
    let mut future = pin!(future);
    let mut limit = pin!(sleep(duration));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        limit.as_mut().poll(cx).map(|()| Err(TimedOut))
    })
    .await
}
