//! LeaveGroup (13), versions 0 to 5: members leave, one before version 3, and from then on also others by their
//! instance ids (KIP-345).

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::protocol::{LeaveGroupRequest, LeaveGroupResponse};

use super::group_member::ask;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: LeaveGroupRequest) -> Outcome<LeaveGroupResponse> {
    match ask(&context, GroupRequest::Leave(request)).await {
        GroupAnswer::Leave(response) => Outcome::Answer(response),
        other => Outcome::Close(format!("a LeaveGroup was answered by {other:?}")),
    }
}
