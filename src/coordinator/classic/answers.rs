//! What a request is refused for before its group is looked at, and the answers to refusals.
//!
//! The checks are those of Kafka's `GroupCoordinatorService` and `KafkaApis`, in their order.

use crate::config::GroupsConfig;
use crate::coordinator::fields::STRING_BYTES_MAX;
use crate::coordinator::{Caller, GroupAnswer};
use crate::error_code::ErrorCode;
use crate::protocol::leave_group::{MemberIdentity, MemberResponse};
use crate::protocol::{
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, Str,
    SyncGroupRequest, SyncGroupResponse,
};

/// How long the suffix of a member id is: a dash and a UUID.
const MEMBER_ID_SUFFIX_LEN: usize = 37;

/// What a JoinGroup is refused for whatever its group is like: ask before a group is created for it.
///
/// # Errors
/// INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT, and INVALID_REQUEST for a text that no record could hold.
pub fn check_join(request: &JoinGroupRequest, caller: Caller<'_>, config: &GroupsConfig) -> Result<(), ErrorCode> {
    check_group_id(&request.group_id)?;
    if !(config.min_session_timeout_ms..=config.max_session_timeout_ms).contains(&request.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    let id_base = request.group_instance_id.as_ref().map_or(caller.client_id, Str::as_str);
    let fits = id_base.len() + MEMBER_ID_SUFFIX_LEN <= STRING_BYTES_MAX
        && caller.client_id.len() <= STRING_BYTES_MAX
        && request.member_id.len() <= STRING_BYTES_MAX
        && request.protocol_type.len() <= STRING_BYTES_MAX
        && request.protocols.iter().all(|protocol| protocol.name.len() <= STRING_BYTES_MAX);
    if fits { Ok(()) } else { Err(ErrorCode::InvalidRequest) }
}

/// What a SyncGroup is refused for whatever its group is like.
///
/// # Errors
/// INCONSISTENT_GROUP_PROTOCOL if it does not name its protocol though its version demands that (5), INVALID_GROUP_ID.
pub fn check_sync(request: &SyncGroupRequest, api_version: i16) -> Result<(), ErrorCode> {
    if api_version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    check_group_id(&request.group_id)
}

/// What any request of a member is refused for.
///
/// # Errors
/// INVALID_GROUP_ID if it is empty, or too long for a record.
pub fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    if group_id.is_empty() || group_id.len() > STRING_BYTES_MAX { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}

/// Refuses a JoinGroup. `member_id` is empty or the request's own, by the error.
pub fn refuse_join(error: ErrorCode, member_id: Str) -> GroupAnswer {
    GroupAnswer::Join(JoinGroupResponse { error_code: error as i16, member_id, ..JoinGroupResponse::default() })
}

pub fn refuse_sync(error: ErrorCode) -> GroupAnswer {
    GroupAnswer::Sync(SyncGroupResponse { error_code: error as i16, ..SyncGroupResponse::default() })
}

/// Answers a heartbeat; [`ErrorCode::None`] is that all is well.
pub fn heartbeat_answer(error: ErrorCode) -> GroupAnswer {
    GroupAnswer::Heartbeat(HeartbeatResponse { error_code: error as i16, ..HeartbeatResponse::default() })
}

/// The answer to a LeaveGroup of which each member has its own error. Up to version 2 there is one member, and its
/// error is the request's.
pub fn leave_answer(members: Vec<MemberResponse>, api_version: i16) -> GroupAnswer {
    let response = if api_version < 3 {
        let error_code = members.first().map_or(0, |member| member.error_code);
        LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }
    } else {
        LeaveGroupResponse { members, ..LeaveGroupResponse::default() }
    };
    GroupAnswer::Leave(response)
}

/// The answer to a LeaveGroup of a group that does not exist: nobody in it is known.
pub fn leave_unknown_group(request: &LeaveGroupRequest, api_version: i16) -> GroupAnswer {
    let members = leaving(request, api_version)
        .iter()
        .map(|member| MemberResponse {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            error_code: ErrorCode::UnknownMemberId as i16,
        })
        .collect();
    leave_answer(members, api_version)
}

/// Whom a LeaveGroup names: several from version 3 on, one before.
pub fn leaving(request: &LeaveGroupRequest, api_version: i16) -> Vec<MemberIdentity> {
    if api_version >= 3 {
        return request.members.clone();
    }
    vec![MemberIdentity { member_id: request.member_id.clone(), ..MemberIdentity::default() }]
}
