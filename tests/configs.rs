//! Configurations of a running broker, changed over the wire: what is taken and what is refused, that every partition
//! goes by a change as soon as it is answered, and that no crash takes it back.
//!
//! `CORELANE_TEST_CONFIG_CYCLES=N`: so many crashes (4).

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, alter_configs_request,
    describe_configs_request, incremental_alter_configs_request,
};
use kafka_protocol::protocol::StrBytes;
use rand::Rng;

use crate::harness::batch::{Batch, batches, now_ms};
use crate::harness::broker::is_kafka;
use crate::harness::client::{create_topic, retry, watermarks};
use crate::harness::wire::{self, Wire};
use crate::harness::{Broker, seeded};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const INVALID_TIMESTAMP: i16 = 32;
pub const INVALID_CONFIG: i16 = 40;
pub const INVALID_REQUEST: i16 = 42;
const INVALID_RECORD: i16 = 87;

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// `ConfigSource` of a DescribeConfigs answer.
const TOPIC_CONFIG: i8 = 1;
pub const DYNAMIC_BROKER_CONFIG: i8 = 2;
const DYNAMIC_DEFAULT_BROKER_CONFIG: i8 = 3;
pub const DEFAULT_CONFIG: i8 = 5;

/// A resource with its changes.
pub type Change<'a> = (i8, &'a str, &'a [(&'a str, i8, Option<&'a str>)]);

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn incremental(changes: &[Change<'_>]) -> IncrementalAlterConfigsRequest {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = |(key, op, value): &(&str, i8, Option<&str>)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(*op).with_value(value.map(text))
    };
    let resources = changes.iter().map(|(kind, name, configs)| {
        AlterConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(text(name))
            .with_configs(configs.iter().map(config).collect())
    });
    IncrementalAlterConfigsRequest::default().with_resources(resources.collect())
}

/// The code of each resource, in the order of the request.
pub fn alter(wire: &mut Wire, changes: &[Change<'_>], version: i16) -> Vec<i16> {
    let response = wire.call(&incremental(changes), version);
    let rows = response.responses.iter().zip(changes);
    rows.map(|(row, (kind, name, _))| {
        assert_eq!((row.resource_type, &*row.resource_name), (*kind, *name));
        assert_eq!(row.error_message.is_some(), row.error_code != 0, "{:?}", row.error_message);
        row.error_code
    })
    .collect()
}

fn set(wire: &mut Wire, topic: &str, key: &str, value: &str) {
    assert_eq!(alter(wire, &[(TOPIC, topic, &[(key, SET, Some(value))])], 1), [0], "{key}={value}");
}

pub fn replace(wire: &mut Wire, kind: i8, name: &str, values: &[(&str, Option<&str>)], version: i16) -> i16 {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = |(key, value): &(&str, Option<&str>)| {
        AlterableConfig::default().with_name(text(key)).with_value(value.map(text))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(values.iter().map(config).collect());
    wire.call(&AlterConfigsRequest::default().with_resources(vec![resource]), version).responses[0].error_code
}

/// A value as DescribeConfigs shows it, and where it comes from.
fn described(wire: &mut Wire, kind: i8, name: &str, key: &str) -> (String, i8) {
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    let response = wire.call(&DescribeConfigsRequest::default().with_resources(vec![resource]), 4);
    let row = &response.results[0];
    assert_eq!(row.error_code, 0, "{name} is described");
    // Of all brokers only what was changed is described.
    let value = |value: Option<&StrBytes>| value.map(ToString::to_string).unwrap_or_default();
    row.configs.first().map_or((String::new(), -1), |config| (value(config.value.as_ref()), config.config_source))
}

/// Apache Kafka's brokers hear of a change after it is answered.
pub fn shows(wire: &mut Wire, kind: i8, name: &str, key: &str, value: &str, source: i8) {
    let wanted = (value.to_owned(), source);
    for _ in 0..if is_kafka() { 500 } else { 0 } {
        if described(wire, kind, name, key) == wanted {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(described(wire, kind, name, key), wanted, "{key} of {name}");
}

fn fresh() -> (Broker, Wire) {
    let broker = Broker::start(&[("shards", "2")]);
    create_topic(&broker, "t", 1, &[]);
    let wire = Wire::connect(&broker);
    (broker, wire)
}

#[test]
fn every_version_changes_topics_and_tells_each_what_is_wrong() {
    let (broker, mut wire) = fresh();
    create_topic(&broker, "u", 1, &[]);
    for version in 0..=1 {
        let value = format!("{}", 1_000_000 + i32::from(version));
        let changes: &[Change<'_>] = &[
            (TOPIC, "t", &[("segment.ms", SET, Some(&value)), ("retention.ms", DELETE, None)]),
            (TOPIC, "never", &[("segment.ms", SET, Some("5"))]),
            (TOPIC, "a/b", &[("segment.ms", SET, Some("5"))]),
            (TOPIC, "", &[("segment.ms", SET, Some("5"))]),
            (77, "t", &[]),
            (TOPIC, "u", &[("segment.ms", SET, Some("5")), ("segment.ms", DELETE, None)]),
        ];
        let codes =
            [0, UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUEST, INVALID_REQUEST, INVALID_REQUEST];
        assert_eq!(alter(&mut wire, changes, version), codes);
        shows(&mut wire, TOPIC, "t", "segment.ms", &value, TOPIC_CONFIG);
        shows(&mut wire, TOPIC, "t", "retention.ms", "604800000", DEFAULT_CONFIG);
        let twice: &[Change<'_>] = &[
            (TOPIC, "t", &[("segment.ms", SET, Some("5"))]),
            (TOPIC, "u", &[("segment.ms", SET, Some(&value))]),
            (TOPIC, "t", &[("segment.bytes", SET, Some("1048576"))]),
        ];
        assert_eq!(alter(&mut wire, twice, version), [INVALID_REQUEST, 0, INVALID_REQUEST]);
        let bad: &[(&str, i8, Option<&str>, i16)] = &[
            ("no.such.key", SET, Some("5"), INVALID_CONFIG),
            ("segment.ms", SET, Some("soon"), INVALID_CONFIG),
            ("segment.bytes", SET, Some("1"), INVALID_CONFIG),
            ("segment.ms", APPEND, Some("5"), INVALID_CONFIG),
            ("cleanup.policy", APPEND, Some("shred"), INVALID_CONFIG),
            ("segment.ms", SET, None, INVALID_REQUEST),
            ("no.such.key", DELETE, None, 0),
        ];
        for (key, op, value, code) in bad {
            // All or nothing of a resource.
            let changes = [("flush.ms", SET, Some("77")), (key, *op, *value)];
            let changes = if *code == 0 { &changes[1..] } else { &changes[..] };
            assert_eq!(alter(&mut wire, &[(TOPIC, "t", changes)], version), [*code], "{key} {op} {value:?}");
        }
        if !is_kafka() {
            assert_eq!(alter(&mut wire, &[(TOPIC, "t", &[("segment.ms", 9, Some("5"))])], version), [INVALID_REQUEST]);
        }
        shows(&mut wire, TOPIC, "t", "segment.ms", &value, TOPIC_CONFIG);
        shows(&mut wire, TOPIC, "t", "flush.ms", "9223372036854775807", DEFAULT_CONFIG);

        let only_checked = incremental(&[(TOPIC, "t", &[("segment.ms", SET, Some("9"))])]).with_validate_only(true);
        assert_eq!(wire.call(&only_checked, version).responses[0].error_code, 0);
        shows(&mut wire, TOPIC, "t", "segment.ms", &value, TOPIC_CONFIG);

        for (op, item, then) in [
            (APPEND, "compact", "delete,compact"),
            (APPEND, "compact", "delete,compact"),
            (SUBTRACT, "delete", "compact"),
            (SET, "delete", "delete"),
        ] {
            assert_eq!(alter(&mut wire, &[(TOPIC, "t", &[("cleanup.policy", op, Some(item))])], version), [0]);
            shows(&mut wire, TOPIC, "t", "cleanup.policy", then, TOPIC_CONFIG);
        }
    }
    for version in 0..=2 {
        let values = [("flush.ms", Some("1000")), ("cleanup.policy", Some("compact"))];
        assert_eq!(replace(&mut wire, TOPIC, "t", &values, version), 0);
        shows(&mut wire, TOPIC, "t", "flush.ms", "1000", TOPIC_CONFIG);
        shows(&mut wire, TOPIC, "t", "segment.ms", "604800000", DEFAULT_CONFIG);
        assert_eq!(replace(&mut wire, TOPIC, "t", &[("flush.ms", None)], version), INVALID_REQUEST);
        assert_eq!(replace(&mut wire, TOPIC, "t", &[("flush.ms", Some("x"))], version), INVALID_CONFIG);
        assert_eq!(replace(&mut wire, TOPIC, "never", &[], version), UNKNOWN_TOPIC_OR_PARTITION);
        assert_eq!(replace(&mut wire, 8, "1", &[("root", Some("INFO"))], version), INVALID_REQUEST);
        assert_eq!(replace(&mut wire, TOPIC, "t", &[], version), 0);
        shows(&mut wire, TOPIC, "t", "flush.ms", "9223372036854775807", DEFAULT_CONFIG);
        set(&mut wire, "t", "segment.ms", "1234567");
    }
}

#[test]
fn a_message_about_very_many_keys_still_fits_its_answer() {
    if is_kafka() {
        return; // It has no message then.
    }
    let (_broker, mut wire) = fresh();
    let keys: Vec<String> = (0..2000).map(|i| format!("{i:050}")).collect();
    let configs: Vec<_> = keys.iter().map(|key| (key.as_str(), SET, None)).collect();
    assert_eq!(alter(&mut wire, &[(TOPIC, "t", &configs)], 1), [INVALID_REQUEST]);
    assert_eq!(alter(&mut wire, &[(TOPIC, "t", &configs)], 0), [INVALID_REQUEST]);
}

#[test]
fn partitions_go_by_a_change_as_soon_as_it_is_answered() {
    if is_kafka() {
        return; // It answers before its partitions know.
    }
    let broker = Broker::start(&[
        ("shards", "2"),
        ("log.initial.task.delay.ms", "0"),
        ("log.retention.check.interval.ms", "100"),
        ("log.segment.delete.delay.ms", "50"),
    ]);
    // On both shards.
    create_topic(&broker, "t", 4, &[]);
    let mut wire = Wire::connect(&broker);
    let large = vec![b'x'; 5000];
    for partition in 0..4 {
        let write = |wire: &mut Wire, batch: &Batch| wire::produce(wire, "t", partition, batch.bytes()).0;
        assert_eq!(write(&mut wire, &Batch::of(&[&large])), 0);
        set(&mut wire, "t", "max.message.bytes", "4000");
        assert_eq!(write(&mut wire, &Batch::of(&[&large])), MESSAGE_TOO_LARGE);
        set(&mut wire, "t", "max.message.bytes", "2000000");
        assert_eq!(write(&mut wire, &Batch::of(&[&large])), 0);

        let old = Batch::of(&[b"old"]).at(now_ms() - 1_000_000);
        assert_eq!(write(&mut wire, &old), 0);
        set(&mut wire, "t", "message.timestamp.before.max.ms", "500000");
        assert_eq!(write(&mut wire, &old), INVALID_TIMESTAMP);
        set(&mut wire, "t", "message.timestamp.type", "LogAppendTime");
        let (_, at) = wire::produce(&mut wire, "t", partition, Batch::of(&[b"now"]).at(5).bytes());
        let read = wire::fetch(&mut wire, "t", partition, at);
        let read = batches(&read.records.expect("records"));
        assert_eq!(read[0].attributes & 8, 8, "the time is the broker's");
        let back = [("message.timestamp.type", DELETE, None), ("message.timestamp.before.max.ms", DELETE, None)];
        assert_eq!(alter(&mut wire, &[(TOPIC, "t", &back)], 1), [0]);
        assert_eq!(write(&mut wire, &old), 0);

        set(&mut wire, "t", "cleanup.policy", "compact");
        assert_eq!(write(&mut wire, &Batch::of(&[b"without a key"])), INVALID_RECORD);
        set(&mut wire, "t", "cleanup.policy", "delete");
        assert_eq!(write(&mut wire, &Batch::of(&[b"without a key"])), 0);
    }

    // A smaller segment is rolled at the next append, and of four only the last one fits.
    let half = vec![b'x'; 600_000];
    for _ in 0..4 {
        assert_eq!(wire::produce(&mut wire, "t", 0, Batch::of(&[&half]).bytes()).0, 0);
    }
    let segments = || {
        let names = std::fs::read_dir(broker.data_dir().join("t-0")).expect("the directory");
        names.filter_map(Result::ok).filter(|name| name.file_name().to_string_lossy().ends_with(".log")).count()
    };
    let (start, end) = watermarks(&broker, "t", 0);
    assert_eq!((start, segments()), (0, 1));
    set(&mut wire, "t", "segment.bytes", "1048576");
    for _ in 0..4 {
        assert_eq!(wire::produce(&mut wire, "t", 0, Batch::of(&[&half]).bytes()).0, 0);
    }
    assert_eq!(watermarks(&broker, "t", 0), (0, end + 4), "nothing may go yet");
    assert!(segments() >= 4);
    set(&mut wire, "t", "retention.bytes", "1000000");
    retry("the log start moves", || match watermarks(&broker, "t", 0) {
        (start, _) if start >= end => Ok(()),
        _ => Err(rdkafka::error::KafkaError::Canceled),
    });
    let read = wire::fetch(&mut wire, "t", 0, end + 3);
    assert_eq!((read.error_code, read.high_watermark), (0, end + 4));
}

#[test]
fn brokers_change_the_defaults_of_topics_that_have_no_value_of_their_own() {
    let (mut broker, mut wire) = fresh();
    create_topic(&broker, "own", 1, &[("max.message.bytes", "100000")]);
    let large = vec![b'x'; 5000];
    let node = "1";
    let key = "message.max.bytes";
    let change = |wire: &mut Wire, name: &str, op, value| alter(wire, &[(BROKER, name, &[(key, op, value)])], 1);
    assert_eq!(change(&mut wire, "", SET, Some("3000")), [0]);
    shows(&mut wire, BROKER, "", key, "3000", DYNAMIC_DEFAULT_BROKER_CONFIG);
    shows(&mut wire, BROKER, node, key, "3000", DYNAMIC_DEFAULT_BROKER_CONFIG);
    shows(&mut wire, TOPIC, "t", "max.message.bytes", "3000", DYNAMIC_DEFAULT_BROKER_CONFIG);
    shows(&mut wire, TOPIC, "own", "max.message.bytes", "100000", TOPIC_CONFIG);
    let write = |wire: &mut Wire, topic| wire::produce(wire, topic, 0, Batch::of(&[&large]).bytes()).0;
    if !is_kafka() {
        assert_eq!((write(&mut wire, "t"), write(&mut wire, "own")), (MESSAGE_TOO_LARGE, 0));
    }
    assert_eq!(change(&mut wire, node, SET, Some("4000")), [0]);
    shows(&mut wire, TOPIC, "t", "max.message.bytes", "4000", DYNAMIC_BROKER_CONFIG);
    for (name, key, value, code) in [
        ("2", "message.max.bytes", "5", INVALID_REQUEST),
        ("x", "message.max.bytes", "5", INVALID_REQUEST),
        (node, "message.max.bytes", "x", INVALID_REQUEST),
        (node, "node.id", "5", INVALID_REQUEST),
        (node, "log.retention.hours", "5", INVALID_REQUEST),
        (node, "log.roll.ms", "0", INVALID_REQUEST),
        (node, "min.insync.replicas", "1", INVALID_CONFIG),
    ] {
        assert_eq!(alter(&mut wire, &[(BROKER, name, &[(key, SET, Some(value))])], 1), [code], "{name} {key}={value}");
    }
    if !is_kafka() {
        for (key, code) in [("num.io.threads", INVALID_REQUEST), ("no.such.key", INVALID_CONFIG)] {
            assert_eq!(alter(&mut wire, &[(BROKER, node, &[(key, SET, Some("9"))])], 1), [code]);
        }
        for again in 0..2 {
            if again == 0 {
                broker.kill();
                broker.launch();
            } else {
                broker.restart();
            }
            wire = Wire::connect(&broker);
            shows(&mut wire, TOPIC, "t", "max.message.bytes", "4000", DYNAMIC_BROKER_CONFIG);
            assert_eq!((write(&mut wire, "t"), write(&mut wire, "own")), (MESSAGE_TOO_LARGE, 0));
        }
    }
    assert_eq!(change(&mut wire, node, DELETE, None), [0]);
    shows(&mut wire, TOPIC, "t", "max.message.bytes", "3000", DYNAMIC_DEFAULT_BROKER_CONFIG);
    assert_eq!(change(&mut wire, "", DELETE, None), [0]);
    shows(&mut wire, TOPIC, "t", "max.message.bytes", "1048588", DEFAULT_CONFIG);
    if !is_kafka() {
        assert_eq!(write(&mut wire, "t"), 0);
    }
}

#[test]
fn any_node_of_a_broker_with_a_listener_for_each_core_is_that_broker() {
    if is_kafka() {
        return;
    }
    let broker = Broker::start(&[("shards", "2"), ("shard.listeners", "per-core")]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    let change: &[(&str, i8, Option<&str>)] = &[("log.segment.bytes", SET, Some("2000000"))];
    assert_eq!(alter(&mut wire, &[(BROKER, "2", change), (BROKER, "3", change)], 1), [0, INVALID_REQUEST]);
    shows(&mut wire, BROKER, "1", "log.segment.bytes", "2000000", DYNAMIC_BROKER_CONFIG);
    shows(&mut wire, TOPIC, "t", "segment.bytes", "2000000", DYNAMIC_BROKER_CONFIG);
    assert_eq!(alter(&mut wire, &[(BROKER, "1", change), (BROKER, "2", change)], 1), [INVALID_REQUEST; 2]);
}

#[test]
fn what_was_answered_survives_crashes() {
    if is_kafka() {
        return; // It does not flush its catalog at once.
    }
    let cycles = std::env::var("CORELANE_TEST_CONFIG_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let mut random = seeded();
    let mut broker = Broker::start(&[("shards", "2")]);
    create_topic(&broker, "t", 2, &[]);
    let mut least = 0;
    for cycle in 0..cycles {
        let answered = AtomicI64::new(least);
        let after = Duration::from_millis(random.random_range(1..300));
        thread::scope(|scope| {
            let mut wire = Wire::connect(&broker);
            let answered = &answered;
            scope.spawn(move || {
                for value in least + 1.. {
                    let text = value.to_string();
                    let changes: &[(&str, i8, Option<&str>)] =
                        &[("retention.bytes", SET, Some(&text)), ("flush.ms", SET, Some(&text))];
                    wire.send(&incremental(&[(TOPIC, "t", changes)]), 1);
                    if wire.read_frame().is_none() {
                        break;
                    }
                    answered.store(value, Ordering::Relaxed);
                }
            });
            thread::sleep(after);
            broker.kill();
        });
        broker.launch();
        let mut wire = Wire::connect(&broker);
        let (retention, source) = described(&mut wire, TOPIC, "t", "retention.bytes");
        assert_eq!((&retention, source), (&described(&mut wire, TOPIC, "t", "flush.ms").0, source), "both or none");
        let found: i64 = retention.parse().expect("a number");
        let answered = answered.into_inner();
        assert!((answered..=answered + 1).contains(&found), "cycle {cycle}: {answered} was answered, {found} is there");
        least = found.max(0);
    }
    println!("{cycles} crashes, {least} changes");
    assert!(least > 0);
    broker.restart();
    let mut wire = Wire::connect(&broker);
    shows(&mut wire, TOPIC, "t", "retention.bytes", &least.to_string(), TOPIC_CONFIG);
}

#[test]
fn changes_of_the_catalog_get_a_snapshot_in_time() {
    if is_kafka() {
        return; // It counts from its start.
    }
    let mut broker = Broker::start(&[("metadata.log.max.snapshot.interval.ms", "200")]);
    create_topic(&broker, "t", 1, &[]);
    set(&mut Wire::connect(&broker), "t", "segment.ms", "1234567");
    let snapshots = || {
        let names = std::fs::read_dir(broker.data_dir().join("__cluster_metadata-0")).expect("the directory");
        let names = names.filter_map(Result::ok).map(|name| name.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".checkpoint")).max().expect("one is there from the first start")
    };
    let first = format!("{:020}-{:010}.checkpoint", 0, 0);
    retry("a snapshot", || if snapshots() > first { Ok(()) } else { Err(rdkafka::error::KafkaError::Canceled) });
    broker.restart();
    shows(&mut Wire::connect(&broker), TOPIC, "t", "segment.ms", "1234567", TOPIC_CONFIG);
}
