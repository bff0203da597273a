//! What requests become, and which are refused and how.

use std::sync::Arc;

use super::super::commands::{
    CreatedTopic, ManualAssignment, NewPartitions, NewTopic, PlacingRules, TopicRef, allocate_producer_ids,
    create_partitions, create_topics, delete_topic, lead_partitions,
};
use super::super::records::PartitionRecord;
use super::super::{CatalogImage, CommandError, MetadataRecord, ResourceType};
use super::identity;
use crate::config::{Settings, Sources};
use crate::error_code::ErrorCode;
use crate::types::{KafkaUuid, LeaderEpoch};

const RULES: PlacingRules = PlacingRules { default_partitions: 3, strict_replication_factor: false };

pub(super) fn settings() -> Settings {
    Settings::load(&Sources::default()).expect("the defaults").0
}

pub(super) fn topic(name: &str) -> NewTopic<'_> {
    NewTopic { name, num_partitions: 1, replication_factor: -1, assignments: vec![], configs: vec![] }
}

fn assigned(partitions: &[(i32, &[i32])]) -> Vec<ManualAssignment> {
    let assignment = |&(partition, ids): &(i32, &[i32])| ManualAssignment { partition, broker_ids: ids.to_vec() };
    partitions.iter().map(assignment).collect()
}

fn create_with(image: &CatalogImage, rules: PlacingRules, topic: NewTopic<'_>) -> Result<CreatedTopic, CommandError> {
    let mut answers = create_topics(image, &settings(), rules, &[topic], KafkaUuid::random);
    assert_eq!(answers.len(), 1);
    answers.remove(0).1
}

pub(super) fn apply(image: &mut CatalogImage, records: &[MetadataRecord]) {
    for record in records {
        image.apply(record).expect("it fits");
    }
}

pub(super) fn image_of(topics: &[NewTopic<'_>]) -> CatalogImage {
    let mut image = CatalogImage::empty(identity());
    for topic in topics {
        let created = create_with(&image, RULES, topic.clone()).expect("it can be");
        apply(&mut image, &created.records);
    }
    image
}

fn code<T: std::fmt::Debug>(result: Result<T, CommandError>) -> (ErrorCode, String) {
    let error = result.expect_err("it is refused");
    (error.code, error.message)
}

#[test]
fn a_topic_is_made_as_kafka_makes_it() {
    let image = CatalogImage::empty(identity());
    let configs = vec![("retention.ms", Some(" 5 ")), ("cleanup.policy", Some("compact"))];
    let created = create_with(&image, RULES, NewTopic { num_partitions: 2, configs, ..topic("a") }).expect("it can be");
    let names: Vec<_> = created.records.iter().map(MetadataRecord::name).collect();
    assert_eq!(names, ["TopicRecord", "ConfigRecord", "ConfigRecord", "PartitionRecord", "PartitionRecord"]);
    let MetadataRecord::Partition(partition) = &created.records[4] else { panic!("the last is a partition") };
    let expected = PartitionRecord {
        partition_id: 1,
        topic_id: created.id,
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![image.directory_id()],
        ..PartitionRecord::default()
    };
    assert_eq!(partition, &expected);
    assert_eq!(created.configs.get("retention.ms").map(|value| &**value), Some("5"), "values are stored canonical");
    assert_eq!((created.num_partitions, created.replication_factor, created.warning), (2, 1, None));

    let defaults = create_with(&image, RULES, NewTopic { num_partitions: -1, ..topic("b") }).expect("it can be");
    assert_eq!(defaults.num_partitions, 3);
    let both = NewTopic { num_partitions: -1, assignments: assigned(&[(1, &[1]), (0, &[1])]), ..topic("c") };
    assert_eq!(create_with(&image, RULES, both).expect("it can be").num_partitions, 2);
}

#[test]
fn a_replication_factor_above_one_is_clamped_or_refused() {
    let image = CatalogImage::empty(identity());
    let three = NewTopic { replication_factor: 3, ..topic("a") };
    let created = create_with(&image, RULES, three.clone()).expect("it can be");
    assert_eq!(created.replication_factor, 1);
    assert!(created.warning.expect("a warning").contains("of 3 was asked for"));
    let strict = PlacingRules { strict_replication_factor: true, ..RULES };
    assert_eq!(code(create_with(&image, strict, three)).0, ErrorCode::InvalidReplicationFactor);
    for factor in [-1, 1] {
        let created = create_with(&image, strict, NewTopic { replication_factor: factor, ..topic("a") });
        assert_eq!(created.expect("it can be").warning, None);
    }
    for factor in [0, -2, i16::MIN] {
        let zero = create_with(&image, RULES, NewTopic { replication_factor: factor, ..topic("a") });
        assert_eq!(code(zero).0, ErrorCode::InvalidReplicationFactor);
    }
}

#[test]
fn topics_that_cannot_be_are_refused_as_kafka_refuses_them() {
    let image = image_of(&[topic("a.b"), topic("plain")]);
    let refused = |topic| code(create_with(&image, RULES, topic));
    assert_eq!(refused(topic("plain")), (ErrorCode::TopicAlreadyExists, "Topic 'plain' already exists.".to_owned()));
    let collides = "Topic 'a_b' collides with existing topic: a.b".to_owned();
    assert_eq!(refused(topic("a_b")), (ErrorCode::InvalidTopicException, collides));
    assert_eq!(refused(topic("")).0, ErrorCode::InvalidTopicException);
    assert_eq!(refused(topic("__cluster_metadata")).0, ErrorCode::InvalidRequest);
    for num_partitions in [0, -2, i32::MIN] {
        assert_eq!(refused(NewTopic { num_partitions, ..topic("x") }).0, ErrorCode::InvalidPartitions);
    }
    let many = NewTopic { num_partitions: 10_001, ..topic("x") };
    assert_eq!(refused(many).0, ErrorCode::PolicyViolation);
    let configured = |key, value| NewTopic { configs: vec![(key, value)], ..topic("x") };
    assert_eq!(refused(configured("no.such.key", Some("1"))).0, ErrorCode::InvalidConfig);
    assert_eq!(refused(configured("retention.ms", Some("soon"))).0, ErrorCode::InvalidConfig);
    assert_eq!(refused(configured("retention.ms", None)).0, ErrorCode::InvalidConfig);

    let manual = |list: &[(i32, &[i32])]| NewTopic { num_partitions: -1, assignments: assigned(list), ..topic("x") };
    let wrong = [
        manual(&[(0, &[])]),
        manual(&[(0, &[2])]),
        manual(&[(0, &[1, 1])]),
        manual(&[(1, &[1])]),
        manual(&[(0, &[1]), (0, &[1])]),
        manual(&[(0, &[1]), (2, &[1])]),
        manual(&[(i32::MIN, &[1])]),
    ];
    for topic in wrong {
        assert_eq!(refused(topic.clone()).0, ErrorCode::InvalidReplicaAssignment, "{topic:?}");
    }
    let counted = NewTopic { num_partitions: 1, ..manual(&[(0, &[1])]) };
    assert_eq!(refused(counted).0, ErrorCode::InvalidRequest);
    let replicated = NewTopic { replication_factor: 1, ..manual(&[(0, &[1])]) };
    assert_eq!(refused(replicated).0, ErrorCode::InvalidRequest);
}

#[test]
fn topics_of_one_request_meet_each_other() {
    let image = CatalogImage::empty(identity());
    let topics = [topic("a.b"), topic("twice"), topic("a_b"), topic("twice"), topic("c")];
    let answers = create_topics(&image, &settings(), RULES, &topics, KafkaUuid::random);
    let codes: Vec<_> = answers
        .iter()
        .map(|(name, result)| (&**name, result.as_ref().map_or_else(|error| error.code, |_| ErrorCode::None)))
        .collect();
    let expected = [
        ("a.b", ErrorCode::None),
        ("twice", ErrorCode::InvalidRequest),
        ("a_b", ErrorCode::InvalidTopicException),
        ("c", ErrorCode::None),
    ];
    assert_eq!(codes, expected);
    // Partitions are counted over the request.
    let topics =
        [NewTopic { num_partitions: 9_999, ..topic("x") }, NewTopic { num_partitions: 2, ..topic("y") }, topic("z")];
    let answers = create_topics(&image, &settings(), RULES, &topics, KafkaUuid::random);
    let made: Vec<_> = answers.iter().filter(|(_, result)| result.is_ok()).map(|(name, _)| &**name).collect();
    assert_eq!(made, ["x", "z"]);
}

#[test]
fn deleted_topics_leave_nothing() {
    let configured = NewTopic { configs: vec![("retention.ms", Some("5"))], ..topic("a.b") };
    let mut image = image_of(&[configured, topic("c")]);
    let id = image.topic("a.b").expect("it is there").id;
    let (by_name, record) = delete_topic(&image, TopicRef::Name("a.b")).expect("it is there");
    let (by_id, _) = delete_topic(&image, TopicRef::Id(id)).expect("it is there");
    assert!(Arc::ptr_eq(&by_name, &by_id));
    apply(&mut image, &[record]);
    assert_eq!((image.topic_count(), image.partition_count()), (1, 1));
    assert!(image.topic_by_id(id).is_none() && image.config(ResourceType::TOPIC, "a.b").is_none());
    assert!(image.collision("a_b").is_none());
    assert_eq!(code(delete_topic(&image, TopicRef::Name("a.b"))).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(delete_topic(&image, TopicRef::Id(id))).0, ErrorCode::UnknownTopicId);
}

#[test]
fn partitions_are_added_behind_the_last() {
    let mut image = image_of(&[NewTopic { num_partitions: 2, ..topic("a") }]);
    let more = |count, assignments| NewPartitions { topic: "a", count, assignments };
    let refused = |request| code(create_partitions(&image, &request)).0;
    assert_eq!(refused(NewPartitions { topic: "b", ..more(3, None) }), ErrorCode::UnknownTopicOrPartition);
    for count in [2, 1, 0, -1, i32::MIN] {
        assert_eq!(refused(more(count, None)), ErrorCode::InvalidPartitions);
    }
    assert_eq!(refused(more(i32::MAX, None)), ErrorCode::PolicyViolation);
    assert_eq!(refused(more(4, Some(vec![vec![1]]))), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(refused(more(3, Some(vec![vec![2]]))), ErrorCode::InvalidReplicaAssignment);
    let records = create_partitions(&image, &more(4, Some(vec![vec![1], vec![1]]))).expect("it can be");
    apply(&mut image, &records);
    let topic = image.topic("a").expect("it is there");
    assert_eq!((topic.partition_count(), image.partition_count()), (4, 4));
}

#[test]
fn producer_ids_come_in_blocks() {
    let mut image = CatalogImage::empty(identity());
    for block in 0..3 {
        let (ids, record) = allocate_producer_ids(&image).expect("there are more");
        assert_eq!((ids.first, ids.count), (block * 1000, 1000));
        apply(&mut image, &[record]);
    }
    image.next_producer_id = i64::MAX - 10;
    assert_eq!(code(allocate_producer_ids(&image)).0, ErrorCode::UnknownServerError);
}

#[test]
fn whatever_a_partition_was_its_lead_is_taken() {
    let mut image = image_of(&[NewTopic { num_partitions: 4, ..topic("a") }]);
    let id = image.topic("a").expect("it is there").id;
    let foreign = KafkaUuid([9; 16]);
    let partition = |index, replicas: &[i32], isr: &[i32], leader, elr: &[i32], directories: &[KafkaUuid]| {
        PartitionRecord {
            partition_id: index,
            topic_id: id,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            leader,
            leader_epoch: 5,
            partition_epoch: 7,
            directories: directories.to_vec(),
            eligible_leader_replicas: Some(elr.to_vec()),
            last_known_elr: Some(elr.to_vec()),
            leader_recovery_state: i8::from(leader == 2),
            ..PartitionRecord::default()
        }
        .into()
    };
    let ours = image.directory_id();
    let records = [
        // After Kafka's clean stop; one of a cluster; of before directories; one that is elsewhere.
        partition(1, &[1], &[], -1, &[1], &[ours]),
        partition(2, &[2, 1, 3], &[2, 1], 2, &[3], &[foreign, ours, foreign]),
        partition(3, &[1], &[1], 1, &[], &[]),
        partition(4, &[2], &[2], 2, &[], &[foreign]),
    ];
    apply(&mut image, &records);
    let changes: Vec<_> = lead_partitions(&image).collect();
    assert_eq!(changes.len(), 4);
    apply(&mut image, &changes);
    let topic = image.topic("a").expect("it is there");
    for (index, leader_epoch) in [(0, 1), (1, 6), (2, 6), (3, 6)] {
        let partition = &topic.partitions[index];
        assert_eq!((partition.leader, &*partition.isr), (1, &[1][..]), "{index}");
        assert_eq!(partition.leader_epoch, LeaderEpoch(leader_epoch));
        assert!(partition.elr.is_empty() && partition.last_known_elr.is_empty());
        assert_eq!(partition.leader_recovery_state, 0);
    }
    assert_eq!(topic.partitions[2].directories, [foreign, ours, foreign]);
    assert_eq!(topic.partitions[3].directories, [ours]);
    assert_eq!((topic.partitions[4].leader, topic.partitions[4].leader_epoch), (2, LeaderEpoch(5)));
}
