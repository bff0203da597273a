//! The two kinds of groups, and what both can be asked.

use crate::coordinator::GroupContext;
use crate::coordinator::classic::{ClassicGroup, OffsetExpiry};
use crate::coordinator::consumer::ConsumerGroup;
use crate::protocol::Str;
use crate::protocol::list_groups::ListedGroup;

#[derive(Debug)]
pub(super) enum Group {
    /// Its members assign partitions among themselves; or it has none, and is there for its offsets.
    Classic(Box<ClassicGroup>),
    /// The broker assigns (KIP-848).
    Consumer(Box<ConsumerGroup>),
}

impl Group {
    pub fn next_deadline(&self) -> Option<i64> {
        match self {
            Group::Classic(group) => group.next_deadline(),
            Group::Consumer(group) => group.next_deadline(),
        }
    }

    pub fn on_time(&mut self, ctx: &mut GroupContext<'_>) {
        match self {
            Group::Classic(group) => group.on_time(ctx),
            Group::Consumer(group) => group.on_time(ctx),
        }
        self.follow_downgrade();
    }

    /// A group whose last member of the new protocol went has become a classic one.
    pub fn follow_downgrade(&mut self) {
        if let Group::Consumer(group) = self
            && let Some(classic) = group.take_downgraded()
        {
            *self = Group::Classic(Box::new(classic));
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Group::Classic(group) => group.is_empty(),
            Group::Consumer(group) => group.is_empty(),
        }
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    pub fn offset_expiry(&self) -> OffsetExpiry {
        match self {
            Group::Classic(group) => group.offset_expiry(),
            Group::Consumer(_) => OffsetExpiry::SinceCommit,
        }
    }

    pub fn listed(&self) -> ListedGroup {
        match self {
            Group::Classic(group) => group.listed(),
            Group::Consumer(group) => ListedGroup {
                group_id: Str::from(group.group_id()),
                protocol_type: Str::from_static(group.protocol_type()),
                group_state: Str::from_static(group.state().name()),
                group_type: Str::from_static("consumer"),
            },
        }
    }

    /// What ends the group in the log.
    pub fn append_tombstones(&self, ctx: &mut GroupContext<'_>) {
        match self {
            Group::Classic(group) => group.append_tombstone(ctx),
            Group::Consumer(group) => group.tombstones(&mut ctx.effects.records),
        }
    }
}
