//! A bounded queue from any threads to one receiver, on a shard or not: how the control thread talks to shards and
//! back. Its wakers reach a sleeping shard through its doorbell. Not for hot paths: it locks.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

struct State<T> {
    queue: VecDeque<T>,
    senders: usize,
    receiver: bool,
    receiver_waker: Option<Waker>,
    sender_wakers: Vec<Waker>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    capacity: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing was sent; the value comes back.
#[derive(PartialEq, Eq, Debug)]
pub enum TrySendError<T> {
    Full(T),
    Closed(T),
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the queue is full",
            TrySendError::Closed(_) => "the receiver is gone",
        })
    }
}

pub struct Sender<T>(Arc<Shared<T>>);

pub struct Receiver<T>(Arc<Shared<T>>);

/// A queue of at most `capacity` values.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state =
        State { queue: VecDeque::new(), senders: 1, receiver: true, receiver_waker: None, sender_wakers: Vec::new() };
    let shared = Arc::new(Shared { state: Mutex::new(state), capacity: capacity.max(1) });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Sends if there is room.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.lock();
        if !state.receiver {
            return Err(TrySendError::Closed(value));
        }
        if state.queue.len() >= self.0.capacity {
            return Err(TrySendError::Full(value));
        }
        state.queue.push_back(value);
        let waker = state.receiver_waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Sends, waiting for room; the value comes back if the receiver is gone.
    pub async fn send(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        std::future::poll_fn(|cx| {
            let Some(taken) = value.take() else { return Poll::Ready(Ok(())) };
            match self.try_send(taken) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(TrySendError::Closed(back)) => Poll::Ready(Err(back)),
                Err(TrySendError::Full(back)) => {
                    let mut state = self.0.lock();
                    if state.receiver && state.queue.len() < self.0.capacity {
                        // Room was made in between.
                        cx.waker().wake_by_ref();
                    } else {
                        state.sender_wakers.push(cx.waker().clone());
                    }
                    value = Some(back);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        let waker = if state.senders == 0 { state.receiver_waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next value, or `None` when every sender is gone and nothing is left.
    pub async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        if let Some(value) = state.queue.pop_front() {
            let wakers = std::mem::take(&mut state.sender_wakers);
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(value));
        }
        if state.senders == 0 {
            return Poll::Ready(None);
        }
        state.receiver_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    pub fn try_recv(&mut self) -> Option<T> {
        let mut state = self.0.lock();
        let value = state.queue.pop_front();
        let wakers = std::mem::take(&mut state.sender_wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        value
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver = false;
        let left = std::mem::take(&mut state.queue);
        let wakers = std::mem::take(&mut state.sender_wakers);
        drop(state);
        drop(left);
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{tests::run, threads};

    #[test]
    fn threads_feed_a_sleeping_shard_through_a_small_queue() {
        let (sender, mut receiver) = channel::<u64>(2);
        let threads: Vec<_> = (0..4u64)
            .map(|n| {
                let sender = sender.clone();
                threads::spawn("feeder", None, move || {
                    run(async move {
                        for i in 0..500 {
                            sender.send(n * 1000 + i).await.unwrap();
                        }
                    });
                })
                .unwrap()
            })
            .collect();
        drop(sender);
        let mut seen = run(async move {
            let mut seen = Vec::new();
            while let Some(value) = receiver.recv().await {
                seen.push(value);
            }
            seen
        });
        for thread in threads {
            thread.join().unwrap();
        }
        for n in 0..4 {
            let of_one: Vec<_> = seen.iter().copied().filter(|value| value / 1000 == n).collect();
            assert!(of_one.is_sorted(), "the values of one sender keep their order");
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..4).flat_map(|n| (0..500).map(move |i| n * 1000 + i)).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_or_closed_queue_gives_the_value_back() {
        let (sender, receiver) = channel(1);
        sender.try_send(1).unwrap();
        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        drop(receiver);
        assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
    }
}
