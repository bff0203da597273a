//! OffsetFetch (9), versions 1 to 10: one group below version 8, several from then on; topics by id
//! from version 10 on.

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::shard::cluster_view::ClusterView;
use crate::shard::message::{FetchedOffset, OffsetFetchGroup, ShardReply, ShardRequest};
use crate::types::{KafkaUuid, LeaderEpoch, Offset};

use super::find_coordinator::group_shard;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: OffsetFetchRequest) -> Outcome<OffsetFetchResponse> {
    if context.version >= 8 {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            groups.push(fetch(&context, group, request.require_stable).await);
        }
        return Outcome::Answer(OffsetFetchResponse { groups, ..Default::default() });
    }
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: request.topics.map(|topics| {
            topics
                .into_iter()
                .map(|topic| OffsetFetchRequestTopics {
                    name: topic.name,
                    partition_indexes: topic.partition_indexes,
                    ..Default::default()
                })
                .collect()
        }),
        ..Default::default()
    };
    let fetched = fetch(&context, group, request.require_stable).await;
    // Version 1 has no place for an error of the whole group: each partition carries it.
    let everywhere = (context.version < 2).then_some(fetched.error_code).filter(|code| *code != 0);
    let topics = fetched
        .topics
        .into_iter()
        .map(|topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic
                .partitions
                .into_iter()
                .map(|partition| OffsetFetchResponsePartition {
                    partition_index: partition.partition_index,
                    committed_offset: partition.committed_offset,
                    committed_leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.metadata,
                    error_code: everywhere.unwrap_or(partition.error_code),
                })
                .collect(),
        })
        .collect();
    Outcome::Answer(OffsetFetchResponse { topics, error_code: fetched.error_code, ..Default::default() })
}

/// A topic as the client calls it, its name if it is known, and the partitions asked for.
type Wanted = (Str, KafkaUuid, Option<String>, Vec<i32>);

async fn fetch(context: &Context, group: OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
    let view = context.api.shard.view();
    let by_id = context.version >= 10;
    // By name inside, whatever the client calls the topics.
    let wanted: Option<Vec<Wanted>> = group.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| {
                let name = if by_id {
                    view.topic_by_id(topic.topic_id).map(|image| image.name.to_string())
                } else {
                    Some(topic.name.to_string())
                };
                (topic.name, topic.topic_id, name, topic.partition_indexes)
            })
            .collect()
    });
    let asked = wanted.as_ref().map(|topics| {
        topics
            .iter()
            .filter_map(|(_, _, name, partitions)| Some((name.clone()?, partitions.clone())))
            .collect::<Vec<_>>()
    });
    let reply = match group_shard(context, &group.group_id) {
        None => Err(ErrorCode::NotCoordinator),
        Some(owner) => {
            let request = OffsetFetchGroup {
                group_id: group.group_id.to_string(),
                member_id: group.member_id.as_deref().map(str::to_owned),
                member_epoch: group.member_epoch,
                partitions: asked,
                require_stable,
            };
            match context.api.shard.call(owner, ShardRequest::OffsetFetch(request)).await {
                ShardReply::OffsetsFetched(fetched) => fetched,
                _ => Err(ErrorCode::UnknownServerError),
            }
        }
    };
    let mut answer = OffsetFetchResponseGroup { group_id: group.group_id, ..Default::default() };
    match (reply, wanted) {
        (Err(code), _) => answer.error_code = code.code(),
        (Ok(fetched), None) => answer.topics = every_topic(&view, fetched, by_id),
        (Ok(fetched), Some(wanted)) => {
            let mut fetched = fetched.into_iter();
            answer.topics = wanted
                .into_iter()
                .map(|(name, topic_id, known, indexes)| OffsetFetchResponseTopics {
                    name,
                    topic_id,
                    partitions: indexes
                        .into_iter()
                        .map(|index| match &known {
                            // The coordinator answers in the order it was asked.
                            Some(_) => fetched.next().map_or_else(|| none(index, ErrorCode::None), row),
                            None => none(index, ErrorCode::UnknownTopicId),
                        })
                        .collect(),
                })
                .collect();
        }
    }
    answer
}

fn every_topic(view: &ClusterView, fetched: Vec<FetchedOffset>, by_id: bool) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    for offset in fetched {
        let topic_id = view.topic(&offset.topic).map_or(KafkaUuid::ZERO, |image| image.id);
        if by_id && topic_id.is_zero() {
            continue;
        }
        let name = Str::from(offset.topic.as_str());
        let same = topics.last_mut().filter(|topic| *topic.name == *name);
        match same {
            Some(topic) => topic.partitions.push(row(offset)),
            None => topics.push(OffsetFetchResponseTopics { name, topic_id, partitions: vec![row(offset)] }),
        }
    }
    topics
}

fn row(fetched: FetchedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: fetched.partition,
        committed_offset: fetched.offset.0,
        committed_leader_epoch: fetched.leader_epoch.0,
        metadata: Some(Str::from(fetched.metadata)),
        error_code: fetched.error.code(),
    }
}

fn none(partition: i32, error: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: Offset::UNKNOWN.0,
        committed_leader_epoch: LeaderEpoch::UNKNOWN.0,
        metadata: Some(Str::from("")),
        error_code: error.code(),
    }
}
