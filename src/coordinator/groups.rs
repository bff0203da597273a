//! The groups of one partition of `__consumer_offsets`: which there are and of which kind, when each is to be looked at
//! next, and what they have committed (the parts of Kafka's `GroupMetadataManager` and `GroupCoordinatorShard` that are
//! not about a single group).

mod answers;
mod kind;
mod load;
mod offsets;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::error_code::ErrorCode;
use crate::protocol::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, Str, SyncGroupRequest,
    consumer_group_describe::DescribedConsumerGroup, describe_groups::DescribedGroup, list_groups::ListedGroup,
};
use crate::types::TopicId;

use super::classic::{ClassicGroup, check_group_id, check_join, check_sync};
use super::consumer::{ConsumerGroup, Refusal, check_heartbeat};
use super::machine::{Caller, GroupAnswer, GroupContext, GroupWorld, Ticket};
use super::offset_record::OffsetChange;
use super::offsets::{OffsetsPartition, STRING_BYTES_MAX};

pub use answers::RequestKind;
use kind::Group;
pub use offsets::FetchCaller;

/// A request of a member.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRequest {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
}

/// The groups of one partition. All calls answer and append by the context's effects; what is committed counts from the
/// record offset that the caller names on.
#[derive(Debug)]
pub struct GroupsPartition {
    groups: HashMap<Arc<str>, Held>,
    offsets: OffsetsPartition,
    /// When groups are to be looked at; each at most once.
    looks: BTreeSet<(i64, Arc<str>)>,
}

#[derive(Debug)]
struct Held {
    group: Group,
    /// When it stands in `looks`.
    look_ms: Option<i64>,
}

impl GroupsPartition {
    /// A partition without groups. `metadata_max_len` is `offset.metadata.max.bytes`.
    pub fn new(metadata_max_len: usize) -> GroupsPartition {
        GroupsPartition {
            groups: HashMap::new(),
            offsets: OffsetsPartition::new(metadata_max_len),
            looks: BTreeSet::new(),
        }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups' ids, in no order.
    pub fn group_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.keys()
    }

    /// Takes a member's request; it is answered by its ticket, now or later.
    pub fn handle(&mut self, ticket: Ticket, request: &GroupRequest, caller: Caller<'_>, ctx: &mut GroupContext<'_>) {
        let group_id = request.group_id();
        let refused = match request {
            GroupRequest::Join(request) => self.join(ticket, request, caller, ctx).err(),
            GroupRequest::Sync(request) => self.sync(ticket, request, caller, ctx).err(),
            GroupRequest::Heartbeat(request) => self.heartbeat(ticket, request, ctx).err(),
            GroupRequest::Leave(request) => self.leave(ticket, request, caller, ctx).err(),
            GroupRequest::ConsumerHeartbeat(request) => {
                if let Err(refusal) = self.consumer_heartbeat(ticket, request, caller, ctx) {
                    ctx.answer(ticket, GroupAnswer::ConsumerHeartbeat(refusal.into_heartbeat()));
                }
                None
            }
        };
        if let Some(held) = self.groups.get_mut(group_id) {
            held.group.follow_downgrade();
        }
        if let Some(code) = refused {
            ctx.answer(ticket, request.refused(code, caller.api_version));
        } else if !matches!(request, GroupRequest::Heartbeat(_)) {
            // A heartbeat moves deadlines back only, and is what comes most often.
            self.schedule(group_id);
        }
    }

    fn join(
        &mut self,
        ticket: Ticket,
        request: &JoinGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), ErrorCode> {
        check_join(request, caller, ctx.config)?;
        if !request.member_id.is_empty() && !self.groups.contains_key(&*request.group_id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        let held = self.group_or_new(&request.group_id);
        if matches!(&held.group, Group::Consumer(group) if group.is_empty()) {
            held.group.append_tombstones(ctx);
            held.group = Group::Classic(Box::new(ClassicGroup::new(&request.group_id)));
        }
        match &mut held.group {
            Group::Classic(group) => group.join(ticket, request, caller, ctx),
            Group::Consumer(group) => group.join(ticket, request, caller, ctx),
        }
        Ok(())
    }

    fn sync(
        &mut self,
        ticket: Ticket,
        request: &SyncGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), ErrorCode> {
        check_sync(request, caller.api_version)?;
        let held = self.groups.get_mut(&*request.group_id).filter(|held| !held.group.is_empty());
        match &mut held.ok_or(ErrorCode::UnknownMemberId)?.group {
            Group::Classic(group) => group.sync(ticket, request, ctx),
            Group::Consumer(group) => group.sync(ticket, request, ctx),
        }
        Ok(())
    }

    fn heartbeat(
        &mut self,
        ticket: Ticket,
        request: &HeartbeatRequest,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), ErrorCode> {
        check_group_id(&request.group_id)?;
        match &mut self.groups.get_mut(&*request.group_id).ok_or(ErrorCode::UnknownMemberId)?.group {
            Group::Classic(group) => group.heartbeat(ticket, request, ctx),
            Group::Consumer(group) => group.classic_heartbeat(ticket, request, ctx),
        }
        Ok(())
    }

    fn leave(
        &mut self,
        ticket: Ticket,
        request: &LeaveGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), ErrorCode> {
        check_group_id(&request.group_id)?;
        match &mut self.groups.get_mut(&*request.group_id).ok_or(ErrorCode::UnknownMemberId)?.group {
            Group::Classic(group) => group.leave(ticket, request, caller, ctx),
            Group::Consumer(group) => group.leave(ticket, request, caller, ctx),
        }
        Ok(())
    }

    fn consumer_heartbeat(
        &mut self,
        ticket: Ticket,
        request: &ConsumerGroupHeartbeatRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), Refusal> {
        check_heartbeat(request, caller.api_version, ctx.config)?;
        let group_id: &str = &request.group_id;
        if group_id.len() > STRING_BYTES_MAX {
            return Err(Refusal::new(ErrorCode::InvalidGroupId, "GroupId is too long."));
        }
        let (joins, is_new) = (request.member_epoch == 0, !self.groups.contains_key(group_id));
        if is_new && !joins {
            return Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {group_id} not found.")));
        }
        let held = self.group_or_new(group_id);
        if let Group::Classic(classic) = &mut held.group {
            if !joins {
                let message = format!("Group {group_id} is not a consumer group.");
                return Err(Refusal::new(ErrorCode::GroupIdNotFound, message));
            }
            held.group = Group::Consumer(Box::new(if is_new {
                ConsumerGroup::new(group_id)
            } else {
                ConsumerGroup::upgrade(classic, request, ctx)?
            }));
        }
        if let Group::Consumer(group) = &mut held.group {
            group.heartbeat(ticket, request, caller, ctx);
            if is_new && group.is_empty() {
                // It was refused.
                self.remove(group_id);
            }
        }
        Ok(())
    }

    /// The group of that id; a new one is classic.
    fn group_or_new(&mut self, group_id: &str) -> &mut Held {
        self.groups
            .entry_ref(group_id)
            .or_insert_with(|| Held { group: Group::Classic(Box::new(ClassicGroup::new(group_id))), look_ms: None })
    }

    /// Has a group looked at when it has its next deadline, unless that is done before anyway.
    fn schedule(&mut self, group_id: &str) {
        self.schedule_after(group_id, i64::MIN);
    }

    /// As [`schedule`](Self::schedule), for a group that has done by `now_ms` all that it had to.
    fn schedule_after(&mut self, group_id: &str, now_ms: i64) {
        let Some((id, held)) = self.groups.get_key_value_mut(group_id) else { return };
        let Some(deadline) = held.group.next_deadline().map(|at| at.max(now_ms.saturating_add(1))) else { return };
        if held.look_ms.is_some_and(|look| look <= deadline) {
            return;
        }
        if let Some(look) = held.look_ms.replace(deadline) {
            self.looks.remove(&(look, Arc::clone(id)));
        }
        self.looks.insert((deadline, Arc::clone(id)));
    }

    /// When [`on_time`](Self::on_time) is to be called next, in ms of the context's `now_ms`.
    pub fn next_look(&self) -> Option<i64> {
        self.looks.first().map(|(at, _)| *at)
    }

    /// Lets one group that is due do what its time has come for. Says whether there was one; each group's records
    /// belong into a batch of their own.
    pub fn on_time(&mut self, ctx: &mut GroupContext<'_>) -> bool {
        if self.next_look().is_none_or(|at| at > ctx.now_ms) {
            return false;
        }
        let Some((_, id)) = self.looks.pop_first() else { return false };
        if let Some(held) = self.groups.get_mut(&id) {
            held.look_ms = None;
            held.group.on_time(ctx);
            self.schedule_after(&id, ctx.now_ms);
        }
        true
    }

    fn remove(&mut self, group_id: &str) {
        if let Some((id, held)) = self.groups.remove_entry(group_id)
            && let Some(look) = held.look_ms
        {
            self.looks.remove(&(look, id));
        }
    }

    /// ListGroups. Empty filters let all pass; states are compared in any case of letters.
    pub fn list(&self, states: &[Str], types: &[Str]) -> Vec<ListedGroup> {
        let passes = |filter: &[Str], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
        };
        let rows = self.groups.values().map(|held| held.group.listed());
        rows.filter(|row| passes(states, &row.group_state) && passes(types, &row.group_type)).collect()
    }

    /// A row of DescribeGroups; a group that is not there is dead, which versions from 6 on call an error.
    pub fn describe(&self, group_id: &str, version: i16) -> DescribedGroup {
        match self.groups.get(group_id).map(|held| &held.group) {
            Some(Group::Classic(group)) => group.describe(),
            Some(Group::Consumer(_)) => {
                answers::dead_group(group_id, &format!("Group {group_id} is not a classic group."), version)
            }
            None => answers::dead_group(group_id, &format!("Group {group_id} not found."), version),
        }
    }

    /// A row of ConsumerGroupDescribe. `assignors` are those of the broker.
    pub fn describe_consumer(
        &self,
        group_id: &str,
        world: &dyn GroupWorld,
        assignors: &[String],
    ) -> DescribedConsumerGroup {
        match self.groups.get(group_id).map(|held| &held.group) {
            Some(Group::Consumer(group)) => group.describe(world, assignors),
            Some(Group::Classic(_)) => {
                answers::no_consumer_group(group_id, &format!("Group {group_id} is not a consumer group."))
            }
            None => answers::no_consumer_group(group_id, &format!("Group {group_id} not found.")),
        }
    }

    /// Topics came, went or changed.
    pub fn world_changed(&mut self) {
        for held in self.groups.values_mut() {
            if let Group::Consumer(group) = &mut held.group {
                group.world_changed();
            }
        }
    }

    /// Ends a group without members, with all it has committed (DeleteGroups).
    pub fn delete(&mut self, group_id: &str, ctx: &mut GroupContext<'_>) -> ErrorCode {
        let Some(held) = self.groups.get(group_id) else { return ErrorCode::GroupIdNotFound };
        if !held.group.is_empty() {
            return ErrorCode::NonEmptyGroup;
        }
        let gone = self.offsets.group_deleted(group_id);
        self.take_back(gone, ctx);
        self.end(group_id, ctx);
        ErrorCode::None
    }

    fn end(&mut self, group_id: &str, ctx: &mut GroupContext<'_>) {
        if let Some(held) = self.groups.get(group_id) {
            held.group.append_tombstones(ctx);
        }
        self.remove(group_id);
    }

    /// Appends tombstones of offsets.
    fn take_back(&mut self, gone: Vec<OffsetChange>, ctx: &mut GroupContext<'_>) {
        for change in gone {
            ctx.append(change.encode_key(), None);
            // Nothing compares with where a tombstone stands.
            self.offsets.apply(change, 0);
        }
    }

    /// What any group has committed for a topic that is deleted goes (`OffsetMetadataManager.onPartitionsDeleted`).
    pub fn topic_deleted(&mut self, topic: &str, topic_id: TopicId, ctx: &mut GroupContext<'_>) {
        let gone = self.offsets.topic_deleted(topic, topic_id);
        self.take_back(gone, ctx);
    }
}
