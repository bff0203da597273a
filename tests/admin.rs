//! Topics and configurations through librdkafka's admin client, metadata and auto-creation.

use std::time::Duration;

use kafka_protocol::messages::{DescribeConfigsRequest, describe_configs_request};
use rdkafka::admin::{NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use crate::harness::client::{
    PATIENCE, Producer, admin, admin_options, block_on, consumer, create_topic, produce, read_all,
};
use crate::harness::wire::Wire;
use crate::harness::{Broker, broker};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// Topic names and partition counts without the internal ones.
fn topics(broker: &Broker) -> Vec<(String, usize)> {
    let metadata = consumer(broker, &[]).fetch_metadata(None, PATIENCE).expect("metadata");
    let mut topics: Vec<_> = metadata
        .topics()
        .iter()
        .filter(|topic| !topic.name().starts_with("__"))
        .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
        .collect();
    topics.sort();
    topics
}

/// Apache Kafka answers an admin request before every part of it knows, so what should show may take a moment.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn topics_are_created_listed_grown_and_deleted() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "one", 1, &[]);
    create_topic(&broker, "two", 3, &[("cleanup.policy", "compact")]);
    eventually("both topics show", || topics(&broker) == [("one".to_owned(), 1), ("two".to_owned(), 3)]);

    let again = NewTopic::new("one", 1, TopicReplication::Fixed(1));
    let results = block_on(admin(&broker).create_topics([&again], &admin_options())).expect("an answer");
    assert_eq!(results, [Err(("one".to_owned(), RDKafkaErrorCode::TopicAlreadyExists))]);

    let invalid = [
        (NewTopic::new("no/slash", 1, TopicReplication::Fixed(1)), RDKafkaErrorCode::InvalidTopic),
        (NewTopic::new("..", 1, TopicReplication::Fixed(1)), RDKafkaErrorCode::InvalidTopic),
        (
            NewTopic::new("bad", 1, TopicReplication::Fixed(1)).set("segment.bytes", "many"),
            RDKafkaErrorCode::InvalidConfig,
        ),
        (NewTopic::new("bad", 1, TopicReplication::Fixed(1)).set("no.such.key", "1"), RDKafkaErrorCode::InvalidConfig),
    ];
    for (topic, code) in invalid {
        let results = block_on(admin(&broker).create_topics([&topic], &admin_options())).expect("an answer");
        assert_eq!(results, [Err((topic.name.to_owned(), code))]);
    }

    let more = NewPartitions::new("one", 4);
    let results = block_on(admin(&broker).create_partitions([&more], &admin_options())).expect("an answer");
    assert_eq!(results, [Ok("one".to_owned())]);
    eventually("four partitions show", || topics(&broker) == [("one".to_owned(), 4), ("two".to_owned(), 3)]);
    let fewer = NewPartitions::new("one", 2);
    let results = block_on(admin(&broker).create_partitions([&fewer], &admin_options())).expect("an answer");
    assert_eq!(results, [Err(("one".to_owned(), RDKafkaErrorCode::InvalidPartitions))]);
    produce(&broker, "one", 3, &[b"in the new partition".to_vec()]);

    let only_checked = NewTopic::new("checked", 1, TopicReplication::Fixed(1));
    let options = admin_options().validate_only(true);
    let results = block_on(admin(&broker).create_topics([&only_checked], &options)).expect("an answer");
    assert_eq!(results, [Ok("checked".to_owned())]);

    let results = block_on(admin(&broker).delete_topics(&["two", "never"], &admin_options())).expect("an answer");
    assert_eq!(results, [Ok("two".to_owned()), Err(("never".to_owned(), RDKafkaErrorCode::UnknownTopicOrPartition))]);
    eventually("one topic is left", || topics(&broker) == [("one".to_owned(), 4)]);

    broker.restart();
    eventually("the same after a restart", || topics(&broker) == [("one".to_owned(), 4)]);
    assert_eq!(read_all(&broker, "one", 3).len(), 1);
}

#[test]
fn a_topic_created_again_under_its_old_name_starts_empty() {
    let mut broker = Broker::start(&[]);
    for round in 0..3_usize {
        create_topic(&broker, "t", 2, &[]);
        let values: Vec<_> = (0..100 + round).map(|i| format!("{round} {i}").into_bytes()).collect();
        assert_eq!(produce(&broker, "t", 1, &values).first(), Some(&0), "offsets begin anew");
        assert_eq!(read_all(&broker, "t", 1).len(), values.len());
        let results = block_on(admin(&broker).delete_topics(&["t"], &admin_options())).expect("an answer");
        assert_eq!(results, [Ok("t".to_owned())]);
        eventually("it is gone", || topics(&broker).is_empty());
        if round == 1 {
            broker.restart();
        }
    }
}

#[test]
fn replication_factors_that_one_broker_cannot_have() {
    if broker::is_kafka() {
        return; // Apache Kafka always refuses them.
    }
    let broker = Broker::start(&[]);
    let results = block_on(admin(&broker).create_topics(
        [
            &NewTopic::new("three", 1, TopicReplication::Fixed(3)),
            &NewTopic::new("default", -1, TopicReplication::Fixed(-1)),
        ],
        &admin_options(),
    ))
    .expect("an answer");
    assert_eq!(results, [Ok("three".to_owned()), Ok("default".to_owned())]);
    let metadata = consumer(&broker, &[]).fetch_metadata(Some("three"), PATIENCE).expect("metadata");
    assert_eq!(metadata.topics()[0].partitions()[0].replicas().len(), 1, "one replica, and it says so");

    drop(broker);
    let strict = Broker::start(&[("corelane.replication.factor.strict", "true")]);
    let three = NewTopic::new("three", 1, TopicReplication::Fixed(3));
    let results = block_on(admin(&strict).create_topics([&three], &admin_options())).expect("an answer");
    assert_eq!(results, [Err(("three".to_owned(), RDKafkaErrorCode::InvalidReplicationFactor))]);
}

#[test]
fn two_in_sync_replicas_asked_for_never_refuse_a_produce() {
    if broker::is_kafka() {
        return; // Apache Kafka refuses with NOT_ENOUGH_REPLICAS.
    }
    let broker = Broker::start(&[("min.insync.replicas", "2")]);
    create_topic(&broker, "t", 1, &[("min.insync.replicas", "3")]);
    produce(&broker, "t", 0, &[b"x".to_vec()]);
}

#[test]
fn metadata_names_the_broker_and_each_partitions_leader() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 3, &[]);
    let metadata = consumer(&broker, &[]).fetch_metadata(Some("t"), PATIENCE).expect("metadata");
    assert_eq!(metadata.brokers().len(), 1);
    assert_eq!(metadata.brokers()[0].host(), "127.0.0.1");
    assert_eq!(metadata.brokers()[0].port(), i32::from(broker.port()));
    let node = metadata.brokers()[0].id();
    let topic = &metadata.topics()[0];
    assert_eq!(topic.error(), None);
    assert_eq!(topic.partitions().len(), 3);
    for partition in topic.partitions() {
        assert_eq!(partition.leader(), node);
        assert_eq!((partition.replicas(), partition.isr()), ([node].as_slice(), [node].as_slice()));
    }
}

#[test]
fn a_topic_is_created_by_the_first_who_produces_to_it_unless_that_is_off() {
    let broker = Broker::start(&[("num.partitions", "3")]);
    let producer = Producer::new(&broker, &[]);
    producer.send_value(0, "auto", 2, b"x");
    producer.finish_ok();
    assert_eq!(topics(&broker), [("auto".to_owned(), 3)]);

    drop((producer, broker));
    let off = Broker::start(&[("auto.create.topics.enable", "false")]);
    let producer = Producer::new(&off, &[("message.timeout.ms", "3000")]);
    producer.send_value(0, "auto", 0, b"x");
    assert!(producer.finish()[0].result.is_err());
    assert!(topics(&off).is_empty());
}

#[test]
fn configurations_are_described_with_their_source() {
    let broker = Broker::start(&[("log.retention.hours", "24")]);
    create_topic(&broker, "t", 1, &[("retention.ms", "1234567"), ("cleanup.policy", "compact")]);
    let node = if broker::is_kafka() { 1 } else { first_node(&broker) };
    let specs = [ResourceSpecifier::Topic("t"), ResourceSpecifier::Broker(node)];
    let results = block_on(admin(&broker).describe_configs(&specs, &admin_options())).expect("an answer");
    let topic = results[0].as_ref().expect("the topic's configs");
    let entry = |name: &str| {
        let entry = topic.get(name).unwrap_or_else(|| panic!("{name} is described"));
        (entry.value.clone().unwrap_or_default(), entry.is_default)
    };
    assert_eq!(entry("retention.ms"), ("1234567".to_owned(), false));
    assert_eq!(entry("cleanup.policy"), ("compact".to_owned(), false));
    assert_eq!(entry("max.message.bytes"), ("1048588".to_owned(), true));
    assert_eq!(entry("min.insync.replicas").0, "1");
    let node_configs = results[1].as_ref().expect("the broker's configs");
    assert_eq!(node_configs.get("log.retention.hours").and_then(|e| e.value.clone()).as_deref(), Some("24"));
    assert_eq!(node_configs.get("log.segment.bytes").and_then(|e| e.value.clone()).as_deref(), Some("1073741824"));

    // librdkafka's binding keeps the error of a single resource to itself.
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name("never".into());
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    for version in 1..=4 {
        let response = Wire::connect(&broker).call(&request, version);
        assert_eq!(response.results[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
        assert!(response.results[0].configs.is_empty());
    }
}

fn first_node(broker: &Broker) -> i32 {
    consumer(broker, &[]).fetch_metadata(Some("t"), PATIENCE).expect("metadata").brokers()[0].id()
}
