//! The groups of one partition of `__consumer_offsets`: which there are and of which kind, when each is to be looked at
//! next, and what they have committed (the parts of Kafka's `GroupMetadataManager` and `GroupCoordinatorShard` that are
//! not about a single group).

mod answers;
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
    describe_groups::DescribedGroup, list_groups::ListedGroup,
};
use crate::types::TopicId;

use super::classic::{ClassicGroup, OffsetExpiry, check_group_id, check_join, check_sync};
use super::machine::{Caller, GroupContext, Ticket};
use super::offset_record::OffsetChange;
use super::offsets::OffsetsPartition;

pub use answers::RequestKind;
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

#[derive(Debug)]
enum Group {
    Classic(ClassicGroup),
}

impl Group {
    fn next_deadline(&self) -> Option<i64> {
        match self {
            Group::Classic(group) => group.next_deadline(),
        }
    }

    fn on_time(&mut self, ctx: &mut GroupContext<'_>) {
        match self {
            Group::Classic(group) => group.on_time(ctx),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
        }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
        }
    }

    fn listed(&self) -> ListedGroup {
        match self {
            Group::Classic(group) => group.listed(),
        }
    }

    fn offset_expiry(&self) -> OffsetExpiry {
        match self {
            Group::Classic(group) => group.offset_expiry(),
        }
    }

    /// What ends the group in the log.
    fn append_tombstones(&self, ctx: &mut GroupContext<'_>) {
        match self {
            Group::Classic(group) => group.append_tombstone(ctx),
        }
    }
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
            GroupRequest::Heartbeat(request) => self.heartbeat(ticket, request, caller, ctx).err(),
            GroupRequest::Leave(request) => self.leave(ticket, request, caller, ctx).err(),
            GroupRequest::ConsumerHeartbeat(_) => Some(ErrorCode::UnsupportedVersion),
        };
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
        match &mut self.group_or_new(&request.group_id).group {
            Group::Classic(group) => group.join(ticket, request, caller, ctx),
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
            Group::Classic(group) => group.sync(ticket, request, caller, ctx),
        }
        Ok(())
    }

    fn heartbeat(
        &mut self,
        ticket: Ticket,
        request: &HeartbeatRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), ErrorCode> {
        check_group_id(&request.group_id)?;
        match &mut self.groups.get_mut(&*request.group_id).ok_or(ErrorCode::UnknownMemberId)?.group {
            Group::Classic(group) => group.heartbeat(ticket, request, caller, ctx),
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
        }
        Ok(())
    }

    /// The group of that id; a new one is classic.
    fn group_or_new(&mut self, group_id: &str) -> &mut Held {
        self.groups
            .entry_ref(group_id)
            .or_insert_with(|| Held { group: Group::Classic(ClassicGroup::new(group_id)), look_ms: None })
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
            None => answers::dead_group(group_id, &format!("Group {group_id} not found."), version),
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
