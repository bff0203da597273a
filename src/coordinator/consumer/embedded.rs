//! The consumer protocol inside the classic one: what a member's metadata and assignment say, in topic ids.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::member::{OwnedPartitions, Partitions};
use crate::coordinator::GroupWorld;
use crate::protocol::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::protocol::consumer_protocol::ConsumerProtocolTopic;
use crate::protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, Str};

/// What a member subscribes to.
pub struct Embedded {
    pub topics: BTreeSet<Box<str>>,
    pub rack_id: Option<Box<str>>,
    /// What it owns; nothing where its version cannot say, since such members give up all before they join.
    pub owned: Vec<HeartbeatTopicPartitions>,
}

/// Reads a member's metadata; `None` if it is none.
pub fn read_subscription(metadata: &[u8], world: &dyn GroupWorld) -> Option<Embedded> {
    let subscription = ConsumerProtocolSubscription::read(metadata).ok()?;
    let owned = subscription.owned_partitions.into_iter().filter_map(|owned| {
        let (topic_id, _) = world.topic(&owned.topic)?;
        Some(HeartbeatTopicPartitions { topic_id, partitions: owned.partitions })
    });
    Some(Embedded {
        owned: owned.collect(),
        topics: subscription.topics.iter().map(|topic| topic.as_str().into()).collect(),
        rack_id: subscription.rack_id.as_deref().filter(|rack| !rack.is_empty()).map(Box::from),
    })
}

/// Reads an assignment; topics that are gone are left out. No bytes are no assignment.
pub fn read_assignment(assignment: &[u8], world: &dyn GroupWorld) -> Option<Partitions> {
    let mut partitions = Partitions::new();
    if assignment.is_empty() {
        return Some(partitions);
    }
    let assignment = ConsumerProtocolAssignment::read(assignment).ok()?;
    for assigned in assignment.assigned_partitions {
        if let Some((topic, _)) = world.topic(&assigned.topic) {
            partitions.entry(topic).or_default().extend(assigned.partitions);
        }
    }
    Some(partitions)
}

/// An assignment, in the version that the member's metadata has.
pub fn write_assignment<'a>(
    assigned: impl Iterator<Item = (crate::types::TopicId, Vec<i32>)> + 'a,
    metadata: &[u8],
    world: &dyn GroupWorld,
) -> Bytes {
    let assigned_partitions = assigned
        .filter_map(|(topic, partitions)| {
            let (name, _) = world.topic_by_id(topic)?;
            Some(ConsumerProtocolTopic { topic: Str::from(name), partitions })
        })
        .collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    assignment.write_for(metadata).unwrap_or_else(|error| panic!("an assignment cannot be written: {error}"))
}

pub fn owned_lists(owned: &OwnedPartitions) -> impl Iterator<Item = (crate::types::TopicId, Vec<i32>)> {
    owned.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
}

pub fn target_lists(target: &Partitions) -> impl Iterator<Item = (crate::types::TopicId, Vec<i32>)> {
    target.iter().map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()))
}
