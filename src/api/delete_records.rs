//! DeleteRecords (21), versions 0 to 2 (KIP-107).
//!
//! Behaviour: the log start of each partition moves to the offset asked for, or to the high watermark for -1; an answer
//! without an error is on the device. An offset that is deleted already is no error. Records of internal topics
//! (INVALID_TOPIC_EXCEPTION) and of topics that are only compacted (POLICY_VIOLATION) stay.

use crate::error_code::ErrorCode;
use crate::protocol::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::shard::message::{DeleteRecordsItem, ShardReply, ShardRequest};
use crate::types::{Offset, PartitionId};

use super::scatter::{Scatter, Scattered};
use super::{Context, Outcome, is_internal_topic};

pub async fn handle(context: Context, request: DeleteRecordsRequest) -> Outcome<DeleteRecordsResponse> {
    let view = context.api.shard.view();
    let mut scatter = Scatter::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let image = view.topic(&topic.name);
        let rows: Vec<(i32, Scattered)> = topic
            .partitions
            .into_iter()
            .map(|row| {
                let id = image.map(|image| PartitionId { topic_id: image.id, partition: row.partition_index });
                let place = match id.and_then(|id| Some((id, view.shard_of(id)?))) {
                    None => Scattered::Failed(ErrorCode::UnknownTopicOrPartition),
                    Some(_) if is_internal_topic(&topic.name) => Scattered::Failed(ErrorCode::InvalidTopicException),
                    Some((partition, shard)) => {
                        scatter.add(shard, DeleteRecordsItem { partition, offset: Offset(row.offset) })
                    }
                };
                (row.partition_index, place)
            })
            .collect();
        topics.push((topic.name, rows));
    }
    let gathered = scatter
        .gather(&context.api.shard, ShardRequest::DeleteRecords, |reply| match reply {
            ShardReply::RecordsDeleted(deleted) => deleted,
            _ => Vec::new(),
        })
        .await;
    let topics = topics
        .into_iter()
        .map(|(name, rows)| DeleteRecordsTopicResult {
            name,
            partitions: rows
                .into_iter()
                .map(|(partition_index, place)| {
                    let (error, low_watermark) = match gathered.get(place) {
                        Ok(deleted) => (deleted.error, deleted.low_watermark),
                        Err(code) => (code, Offset::UNKNOWN),
                    };
                    DeleteRecordsPartitionResult {
                        partition_index,
                        low_watermark: low_watermark.0,
                        error_code: error.code(),
                    }
                })
                .collect(),
        })
        .collect();
    Outcome::Answer(DeleteRecordsResponse { topics, ..Default::default() })
}
