//! What the APIs of a group's members share: their requests go to the shard that coordinates the group.

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::error_code::ErrorCode;
use crate::shard::MemberClient;

use super::Context;
use super::find_coordinator::group_shard;

/// Has the group's coordinator answer.
pub(super) async fn ask(context: &Context, request: GroupRequest) -> GroupAnswer {
    let kind = request.kind();
    // Whoever would coordinate it, and whether that is there yet.
    if let Some(refused) = request.refused_without_group(context.version) {
        return refused;
    }
    let Some(owner) = group_shard(context, request.group_id()) else { return kind.refused(ErrorCode::NotCoordinator) };
    let client = MemberClient {
        client_id: context.client_id().to_owned(),
        address: context.client_address,
        api_version: context.version,
    };
    context.api.shard.ask_group(owner, request, client).await
}
