//! ConsumerGroupHeartbeat (`GroupMetadataManager.consumerGroupHeartbeat`): members come and stay.

use std::collections::BTreeSet;

use super::member::owned_to_answer;
use super::member::{LEAVING, LEAVING_FOR_NOW, Member, MemberState, Owned, OwnedPartitions, Subscription, Timers};
use super::{ConsumerGroup, Refusal, regexes};
use crate::config::GroupsConfig;
use crate::coordinator::fields::STRING_BYTES_MAX;
use crate::coordinator::{Caller, GroupAnswer, GroupContext, Ticket};
use crate::error_code::ErrorCode;
use crate::protocol::consumer_group_heartbeat::{HeartbeatAssignment, HeartbeatTopicPartitions};
use crate::protocol::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Str};

/// From this version on clients make their member ids themselves (KIP-1082).
const CLIENT_MAKES_ID: i16 = 1;

/// Whether a heartbeat can be one at all, whatever group it is for
/// (`throwIfConsumerGroupHeartbeatRequestIsInvalid`).
pub fn check_heartbeat(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    config: &GroupsConfig,
) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let epoch = request.member_epoch;
    let empty = |text: &Option<Str>| text.as_ref().is_some_and(|text| text.is_empty());
    if request.member_id.is_empty() && (version >= CLIENT_MAKES_ID || epoch > 0 || epoch == LEAVING) {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    // Longer ones fit into no record's key.
    let texts = [Some(&request.group_id), Some(&request.member_id), request.subscribed_topic_regex.as_ref()];
    if texts.into_iter().flatten().any(|text| text.len() > STRING_BYTES_MAX) {
        return invalid("GroupId, MemberId and SubscribedTopicRegex can't be longer than 32767 bytes.");
    }
    if empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    if epoch == 0 {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
    } else if epoch == LEAVING_FOR_NOW {
        if request.member_id.is_empty() {
            return invalid("MemberId can't be empty.");
        }
        if request.instance_id.is_none() {
            return invalid("InstanceId can't be null.");
        }
    } else if epoch < LEAVING_FOR_NOW {
        return invalid("MemberEpoch is invalid.");
    }
    if let Some(assignor) = &request.server_assignor
        && !config.consumer.assignors.iter().any(|known| **known == **assignor)
    {
        let message = format!(
            "ServerAssignor {assignor} is not supported. Supported assignors: {}.",
            config.consumer.assignors.join(", ")
        );
        return Err(Refusal::new(ErrorCode::UnsupportedAssignor, message));
    }
    Ok(())
}

/// Who sends a heartbeat.
pub(super) enum Sender {
    Known,
    New,
    /// It takes over from the member that had its instance id.
    Replaces(Box<str>),
}

impl ConsumerGroup {
    /// Answers at once.
    pub fn heartbeat(
        &mut self,
        ticket: Ticket,
        request: &ConsumerGroupHeartbeatRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) {
        let answer = check_heartbeat(request, caller.api_version, ctx.config)
            .and_then(|()| match request.member_epoch {
                LEAVING | LEAVING_FOR_NOW => self.leave_by_heartbeat(request, ctx),
                _ => self.stay(request, caller, ctx),
            })
            .unwrap_or_else(Refusal::into_heartbeat);
        ctx.answer(ticket, GroupAnswer::ConsumerHeartbeat(answer));
    }

    fn stay(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        self.refuse_if_full(&request.member_id, ctx)?;
        let id: Box<str> = match request.member_id.as_str() {
            "" => (ctx.new_uuid)().to_string().into(),
            id => id.into(),
        };
        let reported = request.topic_partitions.as_deref();
        let sender = self.sender(&id, request)?;
        self.check_new_regex(&id, &sender, request)?;

        // Nothing is refused from here on: the group changes.
        let is_new = matches!(sender, Sender::New);
        match sender {
            Sender::Known => {}
            Sender::New => self.insert_member(&id, Member::unknown()),
            Sender::Replaces(old) => self.replace_member(&old, &id, ctx),
        }
        let before = self.members.get(&id).map(|member| member.owned.clone()).unwrap_or_default();

        let change =
            self.update_subscription(&id, is_new, |subscription| subscription.updated_by(request, caller), ctx);
        self.advance(&id, change, reported, ctx);

        let session = ctx.now_ms + self.session_timeout_ms(ctx);
        let interval = self.heartbeat_interval_ms(ctx);
        let Some(member) = self.members.get_mut(&id) else {
            return Err(Refusal::new(ErrorCode::UnknownMemberId, format!("Member {id} is gone.")));
        };
        member.timers.session = session;
        let full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && reported.is_some();
        let assignment = (request.member_epoch == 0 || full || before.assigned != member.owned.assigned)
            .then(|| HeartbeatAssignment { topic_partitions: owned_to_answer(&member.owned.assigned) });
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(Str::from(&*id)),
            member_epoch: member.owned.epoch,
            heartbeat_interval_ms: interval,
            assignment,
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }

    pub(super) fn refuse_if_full(&self, member_id: &str, ctx: &GroupContext<'_>) -> Result<(), Refusal> {
        let max = ctx.config.consumer.max_size;
        if self.members.len() >= max && !self.members.contains_key(member_id) {
            let message = format!("The consumer group has reached its maximum capacity of {max} members.");
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message));
        }
        Ok(())
    }

    fn sender(&self, id: &str, request: &ConsumerGroupHeartbeatRequest) -> Result<Sender, Refusal> {
        let joins = request.member_epoch == 0;
        let known = self.members.get(id);
        let Some(instance_id) = request.instance_id.as_deref() else {
            return match known {
                Some(member) => member.owned.check_epoch(request).map(|()| Sender::Known),
                None if joins => Ok(Sender::New),
                None => Err(self.unknown_member(id)),
            };
        };
        let of_instance = self.static_members.get(instance_id).and_then(|id| Some((id, self.members.get(id)?)));
        if !joins {
            let Some((owner, member)) = of_instance else { return Err(unknown_instance(instance_id)) };
            if **owner != *id {
                return Err(fenced_instance(id, instance_id, owner));
            }
            return member.owned.check_epoch(request).map(|()| Sender::Known);
        }
        match of_instance {
            Some((owner, member)) if !member.uses_classic() && member.owned.epoch != LEAVING_FOR_NOW => {
                let message = format!(
                    "Static member {id} with instance id {instance_id} cannot join the group because the instance id is \
                     owned by {owner} member."
                );
                Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message))
            }
            Some((owner, _)) => Ok(Sender::Replaces(owner.clone())),
            None if known.is_some() => Ok(Sender::Known),
            None => Ok(Sender::New),
        }
    }

    pub(super) fn unknown_member(&self, id: &str) -> Refusal {
        Refusal::new(ErrorCode::UnknownMemberId, format!("Member {id} is not a member of group {}.", self.group_id))
    }

    /// An expression that no member has subscribed to yet must be one.
    fn check_new_regex(
        &self,
        id: &str,
        sender: &Sender,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(), Refusal> {
        let Some(regex) = request.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty()) else {
            return Ok(());
        };
        let of = if let Sender::Replaces(old) = sender { old } else { id };
        let old = self.members.get(of).and_then(|member| member.subscription.regex());
        if old == Some(regex) || self.regex_subscribers(regex) > 0 { Ok(()) } else { regexes::check(regex) }
    }

    /// A static member comes back under another id: it is what the old one was, at epoch 0.
    pub(super) fn replace_member(&mut self, old: &str, new: &str, ctx: &mut GroupContext<'_>) {
        self.append_member_tombstones(old, ctx);
        let target = self.targets.remove(old).unwrap_or_default();
        let Some(mut member) = self.take_member(old) else { return };
        member.owned.epoch = 0;
        member.owned.previous_epoch = 0;
        member.timers = Timers::new(member.timers.session);
        self.insert_member(new, member);
        self.targets.insert(new.into(), target);
        self.append_member(new, ctx);
        self.append_target(new, ctx);
        self.append_owned(new, ctx);
    }

    /// Takes over what a member says of itself.
    pub(super) fn update_subscription(
        &mut self,
        id: &str,
        is_new: bool,
        updated: impl FnOnce(&Subscription) -> Option<Subscription>,
        ctx: &mut GroupContext<'_>,
    ) -> SubscriptionChange {
        let mut change = SubscriptionChange::default();
        let Some(member) = self.members.get_mut(id) else { return change };
        let Some(subscription) = updated(&member.subscription) else {
            if is_new {
                self.append_member(id, ctx);
            }
            return change;
        };
        change.topics = member.subscription.topics != subscription.topics;
        change.regex = member.subscription.regex != subscription.regex;
        let new_instance = subscription.instance_id.clone();
        let old = std::mem::replace(&mut member.subscription, subscription);
        if old.instance_id != new_instance
            && let Some(instance_id) = new_instance
        {
            self.static_members.insert(instance_id, id.into());
        }
        self.append_member(id, ctx);
        if change.regex
            && let Some(regex) = old.regex()
        {
            self.drop_regex(regex, ctx);
        }
        change
    }

    /// The three steps of every heartbeat: the group's epoch, the target assignment, the member's own assignment.
    pub(super) fn advance(
        &mut self,
        id: &str,
        change: SubscriptionChange,
        reported: Option<&[HeartbeatTopicPartitions]>,
        ctx: &mut GroupContext<'_>,
    ) {
        let matched = self.match_regexes(ctx);
        let bump = self.epoch == 0 || change.topics || change.regex || matched;
        if bump || self.metadata_is_old {
            self.update_epoch(bump, ctx);
        }
        self.update_target(ctx);
        self.reconcile(id, change.topics || change.regex, reported, ctx);
    }

    pub(super) fn append_member_tombstones(&self, id: &str, ctx: &mut GroupContext<'_>) {
        for kind in [super::CURRENT_MEMBER, super::TARGET_MEMBER, super::MEMBER] {
            let record = self.tombstone(kind, Some(id));
            ctx.effects.records.push(record);
        }
    }
}

pub(super) fn unknown_instance(instance_id: &str) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance_id} is unknown."))
}

pub(super) fn fenced_instance(id: &str, instance_id: &str, owner: &str) -> Refusal {
    let message = format!("Static member {id} with instance id {instance_id} was fenced by member {owner}.");
    Refusal::new(ErrorCode::FencedInstanceId, message)
}

/// What of a subscription is new.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct SubscriptionChange {
    pub topics: bool,
    pub regex: bool,
}

impl Subscription {
    /// The subscription with what the heartbeat says; `None` if it says nothing new.
    fn updated_by(&self, request: &ConsumerGroupHeartbeatRequest, caller: Caller<'_>) -> Option<Subscription> {
        let same_text = |new: &Option<Str>, old: &Option<Box<str>>| new.is_none() || new.as_deref() == old.as_deref();
        let names: Option<BTreeSet<Box<str>>> = request
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().map(|name| name.as_str().into()).collect());
        let same = same_text(&request.instance_id, &self.instance_id)
            && same_text(&request.rack_id, &self.rack_id)
            && same_text(&request.server_assignor, &self.server_assignor)
            && same_text(&request.subscribed_topic_regex, &self.regex)
            && (request.rebalance_timeout_ms == -1 || request.rebalance_timeout_ms == self.rebalance_timeout_ms)
            && names.as_ref().is_none_or(|names| *names == self.topics)
            && *caller.client_id == *self.client_id
            && *caller.client_host == *self.client_host
            && self.classic.is_none();
        if same {
            return None;
        }
        let text = |new: &Option<Str>, old: &Option<Box<str>>| {
            new.as_ref().map(|text| Box::from(text.as_str())).or_else(|| old.clone())
        };
        Some(Subscription {
            instance_id: text(&request.instance_id, &self.instance_id),
            rack_id: text(&request.rack_id, &self.rack_id),
            client_id: caller.client_id.into(),
            client_host: caller.client_host.into(),
            topics: names.unwrap_or_else(|| self.topics.clone()),
            regex: text(&request.subscribed_topic_regex, &self.regex),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => self.rebalance_timeout_ms,
                timeout => timeout,
            },
            server_assignor: text(&request.server_assignor, &self.server_assignor),
            classic: None,
        })
    }
}

impl Owned {
    /// Whether a member may send this epoch (`throwIfConsumerGroupMemberEpochIsInvalid`).
    fn check_epoch(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
        let (received, epoch) = (request.member_epoch, self.epoch);
        let reported = request.topic_partitions.as_deref();
        let fenced = |what: &str| {
            let message = format!(
                "The consumer group member has a {what} member epoch ({received}) than the one known by the group \
                 coordinator ({epoch}). The member must abandon all its partitions and rejoin."
            );
            Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
        };
        if self.state == MemberState::Unknown && reported.is_none_or(|reported| !reported.is_empty()) {
            let message = "The consumer group member is in a unknown state. The member must abandon all its partitions \
                           and rejoin.";
            return Err(Refusal::new(ErrorCode::FencedMemberEpoch, message));
        }
        if received == 0 || received == epoch {
            return Ok(());
        }
        if received > epoch {
            return fenced("greater");
        }
        // The answer with the new epoch may have been lost; then it owns nothing that it was not given.
        if received == self.previous_epoch && reported.is_some_and(|reported| is_subset(reported, &self.assigned)) {
            return Ok(());
        }
        fenced("smaller")
    }
}

fn is_subset(reported: &[HeartbeatTopicPartitions], assigned: &OwnedPartitions) -> bool {
    reported.iter().all(|topic| {
        assigned
            .get(&topic.topic_id)
            .is_some_and(|assigned| topic.partitions.iter().all(|partition| assigned.contains_key(partition)))
    })
}
