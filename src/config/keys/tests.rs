use std::collections::HashSet;

use super::corelane::OTHER_DEFAULTS;
use super::*;

/// Kafka 4.3.1's own table, read out of its jars: table (B broker, T topic, G group), name, type, default, importance,
/// whether it is internal, scope.
const KAFKA: &str = include_str!("kafka-4.3.1.tsv");

struct KafkaKey {
    table: &'static str,
    name: &'static str,
    type_name: &'static str,
    default: Option<&'static str>,
    importance: &'static str,
    internal: bool,
    scope: &'static str,
}

fn kafka_keys() -> Vec<KafkaKey> {
    KAFKA
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let [table, name, type_name, default, importance, visibility, scope] = fields[..] else {
                panic!("seven fields in {line:?}")
            };
            let default = (default != "<null>").then_some(default);
            KafkaKey { table, name, type_name, default, importance, internal: visibility == "internal", scope }
        })
        .collect()
}

#[test]
fn every_key_of_kafka_is_here_with_its_type_and_default() {
    let kafka = kafka_keys();
    assert_eq!(kafka.len(), 411);
    for theirs in kafka {
        let of_broker = theirs.table == "B";
        let ours = match theirs.table {
            "B" => broker_key(theirs.name),
            "T" => topic_key(theirs.name),
            _ => group_key(theirs.name),
        };
        let ours = ours.unwrap_or_else(|| panic!("{} is missing", theirs.name));
        assert_eq!(ours.kind.type_name(), theirs.type_name.to_lowercase(), "{}", ours.name);
        assert_eq!(ours.importance.name(), theirs.importance.to_lowercase(), "{}", ours.name);
        assert_eq!(ours.internal, theirs.internal, "{}", ours.name);
        if of_broker {
            assert_eq!(ours.scope.name(), theirs.scope, "{}", ours.name);
            let differs = OTHER_DEFAULTS.iter().any(|&(name, _)| name == ours.name);
            assert_eq!(ours.default != theirs.default, differs, "{}: {:?}", ours.name, ours.default);
        } else {
            assert_eq!(ours.default, theirs.default, "{}", ours.name);
        }
    }
}

#[test]
fn names_are_unique_and_docs_are_sentences() {
    for keys in [broker_keys().collect::<Vec<_>>(), topic_keys().collect(), group_keys().collect()] {
        let names: HashSet<_> = keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), keys.len());
        for key in keys {
            assert!(key.doc().ends_with('.') && !key.doc().contains("  "), "{}: {:?}", key.name, key.doc());
        }
    }
}

#[test]
fn every_default_is_a_value_of_its_kind() {
    for key in broker_keys().chain(topic_keys()).chain(group_keys()) {
        if let Some(default) = key.default {
            assert_eq!(key.kind.canonical(default).as_deref(), Ok(default), "{}", key.name);
        }
    }
}

#[test]
fn keys_of_topics_and_groups_follow_a_broker_key_of_the_same_type() {
    for key in topic_keys().chain(group_keys()) {
        let Some(name) = key.broker_key else { continue };
        let broker = broker_key(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(key.kind.wire_type(), broker.kind.wire_type(), "{}", key.name);
        assert_eq!(key.effect, broker.effect, "{}", key.name);
    }
}

#[test]
fn what_changes_while_running_is_what_topics_and_groups_have_their_defaults_from_and_compaction() {
    let here = |name: &str| broker_key(name).map(Key::scope_here);
    assert_eq!(
        (here("log.retention.ms"), here("message.max.bytes")),
        (Some(Scope::ClusterWide), Some(Scope::ClusterWide))
    );
    assert_eq!(here("group.consumer.assignment.interval.ms"), Some(Scope::ClusterWide));
    assert_eq!(here("log.cleaner.backoff.ms"), Some(Scope::ClusterWide));
    // Read-only in Kafka; of no effect here; of effect at a start.
    for name in [
        "node.id",
        "group.consumer.session.timeout.ms",
        "group.share.assignment.interval.ms",
        "log.retention.hours",
        "num.io.threads",
        "compression.type",
        "max.connections",
        "listeners",
        "log.cleaner.enable",
        "log.cleaner.threads",
    ] {
        assert_eq!(here(name), Some(Scope::ReadOnly), "{name}");
    }
    assert!(topic_keys().chain(group_keys()).all(|key| key.scope_here() == Scope::ClusterWide));
}

#[test]
fn a_misspelt_key_finds_its_nearest() {
    assert_eq!(nearest("log.segmnet.bytes"), Some("log.segment.bytes"));
    assert_eq!(nearest("log_segment_bytes"), Some("log.segment.bytes"));
    assert_eq!(nearest("nodeid"), Some("node.id"));
    assert_eq!(nearest("retention.ms"), Some("log.retention.ms"));
    assert_eq!(nearest("colour.of.the.sky"), None);
}

#[test]
fn keys_that_kafka_dropped_are_known() {
    assert!(known_without_effect("zookeeper.connect").is_some());
    assert!(known_without_effect("listener.name.internal.ssl.keystore.location").is_some());
    assert!(known_without_effect("log.segment.bytes").is_none());
}
