//! What groups are bounded by, typed, and what a group may have of its own.

use std::fmt;

use super::keys::{Key, group_key, items};
use super::{ConfigError, Settings};

/// `group.*`: the bounds of all groups, and what a group with server-side assignment has by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.max.size`, of classic groups.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `group.coordinator.rebalance.protocols` holds consumer.
    pub consumer_protocol: bool,
    pub consumer: ConsumerGroupsConfig,
}

/// `group.consumer.*` (KIP-848).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupsConfig {
    /// `group.consumer.session.timeout.ms`; a group may have its own.
    pub session_timeout_ms: i32,
    pub min_session_timeout_ms: i32,
    pub max_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`; a group may have its own.
    pub heartbeat_interval_ms: i32,
    pub min_heartbeat_interval_ms: i32,
    pub max_heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`; a group may have its own.
    pub assignment_interval_ms: i32,
    pub min_assignment_interval_ms: i32,
    pub max_assignment_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub max_size: usize,
    /// `group.consumer.assignors`, the default one first.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval_ms: i64,
}

/// Which conversions of non-empty groups are allowed (`ConsumerGroupMigrationPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    /// Classic groups become consumer groups.
    Upgrade,
    Downgrade,
    Bidirectional,
}

impl MigrationPolicy {
    /// The policy of that name, in any case of letters.
    pub fn parse(text: &str) -> Option<MigrationPolicy> {
        Some(match text.to_ascii_lowercase().as_str() {
            "disabled" => MigrationPolicy::Disabled,
            "upgrade" => MigrationPolicy::Upgrade,
            "downgrade" => MigrationPolicy::Downgrade,
            "bidirectional" => MigrationPolicy::Bidirectional,
            _ => return None,
        })
    }

    pub fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    pub fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

/// Reads the groups' keys; each was checked by the table of keys. What was changed while running, under other bounds, is
/// put within those of now (`GroupCoordinatorConfig.clampDynamicConfigs`).
pub fn groups(settings: &Settings) -> GroupsConfig {
    let int = |key: &str| settings.integer(key) as i32;
    GroupsConfig {
        initial_rebalance_delay_ms: settings.integer("group.initial.rebalance.delay.ms"),
        min_session_timeout_ms: int("group.min.session.timeout.ms"),
        max_session_timeout_ms: int("group.max.session.timeout.ms"),
        max_size: settings.size("group.max.size"),
        offset_metadata_bytes_max: settings.size("offset.metadata.max.bytes"),
        consumer_protocol: settings.items("group.coordinator.rebalance.protocols").any(|item| item == "consumer"),
        consumer: ConsumerGroupsConfig {
            session_timeout_ms: int("group.consumer.session.timeout.ms"),
            min_session_timeout_ms: int("group.consumer.min.session.timeout.ms"),
            max_session_timeout_ms: int("group.consumer.max.session.timeout.ms"),
            heartbeat_interval_ms: int("group.consumer.heartbeat.interval.ms"),
            min_heartbeat_interval_ms: int("group.consumer.min.heartbeat.interval.ms"),
            max_heartbeat_interval_ms: int("group.consumer.max.heartbeat.interval.ms"),
            assignment_interval_ms: int("group.consumer.assignment.interval.ms")
                .min(int("group.consumer.max.assignment.interval.ms"))
                .max(int("group.consumer.min.assignment.interval.ms")),
            min_assignment_interval_ms: int("group.consumer.min.assignment.interval.ms"),
            max_assignment_interval_ms: int("group.consumer.max.assignment.interval.ms"),
            max_size: settings.size("group.consumer.max.size"),
            assignors: settings
                .text("group.consumer.assignors")
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
            migration_policy: MigrationPolicy::parse(settings.text("group.consumer.migration.policy"))
                .unwrap_or(MigrationPolicy::Bidirectional),
            regex_refresh_interval_ms: settings.integer("group.consumer.regex.refresh.interval.ms"),
        },
    }
}

/// Between which broker keys a key of groups has to be, in Kafka's order of looking at them.
struct Bounds {
    key: &'static str,
    /// Of all groups.
    default: &'static str,
    min: Option<&'static str>,
    max: &'static str,
}

macro_rules! bounds {
    ($kind:literal $name:literal) => {
        Bounds {
            key: concat!($kind, ".", $name),
            default: concat!("group.", $kind, ".", $name),
            min: Some(concat!("group.", $kind, ".min.", $name)),
            max: concat!("group.", $kind, ".max.", $name),
        }
    };
}

const BOUNDS: [Bounds; 13] = [
    bounds!("consumer" "heartbeat.interval.ms"),
    bounds!("consumer" "session.timeout.ms"),
    bounds!("consumer" "assignment.interval.ms"),
    bounds!("share" "heartbeat.interval.ms"),
    bounds!("share" "session.timeout.ms"),
    bounds!("share" "record.lock.duration.ms"),
    bounds!("share" "delivery.count.limit"),
    bounds!("share" "partition.max.record.locks"),
    bounds!("share" "assignment.interval.ms"),
    bounds!("streams" "heartbeat.interval.ms"),
    bounds!("streams" "session.timeout.ms"),
    Bounds {
        key: "streams.num.standby.replicas",
        default: "group.streams.num.standby.replicas",
        min: None,
        max: "group.streams.max.standby.replicas",
    },
    bounds!("streams" "assignment.interval.ms"),
];

/// Kinds of groups whose session timeout has to be longer than their heartbeat interval.
const KINDS: [&str; 3] = ["consumer", "share", "streams"];

/// Why a group cannot have a value (INVALID_CONFIG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupConfigError {
    UnknownKey { key: String },
    BadValue { key: &'static str, value: String, expected: String },
    TooSmall { key: &'static str, min: &'static str },
    TooLarge { key: &'static str, max: &'static str },
    SessionTooShort { kind: &'static str },
}

impl fmt::Display for GroupConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupConfigError::UnknownKey { key } => write!(f, "Unknown group config name: {key}"),
            GroupConfigError::BadValue { key, value, expected } => {
                write!(f, "Invalid value {value} for configuration {key}: expected {expected}")
            }
            GroupConfigError::TooSmall { key, min } => write!(f, "{key} must be greater than or equal to {min}"),
            GroupConfigError::TooLarge { key, max } => write!(f, "{key} must be less than or equal to {max}"),
            GroupConfigError::SessionTooShort { kind } => {
                write!(f, "{kind}.session.timeout.ms must be greater than {kind}.heartbeat.interval.ms")
            }
        }
    }
}

impl std::error::Error for GroupConfigError {}

/// Checks one value of a group by itself and gives its canonical text, which is what to store.
pub fn validate_group_config(key: &str, value: &str) -> Result<String, GroupConfigError> {
    let known: &Key = group_key(key).ok_or_else(|| GroupConfigError::UnknownKey { key: key.to_owned() })?;
    known.kind.canonical(value).map_err(|expected| GroupConfigError::BadValue {
        key: known.name,
        value: value.to_owned(),
        expected,
    })
}

/// Whether a group may have these values of its own: they have to be within the broker's bounds, and to go with each other
/// and with what the group has from the broker (`GroupConfig.validate`).
pub fn check_group_config<'a>(
    settings: &Settings,
    own: impl IntoIterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<(), GroupConfigError> {
    let value_of = |key: &str, default: &str| {
        let own = own.clone().into_iter().find(|(name, _)| *name == key);
        own.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or_else(|| settings.integer(default))
    };
    for &Bounds { key, default, min, max } in &BOUNDS {
        let value = value_of(key, default);
        if let Some(min) = min.filter(|min| value < settings.integer(min)) {
            return Err(GroupConfigError::TooSmall { key, min });
        }
        if value > settings.integer(max) {
            return Err(GroupConfigError::TooLarge { key, max });
        }
    }
    for kind in KINDS {
        let of = |name: &str| value_of(&format!("{kind}.{name}"), &format!("group.{kind}.{name}"));
        if of("session.timeout.ms") <= of("heartbeat.interval.ms") {
            return Err(GroupConfigError::SessionTooShort { kind });
        }
    }
    Ok(())
}

/// What the table of keys cannot say of the groups' keys (`GroupCoordinatorConfig`, `ShareGroupConfig`).
pub fn check_group_bounds(settings: &Settings) -> Result<(), ConfigError> {
    let at_least = |key: &str, least: &str| {
        let bound = settings.integer(least);
        let bad = settings.integer(key) < bound;
        if bad { Err(settings.bad_value(key, format!("at least {least}, which is {bound}"))) } else { Ok(()) }
    };
    for &Bounds { default, min, max, .. } in &BOUNDS {
        if let Some(min) = min {
            at_least(max, min)?;
            at_least(default, min)?;
        }
        let most = settings.integer(max);
        if settings.integer(default) > most {
            return Err(settings.bad_value(default, format!("at most {max}, which is {most}")));
        }
    }
    for kind in KINDS {
        let (heartbeat, session) =
            (format!("group.{kind}.heartbeat.interval.ms"), format!("group.{kind}.session.timeout.ms"));
        let timeout = settings.integer(&session);
        if settings.integer(&heartbeat) >= timeout {
            return Err(settings.bad_value(&heartbeat, format!("less than {session}, which is {timeout}")));
        }
    }
    let protocols = "group.coordinator.rebalance.protocols";
    if !items(settings.text(protocols)).any(|protocol| protocol == "classic") {
        return Err(settings.bad_value(protocols, "classic among them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
