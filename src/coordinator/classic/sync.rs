//! SyncGroup and heartbeats.

use bytes::Bytes;
use hashbrown::HashMap;

use crate::coordinator::{GroupAnswer, GroupContext, Ticket};
use crate::error_code::ErrorCode;
use crate::protocol::{HeartbeatRequest, Str, SyncGroupRequest, SyncGroupResponse};

use super::answers::{heartbeat_answer, refuse_sync};
use super::{ClassicGroup, ClassicState};

impl ClassicGroup {
    /// SyncGroup. The leader's brings the assignment; others are answered when that is there. What is wrong whatever the
    /// group is ([`check_sync`](super::check_sync)) has been refused before.
    ///
    /// Errors in answers: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
    /// INCONSISTENT_GROUP_PROTOCOL, REBALANCE_IN_PROGRESS.
    pub fn sync(&mut self, ticket: Ticket, request: &SyncGroupRequest, ctx: &mut GroupContext<'_>) {
        if let Err(error) = self.try_sync(ticket, request, ctx) {
            ctx.answer(ticket, refuse_sync(error));
        }
    }

    fn try_sync(
        &mut self,
        ticket: Ticket,
        request: &SyncGroupRequest,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), ErrorCode> {
        let member_id = &request.member_id;
        self.validate_member(member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        if differs(request.protocol_type.as_ref(), self.protocol_type.as_ref())
            || differs(request.protocol_name.as_ref(), self.protocol_name.as_ref())
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            ClassicState::CompletingRebalance => {
                self.note_sync(member_id);
                let superseded = self.members.get_mut(member_id).and_then(|member| member.syncing.replace(ticket));
                if let Some(superseded) = superseded {
                    // Kafka never answers a request that was sent again meanwhile.
                    ctx.answer(superseded, refuse_sync(ErrorCode::RebalanceInProgress));
                }
                if self.is_leader(member_id) {
                    self.assign(request, ctx);
                }
                Ok(())
            }
            ClassicState::Stable => {
                self.note_sync(member_id);
                let response = SyncGroupResponse {
                    protocol_type: self.protocol_type.clone(),
                    protocol_name: self.protocol_name.clone(),
                    assignment: self.members.get(member_id).map(|it| it.assignment.clone()).unwrap_or_default(),
                    ..SyncGroupResponse::default()
                };
                ctx.answer(ticket, GroupAnswer::Sync(response));
                Ok(())
            }
        }
    }

    fn note_sync(&mut self, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// Takes the leader's assignment: it is written down, and with that in force. Who is not in it has nothing.
    fn assign(&mut self, request: &SyncGroupRequest, ctx: &mut GroupContext<'_>) {
        // Of a member that comes twice the last counts.
        let given: HashMap<&Str, &Bytes> =
            request.assignments.iter().map(|given| (&given.member_id, &given.assignment)).collect();
        for member in self.members.iter_mut() {
            member.assignment = given.get(&member.member_id).map(|it| Bytes::copy_from_slice(it)).unwrap_or_default();
        }
        self.append_record(ctx);
        self.answer_syncs(ErrorCode::None, ctx);
        self.enter(ClassicState::Stable, ctx);
    }

    /// Heartbeat; answered at once.
    ///
    /// Errors in answers: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
    /// REBALANCE_IN_PROGRESS.
    pub fn heartbeat(&mut self, ticket: Ticket, request: &HeartbeatRequest, ctx: &mut GroupContext<'_>) {
        let error = self.try_heartbeat(request, ctx.now_ms).err().unwrap_or(ErrorCode::None);
        ctx.answer(ticket, heartbeat_answer(error));
    }

    fn try_heartbeat(&mut self, request: &HeartbeatRequest, now_ms: i64) -> Result<(), ErrorCode> {
        self.validate_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.extend_session(&request.member_id, now_ms);
        match self.state {
            ClassicState::Empty => Err(ErrorCode::UnknownMemberId),
            ClassicState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            // Members send heartbeats from the answer to JoinGroup on.
            ClassicState::CompletingRebalance | ClassicState::Stable => Ok(()),
        }
    }
}

fn differs(requested: Option<&Str>, group: Option<&Str>) -> bool {
    matches!((requested, group), (Some(requested), Some(group)) if requested != group)
}
