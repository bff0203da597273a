//! DeleteGroups (42), versions 0 to 2: groups without members go, with all they have committed.

use crate::protocol::delete_groups::DeletableGroupResult;
use crate::protocol::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::shard::message::{GroupQuery, GroupRows};

use super::group_query::ask_each;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: DeleteGroupsRequest) -> Outcome<DeleteGroupsResponse> {
    let mut groups = request.groups_names;
    groups.sort_unstable();
    groups.dedup();
    let results = ask_each(
        &context,
        groups,
        GroupQuery::Delete,
        |rows| if let GroupRows::Deleted(rows) = rows { Some(rows) } else { None },
        |group_id, code| DeletableGroupResult { group_id, error_code: code.code() },
    )
    .await;
    Outcome::Answer(DeleteGroupsResponse { results, ..Default::default() })
}
