//! librdkafka in the few calls that the tests need: produce and collect the reports, read a partition to its end,
//! administrate.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::Broker;

/// Longer than anything may take on a busy machine: a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn config(broker: &Broker, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap());
    // A restart is met within the test's patience, not librdkafka's.
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    config.set("retry.backoff.ms", "20").set("retry.backoff.max.ms", "200");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// What became of one record: the tag it was sent with and where it is, or why not.
#[derive(Debug, Clone)]
pub struct Report {
    pub tag: usize,
    pub partition: i32,
    pub result: Result<i64, RDKafkaErrorCode>,
}

#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Vec<Report>>>);

impl ClientContext for Reports {
    /// Broken connections are what several tests make on purpose.
    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Box<usize>) {
        let (partition, result) = match result {
            Ok(message) => (message.partition(), Ok(message.offset())),
            Err((error, message)) => {
                (message.partition(), Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)))
            }
        };
        self.0.lock().expect("no test panics with it").push(Report { tag: *tag, partition, result });
    }
}

/// A producer that notes what became of each record, in the order of the reports.
pub struct Producer {
    inner: ThreadedProducer<Reports>,
    reports: Reports,
}

impl Producer {
    pub fn new(broker: &Broker, settings: &[(&str, &str)]) -> Producer {
        let reports = Reports::default();
        let inner = config(broker, settings).create_with_context(reports.clone()).expect("a producer");
        Producer { inner, reports }
    }

    /// Hands a record to librdkafka, waiting while its queue is full.
    pub fn send(&self, tag: usize, mut record: BaseRecord<'_, [u8], [u8], ()>) {
        let mut record = {
            let topic = record.topic;
            BaseRecord {
                topic,
                partition: record.partition,
                payload: record.payload,
                key: record.key,
                timestamp: record.timestamp,
                headers: record.headers.take(),
                delivery_opaque: Box::new(tag),
            }
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.inner.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    assert!(Instant::now() < deadline, "the producer's queue stays full");
                    std::thread::sleep(Duration::from_millis(2));
                    record = back;
                }
                // librdkafka refuses some records at once; to the test that is a report like any other.
                Err((error, back)) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                    let partition = back.partition.unwrap_or(-1);
                    self.reports.0.lock().expect("whole").push(Report { tag, partition, result: Err(code) });
                    return;
                }
            }
        }
    }

    pub fn send_value(&self, tag: usize, topic: &str, partition: i32, value: &[u8]) {
        self.send(tag, BaseRecord::to(topic).partition(partition).payload(value));
    }

    /// Waits until every record sent so far has its report, and takes the reports.
    pub fn finish(&self) -> Vec<Report> {
        self.inner.flush(PATIENCE).expect("every record gets its report");
        self.taken()
    }

    /// The reports that are there by now.
    pub fn taken(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.0.lock().expect("whole"))
    }

    /// As [`finish`](Self::finish), for a test in which nothing may fail: the offsets by tag order.
    pub fn finish_ok(&self) -> Vec<Report> {
        let mut reports = self.finish();
        reports.sort_by_key(|report| report.tag);
        for report in &reports {
            assert!(report.result.is_ok(), "record {} was not taken: {:?}", report.tag, report.result);
        }
        reports
    }

    pub fn inner(&self) -> &ThreadedProducer<Reports> {
        &self.inner
    }
}

/// Sends `values` to one partition and waits; the offset of each.
pub fn produce(broker: &Broker, topic: &str, partition: i32, values: &[Vec<u8>]) -> Vec<i64> {
    let producer = Producer::new(broker, &[("linger.ms", "1")]);
    for (tag, value) in values.iter().enumerate() {
        producer.send_value(tag, topic, partition, value);
    }
    producer.finish_ok().into_iter().map(|report| report.result.expect("checked")).collect()
}

pub fn consumer(broker: &Broker, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = config(broker, &[("group.id", "tests"), ("enable.auto.commit", "false")]);
    config.set("fetch.wait.max.ms", "100").set("enable.partition.eof", "true");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().expect("a consumer")
}

pub fn assign(consumer: &BaseConsumer, topic: &str, partition: i32, offset: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset).expect("an offset to start from");
    consumer.assign(&list).expect("an assignment");
}

/// Everything in a partition from `offset` on, until its end.
pub fn read_from(broker: &Broker, topic: &str, partition: i32, offset: Offset) -> Vec<OwnedMessage> {
    let consumer = consumer(broker, &[]);
    assign(&consumer, topic, partition, offset);
    read_assigned(&consumer)
}

/// All records of the one partition assigned, until its end.
pub fn read_assigned(consumer: &BaseConsumer) -> Vec<OwnedMessage> {
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => records.push(message.detach()),
            Some(Err(KafkaError::PartitionEOF(_))) => return records,
            // The broker may be on its way up.
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            )))
            | None => {}
            Some(Err(error)) => panic!("reading failed: {error}"),
        }
        assert!(Instant::now() < deadline, "no end of the partition after {} records", records.len());
    }
}

pub fn read_all(broker: &Broker, topic: &str, partition: i32) -> Vec<OwnedMessage> {
    read_from(broker, topic, partition, Offset::Beginning)
}

pub fn values(records: &[OwnedMessage]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.payload().unwrap_or_default().to_vec()).collect()
}

/// Low and high watermark.
pub fn watermarks(broker: &Broker, topic: &str, partition: i32) -> (i64, i64) {
    let consumer = consumer(broker, &[]);
    retry("watermarks", || consumer.fetch_watermarks(topic, partition, PATIENCE))
}

pub fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    config(broker, &[]).create().expect("an admin client")
}

pub fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Waits for one of librdkafka's futures on a runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Creates a topic with one replica and the given topic configs. Nothing of it is ever deleted for its age.
pub fn create_topic(broker: &Broker, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    if !configs.iter().any(|(key, _)| *key == "retention.ms") {
        topic = topic.set("retention.ms", "-1");
    }
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let results = block_on(admin(broker).create_topics([&topic], &admin_options())).expect("an answer");
    assert_eq!(results, [Ok(name.to_owned())]);
    if super::broker::is_kafka() {
        // Apache Kafka answers before its partitions have their leaders.
        let consumer = consumer(broker, &[]);
        for partition in 0..partitions {
            retry("leaders", || consumer.fetch_watermarks(name, partition, PATIENCE));
        }
    }
}

/// Calls until it works, as a client does that meets a broker on its way up.
pub fn retry<T>(what: &str, mut call: impl FnMut() -> Result<T, KafkaError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
