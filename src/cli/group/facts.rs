//! What a cluster knows of a group: its state, its members with their assignments, its committed offsets, and where the
//! logs begin and end.

use std::collections::{BTreeMap, BTreeSet};

use crate::error_code::ErrorCode;
use crate::protocol::consumer_group_describe::{DescribedAssignment, DescribedConsumerGroup};
use crate::protocol::describe_groups::DescribedGroup;
use crate::protocol::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::offset_fetch::OffsetFetchRequestGroup;
use crate::protocol::{
    CONSUMER_PROTOCOL_TYPE, ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
    DescribeGroupsRequest, ListOffsetsRequest, OffsetFetchRequest, Str,
};

use super::cluster::{Cluster, Node, Partitions};
use super::failure::Failure;

/// `ListOffsetsRequest.LATEST_TIMESTAMP` and `EARLIEST_TIMESTAMP`.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

/// From version 10 on OffsetFetch and OffsetCommit have topic ids for names.
pub const OFFSETS_BY_NAME_VERSION_MAX: i16 = 9;

/// A topic and one of its partitions.
pub type Place = (String, i32);

pub struct Group {
    pub id: String,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    /// As Kafka names it: Stable, Empty, PreparingRebalance, Reconciling, ...; Dead if there is no such group.
    pub state: String,
    /// Of a classic group; `consumer` for consumers, another word for Connect and others.
    pub protocol_type: String,
    pub assignor: String,
    /// Of a group with server-side assignment.
    pub epochs: Option<Epochs>,
    pub coordinator: Node,
    pub members: Vec<Member>,
}

#[derive(Clone, Copy)]
pub struct Epochs {
    pub group: i32,
    pub assignment: i32,
}

pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    /// With server-side assignment.
    pub epoch: Option<i32>,
    /// `classic` or `consumer`; None where the broker doesn't say.
    pub protocol: Option<&'static str>,
    pub subscribed: Vec<String>,
    pub subscribed_regex: Option<String>,
    pub assigned: BTreeSet<Place>,
    /// What it is to have, with server-side assignment.
    pub target: Option<BTreeSet<Place>>,
}

pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

impl Group {
    pub fn is_there(&self) -> bool {
        self.state != "Dead"
    }

    /// Whether nobody is in it: only then may offsets be changed from outside.
    pub fn is_inactive(&self) -> bool {
        matches!(self.state.as_str(), "Empty" | "Dead")
    }
}

/// Asks as Kafka's own tools do: as a group with server-side assignment first, and if it is none as a classic one.
pub fn group(cluster: &mut Cluster, id: &str) -> Result<Group, Failure> {
    if cluster.coordinator_speaks::<ConsumerGroupDescribeRequest>(id)? {
        let answer = cluster.on_coordinator(
            id,
            i16::MAX,
            |_| ConsumerGroupDescribeRequest { group_ids: vec![Str::from(id)], ..Default::default() },
            |answer| answer.groups.first().map_or(0, |group| group.error_code),
        )?;
        if let Some(found) = answer.groups.into_iter().next() {
            const NOT_FOUND: i16 = ErrorCode::GroupIdNotFound as i16;
            const UNSUPPORTED: i16 = ErrorCode::UnsupportedVersion as i16;
            match found.error_code {
                0 => return Ok(of_consumer_group(&found, cluster.coordinator(id)?)),
                NOT_FOUND | UNSUPPORTED => {}
                code => return Err(Failure::code(id, code)),
            }
        }
    }
    let answer = cluster.on_coordinator(
        id,
        i16::MAX,
        |_| DescribeGroupsRequest { groups: vec![Str::from(id)], ..Default::default() },
        |answer| answer.groups.first().map_or(0, |group| group.error_code),
    )?;
    let found = answer.groups.into_iter().next().unwrap_or_default();
    match found.error_code {
        code if code == 0 || code == ErrorCode::GroupIdNotFound.code() => {
            Ok(of_classic_group(id, &found, cluster.coordinator(id)?))
        }
        code => Err(Failure::code(id, code)),
    }
}

fn of_consumer_group(found: &DescribedConsumerGroup, coordinator: Node) -> Group {
    let members = found.members.iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance_id: text(member.instance_id.as_ref()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        protocol: match member.member_type {
            0 => Some("classic"),
            1 => Some("consumer"),
            _ => None,
        },
        subscribed: member.subscribed_topic_names.iter().map(ToString::to_string).collect(),
        subscribed_regex: text(member.subscribed_topic_regex.as_ref()).filter(|regex| !regex.is_empty()),
        assigned: places(&member.assignment),
        target: Some(places(&member.target_assignment)),
    });
    Group {
        id: found.group_id.to_string(),
        kind: "consumer",
        state: found.group_state.to_string(),
        protocol_type: "consumer".to_owned(),
        assignor: found.assignor_name.to_string(),
        epochs: Some(Epochs { group: found.group_epoch, assignment: found.assignment_epoch }),
        coordinator,
        members: members.collect(),
    }
}

fn text(of: Option<&Str>) -> Option<String> {
    of.map(ToString::to_string)
}

fn places(assignment: &DescribedAssignment) -> BTreeSet<Place> {
    let topics = assignment.topic_partitions.iter();
    topics
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_name.to_string(), *partition)))
        .collect()
}

fn of_classic_group(id: &str, found: &DescribedGroup, coordinator: Node) -> Group {
    let is_consumer = found.protocol_type.as_str() == CONSUMER_PROTOCOL_TYPE;
    let members = found.members.iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance_id: text(member.group_instance_id.as_ref()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        protocol: None,
        // What other kinds of members say of themselves is nobody else's business.
        subscribed: if is_consumer { subscription(&member.member_metadata) } else { Vec::new() },
        subscribed_regex: None,
        assigned: if is_consumer { assignment(&member.member_assignment) } else { BTreeSet::new() },
        target: None,
    });
    Group {
        id: id.to_owned(),
        kind: "classic",
        state: if found.group_state.is_empty() { "Dead".to_owned() } else { found.group_state.to_string() },
        protocol_type: found.protocol_type.to_string(),
        assignor: found.protocol_data.to_string(),
        epochs: None,
        coordinator,
        members: members.collect(),
    }
}

fn subscription(metadata: &[u8]) -> Vec<String> {
    let read = ConsumerProtocolSubscription::read(metadata).unwrap_or_default();
    read.topics.iter().map(ToString::to_string).collect()
}

/// Nothing is no assignment.
fn assignment(bytes: &[u8]) -> BTreeSet<Place> {
    let read = ConsumerProtocolAssignment::read(bytes).unwrap_or_default();
    let topics = read.assigned_partitions.iter();
    topics.flat_map(|of| of.partitions.iter().map(|partition| (of.topic.to_string(), *partition))).collect()
}

/// All offsets that a group has committed.
pub fn committed(cluster: &mut Cluster, id: &str) -> Result<BTreeMap<Place, Committed>, Failure> {
    let answer = cluster.on_coordinator(
        id,
        OFFSETS_BY_NAME_VERSION_MAX,
        |version| {
            let mut request = OffsetFetchRequest::default();
            if version >= 8 {
                let of = OffsetFetchRequestGroup { group_id: Str::from(id), topics: None, ..Default::default() };
                request.groups = vec![of];
            } else {
                request.group_id = Str::from(id);
                request.topics = None;
            }
            request
        },
        |answer| answer.groups.first().map_or(answer.error_code, |group| group.error_code),
    )?;
    let mut all = BTreeMap::new();
    let mut put = |topic: &Str, partition: i32, code: i16, committed: Committed| {
        if code != 0 {
            return Err(Failure::code(format!("the committed offset of {topic}-{partition}", topic = &**topic), code));
        }
        if committed.offset >= 0 {
            all.insert((topic.to_string(), partition), committed);
        }
        Ok(())
    };
    let text = |metadata: Option<Str>| metadata.map_or_else(String::new, |text| text.to_string());
    if let Some(of) = answer.groups.into_iter().next() {
        match of.error_code {
            0 => {}
            code if code == ErrorCode::GroupIdNotFound.code() => return Ok(BTreeMap::new()),
            code => return Err(Failure::code(id, code)),
        }
        for topic in of.topics {
            for p in topic.partitions {
                let committed = Committed {
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: text(p.metadata),
                };
                put(&topic.name, p.partition_index, p.error_code, committed)?;
            }
        }
        return Ok(all);
    }
    if answer.error_code != 0 {
        return Err(Failure::code(id, answer.error_code));
    }
    for topic in answer.topics {
        for p in topic.partitions {
            let committed = Committed {
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata: text(p.metadata),
            };
            put(&topic.name, p.partition_index, p.error_code, committed)?;
        }
    }
    Ok(all)
}

/// The offset of the first record at or after a time, in milliseconds since 1970, or of [`LATEST`] or [`EARLIEST`].
/// Partitions that aren't there, and those without such a record, are left out.
pub fn offsets_at(
    cluster: &mut Cluster,
    partitions: &Partitions,
    timestamp: i64,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let answers = cluster.on_leaders(
        partitions,
        |share| ListOffsetsRequest {
            replica_id: -1,
            topics: share.iter().map(|(name, partitions)| of_topic(name, partitions, timestamp)).collect(),
            timeout_ms: 30_000,
            ..Default::default()
        },
        |answer| answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.error_code)).collect(),
    )?;
    let mut offsets = BTreeMap::new();
    for topic in answers.into_iter().flat_map(|answer| answer.topics) {
        for partition in topic.partitions {
            match partition.error_code {
                0 if partition.offset >= 0 => {
                    offsets.insert((topic.name.to_string(), partition.partition_index), partition.offset);
                }
                0 => {}
                code if code == ErrorCode::UnknownTopicOrPartition.code() => {}
                code => {
                    let what = format!("offsets of {}-{}", &*topic.name, partition.partition_index);
                    return Err(Failure::code(what, code));
                }
            }
        }
    }
    Ok(offsets)
}

fn of_topic(name: &str, partitions: &[i32], timestamp: i64) -> ListOffsetsTopic {
    let of = |partition_index: &i32| ListOffsetsPartition {
        partition_index: *partition_index,
        timestamp,
        ..ListOffsetsPartition::default()
    };
    ListOffsetsTopic { name: Str::from(name), partitions: partitions.iter().map(of).collect() }
}

/// The same partitions, by topic.
pub fn by_topic<'a>(places: impl IntoIterator<Item = &'a Place>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, partition) in places {
        partitions.entry(topic.clone()).or_default().push(*partition);
    }
    partitions
}
