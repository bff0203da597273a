//! Produce (0), versions 3 to 13.
//!
//! Behaviour: exactly one batch of magic 2 per partition; acks 0, 1 and -1; each partition's answer
//! stands alone. With acks 0 nothing is answered, and an error closes the connection, since the client
//! has no other way to learn of it (`KafkaApis.handleProduceRequest`).
//! Not done: transactions (INVALID_TXN_STATE), request timeouts (a flush that never ends ends the process).

use std::rc::Rc;

use crate::error_code::ErrorCode;
use crate::protocol::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::protocol::{Records, Str};
use crate::shard::message::{ProduceBatches, ProduceItem, ProduceOutcome, ShardReply, ShardRequest};
use crate::types::{KafkaUuid, Offset, PartitionId, ShardId};

use super::{Context, Outcome, is_internal_topic};

/// `AdminUtils.ADMIN_CLIENT_ID`, which alone may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";

/// One partition of the request: where its answer goes, and which shard gives it.
struct Row {
    topic: usize,
    index: i32,
    fate: Fate,
}

enum Fate {
    Failed(ErrorCode, &'static str),
    /// The shard asked and the position in what was asked of it.
    Asked(usize, usize),
}

/// Starts a produce: batches for this shard are appended before this returns, so that a connection's
/// requests enter the log in order; the future waits for what `acks` asks.
#[allow(clippy::needless_pass_by_value, reason = "every handler of the table takes its context")]
pub fn handle(context: Context, request: ProduceRequest) -> impl Future<Output = Outcome<ProduceResponse>> {
    let shard = Rc::clone(&context.api.shard);
    let acks = request.acks;
    let version = context.version;
    let view = shard.view();
    let mut topics: Vec<(Str, KafkaUuid, usize)> = Vec::with_capacity(request.topic_data.len());
    let mut rows: Vec<Row> = Vec::new();
    let mut asked: Vec<(ShardId, Vec<ProduceItem>)> = Vec::new();
    for topic in request.topic_data {
        let image = if version >= 13 { view.topic_by_id(topic.topic_id) } else { view.topic(&topic.name) };
        let topic_index = topics.len();
        topics.push((topic.name, topic.topic_id, topic.partition_data.len()));
        for partition in topic.partition_data {
            let fate = match (image, partition.records) {
                _ if !(-1..=1).contains(&acks) => Fate::Failed(ErrorCode::InvalidRequiredAcks, ""),
                (None, _) if version >= 13 => Fate::Failed(ErrorCode::UnknownTopicId, ""),
                (None, _) => Fate::Failed(ErrorCode::UnknownTopicOrPartition, ""),
                (Some(image), _) if is_internal_topic(&image.name) && context.client_id() != ADMIN_CLIENT => {
                    Fate::Failed(ErrorCode::InvalidTopicException, "only the broker writes to an internal topic")
                }
                (Some(image), Records::Inline(records)) => {
                    let id = PartitionId { topic_id: image.id, partition: partition.index };
                    match view.shard_of(id) {
                        None => Fate::Failed(ErrorCode::UnknownTopicOrPartition, ""),
                        Some(owner) => {
                            let slot = asked.iter().position(|(shard, _)| *shard == owner).unwrap_or_else(|| {
                                asked.push((owner, Vec::new()));
                                asked.len() - 1
                            });
                            let items = &mut asked[slot].1;
                            items.push(ProduceItem { partition: id, records });
                            Fate::Asked(slot, items.len() - 1)
                        }
                    }
                }
                (Some(_), _) => Fate::Failed(ErrorCode::InvalidRecord, "the request holds no record batch"),
            };
            rows.push(Row { topic: topic_index, index: partition.index, fate });
        }
    }
    let calls: Vec<_> = asked
        .into_iter()
        .map(|(owner, items)| {
            let batches = ProduceBatches { acks, api_version: version, items };
            Box::pin(shard.call(owner, ShardRequest::Produce(batches)))
        })
        .collect();
    async move {
        let mut outcomes: Vec<Vec<Option<ProduceOutcome>>> = Vec::with_capacity(calls.len());
        for reply in super::join_all(calls).await {
            match reply {
                ShardReply::Produced(produced) => outcomes.push(produced.into_iter().map(Some).collect()),
                _ => outcomes.push(Vec::new()),
            }
        }
        let mut response = ProduceResponse {
            responses: topics
                .into_iter()
                .map(|(name, topic_id, count)| TopicProduceResponse {
                    name,
                    topic_id,
                    partition_responses: Vec::with_capacity(count),
                })
                .collect(),
            ..Default::default()
        };
        let mut failed = None;
        for row in rows {
            let mut outcome = match row.fate {
                Fate::Failed(code, why) => failure(code, why),
                Fate::Asked(slot, at) => outcomes
                    .get_mut(slot)
                    .and_then(|of_shard| of_shard.get_mut(at))
                    .and_then(Option::take)
                    .unwrap_or_else(|| failure(ErrorCode::UnknownServerError, "")),
            };
            if let Some((code, _)) = &mut outcome.error {
                let topic_id = response.responses.get(row.topic).map(|topic| topic.topic_id).unwrap_or_default();
                let id = PartitionId { topic_id, partition: row.index };
                *code = super::code_by_id(&shard.view(), id, version >= 13, *code);
                failed = Some(*code);
            }
            if let Some(topic) = response.responses.get_mut(row.topic) {
                topic.partition_responses.push(answer(row.index, outcome));
            }
        }
        match (acks, failed) {
            (0, None) => Outcome::Silent,
            (0, Some(code)) => Outcome::Close(format!("a produce with acks=0 failed with {code}")),
            _ => Outcome::Answer(response),
        }
    }
}

fn failure(code: ErrorCode, why: &str) -> ProduceOutcome {
    ProduceOutcome {
        error: Some((code, why.to_owned())),
        base_offset: Offset::UNKNOWN,
        log_append_time_ms: -1,
        log_start_offset: Offset::UNKNOWN,
        record_errors: Vec::new(),
    }
}

fn answer(index: i32, outcome: ProduceOutcome) -> PartitionProduceResponse {
    let (code, message) = match outcome.error {
        None => (ErrorCode::None, None),
        Some((code, why)) if why.is_empty() => (code, None),
        Some((code, why)) => (code, Some(Str::from(why))),
    };
    PartitionProduceResponse {
        index,
        error_code: code.code(),
        base_offset: outcome.base_offset.0,
        log_append_time_ms: outcome.log_append_time_ms,
        log_start_offset: outcome.log_start_offset.0,
        record_errors: outcome
            .record_errors
            .into_iter()
            .map(|error| BatchIndexAndErrorMessage {
                batch_index: error.batch_index,
                batch_index_error_message: Some(Str::from(error.message)),
            })
            .collect(),
        error_message: message,
        ..Default::default()
    }
}
