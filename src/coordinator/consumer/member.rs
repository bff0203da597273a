//! A member of a consumer group, and what it owns (Kafka's `ConsumerGroupMember`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::records::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupTargetAssignmentMemberValue, CurrentTopicPartitions,
    TargetTopicPartitions,
};
use crate::protocol::Str;
use crate::protocol::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::types::TopicId;

/// The member epochs that have a meaning of their own.
pub const LEAVING: i32 = -1;
/// Of a static member that will be back.
pub const LEAVING_FOR_NOW: i32 = -2;

/// Partitions by topic.
pub type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;
/// Partitions by topic, each with the epoch at which it was assigned to its owner.
pub type OwnedPartitions = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// How far a member's own assignment is from the target (`MemberState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// It is at the target of its epoch.
    Stable,
    /// It has to give up partitions first.
    Unrevoked,
    /// It waits for partitions that others have not given up yet.
    Unreleased,
    /// A newer Kafka wrote it.
    Unknown,
}

impl MemberState {
    pub fn from_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            _ => MemberState::Unknown,
        }
    }

    pub fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            MemberState::Unknown => 127,
        }
    }
}

/// What only members have that speak the classic protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassicMember {
    pub session_timeout_ms: i32,
    /// In the member's order of preference, each with the consumer protocol's subscription.
    pub protocols: Vec<(Box<str>, Bytes)>,
}

/// Who a member is and what it wants: what its record of type 5 says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    pub instance_id: Option<Box<str>>,
    pub rack_id: Option<Box<str>>,
    pub client_id: Box<str>,
    pub client_host: Box<str>,
    pub topics: BTreeSet<Box<str>>,
    /// Empty is as good as none.
    pub regex: Option<Box<str>>,
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<Box<str>>,
    pub classic: Option<ClassicMember>,
}

impl Default for Subscription {
    fn default() -> Subscription {
        Subscription {
            instance_id: None,
            rack_id: None,
            client_id: "".into(),
            client_host: "".into(),
            topics: BTreeSet::new(),
            // Kafka's own members begin with an empty one, and its records show it.
            regex: Some("".into()),
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic: None,
        }
    }
}

impl Subscription {
    /// The regular expression, if there is one.
    pub fn regex(&self) -> Option<&str> {
        self.regex.as_deref().filter(|regex| !regex.is_empty())
    }

    pub fn to_record(&self) -> ConsumerGroupMemberMetadataValue {
        let text = |text: &Option<Box<str>>| text.as_deref().map(Str::from);
        ConsumerGroupMemberMetadataValue {
            instance_id: text(&self.instance_id),
            rack_id: text(&self.rack_id),
            client_id: Str::from(&*self.client_id),
            client_host: Str::from(&*self.client_host),
            subscribed_topic_names: self.topics.iter().map(|topic| Str::from(&**topic)).collect(),
            subscribed_topic_regex: text(&self.regex),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: text(&self.server_assignor),
            classic_member_metadata: self.classic.as_ref().map(|classic| ClassicMemberMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                supported_protocols: classic
                    .protocols
                    .iter()
                    .map(|(name, metadata)| ClassicProtocol { name: Str::from(&**name), metadata: metadata.clone() })
                    .collect(),
            }),
        }
    }

    pub fn from_record(record: ConsumerGroupMemberMetadataValue) -> Subscription {
        let text = |text: Option<Str>| text.map(|text| Box::from(text.as_str()));
        Subscription {
            instance_id: text(record.instance_id),
            rack_id: text(record.rack_id),
            client_id: record.client_id.as_str().into(),
            client_host: record.client_host.as_str().into(),
            topics: record.subscribed_topic_names.iter().map(|topic| Box::from(topic.as_str())).collect(),
            regex: text(record.subscribed_topic_regex),
            rebalance_timeout_ms: record.rebalance_timeout_ms,
            server_assignor: text(record.server_assignor),
            classic: record.classic_member_metadata.map(|classic| ClassicMember {
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic
                    .supported_protocols
                    .iter()
                    .map(|protocol| (protocol.name.as_str().into(), Bytes::copy_from_slice(&protocol.metadata)))
                    .collect(),
            }),
        }
    }
}

/// What a member owns: what its record of type 8 says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: OwnedPartitions,
    /// What it has been told to give up, and may still consume.
    pub revoking: OwnedPartitions,
}

impl Default for Owned {
    fn default() -> Owned {
        Owned {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: OwnedPartitions::new(),
            revoking: OwnedPartitions::new(),
        }
    }
}

impl Owned {
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// The epoch at which a partition was assigned to it, if it owns it.
    pub fn epoch_of(&self, topic: TopicId, partition: i32) -> Option<i32> {
        [&self.assigned, &self.revoking]
            .into_iter()
            .find_map(|owned| owned.get(&topic).and_then(|partitions| partitions.get(&partition)).copied())
    }

    /// All that it may consume from.
    pub fn all(&self) -> impl Iterator<Item = (TopicId, i32)> {
        [&self.assigned, &self.revoking]
            .into_iter()
            .flatten()
            .flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
    }

    pub fn to_record(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned_partitions: owned_to_record(&self.assigned),
            partitions_pending_revocation: owned_to_record(&self.revoking),
        }
    }

    pub fn from_record(record: &ConsumerGroupCurrentMemberAssignmentValue) -> Owned {
        Owned {
            epoch: record.member_epoch,
            previous_epoch: record.previous_member_epoch,
            state: MemberState::from_code(record.state),
            assigned: owned_from_record(&record.assigned_partitions, record.member_epoch),
            revoking: owned_from_record(&record.partitions_pending_revocation, record.member_epoch),
        }
    }
}

fn owned_to_record(owned: &OwnedPartitions) -> Vec<CurrentTopicPartitions> {
    owned
        .iter()
        .map(|(topic, partitions)| CurrentTopicPartitions {
            topic_id: *topic,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        })
        .collect()
}

fn owned_from_record(record: &[CurrentTopicPartitions], member_epoch: i32) -> OwnedPartitions {
    let mut owned = OwnedPartitions::new();
    for topic in record {
        let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
        let partitions = owned.entry(topic.topic_id).or_default();
        for (i, partition) in topic.partitions.iter().enumerate() {
            partitions.insert(*partition, epochs.get(i).copied().unwrap_or(member_epoch));
        }
    }
    owned
}

pub fn target_to_record(target: &Partitions) -> ConsumerGroupTargetAssignmentMemberValue {
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: target
            .iter()
            .map(|(topic, partitions)| TargetTopicPartitions {
                topic_id: *topic,
                partitions: partitions.iter().copied().collect(),
            })
            .collect(),
    }
}

pub fn target_from_record(record: &ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    record.topic_partitions.iter().map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect())).collect()
}

/// As answers to heartbeats have it.
pub fn owned_to_answer(owned: &OwnedPartitions) -> Vec<HeartbeatTopicPartitions> {
    owned
        .iter()
        .map(|(topic, partitions)| HeartbeatTopicPartitions {
            topic_id: *topic,
            partitions: partitions.keys().copied().collect(),
        })
        .collect()
}

/// When things are due for a member, in `now_ms`. Not in any record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// It is fenced when it has not been heard of until then.
    pub session: i64,
    /// It is fenced when it still has this epoch by then, having been told to give up partitions.
    pub rebalance: Option<(i64, i32)>,
    /// A member of the classic protocol is fenced when it has not joined again by then.
    pub join: Option<i64>,
    /// Likewise, when it has not asked for its assignment.
    pub sync: Option<i64>,
}

impl Timers {
    pub fn new(session: i64) -> Timers {
        Timers { session, rebalance: None, join: None, sync: None }
    }

    pub fn next(&self) -> i64 {
        [self.rebalance.map(|(at, _)| at), self.join, self.sync].into_iter().flatten().fold(self.session, i64::min)
    }
}

/// A member of a consumer group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub subscription: Subscription,
    pub owned: Owned,
    pub timers: Timers,
}

impl Member {
    /// A member of which nothing is known yet, and whose time does not run.
    pub fn unknown() -> Member {
        Member { subscription: Subscription::default(), owned: Owned::default(), timers: Timers::new(i64::MAX) }
    }

    pub fn uses_classic(&self) -> bool {
        self.subscription.classic.is_some()
    }
}
