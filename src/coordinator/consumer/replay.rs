//! A group out of the records of the log.

use super::ConsumerGroup;
use super::member::{Member, Owned, Subscription, Timers, target_from_record};
use super::records::{
    CURRENT_MEMBER, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataValue, GROUP_EPOCH, MEMBER, PARTITION_METADATA, REGULAR_EXPRESSION, RecordKey,
    TARGET_EPOCH, TARGET_MEMBER, decode_value,
};
use super::regexes::ResolvedRegex;
use crate::coordinator::{GroupContext, RecordProblem};

impl ConsumerGroup {
    /// Takes over a record of the log; no value is a tombstone. Only while loading: `loaded` follows.
    pub fn replay(&mut self, key: RecordKey<'_>, value: Option<&[u8]>) -> Result<(), RecordProblem> {
        let part = key.part.unwrap_or_default();
        match key.kind {
            GROUP_EPOCH => {
                let group: ConsumerGroupMetadataValue = value.map(decode_value).transpose()?.unwrap_or_default();
                self.epoch = group.epoch;
                self.metadata_hash = group.metadata_hash;
            }
            PARTITION_METADATA => self.has_partition_metadata = value.is_some(),
            MEMBER => match value {
                Some(value) => {
                    let record: ConsumerGroupMemberMetadataValue = decode_value(value)?;
                    self.replayed_member(part).subscription = Subscription::from_record(record);
                }
                None => drop(self.members.remove(part)),
            },
            TARGET_EPOCH => {
                let target: ConsumerGroupTargetAssignmentMetadataValue =
                    value.map(decode_value).transpose()?.unwrap_or_default();
                self.assignment_epoch = target.assignment_epoch;
                self.assignment_timestamp = target.assignment_timestamp;
            }
            TARGET_MEMBER => match value {
                Some(value) => {
                    let record: ConsumerGroupTargetAssignmentMemberValue = decode_value(value)?;
                    self.targets.insert(part.into(), target_from_record(&record));
                }
                None => drop(self.targets.remove(part)),
            },
            CURRENT_MEMBER => match value {
                Some(value) => {
                    let record: ConsumerGroupCurrentMemberAssignmentValue = decode_value(value)?;
                    self.replayed_member(part).owned = Owned::from_record(&record);
                }
                None => {
                    if let Some(member) = self.members.get_mut(part) {
                        member.owned = Owned::default();
                    }
                }
            },
            REGULAR_EXPRESSION => match value {
                Some(value) => {
                    let record: ConsumerGroupRegularExpressionValue = decode_value(value)?;
                    self.regexes.insert(part.into(), ResolvedRegex::from_record(&record));
                }
                None => drop(self.regexes.remove(part)),
            },
            _ => {}
        }
        Ok(())
    }

    /// Compaction may have left a member's assignment before what else is known of it.
    fn replayed_member(&mut self, id: &str) -> &mut Member {
        self.members.entry(id.into()).or_insert_with(Member::unknown)
    }

    /// Whether the log has said that the group is gone.
    pub fn is_gone(&self) -> bool {
        self.epoch == 0 && self.members.is_empty()
    }

    /// The log has been read: members get a full session from now on.
    pub fn loaded(&mut self, ctx: &GroupContext<'_>) {
        self.held.clear();
        self.static_members.clear();
        let session = self.session_timeout_ms(ctx);
        for (id, member) in &mut self.members {
            for partition in member.owned.all() {
                *self.held.entry(partition).or_default() += 1;
            }
            if let Some(instance_id) = &member.subscription.instance_id {
                self.static_members.insert(instance_id.clone(), id.clone());
            }
            member.restart_timers(session, ctx.now_ms);
        }
        self.metadata_is_old = true;
        self.regexes_are_old = true;
        self.regexes_matched_at = None;
    }
}

impl Member {
    fn restart_timers(&mut self, session_timeout_ms: i64, now_ms: i64) {
        let session = match &self.subscription.classic {
            Some(classic) => i64::from(classic.session_timeout_ms),
            None => session_timeout_ms,
        };
        self.timers = Timers::new(now_ms + session);
        if self.subscription.classic.is_none() && self.owned.state == super::member::MemberState::Unrevoked {
            let by = now_ms + i64::from(self.subscription.rebalance_timeout_ms);
            self.timers.rebalance = Some((by, self.owned.epoch));
        }
    }
}
