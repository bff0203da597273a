//! What a request of a member names, and how it is refused.

use crate::error_code::ErrorCode;
use crate::protocol::consumer_group_describe::DescribedConsumerGroup;
use crate::protocol::describe_groups::DescribedGroup;
use crate::protocol::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, Str, SyncGroupResponse,
};

use super::super::classic::{check_sync, leave_unknown_group, refuse_join};
use super::super::machine::GroupAnswer;
use super::GroupRequest;

/// Which API a member's request is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Join,
    Sync,
    Heartbeat,
    Leave,
    ConsumerHeartbeat,
}

impl RequestKind {
    /// The answer that says nothing but why there is none.
    pub fn refused(self, code: ErrorCode) -> GroupAnswer {
        let error_code = code.code();
        match self {
            RequestKind::Join => GroupAnswer::Join(JoinGroupResponse { error_code, ..Default::default() }),
            RequestKind::Sync => GroupAnswer::Sync(SyncGroupResponse { error_code, ..Default::default() }),
            RequestKind::Heartbeat => GroupAnswer::Heartbeat(HeartbeatResponse { error_code, ..Default::default() }),
            RequestKind::Leave => GroupAnswer::Leave(LeaveGroupResponse { error_code, ..Default::default() }),
            RequestKind::ConsumerHeartbeat => {
                GroupAnswer::ConsumerHeartbeat(ConsumerGroupHeartbeatResponse { error_code, ..Default::default() })
            }
        }
    }
}

impl GroupRequest {
    pub fn kind(&self) -> RequestKind {
        match self {
            GroupRequest::Join(_) => RequestKind::Join,
            GroupRequest::Sync(_) => RequestKind::Sync,
            GroupRequest::Heartbeat(_) => RequestKind::Heartbeat,
            GroupRequest::Leave(_) => RequestKind::Leave,
            GroupRequest::ConsumerHeartbeat(_) => RequestKind::ConsumerHeartbeat,
        }
    }

    pub fn group_id(&self) -> &str {
        match self {
            GroupRequest::Join(request) => &request.group_id,
            GroupRequest::Sync(request) => &request.group_id,
            GroupRequest::Heartbeat(request) => &request.group_id,
            GroupRequest::Leave(request) => &request.group_id,
            GroupRequest::ConsumerHeartbeat(request) => &request.group_id,
        }
    }

    /// The answer to a request that names no group, which nobody coordinates.
    pub fn refused_without_group(&self, api_version: i16) -> Option<GroupAnswer> {
        if !self.group_id().is_empty() || self.kind() == RequestKind::ConsumerHeartbeat {
            return None;
        }
        let code = match self {
            // It may have a fault that Kafka looks for first.
            GroupRequest::Sync(request) => check_sync(request, api_version).err(),
            _ => None,
        };
        Some(self.refused(code.unwrap_or(ErrorCode::InvalidGroupId), api_version))
    }

    /// As Kafka refuses it, with what the client said of itself.
    pub fn refused(&self, code: ErrorCode, api_version: i16) -> GroupAnswer {
        match self {
            GroupRequest::Join(request) => refuse_join(code, request.member_id.clone()),
            // There is no such group, so none of them is its member.
            GroupRequest::Leave(request) if code == ErrorCode::UnknownMemberId => {
                leave_unknown_group(request, api_version)
            }
            _ => self.kind().refused(code),
        }
    }
}

/// ConsumerGroupDescribe of a group that is not there, or of another kind.
pub(super) fn no_consumer_group(group_id: &str, why: &str) -> DescribedConsumerGroup {
    DescribedConsumerGroup {
        error_code: ErrorCode::GroupIdNotFound.code(),
        error_message: Some(Str::from(why)),
        group_id: Str::from(group_id),
        ..Default::default()
    }
}

/// DescribeGroups of a group that is not there: versions from 6 on say so (KIP-1043).
pub(super) fn dead_group(group_id: &str, why: &str, version: i16) -> DescribedGroup {
    let row = DescribedGroup { group_id: Str::from(group_id), group_state: Str::from("Dead"), ..Default::default() };
    if version < 6 {
        return row;
    }
    DescribedGroup { error_code: ErrorCode::GroupIdNotFound.code(), error_message: Some(Str::from(why)), ..row }
}
