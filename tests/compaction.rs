//! Compaction with real clients: of each key the last value stays, in order, whatever happens meanwhile; what is superseded
//! goes; committed offsets are kept, and their topic stays small.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng;
use rdkafka::admin::{AlterConfig, ResourceSpecifier};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::broker::is_kafka;
use crate::harness::client::{
    PATIENCE, Producer, admin, admin_options, block_on, consumer, create_topic, read_all, retry, watermarks,
};
use crate::harness::{Broker, seeded};

const PARTITIONS: i32 = 2;
const KEYS: usize = 200;
const SEGMENT_BYTES: u64 = 1 << 20;

/// A cleaner that looks all the time, and files that go soon.
const EAGER: [(&str, &str); 3] =
    [("log.cleaner.backoff.ms", "100"), ("log.segment.delete.delay.ms", "50"), ("log.initial.task.delay.ms", "0")];
const COMPACTED: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.1")];

/// The last value of each key, and how often it was written.
type Last = BTreeMap<usize, Option<usize>>;

struct Load {
    producer: Producer,
    last: Last,
    sent: usize,
}

impl Load {
    fn new(broker: &Broker) -> Load {
        let settings =
            [("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "1"), ("message.timeout.ms", "60000")];
        Load { producer: Producer::new(broker, &settings), last: Last::new(), sent: 0 }
    }

    /// Writes keys over and over; now and then one is deleted.
    fn send(&mut self, count: usize, random: &mut impl Rng) {
        for _ in 0..count {
            let (key, number) = (random.random_range(0..KEYS), self.sent);
            let value = random.random_bool(0.95).then(|| format!("{number} {}", "x".repeat(300 + number % 500)));
            let (key_text, partition) = (format!("key {key}"), (key as i32) % PARTITIONS);
            let mut record = BaseRecord::to("t").partition(partition).key(key_text.as_bytes());
            if let Some(value) = &value {
                record = record.payload(value.as_bytes());
            }
            self.producer.send(number, record);
            self.last.insert(key, value.map(|_| number));
            self.sent += 1;
        }
    }
}

fn key_of(record: &OwnedMessage) -> usize {
    let key = std::str::from_utf8(record.key().expect("a key")).expect("text");
    key.strip_prefix("key ").and_then(|number| number.parse().ok()).expect("a number")
}

fn number_of(record: &OwnedMessage) -> Option<usize> {
    let value = std::str::from_utf8(record.payload()?).expect("text");
    Some(value.split(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
}

/// Reads all partitions; offsets and, for each key, values have to rise. Gives the last values and how many records.
fn read(broker: &Broker) -> (Last, usize) {
    let (mut last, mut count) = (Last::new(), 0);
    for partition in 0..PARTITIONS {
        let mut offset = -1;
        for record in read_all(broker, "t", partition) {
            assert!(record.offset() > offset, "t-{partition}: {} behind {offset}", record.offset());
            offset = record.offset();
            let (key, number) = (key_of(&record), number_of(&record));
            let before = last.insert(key, number);
            if let (Some(Some(before)), Some(number)) = (before, number) {
                assert!(before < number, "key {key}: {number} behind {before}");
            }
            count += 1;
        }
    }
    (last, count)
}

/// A key whose last record deletes it may be there or not.
fn living(last: &Last) -> Last {
    last.iter().filter(|(_, value)| value.is_some()).map(|(key, value)| (*key, *value)).collect()
}

fn segment_files(dir: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(dir).expect("the partition's directory").filter_map(Result::ok);
    files
        .filter(|file| file.path().extension().is_some_and(|it| it == "log"))
        .map(|f| f.metadata().map_or(0, |m| m.len()))
        .collect()
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_last_value_of_each_key_outlives_compaction_under_load_and_crashes() {
    let mut random = seeded();
    let mut broker = Broker::start(&EAGER);
    create_topic(&broker, "t", PARTITIONS, &COMPACTED);
    let mut load = Load::new(&broker);
    for round in 0..6 {
        // Even rounds are read while they are written and compacted, in odd ones the broker crashes.
        let is_over = AtomicBool::new(false);
        let pause = Duration::from_millis(random.random_range(50..600));
        thread::scope(|scope| {
            let (load, is_over_now) = (&mut load, &is_over);
            let mut numbers = seeded();
            scope.spawn(move || {
                for _ in 0..20 {
                    load.send(500, &mut numbers);
                    thread::sleep(Duration::from_millis(20));
                }
                load.producer.finish_ok();
                is_over_now.store(true, Ordering::Relaxed);
            });
            if round % 2 == 0 {
                while !is_over.load(Ordering::Relaxed) {
                    read(&broker);
                }
            } else {
                thread::sleep(pause);
                broker.kill();
                broker.launch();
            }
        });
        let (last, _) = read(&broker);
        assert_eq!(living(&last), living(&load.last), "round {round}");
    }
    // An active segment, what is left of all keys, and less than a tenth of that again before it is due.
    let dirs: Vec<_> = (0..PARTITIONS).map(|partition| broker.data_dir().join(format!("t-{partition}"))).collect();
    let size = || dirs.iter().flat_map(|dir| segment_files(dir)).sum::<u64>();
    let bound = PARTITIONS as u64 * (5 * SEGMENT_BYTES / 2);
    until("what is superseded goes", || size() < bound);
    let (_, left) = read(&broker);
    assert!(left * 4 < load.sent, "{left} of {} records are left", load.sent);
    let ends: Vec<i64> = (0..PARTITIONS).map(|partition| watermarks(&broker, "t", partition).1).collect();
    assert!(ends.iter().sum::<i64>() as usize >= load.sent, "offsets stay what they were: {ends:?}");
    for _ in 0..2 {
        broker.restart();
        let (last, _) = read(&broker);
        assert_eq!(living(&last), living(&load.last));
    }
    if is_kafka() {
        return;
    }
    broker.stop();
    let checkpoint = std::fs::read_to_string(broker.data_dir().join("cleaner-offset-checkpoint")).expect("it is there");
    let lines: Vec<&str> = checkpoint.lines().collect();
    assert_eq!(lines[..2], ["0", "2"]);
    assert!(lines[2].starts_with("t 0 ") && lines[3].starts_with("t 1 "), "{checkpoint}");
    let check = Command::new(env!("CARGO_BIN_EXE_corelane")).args(["check", "--deep"]).arg(broker.data_dir()).output();
    let check = check.expect("the check runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn committed_offsets_outlive_compaction_and_their_topic_stays_small() {
    const SHARED: usize = 40;
    let mut settings = EAGER.to_vec();
    settings.extend([
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.segment.bytes", "1048576"),
        ("offsets.topic.replication.factor", "1"),
        ("log.cleaner.min.cleanable.ratio", "0.1"),
    ]);
    let mut broker = Broker::start(&settings);
    create_topic(&broker, "t", SHARED as i32, &[]);
    let note = "n".repeat(300);
    let commit = |broker: &Broker, group: &str, base: i64, count: i64| {
        let consumer = consumer(broker, &[("group.id", group)]);
        for number in base..base + count {
            let mut list = TopicPartitionList::new();
            for partition in 0..SHARED as i32 {
                list.add_partition_offset("t", partition, Offset::Offset(number)).expect("an offset");
                list.find_partition("t", partition).expect("it was added").set_metadata(&*note);
            }
            retry("the commit", || consumer.commit(&list, CommitMode::Sync));
        }
    };
    let committed = |broker: &Broker, group: &str| -> Vec<i64> {
        let consumer = consumer(broker, &[("group.id", group)]);
        let mut list = TopicPartitionList::new();
        list.add_partition_range("t", 0, SHARED as i32 - 1);
        let found = retry("committed offsets", || consumer.committed_offsets(list.clone(), PATIENCE));
        let elements = found.elements();
        let offsets = elements.iter().map(|element| match element.offset() {
            Offset::Offset(offset) => offset,
            other => panic!("{group} has {other:?}"),
        });
        offsets.collect()
    };
    // One that never commits again: its offsets are in what is compacted over and over.
    commit(&broker, "once", 7, 1);
    for round in 1..=4 {
        let base = round * 1000;
        // 40 offsets of some 400 bytes each time: 3 MB in a round.
        commit(&broker, "often", base, 200);
        if round % 2 == 0 {
            broker.kill();
            broker.launch();
        }
        assert_eq!(committed(&broker, "often"), vec![base + 199; SHARED], "round {round}");
        assert_eq!(committed(&broker, "once"), vec![7; SHARED], "round {round}");
    }
    let dir = broker.data_dir().join("__consumer_offsets-0");
    until("the topic of committed offsets stays small", || {
        segment_files(&dir).iter().sum::<u64>() < 5 * SEGMENT_BYTES / 2
    });
    // A broker that is stopped and started all the time, and crashes: segments that never get large do not pile up.
    for round in 0..8 {
        commit(&broker, "often", 10_000 + round, 1);
        if round % 2 == 0 {
            broker.restart();
        } else {
            broker.kill();
            broker.launch();
        }
    }
    assert!(segment_files(&dir).len() <= 4, "{:?}", segment_files(&dir));
    assert_eq!(committed(&broker, "often"), vec![10_007; SHARED]);
    assert_eq!(committed(&broker, "once"), vec![7; SHARED]);
}

#[test]
fn a_topic_is_compacted_from_when_it_is_configured_so() {
    if is_kafka() {
        return;
    }
    let mut broker = Broker::prepare(&EAGER);
    let address = format!("127.0.0.1:{}", broker.port() + 8);
    broker.set("admin.listener", &address);
    broker.launch();
    let metric = |name: &str| -> i64 {
        let mut stream = TcpStream::connect(&*address).expect("the admin port");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let value = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{text}"))
    };
    let plain = [("segment.bytes", "1048576"), ("cleanup.policy", "delete")];
    create_topic(&broker, "t", PARTITIONS, &plain);
    let mut load = Load::new(&broker);
    load.send(12_000, &mut seeded());
    load.producer.finish_ok();
    thread::sleep(Duration::from_millis(500));
    let (last, count) = read(&broker);
    assert_eq!((last, count), (load.last.clone(), load.sent), "nothing goes that is not to go");
    assert_eq!(metric("corelane_log_compactions_total"), 0);
    let topic = ResourceSpecifier::Topic("t");
    let changed = AlterConfig::new(topic).set("segment.bytes", "1048576").set("cleanup.policy", "compact");
    let results = block_on(admin(&broker).alter_configs([&changed], &admin_options())).expect("an answer");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    until("it is compacted", || read(&broker).1 * 2 < load.sent);
    assert_eq!(living(&read(&broker).0), living(&load.last));
    until("it is counted", || metric("corelane_log_compactions_total") >= i64::from(PARTITIONS));
    assert_eq!(metric("kafka_log_logcleanermanager_uncleanable_partitions_count"), 0);
    assert!(metric("kafka_log_logcleanermanager_max_dirty_percent") <= 50);
    let (before, after) = ["before", "after"]
        .map(|side| metric(&format!("corelane_log_compaction_bytes_total{{side=\"{side}\"}}")))
        .into();
    assert!(after < before, "{before} became {after}");
    // From now on a record needs a key.
    load.producer.send_value(0, "t", 0, b"no key");
    assert!(load.producer.finish()[0].result.is_err());
}
