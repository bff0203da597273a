//! Damage in acknowledged records: the partition that has it is refused with a sentence, all others serve, and
//! `corelane check` finds the same byte, repairs what it may, and drops what it is told to.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Broker;
use crate::harness::broker::is_kafka;
use crate::harness::client::{PATIENCE, Producer, create_topic, produce, read_all, read_from, values};

const VALUES: usize = 60;

fn corelane_check(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corelane"))
        .arg("check")
        .arg(directory)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

/// The exit code, and the object that was printed.
fn check(directory: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = corelane_check(directory, &[arguments, &["--output", "json"]].concat());
    let code = output.status.code().expect("it ended by itself");
    let object = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("no object ({error}), code {code}: {}", String::from_utf8_lossy(&output.stderr))
    });
    (code, object)
}

fn value(partition: i32, tag: usize) -> Vec<u8> {
    format!("{partition} {tag} {}", "x".repeat(30_000 + tag)).into_bytes()
}

/// Writes the same count of values to each of three partitions, a batch each.
fn fill(broker: &Broker, topic: &str, configs: &[(&str, &str)]) {
    create_topic(broker, topic, 3, configs);
    for partition in 0..3 {
        for tag in 0..VALUES {
            produce(broker, topic, partition, &[value(partition, tag)]);
        }
    }
}

/// Where the batches of a segment begin, with their base offsets.
fn batches(segment: &Path) -> Vec<(usize, i64)> {
    let bytes = std::fs::read(segment).expect("a segment");
    let (mut at, mut found) = (0, Vec::new());
    while at + 61 <= bytes.len() {
        let offset = i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let length = i32::from_be_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes"));
        if length <= 0 {
            break;
        }
        found.push((at, offset));
        at += 12 + length as usize;
    }
    found
}

fn flip(file: &Path, position: usize) {
    let mut bytes = std::fs::read(file).expect("a file");
    bytes[position] ^= 0x10;
    std::fs::write(file, bytes).expect("written again");
}

fn segment(broker: &Broker, partition: &str, base_offset: i64) -> PathBuf {
    let dir = broker.data_dir().canonicalize().expect("the data directory");
    dir.join(partition).join(format!("{base_offset:020}.log"))
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The one error, which is of this place.
fn assert_finds(report: &Value, file: &Path, position: usize, offset: i64) {
    let errors: Vec<&Value> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{report:#}");
    assert_eq!(errors[0]["kind"], "damaged-batch");
    assert_eq!(errors[0]["file"], file.display().to_string());
    assert_eq!((&errors[0]["position"], &errors[0]["offset"]), (&position.into(), &offset.into()));
}

#[test]
fn a_flipped_byte_takes_one_partition_offline_until_it_is_dropped() {
    if is_kafka() {
        return;
    }
    let mut broker = Broker::start(&[("replica.high.watermark.checkpoint.interval.ms", "100")]);
    fill(&broker, "t", &[]);
    let (directory, checkpoint) = (broker.data_dir(), broker.data_dir().join("replication-offset-checkpoint"));
    wait_for("what is flushed is noted", || {
        let text = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        (0..3).all(|partition| text.contains(&format!("t {partition} {VALUES}\n")))
    });
    broker.kill();
    assert_eq!(check(&directory, &["--deep"]).0, 0, "a crash is no finding");

    // In the active segment, in a record near the end, where a torn tail could be.
    let file = segment(&broker, "t-1", 0);
    let (position, offset) = batches(&file)[VALUES - 5];
    assert_eq!(offset, VALUES as i64 - 5);
    flip(&file, position + 100);
    let (code, report) = check(&directory, &[]);
    assert_eq!(code, 1);
    assert_finds(&report, &file, position, offset);

    broker.launch();
    let sentence = format!("{} is damaged at byte {position}, offset {offset}: ", file.display());
    let log = broker.log();
    assert_eq!(log.matches(&sentence).count(), 1, "the start says it once");
    assert!(log.contains("`corelane check DIR`"));
    for partition in [0, 2] {
        assert_eq!(produce(&broker, "t", partition, &[value(partition, VALUES)]), [VALUES as i64]);
        let expected: Vec<_> = (0..=VALUES).map(|tag| value(partition, tag)).collect();
        assert!(values(&read_all(&broker, "t", partition)) == expected);
    }
    let refused = Producer::new(&broker, &[("message.timeout.ms", "2000")]);
    refused.send_value(0, "t", 1, b"refused");
    assert!(refused.finish()[0].result.is_err());
    let locked = corelane_check(&directory, &[]);
    assert_eq!(locked.status.code(), Some(80));
    assert!(String::from_utf8_lossy(&locked.stderr).contains("in use by another broker"));

    // A clean stop does not make the damage go unnoticed.
    assert!(broker.stop().is_none_or(|status| status.success()));
    assert!(directory.join("corelane-unclean").exists());
    let (code, report) = check(&directory, &["--repair"]);
    assert_eq!(code, 1, "damage is not dropped without the operator's word");
    assert_finds(&report, &file, position, offset);
    assert_eq!(report["repair"]["left"].as_array().map(Vec::len), Some(1));
    let (code, report) = check(&directory, &["--repair", "--drop-damaged"]);
    assert_eq!((code, &report["errors"]), (0, &0.into()), "{report:#}");
    let dropped = &report["repair"]["dropped"][0];
    assert_eq!((&dropped["first_offset"], &dropped["end_offset"]), (&offset.into(), &(offset + 1).into()));
    let saved = directory.with_file_name("data.dropped").join(format!("t-1/{:020}-{position}.dropped", 0));
    assert!(saved.exists());
    assert!(!directory.join("corelane-unclean").exists() && directory.join(".kafka_cleanshutdown").exists());

    broker.launch();
    let expected: Vec<_> = (0..VALUES).filter(|tag| *tag != offset as usize).map(|tag| value(1, tag)).collect();
    assert!(values(&read_all(&broker, "t", 1)) == expected, "every other record is there");
    assert_eq!(produce(&broker, "t", 1, &[value(1, VALUES)]), [VALUES as i64], "no offset is given twice");
    assert!(values(&read_from(&broker, "t", 1, rdkafka::Offset::Offset(offset))).len() == 5);
    assert!(broker.stop().is_none_or(|status| status.success()));
    let (code, report) = check(&directory, &["--deep"]);
    assert_eq!((code, &report["clean"]), (0, &true.into()), "{report:#}");
}

#[test]
fn a_read_that_meets_damage_is_refused_there_and_nowhere_else() {
    if is_kafka() {
        return;
    }
    // Only what passes through memory can be looked at.
    let mut broker = Broker::start(&[("log.io", "direct")]);
    fill(&broker, "t", &[("segment.bytes", "1048576")]);
    assert!(broker.stop().is_none_or(|status| status.success()));
    let directory = broker.data_dir();
    assert_eq!(check(&directory, &[]).0, 0);
    // In a sealed segment: a start after a clean stop does not look there, nor does one after a crash.
    let file = segment(&broker, "t-1", 0);
    let sealed = batches(&file);
    assert!(sealed.len() < VALUES, "the log has several segments");
    let (position, offset) = sealed[sealed.len() / 2];
    flip(&file, position + 100);
    broker.launch();
    for partition in [0, 2] {
        let expected: Vec<_> = (0..VALUES).map(|tag| value(partition, tag)).collect();
        assert!(values(&read_all(&broker, "t", partition)) == expected);
    }
    let consumer = crate::harness::client::consumer(&broker, &[]);
    crate::harness::client::assign(&consumer, "t", 1, rdkafka::Offset::Beginning);
    let mut before = Vec::new();
    let sentence = format!("{} is damaged at byte {position}, offset {offset}: ", file.display());
    let deadline = Instant::now() + PATIENCE;
    while before.len() < offset as usize || !broker.log().contains(&sentence) {
        assert!(Instant::now() < deadline, "{} records before the damage, of {offset}", before.len());
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            before.push(message.detach());
        }
    }
    let expected: Vec<_> = (0..offset as usize).map(|tag| value(1, tag)).collect();
    assert!(values(&before) == expected, "all that is before it");
    let behind = values(&read_from(&broker, "t", 1, rdkafka::Offset::Offset(offset + 1)));
    assert!(behind == (offset as usize + 1..VALUES).map(|tag| value(1, tag)).collect::<Vec<_>>(), "all behind it");
    assert_eq!(produce(&broker, "t", 1, &[value(1, VALUES)]), [VALUES as i64], "appends go on");
    assert_eq!(broker.log().matches(&sentence).count(), 1, "it is said once, however often it is asked for");
    assert!(broker.stop().is_none_or(|status| status.success()));

    let (code, report) = check(&directory, &[]);
    assert_eq!(code, 1);
    assert_finds(&report, &file, position, offset);
    let (code, report) = check(&directory, &["--repair", "--drop-damaged", "--discard-dropped"]);
    assert_eq!(code, 0, "{report:#}");
    broker.launch();
    let expected: Vec<_> = (0..=VALUES).filter(|tag| *tag != offset as usize).map(|tag| value(1, tag)).collect();
    assert!(values(&read_all(&broker, "t", 1)) == expected);
}

#[test]
fn what_is_no_data_directory_is_said_in_one_sentence() {
    let root = tempfile::tempdir().expect("a directory");
    for (path, code) in [(root.path().to_owned(), 73), (root.path().join("nowhere"), 73)] {
        let output = corelane_check(&path, &[]);
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.stdout.is_empty() && said.lines().count() == 1, "{said}");
        assert!(said.contains(&path.display().to_string()), "{said}");
    }
    let output = corelane_check(root.path(), &["--drop-damaged"]);
    assert_eq!(output.status.code(), Some(2), "it goes with --repair");
    assert_eq!(std::fs::read_dir(root.path()).expect("still there").count(), 0, "nothing is written");
}
