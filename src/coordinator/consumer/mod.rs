//! Groups with server-side assignment (KIP-848): the state machine of one group (Kafka's `ConsumerGroup` and what
//! `GroupMetadataManager` does with it).
//!
//! Three epochs say where a group stands. The *group epoch* is raised whenever something asks for a new assignment: a member
//! comes, goes or subscribes otherwise, a topic changes. The *assignment epoch* is that of the target assignment, what each
//! member is to own; it is computed by the next heartbeat of any member, at most once in `group.consumer.assignment.interval.ms`.
//! Each *member's epoch* is the assignment epoch it has been brought to. A member goes there by itself (`reconcile`): it first
//! gives up what it is no longer to own, and gets what others have given up. So a partition has one owner at any time, and members
//! that lose and gain nothing never stop.
//!
//! Nothing waits here: every request of the new protocol is answered at once, and a member learns what is new by its next
//! heartbeat.

pub mod assignor;
mod classic_join;
mod classic_members;
mod describe;
mod embedded;
mod heartbeat;
mod leave;
mod member;
mod migration;
mod offsets;
mod reconcile;
mod records;
mod regexes;
mod replay;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error_code::ErrorCode;
use crate::protocol::{ConsumerGroupHeartbeatResponse, Str};
use crate::types::TopicId;

pub use heartbeat::check_heartbeat;
pub use offsets::CommitScope;
pub use records::RecordKey;

use super::{ClassicGroup, GroupContext, GroupLogRecord};
use member::{Member, Owned, Partitions};
use records::{
    CURRENT_MEMBER, ConsumerGroupMetadataValue, GROUP_EPOCH, MEMBER, PARTITION_METADATA, REGULAR_EXPRESSION,
    TARGET_EPOCH, TARGET_MEMBER, encode_value,
};
use regexes::ResolvedRegex;

/// Why a request is refused, as its answer says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    /// The answer to a ConsumerGroupHeartbeat.
    pub fn into_heartbeat(self) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: self.code.code(),
            error_message: Some(Str::from(self.message)),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }
}

/// Where a group stands (`ConsumerGroupState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerGroupState {
    Empty,
    /// The target assignment is of an older epoch than the group.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    /// As ListGroups and ConsumerGroupDescribe name it.
    pub fn name(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
        }
    }
}

/// A group with server-side assignment.
#[derive(Debug)]
pub struct ConsumerGroup {
    group_id: Box<str>,
    epoch: i32,
    /// Of the topics subscribed to, when the epoch was raised last.
    metadata_hash: i64,
    assignment_epoch: i32,
    /// Milliseconds since 1970; 0: never.
    assignment_timestamp: i64,
    members: BTreeMap<Box<str>, Member>,
    /// The member of each instance id.
    static_members: HashMap<Box<str>, Box<str>>,
    /// What each member is to own.
    targets: BTreeMap<Box<str>, Partitions>,
    regexes: BTreeMap<Box<str>, ResolvedRegex>,
    /// How many members may consume from each partition: never more than one, but for what an older log may say.
    held: HashMap<(TopicId, i32), u32>,
    /// Topics may have changed since the hash was computed.
    metadata_is_old: bool,
    /// Topics may have come or gone since the regular expressions were matched.
    regexes_are_old: bool,
    /// When they were matched last, in `now_ms`.
    regexes_matched_at: Option<i64>,
    /// The log has a record of type 4, which Kafka up to 4.0 wrote.
    has_partition_metadata: bool,
    /// What the group has become when its last member of the new protocol went.
    downgraded: Option<ClassicGroup>,
}

impl ConsumerGroup {
    /// A group without members, at epoch 0: its first member takes it to epoch 1.
    pub fn new(group_id: &str) -> ConsumerGroup {
        ConsumerGroup {
            group_id: group_id.into(),
            epoch: 0,
            metadata_hash: 0,
            assignment_epoch: 0,
            assignment_timestamp: 0,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            held: HashMap::new(),
            metadata_is_old: true,
            regexes_are_old: true,
            regexes_matched_at: None,
            has_partition_metadata: false,
            downgraded: None,
        }
    }

    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The protocol type, as ListGroups and the offsets tools show it.
    pub fn protocol_type(&self) -> &'static str {
        "consumer"
    }

    pub fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.assignment_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| member.owned.is_reconciled_to(self.assignment_epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// Whether a member is subscribed to a topic, by name or by a regular expression: its offsets neither expire nor can they
    /// be deleted (`isSubscribedToTopic`).
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| {
            member.subscription.topics.contains(topic)
                || member
                    .subscription
                    .regex()
                    .and_then(|regex| self.regexes.get(regex))
                    .is_some_and(|resolved| resolved.topics.contains(topic))
        })
    }

    /// Topics came, went or changed: the next heartbeat looks whether that concerns the group.
    pub fn world_changed(&mut self) {
        self.metadata_is_old = true;
        self.regexes_are_old = true;
    }

    /// The records that remove the group from the log (`createGroupTombstoneRecords`).
    pub fn tombstones(&self, records: &mut Vec<GroupLogRecord>) {
        for kind in [CURRENT_MEMBER, TARGET_MEMBER] {
            for id in self.members.keys() {
                records.push(self.tombstone(kind, Some(id)));
            }
        }
        records.push(self.tombstone(TARGET_EPOCH, None));
        for id in self.members.keys() {
            records.push(self.tombstone(MEMBER, Some(id)));
        }
        for regex in self.regexes.keys() {
            records.push(self.tombstone(REGULAR_EXPRESSION, Some(regex)));
        }
        if self.has_partition_metadata {
            records.push(self.tombstone(PARTITION_METADATA, None));
        }
        records.push(self.tombstone(GROUP_EPOCH, None));
    }

    fn key(&self, kind: i16, part: Option<&str>) -> Vec<u8> {
        RecordKey { kind, group: &self.group_id, part }.encode()
    }

    fn tombstone(&self, kind: i16, part: Option<&str>) -> GroupLogRecord {
        GroupLogRecord { key: self.key(kind, part), value: None }
    }

    fn append_member(&self, id: &str, ctx: &mut GroupContext<'_>) {
        if let Some(member) = self.members.get(id) {
            ctx.append(self.key(MEMBER, Some(id)), Some(encode_value(&member.subscription.to_record())));
        }
    }

    fn append_target(&self, id: &str, ctx: &mut GroupContext<'_>) {
        if let Some(target) = self.targets.get(id) {
            ctx.append(self.key(TARGET_MEMBER, Some(id)), Some(encode_value(&member::target_to_record(target))));
        }
    }

    fn append_owned(&self, id: &str, ctx: &mut GroupContext<'_>) {
        if let Some(member) = self.members.get(id) {
            ctx.append(self.key(CURRENT_MEMBER, Some(id)), Some(encode_value(&member.owned.to_record())));
        }
    }

    fn append_epoch(&self, ctx: &mut GroupContext<'_>) {
        let value = ConsumerGroupMetadataValue { epoch: self.epoch, metadata_hash: self.metadata_hash };
        ctx.append(self.key(GROUP_EPOCH, None), Some(encode_value(&value)));
    }

    /// Gives a member another assignment, and keeps count of who holds what.
    fn set_owned(&mut self, id: &str, owned: Owned) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.owned, owned);
        for partition in member.owned.all() {
            *self.held.entry(partition).or_default() += 1;
        }
        self.release(&before);
    }

    fn release(&mut self, owned: &Owned) {
        for partition in owned.all() {
            if let Some(holders) = self.held.get_mut(&partition) {
                *holders -= 1;
                if *holders == 0 {
                    self.held.remove(&partition);
                }
            }
        }
    }

    fn insert_member(&mut self, id: &str, member: Member) {
        for partition in member.owned.all() {
            *self.held.entry(partition).or_default() += 1;
        }
        if let Some(instance_id) = &member.subscription.instance_id {
            self.static_members.insert(instance_id.clone(), id.into());
        }
        if let Some(replaced) = self.members.insert(id.into(), member) {
            self.release(&replaced.owned);
        }
    }

    fn take_member(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.release(&member.owned);
        if let Some(instance_id) = &member.subscription.instance_id
            && self.static_members.get(instance_id).is_some_and(|of| **of == *id)
        {
            self.static_members.remove(instance_id);
        }
        Some(member)
    }

    /// The names of all topics that members are subscribed to, whether they exist or not.
    fn subscribed_names(&self) -> BTreeSet<&str> {
        let by_name = self.members.values().flat_map(|member| &member.subscription.topics);
        let by_regex = self
            .members
            .values()
            .filter_map(|member| self.regexes.get(member.subscription.regex()?))
            .flat_map(|resolved| &resolved.topics);
        by_name.chain(by_regex).map(|topic| &**topic).collect()
    }

    /// The ids of the topics that a member is subscribed to and that exist.
    fn subscribed_ids(&self, member: &Member, ctx: &GroupContext<'_>) -> BTreeSet<TopicId> {
        let by_regex = member.subscription.regex().and_then(|regex| self.regexes.get(regex));
        member
            .subscription
            .topics
            .iter()
            .chain(by_regex.iter().flat_map(|resolved| &resolved.topics))
            .filter_map(|topic| ctx.world.topic(topic).map(|(id, _)| id))
            .collect()
    }
}
