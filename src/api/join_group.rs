//! JoinGroup (11), versions 0 to 9: a member enters a rebalance and waits for the others.

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::protocol::{JoinGroupRequest, JoinGroupResponse};

use super::group_member::ask;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: JoinGroupRequest) -> Outcome<JoinGroupResponse> {
    let version = context.version;
    match ask(&context, GroupRequest::Join(request)).await {
        GroupAnswer::Join(mut response) => {
            // No protocol is null from version 7 on, and an empty name before (`JoinGroupResponse`).
            let name = response.protocol_name.take().filter(|name| !name.is_empty());
            response.protocol_name = if version >= 7 { name } else { Some(name.unwrap_or_default()) };
            Outcome::Answer(response)
        }
        other => Outcome::Close(format!("a JoinGroup was answered by {other:?}")),
    }
}
