//! Several futures at once, for the few shards that one request asks.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Waits for all; the outputs stand in the order of the futures.
pub async fn join_all<F: Future>(mut futures: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(move |context| {
        let mut ready = true;
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(outputs.drain(..).flatten().collect()) } else { Poll::Pending }
    })
    .await
}

/// Waits for the first; the rest are dropped.
pub async fn first_of<F: Future>(mut futures: Vec<Pin<Box<F>>>) -> F::Output {
    poll_fn(move |context| {
        for future in &mut futures {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(value);
            }
        }
        Poll::Pending
    })
    .await
}
