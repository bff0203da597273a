//! JoinGroup of a member that speaks the classic protocol, in a group that has the new one
//! (`classicGroupJoinToConsumerGroup`).
//!
//! Such a member lives as the others do; its JoinGroup stands for a heartbeat that says everything, and is answered at once.
//! It is never the leader, so it asks for its assignment by SyncGroup with none of its own. Whenever it has to learn
//! something, its heartbeats are answered by REBALANCE_IN_PROGRESS, and it joins again.

use bytes::Bytes;

use super::embedded::{Embedded, read_subscription};
use super::heartbeat::{Sender, fenced_instance, unknown_instance};
use super::member::{ClassicMember, Member, Subscription, Timers};
use super::{ConsumerGroup, Refusal};
use crate::config::MigrationPolicy;
use crate::coordinator::{Caller, GroupAnswer, GroupContext, Ticket, refuse_join};
use crate::error_code::ErrorCode;
use crate::protocol::{CONSUMER_PROTOCOL_TYPE, JoinGroupRequest, JoinGroupResponse, Str};

/// From this version on a dynamic member joins by the id that the broker gave it (KIP-394).
const ID_REQUIRED: i16 = 4;

impl ConsumerGroup {
    /// Answers at once. What is wrong whatever the group is (`check_join`) has been refused before.
    pub fn join(&mut self, ticket: Ticket, request: &JoinGroupRequest, caller: Caller<'_>, ctx: &mut GroupContext<'_>) {
        let answer = match self.join_classic(request, caller, ctx) {
            Ok(answer) => GroupAnswer::Join(answer),
            Err((error, member_id)) => refuse_join(error, member_id),
        };
        ctx.answer(ticket, answer);
    }

    fn join_classic(
        &mut self,
        request: &JoinGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<JoinGroupResponse, (ErrorCode, Str)> {
        let refuse = |error| (error, request.member_id.clone());
        if ctx.config.consumer.migration_policy == MigrationPolicy::Disabled {
            return Err(refuse(ErrorCode::InconsistentGroupProtocol));
        }
        let is_unknown = request.member_id.is_empty();
        let id: Box<str> =
            if is_unknown { (ctx.new_uuid)().to_string().into() } else { request.member_id.as_str().into() };
        self.refuse_if_full(&id, ctx).map_err(|refusal| (refusal.code, Str::default()))?;
        if !self.supports(request) {
            return Err(refuse(ErrorCode::InconsistentGroupProtocol));
        }
        if is_unknown && request.group_instance_id.is_none() && caller.api_version >= ID_REQUIRED {
            return Err((ErrorCode::MemberIdRequired, Str::from(&*id)));
        }
        let sender = self.classic_sender(&id, is_unknown, request).map_err(|refusal| refuse(refusal.code))?;
        let embedded = request
            .protocols
            .first()
            .and_then(|protocol| read_subscription(&protocol.metadata, ctx.world))
            .ok_or_else(|| refuse(ErrorCode::UnknownServerError))?;

        // Nothing is refused from here on: the group changes.
        let is_new = matches!(sender, Sender::New);
        let mut replaced_consumer = false;
        match sender {
            Sender::Known => {
                replaced_consumer = self.members.get(&id).is_some_and(|member| !member.uses_classic());
            }
            Sender::New => self.insert_member(&id, Member::unknown()),
            Sender::Replaces(old) => {
                replaced_consumer = self.members.get(&old).is_some_and(|member| !member.uses_classic());
                self.replace_member(&old, &id, ctx);
            }
        }
        let change = self.update_subscription(&id, is_new, |old| old.joined_by(request, &embedded, caller), ctx);
        self.advance(&id, change, Some(&embedded.owned), ctx);
        let Some(member) = self.members.get_mut(&id) else { return Err(refuse(ErrorCode::UnknownMemberId)) };
        let rebalance_timeout_ms = member.subscription.rebalance_timeout_ms;
        member.timers = Timers {
            session: ctx.now_ms + i64::from(request.session_timeout_ms),
            rebalance: None,
            join: None,
            sync: Some(ctx.now_ms + i64::from(rebalance_timeout_ms)),
        };
        let generation_id = member.owned.epoch;
        if replaced_consumer {
            self.downgrade_if_all_classic(generation_id == self.epoch, ctx);
        }
        Ok(JoinGroupResponse {
            generation_id,
            protocol_type: Some(Str::from_static(CONSUMER_PROTOCOL_TYPE)),
            protocol_name: request.protocols.first().map(|protocol| protocol.name.detached()),
            member_id: Str::from(&*id),
            ..JoinGroupResponse::default()
        })
    }

    /// Whether one of the member's protocols is offered by all other members of its kind (`supportsClassicProtocols`).
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        if request.protocol_type.as_str() != CONSUMER_PROTOCOL_TYPE {
            return false;
        }
        let others: Vec<&ClassicMember> =
            self.members.values().filter_map(|member| member.subscription.classic.as_ref()).collect();
        request
            .protocols
            .iter()
            .any(|protocol| others.iter().all(|other| other.protocols.iter().any(|(name, _)| **name == *protocol.name)))
    }

    fn classic_sender(&self, id: &str, is_unknown: bool, request: &JoinGroupRequest) -> Result<Sender, Refusal> {
        let known = if self.members.contains_key(id) { Sender::Known } else { Sender::New };
        let Some(instance_id) = request.group_instance_id.as_deref() else { return Ok(known) };
        match self.static_members.get(instance_id) {
            Some(owner) if is_unknown => Ok(Sender::Replaces(owner.clone())),
            Some(owner) if **owner != *id => Err(fenced_instance(id, instance_id, owner)),
            Some(_) => Ok(Sender::Known),
            None if is_unknown => Ok(known),
            None => Err(unknown_instance(instance_id)),
        }
    }
}

impl Subscription {
    /// The subscription as a JoinGroup says it; `None` if it says nothing new.
    fn joined_by(&self, request: &JoinGroupRequest, embedded: &Embedded, caller: Caller<'_>) -> Option<Subscription> {
        let subscription = Subscription {
            instance_id: request.group_instance_id.as_deref().map(Box::from).or_else(|| self.instance_id.clone()),
            rack_id: embedded.rack_id.clone().or_else(|| self.rack_id.clone()),
            client_id: caller.client_id.into(),
            client_host: caller.client_host.into(),
            topics: embedded.topics.clone(),
            regex: Some("".into()),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                // Version 0 has none: the session timeout stands in for it.
                -1 => request.session_timeout_ms,
                timeout => timeout,
            },
            server_assignor: self.server_assignor.clone(),
            classic: Some(ClassicMember {
                session_timeout_ms: request.session_timeout_ms,
                protocols: request
                    .protocols
                    .iter()
                    .map(|protocol| (protocol.name.as_str().into(), Bytes::copy_from_slice(&protocol.metadata)))
                    .collect(),
            }),
        };
        (subscription != *self).then_some(subscription)
    }
}
