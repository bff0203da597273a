//! Committed offsets of the groups of one `__consumer_offsets` partition (Kafka's `OffsetMetadataManager`).
//!
//! Groups here have no members yet: their consumers assign partitions to themselves (*simple* groups in Kafka). Such a
//! group begins with its first commit and is gone with its last offset.

use std::collections::BTreeMap;

use bytes::BytesMut;
use hashbrown::HashMap;

use crate::error_code::ErrorCode;
use crate::record::control::ControlRecordType;
use crate::record::{BatchBuilder, BatchError, BatchOptions, RecordIter};
use crate::types::{ProducerId, TopicId};

use super::offset_record::{CommittedOffset, GroupRecord, OffsetChange, RecordProblem, read_record};

/// A string in a record has a length of 16 bits.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A group's committed offsets by topic and partition.
pub type CommittedOffsets = BTreeMap<Box<str>, BTreeMap<i32, CommittedOffset>>;

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub struct OffsetsPartition {
    groups: HashMap<Box<str>, Group>,
    /// Offsets in transactions that are open, by producer and in the order they were written.
    pending: HashMap<ProducerId, Vec<(i64, OffsetChange)>>,
    /// `offset.metadata.max.bytes`.
    metadata_max_len: usize,
}

#[derive(Debug, Default)]
struct Group {
    committed: CommittedOffsets,
    /// The offset of the record that each came with, to tell which of a transaction's and another's is the later one.
    record_offsets: HashMap<(Box<str>, i32), i64>,
    /// The value of its `GroupMetadata` record, for the coordinator of groups with members.
    metadata: Option<Box<[u8]>>,
}

/// An OffsetCommit request, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct CommitRequest<'a> {
    pub group_id: &'a str,
    /// -1 of a consumer that is no member.
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
    /// To be appended, then applied.
    pub changes: Vec<OffsetChange>,
}

impl OffsetsPartition {
    /// A partition without groups. `metadata_max_len` is `offset.metadata.max.bytes`.
    pub fn new(metadata_max_len: usize) -> OffsetsPartition {
        OffsetsPartition { metadata_max_len, ..OffsetsPartition::default() }
    }

    /// Judges a commit; the state stays as it is until the changes are applied. An error is that of every offset in
    /// the request.
    pub fn commit(&self, request: &CommitRequest<'_>, now_ms: i64) -> Result<Commit, ErrorCode> {
        if request.generation_id >= 0 {
            // There are no members, so nobody can be of a generation. Older clients do not know the newer code.
            let error = if request.version >= 9 { ErrorCode::GroupIdNotFound } else { ErrorCode::IllegalGeneration };
            return Err(error);
        }
        if request.group_id.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
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
        Ok(commit)
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
            .and_then(|group| group.committed.get(topic))
            .and_then(|partitions| partitions.get(&partition))
            .filter(|it| topic_id.is_zero() || it.topic_id.is_zero() || it.topic_id == topic_id);
        Ok(committed)
    }

    /// All that `group` has committed, by topic and partition. With `require_stable`, the caller asks `is_pending` of
    /// each.
    pub fn fetch_all(&self, group: &str) -> impl Iterator<Item = (&str, &BTreeMap<i32, CommittedOffset>)> {
        self.groups.get(group).into_iter().flat_map(|group| group.committed.iter()).map(|(topic, it)| (&**topic, it))
    }

    /// Whether an open transaction commits for the partition.
    pub fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.pending
            .values()
            .flatten()
            .any(|(_, change)| *change.group == *group && *change.topic == *topic && change.partition == partition)
    }

    /// The groups that have committed offsets or metadata, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(|group| &**group)
    }

    /// The value of a group's `GroupMetadata` record.
    pub fn group_metadata(&self, group: &str) -> Option<&[u8]> {
        self.groups.get(group)?.metadata.as_deref()
    }

    /// Tombstones for what has outlived its time: that of the client, or else `retention_ms`
    /// (`offsets.retention.minutes`) since the commit. Groups that had members keep theirs until there is a
    /// coordinator that knows since when they have none.
    pub fn expired(&self, now_ms: i64, retention_ms: i64) -> Vec<OffsetChange> {
        self.tombstones(|group, _, committed| {
            group.metadata.is_none()
                && match committed.expire_timestamp {
                    Some(expire_timestamp) => now_ms >= expire_timestamp,
                    None => now_ms.saturating_sub(committed.commit_timestamp) >= retention_ms,
                }
        })
    }

    /// Tombstones for what any group has committed for a topic that is deleted. A commit for a topic of the same name
    /// and another id stays.
    pub fn topic_deleted(&self, topic: &str, topic_id: TopicId) -> Vec<OffsetChange> {
        self.tombstones(|_, of, committed| {
            of == topic && (committed.topic_id.is_zero() || topic_id.is_zero() || committed.topic_id == topic_id)
        })
    }

    fn tombstones(&self, goes: impl Fn(&Group, &str, &CommittedOffset) -> bool) -> Vec<OffsetChange> {
        let mut changes = Vec::new();
        for (name, group) in &self.groups {
            for (topic, partitions) in &group.committed {
                for (partition, committed) in partitions {
                    if goes(group, topic, committed) {
                        changes.push(OffsetChange {
                            group: name.clone(),
                            topic: topic.clone(),
                            partition: *partition,
                            committed: None,
                        });
                    }
                }
            }
        }
        changes
    }

    /// Takes in a change that stands in the log at `record_offset`, as durable as was asked for.
    pub fn apply(&mut self, change: OffsetChange, record_offset: i64) {
        let OffsetChange { group, topic, partition, committed } = change;
        if let Some(committed) = committed {
            self.put(group, topic, partition, committed, record_offset);
            return;
        }
        // A tombstone also takes back what open transactions would commit.
        for pending in self.pending.values_mut() {
            pending.retain(|(_, it)| it.group != group || it.topic != topic || it.partition != partition);
        }
        self.pending.retain(|_, pending| !pending.is_empty());
        self.remove(&group, &topic, partition);
    }

    fn put(
        &mut self,
        group: Box<str>,
        topic: Box<str>,
        partition: i32,
        committed: CommittedOffset,
        record_offset: i64,
    ) {
        let group = self.groups.entry(group).or_default();
        group.record_offsets.insert((topic.clone(), partition), record_offset);
        group.committed.entry(topic).or_default().insert(partition, committed);
    }

    fn remove(&mut self, name: &str, topic: &str, partition: i32) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if let Some(partitions) = group.committed.get_mut(topic) {
            partitions.remove(&partition);
            group.record_offsets.remove(&(topic.into(), partition));
            if partitions.is_empty() {
                group.committed.remove(topic);
            }
        }
        self.drop_if_empty(name);
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self.groups.get(name).is_some_and(|group| group.committed.is_empty() && group.metadata.is_none()) {
            self.groups.remove(name);
        }
    }

    /// Takes in a record that is in the log at `record_offset`, outside of a transaction.
    pub fn apply_record(&mut self, key: &[u8], value: Option<&[u8]>, record_offset: i64) -> Result<(), RecordProblem> {
        match read_record(key, value)? {
            GroupRecord::Offset(change) => self.apply(change, record_offset),
            GroupRecord::GroupMetadata { group, value: Some(value) } => {
                self.groups.entry_ref(group).or_default().metadata = Some(value.into());
            }
            GroupRecord::GroupMetadata { group, value: None } => {
                if let Some(it) = self.groups.get_mut(group) {
                    it.metadata = None;
                }
                self.drop_if_empty(group);
            }
            GroupRecord::Other { .. } => {}
        }
        Ok(())
    }

    /// Takes in a batch of the log, as loading the partition does with each, in order. Offsets in a transaction wait
    /// for its marker. A record that cannot be read is passed over and handed to `unreadable`.
    pub fn load_batch(
        &mut self,
        batch: &[u8],
        mut unreadable: impl FnMut(i64, RecordProblem),
    ) -> Result<(), BatchError> {
        let mut records = RecordIter::new(batch)?;
        let header = *records.header();
        let transactional = header.attributes.is_transactional();
        while let Some(record) = records.next_record()? {
            let record_offset = record.offset.0;
            let Some(key) = record.key else {
                unreadable(record_offset, RecordProblem::Malformed);
                continue;
            };
            if header.attributes.is_control() {
                match ControlRecordType::of_key(key) {
                    Some(ControlRecordType::Commit) => self.end_transaction(header.producer_id, true),
                    Some(ControlRecordType::Abort) => self.end_transaction(header.producer_id, false),
                    _ => {}
                }
            } else if transactional {
                match read_record(key, record.value) {
                    Ok(GroupRecord::Offset(change)) => {
                        self.pending.entry(header.producer_id).or_default().push((record_offset, change));
                    }
                    Ok(_) => {}
                    Err(problem) => unreadable(record_offset, problem),
                }
            } else if let Err(problem) = self.apply_record(key, record.value, record_offset) {
                unreadable(record_offset, problem);
            }
        }
        Ok(())
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
                .and_then(|group| group.record_offsets.get(&(change.topic.clone(), change.partition)))
                .is_some_and(|existing| *existing >= record_offset);
            if !later {
                self.apply(change, record_offset);
            }
        }
    }
}

/// The changes as batches to append, each below `batch_bytes_max` unless a single record is larger. Their records stand
/// at consecutive offsets, in the order of `changes`.
pub fn encode_changes(changes: &[OffsetChange], now_ms: i64, batch_bytes_max: usize) -> Vec<BytesMut> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for change in changes {
        let (key, value) = (change.encode_key(), change.encode_value());
        let record = BatchBuilder::record_bytes_max(Some(&key), value.as_deref(), &[]);
        if !builder.is_empty() && builder.uncompressed_bytes() + record > batch_bytes_max {
            batches.push(std::mem::replace(&mut builder, BatchBuilder::new(BatchOptions::default())).build());
        }
        builder.append(now_ms, Some(&key), value.as_deref(), &[]);
    }
    if !builder.is_empty() {
        batches.push(builder.build());
    }
    batches
}
