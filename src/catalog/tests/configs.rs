//! Changes of configurations: what they become, and which are refused and how, as Apache Kafka 4.3.1 answered them.

use super::super::commands::{ConfigChange, ConfigOp, ConfigRequest, ConfigTarget, NewTopic, alter_configs};
use super::super::{CatalogImage, CommandError, MetadataRecord, ResourceType};
use super::commands::{apply, image_of, settings, topic};
use super::identity;
use crate::catalog::records::FeatureLevelRecord;
use crate::error_code::ErrorCode;

fn set<'a>(key: &'a str, value: &'a str) -> ConfigChange<'a> {
    ConfigChange { key, op: ConfigOp::Set, value: Some(value) }
}

fn delete(key: &str) -> ConfigChange<'_> {
    ConfigChange { key, op: ConfigOp::Delete, value: None }
}

fn append<'a>(key: &'a str, value: &'a str) -> ConfigChange<'a> {
    ConfigChange { key, op: ConfigOp::Append, value: Some(value) }
}

fn subtract<'a>(key: &'a str, value: &'a str) -> ConfigChange<'a> {
    ConfigChange { key, op: ConfigOp::Subtract, value: Some(value) }
}

type Made = Result<Vec<MetadataRecord>, CommandError>;

fn alter(image: &CatalogImage, target: (ResourceType, &str), request: &ConfigRequest<'_>) -> Made {
    alter_configs(image, &settings(), ConfigTarget { resource_type: target.0, name: target.1 }, request)
}

fn change(image: &CatalogImage, target: (ResourceType, &str), changes: &[ConfigChange<'_>]) -> Made {
    alter(image, target, &ConfigRequest::Change(changes.to_vec()))
}

fn replace(image: &CatalogImage, target: (ResourceType, &str), values: &[(&str, Option<&str>)]) -> Made {
    alter(image, target, &ConfigRequest::Replace(values.to_vec()))
}

fn texts(made: Made) -> Vec<String> {
    let text = |record: &MetadataRecord| match record {
        MetadataRecord::Config(of) => format!("{}={}", &*of.name, of.value.as_deref().unwrap_or("-")),
        other => panic!("{other:?}"),
    };
    made.expect("it can be").iter().map(text).collect()
}

fn take(image: &mut CatalogImage, target: (ResourceType, &str), of: ConfigChange<'_>) {
    let records = change(image, target, &[of]).expect("it can be");
    apply(image, &records);
}

fn refusal(made: Made) -> (ErrorCode, String) {
    let error = made.expect_err("it cannot be");
    (error.code, error.message)
}

const A: (ResourceType, &str) = (ResourceType::TOPIC, "a");
const ALL: (ResourceType, &str) = (ResourceType::BROKER, "");
const THIS: (ResourceType, &str) = (ResourceType::BROKER, "1");

fn configured() -> CatalogImage {
    image_of(&[NewTopic { configs: vec![("retention.ms", Some("5"))], ..topic("a") }])
}

#[test]
fn single_keys_are_changed() {
    let mut image = configured();
    assert!(texts(change(&image, A, &[set("retention.ms", "5")])).is_empty(), "nothing changes");
    assert!(texts(change(&image, A, &[delete("segment.ms"), delete("no.such.key")])).is_empty());
    let changes = [delete("retention.ms"), append("cleanup.policy", "compact"), set("segment.bytes", "1048576")];
    let records = change(&image, A, &changes).expect("it can be");
    let expected = ["retention.ms=-", "cleanup.policy=delete,compact", "segment.bytes=1048576"];
    assert_eq!(texts(Ok(records.clone())), expected, "a list that is not set begins with its default");
    apply(&mut image, &records);
    assert!(texts(change(&image, A, &[append("cleanup.policy", "delete, compact")])).is_empty());
    assert_eq!(texts(change(&image, A, &[subtract("cleanup.policy", "delete,none")])), ["cleanup.policy=compact"]);
    assert_eq!(texts(change(&image, A, &[subtract("cleanup.policy", "delete,compact")])), ["cleanup.policy="]);
}

#[test]
fn all_keys_are_replaced() {
    let mut image = configured();
    take(&mut image, A, set("segment.bytes", "1048576"));
    assert_eq!(texts(replace(&image, A, &[("retention.ms", Some("7"))])), ["segment.bytes=-", "retention.ms=7"]);
    assert_eq!(texts(replace(&image, A, &[])), ["retention.ms=-", "segment.bytes=-"]);
}

#[test]
fn what_topics_cannot_have_is_refused_as_in_kafka() {
    let image = configured();
    let refused = |changes: &[ConfigChange<'_>]| refusal(change(&image, A, changes));
    let config = |text: &str| (ErrorCode::InvalidConfig, text.to_owned());
    let request = |text: &str| (ErrorCode::InvalidRequest, text.to_owned());
    assert_eq!(
        refused(&[append("retention.ms", "5")]),
        config("Can't APPEND to key retention.ms because its type is not LIST.")
    );
    assert_eq!(
        refused(&[subtract("no.such", "5")]),
        config("Can't SUBTRACT to key no.such because its type is not LIST.")
    );
    assert_eq!(refused(&[set("no.such", "5")]), config("Unknown topic config name: no.such"));
    assert_eq!(refused(&[set("retention.ms", "x")]).0, ErrorCode::InvalidConfig);
    assert_eq!(refused(&[append("cleanup.policy", "shred")]).0, ErrorCode::InvalidConfig);
    assert_eq!(refused(&[set("flush.ms", &"9".repeat(40_000))]).0, ErrorCode::InvalidConfig);
    let apart = [set("min.compaction.lag.ms", "10"), set("max.compaction.lag.ms", "5")];
    assert_eq!(refused(&apart).0, ErrorCode::InvalidConfig, "values have to go together");

    let null = |key| ConfigChange { key, op: ConfigOp::Set, value: None };
    let twice = [set("retention.ms", "5"), delete("retention.ms")];
    assert_eq!(refused(&twice), request("Error due to duplicate config keys"));
    assert_eq!(
        refused(&[null("retention.ms"), ConfigChange { op: ConfigOp::Append, ..null("segment.ms") }]),
        request("Null value not supported for : retention.ms, segment.ms")
    );
    let value = ("retention.ms", Some("5"));
    assert_eq!(refusal(replace(&image, A, &[value, value])), request("Error due to duplicate config keys"));
    assert_eq!(
        refusal(replace(&image, A, &[("retention.ms", None)])),
        request("Null value not supported for : retention.ms")
    );
}

#[test]
fn resources_that_are_not_there_are_refused_as_in_kafka() {
    let image = configured();
    let refused = |resource_type, name| refusal(change(&image, (resource_type, name), &[set("retention.ms", "5")]));
    let request = |text: &str| (ErrorCode::InvalidRequest, text.to_owned());
    assert_eq!(
        refused(ResourceType::TOPIC, "never"),
        (ErrorCode::UnknownTopicOrPartition, "The topic 'never' does not exist.".to_owned())
    );
    let bad_value = change(&image, (ResourceType::TOPIC, "never"), &[set("retention.ms", "x")]);
    assert_eq!(refusal(bad_value).0, ErrorCode::InvalidConfig, "the values are looked at first");
    assert_eq!(refused(ResourceType::TOPIC, "a/b").0, ErrorCode::InvalidTopicException);
    assert_eq!(refused(ResourceType::TOPIC, ""), request("Default topic resources are not allowed."));
    assert_eq!(refused(ResourceType::BROKER, "2"), request("Unexpected broker id, expected 1, but received 2"));
    assert_eq!(refused(ResourceType::BROKER, "x"), request("Node id must be an integer, but it is: x"));
    assert_eq!(refused(ResourceType(77), "a"), request("Unknown resource type 77"));
    assert_eq!(refused(ResourceType::GROUP, ""), request("Default group resources are not allowed."));
    for not_here in [ResourceType::BROKER_LOGGER, ResourceType::CLIENT_METRICS] {
        assert_eq!(refused(not_here, "1").0, ErrorCode::InvalidRequest);
    }
}

#[test]
fn brokers_take_what_acts_while_they_run() {
    let mut image = CatalogImage::empty(identity());
    for target in [ALL, THIS] {
        take(&mut image, target, set("log.retention.ms", "5"));
    }
    assert_eq!(image.configured(ResourceType::BROKER).map(|name| &**name).collect::<Vec<_>>(), ["", "1"]);
    let refused = |changes: &[ConfigChange<'_>]| refusal(change(&image, THIS, changes));
    assert_eq!(
        refused(&[set("node.id", "5"), set("log.dirs", "5"), set("log.retention.ms", "6")]),
        (ErrorCode::InvalidRequest, "Cannot update these configs dynamically: [node.id, log.dirs]".to_owned())
    );
    assert_eq!(
        refused(&[set("num.io.threads", "5")]).1,
        "Cannot update these configs dynamically: [num.io.threads] (Corelane runs one thread per core, see shards)"
    );
    assert_eq!(refused(&[set("max.connections", "5")]).0, ErrorCode::InvalidRequest);
    assert_eq!(refused(&[set("log.retention.hours", "5")]).0, ErrorCode::InvalidRequest);
    assert_eq!(refused(&[set("no.such", "5")]).0, ErrorCode::InvalidConfig);
    // A broker's bad value has another code than a topic's.
    assert_eq!(refused(&[set("log.retention.ms", "soon")]).0, ErrorCode::InvalidRequest);
    assert_eq!(refused(&[set("log.roll.ms", "0")]).0, ErrorCode::InvalidRequest, "no topic can have it");
    assert!(texts(change(&image, THIS, &[delete("node.id")])).is_empty());
    assert_eq!(texts(replace(&image, THIS, &[])), ["log.retention.ms=-"]);
}

/// Kafka stored it, and it can be taken away here though it can't be set.
#[test]
fn what_kafka_left_stands_in_nobodys_way() {
    let mut image = CatalogImage::empty(identity());
    let left = super::super::records::ConfigRecord {
        resource_type: ResourceType::BROKER.0,
        resource_name: "1".into(),
        name: "num.io.threads".into(),
        value: Some("16".into()),
    };
    apply(&mut image, &[left.into()]);
    assert_eq!(texts(change(&image, THIS, &[set("log.retention.ms", "5")])), ["log.retention.ms=5"]);
    assert_eq!(texts(change(&image, THIS, &[delete("num.io.threads")])), ["num.io.threads=-"]);
}

#[test]
fn with_eligible_leader_replicas_there_is_one_number_of_replicas_in_sync() {
    let mut image = CatalogImage::empty(identity());
    take(&mut image, THIS, set("min.insync.replicas", "2"));
    take(&mut image, THIS, delete("min.insync.replicas"));
    let elr = FeatureLevelRecord { name: "eligible.leader.replicas.version".into(), feature_level: 1 };
    apply(&mut image, &[elr.into()]);
    take(&mut image, ALL, set("min.insync.replicas", "2"));
    let refused = |target, changes: &[ConfigChange<'_>]| refusal(change(&image, target, changes)).0;
    assert_eq!(refused(THIS, &[set("min.insync.replicas", "2")]), ErrorCode::InvalidConfig);
    assert_eq!(refused(ALL, &[delete("min.insync.replicas")]), ErrorCode::InvalidConfig);
    assert_eq!(refusal(replace(&image, ALL, &[])).0, ErrorCode::InvalidConfig);
    assert_eq!(texts(change(&image, ALL, &[set("log.retention.ms", "5")])), ["log.retention.ms=5"]);
}

#[test]
fn groups_take_what_is_within_the_brokers_bounds() {
    const G: (ResourceType, &str) = (ResourceType::GROUP, "g ü/\n");
    const SESSION: &str = "consumer.session.timeout.ms";
    let mut image = configured();
    let config = |text: &str| (ErrorCode::InvalidConfig, text.to_owned());
    let refused = |image: &CatalogImage, changes: &[ConfigChange<'_>]| refusal(change(image, G, changes));
    assert_eq!(texts(change(&image, G, &[set(SESSION, " 52000 ")])), ["consumer.session.timeout.ms=52000"]);
    take(&mut image, G, set(SESSION, "50000"));
    assert_eq!(image.config(G.0, G.1).and_then(|map| map.get(SESSION)).map(|value| &**value), Some("50000"));
    assert_eq!(image.configured(ResourceType::GROUP).map(|name| &**name).collect::<Vec<_>>(), [G.1]);
    assert_eq!(refused(&image, &[set("retention.ms", "5")]), config("Unknown group config name: retention.ms"));
    assert_eq!(
        refused(&image, &[set(SESSION, "44999")]),
        config("consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms")
    );
    assert_eq!(refused(&image, &[set(SESSION, "soon")]).0, ErrorCode::InvalidConfig);
    assert_eq!(
        refused(&image, &[append(SESSION, "5")]),
        config("Can't APPEND to key consumer.session.timeout.ms because its type is not LIST.")
    );
    // What the group has besides counts, and all or nothing of it is taken.
    let both = [set("consumer.heartbeat.interval.ms", "6000"), set(SESSION, "60001")];
    assert_eq!(refused(&image, &both).0, ErrorCode::InvalidConfig);
    assert_eq!(texts(change(&image, G, &[delete("no.such.key")])), [""; 0]);
    assert_eq!(texts(replace(&image, G, &[("consumer.heartbeat.interval.ms", Some("6000"))])).len(), 2);
    take(&mut image, G, delete(SESSION));
    assert_eq!(image.configured(ResourceType::GROUP).count(), 0);
}

#[test]
fn the_time_between_assignments_changes_while_brokers_run() {
    const KEY: &str = "group.consumer.assignment.interval.ms";
    let image = configured();
    assert_eq!(texts(change(&image, ALL, &[set(KEY, "1234")])), ["group.consumer.assignment.interval.ms=1234"]);
    for wrong in ["15001", "-1"] {
        assert_eq!(refusal(change(&image, ALL, &[set(KEY, wrong)])).0, ErrorCode::InvalidRequest, "{wrong}");
    }
}
