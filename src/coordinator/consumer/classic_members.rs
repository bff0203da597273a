//! SyncGroup, Heartbeat and LeaveGroup of members that speak the classic protocol, in a group that has the new one
//! (`classicGroupSyncToConsumerGroup` and its like).

use super::ConsumerGroup;
use super::embedded::{owned_lists, write_assignment};
use super::member::{ClassicMember, Member, MemberState};
use crate::coordinator::{
    Caller, GroupAnswer, GroupContext, Ticket, heartbeat_answer, leave_answer, leaving, refuse_sync,
};
use crate::error_code::ErrorCode;
use crate::protocol::leave_group::{MemberIdentity, MemberResponse};
use crate::protocol::{
    CONSUMER_PROTOCOL_TYPE, HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse,
};

impl ConsumerGroup {
    /// Answers at once.
    pub fn sync(&mut self, ticket: Ticket, request: &SyncGroupRequest, ctx: &mut GroupContext<'_>) {
        let answer = self.sync_classic(request, ctx).map_or_else(refuse_sync, GroupAnswer::Sync);
        ctx.answer(ticket, answer);
    }

    fn sync_classic(
        &mut self,
        request: &SyncGroupRequest,
        ctx: &mut GroupContext<'_>,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let group_epoch = self.epoch;
        let (member, classic) =
            self.classic_member(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        let (protocol, metadata) = classic.protocols.first().ok_or(ErrorCode::InconsistentGroupProtocol)?;
        if request.protocol_type.as_deref().is_some_and(|kind| kind != CONSUMER_PROTOCOL_TYPE)
            || request.protocol_name.as_deref().is_some_and(|name| *name != **protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let assignment = write_assignment(owned_lists(&member.owned.assigned), metadata, ctx.world);
        let session = ctx.now_ms + i64::from(classic.session_timeout_ms);
        // One that has partitions to give up has joined already: it gives them up first.
        if group_epoch > member.owned.epoch && member.owned.state != MemberState::Unrevoked {
            self.expect_join(&request.member_id, ctx.now_ms);
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(request.member_id.as_str()) {
            member.timers.sync = None;
            member.timers.session = session;
        }
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
            ..SyncGroupResponse::default()
        })
    }

    /// Answers at once. A Heartbeat of the classic protocol.
    pub fn classic_heartbeat(&mut self, ticket: Ticket, request: &HeartbeatRequest, ctx: &mut GroupContext<'_>) {
        let error = self.heartbeat_classic(request, ctx).err().unwrap_or(ErrorCode::None);
        ctx.answer(ticket, heartbeat_answer(error));
    }

    fn heartbeat_classic(&mut self, request: &HeartbeatRequest, ctx: &mut GroupContext<'_>) -> Result<(), ErrorCode> {
        let (member, classic) =
            self.classic_member(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        let session = ctx.now_ms + i64::from(classic.session_timeout_ms);
        let must_join = member.owned.epoch < self.epoch
            || match member.owned.state {
                MemberState::Unrevoked => true,
                MemberState::Unreleased => !self.waits_for_others(&request.member_id, member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if let Some(member) = self.members.get_mut(request.member_id.as_str()) {
            member.timers.session = session;
        }
        if must_join {
            self.expect_join(&request.member_id, ctx.now_ms);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// A member that is told to join again has its rebalance timeout for that, from the first time it was told.
    fn expect_join(&mut self, id: &str, now_ms: i64) {
        if let Some(member) = self.members.get_mut(id) {
            let by = now_ms + i64::from(member.subscription.rebalance_timeout_ms);
            member.timers.join.get_or_insert(by);
        }
    }

    /// Whether something that a member is to own is still another's.
    fn waits_for_others(&self, id: &str, member: &Member) -> bool {
        self.targets.get(id).into_iter().flatten().any(|(topic, partitions)| {
            let mine = member.owned.assigned.get(topic);
            partitions.iter().any(|partition| {
                mine.is_none_or(|mine| !mine.contains_key(partition)) && self.held.contains_key(&(*topic, *partition))
            })
        })
    }

    fn classic_member(
        &self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(&Member, &ClassicMember), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let owner = self.static_members.get(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            if **owner != *id {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        let member = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        let classic = member.subscription.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        if member.owned.epoch != generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok((member, classic))
    }

    /// Answers at once.
    pub fn leave(
        &mut self,
        ticket: Ticket,
        request: &LeaveGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) {
        let mut leavers: Vec<Box<str>> = Vec::new();
        let mut members = Vec::new();
        for identity in leaving(request, caller.api_version) {
            let leaver = self.leaver(&identity);
            let mut response = MemberResponse {
                member_id: identity.member_id.clone(),
                group_instance_id: identity.group_instance_id.clone(),
                error_code: 0,
            };
            match leaver {
                Ok(id) if !leavers.contains(&id) => {
                    response.member_id = id.as_ref().into();
                    leavers.push(id);
                }
                Ok(_) => response.error_code = ErrorCode::UnknownMemberId.code(),
                Err(error) => response.error_code = error.code(),
            }
            members.push(response);
        }
        if !leavers.is_empty() {
            self.remove_members(&leavers, ctx);
        }
        ctx.answer(ticket, leave_answer(members, caller.api_version));
    }

    /// The member that an identity means: one of the classic protocol, by its id or, as administrators say it, by its instance
    /// id alone.
    fn leaver(&self, identity: &MemberIdentity) -> Result<Box<str>, ErrorCode> {
        let mut id: &str = &identity.member_id;
        if let Some(instance_id) = identity.group_instance_id.as_deref() {
            let owner = self.static_members.get(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            if !id.is_empty() && **owner != *id {
                return Err(ErrorCode::FencedInstanceId);
            }
            id = owner;
        }
        let member = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.uses_classic() { Ok(id.into()) } else { Err(ErrorCode::UnknownMemberId) }
    }
}
