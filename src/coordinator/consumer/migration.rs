//! Groups that change over between the classic and the new protocol while their consumers run (KIP-848).
//!
//! A classic group becomes a consumer group when the first member of the new protocol joins: its members stay, as members
//! that speak the classic protocol, with the assignment they have, and learn by their next heartbeat that they are to join
//! again. It becomes a classic group again when only such members are left.

use super::embedded::{read_assignment, read_subscription, target_lists, write_assignment};
use super::member::{ClassicMember, Member, MemberState, Owned, Subscription, Timers};
use super::{ConsumerGroup, Refusal, regexes};
use crate::coordinator::{ClassicGroup, ClassicMember as JoinedMember, GroupContext};
use crate::error_code::ErrorCode;
use crate::protocol::{CONSUMER_PROTOCOL_TYPE, ConsumerGroupHeartbeatRequest, Str};

impl ConsumerGroup {
    /// What becomes of a classic group when a member of the new protocol joins it. Its records go, those of the new group
    /// come, and its members that wait are told that there is a rebalance. The heartbeat of the new member, which
    /// `check_heartbeat` found well formed, is to be handed to the group next.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND, as Kafka has it, if the group cannot change over, and what the heartbeat would be refused for; then
    /// nothing has changed.
    pub fn upgrade(
        classic: &mut ClassicGroup,
        heartbeat: &ConsumerGroupHeartbeatRequest,
        ctx: &mut GroupContext<'_>,
    ) -> Result<ConsumerGroup, Refusal> {
        let mut group = ConsumerGroup::new(classic.group_id());
        if let Some(regex) = heartbeat.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty()) {
            regexes::check(regex)?;
        }
        if classic.is_empty() {
            classic.append_tombstone(ctx);
            return Ok(group);
        }
        let refuse = |why: &str| {
            let message =
                format!("Cannot upgrade classic group {} to consumer group because {why}.", classic.group_id());
            Err(Refusal::new(ErrorCode::GroupIdNotFound, message))
        };
        if !ctx.config.consumer.migration_policy.upgrades() {
            return refuse("online upgrade is disabled");
        }
        if !classic.uses_consumer_protocol() {
            return refuse("the group does not use the consumer embedded protocol");
        }
        if classic.member_count() > ctx.config.consumer.max_size {
            return refuse("the group size exceeds the consumer group maximum size");
        }
        let Some(members) = members_of(classic, ctx) else {
            return refuse("the embedded consumer protocol is malformed");
        };

        group.epoch = classic.generation_id();
        group.assignment_epoch = group.epoch;
        for (id, member) in members {
            let target = member.owned.assigned.iter().map(|(topic, of)| (*topic, of.keys().copied().collect()));
            group.targets.insert(id.clone(), target.collect());
            group.insert_member(&id, member);
        }
        group.refuse_if_full(&heartbeat.member_id, ctx)?;

        classic.answer_waiting(ErrorCode::RebalanceInProgress, ctx);
        classic.append_tombstone(ctx);
        let ids: Vec<Box<str>> = group.members.keys().cloned().collect();
        for id in &ids {
            group.append_member(id, ctx);
        }
        group.append_epoch(ctx);
        for id in &ids {
            group.append_target(id, ctx);
        }
        group.append_target_epoch(ctx);
        for id in &ids {
            group.append_owned(id, ctx);
        }
        Ok(group)
    }

    /// The classic group that this one has become, if it has: it takes this one's place. Ask after every call.
    pub fn take_downgraded(&mut self) -> Option<ClassicGroup> {
        self.downgraded.take()
    }

    /// Becomes a classic group if none but members of the classic protocol are left; `settled` says that nobody needs to join
    /// again for that.
    pub(super) fn downgrade_if_all_classic(&mut self, settled: bool, ctx: &mut GroupContext<'_>) -> bool {
        if self.members.is_empty()
            || !self.members.values().all(Member::uses_classic)
            || !ctx.config.consumer.migration_policy.downgrades()
            || self.members.len() > ctx.config.max_size
        {
            return false;
        }
        let members = self.members.iter().map(|(id, member)| classic_member(id, member)).collect();
        let Some(mut group) = ClassicGroup::converted(&self.group_id, self.epoch, CONSUMER_PROTOCOL_TYPE, members, ctx)
        else {
            return false;
        };
        let protocol = group.protocol_name().unwrap_or_default().to_owned();
        group.assign_with(|member| match self.targets.get(member.member_id.as_str()) {
            Some(target) => write_assignment(target_lists(target), &member.metadata(&protocol), ctx.world),
            None => write_assignment(std::iter::empty(), &member.metadata(&protocol), ctx.world),
        });
        let mut tombstones = Vec::new();
        self.tombstones(&mut tombstones);
        ctx.effects.records.append(&mut tombstones);
        group.append_record(ctx);
        if !settled {
            group.force_rebalance(ctx);
        }
        self.downgraded = Some(group);
        true
    }
}

fn members_of(classic: &ClassicGroup, ctx: &GroupContext<'_>) -> Option<Vec<(Box<str>, Member)>> {
    let protocol = classic.protocol_name().unwrap_or_default();
    let generation = classic.generation_id();
    let member_of = |member: &JoinedMember| {
        // Of one that has joined and not yet been told its generation no protocol is chosen.
        let metadata = match member.protocols.iter().find(|(name, _)| name == protocol) {
            Some((_, metadata)) => metadata,
            None => &member.protocols.first()?.1,
        };
        let embedded = read_subscription(metadata, ctx.world)?;
        let assigned = read_assignment(&member.assignment, ctx.world)?.into_iter().map(|(topic, partitions)| {
            (topic, partitions.into_iter().map(|partition| (partition, generation)).collect())
        });
        Some(Member {
            subscription: Subscription {
                instance_id: member.group_instance_id.as_deref().map(Box::from),
                rack_id: embedded.rack_id,
                client_id: member.client_id.as_str().into(),
                client_host: member.client_host.as_str().into(),
                topics: embedded.topics,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                classic: Some(ClassicMember {
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: member
                        .protocols
                        .iter()
                        .map(|(name, metadata)| (name.as_str().into(), metadata.clone()))
                        .collect(),
                }),
                ..Subscription::default()
            },
            owned: Owned {
                epoch: generation,
                previous_epoch: generation,
                state: MemberState::Stable,
                assigned: assigned.collect(),
                ..Owned::default()
            },
            timers: Timers::new(ctx.now_ms + i64::from(member.session_timeout_ms)),
        })
    };
    classic.members().map(|member| Some((member.member_id.as_str().into(), member_of(member)?))).collect()
}

fn classic_member(id: &str, member: &Member) -> JoinedMember {
    let of = &member.subscription;
    let mut converted = JoinedMember::new(id, of.instance_id.as_deref(), &of.client_id, &of.client_host);
    converted.rebalance_timeout_ms = of.rebalance_timeout_ms;
    if let Some(classic) = &of.classic {
        converted.session_timeout_ms = classic.session_timeout_ms;
        converted.protocols =
            classic.protocols.iter().map(|(name, metadata)| (Str::from(&**name), metadata.clone())).collect();
    }
    converted
}
