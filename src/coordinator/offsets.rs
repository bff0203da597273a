//! Committed offsets of the groups of one `__consumer_offsets` partition (Kafka's `OffsetMetadataManager`).
//!
//! Who may commit is the group's to say; here is what was committed, and what open transactions would commit.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::types::{ProducerId, TopicId};

use super::offset_record::{CommittedOffset, OffsetChange};

/// A string in a record has a length of 16 bits.
pub(super) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A group's committed offsets by topic and partition.
type Committed = BTreeMap<Box<str>, BTreeMap<i32, Held>>;

/// The committed offsets of one partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub struct OffsetsPartition {
    groups: HashMap<Box<str>, Committed>,
    /// Offsets in transactions that are open, by producer and in the order they were written.
    pending: HashMap<ProducerId, Vec<(i64, OffsetChange)>>,
    /// `offset.metadata.max.bytes`.
    metadata_max_len: usize,
}

#[derive(Debug)]
struct Held {
    committed: CommittedOffset,
    /// The offset of the record it came with, to tell which of a transaction's and another's is the later one.
    record_offset: i64,
}

/// An OffsetCommit request, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct CommitRequest<'a> {
    pub group_id: &'a str,
    /// Empty of a consumer that is no member.
    pub member_id: &'a str,
    pub group_instance_id: Option<&'a Str>,
    /// The generation, or in a group with server-side assignment the member's epoch; -1 of a consumer that is no member.
    pub generation_id: i32,
    /// OffsetCommit 2 to 4; -1 or `None` leaves it to the broker's `offsets.retention.minutes`.
    pub retention_time_ms: Option<i64>,
    /// Of OffsetCommit.
    pub version: i16,
    pub offsets: &'a [RequestedOffset<'a>],
}

/// One partition of an OffsetCommit request.
#[derive(Clone, Copy, Debug)]
pub struct RequestedOffset<'a> {
    pub topic: &'a str,
    /// Zero if not known.
    pub topic_id: TopicId,
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Option<&'a str>,
}

/// What a commit comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// One per offset of the request, in its order.
    pub results: Vec<ErrorCode>,
    pub changes: Vec<OffsetChange>,
}

impl OffsetsPartition {
    /// A partition without offsets. `metadata_max_len` is `offset.metadata.max.bytes`.
    pub fn new(metadata_max_len: usize) -> OffsetsPartition {
        OffsetsPartition { metadata_max_len, ..OffsetsPartition::default() }
    }

    /// Judges a commit of somebody who may commit; the state stays as it is until the changes are applied.
    pub fn commit(&self, request: &CommitRequest<'_>, now_ms: i64) -> Commit {
        let retention_time_ms = request.retention_time_ms.filter(|ms| *ms != -1);
        let mut commit = Commit {
            results: Vec::with_capacity(request.offsets.len()),
            changes: Vec::with_capacity(request.offsets.len()),
        };
        for requested in request.offsets {
            let result = self.check(requested);
            commit.results.push(result);
            if result == ErrorCode::None {
                commit.changes.push(OffsetChange {
                    group: request.group_id.into(),
                    topic: requested.topic.into(),
                    partition: requested.partition,
                    committed: Some(CommittedOffset {
                        offset: requested.offset,
                        leader_epoch: requested.leader_epoch.max(-1),
                        metadata: requested.metadata.unwrap_or_default().into(),
                        commit_timestamp: now_ms,
                        expire_timestamp: retention_time_ms.map(|ms| now_ms.saturating_add(ms)),
                        topic_id: requested.topic_id,
                    }),
                });
            }
        }
        commit
    }

    fn check(&self, requested: &RequestedOffset<'_>) -> ErrorCode {
        let metadata = requested.metadata.unwrap_or_default();
        // The key's bound counts as Java does, in UTF-16; that of a record's string counts bytes.
        if metadata.encode_utf16().count() > self.metadata_max_len || metadata.len() > STRING_BYTES_MAX {
            ErrorCode::OffsetMetadataTooLarge
        } else if requested.topic.len() > STRING_BYTES_MAX {
            ErrorCode::InvalidTopicException
        } else {
            ErrorCode::None
        }
    }

    /// What `group` has committed for a partition, if anything. With `require_stable` (OffsetFetch 7), an open
    /// transaction that commits for it is UNSTABLE_OFFSET_COMMIT. A commit for a topic of the same name but another id
    /// is none.
    pub fn fetch(
        &self,
        group: &str,
        topic: &str,
        topic_id: TopicId,
        partition: i32,
        require_stable: bool,
    ) -> Result<Option<&CommittedOffset>, ErrorCode> {
        if require_stable && self.is_pending(group, topic, partition) {
            return Err(ErrorCode::UnstableOffsetCommit);
        }
        let committed = self
            .groups
            .get(group)
            .and_then(|topics| topics.get(topic))
            .and_then(|partitions| partitions.get(&partition))
            .map(|held| &held.committed)
            .filter(|it| topic_id.is_zero() || it.topic_id.is_zero() || it.topic_id == topic_id);
        Ok(committed)
    }

    /// All that `group` has committed, in the order of topics and partitions.
    pub fn fetch_all(&self, group: &str) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> {
        self.groups.get(group).into_iter().flatten().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, held)| (&**topic, *partition, &held.committed))
        })
    }

    /// Whether anything is committed, or would be by an open transaction.
    pub fn has_any(&self, group: &str) -> bool {
        self.groups.contains_key(group) || self.has_open_transaction(group)
    }

    /// Whether an open transaction commits for the group.
    pub fn has_open_transaction(&self, group: &str) -> bool {
        self.pending.values().flatten().any(|(_, change)| *change.group == *group)
    }

    /// Whether an open transaction commits for the partition.
    pub fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.pending
            .values()
            .flatten()
            .any(|(_, change)| *change.group == *group && *change.topic == *topic && change.partition == partition)
    }

    /// The groups that have committed offsets, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|group| &**group)
    }

    /// Tombstones for the offsets of a group that `goes` says yes to.
    pub fn tombstones(&self, group: &str, goes: impl Fn(&str, i32, &CommittedOffset) -> bool) -> Vec<OffsetChange> {
        self.fetch_all(group)
            .filter(|(topic, partition, committed)| goes(topic, *partition, committed))
            .map(|(topic, partition, _)| tombstone(group, topic, partition))
            .collect()
    }

    /// Tombstones for what a group has committed, or would by an open transaction, for partitions of a topic.
    pub fn tombstones_of(&self, group: &str, topic: &str, wanted: impl Fn(i32) -> bool) -> Vec<OffsetChange> {
        let mut changes = self.tombstones(group, |of, partition, _| of == topic && wanted(partition));
        self.add_pending(&mut changes, |it| *it.group == *group && *it.topic == *topic && wanted(it.partition));
        changes
    }

    /// Tombstones for all of a group's offsets, those in open transactions too.
    pub fn group_deleted(&self, group: &str) -> Vec<OffsetChange> {
        let mut changes = self.tombstones(group, |_, _, _| true);
        self.add_pending(&mut changes, |change| *change.group == *group);
        changes
    }

    /// Tombstones for what any group has committed for a topic that is deleted. A commit for a topic of the same name
    /// and another id stays.
    pub fn topic_deleted(&self, topic: &str, topic_id: TopicId) -> Vec<OffsetChange> {
        let is_of_topic = |it: &CommittedOffset| it.topic_id.is_zero() || topic_id.is_zero() || it.topic_id == topic_id;
        let mut changes: Vec<OffsetChange> = self
            .groups
            .keys()
            .flat_map(|group| self.tombstones(group, |of, _, committed| of == topic && is_of_topic(committed)))
            .collect();
        self.add_pending(&mut changes, |change| {
            *change.topic == *topic && change.committed.as_ref().is_some_and(is_of_topic)
        });
        changes
    }

    /// Adds tombstones for what open transactions would commit, where there is none yet.
    fn add_pending(&self, changes: &mut Vec<OffsetChange>, goes: impl Fn(&OffsetChange) -> bool) {
        for (_, change) in self.pending.values().flatten() {
            let gone = tombstone(&change.group, &change.topic, change.partition);
            if goes(change) && !changes.contains(&gone) {
                changes.push(gone);
            }
        }
    }

    /// Takes in a change that stands in the log at `record_offset`.
    pub fn apply(&mut self, change: OffsetChange, record_offset: i64) {
        let OffsetChange { group, topic, partition, committed } = change;
        if let Some(committed) = committed {
            let held = Held { committed, record_offset };
            self.groups.entry(group).or_default().entry(topic).or_default().insert(partition, held);
            return;
        }
        // A tombstone also takes back what open transactions would commit.
        for pending in self.pending.values_mut() {
            pending.retain(|(_, it)| it.group != group || it.topic != topic || it.partition != partition);
        }
        self.pending.retain(|_, pending| !pending.is_empty());
        self.remove(&group, &topic, partition);
    }

    fn remove(&mut self, name: &str, topic: &str, partition: i32) {
        let Some(topics) = self.groups.get_mut(name) else { return };
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                topics.remove(topic);
            }
        }
        if topics.is_empty() {
            self.groups.remove(name);
        }
    }

    /// Takes in a change of a transaction that is open: it waits for the transaction's end.
    pub fn apply_pending(&mut self, producer_id: ProducerId, change: OffsetChange, record_offset: i64) {
        if change.committed.is_some() {
            self.pending.entry(producer_id).or_default().push((record_offset, change));
        } else {
            self.apply(change, record_offset);
        }
    }

    /// Makes the offsets of a producer's open transaction so, or forgets them. What was committed later stays.
    pub fn end_transaction(&mut self, producer_id: ProducerId, commit: bool) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if !commit {
            return;
        }
        for (record_offset, change) in pending {
            let later = self
                .groups
                .get(&change.group)
                .and_then(|topics| topics.get(&change.topic)?.get(&change.partition))
                .is_some_and(|existing| existing.record_offset >= record_offset);
            if !later {
                self.apply(change, record_offset);
            }
        }
    }
}

fn tombstone(group: &str, topic: &str, partition: i32) -> OffsetChange {
    OffsetChange { group: group.into(), topic: topic.into(), partition, committed: None }
}
