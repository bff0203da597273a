//! DescribeTopicPartitions (75), version 0 (KIP-966): topics in name order, page by page.

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use crate::types::PartitionId;

use super::{Context, Outcome, is_internal_topic};

/// `max.request.partition.size.limit`'s default.
const PARTITIONS_MAX: usize = 2000;

pub async fn handle(
    context: Context,
    request: DescribeTopicPartitionsRequest,
) -> Outcome<DescribeTopicPartitionsResponse> {
    let view = context.api.shard.view();
    let mut names: Vec<Str> = if request.topics.is_empty() {
        view.image.topics().map(|topic| Str::from(&*topic.name)).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).collect()
    };
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup_by(|a, b| **a == **b);
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.clone(), cursor.partition_index.max(0) as usize),
        None => (Str::from(""), 0),
    };
    let mut left = (request.response_partition_limit.max(1) as usize).min(PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| **name >= *from_topic) {
        let Some(topic) = view.topic(&name) else {
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: if crate::catalog::topic_name::check(&name).is_err() {
                    ErrorCode::InvalidTopicException.code()
                } else {
                    ErrorCode::UnknownTopicOrPartition.code()
                },
                name: Some(name),
                topic_authorized_operations: i32::MIN,
                ..Default::default()
            });
            continue;
        };
        let first = if *name == *from_topic { from_partition } else { 0 };
        let count = topic.partitions.len().saturating_sub(first);
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: first as i32 });
            break;
        }
        let partitions = topic.partitions.iter().enumerate().skip(first).take(left).map(|(index, partition)| {
            let leader = context.leader_of(&view, PartitionId { topic_id: topic.id, partition: index as i32 });
            DescribeTopicPartitionsResponsePartition {
                partition_index: index as i32,
                leader_id: leader,
                leader_epoch: partition.leader_epoch.0,
                replica_nodes: vec![leader],
                isr_nodes: vec![leader],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..Default::default()
            }
        });
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(Str::from(&*topic.name)),
            topic_id: topic.id,
            is_internal: is_internal_topic(&topic.name),
            partitions: partitions.collect(),
            topic_authorized_operations: i32::MIN,
            ..Default::default()
        });
        if count > left {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: (first + left) as i32 });
            break;
        }
        left -= count;
    }
    Outcome::Answer(response)
}
