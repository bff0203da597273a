//! What groups are bounded by, typed.

use super::Settings;

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

/// Reads the groups' keys; each was checked by the table of keys.
pub fn groups(settings: &Settings) -> GroupsConfig {
    let int = |key: &str| settings.integer(key) as i32;
    GroupsConfig {
        initial_rebalance_delay_ms: settings.integer("group.initial.rebalance.delay.ms"),
        min_session_timeout_ms: int("group.min.session.timeout.ms"),
        max_session_timeout_ms: int("group.max.session.timeout.ms"),
        max_size: settings.size("group.max.size"),
        offset_metadata_bytes_max: settings.size("offset.metadata.max.bytes"),
        consumer: ConsumerGroupsConfig {
            session_timeout_ms: int("group.consumer.session.timeout.ms"),
            min_session_timeout_ms: int("group.consumer.min.session.timeout.ms"),
            max_session_timeout_ms: int("group.consumer.max.session.timeout.ms"),
            heartbeat_interval_ms: int("group.consumer.heartbeat.interval.ms"),
            min_heartbeat_interval_ms: int("group.consumer.min.heartbeat.interval.ms"),
            max_heartbeat_interval_ms: int("group.consumer.max.heartbeat.interval.ms"),
            assignment_interval_ms: int("group.consumer.assignment.interval.ms"),
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
