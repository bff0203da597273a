//! What shards ask of each other: one closed enum of requests and one of replies. A shard asks itself
//! through the same types, so that a handler never needs to know where a partition lives.

mod groups;

use std::sync::Arc;

use bytes::BytesMut;

use crate::coordinator::GroupAnswer;
use crate::error_code::ErrorCode;
use crate::log::Chunk;
use crate::record::RecordError;
use crate::types::{LeaderEpoch, Offset, PartitionId, ProducerId, TopicPartition};

use super::cluster_view::ClusterView;
use super::controller::{Command, CommandOutcome};

pub use groups::{
    FetchedOffset, GroupCall, GroupQuery, GroupRows, OffsetCommitGroup, OffsetCommitItem, OffsetFetchGroup,
};

/// A request to the shard that owns what it names.
pub enum ShardRequest {
    Produce(ProduceBatches),
    Read(ReadPartitions),
    /// Answered when one of the partitions holds anything to read behind its offset, or at the deadline.
    Watch(WatchPartitions),
    /// Ends a watch of the asking shard before its time; its answer comes at once.
    Unwatch(u64),
    ListOffsets(Vec<ListOffsetsItem>),
    EpochEnd(Vec<EpochEndItem>),
    DescribeLogs(Option<Vec<PartitionId>>),
    DeleteRecords(Vec<DeleteRecordsItem>),
    /// The directory's checkpoints are about to be written.
    NoteOffsets,
    /// A newer view of the cluster: open what is new here, drop what is gone.
    Adopt(Arc<ClusterView>),
    OffsetCommit(OffsetCommitGroup),
    OffsetFetch(OffsetFetchGroup),
    /// A member's request: taken at once, and answered by an [`Answered`](ShardRequest::Answered) to the asking shard.
    Group(Box<GroupCall>),
    /// The answer to a `Group`, with the asking shard's number for it.
    Answered(u64, Box<GroupAnswer>),
    Groups(GroupQuery),
    /// To shard 0 alone, which writes the catalog.
    Control(Command),
}

/// The reply to the request of the same name.
pub enum ShardReply {
    Produced(Vec<ProduceOutcome>),
    Read(Vec<ReadOutcome>),
    Watched,
    OffsetsListed(Vec<ListedOffset>),
    EpochEnds(Vec<EpochEnd>),
    LogsDescribed(Vec<LogDescription>),
    RecordsDeleted(Vec<DeletedRecords>),
    OffsetsNoted,
    Adopted(Vec<(TopicPartition, String)>),
    OffsetsCommitted(Vec<ErrorCode>),
    OffsetsFetched(Result<Vec<FetchedOffset>, ErrorCode>),
    /// A `Group` or an `Answered`.
    Taken,
    Groups(GroupRows),
    Controlled(CommandOutcome),
}

/// Batches of one Produce request for partitions of one shard, in the order of the request.
pub struct ProduceBatches {
    pub acks: i16,
    pub api_version: i16,
    pub items: Vec<ProduceItem>,
}

pub struct ProduceItem {
    pub partition: PartitionId,
    /// The record batches as they came; offsets are stamped in place.
    pub records: BytesMut,
}

/// What became of one partition's batch.
#[derive(Debug, Default)]
pub struct ProduceOutcome {
    pub error: Option<(ErrorCode, String)>,
    pub base_offset: Offset,
    /// -1 unless the topic stamps LogAppendTime, in ms.
    pub log_append_time_ms: i64,
    pub log_start_offset: Offset,
    /// The records of the batch that were refused, and why (KIP-467).
    pub record_errors: Vec<RecordError>,
}

/// Partitions to read, with bounds over them all.
pub struct ReadPartitions {
    pub items: Vec<ReadItem>,
    /// Bytes over all items; the first non-empty one may exceed it by its first batch.
    pub max_bytes: usize,
    /// Whether the first batch may be returned though it exceeds every bound.
    pub at_least_one: bool,
    pub read_committed: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct ReadItem {
    pub partition: PartitionId,
    pub fetch_offset: Offset,
    pub current_leader_epoch: LeaderEpoch,
    pub last_fetched_epoch: LeaderEpoch,
    pub max_bytes: usize,
}

/// What one partition gave.
#[derive(Debug)]
pub struct ReadOutcome {
    pub error: ErrorCode,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    /// Where the reader's log departs from ours (KIP-595), as epoch and end offset.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    pub chunks: Vec<Chunk>,
    pub bytes: usize,
}

impl ReadOutcome {
    pub fn failed(error: ErrorCode) -> ReadOutcome {
        ReadOutcome {
            error,
            high_watermark: Offset::UNKNOWN,
            last_stable_offset: Offset::UNKNOWN,
            log_start_offset: Offset::UNKNOWN,
            diverging: None,
            chunks: Vec::new(),
            bytes: 0,
        }
    }
}

pub struct WatchPartitions {
    /// Unique among the watches of the asking shard.
    pub id: u64,
    /// Each with the offset the reader has reached: anything behind it wakes.
    pub items: Vec<(PartitionId, Offset)>,
    /// In ms from when the shard takes the request.
    pub wait_ms: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct ListOffsetsItem {
    pub partition: PartitionId,
    pub current_leader_epoch: LeaderEpoch,
    /// A time in ms, or one of Kafka's -1 to -6.
    pub timestamp: i64,
    pub read_committed: bool,
}

#[derive(Debug)]
pub struct ListedOffset {
    pub error: ErrorCode,
    pub timestamp: i64,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug)]
pub struct EpochEndItem {
    pub partition: PartitionId,
    pub current_leader_epoch: LeaderEpoch,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Debug)]
pub struct EpochEnd {
    pub error: ErrorCode,
    pub leader_epoch: LeaderEpoch,
    pub end_offset: Offset,
}

#[derive(Debug)]
pub struct LogDescription {
    pub partition: PartitionId,
    pub name: TopicPartition,
    pub size_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct DeleteRecordsItem {
    pub partition: PartitionId,
    /// Where the log is to begin; -1 for the high watermark.
    pub offset: Offset,
}

#[derive(Clone, Copy, Debug)]
pub struct DeletedRecords {
    pub error: ErrorCode,
    /// The log start offset now; -1 on error.
    pub low_watermark: Offset,
}

/// A block of producer ids, `first` to `first + count - 1`.
#[derive(Clone, Copy, Debug)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
    pub count: i32,
}
