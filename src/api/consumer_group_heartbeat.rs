//! ConsumerGroupHeartbeat (68), versions 0 and 1 (KIP-848): a member joins, stays, says what it owns and wants, and hears
//! what it is to own. UNSUPPORTED_VERSION where the protocol is not offered.

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::error_code::ErrorCode;
use crate::protocol::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::group_member::ask;
use super::{Context, Outcome};

pub async fn handle(
    context: Context,
    request: ConsumerGroupHeartbeatRequest,
) -> Outcome<ConsumerGroupHeartbeatResponse> {
    if !context.offers_consumer_protocol() {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return Outcome::Answer(ConsumerGroupHeartbeatResponse { error_code, ..Default::default() });
    }
    match ask(&context, GroupRequest::ConsumerHeartbeat(request)).await {
        GroupAnswer::ConsumerHeartbeat(response) => Outcome::Answer(response),
        other => Outcome::Close(format!("a ConsumerGroupHeartbeat was answered by {other:?}")),
    }
}
