//! Groups of the classic protocol (Kafka's `ClassicGroup` and what `GroupMetadataManager` does with it): members join,
//! wait for one another, and a leader among them assigns.
//!
//! ```text
//!            join                 delay or timeout over,         the leader's sync
//!  Empty ------------> Preparing  or all have joined   Completing ---------------> Stable
//!    ^                 Rebalance ---------------------> Rebalance                    |
//!    |                   |  ^  ^                           |                         |
//!    +-------------------+  |  +---------------------------+                         |
//!       no members left     +--------------------------------------------------------+
//!                               a member joins, leaves, is lost, or wants to rejoin
//! ```
//!
//! - `member`: the members, and what is kept about all of them together.
//! - `join`: JoinGroup. `rebalance`: from the first to join until all are told their generation, and lost members.
//! - `sync`: SyncGroup and heartbeats. `leave`: LeaveGroup.
//! - `offsets`: what a group allows to happen to its offsets.
//! - `record`, `replay`: what a group is on disk. `describe`: what administrators see.
//! - `answers`: what is refused before a group is looked at.
//!
//! Kafka's state Dead is that of a group that is being thrown away; there is none here, it just goes.

mod answers;
mod describe;
mod join;
mod leave;
mod member;
mod offsets;
mod rebalance;
mod record;
mod replay;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::GroupContext;
use crate::error_code::ErrorCode;
use crate::protocol::{CONSUMER_PROTOCOL_TYPE, Str};

pub use answers::{
    check_group_id, check_join, check_sync, heartbeat_answer, leave_answer, leave_unknown_group, leaving, refuse_join,
    refuse_sync,
};
pub use member::ClassicMember;
pub use offsets::OffsetExpiry;

use member::Members;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicState {
    /// No members; there may be offsets.
    Empty,
    /// Waits for members to join.
    PreparingRebalance,
    /// All know their generation; waits for the leader's assignment.
    CompletingRebalance,
    Stable,
}

impl ClassicState {
    /// As Kafka names it in answers.
    pub fn name(self) -> &'static str {
        match self {
            ClassicState::Empty => "Empty",
            ClassicState::PreparingRebalance => "PreparingRebalance",
            ClassicState::CompletingRebalance => "CompletingRebalance",
            ClassicState::Stable => "Stable",
        }
    }
}

/// A group of the classic protocol.
#[derive(Debug)]
pub struct ClassicGroup {
    group_id: Str,
    state: ClassicState,
    /// Since when, in milliseconds since 1970; `None` if an old record did not say.
    state_since_ms: Option<i64>,
    generation_id: i32,
    /// What the members are to one another, such as `consumer` or `connect`.
    protocol_type: Option<Str>,
    /// The protocol chosen for this generation.
    protocol_name: Option<Str>,
    leader_id: Option<Str>,
    members: Members,
    /// Those who were given a member id and are to come back with it (KIP-394), with the time until when.
    pending_members: BTreeMap<Str, i64>,
    /// Members of this generation that have not sent their SyncGroup yet.
    pending_sync: BTreeSet<Str>,
    /// `None` if not known: not the consumer protocol, or not understood.
    subscribed_topics: Option<BTreeSet<Box<str>>>,
    /// The rebalance being prepared is the first since the group was empty.
    initial_rebalance: bool,
    /// Somebody joined since the initial rebalance was last put off.
    new_member_added: bool,
    join_timer: Option<JoinTimer>,
    /// When those who have not sent their SyncGroup are thrown out.
    sync_deadline: Option<i64>,
    /// No record tells of it yet.
    unwritten: bool,
}

/// When a rebalance stops waiting for members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct JoinTimer {
    at: i64,
    /// Of an initial rebalance: it is put off while new members come.
    initial: Option<InitialDelay>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InitialDelay {
    /// How long this wait is.
    delay_ms: i64,
    /// How much longer it may still be put off.
    remaining_ms: i64,
}

impl ClassicGroup {
    /// A group that has no members and no record yet: the first request writes one.
    pub fn new(group_id: &str) -> ClassicGroup {
        ClassicGroup {
            group_id: group_id.into(),
            state: ClassicState::Empty,
            state_since_ms: None,
            generation_id: 0,
            protocol_type: None,
            protocol_name: None,
            leader_id: None,
            members: Members::default(),
            pending_members: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            subscribed_topics: None,
            initial_rebalance: false,
            new_member_added: false,
            join_timer: None,
            sync_deadline: None,
            unwritten: true,
        }
    }

    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    pub fn state(&self) -> ClassicState {
        self.state
    }

    /// In state Empty; somebody may be on the way to join.
    pub fn is_empty(&self) -> bool {
        self.state == ClassicState::Empty
    }

    /// Knows no protocol, no members and nobody about to become one: a group that only offsets make.
    pub fn is_simple(&self) -> bool {
        self.protocol_type.is_none() && self.is_empty() && self.pending_members.is_empty()
    }

    pub fn generation_id(&self) -> i32 {
        self.generation_id
    }

    /// Empty if there never was a member.
    pub fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    pub fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    /// Its members are consumers, whose metadata and assignments are known to the broker.
    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type() == CONSUMER_PROTOCOL_TYPE
    }

    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    pub fn members(&self) -> impl Iterator<Item = &ClassicMember> {
        self.members.iter()
    }

    pub fn contains_member(&self, member_id: &str) -> bool {
        self.members.contains(member_id)
    }

    /// The member id of a static member.
    pub fn static_member_id(&self, group_instance_id: &str) -> Option<&str> {
        self.members.static_id(group_instance_id).map(Str::as_str)
    }

    /// The time when [`ClassicGroup::on_time`] has something to do, in milliseconds of `GroupContext::now_ms`.
    pub fn next_deadline(&self) -> Option<i64> {
        let sessions = self.members.iter().filter_map(|member| member.session_deadline);
        let pending = self.pending_members.values().copied();
        let group = [self.join_timer.map(|timer| timer.at), self.sync_deadline];
        sessions.chain(pending).chain(group.into_iter().flatten()).min()
    }

    /// Answers all who wait with an error: the group goes, or becomes another kind of group.
    pub fn answer_waiting(&mut self, error: ErrorCode, ctx: &mut GroupContext<'_>) {
        let ids: Vec<Str> = self.members.iter().map(|member| member.member_id.clone()).collect();
        for id in &ids {
            if let Some(joining) = self.members.take_joining(id) {
                ctx.answer(joining.ticket, answers::refuse_join(error, id.clone()));
            }
            if let Some(ticket) = self.members.get_mut(id).and_then(|member| member.syncing.take()) {
                ctx.answer(ticket, refuse_sync(error));
            }
        }
    }

    /// That the member exists and, if it is static, is the one now known by that name.
    fn validate_member(&self, member_id: &str, group_instance_id: Option<&Str>) -> Result<(), ErrorCode> {
        if let Some(instance) = group_instance_id {
            match self.members.static_id(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if known != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader_id.as_ref().is_some_and(|leader| leader == member_id)
    }

    fn enter(&mut self, state: ClassicState, ctx: &GroupContext<'_>) {
        self.state = state;
        self.state_since_ms = Some(ctx.wall_ms);
    }

    /// Moves the end of a member's session to a whole session timeout from now.
    fn extend_session(&mut self, member_id: &str, now_ms: i64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_deadline = Some(now_ms.saturating_add(i64::from(member.session_timeout_ms)));
        }
    }
}
