//! JoinGroup (11), versions 0 to 9: a member enters a rebalance and waits for the others.

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::protocol::{JoinGroupRequest, JoinGroupResponse};

use super::group_member::ask;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: JoinGroupRequest) -> Outcome<JoinGroupResponse> {
    match ask(&context, GroupRequest::Join(request)).await {
        GroupAnswer::Join(response) => Outcome::Answer(response),
        other => Outcome::Close(format!("a JoinGroup was answered by {other:?}")),
    }
}
