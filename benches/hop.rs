//! What does it cost that a request came in on another core than its partition's: one message there and one back?
//!
//! `one` is a lone request, with both shards asleep in between: what a hop adds to the latency of a quiet broker. `many`
//! keeps 64 under way: what it costs a busy one.

use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use corelane::runtime::mesh::{Endpoint, Kind, mesh};
use corelane::runtime::{Runtime, RuntimeOptions, spawn, threads};
use corelane::types::ShardId;
use criterion::{Criterion, criterion_group, criterion_main};

enum Message {
    Ask,
    Reply,
    End,
}

fn runtime() -> Runtime {
    Runtime::new(&RuntimeOptions::default()).expect("io_uring is there")
}

/// Answers until it is told to end.
async fn serve(endpoint: Endpoint<Message>) {
    loop {
        match endpoint.recv_kind().await {
            (from, Kind::Request, Message::Ask) => endpoint.answer(from, Message::Reply),
            (_, _, Message::End) => return,
            _ => {}
        }
    }
}

/// The time of so many round trips with `under_way` of them at once.
async fn ask(endpoint: Endpoint<Message>, rounds: u64, under_way: u64) -> Duration {
    let endpoint = Rc::new(endpoint);
    let begin = Instant::now();
    let asking = Rc::clone(&endpoint);
    let first = under_way.min(rounds);
    for _ in 0..first {
        asking.request(ShardId(1), Message::Ask).await;
    }
    let (mut asked, mut answered) = (first, 0);
    while answered < rounds {
        let _ = endpoint.recv_kind().await;
        answered += 1;
        if asked < rounds {
            endpoint.request(ShardId(1), Message::Ask).await;
            asked += 1;
        }
    }
    let took = begin.elapsed();
    let ending = Rc::clone(&endpoint);
    spawn(async move { ending.send(ShardId(1), Message::End).await }).await;
    took
}

fn measure(rounds: u64, under_way: u64) -> Duration {
    let mut ends = mesh::<Message>(2).into_iter();
    let (here, there) = (ends.next().expect("two"), ends.next().expect("two"));
    let cores = threads::affinity().unwrap_or_default();
    let core = |at: usize| cores.get(at % cores.len().max(1)).copied();
    let server = threads::spawn("there", core(1), move || runtime().block_on(serve(there))).expect("a thread");
    let (sender, took) = mpsc::channel();
    let client = threads::spawn("here", core(0), move || {
        sender.send(runtime().block_on(ask(here, rounds, under_way))).expect("somebody waits");
    })
    .expect("a thread");
    let took = took.recv().expect("it was measured");
    client.join().expect("no panic");
    server.join().expect("no panic");
    took
}

fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop there and back");
    group.bench_function("one", |b| b.iter_custom(|rounds| measure(rounds, 1)));
    group.bench_function("many", |b| b.iter_custom(|rounds| measure(rounds, 64)));
    group.finish();
}

criterion_group!(benches, hop);
criterion_main!(benches);
