//! Connections that each keep one produce request in flight: what a request costs, and how long it takes.
//!
//! A closed loop: the next request leaves when the last is answered. Latencies are therefore service times; what a
//! client that does not wait would see in a stall is not among them.

use std::{
    cell::RefCell,
    net::{SocketAddr, ToSocketAddrs},
    rc::Rc,
    time::Duration,
};

use clap::Args;
use corelane::{
    error_code::ErrorCode,
    protocol::{
        ApiVersionsRequest, CreateTopicsRequest, MetadataRequest, ProduceRequest, Records, Str,
        create_topics::CreatableTopic,
        metadata::MetadataRequestTopic,
        produce::{PartitionProduceData, TopicProduceData},
    },
    record::{BatchBuilder, BatchOptions},
    runtime::{self, Runtime, RuntimeOptions, clock},
};
use hdrhistogram::Histogram;

use crate::{
    client::{Client, Prepared},
    error::Error,
};

const PRODUCE_VERSION: i16 = 11;
const METADATA_VERSION: i16 = 12;
const CREATE_TOPICS_VERSION: i16 = 7;
const API_VERSIONS_VERSION: i16 = 3;

/// What a broker gets to close the idle connections of a round.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub struct Options {
    /// A broker's address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    bootstrap: String,
    /// The topic; it is created if it is not there
    #[arg(long)]
    topic: String,
    /// Partitions of the topic if it is created; connections take the topic's partitions in turn
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// Connections with one request in flight each
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Connect all at the same moment, and say how long it took until each had its first answer
    #[arg(long)]
    at_once: bool,
    /// Requests of all connections together
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Requests before those that are measured
    #[arg(long, default_value_t = 500)]
    warm_up: u64,
    /// Bytes of a record's value
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Records of a request, in one batch
    #[arg(long, default_value_t = 1)]
    records: usize,
    /// 0 is not offered: nothing would answer
    #[arg(long, default_value_t = -1, value_parser = clap::value_parser!(i16).range(-1..=1), allow_hyphen_values = true)]
    acks: i16,
    /// Measure once more beside so many connections that have said hello and are silent
    #[arg(long, default_value_t = 0, value_name = "CONNECTIONS")]
    idle: usize,
    /// How often to measure, with and without the idle connections in turn
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Keep the idle connections open so long after the last round
    #[arg(long, default_value_t = 0)]
    linger_seconds: u64,
}

pub fn run(options: &Options) -> Result<(), Error> {
    if options.acks == 0 {
        return Err(Error::Answer("--acks 0 has no answers to measure".to_owned()));
    }
    let runtime = RuntimeOptions { completion_entries: 32 * 1024, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&runtime).map_err(|error| Error::Answer(error.to_string()))?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<(), Error> {
    let address = options
        .bootstrap
        .to_socket_addrs()
        .map_err(|error| Error::Io("looking up the broker", error))?
        .next()
        .ok_or_else(|| Error::Answer(format!("{} has no address", options.bootstrap)))?;
    let mut first = Client::connect(address).await?;
    let partitions = prepare_topic(&mut first, options).await?;
    let mut clients = vec![first];
    if options.at_once {
        let begun = clock::now();
        let greeted = (1..options.connections).map(|_| runtime::spawn(greeted(address))).collect::<Vec<_>>();
        for client in greeted {
            clients.push(client.await?);
        }
        let took = clock::now().duration_since(begun).as_secs_f64() * 1000.0;
        println!("{} more connections at once: the last had its first answer after {took:.1} ms", clients.len() - 1);
    }
    while clients.len() < options.connections {
        clients.push(Client::connect(address).await?);
    }
    println!(
        "{} connections, one request of {} x {} bytes in flight each, acks={}, {partitions} partitions",
        clients.len(),
        options.records,
        options.record_bytes,
        options.acks
    );
    drive(&mut clients, options, partitions, options.warm_up).await?;
    let mut lines = Lines::default();
    for round in 0..options.rounds.max(1) {
        if round > 0 && options.idle > 0 {
            // The broker shall not be busy closing the last round's connections.
            runtime::sleep(SETTLE).await;
        }
        lines.alone.add(drive(&mut clients, options, partitions, options.requests).await?);
        if options.idle > 0 {
            let mut idle = Vec::with_capacity(options.idle);
            while idle.len() < options.idle {
                idle.push(greeted(address).await?);
            }
            lines.beside.add(drive(&mut clients, options, partitions, options.requests).await?);
            runtime::sleep(Duration::from_secs(options.linger_seconds)).await;
        }
    }
    lines.alone.print("");
    if options.idle > 0 {
        lines.beside.print(&format!("beside {} idle connections: ", options.idle));
        let ratio = lines.beside.p99() / lines.alone.p99();
        println!("p99 beside them / p99 alone: {ratio:.2}");
    }
    Ok(())
}

/// A connection that has said hello.
async fn greeted(address: SocketAddr) -> Result<Client, Error> {
    let mut client = Client::connect(address).await?;
    let hello = ApiVersionsRequest {
        client_software_name: Str::from("loadgen"),
        client_software_version: Str::from(env!("CARGO_PKG_VERSION")),
    };
    client.call(&hello, API_VERSIONS_VERSION).await?;
    Ok(client)
}

#[derive(Default)]
struct Lines {
    alone: Figures,
    beside: Figures,
}

/// What runs of the same kind have shown.
struct Figures {
    /// Microseconds.
    latencies: Histogram<u64>,
    seconds: f64,
}

impl Default for Figures {
    fn default() -> Figures {
        // Three digits up to ten minutes; a value beyond counts as that.
        let latencies = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that the crate takes");
        Figures { latencies, seconds: 0.0 }
    }
}

impl Figures {
    fn add(&mut self, other: Figures) {
        self.seconds += other.seconds;
        self.latencies.add(other.latencies).expect("histograms of equal bounds");
    }

    fn p99(&self) -> f64 {
        self.latencies.value_at_quantile(0.99) as f64
    }

    fn print(&self, what: &str) {
        let milliseconds = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        println!(
            "{what}{} requests in {:.2} s: {:.0} requests/s; latency ms p50 {:.3} p99 {:.3} p99.9 {:.3} max {:.3}",
            self.latencies.len(),
            self.seconds,
            self.latencies.len() as f64 / self.seconds,
            milliseconds(0.5),
            milliseconds(0.99),
            milliseconds(0.999),
            self.latencies.max() as f64 / 1000.0
        );
    }
}

/// Creates the topic if need be, and gives the number of its partitions.
async fn prepare_topic(client: &mut Client, options: &Options) -> Result<i32, Error> {
    let topic = CreatableTopic {
        name: Str::from(&options.topic),
        num_partitions: options.partitions,
        replication_factor: -1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let created = client.call(&request, CREATE_TOPICS_VERSION).await?;
    let code = created.topics.first().map_or(-1, |topic| topic.error_code);
    if code != ErrorCode::None.code() && code != ErrorCode::TopicAlreadyExists.code() {
        return Err(Error::Answer(format!("creating {} failed with code {code}", options.topic)));
    }
    let topic = MetadataRequestTopic { name: Some(Str::from(&options.topic)), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    // A topic shows its leaders a little after it was created, in a cluster.
    for _ in 0..50 {
        let metadata = client.call(&request, METADATA_VERSION).await?;
        if let Some(topic) = metadata.topics.first()
            && topic.error_code == 0
            && !topic.partitions.is_empty()
            && topic.partitions.iter().all(|partition| partition.error_code == 0)
        {
            return Ok(topic.partitions.len() as i32);
        }
        runtime::sleep(Duration::from_millis(100)).await;
    }
    Err(Error::Answer(format!("{} has no leaders", options.topic)))
}

/// Sends so many requests over all connections together.
async fn drive(clients: &mut Vec<Client>, options: &Options, partitions: i32, requests: u64) -> Result<Figures, Error> {
    let figures = Rc::new(RefCell::new(Figures::default()));
    let started = clock::now();
    let mut tasks = Vec::with_capacity(clients.len());
    let count = clients.len() as u64;
    for (at, mut client) in clients.drain(..).enumerate() {
        let share = requests / count + u64::from((at as u64) < requests % count);
        let request = Prepared::new(&request(options, at as i32 % partitions), PRODUCE_VERSION)?;
        let figures = Rc::clone(&figures);
        tasks.push(runtime::spawn(async move {
            for _ in 0..share {
                let sent = clock::now();
                let response = client.call_prepared::<ProduceRequest>(&request, PRODUCE_VERSION).await?;
                let took = clock::now().duration_since(sent);
                figures.borrow_mut().latencies.saturating_record(took.as_micros() as u64);
                let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
                match answers.map(|answer| answer.error_code).next() {
                    Some(0) => {}
                    code => return Err(Error::Answer(format!("a produce was answered with code {code:?}"))),
                }
            }
            Ok(client)
        }));
    }
    for task in tasks {
        clients.push(task.await?);
    }
    let mut figures = std::mem::take(&mut *figures.borrow_mut());
    figures.seconds = clock::now().duration_since(started).as_secs_f64();
    Ok(figures)
}

fn request(options: &Options, partition: i32) -> ProduceRequest {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    let value = vec![b'x'; options.record_bytes];
    for _ in 0..options.records.max(1) {
        batch.append(clock::wall_ms(), None, Some(&value), &[]);
    }
    let partition = PartitionProduceData { index: partition, records: Records::Inline(batch.build()) };
    let topic =
        TopicProduceData { name: Str::from(&options.topic), partition_data: vec![partition], ..Default::default() };
    ProduceRequest { acks: options.acks, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}
