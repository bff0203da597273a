//! JoinGroup.

use crate::coordinator::{Caller, GroupAnswer, GroupContext, Ticket};
use crate::error_code::ErrorCode;
use crate::protocol::join_group::JoinGroupResponseMember;
use crate::protocol::{JoinGroupRequest, JoinGroupResponse, Str};

use super::answers::refuse_join;
use super::member::{ClassicMember, Joining, Rejoin, offered};
use super::{ClassicGroup, ClassicState};

/// How long a new member may wait for a rebalance before it is taken for gone: it cannot send heartbeats, and its
/// connection is not watched (`GroupCoordinatorConfig.CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS`).
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;
/// From this version of JoinGroup on, a member joins with an id that the broker gave it (KIP-394).
const KNOWN_MEMBER_ID_VERSION: i16 = 4;
/// From this version on, a leader can be told to leave the assignment as it is (KIP-814).
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

impl ClassicGroup {
    /// JoinGroup. The answer may come with a later call: when the rebalance is complete. What is wrong whatever the group is
    /// ([`check_join`](super::check_join)) has been refused before.
    ///
    /// Errors in answers: GROUP_MAX_SIZE_REACHED, INCONSISTENT_GROUP_PROTOCOL,
    /// MEMBER_ID_REQUIRED, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, and UNKNOWN_SERVER_ERROR for a member id just given to
    /// a dynamic member that a static one brings; REBALANCE_IN_PROGRESS to a request that the same member has sent
    /// again since.
    pub fn join(&mut self, ticket: Ticket, request: &JoinGroupRequest, caller: Caller<'_>, ctx: &mut GroupContext<'_>) {
        let records = ctx.effects.records.len();
        if let Err((error, member_id)) = self.try_join(ticket, request, caller, ctx) {
            ctx.answer(ticket, refuse_join(error, member_id));
        }
        // A group that came to be is written down at once, so that its offsets are not taken for those of no group.
        if self.unwritten && ctx.effects.records.len() == records {
            self.append_record(ctx);
        }
    }

    fn try_join(
        &mut self,
        ticket: Ticket,
        request: &JoinGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), (ErrorCode, Str)> {
        let own_id = || request.member_id.clone();
        if !self.has_room(&request.member_id, ctx.config.max_size) {
            self.remove_member(&request.member_id, ctx);
            return Err((ErrorCode::GroupMaxSizeReached, Str::default()));
        }
        if !self.supports(request) {
            return Err((ErrorCode::InconsistentGroupProtocol, own_id()));
        }
        if request.member_id.is_empty() {
            self.join_unknown(ticket, request, caller, ctx);
            return Ok(());
        }
        self.join_known(ticket, request, caller, ctx).map_err(|error| {
            // Kafka's answer to what it takes for a fault of its own names nobody.
            (error, if error == ErrorCode::UnknownServerError { Str::default() } else { own_id() })
        })
    }

    /// Whether the group has room. While a rebalance is being prepared those who are there count, so that the last to
    /// rejoin are turned away if the group was larger than it may be.
    fn has_room(&self, member_id: &str, max_size: usize) -> bool {
        match self.state {
            ClassicState::Empty => true,
            ClassicState::PreparingRebalance => {
                self.members.get(member_id).is_some_and(|member| member.joining.is_some())
                    || self.members.joining() < max_size
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains(member_id) || self.members.len() < max_size
            }
        }
    }

    /// The protocol type is the group's, and one of the protocols is offered by all its members.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        if self.state == ClassicState::Empty {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && request.protocols.iter().any(|protocol| self.members.all_offer(&protocol.name))
    }

    fn join_unknown(
        &mut self,
        ticket: Ticket,
        request: &JoinGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) {
        let joining = Joining { ticket, version: caller.api_version };
        let base = request.group_instance_id.as_ref().map_or(caller.client_id, Str::as_str);
        let uuid = uuid::Uuid::from_bytes((ctx.new_uuid)().0);
        let member_id = Str::from(format!("{base}-{uuid}"));
        if let Some(instance) = &request.group_instance_id {
            match self.members.static_id(instance).cloned() {
                Some(old_id) => self.replace_static(joining, request, &old_id, &member_id, ctx),
                None => self.add_member(joining, request, caller, &member_id, ctx),
            }
        } else if caller.api_version >= KNOWN_MEMBER_ID_VERSION {
            let until = ctx.now_ms.saturating_add(i64::from(request.session_timeout_ms));
            self.pending_members.insert(member_id.clone(), until);
            ctx.answer(ticket, refuse_join(ErrorCode::MemberIdRequired, member_id));
        } else {
            self.add_member(joining, request, caller, &member_id, ctx);
        }
    }

    fn join_known(
        &mut self,
        ticket: Ticket,
        request: &JoinGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<(), ErrorCode> {
        let joining = Joining { ticket, version: caller.api_version };
        let member_id = &request.member_id;
        if self.pending_members.contains_key(member_id) {
            // Static members are never asked to come back with an id.
            if request.group_instance_id.is_some() {
                return Err(ErrorCode::UnknownServerError);
            }
            self.add_member(joining, request, caller, member_id, ctx);
            return Ok(());
        }
        self.validate_member(member_id, request.group_instance_id.as_ref())?;
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        let unchanged = member.matches(&offered(request));
        match self.state {
            // It missed the answer to its first request.
            ClassicState::CompletingRebalance if unchanged => {}
            // A leader rejoins when what it assigns has changed, such as the partitions of a topic.
            ClassicState::Stable if unchanged && !self.is_leader(member_id) => {}
            ClassicState::Empty => return Err(ErrorCode::UnknownMemberId),
            _ => {
                self.rejoin(joining, request, member_id, ctx);
                self.rebalance(ctx);
                return Ok(());
            }
        }
        let answer = self.joined(member_id, self.state == ClassicState::CompletingRebalance, false);
        ctx.answer(ticket, answer);
        Ok(())
    }

    fn add_member(
        &mut self,
        joining: Joining,
        request: &JoinGroupRequest,
        caller: Caller<'_>,
        member_id: &Str,
        ctx: &mut GroupContext<'_>,
    ) {
        let instance = request.group_instance_id.as_deref();
        let mut member = ClassicMember::new(member_id, instance, caller.client_id, caller.client_host);
        member.protocols = offered(request);
        member.rebalance_timeout_ms = rebalance_timeout_ms(request, caller.api_version);
        member.session_timeout_ms = request.session_timeout_ms;
        member.joining = Some(joining);
        member.is_new = true;
        member.session_deadline = Some(ctx.now_ms.saturating_add(NEW_MEMBER_JOIN_TIMEOUT_MS));
        if self.state == ClassicState::PreparingRebalance && self.initial_rebalance {
            self.new_member_added = true;
        }
        self.pending_members.remove(member_id);
        self.insert_member(member, &request.protocol_type);
        self.rebalance(ctx);
    }

    /// Adds a member; the first one decides the protocol type and leads.
    pub(super) fn insert_member(&mut self, member: ClassicMember, protocol_type: &Str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.detached());
        }
        self.leader_id.get_or_insert_with(|| member.member_id.clone());
        self.members.insert(member);
    }

    /// Lets a member wait with what its request says.
    fn rejoin(&mut self, joining: Joining, request: &JoinGroupRequest, member_id: &Str, ctx: &mut GroupContext<'_>) {
        let rejoin = Rejoin {
            protocols: offered(request),
            rebalance_timeout_ms: rebalance_timeout_ms(request, joining.version),
            session_timeout_ms: request.session_timeout_ms,
            joining,
        };
        // Kafka never answers a request that was sent again meanwhile; a connection still there would wait for ever.
        if let Some(superseded) = self.members.rejoin(member_id, rejoin) {
            let answer = refuse_join(ErrorCode::RebalanceInProgress, member_id.clone());
            ctx.answer(superseded.ticket, answer);
        }
    }

    /// A static member is back, with no memory of its member id: it gets a new one and the assignment of the old.
    /// Whoever still uses the old id is fenced.
    fn replace_static(
        &mut self,
        joining: Joining,
        request: &JoinGroupRequest,
        old_id: &Str,
        new_id: &Str,
        ctx: &mut GroupContext<'_>,
    ) {
        let old_leader = self.leader_id.clone();
        if let Some(waiting) = self.members.take_joining(old_id) {
            ctx.answer(waiting.ticket, refuse_join(ErrorCode::FencedInstanceId, old_id.clone()));
        }
        let Some(mut member) = self.members.remove(old_id) else { return };
        if let Some(ticket) = member.syncing.take() {
            ctx.answer(ticket, super::refuse_sync(ErrorCode::FencedInstanceId));
        }
        member.member_id = new_id.clone();
        member.is_new = false;
        self.members.insert(member);
        self.pending_sync.remove(old_id);
        if self.is_leader(old_id) {
            self.leader_id = Some(new_id.clone());
        }
        self.rejoin(joining, request, new_id, ctx);
        self.extend_session(new_id, ctx.now_ms);
        match self.state {
            ClassicState::Stable if self.members.most_wanted() == self.protocol_name => {
                // Its place is as it was, so nobody else need know; the record must, or the id would be forgotten.
                self.append_record(ctx);
                self.members.take_joining(new_id);
                let skips = joining.version >= SKIP_ASSIGNMENT_VERSION;
                let mut answer = self.joined(new_id, skips, skips && self.is_leader(new_id));
                if let (false, GroupAnswer::Join(response)) = (skips, &mut answer) {
                    // To an older leader its own former id is named, so that it does not assign what is assigned.
                    response.leader = old_leader.unwrap_or_default();
                }
                ctx.answer(joining.ticket, answer);
            }
            // The assignment being made is for the old id.
            ClassicState::CompletingRebalance => self.prepare_rebalance(ctx),
            _ => self.rebalance(ctx),
        }
    }

    /// The answer to a member of this generation. The leader is told all members, if `with_members`.
    pub(super) fn joined(&self, member_id: &Str, with_members: bool, skip_assignment: bool) -> GroupAnswer {
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let members = if with_members && self.is_leader(member_id) {
            let member = |member: &ClassicMember| JoinGroupResponseMember {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                metadata: member.metadata(&protocol),
            };
            self.members.iter().map(member).collect()
        } else {
            Vec::new()
        };
        let response = JoinGroupResponse {
            error_code: ErrorCode::None as i16,
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: Some(protocol),
            leader: self.leader_id.clone().unwrap_or_default(),
            skip_assignment,
            member_id: member_id.clone(),
            members,
            ..JoinGroupResponse::default()
        };
        GroupAnswer::Join(response)
    }
}

/// Version 0 knows none: the session timeout stands in for it.
fn rebalance_timeout_ms(request: &JoinGroupRequest, api_version: i16) -> i32 {
    if api_version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms }
}
