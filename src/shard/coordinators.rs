//! The offset coordinators of one shard: one state machine for each partition of `__consumer_offsets`
//! that lives here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::coordinator::{
    CommitRequest, OffsetChange, OffsetsPartition, RequestedOffset, encode_changes, group_partition,
};
use crate::error_code::ErrorCode;
use crate::log::{Claim, FULL_TRIES_MAX, LogError, LogShard, wait_for_room};
use crate::partition::{AppendError, Origin, Partition};
use crate::runtime;
use crate::types::{Offset, PartitionId, TopicId};

use super::Shard;
use super::message::{FetchedOffset, OffsetCommitGroup, OffsetFetchGroup};

/// The topic that holds committed offsets (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic that holds transactions (`Topic.TRANSACTION_STATE_TOPIC_NAME`).
pub const TRANSACTION_TOPIC: &str = "__transaction_state";

type State = Rc<RefCell<OffsetsPartition>>;

#[derive(Default)]
pub struct Coordinators {
    by_partition: RefCell<HashMap<i32, State>>,
}

impl Shard {
    /// Takes over the state that was loaded from a partition of `__consumer_offsets`.
    pub fn install_coordinator(&self, partition: i32, state: OffsetsPartition) {
        self.coordinators.by_partition.borrow_mut().insert(partition, Rc::new(RefCell::new(state)));
    }

    pub(super) fn drop_coordinator(&self, partition: i32) {
        self.coordinators.by_partition.borrow_mut().remove(&partition);
    }

    fn coordinator_of(&self, group_id: &str) -> Result<(Rc<Partition>, State), ErrorCode> {
        let view = self.view();
        let topic = view.topic(OFFSETS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let partition = group_partition(group_id, topic.partition_count());
        let id = PartitionId { topic_id: topic.id, partition };
        if view.shard_of(id) != Some(self.id) {
            return Err(ErrorCode::NotCoordinator);
        }
        let log = self.partition(id).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let metadata_bytes_max = self.config.offsets.metadata_bytes_max;
        let state = Rc::clone(
            self.coordinators
                .by_partition
                .borrow_mut()
                .entry(partition)
                .or_insert_with(|| Rc::new(RefCell::new(OffsetsPartition::new(metadata_bytes_max)))),
        );
        Ok((log, state))
    }

    /// Commits offsets of a group, as durable as `acks=all`: an error code for each item.
    pub(super) async fn commit_offsets(&self, group: OffsetCommitGroup) -> Vec<ErrorCode> {
        let count = group.items.len();
        let (partition, state) = match self.coordinator_of(&group.group_id) {
            Ok(found) => found,
            Err(code) => return vec![code; count],
        };
        let now_ms = runtime::wall_ms();
        let offsets: Vec<RequestedOffset<'_>> = group
            .items
            .iter()
            .map(|item| RequestedOffset {
                topic: &item.topic,
                topic_id: item.topic_id,
                partition: item.partition,
                offset: item.offset.0,
                leader_epoch: item.leader_epoch.0,
                metadata: item.metadata.as_deref(),
            })
            .collect();
        let request = CommitRequest {
            group_id: &group.group_id,
            generation_id: group.generation_id,
            retention_time_ms: group.retention_time_ms,
            version: group.api_version,
            offsets: &offsets,
        };
        let judged = state.borrow().commit(&request, now_ms);
        let commit = match judged {
            Ok(commit) => commit,
            Err(code) => return vec![code; count],
        };
        if commit.changes.is_empty() {
            return commit.results;
        }
        match store_changes(&self.log_shard, &partition, &state, commit.changes, now_ms).await {
            Ok(()) => commit.results,
            Err(code) => vec![code; count],
        }
    }

    /// Removes what groups have committed for a topic that is deleted (`OffsetMetadataManager.onPartitionsDeleted`).
    pub(super) fn forget_offsets_of(self: &Rc<Self>, topic: &str, topic_id: TopicId) {
        let Some(offsets_id) = self.view().topic(OFFSETS_TOPIC).map(|topic| topic.id) else { return };
        let states: Vec<(i32, State)> =
            self.coordinators.by_partition.borrow().iter().map(|(at, state)| (*at, Rc::clone(state))).collect();
        for (number, state) in states {
            let changes = state.borrow().topic_deleted(topic, topic_id);
            let Some(partition) = self.partition(PartitionId { topic_id: offsets_id, partition: number }) else {
                continue;
            };
            if !changes.is_empty() {
                let log_shard = Rc::clone(&self.log_shard);
                drop(runtime::spawn(async move {
                    let stored = store_changes(&log_shard, &partition, &state, changes, runtime::wall_ms()).await;
                    if stored.is_err() {
                        // They are of a topic id that is gone: nobody is given them.
                        tracing::warn!(partition = %partition.name, "offsets of a deleted topic stay in the log");
                    }
                }));
            }
        }
    }

    /// What a group has committed, in the order asked for; a partition without an offset is told as -1.
    pub(super) fn fetch_offsets(&self, group: &OffsetFetchGroup) -> Result<Vec<FetchedOffset>, ErrorCode> {
        let (_, state) = self.coordinator_of(&group.group_id)?;
        let state = state.borrow();
        let view = self.view();
        let row = |topic: &str, partition: i32| {
            let topic_id = view.topic(topic).map(|image| image.id).unwrap_or_default();
            match state.fetch(&group.group_id, topic, topic_id, partition, group.require_stable) {
                Ok(found) => FetchedOffset::new(topic, partition, found),
                Err(error) => FetchedOffset { error, ..FetchedOffset::new(topic, partition, None) },
            }
        };
        Ok(match &group.partitions {
            Some(asked) => asked
                .iter()
                .flat_map(|(topic, partitions)| partitions.iter().map(|partition| row(topic, *partition)))
                .collect(),
            None => state
                .fetch_all(&group.group_id)
                .flat_map(|(topic, partitions)| partitions.keys().map(|partition| row(topic, *partition)))
                .collect(),
        })
    }
}

/// Appends changes, waits until they are as durable as `acks=all`, and takes them over. The appending is done when this
/// is first polled, unless the disk is full.
async fn store_changes(
    shard: &Rc<LogShard>,
    partition: &Rc<Partition>,
    state: &State,
    changes: Vec<OffsetChange>,
    now_ms: i64,
) -> Result<(), ErrorCode> {
    let mut tries = 0;
    let first_offset = loop {
        match append_changes(partition, &changes, now_ms).await {
            Ok(first_offset) => break first_offset,
            // A full disk keeps some room back for offsets, and just now it is being released.
            Err(AppendError::Log(LogError::DiskFull))
                if tries < FULL_TRIES_MAX && shard.options().room.allows(Claim::Coordinator) =>
            {
                tries += 1;
                wait_for_room().await;
            }
            Err(error) => {
                if shard.may_tell() {
                    tracing::error!(partition = %partition.name, "offsets could not be stored: {error}");
                }
                return Err(not_stored(&error));
            }
        }
    };
    let mut state = state.borrow_mut();
    for (record_offset, change) in (first_offset.0..).zip(changes) {
        state.apply(change, record_offset);
    }
    Ok(())
}

/// Appends changes and waits until they are as durable as `acks=all`. Answers the offset of the first.
async fn append_changes(
    partition: &Rc<Partition>,
    changes: &[OffsetChange],
    now_ms: i64,
) -> Result<Offset, AppendError> {
    let batch_bytes_max = partition.config().max_message_bytes as usize;
    let first_offset = partition.log.log_end_offset();
    let mut end_offset = first_offset;
    for batch in encode_changes(changes, now_ms, batch_bytes_max) {
        end_offset = partition.append(batch, Origin::Coordinator, now_ms)?.end_offset;
    }
    partition.wait_acknowledged(end_offset, -1).await.map_err(AppendError::Log)?;
    Ok(first_offset)
}

/// Kafka's code for offsets that could not be stored (`CoordinatorOperationExceptionHelper`): the client looks for its
/// coordinator again and tries once more.
fn not_stored(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Log(LogError::Poisoned { .. } | LogError::Closed) => ErrorCode::NotCoordinator,
        _ => ErrorCode::CoordinatorNotAvailable,
    }
}
