//! The load that is recorded: producers of three kinds, a consumer, commits, and topics that come and go, all at once
//! and across crashes of the broker's process. Every thread notes what it is told.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ProduceResponse};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use crate::batch::Batch;
use crate::facts::{Fact, Notebook, Run};
use crate::payload;
use crate::wire::{Wire, produce_request, records};

/// Written to by idempotent producers of this rig: one with acks=all, one with acks=1.
pub const ALL: (&str, i32) = ("acks-all", 4);
pub const ONE: (&str, i32) = ("acks-one", 3);
/// Written to by librdkafka with enable.idempotence.
pub const LIBRDKAFKA: (&str, i32) = ("librdkafka", 3);

/// Requests that a producer has in flight; the broker knows a producer's last five batches again.
const IN_FLIGHT_MAX: usize = 4;
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);
const BATCH_VERSION: i16 = 8;

/// Answers after which a client asks again: no leader or coordinator yet, a request that timed out, no room.
const RETRIABLE: &[i16] = &[3, 5, 6, 7, 14, 15, 16, 19];

/// What one thread of a load does until it is told to stop.
type Thread = fn(&Load) -> Result<()>;

/// OUT_OF_ORDER_SEQUENCE_NUMBER.
const OUT_OF_ORDER: i16 = 45;

#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub notebook: Notebook,
    pub seed: u64,
    /// Tells this load's records and topics from those of loads before it on the same disk.
    pub number: u64,
    pub stop: Arc<AtomicBool>,
}

impl Load {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn random(&self, thread: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(31).wrapping_add(thread))
    }

    /// Ids of one thread; each record of all loads has its own.
    fn ids(&self, thread: u64) -> std::ops::RangeFrom<u64> {
        (self.number << 48 | thread << 40)..
    }

    /// Connects, again and again while the broker is down.
    fn connect(&self) -> Result<Option<Wire>> {
        for _ in 0..12_000 {
            match Wire::connect(self.address) {
                Ok(wire) => return Ok(Some(wire)),
                Err(_) if self.stopped() => return Ok(None),
                Err(_) => thread::sleep(RECONNECT_PAUSE),
            }
        }
        bail!("no broker at {} for a minute", self.address)
    }

    /// Starts all threads; each ends after `stop` is set, with what was not as it should be.
    pub fn start(&self) -> Vec<thread::JoinHandle<Result<()>>> {
        let threads: [(&str, Thread); 7] = [
            ("acks-all", |load| load.produce(1, -1, ALL)),
            ("acks-one", |load| load.produce(2, 1, ONE)),
            ("librdkafka", |load| load.produce_with_librdkafka(3)),
            ("topics", |load| load.make_topics(4)),
            ("commits", |load| load.commit(5)),
            ("deletions", |load| load.trim(6)),
            ("consumer", Load::consume),
        ];
        threads
            .into_iter()
            .map(|(name, run)| {
                let load = self.clone();
                thread::spawn(move || run(&load).with_context(|| format!("the thread {name} of the load")))
            })
            .collect()
    }

    /// Makes the topics that the load writes to, those that an earlier load made left as they are.
    pub fn make_static_topics(&self, configs: &[(&str, &str)]) -> Result<()> {
        let mut wire = Wire::connect(self.address)?;
        for (topic, partitions) in [ALL, ONE, LIBRDKAFKA] {
            let error = wire.create_topic(topic, partitions, configs)?;
            ensure!(error == 0 || error == 36, "creating {topic}: error {error}");
            self.notebook.note(Fact::TopicMade { topic: topic.to_owned(), partitions });
        }
        Ok(())
    }

    fn produce(&self, thread: u64, acks: i16, (topic, partitions): (&str, i32)) -> Result<()> {
        let mut random = self.random(thread);
        let mut ids = self.ids(thread);
        let mut sequences = vec![0_i32; partitions as usize];
        let mut identity = None;
        // In the order in which they were first sent; all are sent again after a broken connection.
        let mut in_flight: VecDeque<Vec<Sent>> = VecDeque::new();
        // How many of them were sent before the connection that there is now.
        let mut sent_again;
        'connection: loop {
            let Some(mut wire) = self.connect()? else { return Ok(()) };
            let producer = match identity {
                Some(identity) => identity,
                None => match wire.producer_id() {
                    Ok(new) => *identity.insert(new),
                    Err(_) => continue,
                },
            };
            let mut waiting = VecDeque::new();
            sent_again = in_flight.len();
            for request in &in_flight {
                match wire.send(&request_of(acks, topic, request), BATCH_VERSION) {
                    Ok(id) => waiting.push_back(id),
                    Err(_) => continue 'connection,
                }
            }
            loop {
                if self.stopped() && in_flight.is_empty() {
                    return Ok(());
                }
                while !self.stopped() && in_flight.len() < IN_FLIGHT_MAX && random.random_bool(0.7) {
                    let request = new_request(&mut random, &mut ids, &mut sequences, topic, producer);
                    let sent = wire.send(&request_of(acks, topic, &request), BATCH_VERSION);
                    in_flight.push_back(request);
                    match sent {
                        Ok(id) => waiting.push_back(id),
                        Err(_) => continue 'connection,
                    }
                }
                if let Some(id) = waiting.pop_front() {
                    let Ok(answer) = wire.receive::<ProduceResponse>(id, BATCH_VERSION) else { continue 'connection };
                    let request = in_flight.front().context("a request to every answer")?;
                    match self.acknowledged(acks, topic, request, &answer)? {
                        Told::Done => {}
                        Told::AskAgain => {
                            thread::sleep(RECONNECT_PAUSE);
                            continue 'connection;
                        }
                        // As in Apache Kafka, snapshots of producers hold one batch of each: after a restart an
                        // older one is not known again. What became of these is unknown, so they are given up.
                        Told::OutOfOrder if sent_again > 0 => {
                            identity = None;
                            in_flight.clear();
                            sequences.fill(0);
                            continue 'connection;
                        }
                        Told::OutOfOrder => bail!("{topic}: out of order, though nothing was sent twice"),
                    }
                    in_flight.pop_front();
                    sent_again = sent_again.saturating_sub(1);
                }
                if random.random_bool(0.5) {
                    thread::sleep(Duration::from_micros(random.random_range(0..6_000)));
                }
            }
        }
    }

    /// Notes what an answer acknowledges.
    fn acknowledged(&self, acks: i16, topic: &str, request: &[Sent], answer: &ProduceResponse) -> Result<Told> {
        let partitions = &answer.responses.first().context("an answer for the topic")?.partition_responses;
        ensure!(partitions.len() == request.len(), "{} answers to {} batches", partitions.len(), request.len());
        if partitions.iter().any(|partition| RETRIABLE.contains(&partition.error_code)) {
            return Ok(Told::AskAgain);
        }
        let mut told = Told::Done;
        for (sent, partition) in request.iter().zip(partitions) {
            if partition.error_code == OUT_OF_ORDER {
                told = Told::OutOfOrder;
                continue;
            }
            ensure!(
                partition.index == sent.partition && partition.error_code == 0,
                "{topic}-{}: error {} to records {:x?} from sequence {} on",
                partition.index,
                partition.error_code,
                sent.ids,
                sent.sequence
            );
            let run = Run {
                topic: topic.to_owned(),
                partition: sent.partition,
                base_offset: partition.base_offset,
                ids: sent.ids.clone(),
            };
            self.notebook.note(if acks == -1 { Fact::Acknowledged(run) } else { Fact::Written(run) });
        }
        Ok(told)
    }

    fn produce_with_librdkafka(&self, thread: u64) -> Result<()> {
        let (topic, partitions) = LIBRDKAFKA;
        let mut random = self.random(thread);
        let mut ids = self.ids(thread);
        let codecs = ["none", "lz4", "zstd"];
        let producer: ThreadedProducer<Reports> = ClientConfig::new()
            .set("bootstrap.servers", self.address.to_string())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("compression.type", codecs[(self.seed % 3) as usize])
            .set("reconnect.backoff.ms", "5")
            .set("reconnect.backoff.max.ms", "50")
            .set("retry.backoff.ms", "5")
            .set("retry.backoff.max.ms", "50")
            .set("message.timeout.ms", "30000")
            .set("log_level", "0")
            .create_with_context(Reports(self.notebook.clone()))?;
        while !self.stopped() {
            for _ in 0..random.random_range(1..12) {
                let id = ids.next().context("ids without end")?;
                let partition = random.random_range(0..partitions);
                let value = payload::value(id, payload::place(topic, partition));
                let record: BaseRecord<'_, [u8], [u8], Box<u64>> =
                    BaseRecord::with_opaque_to(topic, Box::new(id)).partition(partition).payload(&value);
                // A full queue is a record less.
                let _ = producer.send(record);
            }
            thread::sleep(Duration::from_micros(random.random_range(0..9_000)));
        }
        producer.flush(Duration::from_secs(30)).context("librdkafka's last records")
    }

    fn make_topics(&self, thread: u64) -> Result<()> {
        let mut random = self.random(thread);
        let mut ids = self.ids(thread);
        let mut number = 0;
        let mut made: Vec<String> = Vec::new();
        'connection: while let Some(mut wire) = self.connect()? {
            while !self.stopped() {
                thread::sleep(Duration::from_millis(random.random_range(20..250)));
                if made.len() > 2 && random.random_bool(0.5) {
                    let topic = made.swap_remove(random.random_range(0..made.len()));
                    self.notebook.note(Fact::DeletionAsked { topic: topic.clone() });
                    let Ok(error) = wire.delete_topic(&topic) else { continue 'connection };
                    ensure!(error == 0, "deleting {topic}: error {error}");
                    self.notebook.note(Fact::Deleted { topic });
                    continue;
                }
                number += 1;
                let topic = format!("extra-{}-{number}", self.number);
                let partitions = random.random_range(1..4);
                let Ok(error) = wire.create_topic(&topic, partitions, &[]) else { continue 'connection };
                ensure!(error == 0, "creating {topic}: error {error}");
                self.notebook.note(Fact::TopicMade { topic: topic.clone(), partitions });
                for _ in 0..random.random_range(0..4) {
                    let partition = random.random_range(0..partitions);
                    let values = new_values(&mut random, &mut ids, &topic, partition);
                    let Ok(answer) = wire.produce(-1, &topic, partition, values.batch(None, 0)) else {
                        continue 'connection;
                    };
                    match answer {
                        (0, base_offset) => {
                            let run = Run { topic: topic.clone(), partition, base_offset, ids: values.ids };
                            self.notebook.note(Fact::Acknowledged(run));
                        }
                        (error, _) => ensure!(RETRIABLE.contains(&error), "{topic}-{partition}: error {error}"),
                    }
                }
                made.push(topic);
            }
            return Ok(());
        }
        Ok(())
    }

    fn commit(&self, thread: u64) -> Result<()> {
        let mut random = self.random(thread);
        let (topic, partitions) = ALL;
        let mut next = self.number as i64 * 1_000_000;
        let mut looks_for_coordinator = true;
        'connection: while let Some(mut wire) = self.connect()? {
            while !self.stopped() {
                thread::sleep(Duration::from_millis(random.random_range(1..30)));
                next += 1;
                let group = format!("group-{}", random.random_range(0..3));
                if looks_for_coordinator {
                    let Ok(error) = wire.find_coordinator(&group) else { continue 'connection };
                    looks_for_coordinator = error != 0;
                }
                let partition = random.random_range(0..partitions);
                let asked = (group.clone(), topic.to_owned(), partition, next);
                let (group, topic, partition, offset) = asked.clone();
                self.notebook.note(Fact::CommitAsked { group, topic, partition, offset });
                let (group, topic, partition, offset) = asked;
                let Ok(error) = wire.commit(&group, &topic, partition, offset) else { continue 'connection };
                if error == 0 {
                    self.notebook.note(Fact::Committed { group, topic, partition, offset });
                } else {
                    ensure!(RETRIABLE.contains(&error), "committing for {group}: error {error}");
                    looks_for_coordinator = true;
                }
            }
            return Ok(());
        }
        Ok(())
    }

    /// Deletes records at the beginning of partitions.
    fn trim(&self, thread: u64) -> Result<()> {
        let mut random = self.random(thread);
        let (topic, partitions) = LIBRDKAFKA;
        'connection: while let Some(mut wire) = self.connect()? {
            if let Ok(false) = wire.knows(ApiKey::DeleteRecords) {
                return Ok(());
            }
            while !self.stopped() {
                thread::sleep(Duration::from_millis(random.random_range(50..400)));
                let partition = random.random_range(0..partitions);
                let Ok(end) = wire.list_offset(topic, partition, -1) else { continue 'connection };
                let offset = random.random_range(0..=end / 2);
                let topic = topic.to_owned();
                self.notebook.note(Fact::TrimAsked { topic: topic.clone(), partition, offset });
                match wire.delete_records(&topic, partition, offset) {
                    Ok((0, start)) => {
                        ensure!(start >= offset, "{topic}-{partition}: deleted up to {start}, asked for {offset}");
                        self.notebook.note(Fact::Trimmed { topic, partition, offset });
                    }
                    Ok((error, _)) => ensure!(RETRIABLE.contains(&error), "deleting records: error {error}"),
                    Err(_) => continue 'connection,
                }
            }
            return Ok(());
        }
        Ok(())
    }

    fn consume(&self) -> Result<()> {
        let mut next: Vec<(String, i32, i64)> = Vec::new();
        for (topic, partitions) in [ALL, ONE, LIBRDKAFKA] {
            next.extend((0..partitions).map(|partition| (topic.to_owned(), partition, -1)));
        }
        let mut watermarks: HashMap<(String, i32), i64> = HashMap::new();
        while !self.stopped() {
            let Some(mut wire) = self.connect()? else { return Ok(()) };
            // Connections break when the broker is killed; what it says is checked all the same.
            while !self.stopped() {
                for (topic, partition, offset) in &mut next {
                    if *offset == -1
                        && let Ok(start) = wire.list_offset(topic, *partition, -2)
                    {
                        *offset = start;
                    }
                }
                if next.iter().any(|(_, _, offset)| *offset == -1) {
                    break;
                }
                let Ok(fetched) = wire.fetch(&next, 20, 1 << 20) else { break };
                for fetched in fetched {
                    let partition = fetched.data.partition_index;
                    let place = (fetched.topic.clone(), partition);
                    let position = next.iter_mut().find(|(topic, at, _)| *topic == place.0 && *at == partition);
                    let (_, _, offset) = position.context("an answer to what was asked")?;
                    match fetched.data.error_code {
                        0 => {}
                        // Retention went past it; an offset behind the end is found out below.
                        1 => {
                            let Ok(start) = wire.list_offset(&place.0, partition, -2) else { break };
                            ensure!(start > *offset, "{}-{partition}: nothing at {offset} any more", place.0);
                            *offset = start;
                            continue;
                        }
                        error if RETRIABLE.contains(&error) => continue,
                        error => bail!("fetching {}-{partition}: error {error}", place.0),
                    }
                    let watermark = fetched.data.high_watermark;
                    let known = watermarks.entry(place.clone()).or_insert(-1);
                    ensure!(watermark >= *known, "{}-{partition}: high watermark {watermark} after {known}", place.0);
                    if watermark > *known {
                        *known = watermark;
                        let (topic, partition) = place.clone();
                        self.notebook.note(Fact::HighWatermark { topic, partition, offset: watermark });
                    }
                    let bytes = fetched.data.records.unwrap_or_default();
                    self.seen(&place.0, partition, offset, bytes)?;
                }
            }
            thread::sleep(RECONNECT_PAUSE);
        }
        Ok(())
    }

    fn seen(&self, topic: &str, partition: i32, next: &mut i64, bytes: Bytes) -> Result<()> {
        let found = records(bytes, *next, payload::place(topic, partition))?;
        let Some(first) = found.first() else { return Ok(()) };
        let base_offset = first.offset;
        let mut ids = Vec::with_capacity(found.len());
        for record in &found {
            ensure!(record.offset == base_offset + ids.len() as i64, "{topic}-{partition}: a gap at {}", record.offset);
            ids.push(record.id.with_context(|| format!("{topic}-{partition} at {}: altered", record.offset))?);
        }
        *next = base_offset + ids.len() as i64;
        self.notebook.note(Fact::Seen(Run { topic: topic.to_owned(), partition, base_offset, ids }));
        Ok(())
    }
}

/// What an answer to a produce request comes to.
enum Told {
    Done,
    AskAgain,
    OutOfOrder,
}

struct Sent {
    partition: i32,
    ids: Vec<u64>,
    sequence: i32,
    batch: Bytes,
}

fn request_of(acks: i16, topic: &str, request: &[Sent]) -> kafka_protocol::messages::ProduceRequest {
    produce_request(acks, request.iter().map(|sent| (topic.to_owned(), sent.partition, sent.batch.clone())).collect())
}

/// A batch for each of some partitions.
fn new_request(
    random: &mut StdRng,
    ids: &mut std::ops::RangeFrom<u64>,
    sequences: &mut [i32],
    topic: &str,
    identity: (i64, i16),
) -> Vec<Sent> {
    let first = random.random_range(0..sequences.len());
    let count = random.random_range(1..=sequences.len().min(3));
    (0..count)
        .map(|step| {
            let partition = (first + step) % sequences.len();
            let values = new_values(random, ids, topic, partition as i32);
            let sequence = sequences[partition];
            let batch = values.batch(Some(identity), sequence);
            sequences[partition] += values.ids.len() as i32;
            Sent { partition: partition as i32, ids: values.ids, sequence, batch }
        })
        .collect()
}

struct Values {
    ids: Vec<u64>,
    values: Vec<Vec<u8>>,
}

fn new_values(random: &mut StdRng, ids: &mut std::ops::RangeFrom<u64>, topic: &str, partition: i32) -> Values {
    let place = payload::place(topic, partition);
    let ids: Vec<u64> = ids.by_ref().take(random.random_range(1..6)).collect();
    let values = ids.iter().map(|id| payload::value(*id, place)).collect();
    Values { ids, values }
}

impl Values {
    fn batch(&self, identity: Option<(i64, i16)>, sequence: i32) -> Bytes {
        let values: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        match identity {
            Some((id, epoch)) => Batch::sequenced(&values, id, epoch, sequence).bytes(),
            None => Batch::of(&values).bytes(),
        }
    }
}

struct Reports(Notebook);

impl ClientContext for Reports {
    /// Broken connections are what this load is about.
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<u64>) {
        if let Ok(message) = result {
            self.0.note(Fact::Acknowledged(Run {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                base_offset: message.offset(),
                ids: vec![*id],
            }));
        }
    }
}
