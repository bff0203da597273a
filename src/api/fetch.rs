//! Fetch (1), versions 4 to 18, with incremental sessions (KIP-227).
//!
//! Behaviour: answers at once when there is an error, anything for `min_bytes`, or nothing to wait for;
//! else parks on the partitions until a high watermark moves or `max_wait_ms` is over. The first batch
//! of the first partition that has any is returned whole however large it is.
//! Not done: followers (a replica id is ignored), rack awareness.

use std::time::Duration;

use crate::error_code::ErrorCode;
use crate::log::Chunk;
use crate::protocol::Records;
use crate::protocol::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use crate::runtime;
use crate::shard::cluster_view::ClusterView;
use crate::shard::message::{ReadItem, ReadOutcome, ReadPartitions, ShardReply, ShardRequest, WatchPartitions};
use crate::types::{LeaderEpoch, Offset, PartitionId, ShardId};

use super::sessions::{FINAL_EPOCH, INITIAL_EPOCH, SessionPartition};
use super::{Context, Outcome};

/// What is asked of one fetch, whether its session or its request names the partitions.
struct Plan {
    partitions: Vec<SessionPartition>,
    /// The session that goes on, if one does.
    session: Option<i32>,
    /// Only what changed is told.
    incremental: bool,
    create: bool,
}

pub async fn handle(context: Context, request: FetchRequest) -> Outcome<(FetchResponse, Vec<Vec<Chunk>>)> {
    let now = runtime::now();
    let deadline = now + Duration::from_millis(u64::from(request.max_wait_ms.max(0).unsigned_abs()));
    let plan = match plan(&context, &request) {
        Ok(plan) => plan,
        Err(code) => {
            return Outcome::Answer((FetchResponse { error_code: code.code(), ..Default::default() }, Vec::new()));
        }
    };
    let max_bytes = (request.max_bytes.max(0) as usize).min(context.api.config().network.fetch_bytes_max);
    let min_bytes = (request.min_bytes.max(0) as usize).min(max_bytes);
    let read_committed = request.isolation_level == 1;
    let mut outcomes;
    loop {
        let view = context.api.shard.view();
        let resolved: Vec<Result<(PartitionId, ShardId), ErrorCode>> =
            plan.partitions.iter().map(|partition| resolve(&view, partition, context.version)).collect();
        outcomes = read_all(&context, &plan.partitions, &resolved, max_bytes, read_committed).await;
        let bytes: usize = outcomes.iter().map(|outcome| outcome.bytes).sum();
        let urgent = outcomes.iter().any(|outcome| outcome.error.is_error() || outcome.diverging.is_some());
        if urgent || bytes >= min_bytes || plan.partitions.is_empty() || runtime::now() >= deadline {
            break;
        }
        let reached: Vec<(PartitionId, ShardId, Offset)> = resolved
            .iter()
            .zip(plan.partitions.iter().zip(&outcomes))
            .filter_map(|(resolved, (partition, outcome))| {
                let (id, shard) = resolved.as_ref().ok()?;
                // Behind what was read already: only news wakes.
                Some((*id, *shard, partition.fetch_offset.max(outcome.high_watermark)))
            })
            .collect();
        wait(&context, reached, deadline).await;
    }
    Outcome::Answer(respond(&context, plan, outcomes))
}

/// Finds or makes out the session (`FetchManager.newContext`).
fn plan(context: &Context, request: &FetchRequest) -> Result<Plan, ErrorCode> {
    let asked = asked_partitions(request, context.version);
    if request.session_epoch == FINAL_EPOCH || request.session_epoch == INITIAL_EPOCH {
        // Both end a session that the request names.
        if request.session_id != 0 {
            context.api.sessions.borrow_mut().close(request.session_id);
        }
        let create = request.session_epoch == INITIAL_EPOCH && context.version >= 7;
        return Ok(Plan { partitions: asked, session: None, incremental: false, create });
    }
    let mut sessions = context.api.sessions.borrow_mut();
    let session = sessions.next_request(request.session_id, request.session_epoch, runtime::now())?;
    for partition in asked {
        match session.position(&partition.topic, partition.id) {
            Some(at) => session.partitions[at].update_from(&partition),
            None => session.partitions.push(partition),
        }
    }
    for forgotten in &request.forgotten_topics_data {
        for &index in &forgotten.partitions {
            let id = PartitionId { topic_id: forgotten.topic_id, partition: index };
            if let Some(at) = session.position(&forgotten.topic, id) {
                session.partitions.remove(at);
            }
        }
    }
    // What was answered last goes to the back at the next turn, so that a partition that always has
    // data does not starve the rest.
    Ok(Plan { partitions: session.partitions.clone(), session: Some(session.id), incremental: true, create: false })
}

fn asked_partitions(request: &FetchRequest, version: i16) -> Vec<SessionPartition> {
    let mut asked = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            asked.push(SessionPartition {
                topic: topic.topic.clone(),
                id: PartitionId { topic_id: topic.topic_id, partition: partition.partition },
                fetch_offset: Offset(partition.fetch_offset),
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                last_fetched_epoch: if version >= 12 {
                    LeaderEpoch(partition.last_fetched_epoch)
                } else {
                    LeaderEpoch::UNKNOWN
                },
                told_high_watermark: Offset::UNKNOWN,
                told_last_stable: Offset::UNKNOWN,
                told_log_start: Offset::UNKNOWN,
            });
        }
    }
    asked
}

fn resolve(
    view: &ClusterView,
    partition: &SessionPartition,
    version: i16,
) -> Result<(PartitionId, ShardId), ErrorCode> {
    let topic = if version >= 13 { view.topic_by_id(partition.id.topic_id) } else { view.topic(&partition.topic) };
    let missing = if version >= 13 { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let topic = topic.ok_or(missing)?;
    let id = PartitionId { topic_id: topic.id, partition: partition.id.partition };
    let shard = view.shard_of(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok((id, shard))
}

/// Reads from every owner in turn under one budget of bytes; an outcome for each partition, in order.
async fn read_all(
    context: &Context,
    partitions: &[SessionPartition],
    resolved: &[Result<(PartitionId, ShardId), ErrorCode>],
    max_bytes: usize,
    read_committed: bool,
) -> Vec<ReadOutcome> {
    let mut outcomes: Vec<ReadOutcome> = resolved
        .iter()
        .map(|resolved| ReadOutcome::failed(resolved.as_ref().err().copied().unwrap_or(ErrorCode::None)))
        .collect();
    let mut owners: Vec<ShardId> = Vec::new();
    for (_, shard) in resolved.iter().flatten() {
        if !owners.contains(shard) {
            owners.push(*shard);
        }
    }
    let mut left = max_bytes;
    let mut at_least_one = true;
    for owner in owners {
        let mut places = Vec::new();
        let mut items = Vec::new();
        for (at, (resolved, partition)) in resolved.iter().zip(partitions).enumerate() {
            if let Ok((id, shard)) = resolved
                && *shard == owner
            {
                places.push(at);
                items.push(ReadItem {
                    partition: *id,
                    fetch_offset: partition.fetch_offset,
                    current_leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                    max_bytes: partition.max_bytes.max(0) as usize,
                });
            }
        }
        let request = ReadPartitions { items, max_bytes: left, at_least_one, read_committed };
        if let ShardReply::Read(read) = context.api.shard.call(owner, ShardRequest::Read(request)).await {
            let view = context.api.shard.view();
            for (at, mut outcome) in places.into_iter().zip(read) {
                if let Some(partition) = partitions.get(at) {
                    let by_id = context.version >= 13;
                    outcome.error = super::code_by_id(&view, partition.id, by_id, outcome.error);
                }
                left = left.saturating_sub(outcome.bytes);
                at_least_one &= outcome.bytes == 0;
                outcomes[at] = outcome;
            }
        }
    }
    outcomes
}

/// Parks until one of the partitions has news, or the deadline.
async fn wait(context: &Context, reached: Vec<(PartitionId, ShardId, Offset)>, deadline: std::time::Instant) {
    let shard = &context.api.shard;
    let wait_ms = deadline.saturating_duration_since(runtime::now()).as_millis() as u64 + 1;
    let mut by_owner: Vec<(ShardId, Vec<(PartitionId, Offset)>)> = Vec::new();
    for (id, owner, offset) in reached {
        match by_owner.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, items)) => items.push((id, offset)),
            None => by_owner.push((owner, vec![(id, offset)])),
        }
    }
    if by_owner.is_empty() {
        runtime::sleep_until(deadline).await;
        return;
    }
    let id = shard.next_watch_id();
    let owners: Vec<ShardId> = by_owner.iter().map(|(owner, _)| *owner).collect();
    let watching: Vec<_> = by_owner
        .into_iter()
        .map(|(owner, items)| Box::pin(shard.call(owner, ShardRequest::Watch(WatchPartitions { id, items, wait_ms }))))
        .collect();
    super::first_of(watching).await;
    if owners.len() > 1 {
        for owner in owners {
            // Its answer matters to nobody.
            let _ = shard.call(owner, ShardRequest::Unwatch(id)).await;
        }
    }
}

fn respond(context: &Context, plan: Plan, outcomes: Vec<ReadOutcome>) -> (FetchResponse, Vec<Vec<Chunk>>) {
    let mut chunks: Vec<Vec<Chunk>> = Vec::new();
    let mut response = FetchResponse::default();
    let mut partitions = plan.partitions;
    let incremental = plan.incremental;
    let mut told: Vec<usize> = Vec::new();
    for (at, (partition, mut outcome)) in partitions.iter_mut().zip(outcomes).enumerate() {
        let news = outcome.bytes > 0
            || outcome.error.is_error()
            || outcome.diverging.is_some()
            || outcome.high_watermark != partition.told_high_watermark
            || outcome.log_start_offset != partition.told_log_start
            || outcome.last_stable_offset != partition.told_last_stable;
        partition.told_high_watermark = outcome.high_watermark;
        partition.told_log_start = outcome.log_start_offset;
        partition.told_last_stable = outcome.last_stable_offset;
        if incremental && !news {
            continue;
        }
        if outcome.bytes > 0 {
            told.push(at);
        }
        let data = partition_data(partition, &mut outcome, &mut chunks);
        let same_topic =
            |row: &FetchableTopicResponse| row.topic == partition.topic && row.topic_id == partition.id.topic_id;
        match response.responses.last_mut().filter(|row| same_topic(row)) {
            Some(row) => row.partitions.push(data),
            None => response.responses.push(FetchableTopicResponse {
                topic: partition.topic.clone(),
                topic_id: partition.id.topic_id,
                partitions: vec![data],
            }),
        }
    }
    let mut sessions = context.api.sessions.borrow_mut();
    if plan.create {
        response.session_id = sessions.create(partitions, runtime::now()).unwrap_or(0);
    } else if let Some(id) = plan.session {
        response.session_id = id;
        if let Some(session) = sessions.get_mut(id) {
            // Those that gave data go behind those that wait.
            let (mut kept, moved): (Vec<_>, Vec<_>) =
                partitions.into_iter().enumerate().partition(|(at, _)| told.binary_search(at).is_err());
            kept.extend(moved);
            session.partitions = kept.into_iter().map(|(_, partition)| partition).collect();
        }
    }
    (response, chunks)
}

fn partition_data(
    partition: &SessionPartition,
    outcome: &mut ReadOutcome,
    chunks: &mut Vec<Vec<Chunk>>,
) -> PartitionData {
    let records = if outcome.bytes == 0 {
        Records::Inline(bytes::BytesMut::new())
    } else {
        chunks.push(std::mem::take(&mut outcome.chunks));
        Records::External { len: outcome.bytes as u32, slot: chunks.len() as u32 - 1 }
    };
    let diverging_epoch = outcome
        .diverging
        .map_or_else(EpochEndOffset::default, |(epoch, end)| EpochEndOffset { epoch: epoch.0, end_offset: end.0 });
    PartitionData {
        partition_index: partition.id.partition,
        error_code: outcome.error.code(),
        high_watermark: outcome.high_watermark.0,
        last_stable_offset: outcome.last_stable_offset.0,
        log_start_offset: outcome.log_start_offset.0,
        diverging_epoch,
        current_leader: LeaderIdAndEpoch::default(),
        aborted_transactions: None,
        preferred_read_replica: -1,
        records,
        ..Default::default()
    }
}
