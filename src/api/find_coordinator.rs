//! FindCoordinator (10), versions 0 to 6, batched keys from 4 on.
//!
//! A group's coordinator is the shard that owns its partition of `__consumer_offsets`, which is created
//! when the first group asks. Not done: transaction and share coordinators.

use crate::coordinator::group_partition;
use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::shard::OFFSETS_TOPIC;
use crate::types::{PartitionId, ShardId};

use super::{BrokerAddress, Context, Outcome, auto_create};

/// `CoordinatorType.GROUP`.
const GROUP: i8 = 0;

pub async fn handle(context: Context, request: FindCoordinatorRequest) -> Outcome<FindCoordinatorResponse> {
    let batched = context.version >= 4;
    let keys = if batched { request.coordinator_keys } else { vec![request.key] };
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        let found = find(&context, &key, request.key_type).await;
        coordinators.push(match found {
            Ok(broker) => Coordinator {
                key,
                node_id: broker.node_id,
                host: Str::from(broker.host),
                port: i32::from(broker.port),
                ..Default::default()
            },
            Err((code, why)) => Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: code.code(),
                error_message: Some(Str::from(why)),
                ..Default::default()
            },
        });
    }
    if batched {
        return Outcome::Answer(FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let first = coordinators.pop().unwrap_or_default();
    Outcome::Answer(FindCoordinatorResponse {
        error_code: first.error_code,
        error_message: first.error_message,
        node_id: first.node_id,
        host: first.host,
        port: first.port,
        ..Default::default()
    })
}

async fn find(context: &Context, key: &str, key_type: i8) -> Result<BrokerAddress, (ErrorCode, &'static str)> {
    if key_type != GROUP {
        return Err(match key_type {
            1 | 2 => (ErrorCode::CoordinatorNotAvailable, "transactions and share groups are not there yet"),
            _ => (ErrorCode::InvalidRequest, "the key type is none of 0 (group), 1 (transaction), 2 (share)"),
        });
    }
    if key.is_empty() {
        return Err((ErrorCode::InvalidGroupId, "the group id is empty"));
    }
    if context.api.shard.view().topic(OFFSETS_TOPIC).is_none() {
        auto_create(context, OFFSETS_TOPIC)
            .await
            .map_err(|_| (ErrorCode::CoordinatorNotAvailable, "__consumer_offsets cannot be created now"))?;
    }
    let shard =
        group_shard(context, key).ok_or((ErrorCode::CoordinatorNotAvailable, "__consumer_offsets is not there yet"))?;
    context.broker_of(shard).ok_or((ErrorCode::CoordinatorNotAvailable, "this listener has no address"))
}

/// The shard that coordinates a group, once its topic is there.
pub fn group_shard(context: &Context, group_id: &str) -> Option<ShardId> {
    let view = context.api.shard.view();
    let topic = view.topic(OFFSETS_TOPIC)?;
    let partition = group_partition(group_id, topic.partitions.len() as i32);
    view.shard_of(PartitionId { topic_id: topic.id, partition })
}
