//! Those who wait until a log has reached an offset, woken by the offset, never by looking again; and those who wait for
//! something that is in flight, and look again when some of it is over.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::types::Offset;

use super::error::LogError;
use super::log::Log;

/// Waiters in the order of the offsets they wait for. Appends wait in that order, so a new one nearly always goes to
/// the back. There is at most one per request in flight, which the connections bound.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    queue: VecDeque<(Offset, Rc<RefCell<Waiting>>)>,
}

#[derive(Debug)]
enum Waiting {
    /// Not reached. The waker is there once the future was polled.
    Pending(Option<Waker>),
    Done(Result<(), LogError>),
    /// The future was dropped.
    Gone,
}

/// Resolves when the log has reached an offset, or when it is certain that it will not.
#[derive(Debug)]
#[must_use = "nothing is waited for until this is awaited"]
pub struct OffsetReached(State);

#[derive(Debug)]
enum State {
    Known(Option<Result<(), LogError>>),
    Waiting(Rc<RefCell<Waiting>>),
}

impl OffsetReached {
    pub(super) fn known(result: Result<(), LogError>) -> OffsetReached {
        OffsetReached(State::Known(Some(result)))
    }
}

impl Waiters {
    pub fn wait_for(&mut self, offset: Offset) -> OffsetReached {
        let waiting = Rc::new(RefCell::new(Waiting::Pending(None)));
        let at = match self.queue.back() {
            Some((last, _)) if *last > offset => self.queue.partition_point(|(other, _)| *other <= offset),
            _ => self.queue.len(),
        };
        self.queue.insert(at, (offset, Rc::clone(&waiting)));
        OffsetReached(State::Waiting(waiting))
    }

    /// Everything below `end_offset` is reached.
    pub fn reached(&mut self, end_offset: Offset) {
        while self.queue.front().is_some_and(|(offset, _)| *offset <= end_offset) {
            if let Some((_, waiting)) = self.queue.pop_front() {
                settle(&waiting, Ok(()));
            }
        }
    }

    /// What lies above `end_offset` will not be reached by the appends these waited for.
    pub fn fail_above(&mut self, end_offset: Offset, error: &LogError) {
        while self.queue.back().is_some_and(|(offset, _)| *offset > end_offset) {
            if let Some((_, waiting)) = self.queue.pop_back() {
                settle(&waiting, Err(error.clone()));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

fn settle(waiting: &RefCell<Waiting>, result: Result<(), LogError>) {
    let before = std::mem::replace(&mut *waiting.borrow_mut(), Waiting::Done(result));
    match before {
        Waiting::Pending(Some(waker)) => waker.wake(),
        Waiting::Pending(None) => {}
        Waiting::Gone => *waiting.borrow_mut() = Waiting::Gone,
        Waiting::Done(_) => unreachable!("a waiter leaves the queue when it is settled"),
    }
}

impl Future for OffsetReached {
    type Output = Result<(), LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(result) => Poll::Ready(result.take().unwrap_or(Err(LogError::Closed))),
            State::Waiting(waiting) => match &mut *waiting.borrow_mut() {
                Waiting::Done(result) => Poll::Ready(result.clone()),
                Waiting::Pending(waker) => {
                    match waker {
                        Some(old) if old.will_wake(cx.waker()) => {}
                        _ => *waker = Some(cx.waker().clone()),
                    }
                    Poll::Pending
                }
                Waiting::Gone => unreachable!("only dropping the future sets this"),
            },
        }
    }
}

impl Drop for OffsetReached {
    fn drop(&mut self) {
        if let State::Waiting(waiting) = &self.0 {
            *waiting.borrow_mut() = Waiting::Gone;
        }
    }
}

impl Log {
    /// Resolves when `holds` does, which is asked at once and whenever something that was in flight is over.
    pub(super) async fn until(&self, mut holds: impl FnMut() -> bool) {
        loop {
            let changed = self.progress().listen();
            if holds() {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(future: &mut OffsetReached) -> Poll<Result<(), LogError>> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn waiters_resolve_by_offset_whatever_their_order() {
        let mut waiters = Waiters::default();
        let mut at_30 = waiters.wait_for(Offset(30));
        let mut at_10 = waiters.wait_for(Offset(10));
        let mut at_20 = waiters.wait_for(Offset(20));
        drop(waiters.wait_for(Offset(15)));
        assert!(poll(&mut at_10).is_pending());
        waiters.reached(Offset(20));
        assert!(matches!(poll(&mut at_10), Poll::Ready(Ok(()))));
        assert!(matches!(poll(&mut at_20), Poll::Ready(Ok(()))));
        assert!(poll(&mut at_30).is_pending());
        waiters.fail_above(Offset(20), &LogError::DiskFull);
        assert!(matches!(poll(&mut at_30), Poll::Ready(Err(LogError::DiskFull))));
        assert!(waiters.is_empty());
    }
}
