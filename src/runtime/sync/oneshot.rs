//! One value from one task to another of the same shard.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

enum State<T> {
    Empty(Option<Waker>),
    Sent(T),
    /// The sender is gone, or the value was taken.
    Closed,
}

/// The sender was dropped without sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side is gone")
    }
}

impl std::error::Error for Closed {}

pub struct Sender<T>(Rc<RefCell<State<T>>>);

#[must_use = "futures do nothing unless polled"]
pub struct Receiver<T>(Rc<RefCell<State<T>>>);

pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Rc::new(RefCell::new(State::Empty(None)));
    (Sender(Rc::clone(&state)), Receiver(state))
}

impl<T> Sender<T> {
    /// Gives the value; back if the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(value);
        }
        self.put(State::Sent(value));
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    fn put(&self, state: State<T>) {
        let before = std::mem::replace(&mut *self.0.borrow_mut(), state);
        if let State::Empty(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if matches!(&*self.0.borrow(), State::Empty(_)) {
            self.put(State::Closed);
        }
    }
}

impl<T> Receiver<T> {
    /// The value, if it is there already.
    pub fn try_recv(&mut self) -> Option<T> {
        let mut state = self.0.borrow_mut();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Sent(value) => Some(value),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Closed>> {
        let mut state = self.0.borrow_mut();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Sent(value) => Poll::Ready(Ok(value)),
            State::Closed => Poll::Ready(Err(Closed)),
            State::Empty(_) => {
                *state = State::Empty(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::tests::{run, spawn};

    #[test]
    fn a_value_arrives_and_a_dropped_sender_shows() {
        run(async {
            let (sender, receiver) = channel();
            let task = spawn(receiver);
            crate::runtime::yield_now().await;
            sender.send(7).unwrap();
            assert_eq!(task.await, Ok(7));

            let (sender, receiver) = channel::<i32>();
            let task = spawn(receiver);
            crate::runtime::yield_now().await;
            drop(sender);
            assert_eq!(task.await, Err(Closed));

            let (sender, receiver) = channel();
            drop(receiver);
            assert!(sender.is_closed());
            assert_eq!(sender.send(1), Err(1));
        });
    }
}
