//! ListOffsets (2), versions 1 to 11.
//!
//! Behaviour: by time the first record at or after it, as the broker's own special timestamps -1 to -6
//! (`partition::timestamp`); nothing behind the high watermark is ever told.
//! Not done: tiered storage (-5 and -6 find nothing).

use crate::error_code::ErrorCode;
use crate::partition::timestamp;
use crate::protocol::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::shard::message::{ListOffsetsItem, ShardReply, ShardRequest};
use crate::types::{LeaderEpoch, PartitionId};

use super::scatter::{Scatter, Scattered};
use super::{Context, Outcome};

pub async fn handle(context: Context, request: ListOffsetsRequest) -> Outcome<ListOffsetsResponse> {
    let view = context.api.shard.view();
    let mut scatter = Scatter::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let image = view.topic(&topic.name);
        let rows: Vec<(i32, Scattered)> = topic
            .partitions
            .into_iter()
            .map(|partition| {
                let id = image.map(|image| PartitionId { topic_id: image.id, partition: partition.partition_index });
                let owner = id.and_then(|id| Some((id, view.shard_of(id)?)));
                let place = match owner {
                    _ if context.version < first_version(partition.timestamp) => {
                        Scattered::Failed(ErrorCode::UnsupportedVersion)
                    }
                    None => Scattered::Failed(ErrorCode::UnknownTopicOrPartition),
                    Some((id, shard)) => scatter.add(
                        shard,
                        ListOffsetsItem {
                            partition: id,
                            current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                            timestamp: partition.timestamp,
                            read_committed: request.isolation_level == 1,
                        },
                    ),
                };
                (partition.partition_index, place)
            })
            .collect();
        topics.push((topic.name, rows));
    }
    let gathered = scatter
        .gather(&context.api.shard, ShardRequest::ListOffsets, |reply| match reply {
            ShardReply::OffsetsListed(listed) => listed,
            _ => Vec::new(),
        })
        .await;
    let topics = topics
        .into_iter()
        .map(|(name, rows)| ListOffsetsTopicResponse {
            name,
            partitions: rows
                .into_iter()
                .map(|(partition_index, place)| match gathered.get(place) {
                    Ok(found) => ListOffsetsPartitionResponse {
                        partition_index,
                        error_code: found.error.code(),
                        timestamp: found.timestamp,
                        offset: found.offset.0,
                        leader_epoch: if context.version >= 4 { found.leader_epoch.0 } else { -1 },
                    },
                    Err(code) => ListOffsetsPartitionResponse {
                        partition_index,
                        error_code: code.code(),
                        timestamp: -1,
                        offset: -1,
                        leader_epoch: -1,
                    },
                })
                .collect(),
        })
        .collect();
    Outcome::Answer(ListOffsetsResponse { topics, ..Default::default() })
}

/// The first version that knows a timestamp; none knows those below the special ones.
fn first_version(asked: i64) -> i16 {
    match asked {
        timestamp::MAX => 7,
        timestamp::EARLIEST_LOCAL => 8,
        timestamp::LATEST_TIERED => 9,
        timestamp::EARLIEST_PENDING_UPLOAD => 11,
        below if below < timestamp::EARLIEST_PENDING_UPLOAD => i16::MAX,
        _ => 0,
    }
}
