//! DescribeLogDirs (35), versions 1 to 5. On a shard's own port it covers that shard (clients ask
//! every node and join the answers), on the shared port all.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use crate::runtime;
use crate::shard::message::{LogDescription, ShardReply, ShardRequest};

use super::{Context, Outcome};

pub async fn handle(context: Context, request: DescribeLogDirsRequest) -> Outcome<DescribeLogDirsResponse> {
    let directory = context.api.config().directory.clone();
    if context.api.shard.log_shard.options().room.metrics().offline_directories() > 0 {
        return offline(&directory);
    }
    let wanted = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|topic| (topic.topic.to_string(), topic.partitions))
            .collect::<BTreeMap<String, Vec<i32>>>()
    });
    let calls = context
        .shards_answered_for()
        .into_iter()
        .map(|shard| Box::pin(context.api.shard.call(shard, ShardRequest::DescribeLogs(None))))
        .collect();
    let mut by_topic: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for reply in super::join_all(calls).await {
        let ShardReply::LogsDescribed(logs) = reply else { continue };
        for LogDescription { name, size_bytes, .. } in logs {
            let asked = wanted.as_ref().is_none_or(|wanted| {
                wanted.get(&*name.topic).is_some_and(|partitions| partitions.contains(&name.partition))
            });
            if asked {
                by_topic.entry(name.topic.to_string()).or_default().push(DescribeLogDirsPartition {
                    partition_index: name.partition,
                    partition_size: size_bytes as i64,
                    offset_lag: 0,
                    is_future_key: false,
                });
            }
        }
    }
    let for_space = directory.clone();
    let space = runtime::offload(move || runtime::fs::fs_info(&for_space)).await.ok();
    let topics = by_topic
        .into_iter()
        .map(|(name, mut partitions)| {
            partitions.sort_unstable_by_key(|partition| partition.partition_index);
            DescribeLogDirsTopic { name: Str::from(name), partitions }
        })
        .collect();
    Outcome::Answer(DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            error_code: ErrorCode::None.code(),
            log_dir: Str::from(directory.display().to_string()),
            topics,
            total_bytes: space.map_or(-1, |space| space.total_bytes as i64),
            usable_bytes: space.map_or(-1, |space| space.available_bytes as i64),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// A directory that takes no writes is told without its partitions (`ReplicaManager.describeLogDirs`).
fn offline(directory: &Path) -> Outcome<DescribeLogDirsResponse> {
    Outcome::Answer(DescribeLogDirsResponse {
        results: vec![DescribeLogDirsResult {
            error_code: ErrorCode::KafkaStorageError.code(),
            log_dir: Str::from(directory.display().to_string()),
            total_bytes: -1,
            usable_bytes: -1,
            ..Default::default()
        }],
        ..Default::default()
    })
}
