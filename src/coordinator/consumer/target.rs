//! The group's epoch and its target assignment (`updateSubscriptionMetadata`, `TargetAssignmentBuilder`).

use std::collections::{BTreeMap, HashMap};

use twox_hash::XxHash3_64;

use super::ConsumerGroup;
use super::assignor::{Assignor, GroupSpec, MemberSpec};
use super::records::{ConsumerGroupTargetAssignmentMetadataValue, PARTITION_METADATA, TARGET_EPOCH, encode_value};
use crate::coordinator::{GroupContext, GroupWorld};
use crate::types::TopicId;

impl ConsumerGroup {
    /// Raises the group's epoch if asked for, or if the topics subscribed to are no longer what they were.
    pub(super) fn update_epoch(&mut self, bump: bool, ctx: &mut GroupContext<'_>) {
        let hash = metadata_hash(self.subscribed_names().into_iter(), ctx.world);
        self.metadata_is_old = false;
        if bump || hash != self.metadata_hash {
            self.epoch += 1;
            self.metadata_hash = hash;
            self.append_epoch(ctx);
        }
        if self.has_partition_metadata {
            self.has_partition_metadata = false;
            ctx.append(self.key(PARTITION_METADATA, None), None);
        }
    }

    /// Computes the target assignment of the group's epoch, unless it is there or the last one is too fresh.
    pub(super) fn update_target(&mut self, ctx: &mut GroupContext<'_>) {
        if self.epoch <= self.assignment_epoch {
            return;
        }
        let interval = self.assignment_interval_ms(ctx);
        let since = ctx.wall_ms - self.assignment_timestamp;
        // A clock that was set back keeps no group waiting.
        if self.assignment_timestamp != 0 && (0..interval).contains(&since) {
            return;
        }
        let mut topics = BTreeMap::new();
        let mut members = Vec::with_capacity(self.members.len());
        for (id, member) in &self.members {
            let subscribed = self.subscribed_ids(member, ctx);
            for topic in &subscribed {
                if let Some((_, count)) = ctx.world.topic_by_id(*topic) {
                    topics.insert(*topic, count);
                }
            }
            members.push(MemberSpec {
                id,
                instance_id: member.subscription.instance_id.as_deref(),
                topics: subscribed,
                target: self.targets.get(id),
            });
        }
        let assigned = self.assignor(ctx).assign(&GroupSpec { members, topics });
        let ids: Vec<Box<str>> = self.members.keys().cloned().collect();
        for (id, target) in ids.into_iter().zip(assigned) {
            if self.targets.get(&id) != Some(&target) {
                self.targets.insert(id.clone(), target);
                self.append_target(&id, ctx);
            }
        }
        self.assignment_epoch = self.epoch;
        self.assignment_timestamp = ctx.wall_ms;
        self.append_target_epoch(ctx);
    }

    pub(super) fn append_target_epoch(&self, ctx: &mut GroupContext<'_>) {
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: self.assignment_epoch,
            assignment_timestamp: self.assignment_timestamp,
        };
        ctx.append(self.key(TARGET_EPOCH, None), Some(encode_value(&value)));
    }

    /// The assignor that most members ask for, else the broker's first one.
    pub(super) fn assignor_name<'a>(&'a self, assignors: &'a [String]) -> &'a str {
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for name in self.members.values().filter_map(|member| member.subscription.server_assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let rank = |name: &str| assignors.iter().position(|known| known == name).unwrap_or(usize::MAX);
        votes
            .into_iter()
            .max_by_key(|(name, count)| (*count, std::cmp::Reverse(rank(name)), std::cmp::Reverse(*name)))
            .map(|(name, _)| name)
            .or_else(|| assignors.first().map(String::as_str))
            .unwrap_or(Assignor::Uniform.name())
    }

    fn assignor(&self, ctx: &GroupContext<'_>) -> Assignor {
        Assignor::by_name(self.assignor_name(&ctx.config.consumer.assignors)).unwrap_or(Assignor::Uniform)
    }
}

/// One number for the topics of a group that exist, in order of their names (`Utils.computeGroupHash`, KIP-1101); 0 for
/// none. Equal to Kafka's, as far as brokers have no rack.
pub(super) fn metadata_hash<'a>(topics: impl Iterator<Item = &'a str>, world: &dyn GroupWorld) -> i64 {
    let mut hashes = Vec::new();
    for topic in topics {
        if let Some((id, partitions)) = world.topic(topic) {
            hashes.extend_from_slice(&topic_hash(id, topic, partitions).to_le_bytes());
        }
    }
    if hashes.is_empty() { 0 } else { XxHash3_64::oneshot(&hashes) as i64 }
}

/// `Utils.computeTopicHash`: XXH3 over a version byte, the id, the name in UTF-16 and its length, and each partition's number.
/// All numbers are little-endian.
fn topic_hash(id: TopicId, name: &str, partitions: i32) -> i64 {
    let (high, low) = (u128::from_be_bytes(id.0) >> 64, u128::from_be_bytes(id.0));
    let mut bytes = vec![0u8];
    bytes.extend_from_slice(&(high as u64).to_le_bytes());
    bytes.extend_from_slice(&(low as u64).to_le_bytes());
    let mut units = 0i32;
    for unit in name.encode_utf16() {
        bytes.extend_from_slice(&unit.to_le_bytes());
        units += 1;
    }
    bytes.extend_from_slice(&units.to_le_bytes());
    bytes.extend_from_slice(&partitions.to_le_bytes());
    for partition in 0..partitions {
        bytes.extend_from_slice(&partition.to_le_bytes());
    }
    XxHash3_64::oneshot(&bytes) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::KafkaUuid;

    fn id(high: u64, low: u64) -> KafkaUuid {
        KafkaUuid(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    #[test]
    fn hashes_are_those_of_kafka() {
        // By hash4j 0.22, which Kafka 4.3.1 brings, with the calls that `Utils.computeTopicHash` makes.
        let foo = topic_hash(id(0x0102_0304_0506_0708, 0x090a_0b0c_0d0e_0f10), "foo", 3);
        assert_eq!(foo, -6_208_928_541_441_449_389);
        assert_eq!(XxHash3_64::oneshot(&foo.to_le_bytes()) as i64, 6_567_505_408_605_215_696);
        assert_eq!(topic_hash(id(1, 2), "a-much-longer-topic-name", 200), -7_687_668_850_091_972_117);
    }
}
