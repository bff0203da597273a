//! The handshake and metadata on the wire: ApiVersions in every version, requests newer than ours, keys that are not
//! advertised, topics by id, and the small answers around them.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, DescribeClusterRequest,
    DescribeLogDirsRequest, DescribeTopicPartitionsRequest, FindCoordinatorRequest, MetadataRequest, ResponseHeader,
    create_topics_request, describe_topic_partitions_request, metadata_request,
};
use kafka_protocol::protocol::{Decodable, StrBytes};

use crate::harness::Broker;
use crate::harness::client::{create_topic, produce};
use crate::harness::wire::{Wire, metadata, raw_frame, topic_id, topic_name};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const UNSUPPORTED_VERSION: i16 = 35;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REQUEST: i16 = 42;
const POLICY_VIOLATION: i16 = 44;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// What Apache Kafka 4.3.1 advertises for the keys that a broker must have to be of use at all.
const KAFKA_4_3: &[(i16, i16, i16)] = &[
    (0, 0, 13),
    (1, 4, 18),
    (2, 1, 11),
    (3, 0, 13),
    (8, 2, 10),
    (9, 1, 10),
    (10, 0, 6),
    (18, 0, 4),
    (19, 2, 7),
    (20, 1, 6),
    (22, 0, 5),
    (23, 2, 4),
    (32, 1, 4),
    (33, 0, 2),
    (35, 1, 5),
    (37, 0, 3),
    (44, 0, 1),
    (60, 0, 2),
    (75, 0, 0),
];

fn api_versions(version: i16) -> ApiVersionsRequest {
    let request = ApiVersionsRequest::default();
    if version < 3 {
        return request;
    }
    request
        .with_client_software_name(StrBytes::from_static_str("corelane-tests"))
        .with_client_software_version(StrBytes::from_static_str("1.0"))
}

#[test]
fn every_version_of_api_versions_lists_the_same_keys_as_apache_kafka() {
    let broker = Broker::start(&[]);
    for version in 0..=4 {
        let mut wire = Wire::connect(&broker);
        let response = wire.call(&api_versions(version), version);
        assert_eq!(response.error_code, 0);
        let keys: BTreeMap<i16, (i16, i16)> =
            response.api_keys.iter().map(|key| (key.api_key, (key.min_version, key.max_version))).collect();
        assert_eq!(keys.len(), response.api_keys.len(), "no key twice");
        for &(key, min, max) in KAFKA_4_3 {
            assert_eq!(keys.get(&key), Some(&(min, max)), "key {key}");
        }
        if version >= 3 {
            assert!(response.finalized_features.iter().any(|f| f.name.as_str() == "metadata.version"));
            assert!(response.finalized_features_epoch >= 0);
        }
        if version == 3 {
            // KAFKA-17492: older clients cannot decode a range that starts at 0.
            assert!(response.supported_features.iter().all(|feature| feature.min_version > 0));
        }
    }
}

#[test]
fn a_newer_api_versions_is_answered_in_version_0() {
    let broker = Broker::start(&[]);
    for version in [5_i16, 6, 99, i16::MAX] {
        let mut wire = Wire::connect(&broker);
        let mut body = BytesMut::new();
        body.put_u8(1 + 3);
        body.put_slice(b"new");
        body.put_u8(1 + 1);
        body.put_slice(b"9");
        body.put_u8(0);
        wire.send_bytes(&raw_frame(ApiKey::ApiVersions, version, 7, true, &body));
        let mut frame = wire.read_frame().expect("an answer");
        assert_eq!(ResponseHeader::decode(&mut frame, 0).expect("a header").correlation_id, 7);
        let response = ApiVersionsResponse::decode(&mut frame, 0).expect("a body of version 0");
        assert!(!frame.has_remaining());
        assert_eq!(response.error_code, UNSUPPORTED_VERSION);
        let key = response.api_keys.iter().find(|key| key.api_key == 18).expect("key 18, so that the client can retry");
        assert_eq!((key.min_version, key.max_version), (0, 4));
        // The connection goes on with a version that both know.
        assert_eq!(wire.call(&api_versions(3), 3).error_code, 0);
    }
}

#[test]
fn a_client_name_that_could_not_be_a_metric_is_an_invalid_request() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    let request = api_versions(3).with_client_software_name(StrBytes::from_static_str("not a name;"));
    assert_eq!(wire.call(&request, 3).error_code, INVALID_REQUEST);
}

#[test]
fn a_key_or_version_that_is_not_advertised_closes_the_connection() {
    let broker = Broker::start(&[]);
    let unknown: &[(i16, i16)] =
        &[(999, 0), (-1, 0), (i16::MAX, 1), (3, 14), (3, 99), (1, 3), (0, 14), (19, 1), (3, -1)];
    for &(key, version) in unknown {
        let mut wire = Wire::connect(&broker);
        assert_eq!(wire.call(&api_versions(3), 3).error_code, 0);
        let mut frame = raw_frame(ApiKey::Metadata, version, 1, false, &[0, 0, 0, 0, 0, 0, 0, 0]);
        frame[4..6].copy_from_slice(&key.to_be_bytes());
        wire.send_bytes(&frame);
        assert!(wire.is_closed(), "key {key} version {version}");
    }
    assert_eq!(Wire::connect(&broker).call(&api_versions(0), 0).error_code, 0, "the broker is well");
}

#[test]
fn metadata_of_every_version_names_topics_by_name_and_newer_ones_by_id() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 3, &[]);
    produce(&broker, "t", 0, &[b"x".to_vec()]);
    let mut wire = Wire::connect(&broker);
    for version in 0..=13 {
        let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name("t")));
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let response = wire.call(&request, version);
        assert_eq!(response.brokers.len(), 1);
        assert_eq!(response.topics.len(), 1);
        assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (0, 3));
        assert!(!response.topics[0].is_internal);
        if version >= 1 {
            assert!(response.brokers.iter().any(|broker| broker.node_id == response.controller_id));
        }
        if version >= 2 {
            assert_eq!(response.cluster_id.as_ref().map(|id| id.len()), Some(22));
        }
        if version >= 10 {
            assert!(!response.topics[0].topic_id.is_nil());
        }
        // All topics: null from version 1 on, empty in version 0.
        let all = if version == 0 { Some(vec![]) } else { None };
        let response = wire.call(&MetadataRequest::default().with_topics(all), version);
        assert!(response.topics.iter().any(|t| t.name.as_ref().is_some_and(|name| name.as_str() == "t")));
        if version >= 1 {
            let none = wire.call(&MetadataRequest::default().with_topics(Some(vec![])), version);
            assert!(none.topics.is_empty() && !none.brokers.is_empty());
        }
    }
    let id = topic_id(&mut wire, "t");
    let by_id = |id| {
        let topic = metadata_request::MetadataRequestTopic::default().with_topic_id(id).with_name(None);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let response = wire.call(&by_id(id), 12);
    assert_eq!(response.topics[0].error_code, 0);
    assert_eq!(response.topics[0].name.as_ref().map(|name| name.as_str()), Some("t"));
    let response = wire.call(&by_id(uuid::Uuid::from_u128(0x1234_5678)), 12);
    assert_eq!(response.topics[0].error_code, UNKNOWN_TOPIC_ID);

    assert_eq!(metadata(&mut wire, "never").topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(metadata(&mut wire, "not/a name").topics[0].error_code, INVALID_TOPIC);
}

#[test]
fn the_cluster_and_its_topics_describe_themselves() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "a", 2, &[]);
    create_topic(&broker, "b", 3, &[]);
    let mut wire = Wire::connect(&broker);
    for version in 0..=2 {
        let response = wire.call(&DescribeClusterRequest::default().with_endpoint_type(1), version);
        assert_eq!((response.error_code, response.brokers.len()), (0, 1));
        assert_eq!(response.brokers[0].port, i32::from(broker.port()));
        assert_eq!(response.cluster_id.len(), 22);
    }
    let topics = ["a", "b", "never"]
        .map(|name| describe_topic_partitions_request::TopicRequest::default().with_name(topic_name(name)));
    let request =
        DescribeTopicPartitionsRequest::default().with_topics(topics.to_vec()).with_response_partition_limit(4);
    let response = wire.call(&request, 0);
    let shape: Vec<_> = response
        .topics
        .iter()
        .map(|topic| {
            (topic.name.as_ref().map(|n| n.to_string()).unwrap_or_default(), topic.error_code, topic.partitions.len())
        })
        .collect();
    assert_eq!(shape, [("a".to_owned(), 0, 2), ("b".to_owned(), 0, 2)], "cut at four partitions");
    let cursor = response.next_cursor.expect("a cursor to go on from");
    assert_eq!((cursor.topic_name.as_str(), cursor.partition_index), ("b", 2));

    for version in 1..=4 {
        let response = wire.call(&DescribeLogDirsRequest::default().with_topics(None), version);
        assert_eq!(response.results.len(), 1);
        assert_eq!(response.results[0].error_code, 0);
        let mut partitions: Vec<_> = response.results[0]
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|p| format!("{}-{}", topic.name.as_str(), p.partition_index)))
            .filter(|name| !name.starts_with("__"))
            .collect();
        partitions.sort();
        assert_eq!(partitions, ["a-0", "a-1", "b-0", "b-1", "b-2"]);
        if version >= 4 {
            assert!(response.results[0].total_bytes > response.results[0].usable_bytes);
        }
    }
}

#[test]
fn the_coordinator_of_a_group_is_this_broker() {
    let broker = Broker::start(&[]);
    let mut wire = Wire::connect(&broker);
    for version in 0..=3 {
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
        let response = coordinator(&mut wire, &request, version, |r| r.error_code);
        assert_eq!((response.host.as_str(), response.port), ("127.0.0.1", i32::from(broker.port())));
    }
    for version in 4..=6 {
        let keys = ["g", "h"].map(StrBytes::from_static_str).to_vec();
        let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
        let response = coordinator(&mut wire, &request, version, |r| r.coordinators[0].error_code);
        assert_eq!(response.coordinators.len(), 2);
        assert!(response.coordinators.iter().all(|c| c.error_code == 0 && c.port == i32::from(broker.port())));
    }

    /// COORDINATOR_NOT_AVAILABLE is a fair first answer, while the offsets topic is being created.
    fn coordinator(
        wire: &mut Wire,
        request: &FindCoordinatorRequest,
        version: i16,
        code: impl Fn(&kafka_protocol::messages::FindCoordinatorResponse) -> i16,
    ) -> kafka_protocol::messages::FindCoordinatorResponse {
        for _ in 0..200 {
            let response = wire.call(request, version);
            if code(&response) != 15 {
                assert_eq!(code(&response), 0);
                return response;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("no coordinator");
    }
}

#[test]
fn topics_that_must_not_be_created_are_refused_each_with_its_reason() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "there", 1, &[]);
    create_topic(&broker, "dots.and_more", 1, &[]);
    let mut wire = Wire::connect(&broker);
    let mut create = |name: &str, partitions: i32, version: i16| {
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let response = wire.call(&request, version);
        assert_eq!(response.topics.len(), 1);
        response.topics[0].error_code
    };
    for version in 2..=7 {
        assert_eq!(create("there", 1, version), TOPIC_ALREADY_EXISTS);
        assert_eq!(create("", 1, version), INVALID_TOPIC);
        assert_eq!(create(".", 1, version), INVALID_TOPIC);
        assert_eq!(create(&"x".repeat(250), 1, version), INVALID_TOPIC);
        assert_eq!(create("../escape", 1, version), INVALID_TOPIC);
        assert_eq!(create("null\0byte", 1, version), INVALID_TOPIC);
        assert_eq!(create("none", 0, version), INVALID_PARTITIONS);
        assert_eq!(create("negative", -2, version), INVALID_PARTITIONS);
        // A metric name could not tell it from dots.and_more.
        assert_eq!(create("dots_and.more", 1, version), INVALID_TOPIC);
    }
    for partitions in [i32::MAX, 1_000_000] {
        let code = create("huge", partitions, 7);
        assert!([INVALID_PARTITIONS, POLICY_VIOLATION].contains(&code), "{partitions} partitions: {code}");
    }
    assert_eq!(create(&"x".repeat(249), 1, 7), 0, "the longest name");
    assert_eq!(metadata(&mut Wire::connect(&broker), "huge").topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION);
}
