//! How a member comes from what it owns to what it is to own (`CurrentAssignmentBuilder`).

use std::collections::BTreeSet;

use super::ConsumerGroup;
use super::member::{MemberState, Owned, OwnedPartitions, Partitions};
use crate::coordinator::GroupContext;
use crate::protocol::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::types::TopicId;

/// Where a member is to go.
pub(super) struct Goal<'a> {
    /// Of the target assignment.
    pub epoch: i32,
    pub target: &'a Partitions,
    /// The topics the member is subscribed to and that exist: of others it keeps nothing.
    pub subscribed: &'a BTreeSet<TopicId>,
    pub subscription_changed: bool,
    /// What the member says it owns, if it says so.
    pub reported: Option<&'a [HeartbeatTopicPartitions]>,
}

impl ConsumerGroup {
    /// Takes a member as far as it can go now. Appends a record if that is anywhere.
    pub(super) fn reconcile(
        &mut self,
        id: &str,
        subscription_changed: bool,
        reported: Option<&[HeartbeatTopicPartitions]>,
        ctx: &mut GroupContext<'_>,
    ) {
        let Some(member) = self.members.get(id) else { return };
        if !subscription_changed && member.owned.is_reconciled_to(self.assignment_epoch) {
            return;
        }
        let none = Partitions::new();
        let subscribed = self.subscribed_ids(member, ctx);
        let goal = Goal {
            epoch: self.assignment_epoch,
            target: self.targets.get(id).unwrap_or(&none),
            subscribed: &subscribed,
            subscription_changed,
            reported,
        };
        let next = member.owned.next(&goal, |topic, partition| self.held.contains_key(&(topic, partition)));
        let Some(next) = next.filter(|next| *next != member.owned) else { return };
        let uses_classic = member.uses_classic();
        let rebalance_by = ctx.now_ms + i64::from(member.subscription.rebalance_timeout_ms);
        let (state, epoch) = (next.state, next.epoch);
        self.set_owned(id, next);
        self.append_owned(id, ctx);
        if let Some(member) = self.members.get_mut(id)
            && !uses_classic
        {
            member.timers.rebalance = (state == MemberState::Unrevoked).then_some((rebalance_by, epoch));
        }
    }
}

impl Owned {
    /// The next state; `None` if it stays as it is. `held` says whether any member may consume from a partition.
    pub(super) fn next(&self, goal: &Goal<'_>, held: impl Fn(TopicId, i32) -> bool) -> Option<Owned> {
        match self.state {
            MemberState::Stable if self.epoch != goal.epoch => Some(self.toward(self.epoch, goal, held)),
            MemberState::Stable => goal.subscription_changed.then(|| self.without_unsubscribed(goal)).flatten(),
            MemberState::Unrevoked if still_owns(goal.reported, &self.revoking) => {
                goal.subscription_changed.then(|| self.without_unsubscribed(goal)).flatten()
            }
            MemberState::Unrevoked | MemberState::Unreleased => Some(self.toward(self.epoch, goal, held)),
            MemberState::Unknown => Some(self.toward(goal.epoch, goal, held)),
        }
    }

    /// Gives up at once what is no longer subscribed to; the rest of the way comes with the next epoch.
    fn without_unsubscribed(&self, goal: &Goal<'_>) -> Option<Owned> {
        let mut next = self.clone();
        next.assigned.retain(|topic, partitions| {
            let subscribed = goal.subscribed.contains(topic);
            if !subscribed {
                next.revoking.entry(*topic).or_default().append(&mut partitions.clone());
            }
            subscribed
        });
        if next.assigned.len() == self.assigned.len() {
            return None;
        }
        next.previous_epoch = self.epoch;
        if still_owns(goal.reported, &next.revoking) {
            next.state = MemberState::Unrevoked;
        } else {
            next.revoking.clone_from(&self.revoking);
        }
        Some(next)
    }

    fn toward(&self, epoch: i32, goal: &Goal<'_>, held: impl Fn(TopicId, i32) -> bool) -> Owned {
        let none = BTreeSet::new();
        let mut unreleased = false;
        let mut assigned = OwnedPartitions::new();
        let mut revoking = OwnedPartitions::new();
        let mut coming = Partitions::new();
        let topics: BTreeSet<TopicId> = goal.target.keys().chain(self.assigned.keys()).copied().collect();
        for topic in topics {
            let target = goal.target.get(&topic).filter(|_| goal.subscribed.contains(&topic)).unwrap_or(&none);
            let mine = self.assigned.get(&topic);
            for (partition, since) in mine.into_iter().flatten() {
                let to = if target.contains(partition) { &mut assigned } else { &mut revoking };
                to.entry(topic).or_default().insert(*partition, *since);
            }
            for partition in target {
                if mine.is_some_and(|mine| mine.contains_key(partition)) {
                    continue;
                }
                // What the member itself has not given up yet stands in nobody's way.
                let own = self.revoking.get(&topic).is_some_and(|revoking| revoking.contains_key(partition));
                if held(topic, *partition) && !own {
                    unreleased = true;
                } else {
                    coming.entry(topic).or_default().insert(*partition);
                }
            }
        }
        if !revoking.is_empty() && still_owns(goal.reported, &revoking) {
            return Owned { epoch, previous_epoch: self.epoch, state: MemberState::Unrevoked, assigned, revoking };
        }
        for (topic, partitions) in coming {
            assigned.entry(topic).or_default().extend(partitions.into_iter().map(|partition| (partition, goal.epoch)));
        }
        Owned {
            epoch: goal.epoch,
            previous_epoch: self.epoch,
            state: if unreleased { MemberState::Unreleased } else { MemberState::Stable },
            assigned,
            revoking: OwnedPartitions::new(),
        }
    }
}

/// Whether a member still owns any of these, for all we know: one that does not say may own them all.
fn still_owns(reported: Option<&[HeartbeatTopicPartitions]>, partitions: &OwnedPartitions) -> bool {
    let Some(reported) = reported else { return true };
    reported.iter().any(|topic| {
        partitions
            .get(&topic.topic_id)
            .is_some_and(|partitions| topic.partitions.iter().any(|partition| partitions.contains_key(partition)))
    })
}
