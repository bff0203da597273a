//! SyncGroup (14), versions 0 to 5: the leader brings the assignment, the others wait for it.

use crate::coordinator::{GroupAnswer, GroupRequest};
use crate::protocol::{SyncGroupRequest, SyncGroupResponse};

use super::group_member::ask;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: SyncGroupRequest) -> Outcome<SyncGroupResponse> {
    match ask(&context, GroupRequest::Sync(request)).await {
        GroupAnswer::Sync(response) => Outcome::Answer(response),
        other => Outcome::Close(format!("a SyncGroup was answered by {other:?}")),
    }
}
