//! The consumer protocol inside the classic one: what a member's metadata and assignment say (`ConsumerProtocol`). Each
//! begins with its version; newer ones than ours begin like ours.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use super::member::{OwnedPartitions, Partitions};
use crate::coordinator::GroupWorld;
use crate::protocol::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::protocol::{Message, Reader, Str, messages};

/// The newest version of both.
const VERSION_MAX: i16 = 3;

messages! {
    data ConsumerProtocolSubscription [0-3], flexible [none] {
        topics: Vec<Str> [0+];
        user_data: Option<Bytes> [0+];
        owned_partitions: Vec<EmbeddedTopicPartitions> [1+ ignorable];
        generation_id: i32 [2+ ignorable], default -1;
        rack_id: Option<Str> [3+ ignorable];
    }

    data ConsumerProtocolAssignment [0-3], flexible [none] {
        assigned_partitions: Vec<EmbeddedTopicPartitions> [0+];
        user_data: Option<Bytes> [0+];
    }

    struct EmbeddedTopicPartitions {
        topic: Str [0+];
        partitions: Vec<i32> [0+];
    }
}

fn decode<M: Message>(bytes: &[u8]) -> Option<M> {
    let (version, body) = bytes.split_first_chunk()?;
    let version = i16::from_be_bytes(*version);
    if version < 0 {
        return None;
    }
    M::decode(&mut Reader::new(BytesMut::from(body)), version.min(VERSION_MAX)).ok()
}

/// What a member subscribes to.
pub struct Embedded {
    pub topics: BTreeSet<Box<str>>,
    pub rack_id: Option<Box<str>>,
    /// What it owns; nothing where its version cannot say, since such members give up all before they join.
    pub owned: Vec<HeartbeatTopicPartitions>,
}

/// Reads a member's metadata; `None` if it is none.
pub fn read_subscription(metadata: &[u8], world: &dyn GroupWorld) -> Option<Embedded> {
    let subscription: ConsumerProtocolSubscription = decode(metadata)?;
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
    let assignment: ConsumerProtocolAssignment = decode(assignment)?;
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
    let version = metadata.first_chunk().map_or(0, |version| i16::from_be_bytes(*version)).clamp(0, VERSION_MAX);
    let assigned_partitions = assigned
        .filter_map(|(topic, partitions)| {
            let (name, _) = world.topic_by_id(topic)?;
            Some(EmbeddedTopicPartitions { topic: Str::from(name), partitions })
        })
        .collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    let body = assignment.to_bytes(version).unwrap_or_else(|error| panic!("an assignment cannot be written: {error}"));
    let mut out = BytesMut::with_capacity(2 + body.len());
    out.put_i16(version);
    out.extend_from_slice(&body);
    out.freeze()
}

pub fn owned_lists(owned: &OwnedPartitions) -> impl Iterator<Item = (crate::types::TopicId, Vec<i32>)> {
    owned.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
}

pub fn target_lists(target: &Partitions) -> impl Iterator<Item = (crate::types::TopicId, Vec<i32>)> {
    target.iter().map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()))
}
