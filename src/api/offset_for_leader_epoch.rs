//! OffsetForLeaderEpoch (23), versions 2 to 4 (KIP-101, KIP-279, KIP-320).

use crate::error_code::ErrorCode;
use crate::protocol::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use crate::shard::message::{EpochEndItem, ShardReply, ShardRequest};
use crate::types::{LeaderEpoch, PartitionId};

use super::scatter::{Scatter, Scattered};
use super::{Context, Outcome};

pub async fn handle(context: Context, request: OffsetForLeaderEpochRequest) -> Outcome<OffsetForLeaderEpochResponse> {
    let view = context.api.shard.view();
    let mut scatter = Scatter::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let image = view.topic(&topic.topic);
        let rows: Vec<(i32, Scattered)> = topic
            .partitions
            .into_iter()
            .map(|partition| {
                let id = image.map(|image| PartitionId { topic_id: image.id, partition: partition.partition });
                let place = match id.and_then(|id| Some((id, view.shard_of(id)?))) {
                    None => Scattered::Failed(ErrorCode::UnknownTopicOrPartition),
                    Some((id, shard)) => scatter.add(
                        shard,
                        EpochEndItem {
                            partition: id,
                            current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                            leader_epoch: LeaderEpoch(partition.leader_epoch),
                        },
                    ),
                };
                (partition.partition, place)
            })
            .collect();
        topics.push((topic.topic, rows));
    }
    let gathered = scatter
        .gather(&context.api.shard, ShardRequest::EpochEnd, |reply| match reply {
            ShardReply::EpochEnds(ends) => ends,
            _ => Vec::new(),
        })
        .await;
    let topics = topics
        .into_iter()
        .map(|(topic, rows)| OffsetForLeaderTopicResult {
            topic,
            partitions: rows
                .into_iter()
                .map(|(partition, place)| {
                    let (error, leader_epoch, end_offset) = match gathered.get(place) {
                        Ok(end) => (end.error, end.leader_epoch.0, end.end_offset.0),
                        Err(code) => (code, -1, -1),
                    };
                    EpochEndOffset { error_code: error.code(), partition, leader_epoch, end_offset }
                })
                .collect(),
        })
        .collect();
    Outcome::Answer(OffsetForLeaderEpochResponse { topics, ..Default::default() })
}
