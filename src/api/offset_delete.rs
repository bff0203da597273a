//! OffsetDelete (47), version 0: committed offsets of a group for topics that none of its members is subscribed to.

use crate::error_code::ErrorCode;
use crate::protocol::offset_delete::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::protocol::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::shard::message::{GroupQuery, GroupRows};

use super::find_coordinator::group_shard;
use super::group_query::ask;
use super::{Context, Outcome};

pub async fn handle(context: Context, mut request: OffsetDeleteRequest) -> Outcome<OffsetDeleteResponse> {
    let refused =
        |code: ErrorCode| Outcome::Answer(OffsetDeleteResponse { error_code: code.code(), ..Default::default() });
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId);
    }
    let Some(shard) = group_shard(&context, &request.group_id) else { return refused(ErrorCode::NotCoordinator) };
    // What does not exist is told so, and the rest is done.
    let view = context.api.shard.view();
    let asked = request.topics.clone();
    for topic in &mut request.topics {
        let image = view.topic(&topic.name);
        topic.partitions.retain(|it| image.is_some_and(|image| image.partition(it.partition_index).is_some()));
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let response = if request.topics.is_empty() {
        // Not even the group is looked at, as in Kafka.
        OffsetDeleteResponse::default()
    } else {
        match ask(&context, shard, GroupQuery::DeleteOffsets(request)).await {
            Some(GroupRows::OffsetsDeleted(Ok(response))) => response,
            Some(GroupRows::OffsetsDeleted(Err(code))) => return refused(code),
            _ => return refused(ErrorCode::UnknownServerError),
        }
    };
    let topics = asked
        .into_iter()
        .map(|topic| {
            let done = response.topics.iter().find(|done| done.name == topic.name);
            let row = |index: i32| {
                let done = done.and_then(|done| done.partitions.iter().find(|it| it.partition_index == index));
                done.cloned().unwrap_or(OffsetDeleteResponsePartition {
                    partition_index: index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                })
            };
            OffsetDeleteResponseTopic {
                partitions: topic.partitions.iter().map(|it| row(it.partition_index)).collect(),
                name: topic.name,
            }
        })
        .collect();
    Outcome::Answer(OffsetDeleteResponse { topics, ..Default::default() })
}
