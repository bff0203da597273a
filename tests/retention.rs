//! What may go, goes, and nothing else: retention by size and by time under load, DeleteRecords, and topics that are
//! deleted while clients write to them and read them.
//!
//! `CORELANE_TEST_RETENTION_CYCLES=N`: so many crashes (4) and deletions (4).

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteTopicsRequest};
use rand::Rng;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::batch::Batch;
use crate::harness::broker::is_kafka;
use crate::harness::client::{
    PATIENCE, Producer, admin, assign, block_on, consumer, create_topic, produce, read_all, retry, watermarks,
};
use crate::harness::wire::{self, FetchOptions, Wire, fetch_request, fetched, list_offset, topic_id, topic_name};
use crate::harness::{Broker, seeded};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const POLICY_VIOLATION: i16 = 44;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// Retention that is looked at all the time, and files that go soon.
const EAGER: [(&str, &str); 3] = [
    ("log.initial.task.delay.ms", "0"),
    ("log.retention.check.interval.ms", "100"),
    ("log.segment.delete.delay.ms", "50"),
];

fn cycles() -> usize {
    std::env::var("CORELANE_TEST_RETENTION_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Asks for the log of partitions to begin at offsets; the error and low watermark of each.
fn delete_records(wire: &mut Wire, topic: &str, offsets: &[(i32, i64)], version: i16) -> Vec<(i16, i64)> {
    let partitions = offsets
        .iter()
        .map(|(partition, offset)| {
            DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(*offset)
        })
        .collect();
    let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(partitions);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let response = wire.call(&request, version);
    let mut rows = response.topics[0].partitions.clone();
    rows.sort_by_key(|row| row.partition_index);
    rows.iter().map(|row| (row.error_code, row.low_watermark)).collect()
}

fn delete_topic(wire: &mut Wire, topic: &str) -> i16 {
    let state = DeleteTopicState::default().with_name(Some(topic_name(topic)));
    let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(30_000);
    wire.call(&request, 6).responses[0].error_code
}

/// Ends the loads of a test, also when it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory");
    let mut names: Vec<String> =
        entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("the directory");
    entries.filter_map(Result::ok).filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[test]
fn delete_records_moves_the_log_start_for_every_reader_and_for_good() {
    for version in 0..=2 {
        let mut broker = Broker::start(&[]);
        create_topic(&broker, "t", 2, &[]);
        create_topic(&broker, "compacted", 1, &[("cleanup.policy", "compact")]);
        create_topic(&broker, "both", 1, &[("cleanup.policy", "compact,delete")]);
        let mut wire = Wire::connect(&broker);
        let base = crate::harness::batch::now_ms() - 10_000;
        for (at, values) in [(0, 3), (3, 2), (5, 5)] {
            let values = vec![b"v".as_slice(); values];
            let batch = Batch::of(&values).at(base + at);
            assert_eq!(wire::produce(&mut wire, "t", 0, batch.bytes()), (0, at));
        }
        assert_eq!(delete_records(&mut wire, "t", &[(0, 4), (1, -1)], version), [(0, 4), (0, 0)]);
        assert_eq!(delete_records(&mut wire, "t", &[(0, 2)], version), [(0, 4)], "it never goes back");
        for (offset, error) in [(11, OFFSET_OUT_OF_RANGE), (-2, OFFSET_OUT_OF_RANGE), (i64::MAX, OFFSET_OUT_OF_RANGE)] {
            assert_eq!(delete_records(&mut wire, "t", &[(0, offset)], version), [(error, -1)], "offset {offset}");
        }
        for (topic, partition, error) in [
            ("none", 0, UNKNOWN_TOPIC_OR_PARTITION),
            ("t", 2, UNKNOWN_TOPIC_OR_PARTITION),
            ("compacted", 0, POLICY_VIOLATION),
        ] {
            assert_eq!(delete_records(&mut wire, topic, &[(partition, 0)], version), [(error, -1)], "{topic}");
        }
        assert_eq!(delete_records(&mut wire, "both", &[(0, -1)], version), [(0, 0)]);

        let check = |broker: &Broker, wire: &mut Wire, start: i64| {
            let data = wire::fetch(wire, "t", 0, start - 1);
            assert_eq!(data.error_code, OFFSET_OUT_OF_RANGE);
            let data = wire::fetch(wire, "t", 0, start);
            assert_eq!((data.error_code, data.log_start_offset, data.high_watermark), (0, start, 10));
            for earliest in [-2, -4] {
                let listed = list_offset(wire, "t", earliest, 8);
                assert_eq!((listed.error_code, listed.offset), (0, start));
            }
            // A record of that time is there, below the log start: the first one that can be read is told.
            let listed = list_offset(wire, "t", base, 8);
            assert_eq!((listed.error_code, listed.offset), (0, if start < 10 { start } else { -1 }));
            assert_eq!(watermarks(broker, "t", 0), (start, 10));
            if start < 10 {
                let read = read_all(broker, "t", 0);
                assert_eq!(read.iter().map(Message::offset).collect::<Vec<_>>(), (start..10).collect::<Vec<_>>());
            }
        };
        check(&broker, &mut wire, 4);
        if is_kafka() {
            // It writes its checkpoint now and then: a crash may take back what was answered.
            continue;
        }
        // What was answered is on the device: neither a crash nor a stop takes it back.
        broker.kill();
        broker.launch();
        let mut wire = Wire::connect(&broker);
        check(&broker, &mut wire, 4);
        broker.restart();
        let mut wire = Wire::connect(&broker);
        check(&broker, &mut wire, 4);
        assert_eq!(delete_records(&mut wire, "t", &[(0, -1)], version), [(0, 10)]);
        check(&broker, &mut wire, 10);
        broker.kill();
        broker.launch();
        let mut wire = Wire::connect(&broker);
        check(&broker, &mut wire, 10);
        assert_eq!(wire::produce(&mut wire, "t", 0, Batch::of(&[b"10"]).bytes()), (0, 10));
        assert_eq!(watermarks(&broker, "t", 0), (10, 11));
    }
}

#[test]
fn records_of_internal_topics_are_not_deleted() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Offset(1)).expect("an offset");
    let committing = consumer(&broker, &[("group.id", "g")]);
    retry("the commit", || committing.commit(&list, CommitMode::Sync));
    let mut wire = Wire::connect(&broker);
    assert_eq!(delete_records(&mut wire, "__consumer_offsets", &[(0, -1)], 2), [(INVALID_TOPIC_EXCEPTION, -1)]);
}

/// The value says which record it is, and how long it has to be.
fn value(tag: usize) -> Vec<u8> {
    format!("{tag} {}", "x".repeat(500 + tag % 500)).into_bytes()
}

fn tag_of(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).expect("text");
    let tag = text.split(' ').next().and_then(|tag| tag.parse().ok()).expect("a number");
    assert!(value == self::value(tag), "the bytes of record {tag} are whole");
    tag
}

#[test]
fn a_log_stays_near_retention_bytes_while_it_is_written_to_and_read() {
    const RECORDS: usize = 40_000;
    let mut broker = Broker::start(&EAGER);
    create_topic(
        &broker,
        "t",
        1,
        &[("segment.bytes", "1048576"), ("retention.bytes", "3000000"), ("retention.ms", "-1")],
    );
    let done = AtomicBool::new(false);
    let read = AtomicUsize::new(0);
    let dir = broker.data_dir().join("t-0");
    let largest = thread::scope(|scope| {
        let ending = Over(&done);
        let reader = scope.spawn(|| {
            let consumer = consumer(&broker, &[("auto.offset.reset", "earliest")]);
            assign(&consumer, "t", 0, Offset::Beginning);
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                match consumer.poll(Duration::from_millis(100)) {
                    None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                    Some(Ok(record)) => {
                        assert!(record.offset() >= next, "{} after {next}", record.offset());
                        next = record.offset() + 1;
                        assert_eq!(tag_of(record.payload().expect("a value")) as i64, record.offset());
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(Err(error)) => panic!("the consumer: {error}"),
                }
            }
        });
        let watcher = scope.spawn(|| {
            let mut largest = 0;
            while !done.load(Ordering::Relaxed) {
                largest = largest.max(bytes_in(&dir));
                thread::sleep(Duration::from_millis(10));
            }
            largest
        });
        let producer =
            Producer::new(&broker, &[("batch.num.messages", "50"), ("queue.buffering.max.messages", "2000")]);
        for tag in 0..RECORDS {
            producer.send_value(tag, "t", 0, &value(tag));
        }
        producer.finish_ok();
        until("something is read", || read.load(Ordering::Relaxed) > 0 || reader.is_finished());
        drop(ending);
        reader.join().expect("the reader");
        watcher.join().expect("the watcher")
    });
    let read = read.into_inner();
    println!("30 MB through 3 MB: at most {largest} bytes on disk, {read} of {RECORDS} records were read");
    until("the log is within its limit", || {
        let (start, end) = watermarks(&broker, "t", 0);
        // Whole segments only: one more than the limit may stay, and the active one has its room.
        end == RECORDS as i64 && start > RECORDS as i64 * 8 / 10 && bytes_in(&dir) < 8_000_000
    });
    let check = |broker: &Broker| {
        let (start, end) = watermarks(broker, "t", 0);
        let records = read_all(broker, "t", 0);
        assert_eq!(records.iter().map(Message::offset).collect::<Vec<_>>(), (start..end).collect::<Vec<_>>());
        for record in &records {
            assert_eq!(tag_of(record.payload().expect("a value")) as i64, record.offset());
        }
        start
    };
    let start = check(&broker);
    broker.kill();
    broker.launch();
    assert_eq!(check(&broker), start);
    broker.set("log.segment.delete.delay.ms", "1000000");
    broker.restart();
    produce(&broker, "t", 0, &(RECORDS..RECORDS + 8000).map(value).collect::<Vec<_>>());
    until("segments wait for their removal", || names_in(&dir).iter().any(|name| name.ends_with(".deleted")));
    broker.stop();
    let left = names_in(&dir);
    assert!(left.iter().all(|name| !name.ends_with(".deleted")), "a clean stop removes what waits: {left:?}");
    broker.launch();
    assert!(check(&broker) > start);
}

#[test]
fn what_is_older_than_retention_ms_goes_with_the_active_segment() {
    let mut broker = Broker::start(&EAGER);
    create_topic(&broker, "t", 1, &[("retention.ms", "2000")]);
    create_topic(&broker, "compacted", 1, &[("retention.ms", "1"), ("cleanup.policy", "compact")]);
    produce(&broker, "t", 0, &(0..100).map(value).collect::<Vec<_>>());
    let mut wire = Wire::connect(&broker);
    let keyed = Batch::of(&[b"v"]);
    let _ = wire::produce(&mut wire, "compacted", 0, keyed.bytes());
    until("all of it is too old", || watermarks(&broker, "t", 0) == (100, 100));
    let dir = broker.data_dir().join("t-0");
    until("the files are gone", || {
        let names = names_in(&dir);
        names.iter().all(|name| !name.starts_with("00000000000000000000"))
            && names.contains(&format!("{:020}.log", 100))
    });
    broker.kill();
    broker.launch();
    assert_eq!(watermarks(&broker, "t", 0), (100, 100), "the offsets go on where they were");
    let offsets = produce(&broker, "t", 0, &[value(100)]);
    assert_eq!(offsets, [100]);
    broker.restart();
    let (start, end) = watermarks(&broker, "t", 0);
    assert!(start >= 100 && end == 101);
}

/// Deletes records of both partitions as librdkafka does, until the load is over; the highest answer for each. A broker
/// that is down is asked again.
fn delete_again_and_again(
    admin: &AdminClient<DefaultClientContext>,
    consumer: &BaseConsumer,
    shares: &[f64],
    over: &AtomicBool,
) -> [i64; 2] {
    let mut answered = [0, 0];
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(2)));
    for share in shares.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        for partition in 0..2 {
            let Ok((start, end)) = consumer.fetch_watermarks("t", partition, Duration::from_secs(2)) else { continue };
            let offset = start + ((end - start) as f64 * share) as i64;
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset("t", partition, Offset::Offset(offset)).expect("an offset");
            let Ok(rows) = block_on(admin.delete_records(&offsets, &options)) else { continue };
            for row in rows.elements() {
                if row.error().is_ok()
                    && let Offset::Offset(low_watermark) = row.offset()
                {
                    assert!(low_watermark >= offset);
                    answered[partition as usize] = low_watermark.max(answered[partition as usize]);
                }
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    answered
}

#[test]
fn crashes_with_retention_and_delete_records_under_way_lose_nothing_that_stays() {
    let mut random = seeded();
    let mut broker = Broker::start(&EAGER);
    let configs = [("segment.bytes", "1048576"), ("retention.bytes", "4000000"), ("retention.ms", "-1")];
    create_topic(&broker, "t", 2, &configs);
    let producer = Producer::new(&broker, &[("enable.idempotence", "true"), ("queue.buffering.max.messages", "5000")]);
    let (admin, asking) = (admin(&broker), consumer(&broker, &[]));
    let mut sent = 0;
    let mut acknowledged: HashMap<(i32, i64), usize> = HashMap::new();
    let mut deleted = [0, 0];
    for cycle in 0..cycles() {
        let pause = Duration::from_millis(random.random_range(100..800));
        let shares: Vec<f64> = (0..100).map(|_| random.random()).collect();
        let over = AtomicBool::new(false);
        let answered = thread::scope(|scope| {
            let ending = Over(&over);
            let deleter = scope.spawn(|| delete_again_and_again(&admin, &asking, &shares, &over));
            let killer = scope.spawn(|| {
                thread::sleep(pause);
                broker.kill();
                broker.launch();
            });
            for _ in 0..8_000 {
                producer.send_value(sent, "t", (sent % 2) as i32, &value(sent));
                sent += 1;
            }
            killer.join().expect("the crash");
            for report in producer.finish_ok() {
                acknowledged.insert((report.partition, report.result.expect("acknowledged")), report.tag);
            }
            drop(ending);
            deleter.join().expect("the deletions")
        });
        for partition in 0..2 {
            let so_far = &mut deleted[partition as usize];
            *so_far = answered[partition as usize].max(*so_far);
            let (start, end) = watermarks(&broker, "t", partition);
            assert!(start >= *so_far, "cycle {cycle}: the deletion up to {so_far} was answered, the log has {start}");
            let found: HashMap<i64, usize> = read_all(&broker, "t", partition)
                .iter()
                .map(|record| (record.offset(), tag_of(record.payload().expect("a value"))))
                .collect();
            for offset in start..end {
                let tag = found.get(&offset);
                // Retention goes on while this reads.
                if tag.is_none() && offset < watermarks(&broker, "t", partition).0 {
                    continue;
                }
                assert_eq!(tag, acknowledged.get(&(partition, offset)), "cycle {cycle}: {partition} at {offset}");
            }
            assert!(acknowledged.keys().all(|(of, offset)| *of != partition || *offset < end));
        }
    }
    assert!(deleted.iter().all(|start| *start > 0), "no deletion was answered: {deleted:?}");
}

#[test]
fn what_a_deleted_topic_left_in_the_checkpoints_is_not_taken_for_its_successors() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    produce(&broker, "t", 0, &(0..50).map(value).collect::<Vec<_>>());
    let mut wire = Wire::connect(&broker);
    assert_eq!(delete_records(&mut wire, "t", &[(0, 40)], 2), [(0, 40)]);
    assert_eq!(delete_topic(&mut wire, "t"), 0);
    create_topic(&broker, "t", 1, &[]);
    produce(&broker, "t", 0, &(0..3).map(value).collect::<Vec<_>>());
    broker.kill();
    broker.launch();
    assert_eq!(watermarks(&broker, "t", 0), (0, 3));
    let tags: Vec<usize> =
        read_all(&broker, "t", 0).iter().map(|record| tag_of(record.payload().expect("a value"))).collect();
    assert_eq!(tags, [0, 1, 2]);
}

#[test]
fn a_topic_deleted_under_load_is_unknown_at_once_and_can_be_made_anew() {
    // The load's own clients would make the topic anew.
    let settings = [("log.segment.delete.delay.ms", "300"), ("auto.create.topics.enable", "false")];
    let mut broker = Broker::start(&settings);
    let committed = |broker: &Broker| {
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        let consumer = consumer(broker, &[("group.id", "g")]);
        retry("the committed offset", || consumer.committed_offsets(list.clone(), PATIENCE)).elements()[0].offset()
    };
    for cycle in 0..cycles() {
        create_topic(&broker, "t", 2, &[("segment.bytes", "1048576")]);
        let mut wire = Wire::connect(&broker);
        let id = topic_id(&mut wire, "t");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Offset(1)).expect("an offset");
        let committing = consumer(&broker, &[("group.id", "g")]);
        retry("the commit", || committing.commit(&list, CommitMode::Sync));
        assert_eq!(committed(&broker), Offset::Offset(1));
        let over = AtomicBool::new(false);
        let read = AtomicUsize::new(0);
        thread::scope(|scope| {
            let ending = Over(&over);
            let load = scope.spawn(|| {
                let producer = Producer::new(&broker, &[("message.timeout.ms", "2000"), ("acks", "all")]);
                let mut tag = 0;
                while !over.load(Ordering::Relaxed) && tag < 300_000 {
                    producer.send_value(tag, "t", (tag % 2) as i32, &value(tag));
                    tag += 1;
                }
                producer.finish()
            });
            let reading = scope.spawn(|| {
                let consumer = consumer(&broker, &[("auto.offset.reset", "earliest")]);
                assign(&consumer, "t", 0, Offset::Beginning);
                while !over.load(Ordering::Relaxed) {
                    match consumer.poll(Duration::from_millis(50)) {
                        Some(Ok(record)) => {
                            tag_of(record.payload().expect("a value"));
                            read.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(Err(
                            KafkaError::PartitionEOF(_)
                            | KafkaError::MessageConsumption(
                                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
                            ),
                        ))
                        | None => {}
                        Some(Err(error)) => panic!("the consumer: {error:?}"),
                    }
                }
            });
            // One that waits at the end of a partition nobody writes to is woken.
            let waiting = scope.spawn(|| {
                let mut wire = Wire::connect(&broker);
                let options = FetchOptions { max_wait_ms: 60_000, min_bytes: i32::MAX, ..FetchOptions::default() };
                let mut request = fetch_request("t", &[(0, 0)], options);
                request.topics[0].topic_id = id;
                request.topics[0].partitions[0].partition_max_bytes = 1;
                fetched(&wire.call(&request, 13)).error_code
            });
            until("the load is on its way", || {
                let is_read = read.load(Ordering::Relaxed) > 0 || reading.is_finished();
                is_read && watermarks(&broker, "t", 0).1 > 2000
            });
            assert_eq!(delete_topic(&mut wire, "t"), 0);
            let code = waiting.join().expect("the waiting fetch");
            assert!(code == UNKNOWN_TOPIC_ID || is_kafka(), "cycle {cycle}: {code}");
            assert_eq!(wire::produce(&mut wire, "t", 0, Batch::of(&[b"v"]).bytes()).0, UNKNOWN_TOPIC_OR_PARTITION);
            let mut by_id = wire::produce_request("t", 0, -1, Batch::of(&[b"v"]).bytes());
            by_id.topic_data[0].topic_id = id;
            assert_eq!(wire::produced(&wire.call(&by_id, 13)).error_code, UNKNOWN_TOPIC_ID);
            assert_eq!(wire::fetch(&mut wire, "t", 0, 0).error_code, UNKNOWN_TOPIC_OR_PARTITION);
            assert_eq!(list_offset(&mut wire, "t", -2, 5).error_code, UNKNOWN_TOPIC_OR_PARTITION);
            assert_eq!(delete_topic(&mut wire, "t"), UNKNOWN_TOPIC_OR_PARTITION);
            let dirs = names_in(&broker.data_dir());
            assert!(dirs.iter().all(|name| name != "t-0" && name != "t-1"), "{dirs:?}");
            drop(ending);
            let reports = load.join().expect("the load");
            assert!(reports.iter().any(|report| report.result.is_ok()));
            for report in reports {
                let code = report.result.err();
                let expected = [
                    None,
                    Some(RDKafkaErrorCode::UnknownTopicOrPartition),
                    Some(RDKafkaErrorCode::UnknownTopic),
                    Some(RDKafkaErrorCode::UnknownPartition),
                    Some(RDKafkaErrorCode::MessageTimedOut),
                    // librdkafka's word for what it had queued for a leader that is none any more; with Apache Kafka too.
                    Some(RDKafkaErrorCode::BrokerDestroy),
                ];
                assert!(expected.contains(&code), "cycle {cycle}: {code:?}");
            }
            reading.join().expect("the reader");
        });
        create_topic(&broker, "t", 2, &[]);
        assert_eq!(watermarks(&broker, "t", 0), (0, 0), "a new topic");
        assert_eq!(committed(&broker), Offset::Invalid, "what was committed for the old one is gone");
        assert_eq!(produce(&broker, "t", 0, &[value(7)]), [0]);
        if cycle % 2 == 0 {
            broker.kill();
            broker.launch();
        }
        assert_eq!(read_all(&broker, "t", 0).len(), 1);
        assert_eq!(committed(&broker), Offset::Invalid);
        until("the files of the old topic are gone", || {
            names_in(&broker.data_dir()).iter().all(|name| !name.ends_with("-delete"))
        });
        let mut wire = Wire::connect(&broker);
        assert_eq!(delete_topic(&mut wire, "t"), 0);
    }
}
