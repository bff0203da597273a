//! ConsumerGroupHeartbeat (68), versions 0 and 1 (KIP-848): a member joins, stays, says what it owns and wants, and hears
//! what it is to own.

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::protocol::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::group_member::ask;
use super::{Context, Outcome};

pub async fn handle(
    context: Context,
    request: ConsumerGroupHeartbeatRequest,
) -> Outcome<ConsumerGroupHeartbeatResponse> {
    match ask(&context, GroupRequest::ConsumerHeartbeat(request)).await {
        GroupAnswer::ConsumerHeartbeat(response) => Outcome::Answer(response),
        other => Outcome::Close(format!("a ConsumerGroupHeartbeat was answered by {other:?}")),
    }
}
