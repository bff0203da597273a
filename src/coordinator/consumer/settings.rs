//! What a group has of its own (`ConfigResource.Type.GROUP`), within the bounds of the broker (Kafka's `GroupConfig`).

use super::ConsumerGroup;
use crate::config::ConsumerGroupsConfig;
use crate::coordinator::GroupContext;

impl ConsumerGroup {
    pub(super) fn session_timeout_ms(&self, ctx: &GroupContext<'_>) -> i64 {
        self.setting(ctx, "consumer.session.timeout.ms", |config| {
            (config.session_timeout_ms, config.min_session_timeout_ms, config.max_session_timeout_ms)
        })
    }

    pub(super) fn heartbeat_interval_ms(&self, ctx: &GroupContext<'_>) -> i32 {
        self.setting(ctx, "consumer.heartbeat.interval.ms", |config| {
            (config.heartbeat_interval_ms, config.min_heartbeat_interval_ms, config.max_heartbeat_interval_ms)
        }) as i32
    }

    pub(super) fn assignment_interval_ms(&self, ctx: &GroupContext<'_>) -> i64 {
        self.setting(ctx, "consumer.assignment.interval.ms", |config| {
            (config.assignment_interval_ms, config.min_assignment_interval_ms, config.max_assignment_interval_ms)
        })
    }

    /// The group's own value if it has one, put within the bounds of today: they may have changed since it was set.
    fn setting(&self, ctx: &GroupContext<'_>, key: &str, of: impl Fn(&ConsumerGroupsConfig) -> (i32, i32, i32)) -> i64 {
        let (default, min, max) = of(&ctx.config.consumer);
        match ctx.world.group_config(&self.group_id, key).and_then(|value| value.trim().parse::<i32>().ok()) {
            Some(own) => own.min(max).max(min).into(),
            None => default.into(),
        }
    }
}
