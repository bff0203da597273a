//! Committed offsets, as far as groups have a say in them.

use crate::error_code::ErrorCode;
use crate::protocol::OffsetDeleteRequest;
use crate::protocol::offset_delete::{OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::types::TopicId;

use super::super::classic::OffsetExpiry;
use super::super::machine::GroupContext;
use super::super::offset_record::CommittedOffset;
use super::super::offsets::{CommitRequest, STRING_BYTES_MAX};
use super::{Group, GroupsPartition};

/// Who asks for offsets: a member of a group with server-side assignment says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct FetchCaller<'a> {
    pub member_id: Option<&'a str>,
    /// -1 of a consumer that is no member.
    pub member_epoch: i32,
}

impl GroupsPartition {
    /// Commits offsets; the first of its records will stand at `record_offset`. An error is that of every offset in
    /// the request.
    pub fn commit(
        &mut self,
        request: &CommitRequest<'_>,
        record_offset: i64,
        ctx: &mut GroupContext<'_>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        if request.group_id.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        let is_new = !self.groups.contains_key(request.group_id);
        if is_new && request.generation_id >= 0 {
            // Older clients do not know the newer code.
            let newer = request.version >= 9;
            return Err(if newer { ErrorCode::GroupIdNotFound } else { ErrorCode::IllegalGeneration });
        }
        // Without members it is a *simple* group: it is there as long as it has offsets.
        match &mut self.group_or_new(request.group_id).group {
            Group::Classic(group) => group.validate_offset_commit(
                request.member_id,
                request.group_instance_id,
                request.generation_id,
                ctx.now_ms,
            )?,
        }
        let commit = self.offsets.commit(request, ctx.wall_ms);
        if is_new && commit.changes.is_empty() {
            self.remove(request.group_id);
        }
        for change in commit.changes {
            let record_offset = record_offset + ctx.effects.records.len() as i64;
            ctx.append(change.encode_key(), change.encode_value());
            self.offsets.apply(change, record_offset);
        }
        Ok(commit.results)
    }

    /// Whether somebody may ask for a group's offsets. A group that is not there has none, which is no error.
    pub fn may_fetch(&self, group_id: &str, caller: FetchCaller<'_>) -> Result<(), ErrorCode> {
        let _ = caller;
        match self.groups.get(group_id).map(|held| &held.group) {
            None | Some(Group::Classic(_)) => Ok(()),
        }
    }

    /// What a group has committed for a partition; as [`OffsetsPartition::fetch`](crate::coordinator::OffsetsPartition::fetch).
    pub fn fetch(
        &self,
        group_id: &str,
        topic: &str,
        topic_id: TopicId,
        partition: i32,
        require_stable: bool,
    ) -> Result<Option<&CommittedOffset>, ErrorCode> {
        self.offsets.fetch(group_id, topic, topic_id, partition, require_stable)
    }

    /// All that a group has committed, in the order of topics and partitions.
    pub fn fetch_all(&self, group_id: &str) -> impl Iterator<Item = (&str, i32, &CommittedOffset)> {
        self.offsets.fetch_all(group_id)
    }

    /// OffsetDelete: what members are subscribed to stays.
    pub fn delete_offsets(
        &mut self,
        request: &OffsetDeleteRequest,
        ctx: &mut GroupContext<'_>,
    ) -> Result<OffsetDeleteResponse, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let group = &self.groups.get(&*request.group_id).ok_or(ErrorCode::GroupIdNotFound)?.group;
        match group {
            Group::Classic(group) => group.validate_offset_delete()?,
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut gone = Vec::new();
        for topic in &request.topics {
            let is_subscribed = group.is_subscribed_to(&topic.name);
            let code = if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            if !is_subscribed {
                let wanted = |partition| topic.partitions.iter().any(|it| it.partition_index == partition);
                gone.extend(self.offsets.tombstones_of(&request.group_id, &topic.name, wanted));
            }
            let partitions = topic.partitions.iter().map(|partition| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: code.code(),
            });
            topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: partitions.collect() });
        }
        self.take_back(gone, ctx);
        Ok(OffsetDeleteResponse { topics, ..Default::default() })
    }

    /// Ends what of a group has outlived `retention_ms` (`offsets.retention.minutes`) or the time its client gave it;
    /// a group without members and offsets goes too (`GroupCoordinatorShard.cleanupGroupMetadata`).
    pub fn expire(&mut self, group_id: &str, retention_ms: i64, ctx: &mut GroupContext<'_>) {
        let Some(held) = self.groups.get(group_id) else { return };
        let group = &held.group;
        let (expiry, now_ms) = (group.offset_expiry(), ctx.wall_ms);
        let is_over = |topic: &str, partition: i32, committed: &CommittedOffset| {
            let expired = match (expiry, committed.expire_timestamp) {
                (OffsetExpiry::Never, _) => false,
                (_, Some(expire_timestamp)) => now_ms >= expire_timestamp,
                (OffsetExpiry::SinceCommit, None) => now_ms.saturating_sub(committed.commit_timestamp) >= retention_ms,
                (OffsetExpiry::Since(since_ms), None) => now_ms.saturating_sub(since_ms) >= retention_ms,
            };
            expired && !group.is_subscribed_to(topic) && !self.offsets.is_pending(group_id, topic, partition)
        };
        let gone = self.offsets.tombstones(group_id, is_over);
        let is_empty = group.is_empty();
        self.take_back(gone, ctx);
        if is_empty && !self.offsets.has_any(group_id) {
            self.end(group_id, ctx);
        }
    }
}
