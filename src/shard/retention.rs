//! What may go, goes: the periodic look at every partition of a shard, and what clients delete (`DeleteRecords`).

use std::rc::Rc;
use std::sync::Arc;

use crate::error_code::ErrorCode;
use crate::log::LogError;
use crate::partition::Partition;
use crate::runtime;
use crate::types::{Offset, PartitionId};

use super::Shard;
use super::checkpoints::offsets_of;
use super::message::{DeleteRecordsItem, DeletedRecords};
use super::serve::storage_code;

/// Partitions looked at in one turn of the loop: about what a few produce requests cost it.
const PARTITIONS_PER_TURN: usize = 8;

impl Shard {
    /// Applies retention to all partitions every `log.retention.check.interval.ms`, the first time after
    /// `log.initial.task.delay.ms`. Never ends.
    pub async fn keep_retention(self: Rc<Self>) {
        runtime::sleep(self.config.log.initial_task_delay).await;
        loop {
            self.apply_retention().await;
            runtime::sleep(self.config.log.retention_check_interval).await;
        }
    }

    /// Forgets idle producers every `producer.id.expiration.check.interval.ms`. Never ends.
    pub async fn keep_producers(self: Rc<Self>) {
        let expiration_ms = self.config.log.producer_id_expiration.as_millis() as i64;
        loop {
            runtime::sleep(self.config.log.producer_id_expiration_check_interval).await;
            let ids: Vec<PartitionId> = self.partitions.borrow().keys().copied().collect();
            for (at, id) in ids.into_iter().enumerate() {
                if at % PARTITIONS_PER_TURN == 0 {
                    runtime::yield_now().await;
                }
                if let Some(partition) = self.partition(id) {
                    partition.forget_idle_producers(runtime::wall_ms(), expiration_ms);
                }
            }
        }
    }

    async fn apply_retention(self: &Rc<Self>) {
        let ids: Vec<PartitionId> = self.partitions.borrow().keys().copied().collect();
        let mut from_the_future: Option<(Rc<Partition>, usize)> = None;
        for (at, id) in ids.into_iter().enumerate() {
            if at % PARTITIONS_PER_TURN == 0 {
                // What clients asked meanwhile goes first.
                runtime::yield_now().await;
            }
            let Some(partition) = self.partition(id) else { continue };
            match partition.log.apply_retention(runtime::wall_ms()).await {
                Ok(removed) if removed.future_timestamps => {
                    from_the_future.get_or_insert((partition, 0)).1 += 1;
                }
                Ok(_) => {}
                Err(error) => tracing::error!(partition = %partition.name, "retention failed: {error}"),
            }
        }
        if let Some((partition, count)) = from_the_future {
            tracing::warn!(
                partition = %partition.name,
                "{count} partitions have segments with timestamps in the future: they are kept until retention.ms after that"
            );
        }
    }

    /// Moves the log start of partitions. What is answered without an error stands in the checkpoint on the device
    /// (`ReplicaManager.deleteRecords`).
    pub(super) async fn delete_records(self: &Rc<Self>, items: Vec<DeleteRecordsItem>) -> Vec<DeletedRecords> {
        let mut moved = Vec::new();
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            results.push(match self.partition(item.partition) {
                None => Err(self.missing(item.partition)),
                Some(partition) => {
                    move_log_start(&partition, item.offset).inspect(|_| moved.push(Rc::clone(&partition)))
                }
            });
        }
        if !moved.is_empty() {
            let written = self.checkpoint_now(&moved).await;
            for partition in &moved {
                partition.log.remove_below_start();
            }
            if !written {
                for result in &mut results {
                    *result = result.and(Err(ErrorCode::KafkaStorageError));
                }
            }
        }
        results
            .into_iter()
            .map(|result| match result {
                Ok(low_watermark) => DeletedRecords { error: ErrorCode::None, low_watermark },
                Err(error) => DeletedRecords { error, low_watermark: Offset::UNKNOWN },
            })
            .collect()
    }

    /// Writes the checkpoints with what these partitions say now. Says whether that is done.
    async fn checkpoint_now(self: &Rc<Self>, partitions: &[Rc<Partition>]) -> bool {
        self.checkpoints.update(partitions.iter().map(|partition| (partition.name.clone(), offsets_of(partition))));
        // One helper thread of a shard at a time: the others have to be there for those who open files.
        let _turn = self.checkpoint_turn.acquire(1).await;
        let checkpoints = Arc::clone(&self.checkpoints);
        match runtime::offload(move || checkpoints.write()).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("the checkpoints of the data directory cannot be written: {error}");
                false
            }
        }
    }
}

/// Deletes the records below `offset`, -1 for all that a consumer can see. Answers where the log begins then
/// (`Partition.deleteRecordsOnLeader`).
fn move_log_start(partition: &Partition, offset: Offset) -> Result<Offset, ErrorCode> {
    let log = &partition.log;
    let policy = log.config().cleanup_policy;
    if policy.compact && !policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    if let Some(error @ LogError::Poisoned { .. }) = log.state_error() {
        return Err(storage_code(&error));
    }
    let offset = if offset == Offset::UNKNOWN { log.high_watermark() } else { offset };
    if offset < Offset::ZERO {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    log.set_log_start(offset).map_err(|error| storage_code(&error))?;
    Ok(log.log_start_offset())
}
