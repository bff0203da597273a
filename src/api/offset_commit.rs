//! OffsetCommit (8), versions 2 to 10.
//!
//! Commits are as durable as `acks=all`. Topics by id from version 10 on (KIP-848).

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::shard::message::{OffsetCommitGroup, OffsetCommitItem, ShardReply, ShardRequest};
use crate::types::{LeaderEpoch, Offset};

use super::find_coordinator::group_shard;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: OffsetCommitRequest) -> Outcome<OffsetCommitResponse> {
    let view = context.api.shard.view();
    let mut items = Vec::new();
    let mut codes: Vec<Result<usize, ErrorCode>> = Vec::new();
    for topic in &request.topics {
        let image = if context.version >= 10 { view.topic_by_id(topic.topic_id) } else { view.topic(&topic.name) };
        for partition in &topic.partitions {
            let known = image.filter(|image| {
                usize::try_from(partition.partition_index).is_ok_and(|index| index < image.partitions.len())
            });
            codes.push(match known {
                None if context.version >= 10 && image.is_none() => Err(ErrorCode::UnknownTopicId),
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(image) => {
                    items.push(OffsetCommitItem {
                        topic: image.name.clone(),
                        topic_id: image.id,
                        partition: partition.partition_index,
                        offset: Offset(partition.committed_offset),
                        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                        metadata: partition.committed_metadata.as_deref().map(str::to_owned),
                    });
                    Ok(items.len() - 1)
                }
            });
        }
    }
    let results = commit(&context, &request.group_id, &request, items).await;
    let mut codes = codes.into_iter().map(|code| match code {
        Ok(at) => results.get(at).copied().unwrap_or(ErrorCode::UnknownServerError),
        Err(code) => code,
    });
    let topics = request
        .topics
        .iter()
        .map(|topic| OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|partition| OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: codes.next().unwrap_or(ErrorCode::UnknownServerError).code(),
                })
                .collect(),
        })
        .collect();
    Outcome::Answer(OffsetCommitResponse { topics, ..Default::default() })
}

async fn commit(
    context: &Context,
    group_id: &Str,
    request: &OffsetCommitRequest,
    items: Vec<OffsetCommitItem>,
) -> Vec<ErrorCode> {
    let count = items.len();
    let Some(owner) = group_shard(context, group_id) else {
        return vec![ErrorCode::NotCoordinator; count];
    };
    let group = OffsetCommitGroup {
        api_version: context.version,
        group_id: group_id.to_string(),
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.clone(),
        generation_id: request.generation_id_or_member_epoch,
        retention_time_ms: Some(request.retention_time_ms).filter(|_| context.version <= 4),
        items,
    };
    match context.api.shard.call(owner, ShardRequest::OffsetCommit(group)).await {
        ShardReply::OffsetsCommitted(codes) => codes,
        _ => vec![ErrorCode::UnknownServerError; count],
    }
}
