//! The producers of a load: idempotent ones that know to the moment when an answer was there, and librdkafka's.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kafka_protocol::messages::ProduceResponse;
use rand::Rng;
use rand::rngs::StdRng;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::{LIBRDKAFKA, Load, RECONNECT_PAUSE, RETRIABLE};
use crate::batch::Batch;
use crate::facts::{Fact, Notebook, Run};
use crate::payload;
use crate::wire::produce_request;

/// Requests that a producer has in flight; the broker knows a producer's last five batches again.
const IN_FLIGHT_MAX: usize = 4;
const BATCH_VERSION: i16 = 8;

/// OUT_OF_ORDER_SEQUENCE_NUMBER.
const OUT_OF_ORDER: i16 = 45;

impl Load {
    pub(super) fn produce(&self, thread: u64, acks: i16, (topic, partitions): (&str, i32)) -> Result<()> {
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

    pub(super) fn produce_with_librdkafka(&self, thread: u64) -> Result<()> {
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

pub(super) struct Values {
    pub ids: Vec<u64>,
    values: Vec<Vec<u8>>,
}

pub(super) fn new_values(
    random: &mut StdRng,
    ids: &mut std::ops::RangeFrom<u64>,
    topic: &str,
    partition: i32,
) -> Values {
    let place = payload::place(topic, partition);
    let ids: Vec<u64> = ids.by_ref().take(random.random_range(1..6)).collect();
    let values = ids.iter().map(|id| payload::value(*id, place)).collect();
    Values { ids, values }
}

impl Values {
    pub fn batch(&self, identity: Option<(i64, i16)>, sequence: i32) -> Bytes {
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
