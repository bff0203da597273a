//! A group as ConsumerGroupDescribe shows it (`ConsumerGroup.asDescribedGroup`).

use std::collections::{BTreeMap, BTreeSet};

use super::ConsumerGroup;
use super::member::{Member, Partitions};
use crate::coordinator::GroupWorld;
use crate::protocol::Str;
use crate::protocol::consumer_group_describe::{
    DescribedAssignment, DescribedConsumerGroup, DescribedConsumerGroupMember, DescribedTopicPartitions,
};
use crate::types::TopicId;

impl ConsumerGroup {
    /// The group's row, without the operations that the caller may do. `assignors` are those of the broker.
    pub fn describe(&self, world: &dyn GroupWorld, assignors: &[String]) -> DescribedConsumerGroup {
        DescribedConsumerGroup {
            group_id: Str::from(&*self.group_id),
            group_state: Str::from_static(self.state().name()),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor_name: Str::from(self.assignor_name(assignors)),
            members: self
                .members
                .iter()
                .map(|(id, member)| describe_member(id, member, self.targets.get(id), world))
                .collect(),
            ..DescribedConsumerGroup::default()
        }
    }
}

fn describe_member(
    id: &str,
    member: &Member,
    target: Option<&Partitions>,
    world: &dyn GroupWorld,
) -> DescribedConsumerGroupMember {
    let text = |text: &Option<Box<str>>| text.as_deref().map(Str::from);
    let subscription = &member.subscription;
    // What it has been told to give up it may still consume.
    let mut owned: BTreeMap<TopicId, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partition) in member.owned.all() {
        owned.entry(topic).or_default().insert(partition);
    }
    DescribedConsumerGroupMember {
        member_id: Str::from(id),
        instance_id: text(&subscription.instance_id),
        rack_id: text(&subscription.rack_id),
        member_epoch: member.owned.epoch,
        client_id: Str::from(&*subscription.client_id),
        client_host: Str::from(&*subscription.client_host),
        subscribed_topic_names: subscription.topics.iter().map(|topic| Str::from(&**topic)).collect(),
        subscribed_topic_regex: text(&subscription.regex),
        assignment: describe_partitions(&owned, world),
        target_assignment: describe_partitions(target.unwrap_or(&Partitions::new()), world),
        member_type: i8::from(!member.uses_classic()),
    }
}

/// Topics that are gone have no name to show.
fn describe_partitions(partitions: &Partitions, world: &dyn GroupWorld) -> DescribedAssignment {
    let topic_partitions = partitions
        .iter()
        .filter_map(|(topic, partitions)| {
            let (name, _) = world.topic_by_id(*topic)?;
            Some(DescribedTopicPartitions {
                topic_id: *topic,
                topic_name: Str::from(name),
                partitions: partitions.iter().copied().collect(),
            })
        })
        .collect();
    DescribedAssignment { topic_partitions }
}
