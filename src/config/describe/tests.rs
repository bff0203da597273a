use super::*;
use crate::config::{Machine, Sources};

fn config(file: &str) -> BrokerConfig {
    let sources = Sources { file: Some(("s.properties".to_owned(), file.to_owned())), ..Sources::default() };
    let (settings, _) = Settings::load(&sources).expect("it loads");
    BrokerConfig::new(settings, &Machine { cores: 2, host_name: "box".to_owned() }).expect("it is valid")
}

fn changed(config: &BrokerConfig, default: &[(&str, &str)], broker: &[(&str, &str)]) -> BrokerConfig {
    config.with_dynamic(default.iter().copied(), broker.iter().copied()).expect("the changes fit")
}

fn one(mut rows: Vec<ConfigRow>) -> ConfigRow {
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

fn shape(row: &ConfigRow) -> (Option<&str>, ConfigSource, Vec<String>) {
    let synonym = |s: &ConfigSynonym| format!("{:?}:{}={}", s.source, s.name, s.value.as_deref().unwrap_or("null"));
    (row.value.as_deref(), row.source, row.synonyms.iter().map(synonym).collect())
}

#[test]
fn a_topics_value_stands_before_the_brokers() {
    let config = config("log.segment.bytes=2000000");
    let overrides = BTreeMap::from([("segment.bytes".to_owned(), "3000000".to_owned())]);
    let row = one(config.describe_topic(&overrides, Some(&["segment.bytes"])));
    assert_eq!(
        shape(&row),
        (
            Some("3000000"),
            ConfigSource::TopicConfig,
            vec![
                "TopicConfig:segment.bytes=3000000".to_owned(),
                "StaticBrokerConfig:log.segment.bytes=2000000".to_owned(),
                "DefaultConfig:log.segment.bytes=1073741824".to_owned(),
            ]
        )
    );
    assert_eq!((row.config_type, row.read_only, row.is_sensitive), (3, false, false));
    let row = one(config.describe_topic(&BTreeMap::new(), Some(&["segment.bytes"])));
    assert_eq!((row.value.as_deref(), row.source), (Some("2000000"), ConfigSource::StaticBrokerConfig));
}

/// Kafka shows `retention.ms` of a topic as a default even when `log.retention.hours` set it.
#[test]
fn another_unit_gives_the_value_but_no_synonym() {
    let row = one(config("log.retention.hours=1").describe_topic(&BTreeMap::new(), Some(&["retention.ms"])));
    assert_eq!(shape(&row), (Some("3600000"), ConfigSource::DefaultConfig, vec![]));
    let row = one(config("log.retention.ms=5").describe_topic(&BTreeMap::new(), Some(&["retention.ms"])));
    assert_eq!(
        shape(&row),
        (
            Some("5"),
            ConfigSource::StaticBrokerConfig,
            vec![
                "StaticBrokerConfig:log.retention.ms=5".to_owned(),
                "DefaultConfig:log.retention.hours=168".to_owned()
            ]
        )
    );
    let row = one(config("").describe_broker(Some(&["log.retention.hours"])));
    assert_eq!(
        shape(&row),
        (Some("168"), ConfigSource::DefaultConfig, vec!["DefaultConfig:log.retention.hours=168".to_owned()])
    );
}

#[test]
fn changes_while_running_have_sources_of_their_own() {
    let config =
        changed(&config("message.max.bytes=10"), &[("message.max.bytes", "20")], &[("message.max.bytes", "30")]);
    let row = one(config.describe_broker(Some(&["message.max.bytes"])));
    assert_eq!(
        shape(&row),
        (
            Some("30"),
            ConfigSource::DynamicBrokerConfig,
            vec![
                "DynamicBrokerConfig:message.max.bytes=30".to_owned(),
                "DynamicDefaultBrokerConfig:message.max.bytes=20".to_owned(),
                "StaticBrokerConfig:message.max.bytes=10".to_owned(),
                "DefaultConfig:message.max.bytes=1048588".to_owned(),
            ]
        )
    );
    let row = one(config.describe_broker_defaults(None));
    assert_eq!((row.name, row.value.as_deref()), ("message.max.bytes", Some("20")));
    assert_eq!((row.source, row.synonyms.len()), (ConfigSource::DynamicDefaultBrokerConfig, 1));
}

#[test]
fn secrets_and_internal_keys_are_not_shown() {
    let rows = config("ssl.key.password=secret").describe_broker(None);
    let row = rows.iter().find(|row| row.name == "ssl.key.password").expect("it is listed");
    assert_eq!((row.value.as_deref(), row.is_sensitive), (None, true));
    assert!(row.synonyms.iter().all(|synonym| synonym.value.is_none()));
    assert!(!rows.iter().any(|row| row.name == "internal.metadata.log.segment.bytes"));
    assert!(!config("").describe_topic(&BTreeMap::new(), None).iter().any(|row| row.name == "internal.segment.bytes"));
}

#[test]
fn rows_come_by_name_with_their_documentation() {
    let rows = config("").describe_broker(None);
    assert!(rows.is_sorted_by_key(|row| row.name) && rows.len() > 300);
    assert!(rows.iter().all(|row| row.documentation.ends_with('.')));
    let read_only = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.read_only);
    assert_eq!((read_only("node.id"), read_only("message.max.bytes")), (Some(true), Some(false)));
    // Kafka can change these while it runs; here nothing would follow from it.
    assert_eq!((read_only("num.io.threads"), read_only("max.connections")), (Some(true), Some(true)));
    assert_eq!(config("").describe_topic(&BTreeMap::new(), Some(&["no.such.key"])), []);
}

/// As Apache Kafka 4.3.1 answered.
#[test]
fn a_groups_value_stands_before_the_brokers() {
    let config = config("group.consumer.session.timeout.ms=46000");
    let session = Some(&["consumer.session.timeout.ms"][..]);
    let of_broker = [
        "StaticBrokerConfig:group.consumer.session.timeout.ms=46000".to_owned(),
        "DefaultConfig:group.consumer.session.timeout.ms=45000".to_owned(),
    ];
    let row = one(config.describe_group(&BTreeMap::new(), session));
    assert_eq!(shape(&row), (Some("46000"), ConfigSource::StaticBrokerConfig, of_broker.to_vec()));
    assert_eq!((row.config_type, row.read_only, row.is_sensitive), (3, false, false));
    let own = BTreeMap::from([("consumer.session.timeout.ms".to_owned(), "52000".to_owned())]);
    let row = one(config.describe_group(&own, session));
    let mut all = vec!["GroupConfig:consumer.session.timeout.ms=52000".to_owned()];
    all.extend(of_broker);
    assert_eq!(shape(&row), (Some("52000"), ConfigSource::GroupConfig, all));
    assert_eq!(config.describe_group(&own, None).len(), 17);
    let row = one(config.describe_group(&own, Some(&["share.auto.offset.reset"])));
    let default = vec!["DefaultConfig:share.auto.offset.reset=latest".to_owned()];
    assert_eq!(shape(&row), (Some("latest"), ConfigSource::DefaultConfig, default));
}
