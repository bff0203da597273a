//! `kill -9`, again and again, while librdkafka and Apache Kafka's Java client produce with acks=all (idempotent) and
//! with acks=1, and retention removes and recycles segments behind them: every acknowledged record is at its offset
//! with its content, once, unless the log begins behind it. Now and then the broker is killed again while it recovers.
//!
//! `tests/clients/crash/run` builds the Java half and runs this. Environment:
//! - `CORELANE_CAMPAIGN_JAVA`: the class path of `Load` and of Apache Kafka's client.
//! - `CORELANE_CAMPAIGN_CYCLES`: how many crashes (5).
//! - `CORELANE_TEST_BIN`: the broker, if not the one of this build.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use rand::rngs::StdRng;
use rdkafka::Offset;
use rdkafka::message::Message;

use crate::harness::client::{self, PATIENCE, Producer, create_topic, watermarks};
use crate::harness::{Broker, seeded};

const PARTITIONS: usize = 3;
/// So little that a broker between two crashes writes segments, removes them and uses their files again.
const SEGMENT_BYTES: usize = 120_000;
const RETENTION_BYTES: usize = 500_000;

/// One acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Acked {
    partition: usize,
    offset: i64,
    tag: usize,
}

/// What every record holds: its topic and tag, and bytes that follow from the tag.
fn value(topic: &str, tag: usize) -> Vec<u8> {
    let mut value = format!("{topic} {tag} ").into_bytes();
    let mut state = tag as u64;
    for _ in 0..tag * 7919 % 3000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.push((state >> 56) as u8);
    }
    value
}

/// A librdkafka producer on a thread of its own.
struct Native {
    topic: &'static str,
    producer: Arc<Producer>,
    running: Arc<AtomicBool>,
    /// Held while records are handed over.
    sending: Arc<Mutex<usize>>,
}

impl Native {
    fn start(broker: &Broker, topic: &'static str, acks: &str) -> Native {
        let idempotent = acks == "all";
        let settings = [
            ("acks", acks),
            ("enable.idempotence", if idempotent { "true" } else { "false" }),
            ("compression.type", if idempotent { "lz4" } else { "none" }),
            ("linger.ms", "2"),
            ("queue.buffering.max.messages", "20000"),
            ("message.timeout.ms", "120000"),
        ];
        let native = Native {
            topic,
            producer: Arc::new(Producer::new(broker, &settings)),
            running: Arc::default(),
            sending: Arc::default(),
        };
        let (producer, running) = (Arc::clone(&native.producer), Arc::clone(&native.running));
        let sending = Arc::clone(&native.sending);
        // It ends with the process.
        thread::spawn(move || {
            loop {
                {
                    let mut sent = sending.lock().expect("whole");
                    for _ in 0..10 {
                        if running.load(Ordering::SeqCst) {
                            let tag = *sent;
                            producer.send_value(tag, topic, (tag % PARTITIONS) as i32, &value(topic, tag));
                            *sent += 1;
                        }
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        native
    }

    /// All that was sent has been acknowledged.
    fn settle(&self) -> Vec<Acked> {
        self.running.store(false, Ordering::SeqCst);
        let _sending = self.sending.lock().expect("whole");
        let reports = self.producer.finish();
        let acked = reports.iter().map(|report| Acked {
            partition: report.partition as usize,
            offset: report.result.unwrap_or_else(|error| panic!("{}: record {}: {error}", self.topic, report.tag)),
            tag: report.tag,
        });
        acked.collect()
    }
}

/// The Java client's producers, in a process of their own.
struct Java {
    process: Child,
    commands: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Java {
    fn start(broker: &Broker, class_path: &str, loads: &[&str]) -> Java {
        let mut process = Command::new("java")
            .args(["-Xmx512M", "-XX:+UseSerialGC", "-cp", class_path, "Load", &broker.bootstrap()])
            .args(loads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java starts");
        let commands = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Java { process, commands, lines }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").expect("java listens");
    }

    fn settle(&mut self) -> HashMap<String, Vec<Acked>> {
        self.tell("pause");
        let mut acked: HashMap<String, Vec<Acked>> = HashMap::new();
        loop {
            let line = self.lines.recv_timeout(2 * PATIENCE).expect("the Java producers go on across a crash");
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<i64>().expect("a number");
            match words[0] {
                "A" => acked.entry(words[1].to_owned()).or_default().push(Acked {
                    partition: number(2) as usize,
                    offset: number(3),
                    tag: number(4) as usize,
                }),
                "PAUSED" => return acked,
                _ => panic!("the Java client gave a record up: {line}"),
            }
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What must be in one topic.
struct Ledger {
    topic: &'static str,
    /// Its producer is idempotent: no record is there twice.
    once: bool,
    /// By partition and offset, from the log's start on.
    acked: HashMap<(usize, i64), usize>,
    seen: HashMap<(usize, i64), usize>,
    /// By tag, over the whole campaign.
    offset_of: HashMap<usize, i64>,
    starts: [i64; PARTITIONS],
    acked_count: usize,
    /// Of the values acknowledged.
    bytes: [usize; PARTITIONS],
}

impl Ledger {
    fn new(topic: &'static str, once: bool) -> Ledger {
        Ledger {
            topic,
            once,
            acked: HashMap::new(),
            seen: HashMap::new(),
            offset_of: HashMap::new(),
            starts: [0; PARTITIONS],
            acked_count: 0,
            bytes: [0; PARTITIONS],
        }
    }

    fn take(&mut self, acked: &[Acked]) {
        let topic = self.topic;
        for &Acked { partition, offset, tag } in acked {
            assert_eq!(partition, tag % PARTITIONS);
            self.acked_count += 1;
            self.bytes[partition] += value(topic, tag).len();
            let other = self.acked.insert((partition, offset), tag);
            assert_eq!(other, None, "{topic}-{partition}: offset {offset} was given to record {tag} and another");
            if self.once {
                let other = self.offset_of.insert(tag, offset);
                assert!(
                    other.is_none_or(|other| other == offset),
                    "{topic}: record {tag} is at {other:?} and {offset}"
                );
            }
        }
    }

    /// Reads the topic and compares. Nobody writes meanwhile; retention goes on.
    fn check(&mut self, broker: &Broker) {
        for partition in 0..PARTITIONS {
            let (records, start, end) = read(broker, self.topic, partition);
            self.check_partition(partition, &records, start, end);
        }
    }

    fn check_partition(&mut self, partition: usize, records: &[(i64, Vec<u8>)], start: i64, end: i64) {
        let topic = self.topic;
        let at = |offset: i64| format!("{topic}-{partition} at {offset}");
        assert!(start >= self.starts[partition], "{}: the log began at {}", at(start), self.starts[partition]);
        let mut expected = None;
        let mut found = HashMap::new();
        let mut bytes = 0;
        for (offset, content) in records {
            let offset = *offset;
            // What retention took away while this was read is missing, and nothing else.
            assert!(
                expected.is_none_or(|next| offset == next || offset > next && offset <= start),
                "{}: a gap",
                at(offset)
            );
            expected = Some(offset + 1);
            let tag = content
                .split(|&byte| byte == b' ')
                .nth(1)
                .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            let tag: usize = tag.unwrap_or_else(|| panic!("{}: no record of ours", at(offset)));
            assert!(*content == value(topic, tag), "{}: the content of record {tag} is another", at(offset));
            bytes += content.len();
            let before = self.seen.insert((partition, offset), tag);
            assert!(
                before.is_none_or(|before| before == tag),
                "{}: it was record {before:?}, and is {tag}",
                at(offset)
            );
            if self.once {
                let other = self.offset_of.insert(tag, offset);
                assert!(other.is_none_or(|other| other == offset), "{}: record {tag} is at {other:?} too", at(offset));
            }
            found.insert(offset, tag);
        }
        if let Some(next) = expected {
            assert_eq!(next, end, "{topic}-{partition} is read to its end");
        }
        let here = |(of, offset): (usize, i64)| of == partition && offset >= start;
        // Consumers have seen them, or producers were told: both are promises.
        for (&(_, offset), tag) in self.acked.iter().chain(&self.seen).filter(|(at, _)| here(**at)) {
            assert_eq!(found.get(&offset), Some(tag), "{}: record {tag} is lost", at(offset));
        }
        // Nothing but retention moves the log's start: so much it leaves.
        let kept = self.bytes[partition].min(RETENTION_BYTES * 4 / 5);
        assert!(start == 0 || bytes >= kept, "{}: only {bytes} bytes are left from the log's start on", at(start));
        self.acked.retain(|&(of, offset), _| of != partition || offset >= start);
        self.seen.retain(|&(of, offset), _| of != partition || offset >= start);
        self.starts[partition] = start;
    }
}

/// All records of a partition, and where its log starts and ends when they are read.
fn read(broker: &Broker, topic: &str, partition: usize) -> (Vec<(i64, Vec<u8>)>, i64, i64) {
    let consumer = client::consumer(broker, &[("auto.offset.reset", "earliest")]);
    client::assign(&consumer, topic, partition as i32, Offset::Beginning);
    let records = client::read_assigned(&consumer);
    let (start, end) = watermarks(broker, topic, partition as i32);
    let records = records.iter().map(|record| (record.offset(), record.payload().unwrap_or_default().to_vec()));
    (records.collect(), start, end)
}

/// The segment files that there were, by what stays the same when a file gets another name: how many of them became
/// later segments of their partitions.
#[derive(Default)]
struct Files {
    names: HashMap<(u64, SystemTime), PathBuf>,
    recycled: usize,
}

impl Files {
    /// Files come and go meanwhile: what is gone is passed over.
    fn look(&mut self, data: &Path) {
        let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        for segment in
            entries(data).flat_map(|dir| entries(&dir)).filter(|path| path.extension().is_some_and(|of| of == "log"))
        {
            let Ok(found) = std::fs::metadata(&segment) else { continue };
            let Ok(made) = found.created() else { continue };
            let before = self.names.insert((found.ino(), made), segment.clone());
            self.recycled += usize::from(before.is_some_and(|before| before != segment));
        }
    }
}

fn crash(broker: &mut Broker, random: &mut StdRng) -> usize {
    broker.kill();
    let mut more = 0;
    while random.random_bool(0.25) && more < 3 {
        broker.launch_and_kill(Duration::from_millis(random.random_range(0..120)));
        more += 1;
    }
    broker.launch();
    more
}

#[test]
#[ignore = "takes long and needs Java: tests/clients/crash/run runs it"]
fn crashes_lose_nothing_while_retention_runs() {
    let class_path = std::env::var("CORELANE_CAMPAIGN_JAVA").expect("CORELANE_CAMPAIGN_JAVA is set");
    let cycles = std::env::var("CORELANE_CAMPAIGN_CYCLES").map_or(5, |cycles| cycles.parse().expect("a number"));
    let mut random = seeded();
    let mut broker = Broker::start(&[
        ("shards", "2"),
        ("log.retention.check.interval.ms", "300"),
        ("log.segment.delete.delay.ms", "200"),
        ("log.initial.task.delay.ms", "100"),
        ("log.flush.offset.checkpoint.interval.ms", "700"),
    ]);
    let (segment_bytes, retention_bytes) = (SEGMENT_BYTES.to_string(), RETENTION_BYTES.to_string());
    let configs = [
        ("internal.segment.bytes", segment_bytes.as_str()),
        ("retention.bytes", retention_bytes.as_str()),
        ("file.delete.delay.ms", "200"),
    ];
    let mut ledgers = [("native-all", true), ("native-one", false), ("java-all", true), ("java-one", false)]
        .map(|(topic, once)| Ledger::new(topic, once));
    for ledger in &ledgers {
        create_topic(&broker, ledger.topic, PARTITIONS as i32, &configs);
    }
    let natives = [Native::start(&broker, "native-all", "all"), Native::start(&broker, "native-one", "1")];
    let mut java = Java::start(&broker, &class_path, &["java-all=all", "java-one=1"]);
    let (mut crashes, mut slowest, mut files) = (0, Duration::ZERO, Files::default());
    for cycle in 1..=cycles {
        for native in &natives {
            native.running.store(true, Ordering::SeqCst);
        }
        java.tell("go");
        thread::sleep(Duration::from_millis(random.random_range(50..1500)));
        files.look(&broker.data_dir());
        let began = Instant::now();
        crashes += 1 + crash(&mut broker, &mut random);
        slowest = slowest.max(began.elapsed());
        // The load goes on for a moment, so that some of it meets the broker as it comes up.
        thread::sleep(Duration::from_millis(random.random_range(0..300)));
        let mut acked: HashMap<String, Vec<Acked>> =
            natives.iter().map(|native| (native.topic.to_owned(), native.settle())).collect();
        acked.extend(java.settle());
        files.look(&broker.data_dir());
        for ledger in &mut ledgers {
            ledger.take(acked.get(ledger.topic).map_or(&[], Vec::as_slice));
            ledger.check(&broker);
        }
        if cycle % 10 == 0 || cycle == cycles {
            let total: usize = ledgers.iter().map(|ledger| ledger.acked_count).sum();
            println!("cycle {cycle}: {crashes} crashes, {total} records acknowledged, all there");
        }
    }
    java.tell("end");
    for ledger in &ledgers {
        println!("{}: {} acknowledged, logs begin at {:?}", ledger.topic, ledger.acked_count, ledger.starts);
        assert!(ledger.acked_count > 100 * cycles, "{} produced next to nothing", ledger.topic);
        let enough = ledger.bytes.iter().all(|&bytes| bytes > 2 * RETENTION_BYTES);
        assert!(
            !enough || ledger.starts.iter().all(|&start| start > 0),
            "retention removed nothing of {}",
            ledger.topic
        );
    }
    println!("{} segment files were seen to be used again", files.recycled);
    let buffered = std::env::var("CORELANE_TEST_IO").is_ok_and(|io| io == "buffered");
    assert!(files.recycled > 0 || cycles < 20 || buffered, "no segment was used again");
    println!("the slowest restart, with the crashes in it: {slowest:?}");
}
