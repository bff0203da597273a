//! ConsumerGroupDescribe (69), versions 0 and 1 (KIP-848): groups with server-side assignment, and what their members own
//! and are to own. UNSUPPORTED_VERSION where the protocol is not offered.

use crate::error_code::ErrorCode;
use crate::protocol::consumer_group_describe::DescribedConsumerGroup;
use crate::protocol::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
use crate::shard::message::{GroupQuery, GroupRows};

use super::group_query::ask_each;
use super::{Context, GROUP_OPERATIONS, Outcome};

pub async fn handle(context: Context, request: ConsumerGroupDescribeRequest) -> Outcome<ConsumerGroupDescribeResponse> {
    let refused =
        |group_id, code: ErrorCode| DescribedConsumerGroup { group_id, error_code: code.code(), ..Default::default() };
    if !context.offers_consumer_protocol() {
        let ids = request.group_ids.into_iter();
        let groups = ids.map(|group_id| refused(group_id, ErrorCode::UnsupportedVersion)).collect();
        return Outcome::Answer(ConsumerGroupDescribeResponse { groups, ..Default::default() });
    }
    let mut groups = ask_each(
        &context,
        request.group_ids,
        GroupQuery::DescribeConsumer,
        |rows| if let GroupRows::ConsumerDescribed(rows) = rows { Some(rows) } else { None },
        refused,
    )
    .await;
    for group in &mut groups {
        if group.group_id.is_empty() {
            *group = refused(std::mem::take(&mut group.group_id), ErrorCode::InvalidGroupId);
        } else if request.include_authorized_operations && group.error_code == ErrorCode::None.code() {
            group.authorized_operations = GROUP_OPERATIONS;
        }
    }
    Outcome::Answer(ConsumerGroupDescribeResponse { groups, ..Default::default() })
}
