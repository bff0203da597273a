//! The rows of a DescribeConfigs answer (KIP-226, KIP-569), as Kafka's `ConfigHelper` makes them.

use std::collections::BTreeMap;

use super::keys::{Key, broker_keys, group_keys, synonyms, topic_keys};
use super::topic::inherited;
use super::{BrokerConfig, Settings, validate_group_config, validate_topic_config};

/// Where a value comes from, by the number DescribeConfigs gives it (`ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    TopicConfig = 1,
    DynamicBrokerConfig = 2,
    DynamicDefaultBrokerConfig = 3,
    StaticBrokerConfig = 4,
    DefaultConfig = 5,
    GroupConfig = 8,
}

/// One key of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRow {
    pub name: &'static str,
    /// Nothing where the value is null or a secret.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_sensitive: bool,
    pub read_only: bool,
    /// The values that would hold one after the other, the one that does first.
    pub synonyms: Vec<ConfigSynonym>,
    /// `DescribeConfigsResponse.ConfigType`.
    pub config_type: i8,
    pub documentation: &'static str,
}

/// A value that stands behind another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: ConfigSource,
}

impl BrokerConfig {
    /// The rows of a broker, by name: all of them, or those that `wanted` names.
    pub fn describe_broker(&self, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
        let settings = self.settings();
        rows(broker_keys(), wanted, |key| {
            let synonyms = broker_synonyms(settings, key);
            let value = settings.get(key.name).map(str::to_owned);
            row(key, value, synonyms, !key.changes_live())
        })
    }

    /// The rows of what was changed for all brokers (a BROKER resource without a name).
    pub fn describe_broker_defaults(&self, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
        let settings = self.settings();
        let changed = broker_keys().filter(|key| settings.dynamic_default(key.name).is_some());
        rows(changed, wanted, |key| {
            let mut synonyms = broker_synonyms(settings, key);
            synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBrokerConfig);
            row(key, settings.dynamic_default(key.name).map(str::to_owned), synonyms, !key.changes_live())
        })
    }

    /// The rows of a topic with these overrides, by name: all of them, or those that `wanted` names.
    pub fn describe_topic(&self, overrides: &BTreeMap<String, String>, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
        let settings = self.settings();
        rows(topic_keys(), wanted, |key| {
            let stored = overrides.get(key.name).and_then(|value| validate_topic_config(key.name, value).ok());
            let broker_key = key.broker_key.and_then(super::keys::broker_key);
            let mut synonyms = broker_key.map(|broker| broker_synonyms(settings, broker)).unwrap_or_default();
            if stored.is_some() {
                let value = shown(key, stored.clone());
                synonyms.insert(0, ConfigSynonym { name: key.name, value, source: ConfigSource::TopicConfig });
            }
            row(key, stored.or_else(|| inherited(settings, key)), synonyms, false)
        })
    }

    /// The rows of a group with these values of its own, by name: all of them, or those that `wanted` names.
    pub fn describe_group(&self, own: &BTreeMap<String, String>, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
        let settings = self.settings();
        rows(group_keys(), wanted, |key| {
            let stored = own.get(key.name).and_then(|value| validate_group_config(key.name, value).ok());
            let mut synonyms = match key.broker_key.and_then(super::keys::broker_key) {
                Some(broker) => broker_synonyms(settings, broker),
                // Unlike a topic's, the default of a key that only groups have is one of its synonyms.
                None => vec![ConfigSynonym {
                    name: key.name,
                    value: key.default.map(str::to_owned),
                    source: ConfigSource::DefaultConfig,
                }],
            };
            if stored.is_some() {
                let source = ConfigSource::GroupConfig;
                synonyms.insert(0, ConfigSynonym { name: key.name, value: stored.clone(), source });
            }
            row(key, stored.or_else(|| inherited(settings, key)), synonyms, false)
        })
    }
}

/// One row for each key that is listed and wanted, by name.
fn rows(
    keys: impl Iterator<Item = &'static Key>,
    wanted: Option<&[&str]>,
    row: impl Fn(&'static Key) -> ConfigRow,
) -> Vec<ConfigRow> {
    let is_wanted = |key: &&Key| wanted.is_none_or(|names| names.contains(&key.name));
    let mut rows: Vec<ConfigRow> = keys.filter(|key| !key.internal).filter(is_wanted).map(row).collect();
    rows.sort_by_key(|row| row.name);
    rows
}

fn row(key: &'static Key, value: Option<String>, synonyms: Vec<ConfigSynonym>, read_only: bool) -> ConfigRow {
    ConfigRow {
        name: key.name,
        value: shown(key, value),
        source: synonyms.first().map_or(ConfigSource::DefaultConfig, |synonym| synonym.source),
        is_sensitive: key.is_sensitive(),
        read_only,
        synonyms,
        config_type: key.kind.wire_type(),
        documentation: key.doc(),
    }
}

fn shown(key: &Key, value: Option<String>) -> Option<String> {
    value.filter(|_| !key.is_sensitive())
}

/// The values of a broker key and of the keys that stand in for it, the strongest first. Those before the key's own
/// are left out, as Kafka does: a value of `log.retention.hours` alone gives `log.retention.ms` no synonyms.
fn broker_synonyms(settings: &Settings, key: &'static Key) -> Vec<ConfigSynonym> {
    let group: Vec<&'static str> = match synonyms(key.name) {
        [] => vec![key.name],
        group => group.iter().map(|synonym| synonym.name).collect(),
    };
    let table_default = |name: &str| super::keys::broker_key(name).and_then(|key| key.default);
    let mut list = Vec::new();
    let mut add = |source: ConfigSource, value_of: &dyn Fn(&str) -> Option<String>| {
        for &name in &group {
            if let Some(value) = value_of(name) {
                list.push(ConfigSynonym { name, value: shown(key, Some(value)), source });
            }
        }
    };
    let owned = |value: Option<&str>| value.map(str::to_owned);
    add(ConfigSource::DynamicBrokerConfig, &|name| owned(settings.dynamic_broker(name)));
    add(ConfigSource::DynamicDefaultBrokerConfig, &|name| owned(settings.dynamic_default(name)));
    add(ConfigSource::StaticBrokerConfig, &|name| owned(settings.fixed(name)));
    add(ConfigSource::DefaultConfig, &|name| owned(table_default(name)));
    list.into_iter().skip_while(|synonym| synonym.name != key.name).collect()
}

#[cfg(test)]
mod tests;
