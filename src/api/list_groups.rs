//! ListGroups (16), versions 0 to 5, filtered by state from version 4 on and by type from version 5 on.
//!
//! On a shard's own port the groups of that shard are listed, on the shared port all.

use crate::error_code::ErrorCode;
use crate::protocol::{ListGroupsRequest, ListGroupsResponse};
use crate::shard::message::{GroupQuery, GroupRows};

use super::group_query::ask;
use super::{Context, Outcome, join_all};

pub async fn handle(context: Context, request: ListGroupsRequest) -> Outcome<ListGroupsResponse> {
    let asked = context.shards_answered_for().into_iter().map(|shard| {
        let query = GroupQuery::List { states: request.states_filter.clone(), types: request.types_filter.clone() };
        Box::pin(ask(&context, shard, query))
    });
    let mut response = ListGroupsResponse::default();
    for rows in join_all(asked.collect()).await {
        match rows {
            Some(GroupRows::Listed(Ok(groups))) => response.groups.extend(groups),
            Some(GroupRows::Listed(Err(code))) => response.error_code = code.code(),
            _ => response.error_code = ErrorCode::UnknownServerError.code(),
        }
    }
    if response.error_code != ErrorCode::None.code() {
        response.groups.clear();
    }
    Outcome::Answer(response)
}
