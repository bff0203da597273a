//! One generator thread: a runtime as the broker's shards have it, with its share of producers and consumers.

use std::{
    rc::Rc,
    sync::{Arc, OnceLock, mpsc::Sender},
    time::Duration,
};

use corelane::runtime::{self, Runtime, RuntimeOptions, threads};

use super::{
    consumer::Consumer,
    context::{Context, Plan, Stop, Times},
    measure::Interval,
    producer::Producer,
};
use crate::error::Error;

/// How often a thread hands over what it noted. Divides a second.
const TICK_NS: u64 = 250_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// How often a thread looks whether it is to start, or to end.
const LOOK: Duration = Duration::from_millis(2);

/// What a thread tells the control thread.
pub enum Event {
    Ready {
        thread_id: i32,
    },
    Noted(Box<Interval>),
    /// All producers of a thread are done, answers included.
    Produced,
    /// All consumers of a thread have read what they were to read.
    Consumed,
    Ended(Result<(), Error>),
}

pub struct Job {
    pub plan: Arc<Plan>,
    pub stop: Arc<Stop>,
    pub times: Arc<OnceLock<Times>>,
    pub producers: Vec<u32>,
    pub consumers: Vec<u32>,
    pub events: Sender<Event>,
}

impl Job {
    pub fn run(self) {
        let events = self.events.clone();
        let options = RuntimeOptions {
            completion_entries: 32 * 1024,
            recv_buffers: 256,
            recv_buffer_bytes: 64 * 1024,
            arena_bytes: 0,
            ..RuntimeOptions::default()
        };
        let outcome = match Runtime::new(&options) {
            Ok(runtime) => runtime.block_on(self.work()),
            Err(error) => Err(Error::Wrong(error.to_string())),
        };
        // When nobody listens any more, the run has ended already.
        let _ = events.send(Event::Ended(outcome));
    }

    async fn work(self) -> Result<(), Error> {
        let context = Context::new(Arc::clone(&self.plan), Arc::clone(&self.stop));
        let mut producers = Vec::new();
        for &number in &self.producers {
            producers.push(Producer::open(Rc::clone(&context), number).await?);
        }
        let mut consumers = Vec::new();
        for &number in &self.consumers {
            consumers.extend(Consumer::open(Rc::clone(&context), number).await?);
        }
        self.tell(Event::Ready { thread_id: threads::thread_id() });
        loop {
            if let Some(times) = self.times.get() {
                context.begin(*times);
                break;
            }
            if self.stop.stops_all() {
                return Ok(());
            }
            runtime::sleep(LOOK).await;
        }
        let start = self.plan.clock.instant(context.times().start_ns);
        // What has an end is timed, and begins with the clock. Others come first: what the first records wait for shall not
        // be a consumer that is not there yet.
        if self.plan.consume.as_ref().is_some_and(|consume| consume.until.is_some()) {
            runtime::sleep_until(start).await;
        }
        let mut reading: Vec<_> = consumers.iter().flat_map(Consumer::start).collect();
        runtime::sleep_until(start).await;
        let events = self.events.clone();
        let ticker = runtime::spawn(tick(Rc::clone(&context), events));

        let sending: Vec<_> = producers.into_iter().map(|producer| runtime::spawn(producer.run())).collect();
        let mut failure = None;
        let sent = async {
            for task in sending {
                let outcome = task.await;
                if let Err(error) = outcome {
                    self.stop.all();
                    failure.get_or_insert(error);
                }
            }
            self.tell(Event::Produced);
        };
        let read_all = async {
            let mut consumed = false;
            loop {
                if !consumed && reading.iter().all(runtime::Task::is_finished) {
                    consumed = true;
                    let tasks = std::mem::take(&mut reading);
                    for task in tasks {
                        if let Err(error) = task.await {
                            self.stop.all();
                            return Err(error);
                        }
                    }
                    self.tell(Event::Consumed);
                }
                if self.stop.stops_consumers() {
                    break;
                }
                context.close_measured();
                runtime::sleep(LOOK).await;
            }
            for task in std::mem::take(&mut reading) {
                if let Some(Err(error)) = task.cancel().await {
                    return Err(error);
                }
            }
            Ok(())
        };
        let ((), read) = both(sent, read_all).await;
        for consumer in consumers {
            consumer.finish();
        }
        ticker.cancel().await;
        self.tell(Event::Noted(context.recorder.turn_over(0)));
        match failure {
            Some(error) => Err(error),
            None => read,
        }
    }

    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// Hands over what was noted, at each quarter of a second of the run.
async fn tick(context: Rc<Context>, events: Sender<Event>) {
    let start_ns = context.times().start_ns;
    for tick in 1_u64.. {
        let at_ns = start_ns + tick * TICK_NS;
        runtime::sleep_until(context.plan.clock.instant(at_ns)).await;
        let interval = context.recorder.turn_over((at_ns - start_ns) / SECOND_NS);
        if events.send(Event::Noted(interval)).is_err() {
            return;
        }
    }
}

/// Runs two futures side by side until both are done.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut of_a, mut of_b) = (None, None);
    std::future::poll_fn(|cx| {
        if of_a.is_none()
            && let std::task::Poll::Ready(output) = a.as_mut().poll(cx)
        {
            of_a = Some(output);
        }
        if of_b.is_none()
            && let std::task::Poll::Ready(output) = b.as_mut().poll(cx)
        {
            of_b = Some(output);
        }
        if of_a.is_some() && of_b.is_some() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    (of_a.expect("it is done"), of_b.expect("it is done"))
}
