//! Several shards, in both listener forms: whichever port a client uses, it gets the same.

use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use std::collections::HashSet;

use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeLogDirsRequest, MetadataRequest};

use crate::harness::Broker;
use crate::harness::batch::{Batch, batches};
use crate::harness::broker::is_kafka;
use crate::harness::client::{PATIENCE, Producer, consumer, create_topic, produce, read_all, values, watermarks};
use crate::harness::wire::{self, FetchOptions, Wire, fetch_request};

const PARTITIONS: i32 = 8;

fn round_trip(broker: &Broker) {
    let producer = Producer::new(broker, &[("enable.idempotence", "true"), ("compression.type", "lz4")]);
    for tag in 0..4_000 {
        producer.send_value(tag, "t", tag as i32 % PARTITIONS, tag.to_string().as_bytes());
    }
    producer.finish_ok();
    for partition in 0..PARTITIONS {
        let want: Vec<_> =
            (0..4_000).filter(|tag| tag % PARTITIONS == partition).map(|tag| tag.to_string().into_bytes()).collect();
        let read = read_all(broker, "t", partition);
        assert!(values(&read) == want, "partition {partition}");
        assert!(read.iter().enumerate().all(|(index, record)| record.offset() == index as i64));
    }
}

#[test]
fn two_shards_behind_one_port_serve_as_one_broker() {
    if is_kafka() {
        return;
    }
    let mut broker = Broker::start(&[("shards", "2")]);
    create_topic(&broker, "t", PARTITIONS, &[]);
    let metadata = consumer(&broker, &[]).fetch_metadata(Some("t"), PATIENCE).expect("metadata");
    assert_eq!(metadata.brokers().len(), 1);
    round_trip(&broker);

    // The kernel spreads connections over the shards; on each of many, every partition is served.
    for _ in 0..16 {
        let mut wire = Wire::connect(&broker);
        let from: Vec<_> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        let options = FetchOptions { max_bytes: 1 << 26, ..FetchOptions::default() };
        let response = wire.call(&fetch_request("t", &from, options), 12);
        assert_eq!(response.responses[0].partitions.len(), PARTITIONS as usize);
        for data in &response.responses[0].partitions {
            assert_eq!((data.error_code, data.high_watermark), (0, 500));
            let found = batches(data.records.as_deref().unwrap_or_default());
            assert_eq!(found.last().map(|batch| batch.last_offset), Some(499));
        }
    }
    broker.restart();
    assert_eq!(watermarks(&broker, "t", 5), (0, 500));
}

#[test]
fn a_partition_keeps_its_data_whatever_the_count_of_shards() {
    if is_kafka() {
        return;
    }
    let mut broker = Broker::start(&[("shards", "2")]);
    create_topic(&broker, "t", PARTITIONS, &[]);
    round_trip(&broker);
    for shards in ["1", "3", "2"] {
        assert!(broker.stop().is_some_and(|status| status.success()));
        broker.set("shards", shards);
        broker.launch();
        for partition in 0..PARTITIONS {
            assert_eq!(watermarks(&broker, "t", partition), (0, 500), "{shards} shards");
            assert_eq!(read_all(&broker, "t", partition).len(), 500, "{shards} shards");
        }
    }
}

#[test]
fn with_a_port_for_each_shard_clients_see_as_many_brokers() {
    if is_kafka() {
        return;
    }
    let mut broker = Broker::prepare(&[("shards", "2"), ("shard.listeners", "per-core")]);
    let base = broker.port() + 4;
    broker.set("shard.port.base", &base.to_string());
    broker.launch();
    create_topic(&broker, "t", PARTITIONS, &[]);
    round_trip(&broker);

    let metadata = consumer(&broker, &[]).fetch_metadata(Some("t"), PATIENCE).expect("metadata");
    let mut nodes: Vec<_> = metadata.brokers().iter().map(|b| (b.id(), b.host().to_owned(), b.port())).collect();
    nodes.sort();
    let ports = [i32::from(base), i32::from(base) + 1];
    assert_eq!(nodes, [(1, "127.0.0.1".to_owned(), ports[0]), (2, "127.0.0.1".to_owned(), ports[1])]);
    let leaders: HashSet<i32> =
        metadata.topics()[0].partitions().iter().map(rdkafka::metadata::MetadataPartition::leader).collect();
    assert_eq!(leaders, HashSet::from([1, 2]), "the partitions are spread over the shards");
    for partition in metadata.topics()[0].partitions() {
        assert_eq!(partition.replicas(), [partition.leader()]);
        assert_eq!(partition.isr(), [partition.leader()]);
    }

    // The owner is only faster: each port, the shared one too, serves every partition.
    for port in [broker.port(), base, base + 1] {
        let mut wire = Wire::connect_to(([127, 0, 0, 1], port).into());
        let response = wire.call(&MetadataRequest::default().with_topics(None), 12);
        assert_eq!(response.brokers.len(), 2);
        let cluster = wire.call(&DescribeClusterRequest::default().with_endpoint_type(1), 1);
        assert_eq!(cluster.brokers.len(), 2);
        assert!([BrokerId(1), BrokerId(2)].contains(&cluster.controller_id));
        for partition in 0..PARTITIONS {
            let data = wire::fetch(&mut wire, "t", partition, 490);
            assert_eq!(data.error_code, 0, "partition {partition} on port {port}");
            let (code, _) = wire::produce(&mut wire, "t", partition, Batch::of(&[b"any port"]).bytes());
            assert_eq!(code, 0, "partition {partition} on port {port}");
        }
    }
    for partition in 0..PARTITIONS {
        assert_eq!(watermarks(&broker, "t", partition), (0, 503));
    }

    // Log directories are told shard by shard, for clients ask every node and join the answers.
    let mut seen = HashSet::new();
    for port in [base, base + 1] {
        let mut wire = Wire::connect_to(([127, 0, 0, 1], port).into());
        let response = wire.call(&DescribeLogDirsRequest::default().with_topics(None), 4);
        for topic in response.results[0].topics.iter().filter(|topic| topic.name.as_str() == "t") {
            for partition in &topic.partitions {
                assert!(seen.insert(partition.partition_index), "partition {} twice", partition.partition_index);
            }
        }
    }
    assert_eq!(seen.len(), PARTITIONS as usize);
    let mut shared = Wire::connect(&broker);
    let response = shared.call(&DescribeLogDirsRequest::default().with_topics(None), 4);
    let all: usize =
        response.results[0].topics.iter().filter(|t| t.name.as_str() == "t").map(|t| t.partitions.len()).sum();
    assert_eq!(all, PARTITIONS as usize, "the shared port tells of all");
}

#[test]
fn a_directory_goes_from_one_listener_form_to_the_other() {
    if is_kafka() {
        return;
    }
    let mut broker = Broker::start(&[("shards", "2"), ("shard.listeners", "per-core")]);
    create_topic(&broker, "t", 4, &[]);
    for partition in 0..4 {
        produce(&broker, "t", partition, &[partition.to_string().into_bytes()]);
    }
    for (form, crash) in [("shared", false), ("per-core", true), ("shared", true)] {
        if crash {
            broker.kill();
        } else {
            assert!(broker.stop().is_some_and(|status| status.success()));
        }
        broker.set("shard.listeners", form);
        broker.launch();
        for partition in 0..4 {
            let read = values(&read_all(&broker, "t", partition));
            assert_eq!(read, [partition.to_string().into_bytes()], "{form}");
        }
    }
}
