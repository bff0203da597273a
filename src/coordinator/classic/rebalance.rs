//! Rebalances: from the first member that joins, leaves or is lost until all are told their generation.

use crate::coordinator::{GroupAnswer, GroupContext};
use crate::error_code::ErrorCode;
use crate::protocol::{Str, SyncGroupResponse};

use super::answers::{refuse_join, refuse_sync};
use super::{ClassicGroup, ClassicState, InitialDelay, JoinTimer};

/// The least time between two looks at a rebalance that nobody has joined: a rebalance timeout of 0 must not become a
/// loop without end.
const RETRY_MS_MIN: i64 = 1000;

impl ClassicGroup {
    /// Does what is due: ends the wait of rebalances, and removes members whose session is over.
    pub fn on_time(&mut self, ctx: &mut GroupContext<'_>) {
        if let Some(timer) = self.join_timer.filter(|timer| timer.at <= ctx.now_ms) {
            self.join_timer = None;
            self.on_join_timer(timer, ctx);
        }
        if self.sync_deadline.is_some_and(|at| at <= ctx.now_ms) {
            self.sync_deadline = None;
            self.remove_unsynced(ctx);
        }
        let overdue: Vec<Str> = self
            .pending_members
            .iter()
            .filter(|(_, until)| **until <= ctx.now_ms)
            .map(|(member_id, _)| member_id.clone())
            .collect();
        for member_id in overdue {
            self.remove_member(&member_id, ctx);
            self.complete_if_all_joined(ctx);
        }
        let overdue: Vec<Str> = self
            .members
            .iter()
            .filter(|member| member.session_deadline.is_some_and(|at| at <= ctx.now_ms))
            .map(|member| member.member_id.clone())
            .collect();
        for member_id in overdue {
            self.end_session(&member_id, ctx);
        }
    }

    fn on_join_timer(&mut self, timer: JoinTimer, ctx: &mut GroupContext<'_>) {
        match timer.initial {
            Some(InitialDelay { delay_ms, remaining_ms }) if self.new_member_added && remaining_ms > 0 => {
                self.new_member_added = false;
                let delay = ctx.config.initial_rebalance_delay_ms.min(remaining_ms);
                let initial = InitialDelay { delay_ms: delay, remaining_ms: (remaining_ms - delay_ms).max(0) };
                self.join_timer = Some(JoinTimer { at: ctx.now_ms.saturating_add(delay), initial: Some(initial) });
            }
            _ => self.complete_join(ctx),
        }
    }

    fn remove_unsynced(&mut self, ctx: &mut GroupContext<'_>) {
        if !matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable)
            || self.pending_sync.is_empty()
        {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            self.remove_member(&member_id, ctx);
        }
        self.prepare_rebalance(ctx);
    }

    fn end_session(&mut self, member_id: &Str, ctx: &mut GroupContext<'_>) {
        // An earlier one's end may have moved or removed this one.
        let Some(member) = self.members.get_mut(member_id) else { return };
        if member.session_deadline.is_none_or(|at| at > ctx.now_ms) {
            return;
        }
        if member.is_excused() {
            // It gets a new session with the answer it waits for.
            member.session_deadline = None;
            return;
        }
        self.remove_member(member_id, ctx);
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(ctx),
            ClassicState::PreparingRebalance => self.complete_if_all_joined(ctx),
            ClassicState::Empty => {}
        }
    }

    /// Removes a member, or somebody who was about to become one. If it waits, it is told that it is not known, so that
    /// it joins anew if it is still there.
    pub(super) fn remove_member(&mut self, member_id: &str, ctx: &mut GroupContext<'_>) {
        if let Some(joining) = self.members.take_joining(member_id) {
            ctx.answer(joining.ticket, refuse_join(ErrorCode::UnknownMemberId, Str::default()));
        }
        if let Some(ticket) = self.members.remove(member_id).and_then(|member| member.syncing) {
            ctx.answer(ticket, refuse_sync(ErrorCode::UnknownMemberId));
        }
        if self.is_leader(member_id) {
            self.leader_id = self.members.iter().next().map(|member| member.member_id.clone());
        }
        self.pending_members.remove(member_id);
        self.pending_sync.remove(member_id);
    }

    /// A member joined or left: begins a rebalance, or ends it if this was what it waited for.
    pub(super) fn rebalance(&mut self, ctx: &mut GroupContext<'_>) {
        if self.state == ClassicState::PreparingRebalance {
            // The first rebalance of a group waits for its time whoever is there.
            if !self.initial_rebalance {
                self.complete_if_all_joined(ctx);
            }
        } else {
            self.prepare_rebalance(ctx);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, ctx: &mut GroupContext<'_>) {
        if self.state == ClassicState::CompletingRebalance {
            for member in self.members.iter_mut() {
                member.assignment.clear();
            }
            self.answer_syncs(ErrorCode::RebalanceInProgress, ctx);
        }
        self.pending_sync.clear();
        self.sync_deadline = None;
        self.initial_rebalance = self.state == ClassicState::Empty;
        self.enter(ClassicState::PreparingRebalance, ctx);
        if self.initial_rebalance {
            let delay_ms = ctx.config.initial_rebalance_delay_ms;
            let remaining_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.new_member_added = false;
            self.join_timer = Some(JoinTimer {
                at: ctx.now_ms.saturating_add(delay_ms),
                initial: Some(InitialDelay { delay_ms, remaining_ms }),
            });
        } else if self.all_joined() {
            self.complete_join(ctx);
        } else {
            let at = ctx.now_ms.saturating_add(self.rebalance_timeout_ms());
            self.join_timer = Some(JoinTimer { at, initial: None });
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, ctx: &mut GroupContext<'_>) {
        if self.state == ClassicState::PreparingRebalance && self.all_joined() {
            self.complete_join(ctx);
        }
    }

    fn all_joined(&self) -> bool {
        self.members.joining() == self.members.len() && self.pending_members.is_empty()
    }

    /// The longest that a member asks for.
    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.iter().map(|member| i64::from(member.rebalance_timeout_ms)).max().unwrap_or(0).max(0)
    }

    /// The wait for members is over: those who are missing are out, unless they are static, and the rest is told.
    fn complete_join(&mut self, ctx: &mut GroupContext<'_>) {
        self.join_timer = None;
        let missing: Vec<Str> = self
            .members
            .iter()
            .filter(|member| member.joining.is_none() && !member.is_static())
            .map(|member| member.member_id.clone())
            .collect();
        for member_id in missing {
            self.remove_member(&member_id, ctx);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Only static members, none of them here: their sessions decide.
            let wait = self.rebalance_timeout_ms().max(RETRY_MS_MIN);
            self.join_timer = Some(JoinTimer { at: ctx.now_ms.saturating_add(wait), initial: None });
            return;
        }
        self.begin_generation(ctx);
        if self.is_empty() {
            self.append_record(ctx);
            return;
        }
        let ids: Vec<Str> = self.members.iter().map(|member| member.member_id.clone()).collect();
        for member_id in ids {
            if let Some(joining) = self.members.take_joining(&member_id) {
                let answer = self.joined(&member_id, true, false);
                ctx.answer(joining.ticket, answer);
            }
            self.extend_session(&member_id, ctx.now_ms);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
            }
            self.pending_sync.insert(member_id);
        }
        self.sync_deadline = Some(ctx.now_ms.saturating_add(self.rebalance_timeout_ms()));
    }

    /// Lets somebody who is there lead, the former leader if possible. `false` if nobody is there.
    fn elect_leader(&mut self) -> bool {
        let here = |id: &Str| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader_id.as_ref().is_some_and(here) {
            return true;
        }
        let next = self.members.iter().find(|member| member.joining.is_some());
        match next.map(|member| member.member_id.clone()) {
            Some(member_id) => {
                self.leader_id = Some(member_id);
                true
            }
            None => false,
        }
    }

    fn begin_generation(&mut self, ctx: &GroupContext<'_>) {
        self.generation_id = self.generation_id.checked_add(1).unwrap_or(0);
        self.protocol_name = self.members.most_wanted();
        self.subscribed_topics = self.read_subscribed_topics();
        let state = if self.members.is_empty() { ClassicState::Empty } else { ClassicState::CompletingRebalance };
        self.enter(state, ctx);
        self.pending_sync.clear();
    }

    /// Answers all who wait in SyncGroup: with their assignments, or with an error.
    pub(super) fn answer_syncs(&mut self, error: ErrorCode, ctx: &mut GroupContext<'_>) {
        let told = error == ErrorCode::None;
        for member in self.members.iter_mut() {
            let Some(ticket) = member.syncing.take() else { continue };
            let response = SyncGroupResponse {
                error_code: error as i16,
                protocol_type: self.protocol_type.clone().filter(|_| told),
                protocol_name: self.protocol_name.clone().filter(|_| told),
                assignment: member.assignment.clone(),
                ..SyncGroupResponse::default()
            };
            ctx.answer(ticket, GroupAnswer::Sync(response));
            // Its session may have ended while it waited and could not send heartbeats.
            member.session_deadline = Some(ctx.now_ms.saturating_add(i64::from(member.session_timeout_ms)));
        }
    }
}
