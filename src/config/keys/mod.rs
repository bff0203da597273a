//! The one table of keys: name, type, default, meaning, scope and effect.
//!
//! The parsers, `corelane config list`, DescribeConfigs and the documents are all made from it. Kafka's names,
//! types and defaults follow Kafka 4.3 (a test holds them against it; `corelane.rs` lists where we differ).

mod cluster;
mod coordinator;
mod corelane;
mod group;
mod kind;
mod log;
mod network;
mod reasons;
mod remote;
mod security;
mod topic;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use kind::{Kind, Width, items};

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As text, or none where Kafka's default is null.
    pub default: Option<&'static str>,
    pub importance: Importance,
    pub scope: Scope,
    pub effect: Effect,
    /// Of a key of topics or groups: the broker key its default comes from.
    pub broker_key: Option<&'static str>,
    /// Kafka's own tests use it; it is taken, but not listed.
    pub internal: bool,
    doc: &'static str,
}

impl Key {
    /// What the key does, in one or a few sentences.
    pub fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    pub fn is_sensitive(&self) -> bool {
        self.kind.is_sensitive()
    }

    /// Why the default is another one than Kafka's, where it is.
    pub fn differs_from_kafka(&self) -> Option<&'static str> {
        corelane::OTHER_DEFAULTS.iter().find(|(name, _)| *name == self.name).map(|&(_, why)| why)
    }

    /// Whether a change of this broker key acts while the broker runs: those that topics and groups have their defaults
    /// from, and those of compaction.
    pub fn changes_live(&self) -> bool {
        let is_default = |key: &Key| key.broker_key == Some(self.name) && key.effect == Effect::Works;
        self.scope == Scope::ClusterWide
            && self.effect == Effect::Works
            && (self.name.starts_with("log.cleaner.") || topic_keys().chain(group_keys()).any(is_default))
    }

    /// For whom the key can be changed here while the broker runs, where Kafka can change more.
    pub fn scope_here(&self) -> Scope {
        let of_broker = self.broker_key.is_none() && broker_key(self.name).is_some();
        if !of_broker || self.changes_live() { self.scope } else { Scope::ReadOnly }
    }

    /// Whether only this broker knows the key, and Kafka does not.
    pub fn is_ours(&self) -> bool {
        corelane::CORELANE.iter().any(|key| key.name == self.name)
    }
}

/// How much a key matters, by Kafka's measure (`ConfigDef.Importance`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

impl Importance {
    pub fn name(self) -> &'static str {
        match self {
            Importance::High => "high",
            Importance::Medium => "medium",
            Importance::Low => "low",
        }
    }
}

/// Whether and for whom a key can be changed while the broker runs (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::ReadOnly => "read-only",
            Scope::PerBroker => "per-broker",
            Scope::ClusterWide => "cluster-wide",
        }
    }
}

/// What setting a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Works,
    /// Taken and shown, but nothing follows from it; why not.
    Ignored(&'static str),
    /// Any value but the default stops the start, for ignoring it would be a danger; why.
    Refused(&'static str),
}

/// A table of keys: a doc comment, then `"name" = default, kind, importance, scope[, effect];` with `null` for no
/// default, `internal` before and `<- "broker key"` behind the name.
macro_rules! keys {
    ($table:ident: $(
        $(#[doc = $doc:literal])+
        $($internal:ident)? $name:literal $(<- $broker:literal)? = $default:tt, $kind:expr, $importance:ident, $scope:ident
        $(, $effect:expr)?;
    )*) => {
        pub const $table: &[Key] = &[$(
            Key {
                name: $name,
                kind: $kind,
                default: keys!(@default $default),
                importance: super::Importance::$importance,
                scope: super::Scope::$scope,
                effect: keys!(@effect $($effect)?),
                broker_key: keys!(@broker $($broker)?),
                internal: keys!(@internal $($internal)?),
                doc: concat!($($doc),+),
            },
        )*];
    };
    (@default null) => { None };
    (@default $value:literal) => { Some($value) };
    (@effect) => { super::Effect::Works };
    (@effect $effect:expr) => { $effect };
    (@broker) => { None };
    (@broker $name:literal) => { Some($name) };
    (@internal) => { false };
    (@internal internal) => { true };
}
use keys;

/// All broker keys, ours first, then Kafka's by subject.
pub fn broker_keys() -> impl Iterator<Item = &'static Key> {
    [
        corelane::CORELANE,
        cluster::CLUSTER,
        network::NETWORK,
        log::LOG,
        coordinator::COORDINATOR,
        security::SECURITY,
        remote::REMOTE,
    ]
    .into_iter()
    .flatten()
}

/// All topic keys.
pub fn topic_keys() -> impl Iterator<Item = &'static Key> {
    topic::TOPIC.iter()
}

/// All group keys.
pub fn group_keys() -> impl Iterator<Item = &'static Key> {
    group::GROUP.iter()
}

/// The group key of that name.
pub fn group_key(name: &str) -> Option<&'static Key> {
    group_keys().find(|key| key.name == name)
}

/// The broker key of that name.
pub fn broker_key(name: &str) -> Option<&'static Key> {
    static BY_NAME: LazyLock<HashMap<&str, &Key>> =
        LazyLock::new(|| broker_keys().map(|key| (key.name, key)).collect());
    BY_NAME.get(name).copied()
}

/// The topic key of that name.
pub fn topic_key(name: &str) -> Option<&'static Key> {
    static BY_NAME: LazyLock<HashMap<&str, &Key>> = LazyLock::new(|| topic_keys().map(|key| (key.name, key)).collect());
    BY_NAME.get(name).copied()
}

/// A key in another unit that stands in when the first of its group is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// What its value is multiplied by to get the unit of the first.
    pub factor: i64,
}

const fn synonym(name: &'static str, factor: i64) -> Synonym {
    Synonym { name, factor }
}

/// The keys that can set `name`, the strongest first (`DynamicBrokerConfig.brokerConfigSynonyms`). A key without a
/// group has no synonyms but itself and gives an empty slice.
pub fn synonyms(name: &str) -> &'static [Synonym] {
    const MINUTE: i64 = 60 * 1000;
    const HOUR: i64 = 60 * MINUTE;
    match name {
        "log.roll.ms" | "log.roll.hours" => &const { [synonym("log.roll.ms", 1), synonym("log.roll.hours", HOUR)] },
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => {
            &const { [synonym("log.roll.jitter.ms", 1), synonym("log.roll.jitter.hours", HOUR)] }
        }
        "log.flush.interval.ms" => {
            &const { [synonym("log.flush.interval.ms", 1), synonym("log.flush.scheduler.interval.ms", 1)] }
        }
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            &const {
                [
                    synonym("log.retention.ms", 1),
                    synonym("log.retention.minutes", MINUTE),
                    synonym("log.retention.hours", HOUR),
                ]
            }
        }
        _ => &[],
    }
}

/// Why a key that is in no table, but that Kafka knows or once knew, has no effect.
pub fn known_without_effect(name: &str) -> Option<&'static str> {
    const REMOVED: &[&str] = &[
        "advertised.host.name",
        "advertised.port",
        "auto.include.jmx.reporter",
        "broker.id.generation.enable",
        "control.plane.listener.name",
        "delegation.token.master.key",
        "delete.topic.purgatory.purge.interval.requests",
        "group.coordinator.new.enable",
        "host.name",
        "leader.imbalance.per.broker.percentage",
        "log.message.downconversion.enable",
        "log.message.format.version",
        "log.message.timestamp.difference.max.ms",
        "offsets.commit.required.acks",
        "port",
        "reserved.broker.max.id",
    ];
    const AUTHORIZER: &[&str] = &["allow.everyone.if.no.acl.found", "super.users"];
    if REMOVED.contains(&name) || name.starts_with("zookeeper.") || name.starts_with("password.encoder.") {
        Some(reasons::REMOVED)
    } else if AUTHORIZER.contains(&name) || name.starts_with("listener.name.") {
        Some(reasons::NO_SECURITY)
    } else if name.starts_with("rlmm.config.") || name.starts_with("rsm.config.") {
        Some(reasons::NO_TIERED_STORAGE)
    } else if name.starts_with("config.providers.") || name.starts_with("confluent.") {
        Some("it belongs to something Corelane does not have")
    } else {
        None
    }
}

/// The known key whose name is nearest to an unknown one, if one is near enough to be meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    // A topic key in the broker's configuration is the likeliest mistake; its broker key is what is meant.
    if let Some(broker_key) = topic_key(name).and_then(|key| key.broker_key) {
        return Some(broker_key);
    }
    let lower = name.to_ascii_lowercase().replace(['_', '-'], ".");
    broker_keys()
        .map(|key| (strsim::damerau_levenshtein(&lower, key.name), key.name))
        .min()
        .filter(|&(distance, _)| distance * 4 <= name.len().max(8))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
