//! Metadata (3), versions 0 to 13.
//!
//! Behaviour: a null topic list (and an empty one in version 0) means all; an unknown topic is created
//! where both the request and `auto.create.topics.enable` allow it (LEADER_NOT_AVAILABLE until it is
//! there, but here it is there at once); topics by id from version 10 on. With `shard.listeners=per-core`
//! every shard is a broker and leads its own partitions.

use std::sync::Arc;

use crate::catalog::TopicImage;
use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::shard::cluster_view::ClusterView;
use crate::types::{KafkaUuid, PartitionId};

use super::{Context, Outcome, auto_create, is_internal_topic};

/// No authorization is configured, so nothing is known of it (`MetadataResponse.AUTHORIZED_OPERATIONS_OMITTED`).
const OPERATIONS_OMITTED: i32 = i32::MIN;

pub async fn handle(context: Context, request: MetadataRequest) -> Outcome<MetadataResponse> {
    let all = match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && context.version == 0,
    };
    let mut topics = Vec::new();
    if all {
        let view = context.api.shard.view();
        topics.extend(view.image.topics().map(|topic| describe(&context, &view, topic)));
    } else {
        for wanted in request.topics.unwrap_or_default() {
            let by_name = wanted.name.filter(|_| wanted.topic_id.is_zero());
            topics.push(match by_name {
                Some(name) => {
                    let may_create = context.version < 4 || request.allow_auto_topic_creation;
                    by_topic_name(&context, &name, may_create).await
                }
                None => by_topic_id(&context, wanted.topic_id),
            });
        }
    }
    let view = context.api.shard.view();
    let brokers = context
        .brokers()
        .into_iter()
        .map(|broker| MetadataResponseBroker {
            node_id: broker.node_id,
            host: Str::from(broker.host),
            port: i32::from(broker.port),
            rack: context.api.config().rack.as_deref().map(Str::from),
        })
        .collect();
    Outcome::Answer(MetadataResponse {
        brokers,
        cluster_id: Some(Str::from(&**view.image.cluster_id())),
        controller_id: context.api.config().node_id,
        topics,
        cluster_authorized_operations: OPERATIONS_OMITTED,
        ..Default::default()
    })
}

async fn by_topic_name(context: &Context, name: &Str, may_create: bool) -> MetadataResponseTopic {
    let view = context.api.shard.view();
    if let Some(topic) = view.topic(name) {
        return describe(context, &view, topic);
    }
    let error = if crate::catalog::topic_name::check(name).is_err() {
        ErrorCode::InvalidTopicException
    } else if may_create && context.api.config().topics.auto_create {
        match auto_create(context, name).await {
            Ok(()) => {
                let view = context.api.shard.view();
                match view.topic(name) {
                    Some(topic) => return describe(context, &view, topic),
                    None => ErrorCode::LeaderNotAvailable,
                }
            }
            Err(code) => code,
        }
    } else {
        ErrorCode::UnknownTopicOrPartition
    };
    unknown(Some(name.clone()), KafkaUuid::ZERO, error)
}

fn by_topic_id(context: &Context, id: KafkaUuid) -> MetadataResponseTopic {
    let view = context.api.shard.view();
    match view.topic_by_id(id) {
        Some(topic) => describe(context, &view, topic),
        None => unknown(if context.version >= 12 { None } else { Some(Str::from("")) }, id, ErrorCode::UnknownTopicId),
    }
}

fn unknown(name: Option<Str>, topic_id: KafkaUuid, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        is_internal: name.as_deref().is_some_and(is_internal_topic),
        name,
        topic_id,
        topic_authorized_operations: OPERATIONS_OMITTED,
        ..Default::default()
    }
}

fn describe(context: &Context, view: &ClusterView, topic: &Arc<TopicImage>) -> MetadataResponseTopic {
    let partitions = topic
        .partitions
        .iter()
        .enumerate()
        .map(|(index, partition)| {
            let id = PartitionId { topic_id: topic.id, partition: index as i32 };
            let leader = context.leader_of(view, id);
            MetadataResponsePartition {
                error_code: ErrorCode::None.code(),
                partition_index: index as i32,
                leader_id: leader,
                leader_epoch: partition.leader_epoch.0,
                replica_nodes: vec![leader],
                isr_nodes: vec![leader],
                ..Default::default()
            }
        })
        .collect();
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some(Str::from(&*topic.name)),
        topic_id: topic.id,
        is_internal: is_internal_topic(&topic.name),
        partitions,
        topic_authorized_operations: OPERATIONS_OMITTED,
    }
}
