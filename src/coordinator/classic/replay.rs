//! What a classic group is on disk: one record, written with each assignment and when the last member is gone.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::coordinator::{GroupContext, RecordProblem};
use crate::protocol::{ConsumerProtocolSubscription, Str};

use super::record::{GroupMetadata, MemberMetadata, encode_key};
use super::{ClassicGroup, ClassicMember, ClassicState};

impl ClassicGroup {
    /// Takes over what the value of a GroupMetadata record says, whatever was before.
    ///
    /// # Errors
    /// The value cannot be read; the group is as it was.
    pub fn replay(&mut self, value: &[u8]) -> Result<(), RecordProblem> {
        let read = GroupMetadata::decode(value)?;
        let group_id = std::mem::take(&mut self.group_id);
        *self = ClassicGroup::new(&group_id);
        self.unwritten = false;
        self.generation_id = read.generation;
        self.protocol_name = read.protocol.map(Str::from);
        self.leader_id = read.leader.map(Str::from);
        self.state_since_ms = Some(read.state_timestamp).filter(|at| *at != -1);
        let protocol_type = Some(read.protocol_type).filter(|it| !it.is_empty()).map(Str::from);
        for recorded in &read.members {
            let mut member = ClassicMember::new(
                recorded.member_id,
                recorded.group_instance_id,
                recorded.client_id,
                recorded.client_host,
            );
            member.session_timeout_ms = recorded.session_timeout_ms;
            member.rebalance_timeout_ms = match recorded.rebalance_timeout_ms {
                -1 => recorded.session_timeout_ms,
                timeout_ms => timeout_ms,
            };
            let protocol = self.protocol_name.clone().unwrap_or_default();
            member.protocols = vec![(protocol, Bytes::copy_from_slice(recorded.subscription))];
            member.assignment = Bytes::copy_from_slice(recorded.assignment);
            if !self.members.contains(&member.member_id) {
                self.insert_member(member, &protocol_type.clone().unwrap_or_default());
            }
        }
        self.protocol_type = protocol_type;
        if !self.members.is_empty() {
            self.state = ClassicState::Stable;
        }
        self.subscribed_topics = self.read_subscribed_topics();
        Ok(())
    }

    /// The partition is loaded: members get a whole session from now. A group that is larger than it may be rebalances,
    /// so that its last members to rejoin are turned away.
    pub fn loaded(&mut self, ctx: &mut GroupContext<'_>) {
        for member in self.members.iter_mut() {
            member.session_deadline = Some(ctx.now_ms.saturating_add(i64::from(member.session_timeout_ms)));
        }
        if self.members.len() > ctx.config.max_size {
            self.prepare_rebalance(ctx);
        }
    }

    /// A group as another protocol leaves it: stable, in the generation given, its members' assignments their own. The
    /// caller appends its record. `None` if there is no protocol that all members offer.
    pub fn converted(
        group_id: &str,
        generation_id: i32,
        protocol_type: &str,
        members: Vec<ClassicMember>,
        ctx: &GroupContext<'_>,
    ) -> Option<ClassicGroup> {
        let mut group = ClassicGroup::new(group_id);
        group.generation_id = generation_id;
        for mut member in members {
            member.session_deadline = Some(ctx.now_ms.saturating_add(i64::from(member.session_timeout_ms)));
            group.insert_member(member, &protocol_type.into());
        }
        group.protocol_name = Some(group.members.most_wanted()?);
        group.subscribed_topics = group.read_subscribed_topics();
        group.enter(ClassicState::Stable, ctx);
        Some(group)
    }

    /// Gives each member what `assignment` says for it.
    pub fn assign_with(&mut self, mut assignment: impl FnMut(&ClassicMember) -> Bytes) {
        for member in self.members.iter_mut() {
            member.assignment = assignment(member);
        }
    }

    /// Asks all members to join anew.
    pub fn force_rebalance(&mut self, ctx: &mut GroupContext<'_>) {
        if matches!(self.state, ClassicState::Stable | ClassicState::CompletingRebalance) {
            self.prepare_rebalance(ctx);
        }
    }

    /// Writes the group down as it is. Before its first generation, and without members, that is only that it exists.
    pub fn append_record(&mut self, ctx: &mut GroupContext<'_>) {
        let state_timestamp = *self.state_since_ms.get_or_insert(ctx.wall_ms);
        let protocol = self.protocol_name.clone();
        let metadata: Vec<Bytes> =
            self.members.iter().map(|member| member.metadata(protocol.as_deref().unwrap_or_default())).collect();
        let exists_only = self.unwritten && protocol.is_none();
        let members = self.members.iter().zip(&metadata).map(|(member, metadata)| MemberMetadata {
            member_id: &member.member_id,
            group_instance_id: member.group_instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: metadata,
            assignment: &member.assignment,
        });
        let value = if exists_only {
            GroupMetadata {
                protocol_type: "",
                generation: 0,
                protocol: None,
                leader: None,
                state_timestamp,
                members: Vec::new(),
            }
        } else {
            GroupMetadata {
                protocol_type: self.protocol_type(),
                generation: self.generation_id,
                protocol: protocol.as_deref(),
                leader: self.leader_id.as_deref(),
                state_timestamp,
                members: members.collect(),
            }
        };
        ctx.append(encode_key(&self.group_id), Some(value.encode()));
        self.unwritten = false;
    }

    /// Writes down that the group is gone.
    pub fn append_tombstone(&self, ctx: &mut GroupContext<'_>) {
        ctx.append(encode_key(&self.group_id), None);
    }

    /// The topics that the members read, if they are consumers and what they say can be read.
    pub(super) fn read_subscribed_topics(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol_name.as_ref()?;
        for member in self.members.iter() {
            let subscription = ConsumerProtocolSubscription::read(&member.metadata(protocol)).ok()?;
            topics.extend(subscription.topics.iter().map(|topic| Box::from(topic.as_str())));
        }
        Some(topics)
    }
}
