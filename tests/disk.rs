//! Disks that are full, read-only, gone or failing, for real: a small ext4 on a loop device, and real clients.
//!
//! A full disk is no failure: producers wait (NOT_ENOUGH_REPLICAS, which they retry), everything else goes on, and so do
//! they by themselves once there is room. A failing disk is one: nothing is acknowledged any more, what can be read is
//! read, the process stays up and says what to do, and its stop is not called clean.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::client::{
    PATIENCE, Producer, Report, admin, admin_options, block_on, consumer, create_topic, produce, read_all, retry,
    watermarks,
};
use crate::harness::{Broker, SmallDisk};

const PARTITIONS: i32 = 3;
const STORAGE_ERROR: RDKafkaErrorCode = RDKafkaErrorCode::KafkaStorageError;
/// What producers of these tests can be told when they do not retry.
const GIVES_UP: &[(&str, &str)] =
    &[("acks", "all"), ("retries", "0"), ("enable.idempotence", "false"), ("message.timeout.ms", "20000")];

fn broker_on(disk: &SmallDisk, io: &str) -> Broker {
    let mut broker = Broker::prepare_at(disk.data_dir(), &[]);
    for (key, value) in [("log.io", io), ("shards", "2"), ("log.segment.delete.delay.ms", "500")] {
        broker.set(key, value);
    }
    with_admin(&mut broker);
    broker
}

fn with_admin(broker: &mut Broker) {
    let address = format!("127.0.0.1:{}", admin_port(broker));
    broker.set("admin.listener", &address);
}

fn admin_port(broker: &Broker) -> u16 {
    broker.port() + 15
}

fn get(broker: &Broker, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", admin_port(broker))).expect("the admin port");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The value of a metric without labels.
fn metric(broker: &Broker, name: &str) -> i64 {
    let text = get(broker, "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn is_full(broker: &Broker) -> bool {
    metric(broker, "corelane_disk_full") == 1
}

fn lines(broker: &Broker, text: &str) -> usize {
    broker.log().lines().filter(|line| line.contains(text)).count()
}

/// Values that tell which record they are, and that no file system makes smaller.
fn value(tag: usize, size: usize) -> Vec<u8> {
    let mut value = format!("{tag} ").into_bytes();
    let mut state = tag as u64 + 1;
    while value.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.push((state >> 56) as u8);
    }
    value
}

/// One idempotent producer: of what it sends nothing may fail, however long it has to wait.
struct Load {
    producer: Producer,
    first: usize,
    sent: usize,
}

impl Load {
    fn new(broker: &Broker, first: usize) -> Load {
        let settings = [
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("message.timeout.ms", "300000"),
            ("queue.buffering.max.messages", "1000000"),
            ("batch.size", "65536"),
        ];
        Load { producer: Producer::new(broker, &settings), first, sent: 0 }
    }

    fn send(&mut self, count: usize, size: usize) {
        for _ in 0..count {
            let tag = self.first + self.sent;
            self.producer.send_value(tag, "load", tag as i32 % PARTITIONS, &value(tag, size));
            self.sent += 1;
        }
    }
}

/// What was acknowledged is there, at its offset, once, and in the order in which each producer sent it.
fn check(broker: &Broker, acknowledged: &[Report], per_producer: usize) {
    let mut found: HashMap<usize, (i32, i64)> = HashMap::new();
    for partition in 0..PARTITIONS {
        let mut last: HashMap<usize, usize> = HashMap::new();
        for (index, record) in read_all(broker, "load", partition).iter().enumerate() {
            assert_eq!(record.offset(), index as i64, "no gap in partition {partition}");
            let payload = record.payload().expect("a value");
            let tag = payload.split(|byte| *byte == b' ').next().and_then(|text| std::str::from_utf8(text).ok());
            let tag: usize = tag.and_then(|text| text.parse().ok()).expect("a tag");
            assert!(payload == value(tag, payload.len()), "record {tag} is whole");
            assert_eq!(found.insert(tag, (partition, record.offset())), None, "record {tag} is there twice");
            let before = last.insert(tag / per_producer, tag);
            assert!(before.is_none_or(|before| before < tag), "record {tag} comes behind record {before:?}");
        }
    }
    for report in acknowledged {
        let offset = report.result.unwrap_or_else(|error| panic!("record {} was not taken: {error}", report.tag));
        assert_eq!(found.get(&report.tag), Some(&(report.partition, offset)), "record {}", report.tag);
    }
    assert_eq!(found.len(), acknowledged.len(), "nothing is there that was not acknowledged");
}

fn commit(broker: &Broker, offset: i64) -> Result<(), KafkaError> {
    commit_of("committing", broker, offset)
}

fn commit_of(group: &str, broker: &Broker, offset: i64) -> Result<(), KafkaError> {
    let consumer = consumer(broker, &[("group.id", group)]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("load", 0, Offset::Offset(offset)).expect("an offset");
    consumer.commit(&list, CommitMode::Sync)
}

/// The offsets topic is made by the first that asks, and may be on its way.
fn first_commit(broker: &Broker, offset: i64) {
    retry("an offset is committed", || commit(broker, offset));
}

fn committed(broker: &Broker) -> Option<Offset> {
    let consumer = consumer(broker, &[("group.id", "committing")]);
    let mut list = TopicPartitionList::new();
    list.add_partition("load", 0);
    let list = consumer.committed_offsets(list, PATIENCE).expect("the committed offsets");
    list.find_partition("load", 0).map(|found| found.offset())
}

/// The error of one record that nobody retries.
fn refused(broker: &Broker, topic: &str) -> RDKafkaErrorCode {
    let producer = Producer::new(broker, GIVES_UP);
    producer.send_value(0, topic, 0, &value(0, 100));
    producer.finish().remove(0).result.expect_err("it is refused")
}

fn create(broker: &Broker, topic: &str) -> Result<String, (String, RDKafkaErrorCode)> {
    let topic = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    block_on(admin(broker).create_topics([&topic], &admin_options())).expect("an answer").remove(0)
}

fn delete(broker: &Broker, topic: &str) {
    let deleted = block_on(admin(broker).delete_topics(&[topic], &admin_options())).expect("an answer");
    assert_eq!(deleted, [Ok(topic.to_owned())]);
}

fn full_disk_goes_on(io: &str) {
    const SMALL: usize = 600;
    const LARGE: usize = 4000;
    const PER_PRODUCER: usize = 10_000;
    let Some(disk) = SmallDisk::ext4(96) else { return };
    let mut broker = broker_on(&disk, io);
    broker.launch();
    // Small segments, so that the full disk meets rolls too.
    create_topic(&broker, "load", PARTITIONS, &[("segment.bytes", "4194304")]);
    create_topic(&broker, "doomed", 1, &[]);
    create_topic(&broker, "small", 1, &[]);
    produce(&broker, "small", 0, &[value(0, 1000)]);
    produce(&broker, "doomed", 0, &(0..500).map(|tag| value(tag, 64 << 10)).collect::<Vec<_>>());
    first_commit(&broker, 1);
    assert!(metric(&broker, "corelane_disk_reserve_bytes") >= 4 << 20);
    assert!(get(&broker, "/health").ends_with("healthy\n"));

    let mut loads: Vec<Load> = (0..2).map(|which| Load::new(&broker, which * PER_PRODUCER)).collect();
    for load in &mut loads {
        load.send(SMALL, 30_000);
        load.send(LARGE, 4_000);
    }
    let waiting = || loads.iter().map(|load| load.producer.inner().in_flight_count()).sum::<i32>();
    eventually("the disk is full", || is_full(&broker));
    // Room that partitions hold and do not use may come back for a moment; then it is full for good.
    let mut still = (waiting(), Instant::now());
    eventually("producers stand still", || {
        if waiting() != still.0 {
            still = (waiting(), Instant::now());
        }
        is_full(&broker) && still.1.elapsed() > Duration::from_secs(3)
    });
    assert!(waiting() > 100, "producers wait");
    assert!(get(&broker, "/health").contains("the disk is full"));

    assert_eq!(refused(&broker, "load"), RDKafkaErrorCode::NotEnoughReplicas);
    for partition in 0..PARTITIONS {
        assert!(read_all(&broker, "load", partition).len() > 100, "what is there can be read");
    }
    for offset in 2..50 {
        commit(&broker, offset).expect("an offset is committed");
    }
    assert_eq!(committed(&broker), Some(Offset::Offset(49)));
    assert_eq!(create(&broker, "no-room"), Err(("no-room".to_owned(), STORAGE_ERROR)));
    let grown = block_on(admin(&broker).create_partitions(&[NewPartitions::new("small", 5)], &admin_options()));
    assert_eq!(grown.expect("an answer"), [Err(("small".to_owned(), STORAGE_ERROR))]);
    delete(&broker, "small");
    assert!(is_full(&broker), "a topic of one record makes no room");

    delete(&broker, "doomed");
    let mut acknowledged = Vec::new();
    for load in &loads {
        acknowledged.extend(load.producer.finish_ok());
    }
    assert_eq!(acknowledged.len(), 2 * (SMALL + LARGE));
    check(&broker, &acknowledged, PER_PRODUCER);
    eventually("the disk has room", || !is_full(&broker) && get(&broker, "/health").ends_with("healthy\n"));
    create(&broker, "room").expect("a topic is created");
    assert!(broker.is_running(), "it is the process that was started");
    let (full, room) = (lines(&broker, " is full. Producers"), lines(&broker, "has room again"));
    assert!(full > 0 && full == room, "{full} times full, {room} times room");
    assert_eq!(lines(&broker, "ERROR"), 0, "a full disk is no error");
    let times = metric(&broker, "corelane_disk_full_times_total");
    println!("{io}: {times} times full, told {full} times; {} records", acknowledged.len());
    broker.restart();
    check(&broker, &acknowledged, PER_PRODUCER);
    assert_eq!(committed(&broker), Some(Offset::Offset(49)));
}

#[test]
fn a_full_disk_stops_producers_only_and_they_go_on_by_themselves_direct() {
    full_disk_goes_on("direct");
}

#[test]
fn a_full_disk_stops_producers_only_and_they_go_on_by_themselves_buffered() {
    full_disk_goes_on("buffered");
}

#[test]
fn the_last_part_of_the_reserve_is_for_the_broker_itself() {
    let Some(disk) = SmallDisk::ext4(64) else { return };
    let mut broker = broker_on(&disk, "direct");
    broker.launch();
    create_topic(&broker, "load", PARTITIONS, &[]);
    create_topic(&broker, "doomed", 1, &[]);
    first_commit(&broker, 1);
    disk.fill_but(1 << 20);
    let mut load = Load::new(&broker, 0);
    load.send(300, 10_000);
    eventually("the disk is full", || is_full(&broker));
    // Somebody else takes what was released for offsets.
    let ballast = disk.fill_but(0);
    let mut group = 0;
    eventually("offsets are refused", || {
        group += 1;
        commit_of(&format!("group-{group}"), &broker, 1).is_err()
    });
    assert_eq!(lines(&broker, "the reserve used up"), 1);
    assert_eq!(metric(&broker, "corelane_disk_reserve_bytes"), 0);
    delete(&broker, "doomed");
    assert_eq!(committed(&broker), Some(Offset::Offset(1)), "what is committed is told");
    assert_eq!(refused(&broker, "load"), RDKafkaErrorCode::NotEnoughReplicas);
    std::fs::remove_file(ballast).expect("it was there");
    let acknowledged = load.producer.finish_ok();
    check(&broker, &acknowledged, usize::MAX);
    first_commit(&broker, 2);
    broker.restart();
    check(&broker, &acknowledged, usize::MAX);
}

/// Kills and stops while the disk is full; the producer is the same all the time.
fn full_disk_is_restarted_on(io: &str) {
    const COUNT: usize = 1200;
    let Some(disk) = SmallDisk::ext4(64) else { return };
    let mut broker = broker_on(&disk, io);
    broker.launch();
    create_topic(&broker, "load", PARTITIONS, &[("segment.bytes", "1048576")]);
    let mut load = Load::new(&broker, 0);
    load.send(100, 10_000);
    let mut acknowledged = load.producer.finish_ok();
    first_commit(&broker, 7);
    // Loaded anew, a segment ends inside a block; and not a block is left but those of the reserve.
    broker.restart();
    let ballast = disk.fill_but(0);
    load.send(COUNT, 10_000);
    eventually("the disk is full", || is_full(&broker));

    broker.kill();
    broker.launch();
    eventually("the disk is full", || is_full(&broker));
    assert_eq!(refused(&broker, "load"), RDKafkaErrorCode::NotEnoughReplicas);
    let read: usize = (0..PARTITIONS).map(|partition| read_all(&broker, "load", partition).len()).sum();
    assert!(read >= 100, "{read} records");
    commit(&broker, 8).expect("an offset is committed");

    let status = broker.stop();
    assert!(status.is_some_and(|status| status.success()), "a full disk is stopped on cleanly: {status:?}");
    assert!(disk.data_dir().join(".kafka_cleanshutdown").exists());
    assert!(!disk.data_dir().join("corelane.reserve").exists(), "Apache Kafka finds no file of ours");
    disk.fill_but(2 << 20);
    broker.launch();
    assert_eq!(committed(&broker), Some(Offset::Offset(8)));

    // Not a single block: a start says so, and leaves everything as it is.
    broker.kill();
    let _ = std::fs::remove_file(disk.data_dir().join("corelane.reserve"));
    disk.fill_but(0);
    let output = broker.command().output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(86), "{told}");
    assert!(told.contains("is full, and the broker needs a little room to start"), "{told}");

    std::fs::remove_file(ballast).expect("it was there");
    broker.launch();
    acknowledged.extend(load.producer.finish_ok());
    assert_eq!(acknowledged.len(), 100 + COUNT);
    check(&broker, &acknowledged, usize::MAX);
    assert_eq!(committed(&broker), Some(Offset::Offset(8)));
}

#[test]
fn a_broker_is_killed_stopped_and_started_on_a_full_disk_direct() {
    full_disk_is_restarted_on("direct");
}

#[test]
fn a_broker_is_killed_stopped_and_started_on_a_full_disk_buffered() {
    full_disk_is_restarted_on("buffered");
}

/// Ends a broker whose storage has failed: it says that the stop is not clean, and nothing else says that it was.
fn stop_uncleanly(broker: &mut Broker) {
    let status = broker.stop().expect("it is our child");
    assert_eq!(status.code(), Some(87), "{}", broker.log());
    assert_eq!(lines(broker, "Stopped, but not cleanly"), 1);
    assert!(!broker.data_dir().join(".kafka_cleanshutdown").exists());
    assert_eq!(lines(broker, "panicked"), 0);
    let errors = lines(broker, "ERROR");
    assert!(errors < 40, "{errors} lines of errors");
}

#[test]
fn a_file_system_that_turns_read_only_is_read_from() {
    for io in ["direct", "buffered"] {
        let Some(mut disk) = SmallDisk::ext4(64) else { return };
        let mut broker = broker_on(&disk, io);
        broker.launch();
        create_topic(&broker, "load", PARTITIONS, &[]);
        let mut load = Load::new(&broker, 0);
        load.send(300, 2_000);
        let acknowledged = load.producer.finish_ok();
        first_commit(&broker, 7);

        // As ext4 does after an error of its own.
        disk.remount("abort");
        for _ in 0..3 {
            assert_eq!(refused(&broker, "load"), STORAGE_ERROR);
        }
        check(&broker, &acknowledged, usize::MAX);
        assert_eq!(committed(&broker), Some(Offset::Offset(7)), "what is committed is told");
        assert_eq!(create(&broker, "new").expect_err("it cannot be stored").1, STORAGE_ERROR);
        assert!(get(&broker, "/health").contains("the data directory takes no writes"));
        assert_eq!(metric(&broker, "kafka_log_logmanager_offlinelogdirectorycount"), 1);
        assert!(metric(&broker, "kafka_server_replicamanager_offlinereplicacount") >= 1);
        assert!(broker.is_running());
        assert!(lines(&broker, "dmesg") >= 1, "the log says where to look");
        stop_uncleanly(&mut broker);

        let output = broker.command().output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(85), "{told}");
        assert!(told.contains("is read-only"), "{told}");

        disk.mount_again();
        broker.launch();
        check(&broker, &acknowledged, usize::MAX);
        commit(&broker, 8).expect("an offset is committed");
    }
}

/// The logs of one topic fail, the device does not: an immutable file takes no writes.
#[test]
fn partitions_that_fail_are_alone_and_the_stop_is_not_clean() {
    for io in ["direct", "buffered"] {
        let Some(disk) = SmallDisk::ext4(64) else { return };
        let mut broker = broker_on(&disk, io);
        broker.launch();
        create_topic(&broker, "load", PARTITIONS, &[]);
        create_topic(&broker, "other", 1, &[]);
        let mut load = Load::new(&broker, 0);
        load.send(300, 2_000);
        let acknowledged = load.producer.finish_ok();
        first_commit(&broker, 7);

        disk.set_immutable("load-0", true);
        disk.set_immutable("__consumer_offsets", true);
        for _ in 0..3 {
            assert_eq!(refused(&broker, "load"), STORAGE_ERROR);
        }
        assert!(commit(&broker, 8).is_err());
        assert_eq!(committed(&broker), Some(Offset::Offset(7)));
        check(&broker, &acknowledged, usize::MAX);
        produce(&broker, "load", 1, &[value(300, 100)]);
        produce(&broker, "other", 0, &[value(0, 100)]);
        assert_eq!(metric(&broker, "kafka_server_replicamanager_offlinereplicacount"), 2);
        assert_eq!(metric(&broker, "kafka_log_logmanager_offlinelogdirectorycount"), 0);
        assert!(get(&broker, "/health").contains("2 partitions take no records"));
        for topic in ["load-0", "__consumer_offsets"] {
            disk.set_immutable(topic, false);
        }
        stop_uncleanly(&mut broker);
        broker.launch();
        assert_eq!(read_all(&broker, "load", 1).len(), 101);
        assert_eq!(committed(&broker), Some(Offset::Offset(7)));
        produce(&broker, "load", 0, &[value(301, 100)]);
        commit(&broker, 8).expect("an offset is committed");
        broker.restart();
    }
}

#[test]
fn a_data_directory_that_is_removed_is_missed() {
    let mut broker = Broker::prepare(&[]);
    with_admin(&mut broker);
    broker.launch();
    create_topic(&broker, "load", PARTITIONS, &[]);
    produce(&broker, "load", 0, &[value(0, 1000)]);
    std::fs::remove_dir_all(broker.data_dir()).expect("it was there");
    eventually("it is missed", || metric(&broker, "kafka_log_logmanager_offlinelogdirectorycount") == 1);
    assert_eq!(lines(&broker, "is gone: it was removed"), 1);
    for _ in 0..3 {
        assert_eq!(refused(&broker, "load"), STORAGE_ERROR);
    }
    assert_eq!(create(&broker, "new").expect_err("it cannot be stored").1, STORAGE_ERROR);
    assert_eq!(read_all(&broker, "load", 0).len(), 1, "from memory");
    assert!(broker.is_running());
    assert!(!broker.data_dir().exists(), "nothing is made under its name");
    stop_uncleanly(&mut broker);
    broker.launch();
    create_topic(&broker, "load", PARTITIONS, &[]);
    assert_eq!(watermarks(&broker, "load", 0), (0, 0), "a new directory");
}

#[test]
fn a_file_system_that_is_unmounted_is_missed() {
    let Some(mut disk) = SmallDisk::ext4(64) else { return };
    let mut broker = broker_on(&disk, "direct");
    broker.launch();
    create_topic(&broker, "load", PARTITIONS, &[]);
    let mut load = Load::new(&broker, 0);
    load.send(300, 2_000);
    let acknowledged = load.producer.finish_ok();
    disk.unmount_lazily();
    eventually("it is missed", || metric(&broker, "kafka_log_logmanager_offlinelogdirectorycount") == 1);
    assert_eq!(refused(&broker, "load"), STORAGE_ERROR);
    check(&broker, &acknowledged, usize::MAX);
    stop_uncleanly(&mut broker);
    assert_eq!(std::fs::read_dir(disk.path()).expect("the empty directory").count(), 0, "nothing is made below it");
    disk.mount_again();
    broker.launch();
    check(&broker, &acknowledged, usize::MAX);
}

#[test]
fn a_device_that_fails_stops_its_partitions_and_not_the_process() {
    for io in ["direct", "buffered"] {
        let Some(disk) = SmallDisk::ext4(64) else { return };
        let mut broker = broker_on(&disk, io);
        broker.launch();
        create_topic(&broker, "load", PARTITIONS, &[]);
        let mut load = Load::new(&broker, 0);
        load.send(300, 1_000);
        let acknowledged = load.producer.finish_ok();
        // The journal of an ext4 lies in its middle, new data behind it: both fail from now on.
        disk.cut_device(8);
        let producer = Producer::new(&broker, GIVES_UP);
        for tag in 0..300 {
            producer.send_value(tag, "load", tag as i32 % PARTITIONS, &value(tag, 50_000));
        }
        let failed: Vec<_> = producer.finish().into_iter().filter_map(|report| report.result.err()).collect();
        assert!(failed.contains(&STORAGE_ERROR), "{failed:?}");
        let read: usize = (0..PARTITIONS).map(|partition| read_all(&broker, "load", partition).len()).sum();
        assert!(read >= acknowledged.len(), "what is in memory is read: {read}");
        assert!(metric(&broker, "kafka_server_replicamanager_offlinereplicacount") >= 1);
        assert!(get(&broker, "/health").contains("take no records"));
        assert!(broker.is_running());
        stop_uncleanly(&mut broker);
    }
}
