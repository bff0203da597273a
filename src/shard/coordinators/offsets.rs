//! Committing and fetching offsets.

use std::rc::Rc;

use crate::coordinator::{CommitRequest, FetchCaller, RequestedOffset};
use crate::error_code::ErrorCode;
use crate::shard::Shard;
use crate::shard::message::{FetchedOffset, OffsetCommitGroup, OffsetFetchGroup};

use super::coordinator::Together;

impl Shard {
    /// Commits offsets of a group, as durable as `acks=all`: an error code for each item.
    pub(in crate::shard) async fn commit_offsets(self: &Rc<Self>, group: OffsetCommitGroup) -> Vec<ErrorCode> {
        let count = group.items.len();
        self.try_commit(group).await.unwrap_or_else(|code| vec![code; count])
    }

    async fn try_commit(self: &Rc<Self>, group: OffsetCommitGroup) -> Result<Vec<ErrorCode>, ErrorCode> {
        let coordinator = self.loaded_coordinator_of(&group.group_id).await?;
        let offsets: Vec<RequestedOffset<'_>> = group
            .items
            .iter()
            .map(|item| RequestedOffset {
                topic: &item.topic,
                topic_id: item.topic_id,
                partition: item.partition,
                offset: item.offset.0,
                leader_epoch: item.leader_epoch.0,
                metadata: item.metadata.as_deref(),
            })
            .collect();
        let request = CommitRequest {
            group_id: &group.group_id,
            member_id: &group.member_id,
            group_instance_id: group.group_instance_id.as_ref(),
            generation_id: group.generation_id,
            retention_time_ms: group.retention_time_ms,
            version: group.api_version,
            offsets: &offsets,
        };
        let results = coordinator
            .call(self, Together::No, |groups, record_offset, ctx| groups.commit(&request, record_offset, ctx))??;
        coordinator.when_durable().wait_for(self.config.offsets.commit_timeout).await?;
        Ok(results)
    }

    /// What a group has committed, in the order asked for; a partition without an offset is told as -1. What is told is
    /// durable.
    pub(in crate::shard) async fn fetch_offsets(
        self: &Rc<Self>,
        group: &OffsetFetchGroup,
    ) -> Result<Vec<FetchedOffset>, ErrorCode> {
        let coordinator = self.loaded_coordinator_of(&group.group_id).await?;
        let view = self.view();
        let caller = FetchCaller { member_id: group.member_id.as_deref(), member_epoch: group.member_epoch };
        let fetched = coordinator.look(|groups| {
            groups.may_fetch(&group.group_id, caller)?;
            let row = |topic: &str, partition: i32| {
                let topic_id = view.topic(topic).map(|image| image.id).unwrap_or_default();
                match groups.fetch(&group.group_id, topic, topic_id, partition, group.require_stable) {
                    Ok(found) => FetchedOffset::new(topic, partition, found),
                    Err(error) => FetchedOffset { error, ..FetchedOffset::new(topic, partition, None) },
                }
            };
            Ok(match &group.partitions {
                Some(asked) => asked
                    .iter()
                    .flat_map(|(topic, partitions)| partitions.iter().map(|partition| row(topic, *partition)))
                    .collect(),
                None => groups.fetch_all(&group.group_id).map(|(topic, partition, _)| row(topic, partition)).collect(),
            })
        })??;
        coordinator.when_durable().wait().await?;
        Ok(fetched)
    }
}
