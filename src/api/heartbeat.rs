//! Heartbeat (12), versions 0 to 4: a member is there, and hears whether a rebalance has begun.

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::protocol::{HeartbeatRequest, HeartbeatResponse};

use super::group_member::ask;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: HeartbeatRequest) -> Outcome<HeartbeatResponse> {
    match ask(&context, GroupRequest::Heartbeat(request)).await {
        GroupAnswer::Heartbeat(response) => Outcome::Answer(response),
        other => Outcome::Close(format!("a Heartbeat was answered by {other:?}")),
    }
}
