//! How members go: by a heartbeat of epoch -1 or -2, or because they were not heard of (`consumerGroupLeave`,
//! `consumerGroupFenceMembers`).

use super::heartbeat::{fenced_instance, unknown_instance};
use super::member::{LEAVING_FOR_NOW, OwnedPartitions};
use super::{ConsumerGroup, Refusal};
use crate::coordinator::GroupContext;
use crate::protocol::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

impl ConsumerGroup {
    pub(super) fn leave_by_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        ctx: &mut GroupContext<'_>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = request.member_id.as_str();
        if let Some(instance_id) = request.instance_id.as_deref() {
            let owner = self.static_members.get(instance_id).ok_or_else(|| unknown_instance(instance_id))?;
            if **owner != *id {
                return Err(fenced_instance(id, instance_id, owner));
            }
        } else if !self.members.contains_key(id) {
            return Err(self.unknown_member(id));
        }
        if request.member_epoch == LEAVING_FOR_NOW {
            self.leave_for_now(id, ctx);
        } else {
            self.remove_members(&[id.into()], ctx);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }

    /// A static member keeps its partitions until its session ends, for whoever comes with its instance id.
    fn leave_for_now(&mut self, id: &str, ctx: &mut GroupContext<'_>) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.timers.rebalance = None;
        let mut owned = member.owned.clone();
        owned.epoch = LEAVING_FOR_NOW;
        owned.revoking = OwnedPartitions::new();
        // Commits of its older epochs are none of its successor's.
        owned.assigned.values_mut().flat_map(|partitions| partitions.values_mut()).for_each(|epoch| *epoch = 0);
        self.set_owned(id, owned);
        self.append_owned(id, ctx);
    }

    /// Members are gone, and the group goes to a new epoch, or becomes a classic one.
    pub(super) fn remove_members(&mut self, ids: &[Box<str>], ctx: &mut GroupContext<'_>) {
        let mut regexes = Vec::new();
        let mut consumer_went = false;
        for id in ids {
            self.append_member_tombstones(id, ctx);
            self.targets.remove(id);
            if let Some(member) = self.take_member(id) {
                consumer_went |= !member.uses_classic();
                regexes.extend(member.subscription.regex().map(Box::<str>::from));
            }
        }
        for regex in regexes {
            self.drop_regex(&regex, ctx);
        }
        self.update_epoch(true, ctx);
        if consumer_went {
            self.downgrade_if_all_classic(false, ctx);
        }
    }
}
