//! What shards ask of each other about groups.

use std::net::IpAddr;
use std::sync::Arc;

use crate::coordinator::{CommittedOffset, GroupRequest};
use crate::error_code::ErrorCode;
use crate::protocol::delete_groups::DeletableGroupResult;
use crate::protocol::describe_groups;
use crate::protocol::list_groups::ListedGroup;
use crate::protocol::{OffsetDeleteRequest, OffsetDeleteResponse, Str};
use crate::types::{LeaderEpoch, Offset, TopicId};

/// A member's request. Its answer comes later, in a message of its own: a join may wait for minutes, and would hold
/// room between the shards all that time.
pub struct GroupCall {
    /// The asking shard's own number for it.
    pub token: u64,
    pub request: GroupRequest,
    pub client_id: String,
    pub client_address: IpAddr,
    pub api_version: i16,
}

/// What others than members ask, about groups of one shard.
pub enum GroupQuery {
    List {
        states: Vec<Str>,
        types: Vec<Str>,
    },
    /// DescribeGroups, in the version named.
    Describe {
        groups: Vec<Str>,
        version: i16,
    },
    Delete(Vec<Str>),
    DeleteOffsets(OffsetDeleteRequest),
}

/// The answer to the query of the same name; rows stand in the order of the query.
pub enum GroupRows {
    Listed(Result<Vec<ListedGroup>, ErrorCode>),
    Described(Vec<describe_groups::DescribedGroup>),
    Deleted(Vec<DeletableGroupResult>),
    OffsetsDeleted(Result<OffsetDeleteResponse, ErrorCode>),
}

/// One partition of an OffsetCommit.
pub struct OffsetCommitItem {
    pub topic: Arc<str>,
    pub topic_id: TopicId,
    pub partition: i32,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Option<String>,
}

/// One partition of an OffsetFetch; offset -1 where nothing was committed.
#[derive(Debug)]
pub struct FetchedOffset {
    pub topic: String,
    pub partition: i32,
    pub error: ErrorCode,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: String,
}

impl FetchedOffset {
    pub fn new(topic: &str, partition: i32, committed: Option<&CommittedOffset>) -> FetchedOffset {
        FetchedOffset {
            topic: topic.to_owned(),
            partition,
            error: ErrorCode::None,
            offset: committed.map_or(Offset::UNKNOWN, |it| Offset(it.offset)),
            leader_epoch: committed.map_or(LeaderEpoch::UNKNOWN, |it| LeaderEpoch(it.leader_epoch)),
            metadata: committed.map(|it| it.metadata.to_string()).unwrap_or_default(),
        }
    }
}

pub struct OffsetCommitGroup {
    pub api_version: i16,
    pub group_id: String,
    pub member_id: String,
    pub group_instance_id: Option<Str>,
    pub generation_id: i32,
    pub retention_time_ms: Option<i64>,
    pub items: Vec<OffsetCommitItem>,
}

pub struct OffsetFetchGroup {
    pub group_id: String,
    /// Of a member of a group with server-side assignment.
    pub member_id: Option<String>,
    pub member_epoch: i32,
    /// `None`: every partition that has a committed offset.
    pub partitions: Option<Vec<(String, Vec<i32>)>>,
    pub require_stable: bool,
}
