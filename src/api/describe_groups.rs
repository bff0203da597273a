//! DescribeGroups (15), versions 0 to 6: classic groups with their members. From version 6 on a group that is not there
//! is an error (KIP-1043).

use crate::error_code::ErrorCode;
use crate::protocol::describe_groups::DescribedGroup;
use crate::protocol::{DescribeGroupsRequest, DescribeGroupsResponse};
use crate::shard::message::{GroupQuery, GroupRows};

use super::group_query::ask_each;
use super::{Context, GROUP_OPERATIONS, Outcome};

pub async fn handle(context: Context, request: DescribeGroupsRequest) -> Outcome<DescribeGroupsResponse> {
    let version = context.version;
    let mut groups = ask_each(
        &context,
        request.groups,
        |groups| GroupQuery::Describe { groups, version },
        |rows| if let GroupRows::Described(rows) = rows { Some(rows) } else { None },
        |group_id, code| DescribedGroup { group_id, error_code: code.code(), ..Default::default() },
    )
    .await;
    if request.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == ErrorCode::None.code()) {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    Outcome::Answer(DescribeGroupsResponse { groups, ..Default::default() })
}
