//! The keys of a group (`ConfigResource.Type.GROUP`, Kafka's `GroupConfig`), with the broker keys their defaults come from.

use super::kind::{BOOLEAN, INT, OFFSET_RESET, one_of};
use super::reasons::{NO_SHARE_GROUPS, NO_STREAMS_GROUPS};
use super::{Effect, Key, keys};

keys! {GROUP:
    /// After how long without a heartbeat a member of the group is out (KIP-848).
    "consumer.session.timeout.ms" <- "group.consumer.session.timeout.ms" = "45000", INT.at_least(1), Medium, ClusterWide;
    /// How often members of the group send a heartbeat (KIP-848).
    "consumer.heartbeat.interval.ms" <- "group.consumer.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ClusterWide;
    /// The shortest time between two new assignments of the group (KIP-848).
    "consumer.assignment.interval.ms" <- "group.consumer.assignment.interval.ms" = "1000", INT.at_least(0), Medium, ClusterWide;
    /// After how long without a heartbeat a member of the share group is out.
    "share.session.timeout.ms" <- "group.share.session.timeout.ms" = "45000", INT.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How often members of the share group send a heartbeat.
    "share.heartbeat.interval.ms" <- "group.share.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The shortest time between two new assignments of the share group.
    "share.assignment.interval.ms" <- "group.share.assignment.interval.ms" = "1000", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How long a record stays locked for the consumer of the share group it was delivered to.
    "share.record.lock.duration.ms" <- "group.share.record.lock.duration.ms" = "30000", INT.at_least(1000), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How often a record is delivered to the share group at most.
    "share.delivery.count.limit" <- "group.share.delivery.count.limit" = "5", INT.at_least(2), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How many records of a partition may be locked for the share group at once.
    "share.partition.max.record.locks" <- "group.share.partition.max.record.locks" = "2000", INT.at_least(100), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// Where the share group begins to read a partition: earliest, latest, or by_duration: and how far back, as PnDTnHnMn.nS.
    "share.auto.offset.reset" = "latest", OFFSET_RESET, Medium, ClusterWide, Effect::Ignored(NO_SHARE_GROUPS);
    /// Whether the share group is given records of transactions that are not committed.
    "share.isolation.level" = "read_uncommitted", one_of(&["read_committed", "read_uncommitted"]), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// Whether consumers of the share group may ask for more time for a record.
    "share.renew.acknowledge.enable" = "true", BOOLEAN, Medium, ClusterWide, Effect::Ignored(NO_SHARE_GROUPS);
    /// After how long without a heartbeat a member of the streams group is out.
    "streams.session.timeout.ms" <- "group.streams.session.timeout.ms" = "45000", INT.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// How often members of the streams group send a heartbeat.
    "streams.heartbeat.interval.ms" <- "group.streams.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// The shortest time between two new assignments of the streams group.
    "streams.assignment.interval.ms" <- "group.streams.assignment.interval.ms" = "1000", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// Standby copies of each task of the streams group.
    "streams.num.standby.replicas" <- "group.streams.num.standby.replicas" = "0", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// How long the new streams group waits for further members.
    "streams.initial.rebalance.delay.ms" <- "group.streams.initial.rebalance.delay.ms" = "3000", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored(NO_STREAMS_GROUPS);
}
