//! The requests a shard serves, for itself and for its peers.

use std::rc::Rc;

use crate::error_code::ErrorCode;
use crate::log::{LogError, OffsetReached};
use crate::partition::{AppendError, Appended, Origin, Partition, ReadError};
use crate::runtime;
use crate::types::{LeaderEpoch, Offset, PartitionId, ShardId};

use super::message::{
    EpochEnd, EpochEndItem, ListOffsetsItem, ListedOffset, LogDescription, ProduceBatches, ProduceOutcome, ReadOutcome,
    ReadPartitions, ShardReply, ShardRequest,
};
use super::{Parcel, Shard};

impl Shard {
    pub(super) async fn serve(self: Rc<Self>) {
        loop {
            let (from, parcel) = self.mesh.recv().await;
            match parcel {
                Parcel::Request(slot, request) => {
                    // Appends happen here and now, in the order of arrival; only the waiting is a task.
                    let begun = self.begin(from, request);
                    let shard = Rc::clone(&self);
                    drop(runtime::spawn(async move {
                        let reply = begun.finish(&shard).await;
                        shard.mesh.answer(from, Parcel::Reply(slot, reply));
                    }));
                }
                Parcel::Reply(slot, reply) => {
                    let sender = self.waiting.borrow_mut().try_remove(slot as usize);
                    // The asker may be gone with its connection.
                    if let Some(sender) = sender {
                        let _ = sender.send(reply);
                    }
                }
            }
        }
    }

    pub(super) fn begin(self: &Rc<Self>, from: ShardId, request: ShardRequest) -> Begun {
        match request {
            ShardRequest::Produce(batches) => self.begin_produce(batches),
            other => Begun::Rest(from, Box::new(other)),
        }
    }

    fn begin_produce(self: &Rc<Self>, batches: ProduceBatches) -> Begun {
        let now_ms = runtime::wall_ms();
        let origin = Origin::Client { version: batches.api_version };
        let mut begun = Vec::with_capacity(batches.items.len());
        for item in batches.items {
            begun.push(match self.partition(item.partition) {
                Some(partition) => match partition.append(item.records, origin, now_ms) {
                    Ok(appended) => {
                        let reached = partition.wait_acknowledged(appended.end_offset, batches.acks);
                        BegunAppend::Waiting(partition, appended, reached)
                    }
                    Err(error) => BegunAppend::Failed(refused(&partition, &error)),
                },
                None => BegunAppend::Failed(ProduceOutcome {
                    error: Some((self.missing(item.partition), String::new())),
                    base_offset: Offset::UNKNOWN,
                    log_append_time_ms: -1,
                    log_start_offset: Offset::UNKNOWN,
                    record_errors: Vec::new(),
                }),
            });
        }
        Begun::Produce(begun)
    }

    /// Why a partition cannot be served here.
    pub(super) fn missing(&self, id: PartitionId) -> ErrorCode {
        if self.is_offline(id) {
            ErrorCode::KafkaStorageError
        } else if self.view().image.partition(id.topic_id, id.partition).is_some() {
            // In the catalog, not open yet: the client asks again.
            ErrorCode::NotLeaderOrFollower
        } else {
            ErrorCode::UnknownTopicOrPartition
        }
    }

    async fn read(self: &Rc<Self>, request: ReadPartitions) -> Vec<ReadOutcome> {
        let mut left = request.max_bytes;
        let mut at_least_one = request.at_least_one;
        let mut outcomes = Vec::with_capacity(request.items.len());
        for item in &request.items {
            let Some(partition) = self.partition(item.partition) else {
                outcomes.push(ReadOutcome::failed(self.missing(item.partition)));
                continue;
            };
            let max_bytes = item.max_bytes.min(left);
            let read = partition
                .read(item.fetch_offset, item.current_leader_epoch, item.last_fetched_epoch, max_bytes, at_least_one)
                .await;
            let outcome = match read {
                Ok(read) => ReadOutcome {
                    error: ErrorCode::None,
                    high_watermark: read.high_watermark,
                    last_stable_offset: read.high_watermark,
                    log_start_offset: read.log_start_offset,
                    diverging: read.diverging,
                    bytes: read.records.bytes,
                    chunks: read.records.chunks,
                },
                Err(ReadError::Epoch(code)) => ReadOutcome::failed(code),
                Err(ReadError::OutOfRange { log_start_offset, high_watermark }) => {
                    ReadOutcome { high_watermark, log_start_offset, ..ReadOutcome::failed(ErrorCode::OffsetOutOfRange) }
                }
                // Deleted while it was read.
                Err(ReadError::Log(_)) if self.partition(item.partition).is_none() => {
                    ReadOutcome::failed(self.missing(item.partition))
                }
                Err(ReadError::Log(error)) => {
                    // What is corrupt is told where it is found.
                    if !matches!(error, LogError::Corrupt { .. }) && self.log_shard.may_tell() {
                        tracing::error!(partition = %partition.name, "a read failed: {error}");
                    }
                    ReadOutcome::failed(storage_code(&error))
                }
            };
            if outcome.bytes > 0 {
                at_least_one = false;
                left = left.saturating_sub(outcome.bytes);
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn list_offsets(self: &Rc<Self>, items: Vec<ListOffsetsItem>) -> Vec<ListedOffset> {
        let mut listed = Vec::with_capacity(items.len());
        for item in items {
            let failed = |error| ListedOffset {
                error,
                timestamp: -1,
                offset: Offset::UNKNOWN,
                leader_epoch: LeaderEpoch::UNKNOWN,
            };
            let Some(partition) = self.partition(item.partition) else {
                listed.push(failed(self.missing(item.partition)));
                continue;
            };
            if let Err(code) = partition.check_leader_epoch(item.current_leader_epoch) {
                listed.push(failed(code));
                continue;
            }
            listed.push(match partition.list_offset(item.timestamp).await {
                Ok(found) => ListedOffset {
                    error: ErrorCode::None,
                    timestamp: found.timestamp,
                    offset: found.offset,
                    leader_epoch: found.leader_epoch,
                },
                Err(Ok(code)) => failed(code),
                Err(Err(_)) if self.partition(item.partition).is_none() => failed(self.missing(item.partition)),
                Err(Err(error)) => {
                    // What is corrupt is told where it is found.
                    if !matches!(error, LogError::Corrupt { .. }) && self.log_shard.may_tell() {
                        tracing::error!(partition = %partition.name, "an offset lookup failed: {error}");
                    }
                    failed(storage_code(&error))
                }
            });
        }
        listed
    }

    fn epoch_ends(self: &Rc<Self>, items: Vec<EpochEndItem>) -> Vec<EpochEnd> {
        let failed = |error| EpochEnd { error, leader_epoch: LeaderEpoch::UNKNOWN, end_offset: Offset::UNKNOWN };
        items
            .into_iter()
            .map(|item| {
                let Some(partition) = self.partition(item.partition) else {
                    return failed(self.missing(item.partition));
                };
                if let Err(code) = partition.check_leader_epoch(item.current_leader_epoch) {
                    return failed(code);
                }
                let (leader_epoch, end_offset) = partition.end_of_epoch(item.leader_epoch);
                EpochEnd { error: ErrorCode::None, leader_epoch, end_offset }
            })
            .collect()
    }

    fn describe_logs(self: &Rc<Self>, wanted: Option<Vec<PartitionId>>) -> Vec<LogDescription> {
        let describe = |partition: Rc<Partition>| LogDescription {
            partition: partition.id,
            name: partition.name.clone(),
            size_bytes: partition.log.size_bytes(),
        };
        match wanted {
            Some(ids) => ids.into_iter().filter_map(|id| self.partition(id)).map(describe).collect(),
            None => self.partitions().into_iter().map(describe).collect(),
        }
    }

    async fn watch(self: &Rc<Self>, from: ShardId, request: super::message::WatchPartitions) {
        let items: Option<Vec<_>> = request
            .items
            .into_iter()
            .map(|(id, offset)| self.partition(id).map(|partition| (partition, offset)))
            .collect();
        // One that is gone is news: the reader is told at once.
        let Some(items) = items else { return };
        self.watches.watch(from, request.id, items, request.wait_ms).await;
    }
}

/// A request whose synchronous part is done.
pub(super) enum Begun {
    Produce(Vec<BegunAppend>),
    Rest(ShardId, Box<ShardRequest>),
}

pub(super) enum BegunAppend {
    Waiting(Rc<Partition>, Appended, OffsetReached),
    Failed(ProduceOutcome),
}

impl Begun {
    pub(super) async fn finish(self, shard: &Rc<Shard>) -> ShardReply {
        let (from, request) = match self {
            Begun::Produce(appends) => return ShardReply::Produced(finish_produce(shard, appends).await),
            Begun::Rest(from, request) => (from, *request),
        };
        match request {
            ShardRequest::Produce(_) => unreachable!("begun above"),
            ShardRequest::Read(request) => ShardReply::Read(shard.read(request).await),
            ShardRequest::Watch(request) => {
                shard.watch(from, request).await;
                ShardReply::Watched
            }
            ShardRequest::Unwatch(id) => {
                shard.watches.cancel(from, id);
                ShardReply::Watched
            }
            ShardRequest::ListOffsets(items) => ShardReply::OffsetsListed(shard.list_offsets(items).await),
            ShardRequest::EpochEnd(items) => ShardReply::EpochEnds(shard.epoch_ends(items)),
            ShardRequest::DescribeLogs(wanted) => ShardReply::LogsDescribed(shard.describe_logs(wanted)),
            ShardRequest::DeleteRecords(items) => ShardReply::RecordsDeleted(shard.delete_records(items).await),
            ShardRequest::NoteOffsets => {
                shard.note_offsets();
                ShardReply::OffsetsNoted
            }
            ShardRequest::Adopt(view) => ShardReply::Adopted(shard.adopt(view).await),
            ShardRequest::OffsetCommit(group) => ShardReply::OffsetsCommitted(shard.commit_offsets(group).await),
            ShardRequest::OffsetFetch(group) => ShardReply::OffsetsFetched(shard.fetch_offsets(&group).await),
            ShardRequest::Group(call) => {
                shard.take_group_call(from, call);
                ShardReply::Taken
            }
            ShardRequest::Answered(token, answer) => {
                shard.take_answer(token, *answer);
                ShardReply::Taken
            }
            ShardRequest::Groups(query) => ShardReply::Groups(shard.group_query(query).await),
            ShardRequest::Control(command) => {
                let controller = shard.controller().expect("only shard 0 is asked, and it has the controller");
                // Boxed: a command calls back into every shard, this one too.
                let outcome: std::pin::Pin<Box<dyn Future<Output = _>>> = Box::pin(controller.run(shard, command));
                ShardReply::Controlled(outcome.await)
            }
        }
    }
}

async fn finish_produce(shard: &Rc<Shard>, appends: Vec<BegunAppend>) -> Vec<ProduceOutcome> {
    let mut outcomes = Vec::with_capacity(appends.len());
    for append in appends {
        outcomes.push(match append {
            BegunAppend::Failed(outcome) => outcome,
            BegunAppend::Waiting(partition, appended, reached) => match reached.await {
                Ok(()) => ProduceOutcome {
                    error: None,
                    base_offset: appended.base_offset,
                    log_append_time_ms: appended.log_append_time_ms,
                    log_start_offset: partition.log.log_start_offset(),
                    record_errors: Vec::new(),
                },
                // Deleted while the batch was on its way to the device: it is gone with the rest.
                Err(LogError::Closed) if shard.partition(partition.id).is_none() => ProduceOutcome {
                    error: Some((shard.missing(partition.id), String::new())),
                    ..refused(&partition, &AppendError::Log(LogError::Closed))
                },
                Err(error) => refused(&partition, &AppendError::Log(error)),
            },
        });
    }
    outcomes
}

fn refused(partition: &Partition, error: &AppendError) -> ProduceOutcome {
    let (code, record_errors) = match error {
        AppendError::Batch(batch) => (batch.error_code(), batch.record_errors().to_vec()),
        AppendError::Producer(code) => (*code, Vec::new()),
        AppendError::Log(log) => (storage_code(log), Vec::new()),
    };
    tracing::debug!(partition = %partition.name, %code, "a produce was refused: {error}");
    ProduceOutcome {
        error: Some((code, error.to_string())),
        base_offset: Offset::UNKNOWN,
        log_append_time_ms: -1,
        log_start_offset: partition.log.log_start_offset(),
        record_errors,
    }
}

/// Kafka's code for what the log could not do.
pub(super) fn storage_code(error: &LogError) -> ErrorCode {
    match error {
        // Retried by every client, and known not to be stored (DESIGN section 5).
        LogError::DiskFull => ErrorCode::NotEnoughReplicas,
        LogError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        LogError::Closed => ErrorCode::NotLeaderOrFollower,
        _ => ErrorCode::KafkaStorageError,
    }
}
